//! `lifeboat restore`: bring an asset back, beside what is there or in its place; or the plan itself.

mod bootstrap;
pub mod cluster;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use lifeboat_model::{AssetName, Exit, JobId, Secret, SiteName, TierName, Timestamp, counted};
use lifeboat_ops::bare_machine::{self, FoundSite, WantedPlan};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::error::explain;
use lifeboat_ops::point::At;
use lifeboat_ops::recovery::{self, RecoveryOptions, has_base_backups};
use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::restore::{
    self, DatabaseReport, Destination, RestoreJobReport, RestoreOptions, RestorePreview,
    RestoredTable, TiedBy,
};
use lifeboat_ops::thaw::ThawForecast;
use lifeboat_ops::traffic::TierTraffic;
use lifeboat_ops::wire::addresses::Outside;
use lifeboat_ops::{OpsError, Site};
use lifeboat_repository::restore::Selection;
use lifeboat_tiers::Listings;
use serde::Serialize;

use self::cluster::{ClusterArguments, parse_target};
use super::key;
use super::thaw::{Attempt, ComeBack, ThawArguments, Words, write_forecast};
use crate::failure::{CommandError, Failure};
use crate::prompt::Terminal;
use crate::render::{self, Answer, Page, RestoredFiles, ShownPath, Sort, time};
use crate::screen;
use crate::session::Session;
use crate::tier_argument::{self, TierArgument};

/// The arguments of `lifeboat restore`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").args(["to", "in_place", "database_only"]),
    override_usage = USAGE,
    after_help = EXAMPLES
)]
pub struct Restore {
    /// Restore this asset; with --database-only, go back to this time. Without it --from brings back
    /// the plan and its runbooks, and says how to go on
    #[arg(value_name = "ASSET|TIME", required_unless_present = "from")]
    what: Option<String>,
    /// Take what was captured last at or before this time, or `latest`; by the name of a point, what that ties
    /// together, some of which was captured later. Of a server with base backups also `immediate`, lsn:LSN, xid:XID
    /// or name:NAME
    #[arg(long, value_name = "TIME", default_value = "latest", conflicts_with = "database_only")]
    at: String,
    /// Restore below this directory; it is created, or has to be empty. A server with base backups gets
    /// it as its data directory
    #[arg(long, value_name = "DIR", requires = "what")]
    to: Option<PathBuf>,
    /// Take only this table out of the asset's logical dump, as a file of SQL; to be repeated for more
    #[arg(long, value_name = "TABLE", requires = "to")]
    table: Vec<String>,
    /// Put it where it came from; what is there is kept aside, except by a plan's command
    #[arg(long, requires = "what")]
    in_place: bool,
    /// Put the plan's only database back as it was at TIME
    #[arg(long, requires = "what")]
    database_only: bool,
    /// Read from this tier, by name or address; without it, from the first in the plan that holds it
    #[arg(long, value_name = "TIER")]
    tier: Option<TierArgument>,
    /// Find plan and points at this tier's address and read from there: for a machine without them
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["plan", "tier"])]
    from: Option<String>,
    /// With --from alone, write plan.toml and its runbooks below this directory; what is there stays
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "what")]
    plan_to: PathBuf,
    /// With --from, go by the plan whose id begins like this, not by the one that was last in force
    #[arg(long, value_name = "ID", requires = "from")]
    plan_id: Option<String>,
    /// Read the recovery key from this file, `-` for standard input, not from where the plan says;
    /// with --from it is asked for if this is left out
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Restore only what this pattern names, and what lies below it; to be repeated for more
    #[arg(long, value_name = "PATTERN", requires = "to", conflicts_with = "table")]
    include: Vec<String>,
    /// Restore nothing that this pattern names
    #[arg(long, value_name = "PATTERN", requires = "to", conflicts_with_all = ["table", "include"])]
    exclude: Vec<String>,
    /// End with 3 when an owner could not be set
    #[arg(long)]
    strict_owner: bool,
    /// Confirm beforehand that this site's data may be replaced
    #[arg(long, value_name = "SITE")]
    confirm: Option<SiteName>,
    /// Say what would be restored, what it replaces or how far it leads, and what lies in cold storage; change
    /// nothing
    #[arg(long, conflicts_with_all = ["thaw", "wait"])]
    dry_run: bool,
    #[command(flatten)]
    cold: ThawArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
}

