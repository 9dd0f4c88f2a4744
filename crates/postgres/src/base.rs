//! A base backup: the files of a running server, copied while it changes them, from which recovery can
//! begin.
//!
//! ```text
//! start ──> prove that these are its files ──> enumerate ──> read, in pieces, by several threads
//!                                                                  │
//!   label, map, manifest <── stop <── control file, last of all <──┘
//! ```
//!
//! - [`window`]: start and stop, over one session.
//! - [`inventory`], [`exclusion`], [`relation`]: which files there are, and which are not copied.
//! - [`reader`], [`findings`]: reading pages, and what is found of them.
//! - [`parent`]: when a former backup may say that a page is as it was.
//! - [`sum`]: the checksum of a file whose pieces are read in no order.
//! - [`control_copy`], [`configuration`]: the files that are read in a way of their own.
//! - [`history_handover`]: what a server that took another's place never archived.
//! - [`manifest`], [`mod@verification_manifest`], [`label`]: what is told of a backup.
//!
//! # Where it lies
//!
//! Below `/lifeboat/<asset>/` of a snapshot: `pgdata/…`, `tblspc/<oid>/…`, `etc/…` with the whole path of
//! each file of settings that lies elsewhere, `backup_label`, `tablespace_map` if there are tablespaces, and
//! `manifest.json`. `pgdata` is a data directory without its `backup_label`, so that nobody starts it by
//! mistake as if it were whole: the one lies beside the other.
//!
//! # Invariants
//!
//! - A backup is of use only with all of the log from its start to its stop; whoever publishes it waits
//!   for that.
//! - No other time decides what is read than the server's own: positions in the log do, never `mtime`.

pub mod configuration;
pub mod control_copy;
pub mod error;
pub mod exclusion;
pub mod findings;
pub mod history_handover;
pub mod inventory;
pub mod label;
pub mod manifest;
pub mod parent;
pub mod reader;
pub mod relation;
pub mod sum;
pub mod verification_manifest;
pub mod window;

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::{Clock, Lsn};
use lifeboat_repository::source::{
    EntryMetadata, PagedEntry, PagedKind, PagedSource, PieceSize, Source, StreamReader,
    StreamSource,
};
use tokio::runtime::Handle;

pub use self::error::BaseError;
pub use self::inventory::Inventory;
pub use self::label::BackupLabel;
pub use self::manifest::Manifest;
pub use self::parent::Parent;
pub use self::window::{Beginning, Ended, Window};

use self::configuration::Found;
use self::control_copy::copy_control;
use self::findings::{FileFinding, Findings, LogSpan};
use self::inventory::{CONTROL_FILE, DATA_FOLDER, Entry, EntryKind};
use self::manifest::{ConfigurationFile, MANIFEST, ManifestFile, PageChecks, SCHEMA, WrittenPath};
use self::reader::{LiveFile, Reading};
use self::relation::Fork;
use self::sum::{Crc32c, Shift};
use self::verification_manifest::{VERIFICATION_MANIFEST, verification_manifest};
use crate::control::ControlFile;
use crate::page::{Checksums, PAGE_LENGTH};

/// The folder of the files of settings that lie outside of the data directory.
pub const ETC_FOLDER: &str = "etc";

/// The permissions of what only its owner may read.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;

/// A backup of one server while it is made: what is to be read, and what comes of it.
#[derive(Clone)]
pub struct BaseBackup(Arc<Shared>);

struct Shared {
    window: Arc<Window>,
    inventory: Inventory,
    reading: Arc<Reading>,
    configuration: Vec<Found>,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    end: Mutex<End>,
}

/// What is known at the end.
#[derive(Debug, Default)]
struct End {
    /// The control file's bytes and what they say.
    control: Option<(Vec<u8>, ControlFile)>,
    ended: Option<Ended>,
}

impl std::fmt::Debug for BaseBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BaseBackup").field("window", &self.0.window).finish_non_exhaustive()
    }
}

