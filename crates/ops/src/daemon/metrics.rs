//! What Prometheus is told: made from the catalog's local view and the journal, so that asking costs no
//! request to any tier.
//!
//! Names end in their unit. What never happened has no time and no age: `dr_backup_ever_succeeded` and
//! `dr_job_configured_timestamp_seconds`, which the plan makes, tell it from what is old. Source:
//! <https://prometheus.io/docs/practices/naming/> and `/instrumenting/exposition_formats/`, version 0.0.4.

use std::fmt::Write as _;

use lifeboat_model::{Outcome, Timestamp};

use crate::ending::Ending;
use crate::jobs::Job;
use crate::objectives::exposure;
use crate::schedule::{Past, Task};
use crate::status::history::History;
use crate::status::proof::ProofState;
use crate::status::{AssetOnTier, AssetStatus, StatusReport, Verdict};

/// Whether the plan on disk is the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlanOnDisk {
    Holds,
    Refused,
}

/// What the metrics are made of.
pub(super) struct Measured<'a> {
    pub report: &'a StatusReport,
    pub history: &'a History,
    pub on_disk: PlanOnDisk,
    pub started: Timestamp,
    pub looked: Timestamp,
    pub tasks: &'a [TaskMeasured],
    pub is_paused: bool,
    pub undelivered: usize,
    pub queued: usize,
    pub running: usize,
}

/// What became of a task.
#[derive(Debug, Clone)]
pub(super) struct TaskMeasured {
    pub task: Task,
    pub past: Option<Past>,
    pub last: Option<Job>,
    /// When its calendar wanted it first since the plan has it.
    pub first_due: Option<Timestamp>,
    pub next: Option<Timestamp>,
}

type Labels = Vec<(&'static str, String)>;

/// The text that is being written.
struct Text(String);

impl Text {
    /// Writes a metric; of samples without a value nothing is said but that there is such a metric.
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, Option<f64>)>,
    ) {
        let known = samples.into_iter().filter_map(|(labels, value)| Some((labels, value?)));
        // Writing into a text cannot fail.
        _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, value) in known {
            let labels: Vec<_> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let labels =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &str, help: &str, value: impl Into<Option<f64>>) {
        self.gauge(name, help, [(Vec::new(), value.into())]);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this millennium fit")]
fn seconds(instant: Timestamp) -> f64 {
    instant.as_microsecond() as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "what is beyond 2^53 is told roughly")]
const fn number(number: u64) -> f64 {
    number as f64
}

fn count(count: usize) -> f64 {
    number(count as u64)
}

fn truth(is_so: impl Into<Option<bool>>) -> Option<f64> {
    is_so.into().map(|is_so| if is_so { 1.0 } else { 0.0 })
}

/// Writes the metrics.
pub(super) fn render(measured: &Measured<'_>) -> String {
    let mut text = Text(String::new());
    of_daemon(measured, &mut text);
    of_verdict(measured.report, &mut text);
    of_backups(measured, &mut text);
    of_objectives(measured.report, &mut text);
    of_proofs(measured.report, &mut text);
    of_tiers(measured.report, &mut text);
    of_jobs(measured.tasks, &mut text);
    text.0
}