const USAGE: &str = "\
lifeboat restore [OPTIONS] <ASSET|TIME> <--to <DIR>|--in-place|--database-only>
       lifeboat restore [OPTIONS] --from <ADDRESS> [--plan-to <DIR>]";

const EXAMPLES: &str = "\
Examples:
  lifeboat restore media --to /srv/restored
  lifeboat restore media --at 2026-11-23T02:00:00Z --in-place
  lifeboat restore 20261123_020000 --database-only --confirm techit-production
  lifeboat restore database --at 2026-11-23T01:59:59Z --to /srv/pg --start
  lifeboat restore database --table public.orders --to /srv/orders
  lifeboat restore --from s3://shop-backups/site --key-file /media/stick/recovery.key
  lifeboat restore media --tier offsite --to /srv/restored --dry-run
  lifeboat restore media --include /srv/media/a.jpg --tier offsite --to /srv/restored --thaw --wait
  lifeboat restore media --from file:///mnt/backups --to /srv/restored";

/// What a restore would do, as it is shown.
#[derive(Serialize)]
#[serde(transparent)]
struct Previewed(RestorePreview);

impl Answer for Previewed {
    const SCHEMA: &'static str = "lifeboat.restore.preview/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        page.write_str(&announcement(&self.0))?;
        write_forecast(self.0.thaw.as_ref(), page)
    }
}

/// What a restore did, as it is shown.
#[derive(Serialize)]
struct Restored {
    #[serde(flatten)]
    preview: RestorePreview,
    job: JobId,
    ending: Ending,
    files: Option<RestoredFiles>,
    database: Option<DatabaseReport>,
    tables: Vec<RestoredTable>,
    kept_aside: Vec<ShownPath>,
    hint: Option<String>,
    started: Timestamp,
    ended: Timestamp,
    duration_ms: u64,
    traffic: Vec<TierTraffic>,
}

impl From<RestoreJobReport> for Restored {
    fn from(report: RestoreJobReport) -> Self {
        Self {
            preview: report.preview,
            job: report.job,
            ending: report.ending,
            files: report.files.map(RestoredFiles::from),
            database: report.database,
            tables: report.tables,
            kept_aside: report.kept_aside.into_iter().map(ShownPath).collect(),
            hint: report.hint,
            started: report.started,
            ended: report.ended,
            duration_ms: report.duration_ms,
            traffic: report.traffic,
        }
    }
}

impl Answer for Restored {
    const SCHEMA: &'static str = "lifeboat.restore/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let RestorePreview { capture, point, tier, target, .. } = &self.preview;
        let captured = time::exact(capture.time);
        writeln!(page, "{} of {captured} from {tier} to {target}", capture.asset)?;
        page.write_str(&beside(point.as_ref()))?;
        if let Some(files) = &self.files {
            files.write(page)?;
        }
        if let Some(database) = &self.database {
            write_database(database, page)?;
        }
        for RestoredTable { table, file, rows } in &self.tables {
            writeln!(
                page,
                "{table}: {}, all of them, in {}",
                counted(*rows, "row"),
                file.display()
            )?;
        }
        for path in &self.kept_aside {
            writeln!(page, "the old state is kept at {path}")?;
        }
        render::write_all_traffic(&self.traffic, page)?;
        let ending = page.paint.tone(render::tone_of(self.ending), &self.ending.to_string());
        writeln!(page, "{ending} in {}", time::duration(Duration::from_millis(self.duration_ms)))?;
        match &self.hint {
            Some(hint) => writeln!(page, "{}: {hint}", page.paint.good("hint")),
            None => Ok(()),
        }
    }
}

fn write_database(report: &DatabaseReport, page: &mut Page) -> fmt::Result {
    let DatabaseReport { database, kept_as, tables, rows, roles_created, globals_failed } = report;
    let (tables, rows) = (counted(*tables, "table"), counted(*rows, "row"));
    writeln!(page, "{database}: {tables} with {rows} as recorded")?;
    if !roles_created.is_empty() {
        writeln!(page, "roles made: {}", roles_created.join(", "))?;
    }
    for failed in globals_failed {
        let word = page.paint.warning("warning");
        writeln!(page, "{word}: {failed}")?;
    }
    match kept_as {
        Some(name) => writeln!(page, "the old database is kept as {name}"),
        None => Ok(()),
    }
}

