//! The ground that these tests stand on: a host with a key, a plan, and somewhere to put things.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{AssetName, Cancel, Silent, SimClock, Timestamp};
use lifeboat_ops::backup::{BackupJobReport, BackupOptions, backup};
use lifeboat_ops::point::At;
use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::restore::{Destination, RestoreJobReport, RestoreOptions, restore};
use lifeboat_ops::{OpsError, Site, Surroundings};
use lifeboat_plan::{Facts, SourceFile, load};
use tokio::runtime::Runtime;

/// A host.
pub struct Ground {
    pub home: tempfile::TempDir,
    _runtime: Runtime,
    pub clock: Arc<SimClock>,
    pub key: RecoveryKey,
    pub surroundings: Surroundings,
}

impl Ground {
    pub fn new() -> Self {
        Self::with_key(RecoveryKey::generate())
    }

    pub fn with_key(key: RecoveryKey) -> Self {
        let home = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let clock = Arc::new(SimClock::new("2026-11-23T02:00:00Z".parse().unwrap()));
        let surroundings = Surroundings {
            environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            credentials_directory: None,
            state_directory: home.path().join("state"),
            cache_directory: home.path().join("cache"),
            hostname: "web-1".to_owned(),
            clock: Arc::<SimClock>::clone(&clock),
            cancel: Cancel::new(),
            runtime: runtime.handle().clone(),
        };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(home.path().join("recovery.key"))
            .unwrap();
        file.write_all(key.spelled().expose().as_bytes()).unwrap();
        Self { home, _runtime: runtime, clock, key, surroundings }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path).unwrap().write_all(text.as_ref()).unwrap();
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Fills in `HOME` and puts plan and key before what a test writes.
    pub fn plan_text(&self, rest: &str) -> String {
        let halves = self.key.public_halves();
        let head = format!(
            "format = 1\n[plan]\nname = \"Shop\"\nsite = \"shop\"\n[key]\nfile = \"HOME/recovery.key\"\n\
             recipient = \"{}\"\nverifier = \"{}\"\n",
            halves.recipient, halves.verifier
        );
        let home = self.home.path().to_str().unwrap();
        format!("{head}{rest}").replace("HOME", home)
    }

    pub fn site_from(&self, text: String) -> Site {
        let source = SourceFile { path: "plan.toml".to_owned(), text };
        let files: BTreeMap<String, String> = BTreeMap::new();
        let now: Timestamp = self.surroundings.now();
        let checked = load(source, &files, &Facts::default(), now);
        let checked = checked.unwrap_or_else(|rejected| panic!("{:#?}", rejected.diagnostics));
        Site::new(checked, self.surroundings.clone())
    }

    pub fn site(&self, rest: &str) -> Site {
        self.site_from(self.plan_text(rest))
    }
}

/// Media on two tiers of this host.
pub const MEDIA_ON_TWO: &str = r#"
[assets.media]
kind = "files"
paths = ["HOME/media"]
rpo = "24h"
[tiers.primary]
url = "file://HOME/first"
[tiers.secondary]
url = "file://HOME/second"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary", "secondary"]
"#;

pub fn back_up(site: &Site) -> Result<BackupJobReport, OpsError> {
    backup(site, &BackupOptions::default(), &Silent, &Cancel::new())
}

/// Restores an asset below a directory.
pub fn restore_to(
    site: &Site,
    asset: &str,
    at: At,
    to: &Path,
) -> Result<RestoreJobReport, OpsError> {
    restore_into(site, asset, at, Destination::Directory(to.to_owned()))
}

/// Restores an asset, or a part of it, where nothing is replaced.
pub fn restore_into(
    site: &Site,
    asset: &str,
    at: At,
    to: Destination,
) -> Result<RestoreJobReport, OpsError> {
    let options = RestoreOptions { at, ..RestoreOptions::new(asset.parse().unwrap(), to) };
    restore(site, &options, &Silent, &Cancel::new())
}

pub fn restore_in_place(site: &Site, asset: &str, at: At) -> Result<RestoreJobReport, OpsError> {
    let options = RestoreOptions {
        at,
        confirm: Some(site.name().clone()),
        ..RestoreOptions::new(asset.parse().unwrap(), Destination::InPlace)
    };
    restore(site, &options, &Silent, &Cancel::new())
}

/// How each stage of an asset ended, as `stage tier ending`.
pub fn stages(report: &BackupJobReport, asset: &str) -> Vec<String> {
    let asset: AssetName = asset.parse().unwrap();
    let found = report.assets.iter().find(|report| report.asset == asset).unwrap();
    let tier = |tier: &Option<_>| tier.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let stages = found.stages.iter();
    stages.map(|s| format!("{} {} {}", s.stage, tier(&s.tier), s.ending)).collect()
}

/// What the stages that did not succeed say.
pub fn messages(report: &BackupJobReport) -> Vec<String> {
    let stages = report.assets.iter().flat_map(|asset| &asset.stages);
    stages.filter_map(|stage| stage.message.clone()).collect()
}
