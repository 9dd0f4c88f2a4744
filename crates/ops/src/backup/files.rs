//! File assets: the plan's paths, without what lifeboat itself writes there and without the files of
//! running databases.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_model::pattern::{Case, Dialect, Patterns};
use lifeboat_plan::plan::asset::FileSet;
use lifeboat_plan::value::command::Command;
use lifeboat_repository::source::{Excludes, FilesSource, Source};

use super::capture::Reading;
use super::{AssetReport, Job, live_database};
use crate::command::CommandLine;
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::wire::Site;

/// How long the command that prints a revision may take.
const REVISION_TIMEOUT: Duration = Duration::from_mins(1);

impl Job<'_> {
    pub(super) fn read_files(
        &self,
        files: &FileSet,
        report: &mut AssetReport,
    ) -> Result<Reading, OpsError> {
        let paths: Vec<PathBuf> =
            files.paths.iter().map(|path| path.as_path().to_owned()).collect();
        let mut patterns = left_out(self.site(), files);
        let live = self.live_within(files)?;
        patterns.extend(live.iter().map(|directory| as_pattern(directory)));
        report.remarks.extend(live_database::remarks(&live));
        let patterns = Patterns::new(Dialect::Plan, Case::Matters, &patterns)?;
        let exclude = Excludes::by_patterns(patterns);
        let (revision, lacking) = match &files.revision {
            None => (None, None),
            Some(command) => match self.revision(command, paths.first()) {
                Ok(revision) => (Some(revision), None),
                Err(trouble) => (None, Some(trouble)),
            },
        };
        let one_file_system = files.one_file_system;
        let sources = vec![Source::Files(FilesSource { paths, exclude, one_file_system })];
        Ok(Reading { sources, revision, lacking, ..Reading::default() })
    }

    /// Asks for the application's revision, in its first directory.
    fn revision(&self, command: &Command, path: Option<&PathBuf>) -> Result<String, Trouble> {
        let mut line = CommandLine::new(command.words(), REVISION_TIMEOUT);
        line.directory = path.filter(|path| path.is_dir()).cloned();
        let output = line.run(self.cancel).map_err(|error| Trouble {
            ending: Ending::CouldNotVerify,
            exit: Ending::CouldNotVerify.exit().code(),
            message: format!("cannot tell the revision: {}", crate::error::explain(&error)),
            hint: None,
            kind: None,
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Returns the patterns of what is left out of an asset: what the plan excludes, and what lifeboat itself writes there.
pub(crate) fn left_out(site: &Site, files: &FileSet) -> Vec<String> {
    let excluded = files.exclude.iter().map(|pattern| pattern.as_str().to_owned());
    let own = site.own_folders().into_iter().filter(|folder| {
        let mut paths = files.paths.iter().map(AsRef::<Path>::as_ref);
        paths.any(|path| folder.starts_with(path) && folder != path)
    });
    excluded.chain(own.map(|folder| as_pattern(&folder))).collect()
}

/// Writes a path as a pattern that matches it alone.
fn as_pattern(path: &Path) -> String {
    let mut pattern = String::new();
    for symbol in path.to_string_lossy().chars() {
        if matches!(symbol, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!') {
            pattern.push('\\');
        }
        pattern.push(symbol);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_their_path_alone() {
        assert_eq!(as_pattern(Path::new("/a[1]/b*")), "/a\\[1\\]/b\\*");
    }
}
