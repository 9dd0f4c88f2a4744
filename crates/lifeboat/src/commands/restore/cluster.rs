//! Restoring a PostgreSQL server from its base backup and its log.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lifeboat_model::{AssetName, EventSink, Exit, TierName, Timestamp, counted};
use lifeboat_ops::Site;
use lifeboat_ops::recovery::{
    self, RecoveryOptions, RecoveryPreview, RecoveryReport, Start, Started,
};
use lifeboat_ops::thaw::ThawOptions;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::recovery::placement::Before;
use serde::Serialize;

use crate::commands::thaw::write_forecast;
use crate::failure::{CommandError, Failure};
use crate::render::{self, Answer, Page, RestoredFiles, time};
use crate::session::Session;
use crate::surroundings;

/// What only the restore of a server takes.
#[derive(Debug, Args)]
pub struct ClusterArguments {
    /// Keep what is right of the cluster in DIR, and fetch and write only what differs
    #[arg(long, requires = "to")]
    delta: bool,
    /// Start the server of the restored cluster, and wait until it takes changes
    #[arg(long, requires = "to")]
    start: bool,
    /// Put the tablespace that was in OLD into NEW [default: DIR-tablespaces/OID]
    #[arg(long, value_name = "OLD=NEW", requires = "to", value_parser = moved)]
    tablespace: Vec<(PathBuf, PathBuf)>,
}

/// Reads `OLD=NEW`.
fn moved(text: &str) -> Result<(PathBuf, PathBuf), String> {
    match text.split_once('=') {
        Some((from, to)) if from.starts_with('/') && to.starts_with('/') => {
            Ok((PathBuf::from(from), PathBuf::from(to)))
        }
        _ => Err("expected two absolute paths, OLD=NEW".to_owned()),
    }
}

impl ClusterArguments {
    /// Tells whether anything was asked for that only a base backup can give.
    pub fn is_asked_for(&self) -> bool {
        self.delta || self.start || !self.tablespace.is_empty()
    }

    /// Returns the words by which all of it is asked for.
    pub fn words(&self) -> Vec<String> {
        let flags = [("--delta", self.delta), ("--start", self.start)];
        let flags = flags.iter().filter(|(_, given)| *given).map(|(name, _)| (*name).to_owned());
        let moved = self.tablespace.iter().flat_map(|(from, to)| {
            ["--tablespace".to_owned(), format!("{}={}", from.display(), to.display())]
        });
        flags.chain(moved).collect()
    }

    /// Returns what is recovered: an asset, up to a moment, into a directory.
    pub fn options(
        &self,
        asset: &AssetName,
        tier: Option<TierName>,
        (target, to): (RecoveryTarget, &std::path::Path),
        session: &Session,
    ) -> Result<RecoveryOptions, Failure> {
        Ok(RecoveryOptions {
            fetch: fetch_words(asset, session)?,
            asset: asset.clone(),
            target,
            tier,
            to: surroundings::absolute(to)?,
            before: if self.delta { Before::Cluster } else { Before::Empty },
            tablespaces: self.tablespace.clone(),
            start: if self.start { Start::AndWait } else { Start::No },
            thaw: ThawOptions::default(),
        })
    }
}

/// Says what a recovery would do.
pub fn preview(
    site: &Site,
    options: &RecoveryOptions,
    events: &dyn EventSink,
    session: &Session,
) -> Result<Exit, Failure> {
    let preview = recovery::preview(site, options, events, &session.cancel)?;
    session.done(&Preview(preview))
}

/// Says what was recovered.
pub fn end(report: RecoveryReport, session: &Session) -> Result<Exit, Failure> {
    let exit = report.exit();
    session.end(&Recovered::from(report), exit)
}

/// Reads a moment to recover to.
pub fn parse_target(at: &str) -> Result<RecoveryTarget, CommandError> {
    at.parse().map_err(|_| {
        let hint = "give `latest`, `immediate`, 2026-11-23T02:00:00Z, 20261123_020000 (UTC), lsn:0/3000028, xid:731 or name:NAME";
        CommandError::usage(format!("`{at}` is no moment to recover to"), hint)
    })
}

/// Returns the words by which a server has this very program fetch its log.
fn fetch_words(asset: &AssetName, session: &Session) -> Result<Vec<String>, Failure> {
    let mut words = vec![surroundings::program()?];
    if let Ok(plan) = surroundings::find_plan(&session.global) {
        words.push("--plan".to_owned());
        words.push(surroundings::absolute(&plan)?.display().to_string());
    }
    words.extend(["wal", "get", "--asset", asset.as_str()].map(str::to_owned));
    Ok(words)
}

/// What a restore would do, as it is shown.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Preview(RecoveryPreview);

impl Answer for Preview {
    const SCHEMA: &'static str = "lifeboat.restore.cluster-preview/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        write_preview(&self.0, page)
    }
}

/// What a restore did, as it is shown.
#[derive(Debug, Serialize)]
struct Recovered {
    #[serde(flatten)]
    report: RecoveryReport,
    files: RestoredFiles,
}

impl From<RecoveryReport> for Recovered {
    fn from(mut report: RecoveryReport) -> Self {
        let files = std::mem::take(&mut report.files);
        Self { report, files: files.into() }
    }
}