impl BaseBackup {
    /// Looks through the files of a server whose window is open.
    pub fn prepare(
        window: Window,
        runtime: Handle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BaseError> {
        let beginning = window.beginning();
        let inventory = Inventory::take(&beginning.places)?;
        let configuration = beginning.configuration.outside_of(&beginning.places.data)?;
        let (start, control) = (beginning.start, beginning.control.clone());
        let window = Arc::new(window);
        let reading = Arc::new(Reading {
            start,
            checksums: control.checksums(),
            log_begin: Lsn(control.segment_size.bytes().into()),
            findings: Findings::default(),
            hold: Arc::clone(&window) as _,
            shift: Arc::new(Shift::by(PieceSize::default().bytes().into())),
        });
        let end = Mutex::default();
        let shared = Shared { window, inventory, reading, configuration, runtime, clock, end };
        Ok(Self(Arc::new(shared)))
    }

    /// Returns the window.
    pub fn window(&self) -> &Window {
        &self.0.window
    }

    /// Returns what is backed up.
    pub fn inventory(&self) -> &Inventory {
        &self.0.inventory
    }

    /// Returns what the server said at the end, once all sources were read.
    pub fn ended(&self) -> Option<Ended> {
        self.0.end().ended.clone()
    }

    /// Returns what a repository reads, for files below `folder`, like `/lifeboat/database`.
    ///
    /// A parent has to be the snapshot that the backup has as its parent.
    pub fn sources(&self, folder: &Path, parent: Option<&Parent>) -> Vec<Source> {
        let shared = &self.0;
        let mut entries: Vec<_> =
            shared.inventory.entries.iter().map(|entry| shared.entry(entry, parent)).collect();
        entries.extend(shared.configuration.iter().filter_map(|(_, path)| {
            let name = Path::new(ETC_FOLDER).join(path.strip_prefix("/").unwrap_or(path));
            shared.plain_file(&name, path)
        }));
        let metadata = shared.made_up(PRIVATE_DIRECTORY);
        let paged = PagedSource { path: folder.to_owned(), metadata, entries };
        let mut sources = vec![Source::Paged(paged)];
        sources.extend(self.last(folder).into_iter().map(Source::Stream));
        sources
    }

    /// Returns what is read after all else, in this order.
    fn last(&self, folder: &Path) -> Vec<StreamSource> {
        let data = folder.join(DATA_FOLDER);
        let mut streams = vec![self.stream(data.join(CONTROL_FILE), Shared::control)];
        streams.push(self.stream(folder.join("backup_label"), Shared::label));
        if !self.window().beginning().places.tablespaces.is_empty() {
            streams.push(self.stream(folder.join("tablespace_map"), Shared::map));
        }
        streams.push(self.stream(data.join(VERIFICATION_MANIFEST), |shared| {
            Ok(verification_manifest(&shared.manifest()?))
        }));
        streams.push(
            self.stream(folder.join(MANIFEST), |shared| Ok(shared.manifest()?.to_document())),
        );
        streams
    }

    fn stream(
        &self,
        path: PathBuf,
        make: fn(&Shared) -> Result<Vec<u8>, BaseError>,
    ) -> StreamSource {
        let shared = Arc::clone(&self.0);
        let metadata = shared.made_up(PRIVATE_FILE);
        let open = move || {
            let bytes = make(&shared).map_err(io::Error::other)?;
            Ok(Box::new(Made(Cursor::new(bytes))) as Box<dyn StreamReader>)
        };
        StreamSource::new(path, open).last().with_metadata(metadata)
    }

    /// Returns what the backup is, once all sources were read.
    pub fn manifest(&self) -> Result<Manifest, BaseError> {
        self.0.manifest()
    }
}

/// A document that was made when its turn came.
struct Made(Cursor<Vec<u8>>);

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl StreamReader for Made {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn end(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metadata of what is on no disk: it is of whoever owns the data directory.
    fn made_up(&self, permissions: u32) -> EntryMetadata {
        let top = self.inventory.entries.first().map(|entry| entry.metadata);
        let owner = top.map_or((0, 0), |top| (top.uid, top.gid));
        EntryMetadata::new(permissions, owner, self.window.beginning().started)
    }

    fn entry(&self, entry: &Entry, parent: Option<&Parent>) -> PagedEntry {
        let kind = match entry.kind {
            EntryKind::Directory => PagedKind::Directory,
            EntryKind::File { size, identity, relation } => {
                let piece_size = PieceSize::default();
                let paths = (entry.source.clone(), entry.path.clone());
                let reading = Arc::clone(&self.reading);
                let pieces = piece_size.count(size);
                let mut file = LiveFile::new(paths, identity, relation, pieces, reading);
                let is_main = relation.is_some_and(|relation| relation.fork == Fork::Main);
                let former = parent.filter(|_| is_main);
                file.unchanged_before =
                    former.and_then(|parent| parent.unchanged_before(&entry.path, identity));
                PagedKind::File { size, piece_size, content: Arc::new(file) }
            }
        };
        PagedEntry { path: entry.path.clone(), metadata: entry.metadata, kind }
    }

    /// Returns a file that has no pages, unless it is gone.
    fn plain_file(&self, name: &Path, source: &Path) -> Option<PagedEntry> {
        let metadata = source.metadata().ok()?;
        let kind =
            EntryKind::File { size: metadata.len(), identity: (&metadata).into(), relation: None };
        let entry = Entry {
            path: name.to_owned(),
            source: source.to_owned(),
            metadata: EntryMetadata::from(&metadata),
            modified: 0,
            kind,
        };
        Some(self.entry(&entry, None))
    }

    fn control(&self) -> Result<Vec<u8>, BaseError> {
        self.runtime.block_on(self.window.ping())?;
        let (bytes, control) =
            self.runtime.block_on(copy_control(&self.window.control_path(), &*self.clock))?;
        self.end().control = Some((bytes.clone(), control));
        Ok(bytes)
    }

    fn label(&self) -> Result<Vec<u8>, BaseError> {
        let ended = self.runtime.block_on(self.window.stop())?;
        let label = ended.label.clone();
        self.end().ended = Some(ended);
        Ok(label)
    }

    fn map(&self) -> Result<Vec<u8>, BaseError> {
        let map = self.end().ended.as_ref().map(|ended| ended.map.clone());
        map.ok_or_else(not_stopped)
    }

    fn manifest(&self) -> Result<Manifest, BaseError> {
        let end = self.end();
        let ((control_bytes, control), ended) =
            end.control.as_ref().zip(end.ended.as_ref()).ok_or_else(not_stopped)?;
        let beginning = self.window.beginning();
        let checksums = page_checks(&beginning.control, control);
        let span = LogSpan { start: beginning.start, stop: ended.stop };
        let configuration = self
            .configuration
            .iter()
            .map(|(role, path)| ConfigurationFile { role: *role, path: WrittenPath(path.clone()) });
        Ok(Manifest {
            schema: SCHEMA,
            label: beginning.label.clone(),
            system_id: beginning.control.system_id,
            server_version: beginning.version.0,
            origin: beginning.origin,
            timeline: beginning.timeline,
            start_lsn: beginning.start,
            stop_lsn: ended.stop,
            started: beginning.started,
            stopped: ended.stopped,
            segment_size: beginning.control.segment_size.bytes(),
            checksums,
            hint_bits: beginning.hint_bits,
            limits: control.limits,
            data_directory: WrittenPath(beginning.places.data.clone()),
            tablespaces: beginning.places.tablespaces.clone(),
            version_directory: beginning.places.version_directory.clone(),
            configuration: configuration.collect(),
            files: self.files((control_bytes, control), ended, span, checksums),
        })
    }

    fn files(
        &self,
        (control_bytes, control): (&[u8], &ControlFile),
        ended: &Ended,
        span: LogSpan,
        checksums: PageChecks,
    ) -> Vec<ManifestFile> {
        let read = self.inventory.entries.iter().filter_map(|entry| {
            let finding = self.reading.findings.of(&entry.path);
            described(entry, &finding, span, checksums)
        });
        let written = control.written.as_second();
        let control = made_file(CONTROL_FILE, control_bytes, written);
        let stopped = ended.stopped.as_second();
        let label = made_file("backup_label", &ended.label, stopped);
        let map = made_file("tablespace_map", &ended.map, stopped);
        let map = (!ended.map.is_empty()).then_some(map);
        let mut files: Vec<_> = read.chain([control, label]).chain(map).collect();
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        files
    }
}

fn not_stopped() -> BaseError {
    BaseError::Label { what: "it was not stopped".to_owned() }
}

fn page_checks(began: &ControlFile, ended: &ControlFile) -> PageChecks {
    match (began.checksums(), ended.checksums()) {
        (Checksums::On, Checksums::On) => PageChecks::On,
        (Checksums::Off, Checksums::Off) => PageChecks::Off,
        _ => PageChecks::Changed,
    }
}

/// Describes a file that was read; nothing, if it was gone or is a directory.
fn described(
    entry: &Entry,
    finding: &FileFinding,
    span: LogSpan,
    checksums: PageChecks,
) -> Option<ManifestFile> {
    let EntryKind::File { size, identity, relation } = entry.kind else { return None };
    if finding.is_gone {
        return None;
    }
    let (damaged, damaged_more) = match checksums {
        PageChecks::Changed => (Vec::new(), 0),
        PageChecks::On | PageChecks::Off => finding.damaged(span),
    };
    Some(ManifestFile {
        path: WrittenPath(entry.path.clone()),
        size,
        modified: entry.modified,
        identity: (!finding.is_replaced).then_some(identity),
        crc32c: if size == 0 { Some(Crc32c::default()) } else { finding.sum },
        pages: relation.map(|_| size / PAGE_LENGTH as u64),
        damaged: damaged.into_iter().map(|block| block.0).collect(),
        damaged_more,
    })
}

/// Describes a file of the data directory that is made, or comes last.
pub(crate) fn made_file(name: impl AsRef<Path>, bytes: &[u8], modified: i64) -> ManifestFile {
    ManifestFile {
        path: WrittenPath(Path::new(DATA_FOLDER).join(name)),
        size: bytes.len() as u64,
        modified,
        identity: None,
        crc32c: Some(Crc32c::of(bytes)),
        pages: None,
        damaged: Vec::new(),
        damaged_more: 0,
    }
}
