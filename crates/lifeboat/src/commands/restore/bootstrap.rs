//! `lifeboat restore --from ADDRESS`: plan, runbooks and catalog onto a machine that has none of it.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use lifeboat_model::{Exit, PlanId, ScenarioName, counted};
use lifeboat_ops::bare_machine::bootstrap::{
    self, Bootstrapped, FileState, PlanFile, Protected, Way,
};
use lifeboat_ops::bare_machine::{FoundSite, KnownPlan};
use lifeboat_ops::procedure::outlook::bringing_back_all;
use lifeboat_plan::value::secret::SecretRef;
use serde::Serialize;

use super::Restore;
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Cell, Page, ShownPath, Table, Tone, time};
use crate::session::Session;
use crate::surroundings;

/// How many plans and points are shown; `--json` has all of them.
const SHOWN_MAX: usize = 5;

/// What was brought back, as it is shown.
#[derive(Debug, Serialize)]
struct Brought {
    #[serde(flatten)]
    report: Bootstrapped,
    /// What has to be there before the commands work, and nobody can write down as one.
    needs: Option<String>,
    /// Who else has to read what was written, if somebody has to.
    readers: Option<String>,
    /// The commands that bring the platform back, in their order.
    next: Vec<String>,
}

/// Says that a plan was passed over, and which one is used in its place.
pub fn passed_over(known: &KnownPlan, used: PlanId) -> String {
    let since = known.in_force_since.map(time::instant).unwrap_or_default();
    let why = known.trouble.as_deref().unwrap_or_default();
    format!(
        "plan {}, in force since {since}, cannot be used: {why}\n\
         plan {used}, which was in force before, is used in its place; another tier may hold the newer one whole",
        known.plan
    )
}

impl Restore {
    /// Writes plan and runbooks, rebuilds the catalog and says how to go on.
    pub(super) fn bootstrap(&self, found: FoundSite, session: &Session) -> Result<Exit, Failure> {
        if self.dry_run {
            return Err(CommandError::usage(
                "--dry-run tells what the restore of an asset would do, and none is named",
                "name an asset; without one --from writes the plan, its runbooks and the catalog's view",
            )
            .into());
        }
        let directory = surroundings::absolute(&self.plan_to)?;
        let secret = found.site.plan().key().secret.clone();
        let scenarios = bringing_back_all(&found.site);
        let report = bootstrap::bootstrap(found, &directory, &session.cancel)?;
        let is_whole =
            !report.is_blocked() && !report.is_older() && report.catalog.flaws.is_empty();
        let exit = if is_whole { Exit::Done } else { Exit::Incomplete };
        let (needs, next) = self.next(&report, (&secret, &scenarios), session);
        let readers = readers(&report.files, &report.assets).filter(|_| !report.is_blocked());
        session.end(&Brought { report, needs, readers, next }, exit)
    }

    /// Returns what is needed first, and the commands to go on with: a runbook leads further than single restores.
    fn next(
        &self,
        report: &Bootstrapped,
        (secret, scenarios): (&SecretRef, &[ScenarioName]),
        session: &Session,
    ) -> (Option<String>, Vec<String>) {
        if report.is_blocked() {
            return (None, Vec::new());
        }
        let (key, needs) = self.key(secret);
        let mut next: Vec<String> = key.into_iter().collect();
        let plan = &report.files[0].path;
        // Where lifeboat finds it by itself it need not be named.
        let is_found = surroundings::find_plan(&session.global)
            .ok()
            .and_then(|found| surroundings::absolute(&found).ok())
            .is_some_and(|found| found == *plan);
        let with_plan =
            if is_found { String::new() } else { format!(" --plan {}", word(&shown(plan))) };
        next.push(format!("lifeboat tiers{with_plan}"));
        let from = if report.is_where_planned() {
            let recover = |name| format!("lifeboat recover {name} --dry-run{with_plan}");
            next.extend(scenarios.iter().map(recover));
            format!("--tier {}{with_plan}", report.tier)
        } else {
            let key =
                self.key_file.as_deref().map(|file| format!(" --key-file {}", word(&shown(file))));
            format!("--from {}{}", word(&report.address), key.unwrap_or_default())
        };
        let there = report.assets.iter().filter(|asset| asset.newest.is_some());
        next.extend(there.map(|asset| restore(asset, &from)));
        (needs, next)
    }

