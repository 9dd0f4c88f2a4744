//! The command line: its options, its commands, and the grouped list that `lifeboat --help` shows.
//!
//! Doc comments of arguments are the manual: imperative, without a full stop. Help, completions and
//! man pages all come from [`command`].

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, ValueEnum};

use crate::commands::Command;

/// Make a disaster recovery plan executable: back up, prove that it can come back, bring it back
#[derive(Debug, Parser)]
#[command(
    name = "lifeboat",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// What applies to every command.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArguments {
    /// Read the plan from this file [default: lifeboat.toml, plan.toml, /etc/lifeboat/plan.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub plan: Option<PathBuf>,
    /// Print one JSON document instead of text; an error is such a document too
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Print only what is asked for and what goes wrong
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// Log what happens to standard error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Write the log as text or as one JSON document a line: human or json
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        default_value = "human",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub log_format: LogFormat,
    /// Colour the output: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub color: ColorChoice,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For a person
    #[default]
    Human,
    /// For a program
    Json,
}

/// When the output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The headings of `lifeboat --help` and the commands below each; a test holds it complete.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Begin", &["init", "check", "plan", "key", "postgres"]),
    (
        "Protect",
        &[
            "backup",
            "status",
            "points",
            "diff",
            "tiers",
            "verify",
            "test",
            "retention",
            "wal",
            "catalog",
            "evidence",
        ],
    ),
    ("Run by itself", &["serve", "jobs", "pause", "resume", "reload", "install", "uninstall"]),
    ("Bring back", &["restore", "query", "recover", "drill", "place"]),
    ("Plumbing", &["repo"]),
    ("This program", &["completions", "man"]),
    ("Not built yet (exit 5)", &["undelete", "incident", "forecast", "notify"]),
];

const AFTER_HELP: &str = "\
Exit codes: 0 done · 1 failed · 2 usage or plan · 3 incomplete · 4 could not verify · 5 not built \
yet · 10 no repository · 11 locked · 12 wrong key · 130 cancelled · 255 stop the server

Environment: LIFEBOAT_LOG sets what is logged (error, warn, info, debug, or filters like \
lifeboat_ops=debug); NO_COLOR turns colours off; RESTIC_PASSWORD, RESTIC_PASSWORD_FILE and \
RESTIC_PASSWORD_COMMAND open repositories for `lifeboat repo`. State is kept below STATE_DIRECTORY, \
else XDG_STATE_HOME, else /var/lib/lifeboat for root and ~/.local/state/lifeboat for others; the \
cache likewise (CACHE_DIRECTORY, XDG_CACHE_HOME, /var/cache/lifeboat, ~/.cache/lifeboat)";

/// Returns the whole command line as clap knows it, with the commands listed in groups.
pub fn command() -> clap::Command {
    let command = Arguments::command();
    let list = grouped_commands(&command);
    command
        .mut_subcommands(|below| below.disable_help_subcommand(true))
        .help_template(format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{list}Options:\n{{options}}{{after-help}}\n"
        ))
        .after_help(AFTER_HELP)
}

