//! Standard input as a file of a snapshot.

use std::io::{self, Read, Stdin};
use std::path::PathBuf;
use std::time::Duration;

use lifeboat_model::Cancel;
use lifeboat_repository::source::{StreamReader, StreamSource};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How often it is looked whether Ctrl-C was pressed while whoever writes is silent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Returns standard input as a source that becomes a file at `path`.
pub fn standard_input(path: PathBuf, cancel: Cancel) -> StreamSource {
    StreamSource::new(path, move || Ok(Box::new(StandardInput { stdin: io::stdin(), cancel })))
}

struct StandardInput {
    stdin: Stdin,
    cancel: Cancel,
}

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()) };
        loop {
            self.cancel.check().map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&self.stdin, PollFlags::IN)];
            match poll(&mut fds, Some(&pause)) {
                Ok(0) | Err(Errno::INTR) => {}
                // Not through the buffer of the standard library, which `poll` does not see.
                Ok(_) => return Ok(rustix::io::read(&self.stdin, buffer)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl StreamReader for StandardInput {
    /// A pipe does not tell how its writer ended: what came is taken for whole, as by restic.
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
