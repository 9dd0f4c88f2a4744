//! The data directory of a cluster that is brought back.
//!
//! # Invariants
//!
//! - A directory in which a server may run is not touched.
//! - From the first change until the last the cluster cannot be started: it has no `pg_control`. That comes
//!   last, under another name first, when all else is on the disk; and it names no checkpoint, so that
//!   without its `backup_label` no server starts from it either.
//! - `backup_manifest` tells of the directory as it was placed: what the restore made, or made otherwise, stands in
//!   it as it was made. So whoever verifies the directory before it is started finds what is not so.
//! - Links to tablespaces lead where the caller said, never where they led on the server.
//!
//! # Crash consistency
//!
//! A kill leaves a directory without `pg_control`, which the next restore with `--delta` completes. `PG_VERSION`
//! is there from the beginning: by that the directory is known as a cluster's.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use lifeboat_model::{Classify, ErrorKind, Hint};
use lifeboat_tiers::durable;

use super::settings::{AUTO_CONF, RecoverySettings, with_inclusions, without_places};
use crate::base::inventory::{CONTROL_FILE, Tablespace};
use crate::base::made_file;
use crate::base::manifest::{ConfigurationRole, Manifest, ManifestFile};
use crate::base::verification_manifest::{VERIFICATION_MANIFEST, verification_manifest};
use crate::control::{ControlError, invalidate_checkpoint};

/// What tells a cluster, and its major version.
const VERSION_FILE: &str = "PG_VERSION";

/// Directories that a server wants, which may lack in what was restored.
const DIRECTORIES: [&str; 4] = ["pg_wal", "pg_wal/archive_status", "pg_tblspc", "global"];

/// Where files of settings go that lay neither in the data directory nor beside the main one.
const ELSEWHERE: &str = "settings-from-elsewhere";

/// Permissions of what only the server's user may read.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;

/// What a server takes for a data directory's permissions; all others it refuses.
const GROUP_DIRECTORY: u32 = 0o750;

/// What may be there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Empty,
    /// An older state of a cluster, of which what is right stays.
    Cluster,
}

/// Whose the cluster becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// A tablespace and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedTablespace {
    /// Its number.
    pub oid: u32,
    /// Where it was.
    pub from: PathBuf,
    /// Where it goes.
    pub to: PathBuf,
    /// Whether a link leads there; none does to one that lies in the data directory.
    pub is_linked: bool,
}

/// Where a cluster goes.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The data directory.
    pub data: PathBuf,
    /// The tablespaces.
    pub tablespaces: Vec<PlacedTablespace>,
    /// Whose it becomes; absent where only its own user may decide.
    pub owner: Option<Owner>,
    /// The data directory's permissions on the server.
    pub mode: u32,
}

/// What a cluster needs beside its files.
#[derive(Debug)]
pub struct Finish {
    /// The control file as it was copied.
    pub control: Vec<u8>,
    /// The bytes of `backup_label`.
    pub label: Vec<u8>,
    /// Files of settings that lay elsewhere, with their paths there.
    pub configuration: Vec<(ConfigurationRole, PathBuf, Vec<u8>)>,
    /// What the server is told.
    pub settings: RecoverySettings,
    /// What the backup is.
    pub manifest: Manifest,
}

/// A cluster could not be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// A server may run there.
    #[error("`{}` may be in use: it has a postmaster.pid", data.display())]
    InUse {
        /// The data directory.
        data: PathBuf,
    },
    /// What is there is no cluster.
    #[error("`{}` holds something that is no cluster", data.display())]
    NoCluster {
        /// The data directory.
        data: PathBuf,
    },
    /// Something is there.
    #[error("`{}` is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The control file of the backup cannot be used.
    #[error("the backup's control file cannot be used")]
    Control(#[from] ControlError),
}

impl Classify for PlacementError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } | Self::NoCluster { .. } | Self::NotEmpty { .. } => {
                ErrorKind::Conflict
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Control(source) => source.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::InUse { .. } => {
                "stop the server that runs there; if none does since the host crashed, remove the file"
            }
            Self::NoCluster { .. } => "give an empty directory, or that of a cluster",
            Self::NotEmpty { .. } => {
                "give an empty directory, or `--delta` to keep what is right of the cluster that is there"
            }
            _ => return None,
        };
        Some(Hint::new(text))
    }
}

