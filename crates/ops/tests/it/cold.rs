//! Recoveries from cold storage: what they take and cost is said first, it is asked for once and all at a time, and
//! nothing is read that lies cold.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, Classify as _, Exit, Outcome, Silent, SimClock};
use lifeboat_ops::catalog::body::Body;
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::restore::{Destination, RestoreOptions, preview, restore};
use lifeboat_ops::retention::{Purpose, RetentionOptions, retention};
use lifeboat_ops::state::State;
use lifeboat_ops::status::status;
use lifeboat_ops::thaw::{Consent, ThawError, ThawForecast, ThawOptions, ThawPrice, Waiting};
use lifeboat_ops::tier_state::tiers_report;
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_ops::{OpsError, Site};
use lifeboat_repository::restore::Selection;
use lifeboat_tiers::{ColdTier, MemoryTier, ObjectPath};

use crate::ground::{Ground, back_up, messages, stages};

const WITHIN: Duration = Duration::from_hours(5);

const WITH_ARCHIVE: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
rto = "4h"
[tiers.disk]
url = "file://HOME/disk"
[tiers.vault]
url = "file://HOME/vault"
access = "archive"
keep = { within = "90d" }
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["disk", "vault"]
[costs]
"tiers.vault" = { per_gib_read = 1024.0, per_gib_thaw = 2048.0, per_1000_thaws = 1000.0 }
"#;

const ASK: ThawOptions = ThawOptions { consent: Consent::Given, waiting: Waiting::Elsewhere };
const ASK_AND_WAIT: ThawOptions = ThawOptions { consent: Consent::Given, waiting: Waiting::Here };

/// A site with a disk and an archive: two files that were backed up one after the other.
struct Archive {
    ground: Ground,
    vault: Arc<ColdTier>,
    /// How often a copy tried to read back what it had just stored cold.
    read_back: usize,
}

impl Archive {
    fn new() -> Self {
        Self::taking(WITHIN, WITHIN)
    }

    fn taking(within: Duration, promised: Duration) -> Self {
        let ground = Ground::new();
        let clock = Arc::<SimClock>::clone(&ground.clock);
        let vault = ColdTier::new(Arc::new(MemoryTier::new()), clock, within).promising(promised);
        let mut archive = Self { ground, vault: Arc::new(vault), read_back: 0 };
        for (name, seed) in [("a", 1), ("b", 2)] {
            archive.ground.write(&format!("media/{name}"), noise(1 << 20, seed));
            let report = back_up(&archive.site()).unwrap();
            assert_eq!(report.ending, Ending::Succeeded, "{:?}", messages(&report));
            assert!(stages(&report, "media").contains(&"copy vault done".to_owned()));
            archive.ground.pass(3600);
        }
        archive.read_back = archive.vault.refused().len();
        archive
    }

    /// Returns what was to be read since and lay cold.
    fn refused(&self) -> Vec<ObjectPath> {
        self.vault.refused().split_off(self.read_back)
    }

    fn site(&self) -> Site {
        let site = self.ground.site(WITH_ARCHIVE);
        site.with_tier("vault".parse().unwrap(), Arc::<ColdTier>::clone(&self.vault))
    }

    fn options(&self, thaw: ThawOptions) -> RestoreOptions {
        let to = Destination::Directory(self.ground.path("out"));
        let tier = Some("vault".parse().unwrap());
        RestoreOptions { tier, thaw, ..RestoreOptions::new("media".parse().unwrap(), to) }
    }

    fn restore(&self, thaw: ThawOptions) -> Result<Ending, OpsError> {
        let report = restore(&self.site(), &self.options(thaw), &Silent, &Cancel::new());
        report.map(|report| report.ending)
    }

    fn thaws(&self) -> BTreeSet<ObjectPath> {
        let all = self.vault.thaws();
        let each: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(all.len(), each.len(), "nothing is asked for twice: {all:?}");
        each
    }

    fn restored(&self, name: &str) -> PathBuf {
        let media = self.ground.path("media");
        self.ground.path("out").join(media.strip_prefix("/").unwrap()).join(name)
    }

