//! What a restore of files did, for every command that restores some.

use std::fmt::{self, Write as _};

use lifeboat_model::{ByteSize, counted};
use lifeboat_repository::restore::{Remark, RestoreReport};
use serde::Serialize;

use super::{Page, ShownPath};

/// A restore of files, as it is shown.
#[derive(Debug, Serialize)]
pub struct RestoredFiles {
    files: u64,
    directories: u64,
    others: u64,
    size_bytes: ByteSize,
    fetched_bytes: ByteSize,
    written_bytes: ByteSize,
    there_bytes: ByteSize,
    unchanged: u64,
    replaced: u64,
    untouched: u64,
    deleted: Vec<ShownPath>,
    verified: Option<u64>,
    owners_not_set: u64,
    warnings: Vec<Shown>,
    warnings_more: u64,
    failed: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    path: ShownPath,
    what: String,
}

impl From<Remark> for Shown {
    fn from(Remark { path, what }: Remark) -> Self {
        Self { path: ShownPath(path), what }
    }
}

impl From<RestoreReport> for RestoredFiles {
    fn from(report: RestoreReport) -> Self {
        Self {
            files: report.files,
            directories: report.directories,
            others: report.others,
            size_bytes: ByteSize(report.bytes),
            fetched_bytes: ByteSize(report.bytes_fetched),
            written_bytes: ByteSize(report.bytes_written),
            there_bytes: ByteSize(report.bytes_there),
            unchanged: report.unchanged,
            replaced: report.replaced,
            untouched: report.untouched,
            deleted: report.deleted.into_iter().map(ShownPath).collect(),
            verified: report.verified,
            owners_not_set: report.owners_not_set,
            warnings: report.warnings.into_iter().map(Shown::from).collect(),
            warnings_more: report.warnings_more,
            failed: report.failed.into_iter().map(Shown::from).collect(),
        }
    }
}

impl RestoredFiles {
    /// Writes what became of what was there.
    fn write_existing(&self, page: &mut Page) -> fmt::Result {
        let Self { unchanged, replaced, untouched, there_bytes, deleted, .. } = self;
        if unchanged + replaced + untouched > 0 {
            writeln!(
                page,
                "of what was there: {unchanged} unchanged, {replaced} replaced, {untouched} left alone; {there_bytes} not written again"
            )?;
        }
        for path in deleted {
            writeln!(page, "not in the snapshot, removed: {path}")?;
        }
        match self.verified {
            Some(files) => {
                writeln!(page, "{} read back and as it should be", counted(files, "file"))
            }
            None => Ok(()),
        }
    }

    /// Writes the sums, then the first failures, then the first warnings.
    pub fn write(&self, page: &mut Page) -> fmt::Result {
        let Self { files, directories, others, size_bytes, fetched_bytes, .. } = self;
        let (files, directories) = (counted(*files, "file"), counted(*directories, "directory"));
        writeln!(page, "{files} ({size_bytes}), {directories}, {}", counted(*others, "other"))?;
        writeln!(page, "{fetched_bytes} fetched, {} written", self.written_bytes)?;
        self.write_existing(page)?;
        let word = page.paint.bad("failed");
        page.lines(&self.failed, 0, |Shown { path, what }| format!("{word}: {path}: {what}"))?;
        let word = page.paint.warning("warning");
        let warning = |Shown { path, what }: &Shown| format!("{word}: {path}: {what}");
        page.lines(&self.warnings, self.warnings_more, warning)
    }
}