impl Restore {
    /// Restores; what replaces something is shown first and has to be confirmed.
    pub fn run(mut self, session: &Session) -> Result<Exit, Failure> {
        if let (Some(address), None) = (&self.from, &self.what) {
            let found = self.find(address, session)?;
            return self.bootstrap(found, session);
        }
        let what = self.what()?;
        let (site, tier) = if let Some(address) = &self.from {
            let FoundSite { site, tier, .. } = self.find(address, session)?;
            (site, Some(tier))
        } else {
            let site = self.site(session)?;
            let tier = tier_argument::named(self.tier.as_ref(), &site)?;
            (site, tier)
        };
        if let Some((asset, to)) = self.cluster_of(&what, &site)? {
            return self.run_cluster(&site, (asset, tier), &to, session);
        }
        let mut options = self.options(&what, &site, tier)?;
        let events = session.events();
        if self.dry_run {
            let preview = restore::preview(&site, &options, &*events, &session.cancel)?;
            return session.done(&Previewed(preview));
        }
        if options.to == Destination::InPlace {
            let preview = restore::preview(&site, &options, &*events, &session.cancel)?;
            // What was shown is what is restored, also if a backup ends in between.
            options.at = At::Time(preview.capture.time);
            options.tier = Some(preview.tier.clone());
            show(&preview);
            options.confirm = Some(self.confirmation(site.name(), session)?);
        }
        let attempt = self.cold.attempt(session, |thaw| {
            let options = RestoreOptions { thaw, ..options.clone() };
            restore::restore(&site, &options, &*events, &session.cancel)
        });
        match attempt? {
            Attempt::Done(report) => {
                let exit = report.exit();
                session.end(&Restored::from(report), exit)
            }
            Attempt::Waits(forecast) => {
                let words = self.again(&forecast, session)?;
                ComeBack::end(forecast, &words, session)
            }
        }
    }

    /// Restores a server from its base backup, or says what that would do.
    fn run_cluster(
        self,
        site: &Site,
        (asset, tier): (AssetName, Option<TierName>),
        to: &Path,
        session: &Session,
    ) -> Result<Exit, Failure> {
        let options = self.cluster.options(&asset, tier, (parse_target(&self.at)?, to), session)?;
        let events = session.events();
        if self.dry_run {
            return cluster::preview(site, &options, &*events, session);
        }
        let attempt = self.cold.attempt(session, |thaw| {
            let options = RecoveryOptions { thaw, ..options.clone() };
            recovery::recover(site, &options, &*events, &session.cancel)
        });
        match attempt? {
            Attempt::Done(report) => cluster::end(report, session),
            Attempt::Waits(forecast) => {
                let mut words = self.again(&forecast, session)?;
                words.option("--to", [options.to.display()]);
                ComeBack::end(forecast, &words, session)
            }
        }
    }

    /// Returns the words of the command that goes on with the same, from the same tier.
    fn again(&self, forecast: &ThawForecast, session: &Session) -> Result<Words, Failure> {
        let mut words =
            if self.from.is_none() { Words::new(session)? } else { Words::without_plan() };
        words.plain(["restore", forecast.asset.as_str()]);
        words.option("--at", [&forecast.at]);
        match &self.from {
            Some(from) => words.option("--from", [from]),
            None => words.option("--tier", [&forecast.tier]),
        }
        words.option("--key-file", self.key_file.as_ref().map(|file| file.display()));
        words.option("--to", self.to.as_ref().map(|to| to.display()));
        words.option("--confirm", &self.confirm);
        words.option("--table", &self.table);
        words.option("--include", &self.include);
        words.option("--exclude", &self.exclude);
        words.flags([
            ("--in-place", self.in_place || self.database_only),
            ("--strict-owner", self.strict_owner),
        ]);
        words.plain(self.cluster.words());
        Ok(words)
    }

    /// Returns what is to be restored, if it is said where to.
    fn what(&self) -> Result<String, CommandError> {
        let has_target = self.to.is_some() || self.in_place || self.database_only;
        self.what.clone().filter(|_| has_target).ok_or_else(|| {
            CommandError::usage(
                "it is not said where to restore to",
                "add `--to DIR`, or `--in-place`; a time needs `--database-only`",
            )
        })
    }