impl Placement {
    /// Decides where tablespaces go: `moved` says it of some by where they were, the others lie beside the
    /// data directory, so that nothing is written where the server's own are.
    pub fn place_tablespaces(
        data: &Path,
        tablespaces: &[Tablespace],
        moved: &[(PathBuf, PathBuf)],
    ) -> Vec<PlacedTablespace> {
        let place = |tablespace: &Tablespace| {
            let Tablespace { oid, location, .. } = tablespace;
            let is_linked = location.is_absolute();
            let beside = || {
                let mut folder = data.as_os_str().to_owned();
                folder.push("-tablespaces");
                Path::new(&folder).join(oid.to_string())
            };
            let told = moved.iter().find(|(from, _)| from == location);
            let to = match told {
                _ if !is_linked => data.join("pg_tblspc").join(oid.to_string()),
                Some((_, to)) => to.clone(),
                None => beside(),
            };
            PlacedTablespace { oid: *oid, from: location.clone(), to, is_linked }
        };
        tablespaces.iter().map(place).collect()
    }

    /// Fails if a server may run there; changes nothing.
    pub fn check_unused(&self) -> Result<(), PlacementError> {
        if exists(&self.data.join("postmaster.pid"))? {
            return Err(PlacementError::InUse { data: self.data.clone() });
        }
        Ok(())
    }

    /// Fails unless what is there may be replaced; changes nothing.
    pub fn check(&self, before: Before) -> Result<(), PlacementError> {
        self.check_unused()?;
        let data = self.data.clone();
        let linked = self.tablespaces.iter().filter(|tablespace| tablespace.is_linked);
        match before {
            Before::Empty => {
                refuse_occupied(&self.data)?;
                linked.map(|tablespace| &tablespace.to).try_for_each(|path| refuse_occupied(path))
            }
            Before::Cluster if is_empty(&self.data)? => Ok(()),
            Before::Cluster if exists(&self.data.join(VERSION_FILE))? => Ok(()),
            Before::Cluster => Err(PlacementError::NoCluster { data }),
        }
    }

    /// Makes the cluster impossible to start until it is whole, and known as one of this major version, so that a
    /// restore that is interrupted can be gone on with.
    pub fn begin(&self, before: Before, major: u32) -> Result<(), PlacementError> {
        self.check(before)?;
        if !exists(&self.data.join(VERSION_FILE))? {
            self.make_directory(&self.data, PRIVATE_DIRECTORY)?;
            self.put(VERSION_FILE, format!("{major}\n").as_bytes())?;
        }
        let control = self.data.join(CONTROL_FILE);
        match fs::remove_file(&control) {
            Ok(()) => {
                let directory = control.parent().unwrap_or(&self.data);
                durable::sync_directory(directory).map_err(failed("write out", directory))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("remove", &control)(source)),
        }
        for tablespace in self.tablespaces.iter().filter(|tablespace| tablespace.is_linked) {
            // The server has to come through the folder above, too, where that is new.
            let above = tablespace.to.parent().unwrap_or(Path::new("/"));
            self.make_directory(above, PRIVATE_DIRECTORY)?;
            self.make_directory(&tablespace.to, PRIVATE_DIRECTORY)?;
            self.give(&tablespace.to)?;
        }
        Ok(())
    }