fn of_daemon(measured: &Measured<'_>, text: &mut Text) {
    let report = measured.report;
    let labels = vec![
        ("site", report.site.to_string()),
        ("plan", report.plan.to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    text.gauge("dr_plan_info", "The plan in force.", [(labels, Some(1.0))]);
    let holds = truth(measured.on_disk == PlanOnDisk::Holds);
    text.one("dr_plan_loaded", "Whether the plan on disk holds and is in force.", holds);
    let started = seconds(measured.started);
    text.one("dr_daemon_started_timestamp_seconds", "When the daemon began.", started);
    let looked = seconds(measured.looked);
    text.one("dr_daemon_looked_timestamp_seconds", "When the daemon looked around last.", looked);
    let paused = truth(measured.is_paused);
    text.one("dr_paused", "Whether nothing begins, since somebody asked for it.", paused);
    let undelivered = count(measured.undelivered);
    text.one("dr_catalog_undelivered_records", "Records that some tier lacks.", undelivered);
    text.one("dr_jobs_queued", "Jobs that wait for their turn.", count(measured.queued));
    text.one("dr_jobs_running", "Jobs that run.", count(measured.running));
    let key = report.key_confirmed.map(seconds);
    let help = "When the recovery key was read back from where it is kept.";
    text.one("dr_key_escrow_verified_timestamp_seconds", help, key);
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Yes => "yes",
        Verdict::Unknown => "unknown",
        Verdict::No => "no",
    }
}

const OUTCOMES: [(Outcome, &str); 3] = [
    (Outcome::Passed, "passed"),
    (Outcome::Failed, "failed"),
    (Outcome::CouldNotVerify, "could-not-verify"),
];

const VERDICTS: [Verdict; 3] = [Verdict::Yes, Verdict::Unknown, Verdict::No];

fn of_verdict(report: &StatusReport, text: &mut Text) {
    let verdicts = VERDICTS.map(|verdict| {
        (vec![("verdict", word(verdict).to_owned())], truth(report.verdict == verdict))
    });
    let help = "Whether everything could come back now as planned, by what is recorded.";
    text.gauge("dr_recoverable", help, verdicts);
    let protected = report.assets.iter().flat_map(|asset| {
        VERDICTS.map(|verdict| {
            let name = asset.asset.to_string();
            let labels = vec![("asset", name), ("verdict", word(verdict).to_owned())];
            (labels, truth(asset.protected == verdict))
        })
    });
    let help = "Whether a snapshot is there, on a tier that is whole and was verified in time.";
    text.gauge("dr_asset_protected", help, protected);
    let risks = VERDICTS.map(|verdict| {
        let there = report.risks.iter().filter(|risk| risk.verdict == verdict).count();
        (vec![("verdict", word(verdict).to_owned())], Some(count(there)))
    });
    text.gauge("dr_risks", "How much stands in the way of a recovery, or could.", risks);
}

/// Samples for each asset on each of its tiers.
fn places<'r>(
    report: &'r StatusReport,
    value: impl Fn(&'r AssetStatus, &'r AssetOnTier) -> Option<f64>,
) -> Vec<(Labels, Option<f64>)> {
    let places = report.assets.iter().flat_map(|asset| {
        let on_tiers = asset.tiers.iter().map(move |on| (asset, on));
        on_tiers.map(|(asset, on)| {
            let labels = vec![("asset", asset.asset.to_string()), ("tier", on.tier.to_string())];
            (labels, asset, on)
        })
    });
    places.map(|(labels, asset, on)| (labels, value(asset, on))).collect()
}

/// Samples for each asset.
fn assets<'r>(
    report: &'r StatusReport,
    value: impl Fn(&'r AssetStatus) -> Option<f64>,
) -> Vec<(Labels, Option<f64>)> {
    let assets = report.assets.iter();
    assets.map(|asset| (vec![("asset", asset.asset.to_string())], value(asset))).collect()
}