    fn assert_restored(&self, name: &str) {
        let live = fs::read(self.ground.path("media").join(name)).unwrap();
        assert!(fs::read(self.restored(name)).unwrap() == live, "{name}");
    }

    fn records(&self) -> Vec<Body> {
        let state = State::open(&self.ground.surroundings.state_directory).unwrap();
        let records = View::open(&state.view_path()).unwrap().all().unwrap();
        records.iter().map(|record| record.body().clone()).collect()
    }
}

/// Returns bytes that cannot be compressed.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn unasked(outcome: Result<Ending, OpsError>) -> ThawForecast {
    match outcome {
        Err(OpsError::Thaw(ThawError::Unasked(forecast))) => *forecast,
        other => panic!("{other:?}"),
    }
}

fn thawing(outcome: Result<Ending, OpsError>) -> ThawForecast {
    match outcome {
        Err(OpsError::Thaw(ThawError::Thawing(forecast))) => *forecast,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hours_and_price_are_said_first_and_all_is_asked_for_once() {
    let archive = Archive::new();
    let site = archive.site();
    let shown = preview(&site, &archive.options(ThawOptions::default()), &Silent, &Cancel::new());
    let forecast = shown.unwrap().thaw.unwrap();
    let packs = forecast.cold.count;
    assert!(packs >= 2 && forecast.needed == forecast.cold, "{forecast:?}");
    assert_eq!((forecast.within_s, forecast.rto_s), (5 * 3600, Some(4 * 3600)));
    assert!(forecast.breaks_objective());
    let ThawPrice { thaw, read } = forecast.price.unwrap();
    let two_mib = |price: f64| (price - 2.0).abs() < 0.1;
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let asking = packs as f64;
    assert!(two_mib(read) && two_mib((thaw - asking) / 2.0), "{thaw} {read}");

    let error = restore(&site, &archive.options(ThawOptions::default()), &Silent, &Cancel::new());
    let error = error.unwrap_err();
    assert_eq!(error.exit(), Exit::Incomplete);
    let hint = error.hint().unwrap().to_string();
    assert!(
        hint.starts_with("lifeboat restore media --at 2026-11-23T03:00:00.2Z --tier vault"),
        "{hint}"
    );
    assert_eq!(unasked(Err(error)), forecast);
    assert!(archive.thaws().is_empty());

    let asked = thawing(archive.restore(ASK));
    assert_eq!((asked.thawing, asked.cold.count), (forecast.cold, 0));
    assert_eq!(archive.thaws().len() as u64, packs);
    let records = archive.records();
    let Some(Body::ThawRequested(recorded)) = records.last() else { panic!("{records:?}") };
    assert_eq!((recorded.packs, recorded.bytes), (packs, asked.thawing.bytes));
    assert!(!archive.ground.path("out").exists());

    archive.ground.clock.advance(WITHIN / 2);
    for thaw in [ThawOptions::default(), ASK] {
        let still = thawing(archive.restore(thaw));
        assert_eq!((still.thawing, still.cold.count), (asked.thawing, 0));
        assert!(
            still
                .price
                .is_some_and(|price| price.thaw.abs() < 1e-9 && (price.read - read).abs() < 1e-9)
        );
    }
    archive.ground.clock.advance(WITHIN / 2);
    assert_eq!(archive.restore(ThawOptions::default()).unwrap(), Ending::Succeeded);
    archive.assert_restored("a");
    archive.assert_restored("b");
    assert_eq!(archive.thaws().len() as u64, packs);
    assert_eq!(archive.refused(), []);
}

#[test]
fn one_file_wakes_its_own_packs_and_who_comes_back_for_more_the_rest() {
    let archive = Archive::new();
    let a = archive.ground.path("media/a");
    let options = RestoreOptions {
        selection: Selection::new(&[a.as_os_str()], &[]).unwrap(),
        ..archive.options(ASK_AND_WAIT)
    };
    let before = archive.ground.surroundings.now();
    let report = restore(&archive.site(), &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.ending, Ending::Succeeded);
    let waited = archive.ground.surroundings.now().duration_since(before);
    assert!(waited.as_secs() >= 5 * 3600 && waited.as_secs() < 6 * 3600, "{waited}");
    archive.assert_restored("a");
    assert!(!archive.restored("b").exists());
    let first = archive.thaws();
    assert!(!first.is_empty() && first.len() < archive.vault.stored_cold().len());
    fs::remove_dir_all(archive.ground.path("out")).unwrap();

    let rest = unasked(archive.restore(ThawOptions::default()));
    assert_eq!(rest.cold.count, rest.needed.count - first.len() as u64);
    assert_eq!(archive.restore(ASK_AND_WAIT).unwrap(), Ending::Succeeded);
    assert!(archive.thaws().len() > first.len());
    assert_eq!(archive.refused(), []);
}

#[test]
fn who_waits_gives_up_after_twice_what_the_store_promised() {
    let archive = Archive::taking(WITHIN, Duration::from_hours(1));
    let before = archive.ground.surroundings.now();
    thawing(archive.restore(ASK_AND_WAIT));
    let waited = archive.ground.surroundings.now().duration_since(before);
    assert!(waited.as_secs() >= 2 * 3600 && waited.as_secs() < 3 * 3600, "{waited}");
    assert_eq!(
        archive.restore(ASK_AND_WAIT).err().map(|error| error.exit()),
        Some(Exit::Incomplete)
    );
    assert_eq!(archive.restore(ASK_AND_WAIT).unwrap(), Ending::Succeeded);
    assert_eq!(archive.thaws(), archive.vault.stored_cold());
}

#[test]
fn what_is_known_of_an_archive_is_known_at_once() {
    let archive = Archive::new();
    fs::remove_dir_all(archive.ground.path("disk")).unwrap();
    fs::remove_dir_all(&archive.ground.surroundings.state_directory).unwrap();
    assert!(
        !archive.ground.surroundings.cache_directory.exists(),
        "all of it is read from the tier"
    );
    let site = archive.site();
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    assert_eq!(points.points.len(), 2, "{points:?}");
    let shown = preview(&site, &archive.options(ThawOptions::default()), &Silent, &Cancel::new());
    assert!(shown.unwrap().thaw.is_some());
    assert_eq!(status(&site).unwrap().tiers.len(), 2);
    assert_eq!(tiers_report(&site).unwrap().tiers.len(), 2);
    let cold = archive.vault.stored_cold();
    assert!(cold.iter().all(|path| path.as_str().starts_with("repo/data/")), "{cold:?}");
    assert_eq!(archive.refused(), []);
}

#[test]
fn an_archive_is_not_called_verified_and_nothing_in_it_is_packed_anew() {
    let archive = Archive::new();
    let options = VerifyOptions { tiers: vec!["vault".parse().unwrap()], share: Share::All };
    let report = verify(&archive.site(), &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!((report.outcome, report.exit()), (Outcome::CouldNotVerify, Exit::CouldNotVerify));
    let seen = &report.tiers[0].report;
    assert_eq!(seen.packs_cold, archive.vault.stored_cold().len() as u64);
    assert!(seen.bytes_cold > 2 << 20, "{seen:?}");

    let refused = archive.vault.refused().len();
    archive.ground.pass(100 * 24 * 3600);
    fs::remove_file(archive.ground.path("media/a")).unwrap();
    back_up(&archive.site()).unwrap();
    let options = RetentionOptions { tiers: vec!["vault".parse().unwrap()], purpose: Purpose::Run };
    let report = retention(&archive.site(), &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    let prune = report.tiers[0].prune.unwrap();
    assert!(prune.packs.repacked.count == 0 && prune.packs.removed.count > 0, "{prune:?}");
    assert!(archive.thaws().is_empty());
    assert_eq!(archive.vault.refused().len(), refused, "a prune reads nothing that lies cold");
}
