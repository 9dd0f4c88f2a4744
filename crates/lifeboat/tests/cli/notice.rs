//! Waiting for what a process of lifeboat's writes down, instead of asking it all the time.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// How long is waited at most: not all that can be asked for is written.
const ASKED_AGAIN: Duration = Duration::from_millis(300);

/// Hears what is written.
pub struct Notices(OwnedFd);

impl Notices {
    /// Listens to a folder, and to those in it that are there by now.
    pub fn below(folder: &Path) -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let notices = Self(inotify::init(flags).unwrap());
        notices.listen(folder);
        notices
    }

    fn listen(&self, folder: &Path) {
        let wanted = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        if inotify::add_watch(&self.0, folder, wanted).is_err() {
            // It comes later, or went.
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.listen(&entry.path());
            }
        }
    }

    /// Waits until a file of one of these names is written since it listens, or a while has passed.
    pub fn wait(&self, names: &[&str]) {
        let end = Instant::now() + ASKED_AGAIN;
        while !self.heard(names) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let left = Timespec::try_from(left).unwrap();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Takes what there is, and tells whether one of the names is among it.
    fn heard(&self, names: &[&str]) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut is_heard = false;
        loop {
            match reader.next() {
                Ok(notice) => {
                    let name = notice.file_name().and_then(|name| name.to_str().ok());
                    // Too many at once may have been any.
                    is_heard |= name.is_some_and(|name| names.contains(&name))
                        || notice.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::AGAIN) => return is_heard,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
