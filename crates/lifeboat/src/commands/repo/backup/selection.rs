//! What `lifeboat repo backup` takes in, and what of it is left out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::Args;
use lifeboat_model::ByteSize;
use lifeboat_model::pattern::{Case, Dialect, PatternError, Patterns};
use lifeboat_ops::command::{CommandLine, NO_LIMIT};
use lifeboat_repository::source::{Excludes, FilesSource, Notice, Source, StreamSource};

use super::{lines, stream, wildcards};
use crate::failure::{CommandError, Failure};
use crate::session::Session;
use crate::{screen, surroundings};

/// The heading of what leaves something out.
const LEAVING_OUT: &str = "What is left out";

/// The heading of streams.
const STREAMS: &str = "Instead of files";

/// What is backed up, and what of it is left out.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Selection {
    /// Back up these files and directories; each is stored with its whole path from the root, also if it is
    /// given relative to the working directory
    #[arg(
        value_name = "PATH",
        required_unless_present_any = [
            "stdin", "stdin_from_command", "files_from", "files_from_verbatim", "files_from_raw"
        ]
    )]
    paths: Vec<PathBuf>,
    /// Back up what this file names, one path or pattern with `*`, `?` and `[]` a line, without
    /// comments that begin with `#`; `-` is standard input
    #[arg(long, value_name = "FILE")]
    files_from: Vec<PathBuf>,
    /// Back up the paths in this file, one a line, as they stand there
    #[arg(long, value_name = "FILE")]
    files_from_verbatim: Vec<PathBuf>,
    /// Back up the paths in this file, each with a zero byte behind it as `find -print0` writes them
    #[arg(long, value_name = "FILE")]
    files_from_raw: Vec<PathBuf>,
    /// Leave out what matches this pattern, and all in it; `!` before it takes back
    #[arg(short, long, value_name = "PATTERN", help_heading = LEAVING_OUT)]
    exclude: Vec<OsString>,
    /// Leave out what matches this pattern, whether letters are capital or small
    #[arg(long, value_name = "PATTERN", help_heading = LEAVING_OUT)]
    iexclude: Vec<OsString>,
    /// Leave out what matches a pattern of this file, one a line: `#` begins a comment, `$NAME` is
    /// what the environment says, `$$` is a dollar sign
    #[arg(long, value_name = "FILE", help_heading = LEAVING_OUT)]
    exclude_file: Vec<PathBuf>,
    /// Leave out what matches a pattern of this file, whether letters are capital or small
    #[arg(long, value_name = "FILE", help_heading = LEAVING_OUT)]
    iexclude_file: Vec<PathBuf>,
    /// Leave out what the `.gitignore` of a directory at or below a given path says, whether git
    /// tracks it or not; with `=NAME` what files of that name say in the same way
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ".gitignore",
        help_heading = LEAVING_OUT
    )]
    exclude_gitignore: Option<OsString>,
    /// Leave out what lies in caches: directories with a `CACHEDIR.TAG`, of which only that is kept
    #[arg(long, help_heading = LEAVING_OUT)]
    exclude_caches: bool,
    /// Leave out what lies in directories with a file of this name, of which only that is kept; with
    /// a header the file has to begin with it
    #[arg(
        long,
        value_name = "NAME[:HEADER]",
        value_parser = parse_notice(),
        help_heading = LEAVING_OUT
    )]
    exclude_if_present: Vec<Notice>,
    /// Leave out files that are larger: a number of bytes, or with `k`, `M`, `G` or `T` behind it
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = LEAVING_OUT)]
    exclude_larger_than: Option<ByteSize>,
    /// Stay on the file system of each path
    #[arg(short = 'x', long, help_heading = LEAVING_OUT)]
    one_file_system: bool,
    /// Store what comes from standard input
    #[arg(
        long,
        conflicts_with_all = [
            "paths", "files_from", "files_from_verbatim", "files_from_raw", "stdin_from_command"
        ],
        group = "stream",
        help_heading = STREAMS
    )]
    stdin: bool,
    /// Take what follows behind `--` for a command, run it and store what it writes; there is no
    /// snapshot unless it ends with 0, and what it writes to standard error is passed on
    #[arg(
        long,
        group = "stream",
        conflicts_with_all = ["files_from", "files_from_verbatim", "files_from_raw"],
        help_heading = STREAMS
    )]
    stdin_from_command: bool,
    /// Store it under this name
    #[arg(
        long,
        value_name = "NAME",
        default_value = "stdin",
        requires = "stream",
        help_heading = STREAMS
    )]
    stdin_filename: PathBuf,
}

impl Selection {
    /// Returns what is to be backed up.
    pub fn sources(&self, session: &Session) -> Result<Vec<Source>, Failure> {
        if self.stdin || self.stdin_from_command {
            return Ok(vec![Source::Stream(self.stream(session)?)]);
        }
        Ok(vec![Source::Files(FilesSource {
            paths: self.paths(session)?,
            exclude: self.excludes(session)?,
            one_file_system: self.one_file_system,
        })])
    }

