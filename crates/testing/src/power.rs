//! A disk whose power can be cut: a real file system in memory that forgets what was not synced.
//!
//! [`PowerDisk::mount`] mounts one through FUSE. What runs on it (this process or another) makes real
//! system calls. [`PowerDisk::cut_after`] lets the power fail at one of them; [`PowerDisk::restart`] then
//! mounts what survived. The rules are in [`disk`].
//!
//! # Limits
//!
//! Needs `/dev/fuse`, and either root or `fusermount3`. Files, directories and hard links only; no
//! attributes.

pub mod disk;
mod files;

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};
use nix::errno::Errno;
use nix::mount::umount;
use tempfile::TempDir;

pub use disk::{Disk, End};

/// How often it is tried to unmount a disk that is busy, and the pause in between: for ten seconds. A
/// process that another thread starts holds all files of this one from its fork to its exec, and on
/// a machine that has much to do that may take a while.
const BUSY_TRIES_MAX: u32 = 1000;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// A mounted disk; dropping it unmounts it.
#[derive(Debug)]
pub struct PowerDisk {
    disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
    place: TempDir,
}

impl PowerDisk {
    /// Mounts an empty disk somewhere in memory.
    pub fn mount() -> io::Result<Self> {
        let place = tempfile::Builder::new().prefix("lifeboat-power-").tempdir_in("/dev/shm")?;
        let disk = Arc::new(Mutex::new(Disk::default()));
        let session = Some(mount(&disk, place.path())?);
        Ok(Self { disk, session, place })
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Returns how many operations changed or synced something so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations()
    }

    /// Lets nothing happen any more from the `nth` change or sync on, counted from now and from 1:
    /// every operation fails from then on.
    pub fn cut_after(&self, nth: u64) {
        let mut disk = self.lock();
        let at = disk.operations() + nth;
        disk.end_at(at);
    }

    /// Tells whether it came to that.
    pub fn is_off(&self) -> bool {
        self.lock().is_off()
    }

    /// Mounts what survived. Nothing may be open on it.
    pub fn restart(&mut self, end: End) -> io::Result<()> {
        self.unmount()?;
        let survived = self.lock().survivors(end);
        *self.lock() = survived;
        self.session = Some(mount(&self.disk, self.place.path())?);
        Ok(())
    }

    fn unmount(&mut self) -> io::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        match unmount_when_free(self.place.path()) {
            Ok(()) => session.join(),
            // Only root may do it without help; whatever else is in the way is for the session to say.
            Err(_) => session.umount_and_join(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        // What is in the way is of a test that failed already.
        let _ = self.unmount();
    }
}

/// Unmounts a disk as soon as nothing is open on it any more.
fn unmount_when_free(place: &Path) -> Result<(), Errno> {
    let (_sender, nothing) = mpsc::channel::<()>();
    for _ in 0..BUSY_TRIES_MAX {
        match umount(place) {
            // Nothing is ever sent: this only lets time pass.
            Err(Errno::EBUSY) => _ = nothing.recv_timeout(BUSY_PAUSE),
            done => return done,
        }
    }
    Err(Errno::EBUSY)
}

fn mount(disk: &Arc<Mutex<Disk>>, place: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("lifeboat-power".to_owned())];
    fuser::spawn_mount(files::Files::new(Arc::clone(disk)), place, &config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_open_for_a_moment_longer_is_waited_for() {
        let mut disk = PowerDisk::mount().unwrap();
        let file = fs::File::create(disk.path().join("a")).unwrap();
        let (sender, begun) = mpsc::channel();
        let holder = std::thread::spawn(move || {
            begun.recv().unwrap();
            let (_sender, nothing) = mpsc::channel::<()>();
            let _ = nothing.recv_timeout(5 * BUSY_PAUSE);
            drop(file);
        });
        sender.send(()).unwrap();
        disk.restart(End::Kill).unwrap();
        holder.join().unwrap();
        assert!(disk.path().join("a").exists());
    }
}
