//! The command line in bad weather: what passes is outlasted and told, what does not is told with tier, object and
//! remedy, and costs its own tier alone.

use std::fs;

use lifeboat_testing::certificate::{Authority, Validity};
use lifeboat_testing::emulators::{Bucket, Moto};
use lifeboat_testing::line::{At, Line, Reply, Rule, Trouble, Way, Weather};

use crate::bucket::{BUCKET, home, home_at, init};
use crate::environment::Environment;

/// A site with a tier on disk and one in a bucket behind a line.
struct Coast {
    moto: Moto,
    line: Line,
    site: Environment,
}

impl Coast {
    fn new() -> Self {
        let moto = Moto::start().unwrap();
        moto.make_bucket(BUCKET, Bucket::Plain).unwrap();
        let line = Line::to(moto.address(), Weather::fair()).unwrap();
        let site = home_at(line.endpoint());
        site.write("media/a", "a");
        init(&site);
        Self { moto, line, site }
    }

    fn set(&self, rule: Rule) {
        self.line.set(Weather::fair().with(rule));
    }

    /// How many requests to the bucket a backup made again.
    fn retries(&self) -> u64 {
        let ended = self.site.run(["backup", "--json"]);
        assert_eq!(ended.code(), 0, "{ended}");
        let report = ended.json();
        let traffic = report["traffic"].as_array().unwrap();
        let far = traffic.iter().find(|on| on["tier"] == "far").unwrap();
        far["retries"].as_u64().unwrap()
    }

    /// What a backup says of the bucket, which it could not use; the disk got what was to be backed up.
    fn failure(&self) -> (String, String) {
        let ended = self.site.run(["backup", "--json"]);
        assert_eq!(ended.code(), 1, "{ended}");
        let report = ended.json();
        let stages = report["assets"][0]["stages"].as_array().unwrap();
        let on = |tier: &str| stages.iter().find(|stage| stage["tier"] == tier).unwrap();
        assert_eq!(on("near")["ending"], "succeeded", "{ended}");
        assert_eq!(on("far")["ending"], "failed", "{ended}");
        let text = |field: &str| on("far")[field].as_str().unwrap_or_default().to_owned();
        (text("message"), text("hint"))
    }

    fn key(&self) -> String {
        fs::read_to_string(self.site.path("recovery.key")).unwrap().trim().to_owned()
    }
}

fn upload(trouble: Trouble) -> Rule {
    Rule::method("PUT", trouble).about("/repo/data/")
}

fn refusal(status: u16, code: &str) -> Trouble {
    Trouble::Answer(Reply::status(status).body(format!("<Error><Code>{code}</Code></Error>")))
}

