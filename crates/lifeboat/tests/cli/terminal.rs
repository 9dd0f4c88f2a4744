//! What happens only at a terminal: questions, and what is typed in answer.

use std::io::{Read as _, Write as _};

use crate::environment::Environment;
use crate::recover::Site;

/// Runs `lifeboat` at a terminal, answers each question once it was asked, and returns what the
/// terminal showed and the exit code.
pub fn converse(
    environment: &Environment,
    arguments: &str,
    answers: &[(&str, &str)],
) -> (String, Option<i32>) {
    let mut child = environment.at_terminal(arguments).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut asked) = (Vec::new(), 0);
    let mut answers = answers.iter();
    let mut next = answers.next();
    let mut buffer = [0; 4096];
    loop {
        let count = screen.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..count]);
        let Some((question, answer)) = next else { continue };
        let new = String::from_utf8_lossy(&shown[asked..]).into_owned();
        if new.contains(question) {
            keyboard.write_all(answer.as_bytes()).unwrap();
            (asked, next) = (shown.len(), answers.next());
        }
    }
    (String::from_utf8(shown).unwrap(), child.wait().unwrap().code())
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let environment = Environment::new();
    let twice = [("password for repo: ", "hunter2\n"), ("the same again: ", "hunter2\n")];
    let (shown, code) = converse(&environment, "repo init repo", &twice);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let (shown, code) = converse(&environment, "repo snapshots repo", &twice[..1]);
    assert_eq!((code, shown.contains("no snapshots")), (Some(0), true), "{shown}");
    let differing = [("password for other: ", "hunter2\n"), ("the same again: ", "hunter3\n")];
    let (shown, code) = converse(&environment, "repo init other", &differing);
    assert_eq!((code, shown.contains("differ")), (Some(2), true), "{shown}");
}

#[test]
fn a_question_ends_with_ctrl_c() {
    let environment = Environment::new();
    lifeboat_tiers::durable::create_directories(&environment.path("repo"), 0o700).unwrap();
    let interrupt = [("password for repo: ", "\u{3}")];
    let (shown, code) = converse(&environment, "repo snapshots repo", &interrupt);
    assert_eq!(code, Some(130), "{shown}");
}

#[test]
fn init_shows_the_key_once_and_has_it_read_back() {
    let environment = Environment::new();
    environment.write("media/one.txt", "one");
    let init = format!(
        "init --no-discovery --site shop --tier primary={} --asset-path media={}",
        environment.path("primary").display(),
        environment.path("media").display()
    );
    let later = [("press Enter to do it later: ", "\n")];
    let (shown, code) = converse(&environment, &init, &later);
    let key = std::fs::read_to_string(environment.path("recovery.key")).unwrap();
    assert_eq!((code, shown.contains(key.trim())), (Some(0), true), "{shown}");
    let show = |environment: &Environment| environment.run(["key", "show", "--json"]).json();
    assert_eq!(show(&environment)["confirmed"], serde_json::Value::Null);
    let typed = format!("{}\n", key.trim().to_lowercase());
    let answer = [("away from this host: ", typed.as_str())];
    let (shown, code) = converse(&environment, "key confirm", &answer);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains(typed.trim()), "what is typed is not shown: {shown}");
    assert!(show(&environment)["confirmed"].is_string());
}

#[test]
fn a_bare_machine_is_asked_for_the_key() {
    let environment = Environment::new();
    environment.write("media/one.txt", "one");
    let path = |name: &str| environment.path(name).display().to_string();
    let (tier, media) = (path("primary"), path("media"));
    environment
        .run([
            "init",
            "--no-discovery",
            "--confirm-later",
            "--site",
            "shop",
            "--tier",
            &format!("primary={tier}"),
            "--asset-path",
            &format!("media={media}"),
        ])
        .success();
    environment.run(["backup"]).success();
    let key = std::fs::read_to_string(environment.path("recovery.key")).unwrap();
    let bare = Environment::new();
    let typed = format!("{}\n", key.trim());
    let answer = [("the recovery key of shop: ", typed.as_str())];
    let command = format!("restore media --from {tier} --to back");
    let (shown, code) = converse(&bare, &command, &answer);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains(key.trim()), "what is typed is not shown: {shown}");
    assert!(bare.path("back").join(media.trim_start_matches('/')).join("one.txt").exists());
}

const ASKED: &str = r#"
[[steps]]
id = "look"
manual = "Look at the disk."
checklist = ["it is there"]

[[steps]]
id = "agree"
needs = ["look"]
approve = { by = "operations", ask = "Go on?" }
"#;

#[test]
fn whoever_drives_a_recovery_is_asked_where_they_sit() {
    let site = Site::new(ASKED);
    let answers = [
        ("it is there: ", "yes\n"),
        ("with a note behind it", "done disk 7\n"),
        ("with a reason behind it", "yes it must be\n"),
    ];
    let driven = "recover loss --confirm shop";
    let (shown, code) = converse(&site.environment, driven, &answers);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("agree: approved by"), "{shown}");
    let record = site.environment.run(["evidence", "show"]).success();
    assert!(record.contains("disk 7") && record.contains("it must be"), "{record}");
}
