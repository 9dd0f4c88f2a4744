//! What is left out of a backup: by patterns, by files of rules as git has them, by notices that
//! directories bear, and by size.
//!
//! Whatever any of these leaves out is left out; a pattern that begins with `!` takes back only what
//! its own list left out. What lies in a directory that is left out cannot be taken back.
//!
//! Sources: restic `internal/filter`, `cmd/restic/exclude.go`; gitignore(5);
//! <https://bford.info/cachedir/>.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use lifeboat_model::ByteSize;
use lifeboat_model::pattern::{Case, Decision, EntryKind, Patterns, Progress};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::{directory, metadata};

pub use lifeboat_model::pattern::PatternError as ExcludeError;

/// The longest file of rules that is heeded, in bytes; no person writes more, and each directory on
/// the way down holds its rules in memory.
const RULES_BYTES_MAX: u64 = 1 << 20;

/// What is left out; the default leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    lists: Vec<Patterns>,
    notices: Vec<Notice>,
    larger_than: Option<ByteSize>,
    rules_file: Option<OsString>,
}

/// A file that says of the directory it lies in that its content need not be backed up.
///
/// The directory is kept, and so is the notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    name: OsString,
    header: Vec<u8>,
}

impl Notice {
    /// Returns the notice of a cache directory.
    pub fn cache() -> Self {
        let header = b"Signature: 8a477f597d28d172789f06886806bc55".to_vec();
        Self { name: "CACHEDIR.TAG".into(), header }
    }

    /// Takes apart a name and, behind a colon, what the file has to begin with; there is no notice
    /// without a name.
    pub fn parse(text: &OsStr) -> Option<Self> {
        let mut parts = text.as_bytes().splitn(2, |byte| *byte == b':');
        let name = parts.next().filter(|name| !name.is_empty() && !name.contains(&b'/'))?;
        let header = parts.next().unwrap_or_default().to_vec();
        Some(Self { name: OsStr::from_bytes(name).to_owned(), header })
    }

    /// Tells whether a directory that holds a file of that name bears the notice.
    fn is_borne_by(&self, directory: &OwnedFd) -> Result<bool, Errno> {
        if self.header.is_empty() {
            return Ok(true);
        }
        let Some(file) = open_file(directory, &self.name)? else { return Ok(false) };
        let mut begin = Vec::with_capacity(self.header.len());
        read_up_to(file, self.header.len() as u64, &mut begin)?;
        Ok(begin == self.header)
    }
}

impl Excludes {
    /// Leaves out what a list of patterns matches.
    pub fn by_patterns(patterns: Patterns) -> Self {
        Self::default().and_patterns(patterns)
    }

    /// Leaves out what one more list of patterns matches.
    #[must_use]
    pub fn and_patterns(mut self, patterns: Patterns) -> Self {
        if !patterns.is_empty() {
            self.lists.push(patterns);
        }
        self
    }

    /// Leaves out what lies in directories that bear this notice.
    #[must_use]
    pub fn and_noticed(mut self, notice: Notice) -> Self {
        self.notices.push(notice);
        self
    }

    /// Leaves out files that are larger than this.
    #[must_use]
    pub const fn and_larger_than(mut self, size: ByteSize) -> Self {
        self.larger_than = Some(size);
        self
    }

    /// Leaves out what files of this name say, like `.gitignore`: each rules over its directory.
    #[must_use]
    pub fn and_rules_in(mut self, name: impl Into<OsString>) -> Self {
        self.rules_file = Some(name.into());
        self
    }

    /// Returns the patterns of all lists in which capital letters matter, as restic records them.
    pub fn patterns(&self) -> Vec<String> {
        let exact = self.lists.iter().filter(|list| list.case() == Case::Matters);
        let texts = exact.flat_map(Patterns::texts);
        texts.map(|text| text.to_string_lossy().into_owned()).collect()
    }

    /// Returns how the rules stand in a directory that was given to be backed up.
    pub(crate) fn begin(&self, path: &Path) -> Standing {
        let lists = self.lists.iter().map(|list| list.progress_to(path)).collect();
        Standing { lists, rules: Vec::new(), notices: Vec::new() }
    }

    /// Returns how the rules stand in a directory of the one that `standing` is about.
    pub(crate) fn enter(&self, standing: &Standing, name: &OsStr) -> Standing {
        let lists = self.lists.iter().zip(&standing.lists);
        let rules = standing.rules.iter();
        Standing {
            lists: lists.map(|(list, progress)| list.enter(progress, name)).collect(),
            rules: rules
                .map(|Rules { list, progress }| Rules {
                    list: Arc::clone(list),
                    progress: list.enter(progress, name),
                })
                .collect(),
            notices: Vec::new(),
        }
    }