fn of_backups(measured: &Measured<'_>, text: &mut Text) {
    let (report, history) = (measured.report, measured.history);
    let good = |asset: &AssetStatus, on: &AssetOnTier| {
        history.good.get(&(asset.asset.clone(), on.tier.clone())).cloned().unwrap_or_default()
    };
    let help = "Up to when every change is known to be captured in a snapshot that is there.";
    let captured = places(report, |_, on| on.captured.map(seconds));
    text.gauge("dr_backup_last_success_timestamp_seconds", help, captured);
    let help = "When a backup ended last.";
    let attempts = places(report, |_, on| on.last_attempt.as_ref().map(|it| seconds(it.time)));
    text.gauge("dr_backup_last_attempt_timestamp_seconds", help, attempts);
    let help = "Whether the last backup succeeded.";
    let succeeded =
        places(report, |_, on| truth(on.last_attempt.as_ref()?.ending == Ending::Succeeded));
    text.gauge("dr_backup_last_status", help, succeeded);
    let help = "Whether there ever was a complete backup.";
    let ever = places(report, |asset, on| truth(!good(asset, on).is_empty()));
    text.gauge("dr_backup_ever_succeeded", help, ever);
    let help = "How large all that the newest snapshot holds is.";
    let sizes = places(report, |asset, on| {
        let good = good(asset, on);
        let newest = good.iter().find(|good| Some(good.snapshot) == on.snapshot)?;
        newest.size_bytes.map(number)
    });
    text.gauge("dr_backup_size_bytes", help, sizes);
    let help = "Snapshots that are gone though nobody decided so.";
    let missing = places(report, |asset, on| {
        Some(count(good(asset, on).iter().filter(|good| good.is_gone).count()))
    });
    text.gauge("dr_snapshots_missing", help, missing);
    let help = "How many newer captures other tiers hold.";
    text.gauge("dr_tier_behind_captures", help, places(report, |_, on| Some(count(on.behind))));
}

fn of_objectives(report: &StatusReport, text: &mut Text) {
    // Of a log nothing is recorded, and without it the number would be wrong for what lies beside it too.
    let lost = places(report, |asset, on| {
        let has_log = asset.tiers.iter().any(|on| on.wants_log);
        on.exposure_s.filter(|_| !has_log).map(number)
    });
    let help = "How much would be lost now, by what is recorded of snapshots; absent of an asset whose log is archived.";
    text.gauge("dr_rpo_seconds", help, lost);
    let targets = assets(report, |asset| asset.rpo_s.map(number));
    text.gauge("dr_rpo_target_seconds", "How much may be lost.", targets);
    let grace = assets(report, |asset| asset.grace_s.map(number));
    text.gauge("dr_rpo_grace_seconds", "How far beyond that is only a risk.", grace);
    let measured =
        assets(report, |asset| Some(number(asset.comeback.measured.as_ref()?.took_ms) / 1e3));
    text.gauge("dr_rto_measured_seconds", "How long bringing it back took last.", measured);
    let predicted =
        assets(report, |asset| Some(number(asset.comeback.predicted.as_ref()?.seconds)));
    let help = "How long bringing it back should take, by size, bandwidth and cold storage.";
    text.gauge("dr_rto_predicted_seconds", help, predicted);
    let targets = assets(report, |asset| asset.rto_s.map(number));
    text.gauge("dr_rto_target_seconds", "How long bringing it back may take.", targets);
    let scenarios = report.scenarios.iter();
    let took = scenarios.clone().map(|it| {
        let took = it.measured.as_ref().map(|measured| number(measured.took_ms) / 1e3);
        (vec![("scenario", it.scenario.to_string())], took)
    });
    text.gauge("dr_recovery_measured_seconds", "How long the last recovery took.", took);
    let limits =
        scenarios.map(|it| (vec![("scenario", it.scenario.to_string())], it.limit_s.map(number)));
    text.gauge("dr_recovery_target_seconds", "How long a recovery may take.", limits);
}