#[test]
fn storms_and_lines_that_are_cut_are_outlasted_and_told() {
    let coast = Coast::new();
    coast.set(upload(refusal(503, "SlowDown")).first(1));
    let ended = coast.site.run(["backup"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.stdout().contains("tried again: 1 of the requests to far"), "{ended}");
    coast.site.write("media/b", "b");
    coast.set(upload(Trouble::Cut(Way::There, At::Half)).first(1));
    assert!(coast.retries() >= 1);
    coast.line.set(Weather::fair());
    coast.site.write("media/c", "c");
    assert_eq!(coast.retries(), 0, "what was well is not told of");

    let altered = Rule::method("GET", Trouble::Alter(Way::Back, At::Body(40))).about("/repo/data/");
    let bare = home_at(coast.line.endpoint());
    let key = bare.write("key", coast.key()).display().to_string();
    let from = format!("s3://{BUCKET}/site");
    for (rule, to) in [
        (Rule::method("GET", Trouble::Cut(Way::Back, At::Half)).about("/repo/data/"), "cut"),
        (altered, "altered"),
    ] {
        coast.set(rule.first(1));
        let back = ["restore", "media", "--from", &from, "--key-file", &key, "--to", to];
        let ended = bare.run(back);
        assert_eq!(ended.code(), 0, "{to}: {ended}");
        assert!(coast.line.carried().troubles > 0, "{to}");
        let below = coast.site.path("media/c");
        let restored = bare.path(to).join(below.strip_prefix("/").unwrap());
        assert_eq!(fs::read_to_string(restored).unwrap(), "c");
    }
}

#[test]
fn what_will_not_pass_is_told_with_tier_object_and_remedy() {
    let coast = Coast::new();
    coast.site.run(["backup"]).success();
    let tier = format!("s3://{BUCKET}/site");
    for (trouble, word, remedy) in [
        (refusal(403, "AccessDenied"), "do not allow it", "docs/object-stores.md"),
        (refusal(507, "XMinioStorageFull"), "no space is left", "free space"),
    ] {
        coast.site.write("media/a", word);
        coast.set(upload(trouble));
        let (message, hint) = coast.failure();
        assert!(message.contains(&tier) && message.contains("repo/data/"), "{message}");
        assert!(message.contains(word), "{message}");
        assert!(hint.contains(remedy), "{hint}");
    }
    coast.line.set(Weather::fair());
    assert_eq!(coast.retries(), 0, "the tier catches up");
}

#[test]
fn a_store_that_fails_with_every_object_is_warned_of_once() {
    let coast = Coast::new();
    coast.site.run(["backup"]).success();
    coast.site.write("media/b", "b");
    coast.set(upload(refusal(503, "SlowDown")));
    let ended = coast.site.run(["backup"]);
    assert_eq!(ended.code(), 1, "{ended}");
    assert_eq!(ended.stderr().matches("WARN").count(), 1, "{ended}");
    assert!(ended.stdout().contains("tried again"), "{ended}");
}

#[test]
fn what_is_configured_wrongly_is_told_with_what_to_write_instead() {
    let site = home_at("htp://store".to_owned());
    site.write("media/a", "a");
    init(&site);
    let checked = site.run(["check", "--json"]);
    assert_eq!(checked.code(), 1, "{checked}");
    let report = checked.json();
    let answers = report["readiness"]["answers"].as_array().unwrap();
    let told = |answer: &&serde_json::Value| answer.to_string().contains("htp://store");
    let answer = answers.iter().find(told).unwrap();
    assert_eq!(answer["outcome"], "failed", "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("AWS_ENDPOINT_URL says"), "{answer}");
    assert!(answer["hint"].as_str().unwrap().contains("write AWS_ENDPOINT_URL like"), "{answer}");

    let moto = Moto::start().unwrap();
    moto.make_bucket(BUCKET, Bucket::Plain).unwrap();
    let line = Line::to(moto.address(), Weather::fair()).unwrap();
    let site = home_at(line.endpoint().replace("http:", "https:"));
    site.write("media/a", "a");
    init(&site);
    let ended = site.run(["backup"]);
    assert_eq!(ended.code(), 1, "{ended}");
    let text = ended.stdout();
    assert!(text.contains("does not speak encrypted"), "{ended}");
    assert!(text.contains("write http://"), "{ended}");
    assert!(!text.contains("tried again"), "it will not pass: {ended}");
}

#[test]
fn credentials_that_are_nowhere_are_told_of_in_words() {
    let site = Environment::new()
        .with("AWS_REGION", Moto::REGION)
        .with("AWS_EC2_METADATA_DISABLED", "true")
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    site.write("media/a", "a");
    init(&site);
    let ended = site.run(["backup"]);
    assert_eq!(ended.code(), 1, "{ended}");
    assert!(ended.stdout().contains("there are no credentials for it"), "{ended}");
    assert!(ended.stdout().contains("set AWS_ACCESS_KEY_ID"), "{ended}");
    for of_rust in ["Error {", "Provider", "kind:"] {
        assert!(!ended.stderr().contains(of_rust) && !ended.stdout().contains(of_rust), "{ended}");
    }
}

#[test]
fn patience_with_a_store_that_does_not_get_well_ends() {
    let coast = Coast::new();
    coast.site.run(["backup"]).success();
    coast.set(Rule::requests(refusal(503, "SlowDown")));
    let address = format!("s3:{}/{BUCKET}/site/repo", coast.line.endpoint());
    let site = home_at(coast.line.endpoint()).with("RESTIC_PASSWORD", coast.key());
    let said = site.run(["repo", "snapshots", &address]).failure(1);
    assert!(said.contains(BUCKET) && said.contains("failed to read config"), "{said}");
    assert!(said.contains("503"), "{said}");
    assert!(said.contains("hint: see whether"), "{said}");
    coast.line.set(Weather::fair());
    site.run(["repo", "snapshots", &address]).success();
}

#[test]
fn a_store_of_an_unknown_authority_is_told_nothing() {
    let coast = Coast::new();
    coast.site.run(["backup"]).success();
    let authority = Authority::new();
    let certificate = authority.certify("127.0.0.1", Validity::Valid);
    let line = Line::encrypted(coast.moto.address(), Weather::fair(), &certificate).unwrap();
    let address = format!("s3:{}/{BUCKET}/site/repo", line.endpoint());
    let listing = ["repo", "snapshots", &address];
    let stranger = home(&coast.moto).with("RESTIC_PASSWORD", coast.key());
    let said = stranger.run(listing).failure(1);
    assert!(said.contains("could not prove that it is the store"), "{said}");
    assert!(said.contains(BUCKET) && said.contains("AWS_CA_BUNDLE"), "{said}");
    assert_eq!(line.carried().requests, 0);
    let file = stranger.write("ca.pem", authority.to_pem()).display().to_string();
    stranger.with("AWS_CA_BUNDLE", file).run(listing).success();
}