    /// Adds what makes the restored files a cluster that recovers, the control file last.
    pub fn finish(&self, finish: &Finish) -> Result<(), PlacementError> {
        for directory in DIRECTORIES {
            self.make_directory(&self.data.join(directory), PRIVATE_DIRECTORY)?;
        }
        self.link_tablespaces()?;
        let mut control = finish.control.clone();
        invalidate_checkpoint(&mut control)?;
        let mut files = vec![self.put("backup_label", &finish.label)?];
        let map = self.tablespace_map();
        if !map.is_empty() {
            files.push(self.put("tablespace_map", map.as_bytes())?);
        }
        files.extend(self.put_configuration(finish)?);
        files.push(made_file(CONTROL_FILE, &control, 0));
        self.put_manifest(&finish.manifest, files)?;
        self.put("recovery.signal", b"")?;
        let mode =
            if self.mode & 0o777 == GROUP_DIRECTORY { GROUP_DIRECTORY } else { PRIVATE_DIRECTORY };
        fs::set_permissions(&self.data, fs::Permissions::from_mode(mode))
            .map_err(failed("set the permissions of", &self.data))?;
        self.give(&self.data)?;
        durable::sync_directory(&self.data).map_err(failed("write out", &self.data))?;
        self.put(CONTROL_FILE, &control).map(drop)
    }

    /// Puts the manifest that tells of the backup's files, and of those that were made here.
    fn put_manifest(
        &self,
        manifest: &Manifest,
        made: Vec<ManifestFile>,
    ) -> Result<(), PlacementError> {
        let mut manifest = manifest.clone();
        for file in made {
            manifest.set_file(ManifestFile { modified: manifest.stopped.as_second(), ..file });
        }
        self.put(VERIFICATION_MANIFEST, &verification_manifest(&manifest)).map(drop)
    }

    fn link_tablespaces(&self) -> Result<(), PlacementError> {
        for tablespace in self.tablespaces.iter().filter(|tablespace| !tablespace.is_linked) {
            self.make_directory(&tablespace.to, PRIVATE_DIRECTORY)?;
        }
        let folder = self.data.join("pg_tblspc");
        for tablespace in self.tablespaces.iter().filter(|tablespace| tablespace.is_linked) {
            let link = folder.join(tablespace.oid.to_string());
            if link.is_symlink() {
                fs::remove_file(&link).map_err(failed("remove", &link))?;
            }
            symlink(&tablespace.to, &link).map_err(failed("link", &link))?;
            if let Some(Owner { uid, gid }) = self.owner {
                std::os::unix::fs::lchown(&link, Some(uid), Some(gid))
                    .map_err(failed("give away", &link))?;
            }
        }
        durable::sync_directory(&folder).map_err(failed("write out", &folder))
    }

    /// Returns the map from which a server makes the links anew.
    fn tablespace_map(&self) -> String {
        let linked = self.tablespaces.iter().filter(|tablespace| tablespace.is_linked);
        let escape = |path: &Path| {
            let text = path.to_string_lossy().replace('\\', "\\\\");
            text.replace('\n', "\\\n").replace('\r', "\\\r")
        };
        linked
            .map(|space| format!("{} {}\n", space.oid, escape(&space.to)))
            .collect::<Vec<_>>()
            .concat()
    }