fn grouped_commands(command: &clap::Command) -> String {
    let mut list = String::new();
    for (heading, names) in GROUPS {
        _ = writeln!(list, "{heading}:");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            _ = writeln!(list, "  {name:<12} {}", about.cloned().unwrap_or_default());
        }
        list.push('\n');
    }
    list
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use lifeboat_model::TierName;

    use super::*;
    use crate::tier_argument::TierArgument;

    #[test]
    fn the_definitions_hold_together() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_listed_once() {
        let mut listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        listed.sort_unstable();
        let command = Arguments::command();
        let mut defined: Vec<&str> =
            command.get_subcommands().map(clap::Command::get_name).collect();
        defined.sort_unstable();
        assert_eq!(listed, defined);
    }

    #[test]
    fn what_is_listed_as_not_built_says_so_and_nothing_else_does() {
        use clap::FromArgMatches;
        let (_, unbuilt) = GROUPS.last().unwrap();
        for name in GROUPS.iter().flat_map(|(_, names)| *names) {
            let parsed = command().try_get_matches_from(["lifeboat", name]);
            let parsed = parsed.ok().and_then(|m| Arguments::from_arg_matches(&m).ok());
            let is_unbuilt =
                parsed.is_some_and(|parsed| matches!(parsed.command, Command::Unbuilt(_)));
            assert_eq!(is_unbuilt, unbuilt.contains(name), "{name}");
        }
    }

    /// Collects what `lifeboat` commands the texts of a source file name in backticks.
    fn named_commands(source: &str, found: &mut Vec<String>) {
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for piece in line.split("`lifeboat ").skip(1) {
                let Some((words, _)) = piece.split_once('`') else { continue };
                found.push(words.to_owned());
            }
        }
    }

    fn named_below(directory: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named_below(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                named_commands(&std::fs::read_to_string(path).unwrap(), found);
            }
        }
    }

    fn stands_for_a_value(command: &clap::Command, word: &str) -> bool {
        let is_placeholder = word.chars().all(|letter| letter.is_ascii_uppercase());
        is_placeholder && command.get_positionals().next().is_some()
    }

    #[test]
    fn commands_that_hints_name_exist() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut named = Vec::new();
        for name in ["ops", "lifeboat", "repository", "postgres", "plan"] {
            named_below(&crates.join(name).join("src"), &mut named);
        }
        assert!(named.len() > 10, "{named:?}");
        let root = command();
        for line in named {
            // What is filled in at run time is not there to be judged.
            let words: Vec<_> = line.split(' ').take_while(|word| !word.starts_with('{')).collect();
            let mut command = &root;
            for word in &words {
                if let Some(option) = word.strip_prefix("--") {
                    let known = command.get_arguments().any(|a| a.get_long() == Some(option));
                    let global = root.get_arguments().any(|a| a.get_long() == Some(option));
                    assert!(known || global, "`lifeboat {line}`: --{option}");
                } else if command.has_subcommands() && !stands_for_a_value(command, word) {
                    let below = command.find_subcommand(word);
                    command = below.unwrap_or_else(|| panic!("`lifeboat {line}`: {word}"));
                }
            }
            let stands_alone = !command.is_subcommand_required_set();
            let whole = words.is_empty() || stands_alone || line == "repo";
            assert!(whole, "`lifeboat {line}` only names a group of commands");
        }
    }

    #[test]
    fn a_tier_of_the_plan_is_named_in_one_way_by_all_commands() {
        fn visit(command: &clap::Command, seen: &mut usize) {
            for argument in command.get_arguments() {
                let parsed = argument.get_value_parser().type_id();
                let name = format!("{} {}", command.get_name(), argument.get_id());
                assert!(parsed != TypeId::of::<TierName>(), "{name}: take a TierArgument");
                let is_tier = parsed == TypeId::of::<TierArgument>();
                let values = argument.get_value_names().unwrap_or_default();
                assert_eq!(is_tier, values.iter().any(|value| *value == "TIER"), "{name}");
                if is_tier {
                    let help = argument.get_help().unwrap().to_string();
                    assert!(help.contains("by name or address"), "{name}: {help}");
                    *seen += 1;
                }
            }
            command.get_subcommands().for_each(|below| visit(below, seen));
        }
        let mut seen = 0;
        visit(&command(), &mut seen);
        assert!(seen > 10, "{seen} arguments name a tier");
    }

    #[test]
    fn help_texts_are_imperative_sentences_without_a_full_stop() {
        fn visit(command: &clap::Command) {
            let texts = command
                .get_arguments()
                .filter_map(|a| a.get_help())
                .chain(command.get_about())
                .map(ToString::to_string);
            for text in texts {
                assert!(!text.ends_with('.'), "{}: {text}", command.get_name());
                assert!(
                    text.starts_with(|c: char| c.is_uppercase()),
                    "{}: {text}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&command());
    }
}
