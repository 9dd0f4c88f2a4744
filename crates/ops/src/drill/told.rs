//! What a drill adds to the evidence of the run that it carried out. Pure.

use lifeboat_model::Outcome;

use super::preparation::Prepared;
use super::record::{DrillEnded, PointChecked};
use super::teardown::Teardown;
use crate::evidence::Drilled;
use crate::evidence::document::{self, CheckKept, Finding, LookedFor};

/// What is looked for in the end, and how each of what is left begins.
const LOOKED_FOR: [(&str, &str); 4] = [
    ("processes with mounts of the yard", "process "),
    ("namespaces that its processes were in", "namespace "),
    ("mounts of the yard", "mount "),
    ("files of the yard", "files "),
];

/// What is not proven of a platform that nothing happened to.
const UNDAMAGED: &str =
    "the damage: nothing happened to the platform, as the plan says no `damage` of it";

/// Tells of a drill that is torn down, which `operator` ran.
pub(super) fn drilled(ended: &DrillEnded, operator: &str) -> Drilled {
    let trigger = match &ended.drill {
        Some(name) => format!("drill `{name}` of the plan, run by {operator}"),
        None => format!("run by {operator}"),
    };
    let sinks = ended.sinks.iter().map(|sink| sink.address.as_str()).collect::<Vec<_>>();
    let network = match sinks.as_slice() {
        [] => "a loopback of its own".to_owned(),
        sinks => format!("a loopback of its own, where {} are stood in for", sinks.join(", ")),
    };
    let simulated = ended.simulated.iter();
    let simulated = simulated.map(|it| format!("step `{}`: {}", it.step, it.what));
    let undamaged = ended.prepared.as_ref().filter(|prepared| prepared.damage.is_none());
    let undamaged = undamaged.map(|_| UNDAMAGED.to_owned());
    let findings = ended.findings.iter().map(|finding| Finding {
        what: document::text(&finding.what),
        owner: Some(finding.owner.clone()),
        due: Some(finding.due.to_string()),
        closed_by: None,
    });
    Drilled {
        trigger,
        sandbox: sandbox(ended),
        network,
        points: ended.checklist.iter().map(point).collect(),
        not_verified: undamaged.into_iter().chain(simulated).collect(),
        findings: findings.collect(),
        teardown: teardown(&ended.teardown),
    }
}

/// Says where it was played, and what ran there before.
fn sandbox(ended: &DrillEnded) -> String {
    let yard = format!("the yard of {}", ended.run);
    match &ended.prepared {
        None => yard,
        Some(Prepared { damage: Some(damage), .. }) => {
            let damage = document::text(damage);
            format!("{yard}, in which the platform ran, and was damaged by `{damage}`")
        }
        Some(Prepared { damage: None, .. }) => format!("{yard}, in which the platform ran"),
    }
}

fn point(point: &PointChecked) -> CheckKept {
    CheckKept {
        name: document::text(&point.says),
        step: None,
        expected: "it holds when the run is over".to_owned(),
        actual: document::text(&point.message),
        outcome: point.outcome,
        took_ms: None,
    }
}

fn teardown(teardown: &Teardown) -> document::Teardown {
    let looked_for = LOOKED_FOR.iter().map(|(what, begin)| LookedFor {
        what: (*what).to_owned(),
        left: teardown.left().iter().filter(|left| left.starts_with(begin)).cloned().collect(),
    });
    let trouble = (teardown.outcome() != Outcome::Passed)
        .then(|| "something of it is left; the next drill tries again".to_owned());
    document::Teardown {
        outcome: teardown.outcome(),
        time: teardown.looked(),
        looked_for: looked_for.collect(),
        trouble,
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_model::{RunId, Timestamp};

    use super::super::teardown::Seen;
    use super::*;

    #[test]
    fn what_is_left_of_a_drill_stands_where_it_was_looked_for() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let left = Teardown::look(&place, &Seen::default(), now);
        let run = RunId::from_uuid(uuid::Uuid::nil());
        let ended = DrillEnded::begun((run, "all-lost".parse().unwrap(), now), left);
        let told = drilled(&ended, "alice");
        assert_eq!(told.trigger, "run by alice");
        assert_eq!(told.teardown.outcome, Outcome::Failed);
        let left: Vec<_> =
            told.teardown.looked_for.iter().map(|looked| looked.left.len()).collect();
        assert_eq!(left, [0, 0, 0, 1]);

        std::fs::remove_dir(&place).unwrap();
        let ran = DrillEnded { prepared: Some(Prepared::default()), ..ended };
        assert_eq!(drilled(&ran, "alice").not_verified, [UNDAMAGED]);
        let clean = Teardown::look(&place, &Seen::default(), now);
        let ended = DrillEnded::begun((run, "all-lost".parse().unwrap(), now), clean);
        assert_eq!(drilled(&ended, "alice").teardown.outcome, Outcome::Passed);
    }
}
