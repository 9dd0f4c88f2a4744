//! What a person is told about a plan with mistakes: all of them, each with its place and a fix.

use lifeboat_plan::Colour;

use crate::fixture::Sample;

const TEN_MISTAKES: &str = r#"format = 1

[plan]
name = "Shop"
site = "my shop"
updatd = 2025-10-24

[key]
file = "/etc/lifeboat/recovery.key"

[assets.files]
kind = "files"
paths = "/srv/shop"
rpo = "one day"

[assets.database]
kind = "postgresql"
connect = "host=db password=hunter2"

[tiers.near]
url = "ftp://backups"
keep = { within = 7 }

[schedules.daily]
cron = "0 25 * * *"
assets = ["filez"]
to = ["near", "far"]
"#;

#[test]
fn ten_mistakes_are_ten_errors() {
    let mut sample = Sample::small();
    sample.plan = TEN_MISTAKES.to_owned();
    let rejected = sample.load().unwrap_err();
    assert_eq!(rejected.to_string(), "the plan has 10 errors");
    insta::assert_snapshot!(sample.report());
}

#[test]
fn broken_syntax_does_not_hide_the_rest() {
    let sample = Sample::small()
        .with("name = \"Shop\"", "name = Shop")
        .with("[tiers.far]", "[tiers.near]")
        .with("rpo = \"24h\"", "rpo = \"24 hours\"");
    insta::assert_snapshot!(sample.report());
}

#[test]
fn mistakes_in_runbooks_name_their_file() {
    let sample = Sample::small().plus_runbook(
        "[[steps]]\nid = \"a\"\nrunn = [\"true\"]\n\n[[steps]]\nid = \"b\"\nneeds = [\"b\"]\nmanual = \"x {{ target.hots }}\"\n",
    );
    insta::assert_snapshot!(sample.report());
}

#[test]
fn a_missing_runbook_is_named_where_it_is_asked_for() {
    let sample = Sample::small().plus("[scenarios.s]\nrunbook = \"runbooks/none.toml\"\n");
    insta::assert_snapshot!(sample.report());
}

#[test]
fn diagnostics_are_json_too() {
    let sample = Sample::small().with("paths =", "pahts =");
    insta::assert_json_snapshot!(sample.diagnostics());
}

#[test]
fn colours_only_when_asked_for() {
    let diagnostics = Sample::small().with("paths =", "pahts =").diagnostics();
    assert!(diagnostics[0].render(Colour::Always).contains("\u{1b}["));
    assert!(!diagnostics[0].render(Colour::Never).contains("\u{1b}["));
}

#[test]
fn a_secret_in_a_plan_is_refused_and_shown_nowhere() {
    let literals = [
        (
            "[assets.db]\nkind = \"postgres\"\nconnect = \"host=db password=hunter2\"\n",
            "secret-in-plan",
        ),
        (
            "[assets.db]\nkind = \"postgres\"\nconnect = \"postgres://a:hunter2@db/x\"\n",
            "secret-in-plan",
        ),
        ("[notify.x]\npagerduty = \"hunter2\"\n", "secret-in-plan"),
        ("[notify.x]\nsmtp = \"smtps://a:hunter2@mail\"\nfrom = \"a@b.c\"\n", "secret-in-plan"),
        ("[checks.x]\nhttp = \"http://a:hunter2@host/\"\n", "secret-in-plan"),
        ("[checks.x]\ncommand = [\"mysql\", \"--password=hunter2\"]\n", "secret-in-plan"),
        ("[checks.x]\ncommand = \"PGPASSWORD=hunter2 psql\"\n", "secret-in-plan"),
        ("[tiers.x]\nurl = \"s3://a:hunter2@bucket\"\n", "secret-in-plan"),
        ("[tiers.x]\nurl = \"s3://bucket\"\nsecret_key = \"hunter2\"\n", "unknown-key"),
        ("[tiers.x]\nurl = \"s3://bucket\"\npassword = hunter2\n", "syntax"),
    ];
    for (lines, code) in literals {
        let sample = Sample::small().plus(lines);
        let rejected = sample.load().unwrap_err();
        assert!(
            rejected.diagnostics.iter().any(|d| d.code == code),
            "{lines}\n{}",
            sample.report()
        );
        let said = format!("{rejected:?}{}", sample.report());
        assert!(!said.contains("hunter2"), "{said}");
    }
    let harmless = Sample::small()
        .plus("[checks.x]\nsql = \"SELECT count(*) FROM a WHERE password = 'x'\"\nexpect = \"0\"\n[assets.db]\nkind = \"postgres\"\nconnect = \"service=db\"\npassword = { env = \"PGPASSWORD\" }\nbefore = \"PGPASSWORD=$(cat /etc/x) psql\"\n");
    assert!(harmless.load().is_ok(), "{}", harmless.report());
}
