//! Copies `pg_control` while the server may be writing it.
//!
//! It is the last file of a backup: on a standby it says up to where the log has to be replayed, and
//! that has to cover whatever was copied before.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lifeboat_model::Clock;

use super::error::BaseError;
use crate::control::{CONTROL_FILE_LENGTH, ControlError, ControlFile};

/// How long a file that makes no sense is left alone: a server writes it in far less.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads the control file of a data directory, as often as its bytes change while they make no sense.
///
/// Bytes that are the same twice are not being written: they are damaged.
pub async fn copy_control(
    file: &Path,
    clock: &dyn Clock,
) -> Result<(Vec<u8>, ControlFile), BaseError> {
    settle(file, &mut || fs::read(file), clock).await
}

async fn settle(
    file: &Path,
    read: &mut (dyn FnMut() -> std::io::Result<Vec<u8>> + Send),
    clock: &dyn Clock,
) -> Result<(Vec<u8>, ControlFile), BaseError> {
    let mut before: Option<Vec<u8>> = None;
    loop {
        let mut bytes = read().map_err(|source| BaseError::io("read", file, source))?;
        match ControlFile::parse(&bytes) {
            Ok(control) => {
                bytes.resize(CONTROL_FILE_LENGTH.max(bytes.len()), 0);
                return Ok((bytes, control));
            }
            Err(source) if before.as_ref() == Some(&bytes) || !may_pass(&source) => {
                return Err(BaseError::Control { path: file.to_owned(), source });
            }
            Err(_) => before = Some(bytes),
        }
        clock.sleep(PAUSE).await;
    }
}

/// Tells whether a file may only have been read at the wrong moment.
const fn may_pass(error: &ControlError) -> bool {
    matches!(error, ControlError::Checksum { .. } | ControlError::Length { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_model::{Classify as _, ErrorKind, SimClock, Timestamp};
    use lifeboat_testing::postgres::Cluster;

    /// Lets each look at the file see other bytes; tells how often it was waited.
    fn settled(looks: &[&[u8]]) -> (Result<(Vec<u8>, ControlFile), BaseError>, u128) {
        let mut next = looks.iter();
        let mut read = || Ok(next.next().expect("nobody looks more often").to_vec());
        let clock = SimClock::new(Timestamp::UNIX_EPOCH);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let settled = runtime.block_on(settle(Path::new("pg_control"), &mut read, &clock));
        let waited = clock.now().duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
        (settled, waited.as_millis() / PAUSE.as_millis())
    }

    #[test]
    fn it_is_read_until_it_is_whole_or_the_same_twice() {
        let mut cluster = Cluster::start().unwrap();
        cluster.stop().unwrap();
        let whole = fs::read(cluster.data_dir().join("global/pg_control")).unwrap();
        let torn = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let (settled_after, pauses) = settled(&[&torn(40), &torn(41), &whole]);
        assert_eq!((settled_after.unwrap().0, pauses), (whole.clone(), 2));
        let (short, _) = settled(&[&whole[..100], &whole[..296]]);
        assert_eq!(short.unwrap().0.len(), CONTROL_FILE_LENGTH);
        let (damaged, pauses) = settled(&[&torn(40), &torn(40)]);
        assert_eq!((damaged.unwrap_err().kind(), pauses), (ErrorKind::Corrupt, 1));
        let mut newer = whole.clone();
        newer[8] ^= 1;
        let (unknown, pauses) = settled(&[&newer]);
        assert_eq!((unknown.unwrap_err().kind(), pauses), (ErrorKind::Config, 0));
    }
}
