//! Backups through a narrow line, in simulated time.

use std::num::NonZeroU64;
use std::sync::Arc;

use lifeboat_model::{Cancel, Clock, Silent, SimClock, Timestamp};
use lifeboat_repository::backup::{BackupOptions, backup};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::source::{Source, StreamSource};
use lifeboat_tiers::{Throttle, steady};

use crate::site::{Site, noise};

#[test]
fn what_is_stored_and_what_is_read_back_keep_to_their_limits() {
    let site = Site::new();
    let clock = Arc::new(SimClock::new("2026-11-23T02:00:00Z".parse().unwrap()));
    let shared = Arc::<SimClock>::clone(&clock) as Arc<dyn Clock>;
    let since = |then: Timestamp| clock.now().duration_since(then).as_secs();
    let throttle = Throttle { write: NonZeroU64::new(100 << 10), read: NonZeroU64::new(1 << 20) };
    let repository = site.repository_on(steady(site.tier(), &shared, throttle, &Cancel::new()));

    let begun = clock.now();
    let stream = StreamSource::document("/lifeboat/dump", noise(10 << 20, 3));
    let options = BackupOptions::new("site");
    let sources = vec![Source::Stream(stream)];
    backup(&repository, sources, &options, &Silent, &Cancel::new(), &*shared).unwrap();
    // Ten MiB at a hundred KiB a second; a second is saved up before.
    assert!((101..=104).contains(&since(begun)), "{}", since(begun));

    let begun = clock.now();
    let options = CheckOptions { data: ReadData::All };
    check(&repository, &options, &Silent, &Cancel::new()).unwrap();
    assert!((9..=11).contains(&since(begun)), "{}", since(begun));
    site.restic().check_read_data().unwrap();
}
