//! What is asked about a database's server: whether the role may do what a backup needs, and whether the
//! server hands its log to this plan.

use lifeboat_model::{AssetName, Outcome};
use lifeboat_plan::plan::asset::{Asset, Postgres};
use lifeboat_postgres::Server;
use lifeboat_postgres::setup::{Condition, Problem, Remedy, Severity, rights};

use super::{Asking, Subject};
use crate::server_setup::{taken, wanted_archive};

impl Asking<'_> {
    pub(super) fn server(
        &mut self,
        subject: &Subject,
        (name, asset): (&AssetName, &Asset),
        postgres: &Postgres,
        server: &Server,
    ) {
        let runtime = &self.site.surroundings().runtime;
        let taken = taken(postgres);
        let maintenance = runtime.block_on(server.maintenance_database());
        let what = "its server tells its condition";
        let looked = maintenance.and_then(|maintenance| {
            let rights = rights(server.version().major(), taken, &server.database(), &maintenance);
            let condition = runtime.block_on(Condition::read(server, &rights))?;
            Ok((condition, rights))
        });
        let Some((condition, rights)) = self.take(subject, what, looked) else { return };
        let archive = wanted_archive(self.site.call(), name, asset, None);
        let archive = archive.as_ref().filter(|_| !condition.is_standby);
        let rpo_s = asset.rpo.map(|rpo| rpo.duration().as_secs());
        for finding in condition.findings(taken, &rights, archive, rpo_s) {
            let Some(Problem { severity, message, remedy }) = finding.problem else {
                self.passed(subject, finding.what);
                continue;
            };
            let outcome = match severity {
                Severity::Fault => Outcome::Failed,
                Severity::Remark => Outcome::Passed,
            };
            let hint = match remedy {
                Remedy::SetUp => format!("lifeboat postgres setup {name}"),
                Remedy::SetUpAndRestart => format!("lifeboat postgres setup {name} --restart"),
                Remedy::SetUpInstead => format!("lifeboat postgres setup {name} --replace"),
                Remedy::Other(words) => words,
            };
            self.say(subject, finding.what, outcome, (Some(message), Some(hint)));
        }
    }
}
