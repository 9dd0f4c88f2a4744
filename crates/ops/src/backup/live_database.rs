//! The files of PostgreSQL servers that run: a file asset leaves them out by itself, and says so,
//! since they change while they are read and a copy of them cannot be started.
//!
//! They are known from the host itself and from the plan's databases, which are asked. One that is
//! down or refuses has either no running server, or one that the host shows; it fails nothing here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lifeboat_plan::plan::asset::FileSet;
use lifeboat_postgres::running;

use super::Job;
use super::remark::Remark;
use crate::error::OpsError;

impl Job<'_> {
    /// Returns what of a file asset is the data of a server that runs, as its walk comes upon it.
    pub(super) fn live_within(&self, files: &FileSet) -> Result<BTreeSet<PathBuf>, OpsError> {
        let live = self.live_directories.get_or_init(|| self.find_live_directories());
        let mut within = BTreeSet::new();
        for path in files.paths.iter().map(AsRef::<Path>::as_ref) {
            // Servers and processes tell real paths; the plan's may lead there through links.
            let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            if live.iter().any(|directory| real.starts_with(directory)) {
                return Err(OpsError::LiveDatabase { path: path.to_owned() });
            }
            let below = live.iter().filter_map(|directory| directory.strip_prefix(&real).ok());
            within.extend(below.map(|rest| path.join(rest)));
        }
        within.retain(|directory| files.captures(directory));
        Ok(within)
    }

    fn find_live_directories(&self) -> BTreeSet<PathBuf> {
        let shown = running::data_directories(Path::new("/")).into_iter();
        let told = self
            .site()
            .databases()
            .filter_map(|(_, postgres)| self.site().data_directory_of(postgres, self.cancel));
        let directories = shown.chain(told.filter(|told| running::may_be_in_use(told)));
        directories.map(|found| found.canonicalize().unwrap_or(found)).collect()
    }
}

/// Returns the remarks that these directories were left out.
pub(super) fn remarks(left_out: &BTreeSet<PathBuf>) -> impl Iterator<Item = Remark> {
    left_out.iter().map(|path| Remark::LiveDatabase { path: path.clone() })
}