    /// Returns the command that puts the key where the plan wants it, or what somebody has to do by hand.
    fn key(&self, secret: &SecretRef) -> (Option<String>, Option<String>) {
        let place = match secret {
            SecretRef::File(place) if place.as_path().exists() => return (None, None),
            SecretRef::File(place) => shown(place.as_path()),
            other => {
                let needs = format!("the plan reads the recovery key from its {other}");
                return (None, Some(needs));
            }
        };
        if let Some(file) = self.key_file.as_deref().filter(|file| *file != Path::new("-")) {
            (Some(format!("install -D -m 600 {} {}", word(&shown(file)), word(&place))), None)
        } else {
            let needs = format!(
                "the plan reads the recovery key from {place}: write it there, for its owner alone to read"
            );
            (None, Some(needs))
        }
    }
}

/// Says that a server's user has to read the plan, by which its log is fetched; what was written is for its owner alone.
fn readers(files: &[PlanFile], assets: &[Protected]) -> Option<String> {
    let fetches = |asset: &Protected| matches!(asset.way, Way::Cluster { .. });
    if !assets.iter().any(fetches) {
        return None;
    }
    let files = files.iter().map(|file| word(&shown(&file.path)));
    let files = files.collect::<Vec<_>>().join(" ");
    Some(format!(
        "plan and runbooks are for their owner alone to read, and a server that fetches its log reads them as its own \
         user: `chgrp postgres {files} && chmod 640 {files}`, with that user's group"
    ))
}

fn restore(asset: &Protected, from: &str) -> String {
    let name = &asset.asset;
    match &asset.way {
        Way::InPlace => format!("lifeboat restore {name} {from} --in-place"),
        Way::Cluster { data_directory } => {
            let to = data_directory.as_ref().map_or("DIR".to_owned(), |path| word(&shown(path)));
            format!("lifeboat restore {name} {from} --to {to} --start")
        }
    }
}

fn shown(path: &Path) -> String {
    ShownPath(path.to_owned()).to_string()
}

/// Writes a word as a shell takes it.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl Answer for Brought {
    const SCHEMA: &'static str = "lifeboat.restore.bootstrap/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Bootstrapped { site, tier, address, planned, plan, catalog, .. } = &self.report;
        let taken = self.report.plans.iter().find(|known| known.plan == *plan);
        let since = match taken.and_then(|known| known.in_force_since) {
            Some(since) => format!("in force since {}", time::instant(since)),
            None => page.paint.warning("of which no record says that it was in force"),
        };
        writeln!(page, "plan {plan} of {site}, {since}, from tier {tier} at {address}")?;
        if !self.report.is_where_planned() {
            let word = page.paint.warning("note");
            writeln!(page, "{word}: the plan says that this tier is at {planned}")?;
        }
        self.write_plans(page)?;
        self.write_files(page)?;
        writeln!(
            page,
            "the catalog's view was rebuilt from {}",
            counted(catalog.records, "record")
        )?;
        for flaw in &catalog.flaws {
            let word = page.paint.bad("flaw");
            writeln!(page, "{word}: {flaw}")?;
        }
        self.write_assets(page)?;
        self.write_points(page)?;
        self.write_next(page)
    }
}

