//! A catalog of a million records: a status has to be there at once all the same. `make bench-status`.

use std::time::{Duration, Instant};

use lifeboat_model::{Outcome, PlanId, SiteName, SnapshotId, Timestamp};
use lifeboat_plan::{Facts as PlanFacts, SourceFile, load};

use super::body::{
    AssetBackedUp, Body, JobEnded, JobStarted, KeyConfirmed, RetentionDecided, TierSnapshot,
    TierVerified,
};
use super::record::{Header, Record, SCHEMA};
use super::view::View;
use crate::ending::{Ending, JobStage, StageOutcome};
use crate::recovery_key::RecoveryKey;
use crate::state::State;
use crate::status::history::History;
use crate::status::{Facts, Verdict, assess};
use crate::writer::Writer;

const RECORDS: usize = 1_000_000;

/// How many records are put into the view at a time.
const BATCH: usize = 20_000;

/// What a status may take of it.
const STATUS_MAX: Duration = Duration::from_millis(50);

const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
[key]
env = "KEY"
[assets.database]
kind = "files"
paths = ["/srv/database"]
rpo = "1h"
[assets.media]
kind = "files"
paths = ["/srv/media"]
rpo = "1h"
[assets.logs]
kind = "files"
paths = ["/srv/logs"]
rpo = "1h"
[tiers.near]
url = "file:///backups/near"
keep = { within = "7d" }
[tiers.far]
url = "file:///backups/far"
keep = { within = "30d" }
[tiers.offsite]
url = "file:///backups/offsite"
keep = { within = "90d" }
[schedules.hourly]
cron = "0 * * * *"
assets = ["*"]
to = ["*"]
"#;

const ASSETS: [&str; 3] = ["database", "media", "logs"];
const TIERS: [(&str, i64); 3] = [("near", 7), ("far", 30), ("offsite", 90)];
const JOB: &str = "job_018bcfe5-6800-7000-8000-000000000000";

/// Years of a host that backs up three assets to three tiers every ten minutes, verifies each tier after each, and lets go
/// what is too old.
struct Life {
    writer: Writer,
    site: SiteName,
    plan: PlanId,
    last: Option<(u64, lifeboat_model::RecordId)>,
    now: Timestamp,
    batch: Vec<Record>,
    count: usize,
}

impl Life {
    fn record(&mut self, view: &View, body: Body) {
        let header = Header {
            schema: SCHEMA,
            site: self.site.clone(),
            writer: self.writer.id(),
            sequence: self.last.map_or(0, |(sequence, _)| sequence + 1),
            previous: self.last.map(|(_, id)| id),
            plan: Some(self.plan),
            time: self.now,
        };
        let record = Record::write(header, body, &self.writer);
        self.last = Some((record.header().sequence, record.id()));
        self.batch.push(record);
        self.count += 1;
        if self.batch.len() == BATCH {
            self.flush(view);
        }
    }

    fn flush(&mut self, view: &View) {
        view.insert(&std::mem::take(&mut self.batch)).unwrap();
    }

    fn round(&mut self, view: &View) {
        let job = JOB.parse().unwrap();
        let assets = ASSETS.map(|asset| asset.parse().unwrap()).to_vec();
        let command = "backup".to_owned();
        self.record(view, Body::JobStarted(JobStarted { job, command, assets }));
        for asset in 0..ASSETS.len() {
            let body = self.backup(asset);
            self.record(view, Body::AssetBackedUp(body));
        }
        for (tier, _) in TIERS {
            self.record(view, Body::TierVerified(verified(tier)));
        }
        for (tier, days) in TIERS {
            let then =
                self.now.saturating_sub(Duration::from_secs(days.unsigned_abs() * 86_400)).unwrap();
            let snapshots = (0..ASSETS.len()).map(|asset| snapshot(asset, then)).collect();
            let tier = tier.parse().unwrap();
            self.record(view, Body::RetentionDecided(RetentionDecided { job, tier, snapshots }));
        }
        self.record(view, Body::JobEnded(JobEnded { job, ending: Ending::Succeeded }));
        self.now = self.now.saturating_add(Duration::from_mins(10)).unwrap();
    }