    /// Returns the asset and the directory, if a server's base backup is to be restored into it.
    fn cluster_of(
        &mut self,
        what: &str,
        site: &Site,
    ) -> Result<Option<(AssetName, PathBuf)>, Failure> {
        let wants_cluster =
            |asset: &AssetName| self.table.is_empty() && has_base_backups(site, asset);
        let asset = what.parse().ok().filter(wants_cluster);
        match (asset, self.to.take()) {
            (Some(asset), Some(to)) => Ok(Some((asset, to))),
            (_, to) if self.cluster.is_asked_for() => {
                self.to = to;
                let message = format!("`{what}` has no base backups");
                let hint =
                    "--delta, --start and --tablespace are for an asset with base = \"physical\"";
                Err(CommandError::usage(message, hint).into())
            }
            (_, to) => {
                self.to = to;
                Ok(None)
            }
        }
    }

    /// Returns the site of this machine's plan.
    fn site(&self, session: &Session) -> Result<Site, Failure> {
        let site = session.site()?;
        Ok(match &self.key_file {
            Some(path) => site.with_key(parsed(&key::from_file(path, "--key-file")?)?),
            None => site,
        })
    }

    /// Finds the site whose tier is at an address.
    fn find(&self, address: &str, session: &Session) -> Result<FoundSite, Failure> {
        if let Ok(name) = address.parse::<TierName>() {
            let hint = format!(
                "give an address like file:///mnt/backups; where the plan is there, `--tier {name}` takes the name"
            );
            return Err(CommandError::usage(format!("`{name}` is no address"), hint).into());
        }
        let environment = session.process.text_variables();
        let outside = Outside {
            environment: &environment,
            clock: &session.clock,
            listings: Listings::AsKnown,
        };
        let tier = bare_machine::open_address(address, outside)?;
        let mark = session.runtime.block_on(bare_machine::read_mark(tier.as_ref()))?;
        let key = match &self.key_file {
            Some(path) => key::from_file(path, "--key-file")?,
            None => ask_key(mark.as_ref().map(|mark| &mark.site), session)?,
        };
        let wanted = self.plan_id.clone().map_or(WantedPlan::Newest, WantedPlan::Named);
        let key = parsed(&key)?;
        let mark = if let Some(mark) = mark {
            mark
        } else {
            let lost = bare_machine::lost_mark(&tier, &key, session.clock.now());
            session.runtime.block_on(lost)?
        };
        let surroundings = session.surroundings(&mark.site);
        let found = bare_machine::find_site(&tier, &key, &wanted, surroundings, &session.cancel)?;
        if !found.is_marked {
            session.screen.remark(&format!(
                "the mark of this tier, its `site.json`, is missing; by its plans and records it is {}'s tier {name}. `lifeboat tiers mark {name}` puts it back",
                mark.site, name = found.tier
            ));
        }
        for known in found.passed_over() {
            session.screen.remark(&bootstrap::passed_over(known, found.site.plan().id()));
        }
        Ok(found.by_its_plan(address, outside)?)
    }

    fn options(
        &self,
        what: &str,
        site: &Site,
        tier: Option<TierName>,
    ) -> Result<RestoreOptions, Failure> {
        let (asset, at) = if self.database_only {
            (restore::only_database(site)?, At::parse(what)?)
        } else {
            let asset: AssetName = what.parse().map_err(|_| {
                let message = format!("`{what}` is not the name of an asset");
                CommandError::usage(message, "to go back to a time, add `--database-only`")
            })?;
            (asset, At::parse(&self.at)?)
        };
        let to = match &self.to {
            Some(directory) if !self.table.is_empty() => {
                Destination::Tables(self.table.clone(), directory.clone())
            }
            Some(directory) => Destination::Directory(directory.clone()),
            None => Destination::InPlace,
        };
        let strict_owner = self.strict_owner;
        let selection = Selection::new(&self.include, &self.exclude).map_err(|error| {
            CommandError::usage(explain(&error), "write it as `lifeboat repo restore` takes it")
        })?;
        Ok(RestoreOptions { at, tier, strict_owner, selection, ..RestoreOptions::new(asset, to) })
    }

