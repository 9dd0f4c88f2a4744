//! The content of a file as an input of the chunker: holes are skipped, not read.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::chunker::{Extent, Input};

/// Whether a file may have holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Density {
    /// It takes as many blocks as its size wants; nobody asks for holes.
    Dense,
    /// It takes fewer blocks.
    Sparse,
}

impl Density {
    /// Returns up to where there are data without asking.
    const fn first_data_end(self) -> u64 {
        match self {
            Self::Dense => u64::MAX,
            Self::Sparse => 0,
        }
    }
}

/// An open file, read from its start.
#[derive(Debug)]
pub(crate) struct FileContent {
    file: OwnedFd,
    offset: u64,
    /// Where the data ends that `offset` lies in.
    data_end: u64,
    /// The size that the file is expected to have.
    size: u64,
    ended: bool,
}

impl FileContent {
    /// Stands before the first byte of `file`, which is `size` long as far as is known.
    pub(crate) fn new(file: OwnedFd, size: u64, density: Density) -> Self {
        Self { file, offset: 0, data_end: density.first_data_end(), size, ended: false }
    }

    /// Returns the file.
    pub(crate) const fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Stands before the first byte again.
    pub(crate) const fn rewind(&mut self, size: u64, density: Density) {
        self.offset = 0;
        self.data_end = density.first_data_end();
        self.size = size;
        self.ended = false;
    }

    /// Finds out where the next data begin and end; returns how long the hole before them is.
    fn find_data(&mut self) -> Result<u64, Errno> {
        let data = match seek(&self.file, SeekFrom::Data(self.offset)) {
            Ok(data) => data,
            // Nothing but a hole up to the end; what is appended later is data again.
            Err(Errno::NXIO) => fstat(&self.file)?.st_size.try_into().unwrap_or(0),
            // This file system knows no holes.
            Err(Errno::INVAL) => {
                self.data_end = u64::MAX;
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        self.data_end = match seek(&self.file, SeekFrom::Hole(data)) {
            Ok(end) => end,
            Err(Errno::NXIO) => u64::MAX,
            Err(error) => return Err(error),
        };
        let hole = data.saturating_sub(self.offset);
        self.offset += hole;
        Ok(hole)
    }
}

impl Input for FileContent {
    fn fill(&mut self, room: &mut [u8]) -> io::Result<Extent> {
        if self.ended {
            return Ok(Extent::End);
        }
        if self.offset >= self.data_end {
            let hole = self.find_data()?;
            if hole > 0 {
                return Ok(Extent::Hole(hole));
            }
        }
        let in_data = usize::try_from(self.data_end - self.offset).unwrap_or(usize::MAX);
        let want = in_data.clamp(1, room.len());
        let length = retry_on_intr(|| pread(&self.file, &mut room[..want], self.offset))?;
        self.offset += length as u64;
        // Less than was asked for, at or past the size that is known, is the end; so a small file
        // costs one system call.
        self.ended = length < want && self.offset >= self.size;
        Ok(match length {
            0 => Extent::End,
            length => Extent::Data(length),
        })
    }
}
