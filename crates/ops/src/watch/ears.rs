//! Hearing of changes: inotify on each directory of the watched assets.
//!
//! Whatever it misses a sweep finds, and each sweep listens anew at every place that it comes by: also where a tree was
//! moved to, what was made again, and what appeared before it was listened there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use lifeboat_model::AssetName;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::scan::Place;

/// How many bytes of events are read at a time: some hundred with their names.
const BUFFER: usize = 16 << 10;

/// What is listened for: whatever changes an entry or what it holds.
const WANTED: WatchFlags = WatchFlags::from_bits_truncate(
    WatchFlags::ATTRIB.bits()
        | WatchFlags::CLOSE_WRITE.bits()
        | WatchFlags::MODIFY.bits()
        | WatchFlags::CREATE.bits()
        | WatchFlags::DELETE.bits()
        | WatchFlags::DELETE_SELF.bits()
        | WatchFlags::MOVE_SELF.bits()
        | WatchFlags::MOVED_FROM.bits()
        | WatchFlags::MOVED_TO.bits()
        | WatchFlags::ONLYDIR.bits(),
);

/// Wakes whoever waits for changes.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    /// Wakes.
    pub(crate) fn ring(&self) {
        // One that is full wakes as well.
        _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    fn hush(&self) {
        _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

/// Who listens at a place.
#[derive(Debug)]
struct Listener {
    asset: AssetName,
    /// The one entry that it is about, or all.
    entry: Option<OsString>,
    /// The sweep that came by last.
    sweep: u64,
}

/// What was heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Of these assets something changed.
    pub(crate) assets: BTreeSet<AssetName>,
    /// More happened than the kernel kept.
    pub(crate) is_too_much: bool,
}

/// Listens to the changes of directories.
#[derive(Debug)]
pub(crate) struct Ears {
    inotify: OwnedFd,
    places: BTreeMap<i32, Vec<Listener>>,
    sweep: u64,
}

impl Ears {
    pub(crate) fn open() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, places: BTreeMap::new(), sweep: 0 })
    }

    /// Begins a sweep of an asset.
    pub(crate) const fn begin(&mut self) {
        self.sweep += 1;
    }

    /// Listens at a place, from now on.
    pub(crate) fn listen(&mut self, asset: &AssetName, place: Place<'_>) -> Result<(), Errno> {
        let (directory, entry) = match place {
            Place::Directory(path) => (path, None),
            Place::Entry(path) => match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => (parent, Some(name)),
                _ => return Ok(()),
            },
        };
        let watch = match inotify::add_watch(&self.inotify, directory, WANTED) {
            Ok(watch) => watch,
            // Where the directory of an entry is gone, it is listened for where it would come back.
            Err(Errno::NOENT | Errno::NOTDIR) if entry.is_some() => {
                return self.listen(asset, Place::Entry(directory));
            }
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error),
        };
        let listeners = self.places.entry(watch).or_default();
        let own = |listener: &&mut Listener| {
            listener.asset == *asset && listener.entry.as_deref() == entry
        };
        if let Some(listener) = listeners.iter_mut().find(own) {
            listener.sweep = self.sweep;
        } else {
            let entry = entry.map(OsStr::to_owned);
            listeners.push(Listener { asset: asset.clone(), entry, sweep: self.sweep });
        }
        Ok(())
    }

    /// Ends a sweep of an asset: what it did not come by is not of the asset any more.
    pub(crate) fn end(&mut self, asset: &AssetName) {
        let sweep = self.sweep;
        self.retain(|listener| listener.asset != *asset || listener.sweep == sweep);
    }

    /// Listens no longer for assets that are not watched.
    pub(crate) fn keep(&mut self, assets: &BTreeSet<AssetName>) {
        self.retain(|listener| assets.contains(&listener.asset));
    }

    fn retain(&mut self, stays: impl Fn(&Listener) -> bool) {
        let inotify = &self.inotify;
        self.places.retain(|watch, listeners| {
            listeners.retain(&stays);
            if listeners.is_empty() {
                // The kernel may have let go of it already.
                _ = inotify::remove_watch(inotify, *watch);
            }
            !listeners.is_empty()
        });
    }

    /// Waits until something changes, or the bell rings.
    pub(crate) fn wait(&mut self, at_most: Duration, bell: &Bell) -> io::Result<Heard> {
        wait(Some(&self.inotify), at_most, bell)?;
        Ok(self.hear()?)
    }

    /// Hears what has happened.
    fn hear(&mut self) -> Result<Heard, Errno> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut heard = Heard::default();
        let mut events = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(heard),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                heard.is_too_much = true;
            }
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let listeners = self.places.get(&event.wd()).map_or(&[][..], Vec::as_slice);
            let concerned = listeners.iter().filter(|listener| match &listener.entry {
                Some(entry) => name.is_none_or(|name| name == entry),
                None => true,
            });
            heard.assets.extend(concerned.map(|listener| listener.asset.clone()));
            if event.events().contains(ReadFlags::IGNORED) {
                self.places.remove(&event.wd());
            }
        }
    }
}

/// Waits, where nothing can be heard, until the bell rings.
pub(crate) fn wait_deaf(at_most: Duration, bell: &Bell) -> io::Result<()> {
    wait(None, at_most, bell)
}

fn wait(inotify: Option<&OwnedFd>, at_most: Duration, bell: &Bell) -> io::Result<()> {
    let mut sources = vec![PollFd::from_borrowed_fd(bell.0.as_fd(), PollFlags::IN)];
    sources.extend(inotify.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
    let limit = Timespec::try_from(at_most).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    match poll(&mut sources, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    bell.hush();
    Ok(())
}

/// Says why a place cannot be listened at.
pub(crate) fn why_deaf(place: Place<'_>, error: Errno) -> String {
    let (Place::Directory(path) | Place::Entry(path)) = place;
    let path: &Path = path;
    match error {
        Errno::NOSPC => format!(
            "the system watches no more directories than fs.inotify.max_user_watches says; {} is not watched",
            path.display()
        ),
        error => format!("{} cannot be watched: {error}", path.display()),
    }
}
