//! Archived files, opened by us and by stock age and zstd.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::archive::object::{FRAME_LENGTH, SealedFile, open, open_summary};
use crate::wal::times::SegmentEnd;
use lifeboat_model::{Classify as _, ErrorKind};

fn big() -> WalFile {
    let mut writer = Writer::new(Lsn(3 << 20));
    writer.write(1, 0, 700, &5_000_000_u64.to_le_bytes());
    let end = usize::try_from(writer.position().0 - (3 << 20)).unwrap();
    let mut bytes = writer.finish();
    // Nothing that can be compressed, so that frames differ; and no records.
    for (at, byte) in bytes.iter_mut().enumerate().skip(end) {
        *byte = (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0];
    }
    file(address(3), bytes)
}

#[test]
fn what_was_sealed_is_opened_and_held_against_its_name() {
    let opener = opener();
    for file in [
        segment_file(1, 3),
        big(),
        history(2, "1\t0/300158\tno recovery target specified\n"),
        history(3, ""),
    ] {
        let sealed = SealedFile::new(&file, &opener.recipient());
        let (summary, back) = open(&sealed.name, &sealed.body, &opener).unwrap();
        assert_eq!((back.bytes(), summary.digest()), (file.bytes(), sealed.name.digest));
        assert!(sealed.may_be(sealed.body.len() as u64));
        assert!(!sealed.may_be(sealed.body.len() as u64 / 2));
    }
}

#[test]
fn a_summary_is_had_from_the_beginning_alone() {
    let opener = opener();
    let sealed = SealedFile::new(&big(), &opener.recipient());
    let summary = open_summary(&sealed.name, &sealed.body[..70_000], &opener).unwrap();
    let found = summary.segment.unwrap();
    assert_eq!(found.commits.unwrap().count, 1);
    assert_eq!(found.end, SegmentEnd::Open);
    assert!(summary.flaw.is_some(), "what follows is no log");
    assert!(open_summary(&sealed.name, &sealed.body[..60_000], &opener).is_err());
}

#[test]
fn a_file_under_another_name_is_refused() {
    let opener = opener();
    let sealed = SealedFile::new(&segment_file(1, 3), &opener.recipient());
    let mut other = sealed.name;
    other.file = name(1, 4).into();
    let mut elsewhere = sealed.name;
    elsewhere.system = SystemId(8);
    let mut digest = sealed.name;
    digest.digest = "00000000deadbeef".parse().unwrap();
    for wrong in [other, elsewhere, digest] {
        let error = open(&wrong, &sealed.body, &opener).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(open_summary(&wrong, &sealed.body, &opener).is_err());
    }
}

#[test]
fn cut_off_anywhere_it_is_damaged() {
    let opener = opener();
    let sealed = SealedFile::new(&segment_file(1, 3), &opener.recipient());
    for length in (0..sealed.body.len()).step_by(7) {
        let error = open(&sealed.name, &sealed.body[..length], &opener).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn frames_that_hold_more_or_less_than_they_claim_are_refused() {
    let opener = opener();
    let plain = segment(3);
    let name = ArchivedFile::of(address(3), &plain);
    let summary = Summary::of(address(3), &plain).frame();
    let frame = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    for frames in [
        frame(&vec![0; 2 * FRAME_LENGTH]),
        [frame(&plain), frame(b"more")].concat(),
        frame(&plain[1..]),
        [frame(&plain), b"rest".to_vec()].concat(),
        vec![],
    ] {
        let sealed = opener.recipient().seal(&[summary.clone(), frames].concat());
        let error = open(&name, &sealed, &opener).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn stock_age_and_zstd_give_the_plain_file() {
    let identity = age::x25519::Identity::generate().to_string();
    let secret = Secret::new(identity.expose_secret().to_owned());
    let opener = Opener::from_age_identity(&secret).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    write(&place("identity"), secret.expose().as_bytes());
    for file in [big(), history(3, "")] {
        let sealed = SealedFile::new(&file, &opener.recipient());
        write(&place("sealed"), &sealed.body);
        let line = "age -d -i identity sealed | zstd -q -d > plain";
        let shell = ["-o", "pipefail", "-c", line];
        let status = Command::new("bash").args(shell).current_dir(directory.path()).status();
        assert!(status.unwrap().success());
        assert_eq!(std::fs::read(place("plain")).unwrap(), file.bytes().to_vec());
    }
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_not_taken() {
    let right = segment(3);
    let check = |address, bytes: &[u8]| WalFile::check(address, Bytes::copy_from_slice(bytes));
    assert!(check(address(3), &right).is_ok());
    let shorter = check(address(3), &right[1..]).unwrap_err().to_string();
    assert!(shorter.contains("length 1048575, expected 1048576"), "{shorter}");
    let elsewhere = check(address(4), &right).unwrap_err().to_string();
    assert!(elsewhere.contains("first position 0/300000, expected 0/400000"), "{elsewhere}");
    let system = WalAddress { system: SystemId(8), ..address(3) };
    let system = check(system, &right).unwrap_err().to_string();
    assert!(system.contains("system id 7000000000000000001, expected 8"), "{system}");
    let empty = check(address(3), &vec![0; right.len()]).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Corrupt);
    // A segment in which a timeline was left begins with a page of the old one; none begins with a page
    // of one to come.
    assert!(check(address_on(2, 3), &right).is_ok());
    assert!(check(address_on(0, 3), &right).is_err());
    let large = WalAddress { size: SegmentSize::default(), ..address(3) };
    assert!(check(large, &right).is_err());
    let long = vec![b'#'; 2 << 20];
    assert!(check(of(WalFileName::History(TimelineId(2))), &long).is_err());
}

#[test]
fn a_link_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let (secret, link) =
        (directory.path().join("secret"), directory.path().join("00000002.history"));
    write(&secret, b"1\t0/300000\tnone\n");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let address = of(WalFileName::History(TimelineId(2)));
    assert!(WalFile::read(address, &secret).is_ok());
    assert!(matches!(WalFile::read(address, &link), Err(ArchiveError::Io { .. })));
}

#[test]
fn a_file_is_placed_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("RECOVERYXLOG");
    let file = segment_file(1, 3);
    file.place(&place).unwrap();
    file.place(&place).unwrap();
    assert_eq!(std::fs::read(&place).unwrap(), file.bytes().to_vec());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(file.place(&directory.path().join("nowhere/RECOVERYXLOG")).is_err());
}
