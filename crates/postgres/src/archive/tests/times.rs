//! Reachable times, from the summaries of few segments.

use super::*;
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
    let mut index = TimeIndex::new(&tier, &opener, &listed);
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
        let mut index = TimeIndex::new(&tier, &opener, &listed);
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
    let mut index = TimeIndex::new(&tier, &opener, &listed);
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
    let mut index = TimeIndex::new(&tier, &opener, &listed);
    assert_eq!((index.first().await.unwrap(), index.place_of(at(1)).await.unwrap()), (None, None));
}