    /// Puts the settings where the server looks if nobody tells it otherwise; returns what was made.
    fn put_configuration(&self, finish: &Finish) -> Result<Vec<ManifestFile>, PlacementError> {
        let mut made = Vec::new();
        let settings =
            finish.configuration.iter().find(|(role, ..)| *role == ConfigurationRole::Settings);
        let home = settings.and_then(|(_, path, _)| path.parent());
        let stored = |included: &Path| {
            let mut paths = finish.configuration.iter().map(|(_, path, _)| path);
            let is_stored = paths.any(|path| path.starts_with(included));
            is_stored.then(|| self.data.join(below_data(home, included)))
        };
        for (role, path, bytes) in &finish.configuration {
            let bytes = redirected(bytes, path, stored);
            made.push(match role {
                ConfigurationRole::Settings => {
                    let text = without_places(&String::from_utf8_lossy(&bytes));
                    self.put("postgresql.conf", text.as_bytes())?
                }
                ConfigurationRole::Access => self.put("pg_hba.conf", &bytes)?,
                ConfigurationRole::Users => self.put("pg_ident.conf", &bytes)?,
                ConfigurationRole::Other => self.put_included(&below_data(home, path), &bytes)?,
            });
        }
        if settings.is_some() {
            // Debian's file names this directory, and the server refuses to start where it lacks.
            self.make_directory(&self.data.join("conf.d"), PRIVATE_DIRECTORY)?;
        }
        let auto_conf = self.data.join(AUTO_CONF);
        let before = match fs::read(&auto_conf) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(failed("read", &auto_conf)(source)),
        };
        made.push(self.put(AUTO_CONF, finish.settings.write_into(&before).as_bytes())?);
        Ok(made)
    }

    /// Puts an included file, with the directories above it.
    fn put_included(&self, below: &Path, bytes: &[u8]) -> Result<ManifestFile, PlacementError> {
        let above = below.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        for directory in above.collect::<Vec<_>>().into_iter().rev() {
            self.make_directory(&self.data.join(directory), PRIVATE_DIRECTORY)?;
        }
        self.put(below, bytes)
    }

    fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<ManifestFile, PlacementError> {
        let path = self.data.join(&name);
        durable::replace(&path, bytes, PRIVATE_FILE).map_err(failed("write", &path))?;
        self.give(&path)?;
        Ok(made_file(name, bytes, 0))
    }

    fn make_directory(&self, path: &Path, mode: u32) -> Result<(), PlacementError> {
        if !path.is_dir() {
            durable::create_directories(path, mode).map_err(failed("make", path))?;
            self.give(path)?;
        }
        Ok(())
    }

    fn give(&self, path: &Path) -> Result<(), PlacementError> {
        let Some(Owner { uid, gid }) = self.owner else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(failed("give away", path))
    }
}

/// Returns a file whose directives lead to where what they include is now. One that is no text has none.
fn redirected(bytes: &[u8], path: &Path, place: impl Fn(&Path) -> Option<PathBuf>) -> Vec<u8> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let text = std::str::from_utf8(bytes).ok();
    text.map_or_else(|| bytes.to_vec(), |text| with_inclusions(text, directory, place).into_bytes())
}

/// Returns where a file of settings goes below the data directory: as it lay beside the main one, or by its
/// whole path.
fn below_data(home: Option<&Path>, path: &Path) -> PathBuf {
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(below) => below.to_owned(),
        None => Path::new(ELSEWHERE).join(path.strip_prefix("/").unwrap_or(path)),
    }
}

fn exists(path: &Path) -> Result<bool, PlacementError> {
    path.try_exists().map_err(failed("look at", path))
}

fn is_empty(path: &Path) -> Result<bool, PlacementError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(failed("look into", path)(source)),
    }
}

