//! Reading streams, one after the other, beside the files.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::BackupError;
use super::assemble::Slot;
use super::engine::Worker;
use super::file::{Content, FILE_TYPE, Place, Target, Trouble, Whole};
use crate::chunker::{Extent, Input};
use crate::source::{StreamSource, Turn, metadata};

/// A stream's file: only its owner may read a database.
const STREAM_MODE: u32 = FILE_TYPE | 0o600;

/// Where the slots and the files of streams meet: either may be known first.
#[derive(Default)]
pub(super) struct Streams(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    slots: HashMap<usize, Slot>,
    files: HashMap<usize, Whole>,
}

impl Streams {
    /// Tells of a slot; returns it with the file if that is known.
    pub(super) fn slot_is_known(&self, number: usize, slot: Slot) -> Option<(Slot, Whole)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = waiting.files.remove(&number) {
            return Some((slot, file));
        }
        waiting.slots.insert(number, slot);
        None
    }

    /// Tells of a file; returns it with the slot if that is known.
    pub(super) fn file_is_known(&self, number: usize, file: Whole) -> Option<(Slot, Whole)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = waiting.slots.remove(&number) {
            return Some((slot, file));
        }
        waiting.files.insert(number, file);
        None
    }
}

/// A stream as an input of the chunker.
struct StreamInput<'r>(&'r mut dyn Read);

impl Input for StreamInput<'_> {
    fn fill(&mut self, room: &mut [u8]) -> io::Result<Extent> {
        loop {
            match self.0.read(room) {
                Ok(0) => return Ok(Extent::End),
                Ok(length) => return Ok(Extent::Data(length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Worker<'_> {
    /// Reads all streams in the order given; those of the last turn once all else was read.
    pub(super) fn read_streams(&mut self, streams: Vec<StreamSource>) -> Result<(), BackupError> {
        let numbered = streams.into_iter().enumerate();
        let (last, beside): (Vec<_>, Vec<_>) =
            numbered.partition(|(_, stream)| stream.turn == Turn::Last);
        self.read_in_order(beside)?;
        if last.is_empty() {
            return Ok(());
        }
        self.engine.work.wait_for_the_others();
        self.read_in_order(last)
    }

    fn read_in_order(&mut self, streams: Vec<(usize, StreamSource)>) -> Result<(), BackupError> {
        for (number, stream) in streams {
            if !self.engine.work.goes_on() {
                return Ok(());
            }
            self.read_stream(number, stream)?;
        }
        Ok(())
    }

    fn read_stream(&mut self, number: usize, stream: StreamSource) -> Result<(), BackupError> {
        let StreamSource { path, open, metadata, .. } = stream;
        let broken = |source| BackupError::Stream { path: path.clone(), source };
        let mut reader = open().map_err(broken)?;
        let content = Arc::new(Content::default());
        match self.store_pieces(&mut StreamInput(&mut *reader), &content) {
            Ok(()) => {}
            Err(Trouble::Read(source)) => return self.unless_stopped(broken(source)),
            Err(Trouble::Fatal(error)) => return Err(error),
            Err(Trouble::Stopped | Trouble::Skip(_)) => return Ok(()),
        }
        if let Err(source) = reader.finish() {
            return self.unless_stopped(BackupError::StreamEnd { path: path.clone(), source });
        }
        let metadata = match metadata {
            Some(given) => metadata::described(FILE_TYPE, &given, &self.engine.owners),
            None => metadata::made_up(STREAM_MODE, self.engine.now),
        };
        self.finish_file(content.end(Target { place: Place::Stream(number), metadata }))
    }

    /// Whoever makes a stream may be stopped by the same Ctrl-C, and that is what is told then.
    fn unless_stopped(&self, error: BackupError) -> Result<(), BackupError> {
        if self.engine.work.goes_on() { Err(error) } else { Ok(()) }
    }
}
