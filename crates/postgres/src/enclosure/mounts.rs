//! What is seen of the file system inside of an enclosure: a root directory with the few things a
//! program needs to run, and what the enclosure names. There is no `/proc`, `/sys`, `/run` or `/etc` of the host.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::Enclosure;
use super::inside::{Refused, refused};

/// Where programs and their libraries are; links among them stay links.
const SYSTEM: [&str; 9] =
    ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "nix", "gnu/store"];

/// Files that programs ask for, copied, since `/etc` holds secrets of the host.
const COPIED: [&str; 4] =
    ["etc/ld.so.cache", "etc/ld.so.conf", "etc/nsswitch.conf", "etc/localtime"];

/// Directories that harmless links from below `/usr` lead to: Debian's alternatives and dictionaries.
const LINKED_TO: [&str; 3] = ["etc/alternatives", "etc/ld.so.conf.d", "var/cache/postgresql/dicts"];

/// Devices without which programs do not run.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

pub(crate) const NOTHING: Option<&str> = None;

/// What may be done with what is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Device,
}

/// Builds the root directory and makes it the only one there is.
pub(super) fn build(enclosure: &Enclosure) -> Result<(), Refused> {
    let root = &enclosure.root;
    part()?;
    mount(Some(root), root, NOTHING, MsFlags::MS_BIND, NOTHING)
        .map_err(refused(format!("mount {}", root.display())))?;
    protect(root, Access::Write)?;
    show_system(root)?;
    show_devices(root)?;
    directory(&root.join("tmp"), 0o1777)?;
    let own = std::slice::from_ref(&enclosure.own_program);
    for path in enclosure.readable.iter().chain(own).filter(|path| !path.starts_with("/usr")) {
        show(root, path, Access::Read)?;
    }
    for path in &enclosure.writable {
        show(root, path, Access::Write)?;
    }
    name_user(enclosure)?;
    turn_to(root)
}

/// Sees to it that nothing that is mounted from here on is seen by the host, nor the other way round.
pub(crate) fn part() -> Result<(), Refused> {
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .map_err(refused("part from the host's mounts"))
}

/// Makes a directory the only root that there is.
pub(crate) fn turn_to(root: &Path) -> Result<(), Refused> {
    chdir(root).map_err(refused(format!("enter {}", root.display())))?;
    // The old root is stacked on the new one and then taken away (pivot_root(2), NOTES).
    pivot_root(".", ".").map_err(refused("change the root directory"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(refused("let go of the host's files"))?;
    chdir("/").map_err(refused("enter the new root directory"))
}

fn show_system(root: &Path) -> Result<(), Refused> {
    for name in SYSTEM.iter().chain(&LINKED_TO) {
        let path = Path::new("/").join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                let link =
                    fs::read_link(&path).map_err(refused(format!("read {}", path.display())))?;
                match symlink(link, root.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(refused(format!("link {}", path.display()))(error));
                    }
                    _ => {}
                }
            }
            Ok(metadata) if metadata.is_dir() => show(root, &path, Access::Read)?,
            _ => {}
        }
    }
    for name in COPIED {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        if from.is_file() {
            directory(to.parent().unwrap_or(root), 0o755)?;
            fs::copy(&from, &to).map_err(refused(format!("copy {}", from.display())))?;
        }
    }
    Ok(())
}

pub(crate) fn show_devices(root: &Path) -> Result<(), Refused> {
    let devices = root.join("dev");
    directory(&devices, 0o755)?;
    mount(
        Some("tmpfs"),
        &devices,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("mode=755"),
    )
    .map_err(refused("mount /dev"))?;
    for name in DEVICES {
        show(root, &Path::new("/dev").join(name), Access::Device)?;
    }
    // Where a server shares memory among its processes.
    directory(&devices.join("shm"), 0o1777)
}

/// Shows something of the host at its own path, with what is mounted below it.
pub(crate) fn show(root: &Path, path: &Path, access: Access) -> Result<(), Refused> {
    show_at(path, &root.join(path.strip_prefix("/").unwrap_or(path)), access)
}

/// Shows something at another path, with what is mounted below it.
pub(crate) fn show_at(path: &Path, target: &Path, access: Access) -> Result<(), Refused> {
    let metadata = fs::metadata(path).map_err(refused(format!("look at {}", path.display())))?;
    if metadata.is_dir() {
        directory(target, 0o755)?;
    } else {
        directory(target.parent().unwrap_or(target), 0o755)?;
        let file = fs::File::options().append(true).create(true).open(target);
        file.map_err(refused(format!("make {}", target.display())))?;
    }
    mount(Some(path), target, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
        .map_err(refused(format!("show {}", path.display())))?;
    protect(target, access)
}

/// Takes rights from a mount and from all below it. What the host forbids stays forbidden: the kernel
/// refuses to lift it in a namespace of users.
pub(crate) fn protect(target: &Path, access: Access) -> Result<(), Refused> {
    let more = match access {
        Access::Read => MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Access::Write => MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Access::Device => MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
    };
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(refused("list mounts"))?;
    for (path, flags) in
        table.lines().filter_map(mounted).filter(|(path, _)| path.starts_with(target))
    {
        let flags = flags | more | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        mount(NOTHING, &path, NOTHING, flags, NOTHING)
            .map_err(refused(format!("protect {}", path.display())))?;
    }
    Ok(())
}

/// Reads where something is mounted and what is forbidden there (`proc_pid_mountinfo(5)`, fields 5 and 6).
fn mounted(line: &str) -> Option<(PathBuf, MsFlags)> {
    let mut fields = line.split(' ').skip(4);
    let (path, options) = (unescaped(fields.next()?), fields.next()?);
    let flag = |option| match option {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    };
    Some((path, options.split(',').map(flag).collect()))
}

/// Undoes `\040` and its like.
pub(crate) fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let (bytes, mut path, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 4).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) if bytes[at] == b'\\' => {
                path.push(byte);
                at += 4;
            }
            _ => {
                path.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

/// Gives the user a name: some programs want one, and the host's list is nobody's business here.
fn name_user(enclosure: &Enclosure) -> Result<(), Refused> {
    let Enclosure { root, uid, gid, .. } = enclosure;
    for (name, text) in [
        ("passwd", format!("postgres:x:{uid}:{gid}::/tmp:/bin/sh\n")),
        ("group", format!("postgres:x:{gid}:\n")),
    ] {
        let path = root.join("etc").join(name);
        directory(&root.join("etc"), 0o755)?;
        let file = fs::File::create(&path);
        let written = file.and_then(|mut file| {
            // Whoever is inside reads it, whatever the mask of who made it: a service's may be 077.
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            io::Write::write_all(&mut file, text.as_bytes())
        });
        written.map_err(refused(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// Makes a directory with these permissions, and those above it so that everybody gets through, whatever the mask.
pub(crate) fn directory(path: &Path, mode: u32) -> Result<(), Refused> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        directory(above, 0o755)?;
    }
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(refused(format!("make {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table_are_read() {
        let line = "36 35 98:0 /mnt1 /mnt/a\\040b rw,nosuid,relatime master:1 - ext3 /dev/root rw";
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_RELATIME;
        assert_eq!(mounted(line), Some((PathBuf::from("/mnt/a b"), flags)));
        assert_eq!(mounted("36 35"), None);
        assert_eq!(unescaped("/a\\134\\0"), Path::new("/a\\\\0"));
    }
}