fn of_proofs(report: &StatusReport, text: &mut Text) {
    let help = "Whether it came back and was checked, by this plan and in time.";
    let proven = assets(report, |asset| truth(asset.proof.state == ProofState::Proven));
    text.gauge("dr_asset_proven", help, proven);
    let wanted = assets(report, |asset| truth(asset.proof.is_asked));
    text.gauge("dr_asset_proof_wanted", "Whether the plan has a restore test of it.", wanted);
    let times = assets(report, |asset| asset.proof.time.map(seconds));
    text.gauge("dr_asset_proof_timestamp_seconds", "When it was proven last.", times);
    let digits = ["copies", "media", "offsite", "immutable", "errors"];
    let card = |value: fn(&crate::scorecard::Digit) -> Option<f64>| {
        let cards = report.assets.iter().flat_map(move |asset| {
            let each = digits.into_iter().zip(asset.scorecard.digits());
            each.map(move |(digit, found)| {
                let labels = vec![("asset", asset.asset.to_string()), ("digit", digit.to_owned())];
                (labels, value(found))
            })
        });
        cards.collect::<Vec<_>>()
    };
    let help = "A digit of the 3-2-1-1-0 scorecard, by what is recorded.";
    text.gauge("dr_scorecard", help, card(|digit| Some(count(digit.found))));
    let help = "Whether that digit is as it should be; absent where that cannot be verified.";
    text.gauge(
        "dr_scorecard_met",
        help,
        card(|digit| match digit.outcome {
            Outcome::Passed => Some(1.0),
            Outcome::Failed => Some(0.0),
            Outcome::CouldNotVerify => None,
        }),
    );
}

fn of_tiers(report: &StatusReport, text: &mut Text) {
    let tiers = |value: fn(&crate::standing::VerifiedOnce, Timestamp) -> f64| {
        let each = report.tiers.iter().map(move |tier| {
            let value = tier.verified.as_ref().map(|once| value(once, report.now));
            (vec![("tier", tier.tier.to_string())], value)
        });
        each.collect::<Vec<_>>()
    };
    let help = "When the verification was made that the tier is judged by.";
    text.gauge("dr_tier_verified_timestamp_seconds", help, tiers(|once, _| seconds(once.time)));
    let help = "How long ago that was.";
    let age = tiers(|once, now| exposure(once.time, now).as_secs_f64());
    text.gauge("dr_tier_verified_age_seconds", help, age);
    let outcomes = report.tiers.iter().flat_map(|tier| {
        OUTCOMES.map(|(outcome, word)| {
            let labels = vec![("tier", tier.tier.to_string()), ("outcome", word.to_owned())];
            (labels, tier.verified.as_ref().and_then(|once| truth(once.outcome == outcome)))
        })
    });
    text.gauge("dr_tier_verified", "How that verification ended.", outcomes);
}