    fn stream(&self, session: &Session) -> Result<StreamSource, CommandError> {
        let path = Path::new("/").join(&self.stdin_filename);
        let cancel = session.cancel.clone();
        if self.stdin {
            return Ok(stream::standard_input(path, cancel));
        }
        if self.paths.is_empty() {
            return Err(CommandError::usage(
                "`--stdin-from-command` lacks its command",
                "write it at the end, like `--stdin-from-command -- pg_dumpall --clean`",
            ));
        }
        let argv = self.paths.iter().map(OsString::from);
        let command = CommandLine::new(argv, NO_LIMIT);
        Ok(command.into_source_heard(path, cancel, Box::new(screen::pass_on)))
    }

    fn paths(&self, session: &Session) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = self.paths.clone();
        for file in &self.files_from {
            for line in lines::meant(&lines::read(file)?) {
                let pattern = OsString::from_vec(line);
                let matching = wildcards::matching(&pattern).map_err(|error| broken(&error))?;
                if matching.is_empty() {
                    let pattern = pattern.display();
                    session.screen.remark(&format!("`{pattern}` matches no file"));
                }
                paths.extend(matching);
            }
        }
        for file in &self.files_from_verbatim {
            let lines = lines::lines(&lines::read(file)?).into_iter();
            let paths_there = lines.filter(|line| !line.is_empty());
            paths.extend(paths_there.map(|line| PathBuf::from(OsString::from_vec(line))));
        }
        for file in &self.files_from_raw {
            paths.extend(raw_paths(&lines::read(file)?, file)?);
        }
        let absolute = paths.iter().map(|path| surroundings::absolute(path));
        Ok(absolute.collect::<Result<_, _>>()?)
    }

    fn excludes(&self, session: &Session) -> Result<Excludes, Failure> {
        let environment = &session.process.environment;
        let list = |case, given: &[OsString], files: &[PathBuf]| -> Result<_, Failure> {
            let in_files = lines::patterns(files, environment)?;
            let texts = given.iter().chain(&in_files);
            Ok(Patterns::new(Dialect::Restic, case, texts).map_err(|error| broken(&error))?)
        };
        let mut excludes = Excludes::default()
            .and_patterns(list(Case::Matters, &self.exclude, &self.exclude_file)?)
            .and_patterns(list(Case::Ignored, &self.iexclude, &self.iexclude_file)?);
        let caches = self.exclude_caches.then(Notice::cache);
        for notice in self.exclude_if_present.iter().cloned().chain(caches) {
            excludes = excludes.and_noticed(notice);
        }
        if let Some(size) = self.exclude_larger_than {
            excludes = excludes.and_larger_than(size);
        }
        if let Some(name) = &self.exclude_gitignore {
            excludes = excludes.and_rules_in(name);
        }
        Ok(excludes)
    }
}

fn broken(error: &PatternError) -> CommandError {
    CommandError::usage(
        error.to_string(),
        "correct it, or put `\\` before what is meant as it stands",
    )
}

/// Takes apart a list of paths that end with a zero byte each.
fn raw_paths(content: &[u8], file: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let wrong = |what: &str| {
        let message = format!("{} {what}", file.display());
        CommandError::usage(message, "write it as `find -print0` does")
    };
    if content.is_empty() {
        return Ok(Vec::new());
    }
    let content =
        content.strip_suffix(b"\0").ok_or_else(|| wrong("does not end with a zero byte"))?;
    let paths = content.split(|byte| *byte == 0);
    let path = |path: &[u8]| match path {
        [] => Err(wrong("holds an empty path")),
        path => Ok(PathBuf::from(OsStr::from_bytes(path))),
    };
    paths.map(path).collect()
}

fn parse_notice() -> impl clap::builder::TypedValueParser<Value = Notice> {
    use clap::builder::TypedValueParser;
    clap::builder::OsStringValueParser::new()
        .try_map(|text| Notice::parse(&text).ok_or("expected the name of a file, or `NAME:HEADER`"))
}

/// Parses a size as restic does, or with its unit as everywhere else.
fn parse_size(text: &str) -> Result<ByteSize, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[split..] {
        "" | "b" | "B" => Some(0),
        "k" | "K" => Some(10),
        "m" | "M" => Some(20),
        "g" | "G" => Some(30),
        "t" | "T" => Some(40),
        _ => None,
    };
    let size = match shift {
        Some(shift) => {
            let number = text[..split].parse::<u64>().ok();
            number.and_then(|number| number.checked_mul(1 << shift)).map(ByteSize)
        }
        None => text.parse().ok(),
    };
    size.ok_or_else(|| format!("expected a size like `2048`, `10k` or `64MiB`, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_restic_reads_them_or_with_their_unit() {
        for (text, bytes) in [
            ("2048", 2048),
            ("7B", 7),
            ("1k", 1 << 10),
            ("3M", 3 << 20),
            ("2t", 2 << 40),
            ("1MiB", 1 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "k", "-1", "1x", "99999999999T"] {
            assert!(parse_size(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn raw_paths_end_with_a_zero_byte_each() {
        let paths =
            |content: &[u8]| raw_paths(content, Path::new("list")).map_err(|e| e.to_string());
        assert_eq!(paths(b"/a\nb\0/\xff\0").unwrap().len(), 2);
        assert_eq!(paths(b"").unwrap().len(), 0);
        assert!(paths(b"/a").unwrap_err().contains("zero byte"));
        assert!(paths(b"/a\0\0").unwrap_err().contains("empty path"));
    }
}
