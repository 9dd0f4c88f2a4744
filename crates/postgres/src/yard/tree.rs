//! The files of a yard: the host's own tree, through layers of which only the upper ones are written.
//!
//! A layer cannot lie below what it covers. Directories above the yard's place are therefore made anew, and each of their
//! entries is covered by itself; every file system that is mounted below is covered by itself too.

use std::fs::{self, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, mknod};

use super::{Ground, below};
use crate::enclosure::inside::{Refused, refused};
use crate::enclosure::mounts::{
    Access, NOTHING, directory, part, protect, show, show_at, show_devices, turn_to, unescaped,
};

/// Where what only the keeper sees waits for him.
pub(super) const SHOWN_TO_KEEPER: &str = "/.lifeboat-keeper";

/// Directories that begin empty, as they hold what runs and not what is kept; sockets of the host are there.
const FRESH: [(&str, u32); 3] = [("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755)];

/// What is made in other ways, or is not there at all.
const OWN: [&str; 4] = ["/proc", "/sys", "/dev", "/lost+found"];

/// File systems that hold no files of anybody.
const UNREAL: [&str; 22] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// Links that programs expect among devices.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Builds the tree and makes it the only one there is.
pub(super) fn build(ground: &Ground) -> Result<(), Refused> {
    let mounts = mounted()?;
    part()?;
    let root = ground.place.join("root");
    directory(&root, 0o755)?;
    mount(Some(&root), &root, NOTHING, MsFlags::MS_BIND, NOTHING)
        .map_err(refused(format!("mount {}", root.display())))?;
    protect(&root, Access::Write)?;
    let absent = ground.absent.iter().filter_map(|path| resolved(path)).collect();
    let mut tree = Tree { ground, mounts, absent, root: root.clone(), layers: 0 };
    for child in children(Path::new("/"))? {
        tree.show(&child)?;
    }
    for name in ["proc", "sys"] {
        directory(&root.join(name), 0o555)?;
    }
    devices(&root)?;
    if !below(&root, &ground.own_program).exists() {
        show(&root, &ground.own_program, Access::Read)?;
    }
    for (number, view) in ground.keeper_sees.iter().enumerate() {
        let waits = below(&root, Path::new(SHOWN_TO_KEEPER)).join(number.to_string());
        hold_for_keeper(&root, &view.from, &waits)?;
    }
    turn_to(&root)
}

/// Keeps something for the keeper in a mount that the inside lets go of.
fn hold_for_keeper(root: &Path, from: &Path, waits: &Path) -> Result<(), Refused> {
    let shelf = below(root, Path::new(SHOWN_TO_KEEPER));
    if !shelf.exists() {
        directory(&shelf, 0o700)?;
        mount(Some("tmpfs"), &shelf, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=700,size=1m"))
            .map_err(refused("keep what the keeper sees"))?;
    }
    if from.exists() { show_at(from, waits, Access::Write) } else { Ok(()) }
}

struct Tree<'g> {
    ground: &'g Ground,
    /// Where file systems are mounted, the outer ones first.
    mounts: Vec<PathBuf>,
    absent: Vec<PathBuf>,
    root: PathBuf,
    layers: usize,
}

impl Tree<'_> {
    /// Shows something of the host at its own path; above it everything is there.
    fn show(&mut self, path: &Path) -> Result<(), Refused> {
        let is_own = OWN.iter().any(|own| path == Path::new(own));
        if is_own || self.absent.iter().any(|absent| path.starts_with(absent)) {
            return Ok(());
        }
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(refused(format!("look at {}", path.display())))?,
        };
        let target = below(&self.root, path);
        if let Some((_, mode)) = FRESH.iter().find(|(fresh, _)| path == Path::new(fresh)) {
            return self.begin_empty(path, *mode, &metadata);
        }
        if metadata.is_symlink() {
            let link = fs::read_link(path).map_err(refused(format!("read {}", path.display())))?;
            return symlink(link, &target).map_err(refused(format!("link {}", target.display())));
        }
        if metadata.is_dir() {
            make_like(&target, &metadata)?;
            return self.fill(path, &metadata);
        }
        if metadata.is_file() { show(&self.root, path, Access::Read) } else { Ok(()) }
    }

    /// Shows what is in a directory of the host that has its place in the tree already.
    fn fill(&mut self, path: &Path, metadata: &Metadata) -> Result<(), Refused> {
        if self.ground.place.starts_with(path) {
            self.make_anew(path, metadata)
        } else {
            self.cover(path, metadata)
        }
    }

    /// Makes a directory anew and shows each of its entries.
    fn make_anew(&mut self, path: &Path, metadata: &Metadata) -> Result<(), Refused> {
        let plain = self.layer()?.join("plain");
        make_like(&plain, metadata)?;
        bind(&plain, &below(&self.root, path))?;
        for child in children(path)? {
            self.show(&child)?;
        }
        Ok(())
    }

    /// Covers a directory with a layer, and then what is mounted below it.
    fn cover(&mut self, path: &Path, metadata: &Metadata) -> Result<(), Refused> {
        let layer = self.layer()?;
        let (upper, work) = (layer.join("upper"), layer.join("work"));
        make_like(&upper, metadata)?;
        directory(&work, 0o700)?;
        for absent in self.absent.iter().filter(|absent| absent.starts_with(path)) {
            take_out(&upper, path, absent)?;
        }
        if path == Path::new("/etc") {
            self.name(&upper)?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=on",
            escaped(path),
            escaped(&upper),
            escaped(&work)
        );
        mount(
            Some("overlay"),
            &below(&self.root, path),
            Some("overlay"),
            MsFlags::MS_NODEV,
            Some(options.as_str()),
        )
        .map_err(refused(format!("cover {}", path.display())))?;
        for (fresh, mode) in FRESH.iter().filter(|(fresh, _)| Path::new(fresh).starts_with(path)) {
            if let Ok(metadata) = fs::metadata(fresh) {
                self.begin_empty(Path::new(fresh), *mode, &metadata)?;
            }
        }
        self.cover_mounted(path)
    }

    fn cover_mounted(&mut self, path: &Path) -> Result<(), Refused> {
        let is_hidden = |mounted: &Path| {
            let fresh = FRESH.iter().map(|(fresh, _)| Path::new(fresh));
            fresh
                .chain(self.absent.iter().map(PathBuf::as_path))
                .any(|away| mounted.starts_with(away))
        };
        let inner = self.mounts.iter().filter(|inner| inner.starts_with(path) && *inner != path);
        let inner: Vec<_> = inner.filter(|inner| !is_hidden(inner)).cloned().collect();
        let outermost = inner.iter().filter(|mounted| {
            !inner.iter().any(|other| other != *mounted && mounted.starts_with(other))
        });
        for mounted in outermost {
            match fs::metadata(mounted) {
                Ok(metadata) if metadata.is_dir() => self.fill(mounted, &metadata)?,
                // A file that is mounted over another one is not seen; the one below is.
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets a directory begin empty; of the directories that services have at hand, only they themselves are there.
    fn begin_empty(&mut self, path: &Path, mode: u32, metadata: &Metadata) -> Result<(), Refused> {
        let plain = self.layer()?.join("plain");
        make_like(&plain, metadata)?;
        fs::set_permissions(&plain, fs::Permissions::from_mode(mode))
            .map_err(refused(format!("make {}", plain.display())))?;
        if path == Path::new("/run") {
            for child in children(path)? {
                if let Ok(metadata) = fs::symlink_metadata(&child)
                    && metadata.is_dir()
                    && let Some(name) = child.file_name()
                {
                    make_like(&plain.join(name), &metadata)?;
                }
            }
        }
        let target = below(&self.root, path);
        directory(&target, 0o755)?;
        bind(&plain, &target)
    }

    /// Has all names that are known lead to the yard itself, and nobody asked for others.
    fn name(&self, upper: &Path) -> Result<(), Refused> {
        let mut hosts = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        for name in own.iter().chain(&self.ground.names) {
            hosts.push_str("127.0.0.1 ");
            hosts.push_str(name);
            hosts.push('\n');
        }
        for (name, text) in [("hosts", hosts.as_str()), ("resolv.conf", "# Nobody is asked.\n")] {
            let path = upper.join(name);
            let readable = fs::Permissions::from_mode(0o644);
            fs::File::create(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .and_then(|()| fs::set_permissions(&path, readable))
                .map_err(refused(format!("write {}", path.display())))?;
        }
        Ok(())
    }

    /// Makes a place for what is written in one part of the tree.
    fn layer(&mut self) -> Result<PathBuf, Refused> {
        let layer = self.ground.place.join("layers").join(self.layers.to_string());
        self.layers += 1;
        directory(&layer, 0o755)?;
        Ok(layer)
    }
}

fn bind(from: &Path, target: &Path) -> Result<(), Refused> {
    mount(Some(from), target, NOTHING, MsFlags::MS_BIND, NOTHING)
        .map_err(refused(format!("show {}", target.display())))?;
    protect(target, Access::Write)
}

/// Makes a directory with the owner and the permissions of another one.
fn make_like(path: &Path, metadata: &Metadata) -> Result<(), Refused> {
    let made = match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    made.and_then(|()| chown(path, Some(metadata.uid()), Some(metadata.gid())))
        .and_then(|()| {
            fs::set_permissions(path, fs::Permissions::from_mode(metadata.mode() & 0o7777))
        })
        .map_err(refused(format!("make {}", path.display())))
}

/// Takes something out of what a layer covers: a device of number 0 there says that nothing is below (overlayfs.rst).
fn take_out(upper: &Path, base: &Path, absent: &Path) -> Result<(), Refused> {
    let (mut lower, mut covering) = (base.to_owned(), upper.to_owned());
    let inner: Vec<_> = absent.strip_prefix(base).unwrap_or(absent).components().collect();
    for (number, component) in inner.iter().enumerate() {
        lower.push(component);
        covering.push(component);
        let Ok(metadata) = fs::symlink_metadata(&lower) else { return Ok(()) };
        if number + 1 < inner.len() {
            make_like(&covering, &metadata)?;
        } else if fs::symlink_metadata(&covering).is_err() {
            mknod(&covering, SFlag::S_IFCHR, Mode::empty(), 0)
                .map_err(refused(format!("take {} out", absent.display())))?;
        }
    }
    Ok(())
}

fn devices(root: &Path) -> Result<(), Refused> {
    show_devices(root)?;
    let devices = root.join("dev");
    let terminals = devices.join("pts");
    directory(&terminals, 0o755)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), &terminals, Some("devpts"), flags, Some("newinstance,ptmxmode=0666"))
        .map_err(refused("mount /dev/pts"))?;
    for (name, to) in LINKS {
        symlink(to, devices.join(name)).map_err(refused(format!("link /dev/{name}")))?;
    }
    Ok(())
}

fn children(path: &Path) -> Result<Vec<PathBuf>, Refused> {
    let entries = fs::read_dir(path).map_err(refused(format!("list {}", path.display())))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// Returns a path without links above its last part; nothing for what is not there.
fn resolved(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    Some(path.parent()?.canonicalize().ok()?.join(name))
}

/// Lists where file systems with files of somebody are mounted, the outer ones first.
fn mounted() -> Result<Vec<PathBuf>, Refused> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(refused("list mounts"))?;
    let mut mounts: Vec<_> = table.lines().filter_map(real_mount).collect();
    mounts.sort();
    mounts.dedup();
    Ok(mounts)
}

/// Reads where a line of `proc_pid_mountinfo(5)` has something mounted, if that holds files.
fn real_mount(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let kind = after.split(' ').next()?;
    let path = unescaped(before.split(' ').nth(4)?);
    (!UNREAL.contains(&kind)).then_some(path)
}

/// Writes a path as an option of an overlay (`ovl_next_opt`, `ovl_parse_layer`).
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for letter in path.display().to_string().chars() {
        if matches!(letter, '\\' | ',' | ':') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_that_hold_files_are_covered() {
        let real = "36 35 98:0 / /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(real_mount(real), Some(PathBuf::from("/mnt/a b")));
        assert_eq!(real_mount("24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw"), None);
        assert_eq!(real_mount("24"), None);
    }

    #[test]
    fn letters_that_part_options_are_escaped() {
        assert_eq!(escaped(Path::new("/a,b:c\\d")), "/a\\,b\\:c\\\\d");
    }
}