impl Brought {
    fn write_plans(&self, page: &mut Page) -> fmt::Result {
        let others = self.report.plans.iter().filter(|known| known.plan != self.report.plan);
        for known in others.clone().take(SHOWN_MAX) {
            let since = match known.in_force_since {
                Some(since) => format!("in force since {}", time::instant(since)),
                None => "never recorded as in force".to_owned(),
            };
            let word = match known.trouble {
                Some(_) => page.paint.bad("cannot be used"),
                None => "`--plan-id` takes it".to_owned(),
            };
            writeln!(page, "  there is also plan {}, {since}: {word}", known.plan)?;
        }
        match others.count().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => writeln!(page, "  and {more} more"),
        }
    }

    fn write_files(&self, page: &mut Page) -> fmt::Result {
        for file in &self.report.files {
            let path = ShownPath(file.path.clone());
            match file.state {
                FileState::Written => writeln!(page, "wrote {path}")?,
                FileState::There => writeln!(page, "{path} is there already, byte by byte")?,
                FileState::Other => {
                    let word = page.paint.bad("kept");
                    writeln!(page, "{word}: {path} is there with other bytes")?;
                }
                FileState::Left => writeln!(page, "not written: {path}")?,
            }
        }
        if self.report.is_blocked() {
            writeln!(
                page,
                "nothing is overwritten: move it away, or write elsewhere with `--plan-to DIR`"
            )?;
        }
        Ok(())
    }

    fn write_assets(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "\nIt protects, in the order in which it comes back:\n")?;
        let mut table = Table::new(["Asset", "Newest copy here", "May lose", "May take"]);
        let length = |seconds: Option<u64>| match seconds {
            Some(seconds) => Cell::from(time::duration(Duration::from_secs(seconds))),
            None => Cell::new("-", Tone::Aside),
        };
        for asset in &self.report.assets {
            let newest = match asset.newest {
                Some(newest) => time::instant(newest).into(),
                None => Cell::new("none", Tone::Bad),
            };
            let name = Cell::new(asset.asset.as_str(), Tone::Strong);
            table.row([name, newest, length(asset.rpo_s), length(asset.rto_s)]);
        }
        page.table(&table);
        Ok(())
    }

    fn write_points(&self, page: &mut Page) -> fmt::Result {
        let (points, tier) = (&self.report.points, &self.report.tier);
        let Some(newest) = points.first() else {
            return writeln!(page, "\nNo recovery point is on {tier}.");
        };
        let names: Vec<_> = points.iter().take(SHOWN_MAX).map(|point| &*point.name).collect();
        let more = points.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} older ones") } else { String::new() };
        writeln!(page, "\nPoints on {tier}, for `--at`: {}{more}", names.join(", "))?;
        if newest.missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<_> = newest.missing.iter().map(ToString::to_string).collect();
        let word = page.paint.warning("note");
        writeln!(page, "{word}: the newest lacks {}", missing.join(", "))
    }

    fn write_next(&self, page: &mut Page) -> fmt::Result {
        if let Some(needs) = &self.needs {
            writeln!(page, "\nFirst: {needs}.")?;
        }
        if let Some(readers) = &self.readers {
            let word = page.paint.warning("note");
            writeln!(page, "\n{word}: {readers}")?;
        }
        if self.next.is_empty() {
            return Ok(());
        }
        writeln!(page, "\nTo go on:\n")?;
        for command in &self.next {
            writeln!(page, "  {command}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use lifeboat_ops::point::Role;

    fn asset(way: Way) -> Protected {
        let asset = "database".parse().unwrap();
        Protected { asset, role: Role::Database, way, rpo_s: None, rto_s: None, newest: None }
    }

    #[test]
    fn where_a_server_fetches_its_log_it_is_said_who_has_to_read_the_plan() {
        let file = |path: &str| PlanFile { path: path.into(), state: FileState::Written };
        let files = [file("/srv/my plan.toml"), file("/srv/runbooks/fire.toml")];
        assert_eq!(readers(&files, &[asset(Way::InPlace)]), None);
        let server = asset(Way::Cluster { data_directory: None });
        let told = readers(&files, &[asset(Way::InPlace), server]).unwrap();
        let named = "'/srv/my plan.toml' /srv/runbooks/fire.toml";
        assert!(told.contains(&format!("chgrp postgres {named} && chmod 640 {named}")), "{told}");
    }

    #[test]
    fn commands_can_be_given_to_a_shell_as_they_stand() {
        assert_eq!(word("/srv/a-b_c.d"), "/srv/a-b_c.d");
        assert_eq!(word("s3://bucket/site"), "s3://bucket/site");
        assert_eq!(word("my key"), "'my key'");
        assert_eq!(word("it's"), r"'it'\''s'");
        let server = Way::Cluster { data_directory: Some(PathBuf::from("/srv/my pg")) };
        assert_eq!(
            restore(&asset(server), "--tier far"),
            "lifeboat restore database --tier far --to '/srv/my pg' --start"
        );
        assert_eq!(
            restore(&asset(Way::InPlace), "--tier far"),
            "lifeboat restore database --tier far --in-place"
        );
    }
}