    /// Has the site's name typed, unless it was given.
    fn confirmation(&self, site: &SiteName, session: &Session) -> Result<SiteName, Failure> {
        if let Some(given) = &self.confirm {
            return if given == site {
                Ok(given.clone())
            } else {
                Err(CommandError::Declined { expected: site.to_string() }.into())
            };
        }
        let terminal =
            Terminal::open(&session.cancel).ok_or_else(|| CommandError::Unconfirmed {
                question: format!("that the data of `{site}` may be replaced"),
                hint: format!("add `--confirm {site}`"),
            })?;
        let typed = terminal.ask(&format!("Type the site's name, {site}, to go on: "))?;
        if typed.trim() == site.as_str() {
            Ok(site.clone())
        } else {
            Err(CommandError::Declined { expected: site.to_string() }.into())
        }
    }
}

/// Asks for the key at the terminal: on a bare machine there may be no file that holds it.
fn ask_key(site: Option<&SiteName>, session: &Session) -> Result<Secret, Failure> {
    let whose = site.map_or_else(String::new, |site| format!(" of {site}"));
    let terminal = Terminal::open(&session.cancel).ok_or_else(|| {
        let message =
            format!("the recovery key{whose} was not given, and there is no terminal to ask at");
        CommandError::usage(
            message,
            "give `--key-file FILE`, or `--key-file -` and the key on standard input",
        )
    })?;
    terminal.ask_secret(&format!("the recovery key{whose}: "))
}

fn parsed(key: &Secret) -> Result<RecoveryKey, Failure> {
    Ok(RecoveryKey::parse(key).map_err(OpsError::from)?)
}

/// Says what is going to be replaced; also with `--quiet`, since it is what has to be confirmed.
fn show(preview: &RestorePreview) {
    screen::talk(&announcement(preview));
}

/// Says how far from its point a capture lies, where that is a second or more.
fn beside(point: Option<&TiedBy>) -> String {
    let Some(TiedBy { name, time, skew_s }) = point.filter(|point| point.skew_s != 0) else {
        return String::new();
    };
    let side = if *skew_s > 0 { "after" } else { "before" };
    let (at, apart) = (time::instant(*time), Duration::from_secs(skew_s.unsigned_abs()));
    format!("it was captured {} {side} point {name}, which is of {at}\n", time::duration(apart))
}

fn announcement(preview: &RestorePreview) -> String {
    let RestorePreview { capture, point, tier, target, replaces, keeps_replaced, .. } = preview;
    let what = format!("{} of {} from {tier}", capture.asset, time::exact(capture.time));
    let beside = beside(point.as_ref());
    if replaces.is_empty() {
        return format!("{what} goes to {target}, where nothing is in the way\n{beside}");
    }
    let mut text = if *keeps_replaced {
        format!("{what} replaces what is there, which is kept aside:\n")
    } else {
        format!("{what} replaces what a command of the plan replaces; nothing is kept aside:\n")
    };
    for replaced in replaces {
        _ = writeln!(text, "    {replaced}");
    }
    text + &beside
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lifeboat_model::SnapshotId;
    use lifeboat_ops::point::Capture;

    use super::*;

    #[test]
    fn what_is_in_the_way_is_listed_and_nothing_is_called_nothing() {
        let capture = Capture {
            asset: "media".parse().unwrap(),
            job: None,
            time: "2026-11-23T02:00:00Z".parse().unwrap(),
            ended: None,
            complete: None,
            copies: BTreeMap::new(),
        };
        let mut preview = RestorePreview {
            schema: 1,
            site: "shop".parse().unwrap(),
            capture,
            point: None,
            tier: "primary".parse().unwrap(),
            snapshot: SnapshotId::from_bytes([0; 32]),
            target: "/srv/media, /srv/logos".to_owned(),
            replaces: vec!["/srv/media".to_owned()],
            keeps_replaced: true,
            thaw: None,
        };
        let head = format!("media of {} from primary", time::instant(preview.capture.time));
        assert_eq!(
            announcement(&preview),
            format!("{head} replaces what is there, which is kept aside:\n    /srv/media\n")
        );
        preview.keeps_replaced = false;
        let command = announcement(&preview);
        assert!(
            command.contains("command") && command.contains("nothing is kept aside"),
            "{command}"
        );
        preview.replaces.clear();
        assert_eq!(
            announcement(&preview),
            format!("{head} goes to /srv/media, /srv/logos, where nothing is in the way\n")
        );
        let (name, time) = ("20261123_015820".to_owned(), "2026-11-23T01:58:20Z".parse().unwrap());
        preview.point = Some(TiedBy { name, time, skew_s: 100 });
        let later = announcement(&preview);
        assert!(later.contains("captured 1 min 40 s after point 20261123_015820"), "{later}");
    }
}
