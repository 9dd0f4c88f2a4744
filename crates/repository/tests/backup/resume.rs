//! Backups that go on where a killed one stopped: its packs are adopted, and nothing is stored twice.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lifeboat_model::{ByteSize, Cancel, PackId, Silent, SystemClock, Timestamp};
use lifeboat_repository::backup::{BackupError, BackupOptions, BackupReport, backup};
use lifeboat_repository::index::{IndexFile, PackEntry};
use lifeboat_repository::source::{Source, StreamReader, StreamSource};
use lifeboat_repository::{Indexed, Repository};
use lifeboat_testing::tree::Sample;
use lifeboat_tiers::durable;
use lifeboat_tiers::fault::{FaultTier, Moment, Operation, Rule};

use crate::site::{Site, assert_stored_once, files, noise};

/// Small packs, so that a little data makes several.
pub(crate) fn run(
    repository: &Repository<Indexed>,
    sources: Vec<Source>,
) -> Result<BackupReport, BackupError> {
    let options = BackupOptions {
        pack_size: ByteSize(4 << 20),
        time: Some(Timestamp::UNIX_EPOCH),
        ..BackupOptions::new("site")
    };
    backup(repository, sources, &options, &Silent, &Cancel::new(), &SystemClock)
}

/// Backs up onto a tier that is killed at a write.
fn killed(site: &Site, nth: u64, moment: Moment) -> Result<BackupReport, BackupError> {
    let tier = Arc::new(FaultTier::new(site.tier()));
    let repository = site.repository_on(Arc::clone(&tier) as _);
    tier.add(Rule::kill_at_write(nth, moment));
    run(&repository, vec![files(&[&site.source()])])
}

/// Files of one piece and a file of many.
pub(crate) fn write_files(source: &Path) {
    Sample::new(71).files(20).build(source).unwrap();
    for number in 0..12 {
        let path = source.join(format!("photo-{number}"));
        durable::replace(&path, &noise(400 << 10, 100 + number), 0o600).unwrap();
    }
    durable::replace(&source.join("film"), &noise(11 << 20, 7), 0o600).unwrap();
}

fn packs(site: &Site) -> Vec<PackId> {
    let files = site.repository().store().list::<PackId>().unwrap();
    files.into_iter().map(|file| file.id).collect()
}

fn orphans(site: &Site) -> Vec<PackId> {
    let listed = site.repository().index().packs().unwrap();
    packs(site).into_iter().filter(|pack| !listed.contains(pack)).collect()
}

/// Kills a backup at each of its writes, and the next one too; the one after them ends the work.
fn resumes(test: &str, moment: Moment) {
    let mut adopted = 0;
    for nth in 1.. {
        let site = Site::undisturbed(test);
        write_files(&site.source());
        if killed(&site, nth, moment).is_ok() {
            assert!(nth > 5, "packs of data, one of directories, an index and a snapshot");
            break;
        }
        _ = killed(&site, nth.min(2), moment);
        let left = orphans(&site).len() as u64;
        let report = run(&site.repository(), vec![files(&[&site.source()])]).unwrap();
        assert!(report.is_complete());
        assert_eq!(report.counts.packs_adopted, left, "{:?}", report.counts);
        adopted += left;
        assert_stored_once(&site.repository());
        site.restic().check_read_data().unwrap();
        site.check();
    }
    assert!(adopted > 3, "{adopted}");
}

#[test]
fn nothing_is_stored_twice_after_kills_before_any_write() {
    resumes("killed-before", Moment::Before);
}

#[test]
fn nothing_is_stored_twice_after_kills_after_any_write() {
    resumes("killed-after", Moment::After);
}

/// Leaves packs that no index lists, and nothing else.
fn interrupted() -> Site {
    let site = Site::new();
    write_files(&site.source());
    killed(&site, 4, Moment::Before).unwrap_err();
    assert!(orphans(&site).len() >= 2);
    site
}

#[test]
fn a_damaged_orphan_is_not_built_upon() {
    let site = interrupted();
    let left = orphans(&site);
    let hex = left[0].to_hex();
    let path = site.path("tier/repo/data").join(&hex[..2]).join(&hex);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
    let report = run(&site.repository(), vec![files(&[&site.source()])]).unwrap();
    assert_eq!(report.counts.packs_adopted, left.len() as u64 - 1);
    assert_eq!(orphans(&site), [left[0]]);
    site.check();
    let (target, id) = (site.path("target"), report.snapshot.to_hex());
    site.restic().restore(&id, &target).unwrap();
    // What was stored for it is known from now on, and the pack is not looked into again.
    let again = run(&site.repository(), vec![files(&[&site.source()])]).unwrap();
    assert_eq!((again.counts.packs_adopted, again.counts.data_blobs), (0, 0));
}