fn refuse_occupied(path: &Path) -> Result<(), PlacementError> {
    if is_empty(path)? { Ok(()) } else { Err(PlacementError::NotEmpty { path: path.to_owned() }) }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlacementError {
    let path = path.to_owned();
    move |source| PlacementError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{AtTarget, Place, ReadAhead};
    use super::super::target::RecoveryTarget;
    use super::*;
    use crate::wal::TimelineId;
    use std::os::unix::fs::MetadataExt as _;

    fn placement(home: &Path, tablespaces: &[Tablespace]) -> Placement {
        let data = home.join("data");
        let moved = [(PathBuf::from("/ssd"), home.join("moved"))];
        let tablespaces = Placement::place_tablespaces(&data, tablespaces, &moved);
        Placement { data, tablespaces, owner: None, mode: 0o750 }
    }

    fn put(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        durable::replace(path, bytes, 0o600).unwrap();
    }

    fn finish(configuration: Vec<(ConfigurationRole, PathBuf, Vec<u8>)>) -> Finish {
        let cluster = lifeboat_testing::postgres::Cluster::start().unwrap();
        Finish {
            control: fs::read(cluster.data_dir().join(CONTROL_FILE)).unwrap(),
            label: b"label".to_vec(),
            configuration,
            settings: RecoverySettings {
                target: RecoveryTarget::Latest,
                timeline: TimelineId(1),
                at_target: AtTarget::Promote,
                restore_command: "x".to_owned(),
                place: Place::Beside,
                read_ahead: ReadAhead::Usual,
            },
            manifest: crate::base::manifest::tests::sample(),
        }
    }

    #[test]
    fn a_running_server_or_a_strangers_folder_is_not_touched() {
        let home = tempfile::tempdir().unwrap();
        let placement = placement(home.path(), &[]);
        for before in [Before::Empty, Before::Cluster] {
            placement.check(before).unwrap();
        }
        put(&placement.data.join("photo.jpg"), b"x");
        assert!(matches!(placement.begin(Before::Empty, 15), Err(PlacementError::NotEmpty { .. })));
        assert!(matches!(
            placement.begin(Before::Cluster, 15),
            Err(PlacementError::NoCluster { .. })
        ));
        put(&placement.data.join("PG_VERSION"), b"15\n");
        put(&placement.data.join(CONTROL_FILE), b"control");
        put(&placement.data.join("postmaster.pid"), b"1\n");
        assert!(matches!(placement.begin(Before::Cluster, 15), Err(PlacementError::InUse { .. })));
        assert!(placement.data.join(CONTROL_FILE).exists());
        fs::remove_file(placement.data.join("postmaster.pid")).unwrap();
        placement.begin(Before::Cluster, 15).unwrap();
        assert!(!placement.data.join(CONTROL_FILE).exists());
    }

    #[test]
    fn the_control_file_comes_last_and_names_no_checkpoint() {
        let home = tempfile::tempdir().unwrap();
        let spaces = [(16400, "/ssd"), (16401, "/hdd"), (16402, "pg_tblspc/16402")];
        let spaces = spaces.map(|(oid, location)| Tablespace {
            oid,
            name: oid.to_string(),
            location: location.into(),
        });
        let placement = placement(home.path(), &spaces);
        placement.begin(Before::Empty, 15).unwrap();
        put(&placement.data.join(AUTO_CONF), b"recovery_target = 'immediate'\n");
        let etc = Path::new("/etc/postgresql/15/main");
        let configuration = vec![
            (
                ConfigurationRole::Settings,
                etc.join("postgresql.conf"),
                b"hba_file = 'x'\ninclude '/srv/b.conf'\n".to_vec(),
            ),
            (ConfigurationRole::Access, etc.join("pg_hba.conf"), b"local".to_vec()),
            (ConfigurationRole::Other, etc.join("conf.d/a.conf"), b"a".to_vec()),
            (ConfigurationRole::Other, "/srv/b.conf".into(), b"b".to_vec()),
        ];
        let finish = finish(configuration);
        placement.finish(&finish).unwrap();
        let read = |name: &str| fs::read_to_string(placement.data.join(name)).unwrap();
        assert_eq!(read("backup_label"), "label");
        let elsewhere = placement.data.join("settings-from-elsewhere/srv/b.conf");
        let settings = format!("# hba_file = 'x'\ninclude '{}'\n", elsewhere.display());
        assert_eq!(read("postgresql.conf"), settings);
        assert_eq!(fs::read(&elsewhere).unwrap(), b"b\n");
        assert_eq!(read("conf.d/a.conf"), "a\n");
        assert!(read(AUTO_CONF).starts_with("# recovery_target = 'immediate'\n"));
        let (moved, beside) =
            (home.path().join("moved"), home.path().join("data-tablespaces/16401"));
        assert_eq!(
            read("tablespace_map"),
            format!("16400 {}\n16401 {}\n", moved.display(), beside.display())
        );
        let link = |oid: &str| fs::read_link(placement.data.join("pg_tblspc").join(oid)).unwrap();
        assert_eq!((link("16400"), link("16401")), (moved, beside));
        assert!(placement.data.join("pg_tblspc/16402").is_dir());
        assert_eq!(fs::metadata(&placement.data).unwrap().mode() & 0o777, 0o750);
        let control = fs::read(placement.data.join(CONTROL_FILE)).unwrap();
        let (control, before) = (
            crate::control::ControlFile::parse(&control).unwrap(),
            crate::control::ControlFile::parse(&finish.control).unwrap(),
        );
        assert_eq!(control.system_id, before.system_id);
        assert_ne!(control.checkpoint_lsn, before.checkpoint_lsn);
    }
}
