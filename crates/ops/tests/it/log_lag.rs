//! How far the log on a tier is behind, as `tiers` tells it.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::{Cancel, Silent, SimClock};
use lifeboat_ops::backup::{BackupOptions, backup};
use lifeboat_ops::tier_state::{LogLag, tiers_report};
use lifeboat_postgres::archive::{ArchivedFile, SystemId, WalAddress};
use lifeboat_postgres::wal::{SegmentName, SegmentNumber, SegmentSize, TimelineId};
use lifeboat_tiers::{MemoryTier, PutMode, Tier};

use crate::ground::Ground;

const PLAN: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[assets.database]
kind = "postgres"
connect = "host=/nowhere dbname=shop"
base = "physical"
wal = { mode = "archive", to = ["near", "far"], ack = ["near"] }
[tiers.near]
url = "file://HOME/near"
[tiers.far]
url = "file://HOME/far"
[tiers.vault]
url = "file://HOME/vault"
[schedules.daily]
cron = "0 2 * * *"
assets = ["*"]
to = ["near", "far", "vault"]
"#;

#[test]
fn the_lag_of_a_log_is_told_in_segments_bytes_and_time() {
    let ground = Ground::new();
    let tier = || Arc::new(MemoryTier::with_clock(Arc::<SimClock>::clone(&ground.clock)));
    let (near, far, vault) = (tier(), tier(), tier());
    let site = [("near", &near), ("far", &far), ("vault", &vault)]
        .into_iter()
        .fold(ground.site(PLAN), |site, (name, tier)| {
            site.with_tier(name.parse().unwrap(), Arc::<MemoryTier>::clone(tier))
        });
    ground.write("media/a", "a");
    let assets = vec!["media".parse().unwrap()];
    let options = BackupOptions { assets, ..BackupOptions::default() };
    backup(&site, &options, &Silent, &Cancel::new()).unwrap();
    let store = |tier: &MemoryTier, number: u64| {
        let whole = SegmentSize::default();
        let segment = SegmentName::new(TimelineId(1), SegmentNumber(number), whole).unwrap();
        let address = WalAddress { system: SystemId(7), size: whole, file: segment.into() };
        let path = ArchivedFile::of(address, &number.to_le_bytes()).path();
        let body = Bytes::from(vec![0; 100]);
        ground.surroundings.runtime.block_on(tier.put(&path, body, PutMode::Create)).unwrap();
    };
    let lag = || {
        let report = tiers_report(&site).unwrap();
        let of_log = |tier: &str| {
            let tier = report.tiers.iter().find(|state| state.tier.as_str() == tier).unwrap();
            tier.assets.iter().find(|there| there.asset.as_str() == "database").unwrap().log
        };
        assert_eq!(of_log("vault"), None, "the plan sends no log there");
        let media = report.tiers[0].assets.iter().find(|there| there.asset.as_str() == "media");
        assert_eq!(media.unwrap().log, None);
        [of_log("near").unwrap(), of_log("far").unwrap()]
    };
    let level = LogLag { segments: 0, bytes: 0, seconds: Some(0) };
    assert_eq!(lag(), [LogLag { seconds: None, ..level }; 2], "there is no log yet");
    store(&near, 3);
    // What is older than a tier's newest is a hole or was let go, and no lag.
    store(&near, 4);
    store(&far, 4);
    assert_eq!(lag(), [level, level]);
    for number in 5..8 {
        ground.pass(60);
        store(&near, number);
    }
    assert_eq!(lag(), [level, LogLag { segments: 3, bytes: 300, seconds: Some(180) }]);
    (5..8).for_each(|number| store(&far, number));
    assert_eq!(lag(), [level, level]);
}
