//! What is asked about a database whose write-ahead log is archived.

use lifeboat_model::{AssetName, Outcome};

use super::{Asking, Subject};
use crate::wal::WalLog;

impl Asking<'_> {
    pub(super) fn log(&mut self, subject: &Subject, name: &AssetName) {
        let what = "its write-ahead log is archived, without holes";
        let status = WalLog::of(self.site, Some(name)).and_then(|log| log.status(self.cancel));
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                self.take::<(), _>(subject, what, Err(error));
                return;
            }
        };
        let (outcome, message, hint) = if status.has_holes() {
            let hint = "lifeboat wal status";
            (Outcome::Failed, "files are missing from it, or there twice", Some(hint))
        } else if status.has_trouble() {
            (Outcome::CouldNotVerify, "a tier of it could not be looked at", None)
        } else if status.tiers.iter().all(|tier| tier.clusters.is_empty()) {
            let hint = "set archive_mode = on and archive_command = 'lifeboat wal push %p'";
            (Outcome::Failed, "nothing of it is archived yet", Some(hint))
        } else {
            return self.passed(subject, what);
        };
        self.say(subject, what, outcome, (Some(message.to_owned()), hint.map(str::to_owned)));
    }
}