    /// Takes in what a directory itself says about its content, given the names in it.
    ///
    /// What cannot be read leaves nothing out, and is returned with its name.
    pub(crate) fn heed(
        &self,
        standing: &mut Standing,
        directory: &OwnedFd,
        names: &[OsString],
    ) -> Vec<(OsString, io::Error)> {
        let mut failed = Vec::new();
        let is_there = |name: &OsString| names.binary_search(name).is_ok();
        for notice in self.notices.iter().filter(|notice| is_there(&notice.name)) {
            match notice.is_borne_by(directory) {
                Ok(true) => standing.notices.push(notice.name.clone()),
                Ok(false) => {}
                Err(error) => failed.push((notice.name.clone(), error.into())),
            }
        }
        if let Some(name) = self.rules_file.as_ref().filter(|name| is_there(name)) {
            match read_rules(directory, name) {
                Ok(Some(list)) => {
                    let progress = list.start();
                    standing.rules.push(Rules { list: Arc::new(list), progress });
                }
                Ok(None) => {}
                Err(error) => failed.push((name.clone(), error)),
            }
        }
        failed
    }

    /// Tells whether an entry of the directory that `standing` is about is left out.
    pub(crate) fn leaves_out(
        &self,
        standing: &Standing,
        name: &OsStr,
        kind: EntryKind,
        size: u64,
    ) -> bool {
        let matches = |(list, progress): (&Patterns, &Progress)| {
            list.judge(progress, name, kind) == Some(Decision::Matches)
        };
        let is_too_large = |most: ByteSize| kind == EntryKind::Other && size > most.0;
        self.lists.iter().zip(&standing.lists).any(matches)
            || self.larger_than.is_some_and(is_too_large)
            || standing.notices.iter().any(|notice| notice != name)
            || standing.is_ruled_out(name, kind)
    }
}

/// How the rules stand in a directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// How far the patterns of each list are.
    lists: Vec<Progress>,
    /// The files of rules from the top down.
    rules: Vec<Rules>,
    /// The notices that the directory bears.
    notices: Vec<OsString>,
}

#[derive(Debug, Clone)]
struct Rules {
    list: Arc<Patterns>,
    progress: Progress,
}

impl Standing {
    /// Tells whether a file of rules leaves an entry out; the nearest that says anything decides.
    fn is_ruled_out(&self, name: &OsStr, kind: EntryKind) -> bool {
        let mut said = self.rules.iter().rev();
        said.find_map(|rules| rules.list.judge(&rules.progress, name, kind))
            == Some(Decision::Matches)
    }
}

/// Reads a file of rules; one that is a link counts for nothing, as for git.
fn read_rules(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<Patterns>> {
    let Some(file) = open_file(directory, name)? else { return Ok(None) };
    let mut content = Vec::new();
    read_up_to(file, RULES_BYTES_MAX + 1, &mut content)?;
    if content.len() as u64 > RULES_BYTES_MAX {
        let most = ByteSize(RULES_BYTES_MAX);
        return Err(io::Error::other(format!("it is larger than {most}")));
    }
    Ok(Some(Patterns::of_gitignore(&content)))
}

/// Opens a file, if it is one.
fn open_file(directory: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
    // Without `NONBLOCK` a pipe of that name would make us wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match directory::open_quietly(directory.as_fd(), name, flags) {
        Ok(file) => {
            let is_file = metadata::file_type(&fstat(&file)?) == FileType::RegularFile;
            Ok(is_file.then_some(file))
        }
        Err(Errno::LOOP | Errno::NXIO | Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_up_to(file: OwnedFd, most: u64, content: &mut Vec<u8>) -> Result<(), Errno> {
    let read = std::fs::File::from(file).take(most).read_to_end(content);
    read.map(drop).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use lifeboat_model::pattern::Dialect;

    use super::*;

    #[test]
    fn a_notice_has_a_name_and_perhaps_a_header() {
        let notice = |text| Notice::parse(OsStr::new(text));
        let made = |name: &str, header: &str| {
            Some(Notice { name: name.into(), header: header.as_bytes().to_vec() })
        };
        assert_eq!(notice(".nobackup"), made(".nobackup", ""));
        assert_eq!(notice("a:b:c"), made("a", "b:c"));
        assert_eq!(notice("a:"), made("a", ""));
        for bad in ["", ":x", "a/b"] {
            assert_eq!(notice(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_do_not_take_back_what_others_leave_out() {
        let list = |texts: &[&str]| Patterns::new(Dialect::Restic, Case::Matters, texts).unwrap();
        let excludes = Excludes::by_patterns(list(&["*.o"])).and_patterns(list(&["!a.o"]));
        let standing = excludes.enter(&excludes.begin(Path::new("/srv")), OsStr::new("a"));
        let leaves_out =
            |name| excludes.leaves_out(&standing, OsStr::new(name), EntryKind::Other, 0);
        assert!(leaves_out("a.o"));
        assert!(!leaves_out("a.c"));
        assert_eq!(excludes.patterns(), ["*.o", "!a.o"]);
    }
}