#[test]
fn what_rustic_marked_is_left_alone() {
    let site = interrupted();
    let left = orphans(&site);
    let repository = site.repository();
    let entry = |file: &lifeboat_repository::store::ListedFile<PackId>| PackEntry {
        id: file.id,
        blobs: repository.pack_header(&file.id, file.size).unwrap().blobs,
        time: Some("2024-10-23T02:00:00+02:00".to_owned()),
        size: None,
    };
    let listed = repository.store().list::<PackId>().unwrap();
    let packs_to_delete = listed.iter().map(entry).collect();
    repository.save_index(&IndexFile { packs_to_delete, ..IndexFile::default() }).unwrap();
    let report = run(&site.repository(), vec![files(&[&site.source()])]).unwrap();
    assert_eq!(report.counts.packs_adopted, 0);
    assert_eq!(orphans(&site), left);
    site.check();
}

#[test]
fn where_nothing_is_new_no_packs_are_listed() {
    let site = Site::new();
    let stream = || StreamSource::document("/lifeboat/dump", noise(1 << 20, 3));
    run(&site.repository(), vec![Source::Stream(stream())]).unwrap();
    let lists = |content: StreamSource| {
        let tier = Arc::new(FaultTier::new(site.tier()));
        let repository = site.repository_on(Arc::clone(&tier) as _);
        let report = run(&repository, vec![Source::Stream(content)]).unwrap();
        let asked = tier.asked().into_iter();
        let asked =
            asked.filter(|asked| asked.operation == Operation::List && asked.path == "repo/data");
        (report.counts.bytes_added > 0, asked.count())
    };
    assert_eq!(lists(stream()), (false, 0));
    assert_eq!(lists(StreamSource::document("/lifeboat/dump", noise(1 << 20, 4))), (true, 1));
}

/// A stream that stops in the middle until it is told to go on.
struct Halting {
    content: io::Cursor<Vec<u8>>,
    go_on: Option<Receiver<()>>,
    rest: io::Cursor<Vec<u8>>,
}

impl Read for Halting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        if read > 0 {
            return Ok(read);
        }
        if let Some(go_on) = self.go_on.take() {
            go_on.recv().map_err(io::Error::other)?;
        }
        self.rest.read(buffer)
    }
}

impl StreamReader for Halting {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn halting(content: Vec<u8>) -> (Source, Sender<()>) {
    let (go_on, told) = channel();
    let stream = Halting {
        content: io::Cursor::new(content),
        go_on: Some(told),
        rest: io::Cursor::new(noise(1 << 20, 11)),
    };
    let path = PathBuf::from("/lifeboat/dump");
    let source = Source::Stream(StreamSource::new(path, move || Ok(Box::new(stream) as _)));
    (source, go_on)
}

#[test]
fn the_packs_of_a_backup_that_still_runs_may_be_listed_by_both() {
    let site = Site::new();
    let content = noise(14 << 20, 5);
    let (source, go_on) = halting(content.clone());
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| run(&site.repository(), vec![source]).unwrap());
        let mut attempts = 0;
        while packs(&site).len() < 2 {
            attempts += 1;
            assert!(attempts < 1000, "no packs within ten seconds");
            let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(10));
        }
        let quick = StreamSource::document("/lifeboat/other", content);
        let quick = run(&site.repository(), vec![Source::Stream(quick)]).unwrap();
        assert!(quick.counts.packs_adopted >= 2, "{:?}", quick.counts);
        site.restic().check_read_data().unwrap();
        go_on.send(()).unwrap();
        slow.join().unwrap()
    });
    assert_eq!(slow.counts.packs_adopted, 0);
    // Two indexes list some packs, in the same way.
    let mut listed = Vec::new();
    for file in site.repository().store().list::<lifeboat_model::IndexId>().unwrap() {
        let file = site.repository().index_file(&file.id).unwrap();
        listed.extend(file.packs.into_iter().map(|entry| entry.id));
    }
    assert!(listed.len() > packs(&site).len(), "{listed:?}");
    let restic = site.restic();
    restic.check_read_data().unwrap();
    site.check();
    restic.run(["prune"]).unwrap();
    restic.check_read_data().unwrap();
    restic.restore(&slow.snapshot.to_hex(), site.path("target")).unwrap();
}
