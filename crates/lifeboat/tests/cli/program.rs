//! What belongs to no command: help, completions, man pages, wrong command lines, unbuilt commands.

use std::fmt::Write as _;

use crate::environment::Environment;

/// Collects the help of a command and of all below it.
fn reference(environment: &Environment, path: &[&str], page: &mut String) {
    let help = environment.run(path.iter().chain(&["--help"])).success();
    write!(page, "## lifeboat {}\n\n{help}\n", path.join(" ")).unwrap();
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in below.take_while(|line| !line.is_empty()) {
        // Names stand at an indent of two; deeper lines go on with a description.
        if let Some(name) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) {
            let name = name.split_whitespace().next().unwrap();
            reference(environment, &[path, &[name]].concat(), page);
        }
    }
}

#[test]
fn the_whole_help_is_as_reviewed() {
    let environment = Environment::new();
    let mut page = environment.run(["--help"]).success();
    page.push('\n');
    let names: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    for name in &names {
        reference(&environment, &[name], &mut page);
    }
    insta::assert_snapshot!("reference", page);
}

#[test]
fn an_unbuilt_command_says_what_it_will_be_part_of() {
    let environment = Environment::new();
    let ended = environment.run(["undelete", "--whatever", "database"]);
    insta::assert_snapshot!(ended.failure(5), @"error: `lifeboat undelete` is not built yet; it belongs to bringing single rows back");
    let document = environment.run(["undelete", "orders", "--json"]);
    assert_eq!(document.code(), 5);
}

#[test]
fn a_wrong_command_line_is_a_usage_error_in_both_forms() {
    let environment = Environment::new();
    let text = environment.run(["repo", "snapshot"]).failure(2);
    assert!(text.contains("snapshots"), "it suggests the right spelling: {text}");
    let ended = environment.run(["--json", "no-such-command"]);
    assert_eq!(ended.code(), 2);
    let document = ended.json();
    assert_eq!(document["schema"], "lifeboat.error/1");
    assert_eq!(document["kind"], "usage");
    assert_eq!(document["exit"], 2);
}

#[test]
fn completions_and_man_pages_come_from_the_same_definitions() {
    let environment = Environment::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = environment.run(["completions", shell]).success();
        assert!(script.contains("password-file"), "{shell}");
    }
    let directory = environment.path("man");
    lifeboat_tiers::durable::create_directories(&directory, 0o755).unwrap();
    let ended = environment.run(["man", "man", "--json"]);
    let pages = ended.json()["pages"].as_array().unwrap().len();
    assert_eq!(directory.read_dir().unwrap().count(), pages, "{ended}");
    let page = std::fs::read_to_string(directory.join("lifeboat-repo-init.1")).unwrap();
    assert!(page.contains(".TH lifeboat-repo-init 1"), "{page}");
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let environment = Environment::new().with("LIFEBOAT_LOG", "a=b=c");
    let text = environment.run(["completions", "bash"]).failure(2);
    assert!(text.contains("LIFEBOAT_LOG"), "{text}");
}