fn of_jobs(tasks: &[TaskMeasured], text: &mut Text) {
    let job = |value: fn(&TaskMeasured) -> Option<f64>| {
        let each = tasks.iter().map(|it| (vec![("task", it.task.to_string())], value(it)));
        each.collect::<Vec<_>>()
    };
    let configured = job(|it| it.past.map(|past| seconds(past.since)));
    text.gauge("dr_job_configured_timestamp_seconds", "Since when the plan has it.", configured);
    let ended = job(|it| it.last.as_ref()?.ended.map(seconds));
    text.gauge("dr_job_last_end_timestamp_seconds", "When it ended last.", ended);
    let status = job(|it| truth(it.last.as_ref()?.ending? == Ending::Succeeded));
    text.gauge("dr_job_last_status", "Whether it succeeded then.", status);
    let took = job(|it| {
        let last = it.last.as_ref()?;
        Some(exposure(last.started?, last.ended?).as_secs_f64())
    });
    text.gauge("dr_job_duration_seconds", "How long it took then.", took);
    let first = job(|it| it.first_due.map(seconds));
    let help = "When its calendar wanted it first since the plan has it.";
    text.gauge("dr_job_first_due_timestamp_seconds", help, first);
    let next = job(|it| it.next.map(seconds));
    text.gauge("dr_job_next_run_timestamp_seconds", "When it is due next.", next);
    let failures = job(|it| it.past.map(|past| f64::from(past.failures)));
    text.gauge("dr_job_failures", "How often in a row it did not succeed.", failures);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lifeboat_testing::promtool::Promtool;

    use super::*;
    use crate::status::truth_tests::{history, now, plan};
    use crate::status::{Facts, assess};

    fn published(history: &History) -> String {
        let plan = plan();
        let report = assess(&plan, history, &Facts::as_recorded(&plan, history), now());
        let past = Past { slot: Some(now()), ..Past::since(now()) };
        let tasks = Task::all(&plan).into_iter().map(|task| TaskMeasured {
            past: Some(past),
            last: None,
            first_due: Some(now()),
            next: Some(now()),
            task,
        });
        render(&Measured {
            report: &report,
            history,
            on_disk: PlanOnDisk::Holds,
            started: now(),
            looked: now(),
            tasks: &tasks.collect::<Vec<_>>(),
            is_paused: false,
            undelivered: 3,
            queued: 0,
            running: 1,
        })
    }

    /// The names of all that is exported.
    fn names(text: &str) -> BTreeSet<&str> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).collect()
    }

    /// The names of metrics in a file.
    fn named(text: &str) -> BTreeSet<&str> {
        let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = text.split(|c: char| !is_part(c));
        words.filter(|word| word.starts_with("dr_")).collect()
    }

    #[test]
    fn prometheus_own_tool_reads_what_is_published() {
        let promtool = Promtool::find().unwrap();
        let text = published(&history());
        promtool.check_metrics(&text).unwrap();
        assert!(promtool.check_metrics("dr_x{ 1\n").is_err(), "it does look");
        for line in [
            "dr_recoverable{verdict=\"yes\"} 1",
            "dr_asset_protected{asset=\"database\",verdict=\"yes\"} 1",
            "dr_rpo_target_seconds{asset=\"database\"} 3600",
            "dr_rto_measured_seconds{asset=\"database\"} 600",
            "dr_asset_proven{asset=\"database\"} 1",
            "dr_scorecard{asset=\"database\",digit=\"copies\"} 3",
            "dr_backup_ever_succeeded{asset=\"database\",tier=\"near\"} 1",
            "dr_catalog_undelivered_records 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        // Its log leads further on the one tier than its snapshots do on the other, and nobody looked.
        assert!(!text.contains("dr_rpo_seconds{asset=\"database\""), "{text}");
        let verified =
            |outcome: &str| format!("dr_tier_verified{{tier=\"near\",outcome=\"{outcome}\"}}");
        assert!(text.contains(&format!("{} 1", verified("passed"))), "{text}");
        assert!(text.contains(&format!("{} 0", verified("could-not-verify"))), "{text}");
    }

    #[test]
    fn what_never_happened_has_no_time_and_is_told_apart_by_what_the_plan_makes() {
        let text = published(&History::default());
        Promtool::find().unwrap().check_metrics(&text).unwrap();
        let samples =
            |name: &str| text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
        assert_eq!(samples("dr_backup_last_success_timestamp_seconds"), 0, "{text}");
        assert_eq!(samples("dr_rpo_seconds"), 0, "never is no number");
        assert_eq!(samples("dr_backup_ever_succeeded"), 2);
        assert!(samples("dr_job_configured_timestamp_seconds") > 3);
        assert!(!text.contains("seconds{asset=\"database\",tier=\"near\"} 0"), "{text}");
    }

    #[test]
    fn alert_rules_hold_and_every_metric_that_they_and_the_dashboard_name_is_exported() {
        let packaging = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
        let rules = packaging.join("prometheus/alerts.yml");
        Promtool::find().unwrap().check_rules(&rules).unwrap();
        let text = published(&history());
        let exported = names(&text);
        for file in [rules, packaging.join("grafana/lifeboat.json")] {
            let content = std::fs::read_to_string(&file).unwrap();
            let unknown: Vec<_> = named(&content).difference(&exported).copied().collect();
            assert_eq!(unknown, [""; 0], "{}", file.display());
            assert!(named(&content).len() > 10, "{}", file.display());
        }
        let dashboard = std::fs::read_to_string(packaging.join("grafana/lifeboat.json")).unwrap();
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
        assert!(dashboard["panels"].as_array().unwrap().len() > 8);
    }

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