    fn backup(&self, asset: usize) -> AssetBackedUp {
        let stages = TIERS.map(|(tier, _)| StageOutcome {
            stage: JobStage::Copy,
            tier: Some(tier.parse().unwrap()),
            ending: Ending::Succeeded,
            message: None,
            hint: None,
            started: self.now,
            ended: self.now,
        });
        let on = |(tier, _): (&str, i64)| TierSnapshot {
            tier: tier.parse().unwrap(),
            snapshot: snapshot(asset, self.now),
        };
        AssetBackedUp {
            job: JOB.parse().unwrap(),
            asset: ASSETS[asset].parse().unwrap(),
            schedule: None,
            captured: Some(self.now),
            snapshots: TIERS.map(on).to_vec(),
            revision: None,
            base: None,
            size_bytes: Some(1 << 30),
            bytes_read: 1 << 20,
            bytes_stored: 1 << 20,
            skipped: Vec::new(),
            stages: stages.to_vec(),
        }
    }
}

fn snapshot(asset: usize, time: Timestamp) -> SnapshotId {
    let mut bytes = [u8::try_from(asset).unwrap(); 32];
    bytes[..8].copy_from_slice(&time.as_second().to_be_bytes());
    SnapshotId::from_bytes(bytes)
}

fn verified(tier: &str) -> TierVerified {
    TierVerified {
        job: JOB.parse().unwrap(),
        tier: tier.parse().unwrap(),
        outcome: Outcome::Passed,
        packs_read: 9,
        bytes_read: 1 << 20,
        all_data: false,
        read_until: None,
        findings: Vec::new(),
        damaged_packs: std::collections::BTreeSet::new(),
    }
}

#[test]
#[ignore = "it writes a million records; `make bench-status` runs it"]
fn a_status_of_a_million_records_is_there_at_once() {
    let home = tempfile::tempdir().unwrap();
    let state = State::open(&home.path().join("state")).unwrap();
    let start: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    let writer = state.lock().unwrap().writer(start).unwrap();
    let source = SourceFile { path: "plan.toml".to_owned(), text: PLAN.to_owned() };
    let files = std::collections::BTreeMap::<String, String>::new();
    let plan = load(source, &files, &PlanFacts::default(), start).unwrap().plan;
    let view = View::open(&state.view_path()).unwrap();
    let site = "shop".parse().unwrap();
    let (last, batch) = (None, Vec::new());
    let mut life = Life { writer, site, plan: plan.id(), last, now: start, batch, count: 0 };
    let verifier = RecoveryKey::generate().public_halves().verifier.to_string();
    life.record(&view, Body::KeyConfirmed(KeyConfirmed { verifier }));
    while life.count < RECORDS {
        life.round(&view);
    }
    life.flush(&view);
    drop(view);
    let mut took = Vec::new();
    for _ in 0..9 {
        let began = Instant::now();
        let view = View::open(&state.view_path()).unwrap();
        let history = History::load(&view, &plan).unwrap();
        let facts = Facts::as_recorded(&plan, &history);
        let report = assess(&plan, &history, &facts, life.now);
        took.push(began.elapsed());
        assert_eq!(report.verdict, Verdict::Yes, "{:?}", report.risks);
        // What is older than the tier keeps was let go, so this is what is there.
        let near = &history.good[&("media".parse().unwrap(), "near".parse().unwrap())];
        assert!(near.len() == 200 && report.assets.len() == 3, "{}", near.len());
    }
    took.sort();
    let mebibytes = std::fs::metadata(state.view_path()).unwrap().len() >> 20;
    eprintln!(
        "{} records, {mebibytes} MiB: {:?} (best {:?}, worst {:?})",
        life.count, took[4], took[0], took[8]
    );
    assert!(took[4] < STATUS_MAX, "{took:?}");
}