impl Answer for Recovered {
    const SCHEMA: &'static str = "lifeboat.restore.cluster/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        let RecoveryReport { preview, ending, started_server, duration_ms, .. } = &self.report;
        write_preview(preview, page)?;
        self.files.write(page)?;
        match started_server {
            Some(started) => write_started(started, page)?,
            None => writeln!(
                page,
                "to go on: run `lifeboat wal serve {}` where the key can be read, and start the server",
                preview.to.display()
            )?,
        }
        render::write_all_traffic(&self.report.traffic, page)?;
        let word = page.paint.tone(render::tone_of(*ending), &ending.to_string());
        writeln!(page, "{word} in {}", time::duration(Duration::from_millis(*duration_ms)))
    }
}

/// Says what is recovered, how far that leads and what is lost.
pub fn write_preview(preview: &RecoveryPreview, page: &mut Page) -> fmt::Result {
    let RecoveryPreview { asset, tier, to, at, target, timeline, .. } = preview;
    writeln!(
        page,
        "{asset} at {at} from {tier} to {}, by the base backup of {}",
        to.display(),
        time::instant(preview.consistent)
    )?;
    writeln!(page, "replays timeline {timeline} from {} to {target}", preview.start_lsn)?;
    write_reach(preview, page)?;
    if let Some(follower) = &preview.followed_by {
        let word = page.paint.warning("note");
        writeln!(
            page,
            "{word}: cluster {} was followed by {}, which can be reached from {} on; what was committed between the end of the one's log and then is in no backup",
            preview.cluster,
            follower.cluster,
            time::instant(follower.reachable_from)
        )?;
    }
    for (from, to) in &preview.tablespaces {
        writeln!(page, "tablespace {} goes to {}", from.display(), to.display())?;
    }
    if preview.damaged_pages > 0 {
        let word = page.paint.warning("warning");
        let pages = counted(preview.damaged_pages, "damaged page");
        writeln!(page, "{word}: {pages} on the server when it was backed up")?;
    }
    write_forecast(preview.thaw.as_ref(), page)
}

/// Says what can be reached at all, and what is lost with the moment that was asked for.
fn write_reach(preview: &RecoveryPreview, page: &mut Page) -> fmt::Result {
    let Some(last) = preview.last_commit else {
        return writeln!(page, "the archive leads to {}", preview.end_lsn);
    };
    let (first, end) = (time::instant(preview.consistent), time::instant(last));
    writeln!(
        page,
        "with it any moment from {first} to {end} can be reached, when the archive's last commit was made"
    )?;
    match given_up(&preview.at, last) {
        GivenUp::Nothing => writeln!(page, "loses what was committed after {end}"),
        GivenUp::BehindMoment(moment) => writeln!(
            page,
            "loses what was committed after {}, of which the archive has what came until {end}",
            time::instant(moment)
        ),
        GivenUp::BehindTarget => writeln!(
            page,
            "loses what was committed behind {}, of which the archive has what came until {end}",
            preview.at
        ),
    }
}

/// What of an archived log a recovery leaves out.
#[derive(Debug, PartialEq, Eq)]
enum GivenUp {
    /// It goes to the end.
    Nothing,
    /// What was committed after a time.
    BehindMoment(Timestamp),
    /// What was committed behind a place in the log.
    BehindTarget,
}

/// Tells what a recovery gives up of a log with this last commit.
fn given_up(at: &str, last: Timestamp) -> GivenUp {
    match at.parse() {
        Ok(RecoveryTarget::Latest) => GivenUp::Nothing,
        Ok(RecoveryTarget::Time(moment)) if moment >= last => GivenUp::Nothing,
        Ok(RecoveryTarget::Time(moment)) => GivenUp::BehindMoment(moment),
        _ => GivenUp::BehindTarget,
    }
}

fn write_started(started: &Started, page: &mut Page) -> fmt::Result {
    let Started { connect, replayed, last_commit, is_promoted, .. } = started;
    let state = if *is_promoted { "takes changes" } else { "waits at its target" };
    write!(page, "the server {state}: psql '{connect}'")?;
    if let Some(lsn) = replayed {
        write!(page, "; it replayed up to {lsn}")?;
    }
    match last_commit {
        Some(last) => writeln!(page, ", its last commit is of {}", time::instant(*last))?,
        None => writeln!(page)?,
    }
    if !is_promoted {
        return Ok(());
    }
    writeln!(
        page,
        "it does not archive its log, and its subscriptions rest; if it takes the server's place: ALTER SYSTEM RESET archive_mode; ALTER SYSTEM RESET max_logical_replication_workers, restart it, and back it up"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_recovery_gives_up_is_told_by_its_target() {
        let last = Timestamp::from_second(1_800_000_000).unwrap();
        let early = Timestamp::from_second(1_700_000_000).unwrap();
        for (at, given) in [
            ("latest".to_owned(), GivenUp::Nothing),
            (last.to_string(), GivenUp::Nothing),
            ("2038-01-01T00:00:00Z".to_owned(), GivenUp::Nothing),
            (early.to_string(), GivenUp::BehindMoment(early)),
            ("lsn:0/3000028".to_owned(), GivenUp::BehindTarget),
            ("name:before".to_owned(), GivenUp::BehindTarget),
            ("immediate".to_owned(), GivenUp::BehindTarget),
        ] {
            assert_eq!(given_up(&at, last), given, "{at}");
        }
    }

    #[test]
    fn a_moved_tablespace_has_two_absolute_paths() {
        let pair = (PathBuf::from("/ssd"), PathBuf::from("/mnt/ssd"));
        assert_eq!(moved("/ssd=/mnt/ssd"), Ok(pair));
        for text in ["/ssd", "/ssd=x", "x=/ssd", ""] {
            assert!(moved(text).is_err(), "{text}");
        }
    }
}
