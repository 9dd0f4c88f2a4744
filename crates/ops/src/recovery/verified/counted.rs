//! Where in the log the rows of the newest base backup were counted, if that is one position.

use lifeboat_model::{Cancel, EventSink, Lsn};
use lifeboat_plan::plan::asset::Postgres;
use lifeboat_postgres::recovery::{ChoiceError, LogReach as _};
use lifeboat_postgres::verification::moment::Commits;
use lifeboat_postgres::verification::rows::{ROWS, RowCounts};
use lifeboat_repository::listing::find;
use lifeboat_repository::restore::read_file;

use super::super::bases::{Found, bases, gate};
use super::super::log_reach::ArchivedLog;
use super::super::{RecoveryOptions, tiers_in_order};
use crate::backup::base::base_folder;
use crate::error::{OpsError, explain};
use crate::wire::open::{OpenSite, OpenTier};

/// More segments than these are not looked through for one position: the counts begin where the backup stops.
const SEGMENTS_MAX: u64 = 64;

/// No document of counts is larger: it has some hundred bytes a table.
const ROWS_SIZE_MAX: u64 = 1 << 30;

/// What was counted, and what it can be compared with.
pub(super) struct Counted {
    pub(super) counts: RowCounts,
    /// The position of the counts.
    pub(super) position: Lsn,
    /// Whether each of the databases is exactly what was counted there.
    pub(super) exact: Vec<bool>,
}

/// Finds the counts of the newest base backup, or says why there is nothing to compare with.
pub(super) fn find_counted(
    open: &OpenSite<'_>,
    options: &RecoveryOptions,
    heard: (&dyn EventSink, &Cancel),
) -> Result<Result<Counted, String>, OpsError> {
    let (events, cancel) = heard;
    let postgres = open.site().asset(&options.asset)?.postgres();
    let postgres = postgres.expect("only a database has base backups");
    for tier in tiers_in_order(open, &options.asset)? {
        if let Some(base) = bases(open, tier, options, heard)?.into_iter().next() {
            let gate = gate(open, tier, options, base.id, cancel);
            gate.pass(options.thaw, || base.packs(tier, cancel), events)?;
            return of_base(open, (tier, postgres), options, &base);
        }
    }
    Err(ChoiceError::NoBase.into())
}

fn of_base(
    open: &OpenSite<'_>,
    (tier, postgres): (&OpenTier, &Postgres),
    options: &RecoveryOptions,
    base: &Found,
) -> Result<Result<Counted, String>, OpsError> {
    let Some(counts) = read(tier, options, base)? else {
        return Ok(Err("no rows were counted at this base backup".to_owned()));
    };
    if let Some(trouble) = counts.trouble {
        return Ok(Err(format!("no rows were counted at the base backup: {trouble}")));
    }
    let ends = counts.databases.iter().map(|database| database.lsn);
    let Some((own, end)) = counts.databases.first().zip(ends.max()) else {
        return Ok(Err("no database was there to be counted".to_owned()));
    };
    let mut log = ArchivedLog::open(open, postgres, base.head.system_id)?;
    let history = log.timeline(&base.head.candidate, None)?;
    let mut commits = Commits::between(base.head.candidate.stop, end);
    let (first, last) = commits.segments(log.size());
    if last.0.saturating_sub(first.0) >= SEGMENTS_MAX {
        return Ok(Err("too much was written while the counts began".to_owned()));
    }
    let files = log.fetch(&history, (first, last))?;
    match commits.read(log.size(), files.iter().map(|file| file.bytes().as_ref())) {
        Ok(true) => {}
        Ok(false) => {
            let why = format!("the log is not archived up to {end}, where rows were counted");
            return Ok(Err(why));
        }
        // Whether it can be replayed all the same is for the server to say.
        Err(error) => return Ok(Err(explain(&error))),
    }
    let position = match commits.position(&own.seen, own.lsn) {
        Ok(position) => position,
        Err(inexact) => return Ok(Err(format!("rows were counted at no position: {inexact}"))),
    };
    let exact = counts.databases.iter();
    let exact = exact.map(|database| commits.is_exact(&database.seen, position)).collect();
    Ok(Ok(Counted { counts, position, exact }))
}

fn read(
    tier: &OpenTier,
    options: &RecoveryOptions,
    base: &Found,
) -> Result<Option<RowCounts>, OpsError> {
    use std::io::Read as _;
    let path = base_folder(&options.asset).join(ROWS);
    if find(&tier.repository, &base.snapshot, &path)?.is_none() {
        return Ok(None);
    }
    let mut document = Vec::new();
    read_file(&tier.repository, &base.snapshot, &path)?
        .take(ROWS_SIZE_MAX)
        .read_to_end(&mut document)
        .map_err(|source| OpsError::Unreadable { path, source })?;
    // A document of a later version is no reason to prove nothing at all.
    Ok(Some(RowCounts::parse(&document).unwrap_or_else(|error| RowCounts::none(explain(&error)))))
}
