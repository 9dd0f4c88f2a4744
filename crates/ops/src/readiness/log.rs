//! What is asked about a database whose write-ahead log is archived.

use std::collections::BTreeSet;
use std::time::Duration;

use lifeboat_model::{AssetName, Outcome};
use lifeboat_plan::plan::asset::Base;

use super::{Asking, Subject};
use crate::status::history::History;
use crate::wal::WalLog;
use crate::wal::status::WalStatus;

/// How long a file may be on its way while a later one is there already: whoever ships several at once ends
/// them in any order, and a cloud may take a while. A hole that is older is one.
const ON_ITS_WAY: Duration = Duration::from_secs(3);

impl Asking<'_> {
    pub(super) fn log(
        &mut self,
        subject: &Subject,
        name: &AssetName,
        base: Base,
        history: Option<&History>,
    ) {
        let what = "its write-ahead log is archived, without holes";
        let look = || WalLog::of(self.site, Some(name)).and_then(|log| log.status(self.cancel));
        let status = match look() {
            Ok(status) if status.has_holes() => {
                let surroundings = self.site.surroundings();
                surroundings.runtime.block_on(surroundings.clock.sleep(ON_ITS_WAY));
                look()
            }
            looked => looked,
        };
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                self.take::<(), _>(subject, what, Err(error));
                return;
            }
        };
        if let (true, Some(history)) = (base != Base::Logical, history) {
            self.bases(subject, name, &status, history);
        }
        let setup;
        let (outcome, message, hint) = if status.has_holes() {
            let hint = "lifeboat wal status";
            (Outcome::Failed, "files are missing from it, or there twice", Some(hint))
        } else if status.has_trouble() {
            (Outcome::CouldNotVerify, "a tier of it could not be looked at", None)
        } else if status.tiers.iter().all(|tier| tier.clusters.is_empty()) {
            setup = format!("lifeboat postgres setup {name}");
            (Outcome::Failed, "nothing of it is archived yet", Some(setup.as_str()))
        } else {
            return self.lags(subject, what, (name, &status));
        };
        self.say(subject, what, outcome, (Some(message.to_owned()), hint.map(str::to_owned)));
    }

    /// Says which tiers lack files that others hold: they are on their way, or the tier is new or was away, and nobody brings
    /// them by himself.
    fn lags(&mut self, subject: &Subject, what: &str, (name, status): (&AssetName, &WalStatus)) {
        let late = status.tiers.iter().filter(|tier| tier.behind > 0);
        let late: Vec<_> = late
            .map(|tier| format!("{} of its files are not on {} yet", tier.behind, tier.tier))
            .collect();
        if late.is_empty() {
            return self.passed(subject, what);
        }
        let hint = format!("lifeboat wal catch-up --asset {name}");
        self.say(subject, what, Outcome::Passed, (Some(late.join(", ")), Some(hint)));
    }

    /// Asks whether each cluster whose log is archived has a base backup: without one the log leads from
    /// nowhere, as in the time between a major upgrade and the next backup.
    fn bases(
        &mut self,
        subject: &Subject,
        name: &AssetName,
        status: &WalStatus,
        history: &History,
    ) {
        let what = "there is a base backup that its log goes on from";
        let clusters = status.tiers.iter().flat_map(|tier| &tier.clusters);
        let clusters: BTreeSet<_> = clusters.map(|cluster| cluster.system.to_string()).collect();
        let has_base = |cluster: &String| history.based.contains(&(name.clone(), cluster.clone()));
        match clusters.iter().find(|cluster| !has_base(cluster)) {
            Some(cluster) => {
                let message = format!(
                    "cluster {cluster} has no base backup, so nothing of it can be recovered"
                );
                let hint = Some(format!("lifeboat backup {name}"));
                self.say(subject, what, Outcome::Failed, (Some(message), hint));
            }
            None if clusters.is_empty() => {}
            None => self.passed(subject, what),
        }
    }
}
