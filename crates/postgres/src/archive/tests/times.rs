//! Reachable times, from the summaries of few segments.

use super::*;
use crate::archive::copies::Copies;
use crate::archive::inventory::{Listed, list};
use crate::archive::object::SealedFile;
use crate::archive::reach::TimeIndex;
use crate::wal::record::tests::Writer;
use lifeboat_tiers::{CountingTier, MemoryTier, PutMode, Tier};

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(946_684_800 + i64::try_from(second).unwrap()).unwrap()
}

fn idle(number: u64) -> Vec<u8> {
    let mut writer = Writer::new(Lsn(number * u64::from(SIZE.bytes())));
    writer.switch();
    writer.finish()
}

/// Segments that follow each other, each with a commit at a second, or idle.
async fn archive(opener: &Opener, seconds: &[Option<u64>]) -> (CountingTier, Vec<Listed>) {
    let memory = MemoryTier::new();
    for (number, second) in (1..).zip(seconds) {
        let bytes = second.map_or_else(|| idle(number), |second| segment_with(number, second));
        let sealed = SealedFile::new(&file(address(number), bytes), &opener.recipient());
        memory.put(&sealed.name.path(), sealed.body, PutMode::Create).await.unwrap();
    }
    let mut listed = list(&memory, &name::root()).await.unwrap();
    listed.sort_by_key(|listed| listed.name.file);
    (CountingTier::new(Arc::new(memory)), listed)
}

#[tokio::test]
async fn few_segments_tell_what_can_be_reached() {
    let opener = opener();
    let seconds: Vec<_> = (0..128).map(|number| Some(100 + number * 10)).collect();
    let (tier, listed) = archive(&opener, &seconds).await;
    let copies = Copies::on(&tier, &listed);
    let mut index = TimeIndex::new(&opener, &copies);
    assert_eq!(index.first().await.unwrap(), Some(at(100)));
    assert_eq!(index.last().await.unwrap(), Some(at(1370)));
    for (second, place) in [
        (0, Some(0)),
        (100, Some(0)),
        (101, Some(1)),
        (777, Some(68)),
        (1370, Some(127)),
        (1371, None),
    ] {
        let mut index = TimeIndex::new(&opener, &copies);
        assert_eq!(index.place_of(at(second)).await.unwrap(), place, "{second}");
        assert!(index.reads() <= 8, "{second}: {}", index.reads());
    }
    // Of a large object no more is read than its beginning.
    let read = tier.traffic().read_bytes / tier.traffic().gets;
    assert!(read < 80_000, "{read}");
}

#[tokio::test]
async fn idle_segments_say_nothing_and_do_no_harm() {
    let opener = opener();
    let mut seconds = vec![None; 40];
    (seconds[7], seconds[8], seconds[30]) = (Some(100), Some(200), Some(300));
    let (tier, listed) = archive(&opener, &seconds).await;
    let copies = Copies::on(&tier, &listed);
    let mut index = TimeIndex::new(&opener, &copies);
    assert_eq!(index.first().await.unwrap(), Some(at(100)));
    assert_eq!(index.last().await.unwrap(), Some(at(300)));
    for (second, place) in [
        (1, Some(7)),
        (100, Some(7)),
        (101, Some(8)),
        (201, Some(30)),
        (300, Some(30)),
        (301, None),
    ] {
        assert_eq!(index.place_of(at(second)).await.unwrap(), place, "{second}");
    }
    let (tier, listed) = archive(&opener, &[None, None]).await;
    let copies = Copies::on(&tier, &listed);
    let mut index = TimeIndex::new(&opener, &copies);
    assert_eq!((index.first().await.unwrap(), index.place_of(at(1)).await.unwrap()), (None, None));
}

/// A restore point's record.
fn restore_point(writer: &mut Writer, name: &str) -> Lsn {
    let mut data = 5_000_000i64.to_le_bytes().to_vec();
    data.extend(name.as_bytes());
    data.resize(72, 0);
    writer.write(0, 0x70, 0, &data);
    writer.position()
}

fn commit(writer: &mut Writer, xid: u32) -> Lsn {
    writer.write(1, 0, xid, &7_000_000i64.to_le_bytes());
    writer.position()
}

#[tokio::test]
async fn names_and_transactions_are_found_wherever_they_stand() {
    let opener = opener();
    let length = SIZE.bytes() as usize;
    let mut writer = Writer::new(Lsn(3 * u64::from(SIZE.bytes())));
    let early = restore_point(&mut writer, "twice");
    let first = commit(&mut writer, 700);
    // More than a summary lists.
    let many: Vec<_> =
        (0..1100).map(|number| restore_point(&mut writer, &format!("many {number}"))).collect();
    let late = restore_point(&mut writer, "twice");
    // One that begins in the one segment and ends in the other.
    writer.fill_up_to(40);
    let shared = restore_point(&mut writer, "shared");
    let second = commit(&mut writer, 701);
    writer.switch();
    let bytes = writer.finish();
    let memory = MemoryTier::new();
    for (number, bytes) in (3..).zip(bytes.chunks(length)) {
        let sealed = SealedFile::new(&file(address(number), bytes.to_vec()), &opener.recipient());
        memory.put(&sealed.name.path(), sealed.body, PutMode::Create).await.unwrap();
    }
    let mut listed = list(&memory, &name::root()).await.unwrap();
    listed.sort_by_key(|listed| listed.name.file);
    assert_eq!(listed.len(), 2);
    let copies = Copies::on(&memory, &listed);
    let mut index = TimeIndex::new(&opener, &copies);
    for (name, from, found) in [
        ("twice", Lsn(0), Some(early)),
        ("twice", early, Some(late)),
        ("twice", late, None),
        ("many 3", Lsn(0), Some(many[3])),
        ("many 1099", Lsn(0), Some(many[1099])),
        ("shared", Lsn(0), Some(shared)),
        ("nobody's", Lsn(0), None),
    ] {
        assert_eq!(index.restore_point(name, from).await.unwrap(), found, "{name} from {from}");
    }
    for (xid, from, found) in [
        (700, Lsn(0), Some(first)),
        (700, first, None),
        (701, Lsn(0), Some(second)),
        (702, Lsn(0), None),
    ] {
        assert_eq!(index.transaction(xid, from).await.unwrap(), found, "{xid} from {from}");
    }
}

/// Files that two tiers are said to hold.
fn spread<'a>([first, second]: [&'a dyn Tier; 2], listed: &[Listed]) -> Vec<Copies<'a>> {
    let mut copies = Copies::on(first, listed);
    for (copies, listed) in copies.iter_mut().zip(listed) {
        copies.add(second, *listed);
    }
    copies
}

#[tokio::test]
async fn what_one_tier_does_not_give_is_read_from_the_next() {
    let opener = opener();
    let (whole, listed) = archive(&opener, &[Some(100), Some(200)]).await;
    let empty = MemoryTier::new();
    for tiers in [[&empty as &dyn Tier, &whole], [&whole, &empty]] {
        let copies = spread(tiers, &listed);
        let mut index = TimeIndex::new(&opener, &copies);
        assert_eq!(index.last().await.unwrap(), Some(at(200)));
        assert_eq!(index.transaction(7, Lsn(0)).await.unwrap(), None);
    }
    let nowhere = spread([&empty, &empty], &listed);
    assert!(TimeIndex::new(&opener, &nowhere).last().await.is_err());
}
