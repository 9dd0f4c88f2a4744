//! Each lint rule on a plan that breaks it, and on the nearest one that does not.

use std::path::PathBuf;
use std::time::Duration;

use lifeboat_plan::Severity;

use crate::fixture::Sample;

fn small() -> Sample {
    Sample::small()
}

/// Asserts that exactly this is said, at this text.
fn says(sample: &Sample, expected: &[(&str, &str)]) {
    let found = sample.found();
    let found: Vec<_> = found.iter().map(|(code, text)| (*code, text.as_str())).collect();
    assert_eq!(found, expected, "{}", sample.report());
}

#[test]
fn an_unfilled_tier() {
    let sample = small().with("to = [\"near\", \"far\"]", "to = [\"near\"]");
    says(&sample, &[("single-copy", "files"), ("tier-unfilled", "far")]);
    assert!(sample.load().is_ok(), "warnings do not refuse a plan");
}

#[test]
fn an_asset_that_is_never_backed_up() {
    let sample = small().plus("[assets.more]\nkind = \"files\"\npaths = [\"/srv/more\"]\n");
    says(&sample, &[("never-backed-up", "more")]);
    says(&sample.with("assets = [\"files\"]", "assets = [\"*\"]"), &[]);
}

#[test]
fn an_objective_that_the_schedule_cannot_meet() {
    says(&small().with("rpo = \"24h\"", "rpo = \"12h\""), &[("objective-too-tight", "\"12h\"")]);
    // A day and its grace of 72 minutes leave that long for the backup itself.
    let mut slow = small();
    slow.facts.usual_durations.insert("files".parse().unwrap(), Duration::from_mins(72));
    says(&slow, &[]);
    slow.facts.usual_durations.insert("files".parse().unwrap(), Duration::from_mins(73));
    says(&slow, &[("objective-too-tight", "\"24h\"")]);
}

#[test]
fn a_clock_change_counts_into_the_interval() {
    let berlin = small()
        .with("cron = \"0 2 * * *\"", "cron = \"0 12 * * *\"\ntz = \"Europe/Berlin\"")
        .with("rpo = \"24h\"", "rpo = \"24h\"\ngrace = \"30m\"");
    says(&berlin, &[("objective-too-tight", "\"24h\"")]);
}

#[test]
fn what_is_followed_between_backups_meets_its_objective() {
    says(&small().with("rpo = \"24h\"", "rpo = \"1m\"\nwatch = true"), &[]);
}

#[test]
fn a_blackout_that_never_ends() {
    let hours = |lasts: &str| {
        let spare = "why = \"office hours\"\nspare = [\"daily\"]";
        small().plus(&format!(
            "[blackouts.office]\ncron = \"0 8 * * *\"\nlasts = \"{lasts}\"\n{spare}\n"
        ))
    };
    says(&hours("10h"), &[]);
    says(&hours("24h"), &[("endless-blackout", "\"24h\"")]);
    let misspelt = hours("10h").with("spare = [\"daily\"]", "spare = [\"dayly\"]");
    says(&misspelt, &[("unknown-reference", "\"dayly\"")]);
}

#[test]
fn services_that_need_each_other() {
    let services = "[classes]\nc = {}\n[services.a]\nclass = \"c\"\nneeds = [\"b\"]\n[services.b]\nclass = \"c\"\nneeds = [\"a\"]\n";
    says(&small().plus(services), &[("needs-circle", "[\"b\"]")]);
}

#[test]
fn steps_that_need_each_other() {
    let steps = "[[steps]]\nid = \"a\"\nneeds = [\"b\"]\nwait = \"1s\"\n[[steps]]\nid = \"b\"\nneeds = [\"a\"]\nwait = \"1s\"\n";
    let sample = small().plus_runbook(steps);
    says(&sample, &[("needs-circle", "[\"b\"]")]);
    assert_eq!(sample.diagnostics()[0].file, "runbooks/r.toml");
}

#[test]
fn a_check_that_nobody_runs() {
    let check = "[checks.answers]\ntcp = \"localhost:80\"\n";
    says(&small().plus(check), &[("unused-check", "answers")]);
    let step = "[[steps]]\nid = \"a\"\nwait = { until = [\"answers\"], at_most = \"1m\" }\n";
    says(&small().plus(check).plus_runbook(step), &[]);
}

#[test]
fn a_check_that_its_restore_test_can_never_ask() {
    let test = |check: &str| {
        let database = "kind = \"postgres\"\nconnect = \"dbname=shop\"\nbase = \"physical\"";
        let times = "cron = \"0 5 * * *\"\nassets = [\"files\"]\nchecks = [\"c\"]";
        small()
            .with("assets = [\"files\"]", "assets = [\"*\"]")
            .plus(&format!("[assets.db]\n{database}\n[checks.c]\n{check}\n"))
            .plus(&format!("[restore_tests.t]\n{times}\n"))
    };
    let is_told = |sample: &Sample| {
        sample.found().iter().any(|(code, text)| *code == "check-never-asked" && text == "\"c\"")
    };
    for check in [
        "http = \"http://localhost/\"",
        "tcp = \"localhost:80\"",
        "smtp = { send = [\"true\"] }",
        "sql = \"SELECT 1\"",
        "sql = \"SELECT 1\"\nfiles_in = \"files\"",
        "command = [\"ping\", \"{{ target.host }}\"]",
    ] {
        assert!(is_told(&test(check)), "{check}");
    }
    for check in [
        "files = \"files\"\nexist = [\"a\"]",
        "command = [\"test\", \"-d\", \"{{ target.directory }}\"]",
        "dns = \"www.example.org\"",
    ] {
        assert!(!is_told(&test(check)), "{check}");
    }
    let services = "[classes]\nc = {}\n[services.a]\nclass = \"c\"\nstart = \"true\"\n";
    let http = test("http = \"http://localhost/\"").plus(services);
    let starts = |names: &str| {
        let checks = "checks = [\"c\"]";
        http.clone().with(checks, &format!("{checks}\nstart = [\"{names}\"]"))
    };
    assert!(!is_told(&starts("*")), "{}", starts("*").report());
    assert!(starts("b").found().contains(&("unknown-reference", "\"b\"".to_owned())));
    let sql = test("sql = \"SELECT 1\"");
    let sql = sql.with("assets = [\"files\"]\nchecks", "assets = [\"db\"]\nchecks");
    assert!(!is_told(&sql), "{}", sql.report());
    assert!(!is_told(&sql.with("base = \"physical\"", "base = \"logical\"")));
}

#[test]
fn services_that_a_staging_host_would_have_to_start() {
    let test = "[classes]\nc = {}\n[services.a]\nclass = \"c\"\nstart = \"true\"\n[restore_tests.t]\n\
                cron = \"0 5 * * *\"\nassets = [\"files\"]\n";
    let is_told = |more: &str| {
        let sample = small().plus(&format!("{test}{more}"));
        sample.found().iter().any(|(code, _)| *code == "services-on-staging-host")
    };
    assert!(is_told("on = \"staging\"\nstart = [\"a\"]\n"));
    assert!(!is_told("on = \"staging\"\n"));
    assert!(!is_told("start = [\"a\"]\n"));
}

#[test]
fn a_scenario_whose_drill_would_be_unlike_it() {
    let services = "[classes]\nc = {}\n[services.a]\nclass = \"c\"\nstart = \"true\"\n";
    let stops = "[[steps]]\nid = \"end\"\nstop = [\"a\"]\n";
    let starts = "[[steps]]\nid = \"begin\"\nstart = [\"a\"]\n";
    let of = |steps: &str, keys: &str| small().plus(services).plus_runbook(steps).plus(keys);
    let drilled = "[drills.d]\nscenario = \"s\"\ncron = \"0 2 1 * *\"\n";
    says(&of(stops, ""), &[("rehearsal", "\"runbooks/r.toml\"")]);
    says(&of(&format!("{starts}{stops}"), ""), &[]);
    says(&of(stops, "platform = \"runs\""), &[]);
    says(&of(starts, "damage = \"rm -r /srv/shop\""), &[("rehearsal", "\"rm -r /srv/shop\"")]);
    let runs = of(stops, "platform = \"runs\"").plus(drilled);
    says(&runs, &[("rehearsal", "\"runs\"")]);
    assert!(runs.load().is_ok(), "it can be rehearsed all the same");
    says(&of(stops, "platform = \"runs\"\ndamage = \"true\"").plus(drilled), &[]);
    let startless = runs.with("start = \"true\"\n", "");
    assert!(startless.report().contains("can start nothing"), "{}", startless.report());
    says(
        &of(starts, "platform = \"runs\"\ndamage = \"{{ run.id }}\""),
        &[("template-name", "\"{{ run.id }}\"")],
    );
}

#[test]
fn a_tier_and_an_asset_in_each_other() {
    says(&small().with("\"/srv/shop\"", "\"/var\""), &[("tier-overlap", "\"/var\"")]);
    let excluded = "[\"/var\"]\nexclude = [\"/var/backups\"]";
    says(&small().with("[\"/srv/shop\"]", excluded), &[]);
    let inside = "\"/var/backups/shop/repo\"";
    says(&small().with("\"/srv/shop\"", inside), &[("tier-overlap", inside)]);
}

#[test]
fn the_files_of_a_running_database() {
    let data = "\"/var/lib/postgresql/15/main\"";
    says(&small().with("\"/srv/shop\"", data), &[("live-database", data)]);
    let mut elsewhere = small().with("[\"/srv/shop\"]", "[\"/srv\", \"/data/pg\"]");
    says(&elsewhere, &[]);
    elsewhere.facts.data_directories = vec![PathBuf::from("/data/pg"), PathBuf::from("/srv/pg")];
    says(&elsewhere, &[("live-database", "\"/srv\""), ("live-database", "\"/data/pg\"")]);
    let severities: Vec<_> = elsewhere.diagnostics().iter().map(|d| d.severity).collect();
    assert_eq!(severities, [Severity::Note, Severity::Error], "below it is left out, named is not");
}

#[test]
fn copies_that_are_gone_before_the_next() {
    let near = "url = \"file:///var/backups/shop\"";
    let short = format!("{near}\nkeep = {{ within = \"23h\" }}");
    says(&small().with(near, &short), &[("retention-too-short", "{ within = \"23h\" }")]);
    let by_number = format!("{near}\nkeep = {{ last = 1 }}");
    says(&small().with(near, &by_number), &[]);
    let by_schedule = small()
        .with(near, &short)
        .with("[\"near\", \"far\"]", "[\"near\", \"far\"]\nkeep = { daily = 2 }");
    says(&by_schedule, &[]);
}

#[test]
fn a_lock_that_cannot_be_or_outlasts_what_is_kept() {
    let (near, far) = ("url = \"file:///var/backups/shop\"", "url = \"s3://shop-backups\"");
    let on_disk = format!("{near}\nlock = \"30d\"");
    says(&small().with(near, &on_disk), &[("lock-impossible", "\"30d\"")]);
    let kept = |keep: &str| small().with(far, &format!("{far}\nlock = \"30d\"\nkeep = {keep}"));
    says(&kept("{ within = \"30d\" }"), &[]);
    says(&kept("{ within = \"29d\" }"), &[("lock-outlasts-keep", "\"30d\"")]);
    says(&kept("{ last = 3 }"), &[]);
    says(&kept("{ within = \"7d\", monthly = 1 }"), &[]);
}

#[test]
fn damage_that_is_noticed_too_late() {
    let late = small().plus("[verification]\nnoticed_within = \"60d\"\n");
    says(&late, &[]);
    let near = "url = \"file:///var/backups/shop\"";
    let far = "url = \"s3://shop-backups\"";
    let short = |sample: Sample, url: &str| {
        sample.with(url, &format!("{url}\nkeep = {{ within = \"30d\" }}"))
    };
    says(&short(late.clone(), near), &[]);
    says(&short(short(late, near), far), &[("retention-too-short", "\"60d\"")]);
}

const DATABASE: &str = "[assets.db]\nkind = \"postgres\"\nconnect = \"service=shop\"\nBASEwal = WAL\n[schedules.d]\ncron = \"0 1 * * *\"\nassets = [\"db\"]\nto = \"*\"\n";

fn with_wal(base: &str, wal: &str) -> Sample {
    let base = format!("base = \"{base}\"\n");
    small().plus(&DATABASE.replace("BASE", &base).replace("WAL", wal))
}

#[test]
fn a_write_ahead_log_needs_base_and_tier() {
    says(&with_wal("physical", "{ mode = \"archive\", to = [\"near\"], ack = [\"near\"] }"), &[]);
    let dump = "{ mode = \"archive\", to = [\"near\"] }";
    says(&with_wal("logical", dump), &[("wal", dump)]);
    let nowhere = "{ mode = \"archive\" }";
    says(&with_wal("both", nowhere), &[("wal", nowhere)]);
    let elsewhere = "{ mode = \"archive\", to = [\"near\"], ack = [\"far\"] }";
    says(&with_wal("physical", elsewhere), &[("wal", "\"far\"")]);
}

#[test]
fn synchronous_on_one_host_is_worth_a_note() {
    let sample = with_wal("physical", "{ mode = \"synchronous\", to = [\"near\"] }");
    says(&sample, &[("wal", "\"synchronous\"")]);
    assert_eq!(sample.diagnostics()[0].severity, Severity::Note);
}

#[test]
fn names_that_lead_nowhere() {
    let sample = small().with("assets = [\"files\"]", "assets = [\"files\", \"fils\"]");
    says(&sample, &[("unknown-reference", "\"fils\"")]);
    assert_eq!(sample.diagnostics()[0].label.as_deref(), Some("did you mean `files`?"));
    let drill = "[drills.d]\nscenario = \"flood\"\ncron = \"0 0 1 * *\"\n";
    says(&small().plus(drill), &[("unknown-reference", "\"flood\"")]);
    let step = "[[steps]]\nid = \"a\"\nneeds = [\"z\"]\napprove = { by = \"boss\", ask = \"?\" }\n";
    says(
        &small().plus_runbook(step),
        &[("unknown-reference", "\"z\""), ("unknown-reference", "\"boss\"")],
    );
    let costs = "[costs]\n\"tiers.neer\" = { per_gib_month = 1 }\n";
    says(&small().plus(costs), &[("unknown-reference", "{ per_gib_month = 1 }")]);
}

#[test]
fn what_a_service_holds_is_an_asset() {
    let service = |asset: &str| {
        small().plus(&format!(
            "[classes]\nc = {{}}\n[services.a]\nclass = \"c\"\nholds = [\"{asset}\"]\n"
        ))
    };
    says(&service("files"), &[]);
    says(&service("flies"), &[("unknown-reference", "\"flies\"")]);
}

#[test]
fn a_name_whose_definition_is_broken_is_still_known() {
    let sample = small().with("url = \"s3://shop-backups\"", "url = \"shop-backups\"");
    says(&sample, &[("bad-address", "\"shop-backups\"")]);
}

#[test]
fn two_tiers_at_one_address() {
    let sample = small().with("s3://shop-backups", "file:///var/backups/shop/");
    says(&sample, &[("same-tier", "\"file:///var/backups/shop\"")]);
}

#[test]
fn two_places_of_one_host() {
    let places = |one: &str, other: &str| {
        small()
            .plus(&format!("[places.main]\nhost = \"{one}\"\n[places.other]\nhost = \"{other}\"\n"))
    };
    says(&places("web-1", "web-2"), &[]);
    says(&places("web-1", "web-1.example.org"), &[("same-place", "\"web-1.example.org\"")]);
}

#[test]
fn folders_of_which_it_is_not_said_which_places_see_them() {
    let places = "[places.main]\nhost = \"web-1\"\n[places.other]\nhost = \"web-2\"\n";
    says(&small().plus(places), &[]);
    let folders = small().plus(places).with("s3://shop-backups", "file:///mnt/shop");
    says(&folders, &[("unseen-tier", "near"), ("unseen-tier", "far")]);
    assert!(folders.load().is_ok());
    let said = |which: &str| {
        let url = format!("url = \"file:///mnt/shop\"\nplaces = [{which}]");
        let own = "url = \"file:///var/backups/shop\"\nplaces = [\"main\"]";
        let folders = small().plus(places).with("url = \"s3://shop-backups\"", &url);
        folders.with("url = \"file:///var/backups/shop\"", own)
    };
    says(&said("\"main\", \"other\""), &[]);
    says(&said("\"moon\""), &[("unknown-reference", "\"moon\"")]);
}

#[test]
fn a_step_that_knows_one_place_alone() {
    let places = "[places.main]\nhost = \"web-1\"\n[places.other]\nhost = \"web-2\"\n";
    let step = |on: &str| {
        let step = format!("[[steps]]\nid = \"far\"\nrun = \"true\"\non = \"{on}\"\n");
        small().plus(places).plus_runbook(&step)
    };
    says(&step("web-2"), &[("fixed-place", "\"web-2\"")]);
    for elsewhere in ["balancer", "{{ target.host }}"] {
        says(&step(elsewhere), &[]);
    }
}

#[test]
fn a_tier_within_another() {
    let nested = |near: &str, far: &str| {
        small().with("file:///var/backups/shop", near).with("s3://shop-backups", far)
    };
    for (near, far) in [
        ("file:///var/backups/shop", "file:///var/backups/shop/far/"),
        ("s3://shop", "s3://shop/far"),
        ("s3://shop/near", "s3://shop/near/far"),
        ("azure://shop/backups", "azure://shop/backups/far"),
        ("sftp://u@host/srv", "sftp://u@host/srv/far"),
        ("sftp://host/~/a", "sftp://host/~/a/b"),
    ] {
        let sample = nested(near, far);
        says(&sample, &[("tier-within", &format!("\"{far}\""))]);
        assert!(sample.load().is_ok(), "a plan by which somebody restores stays one");
    }
    for (near, far) in [
        ("file:///var/backups/shop", "file:///var/backups/shop2"),
        ("s3://shop/near", "s3://shop/nearer"),
        ("s3://shop/near", "s3://shops/near/far"),
        ("azure://shop/near", "azure://shop/far/near"),
        ("sftp://u@host/srv", "sftp://v@host/srv/far"),
        ("sftp://host/srv", "sftp://host:2222/srv/far"),
    ] {
        says(&nested(near, far), &[]);
    }
}

#[test]
fn a_key_that_another_store_knows() {
    let near = "url = \"file:///var/backups/shop\"";
    let far = "url = \"s3://shop-backups\"";
    let with = |url: &str, place: &str, key: &str| {
        small().with(url, &format!("{}\n{key}", url.replace(&url[7..url.len() - 1], place)))
    };
    let secret = "{ env = \"SECRET\" }";
    for (place, key, name) in [
        ("s3://shop-backups", format!("sas_token = {secret}"), "sas_token"),
        ("s3://shop-backups", format!("account_key = {secret}"), "account_key"),
        ("azure://shop/backups", "region = \"eu\"".to_owned(), "region"),
        ("azure://shop/backups", "conditional_put = true".to_owned(), "conditional_put"),
        ("azure://shop/backups", format!("access_key_id = {secret}"), "access_key_id"),
        ("sftp://host/srv", "endpoint = \"https://host\"".to_owned(), "endpoint"),
        ("sftp://host/srv", "access = \"cool\"".to_owned(), "access"),
    ] {
        let sample = with(far, place, &key);
        says(&sample, &[("foreign-key", name)]);
        let report = sample.report();
        assert!(report.contains(&format!("remove `{name}`")), "{report}");
    }
    for key in
        ["thaw = \"bulk\"", "lock_mode = \"governance\"", "profile = \"p\"", "path_style = true"]
    {
        let name = key.split(' ').next().unwrap();
        says(&with(near, "file:///var/backups/shop", key), &[("foreign-key", name)]);
    }
    says(&with(near, "file:///var/backups/shop", "prompt_listing = true"), &[]);
    let both = format!("access_key_id = {secret}\nsecret_access_key = {secret}");
    says(&with(far, "s3://shop-backups", &both), &[]);
    let token = format!("sas_token = {secret}\nendpoint = \"https://host\"");
    says(&with(far, "azure://shop/backups", &token), &[]);
}

#[test]
fn a_key_that_does_nothing_as_the_rest_stands() {
    let far = "url = \"s3://shop-backups\"";
    let with = |keys: &str| small().with(far, &format!("{far}\n{keys}"));
    says(&with("thaw = \"bulk\""), &[("idle-key", "thaw")]);
    says(&with("thaw = \"bulk\"\naccess = \"cool\""), &[("idle-key", "thaw")]);
    says(&with("thaw = \"bulk\"\naccess = \"archive\"\nkeep = { within = \"90d\" }"), &[]);
    says(&with("lock_mode = \"governance\""), &[("idle-key", "lock_mode")]);
    says(&with("lock_mode = \"governance\"\nlock = \"1d\""), &[]);
    for half in ["access_key_id", "secret_access_key"] {
        says(&with(&format!("{half} = {{ env = \"X\" }}")), &[("idle-key", half)]);
    }
}

#[test]
fn a_lock_for_no_time_and_a_keep_that_keeps_nothing_are_refused() {
    let far = "url = \"s3://shop-backups\"";
    let with = |keys: &str| small().with(far, &format!("{far}\n{keys}"));
    says(&with("lock = \"0d\""), &[("lock-empty", "\"0d\"")]);
    says(&with("lock = \"1d\""), &[]);
    assert!(with("lock = \"0d\"").load().is_err());
    assert!(with("lock = \"0d\"").report().contains("lock = \"30d\""));
    says(&with("keep = {}"), &[("keep-nothing", "{}")]);
    says(&with("keep = { last = 0 }"), &[("keep-nothing", "0")]);
    says(&with("keep = { within = \"0h\", last = 1 }"), &[("keep-nothing", "\"0h\"")]);
    says(&with("keep = { last = 1, daily = 7 }"), &[]);
    let scheduled =
        small().with("cron = \"0 2 * * *\"", "cron = \"0 2 * * *\"\nkeep = { daily = 0 }");
    says(&scheduled, &[("keep-nothing", "0")]);
}

#[test]
fn a_container_that_azure_refuses() {
    let far = "url = \"s3://shop-backups\"";
    let at = |url: &str| small().with(far, &format!("url = \"{url}\""));
    for (url, told) in
        [("azure://shop/ab", "three characters"), ("azure://shop/a--b/site", "both sides")]
    {
        let sample = at(url);
        says(&sample, &[("azure-container", &format!("\"{url}\""))]);
        assert!(sample.report().contains(told), "{}", sample.report());
    }
    says(&at("azure://shop/a-b-c/x--y"), &[]);
}

#[test]
fn what_is_kept_for_no_whole_hours() {
    let keep = |within: &str| {
        let tier =
            format!("url = \"s3://shop-backups\"\nkeep = {{ within = \"{within}\", last = 3 }}");
        small().with("url = \"s3://shop-backups\"", &tier)
    };
    for (within, kept) in [("1s", "1h"), ("500ms", "1h"), ("90m", "2h"), ("7d1s", "7d1h")] {
        let sample = keep(within);
        says(&sample, &[("keep-hours", &format!("\"{within}\""))]);
        assert!(
            sample.report().contains(&format!("write within = \"{kept}\"")),
            "{}",
            sample.report()
        );
    }
    says(&keep("36h"), &[]);
    let schedule = small().with(
        "to = [\"near\", \"far\"]",
        "to = [\"near\", \"far\"]\nkeep = { within = \"25h1m\" }",
    );
    says(&schedule, &[("keep-hours", "\"25h1m\"")]);
}

#[test]
fn a_place_is_filled_in_only_where_there_are_some() {
    let step = "[[steps]]\nid = \"x\"\nrun = \"move-names {{ target.place }}\"\n";
    let text = "\"move-names {{ target.place }}\"";
    says(&small().plus_runbook(step), &[("template-name", text)]);
    says(&small().plus("[places.main]\nhost = \"web-1\"\n").plus_runbook(step), &[]);
}

const LEVELS: &str = "[contacts.a]\nname = \"A\"\n[notify.m]\ncommand = \"mail\"\n[[escalation]]\nlevel = 1\nname = \"One\"\nafter = \"0m\"\ncontacts = [\"a\"]\nvia = [\"m\"]\n[[escalation]]\nlevel = 2\nname = \"Two\"\nafter = \"30m\"\ncontacts = [\"a\"]\nvia = [\"m\"]\n";

#[test]
fn levels_that_do_not_go_up() {
    says(&small().plus(LEVELS), &[]);
    let same = LEVELS.replace("level = 2", "level = 1");
    says(&small().plus(&same), &[("escalation-order", "1")]);
    let early = LEVELS.replace("\"30m\"", "\"0s\"");
    says(&small().plus(&early), &[("escalation-order", "\"0s\"")]);
    let nobody = LEVELS.replacen("contacts = [\"a\"]", "contacts = []", 1);
    says(&small().plus(&nobody), &[("empty-list", "[]")]);
}

#[test]
fn a_review_that_is_overdue() {
    let mut sample = small().with(
        "site = \"shop\"",
        "site = \"shop\"\nupdated = 2025-08-01\nreview_every = \"3 months\"",
    );
    says(&sample, &[]);
    sample.now = "2025-11-02T00:00:00Z".parse().unwrap();
    says(&sample, &[("review-overdue", "2025-08-01")]);
}

#[test]
fn templates_that_nothing_fills_in() {
    let check = "[checks.a]\nhttp = \"http://{{ target.hots }}/\"\n";
    let step = "[[steps]]\nid = \"x\"\ncheck = [\"a\"]\n";
    says(
        &small().plus(check).plus_runbook(step),
        &[("template-name", "\"http://{{ target.hots }}/\"")],
    );
    let steps = "[[steps]]\nid = \"x\"\nmanual = \"Look.\"\n[[steps]]\nid = \"z\"\nneeds = [\"x\"]\n\
        manual = \"{{ steps.x.note }} {{ run.id }} {{ steps.y.note }}\"\n";
    let sample = small().plus_runbook(steps);
    assert_eq!(sample.found().len(), 1, "{}", sample.report());
    assert!(sample.diagnostics()[0].message.contains("steps.y.note"));
}

#[test]
fn steps_with_one_name_or_no_reason() {
    let twice = "[[steps]]\nid = \"a\"\nwait = \"1s\"\n[[steps]]\nid = \"a\"\nwait = \"1s\"\n";
    says(&small().plus_runbook(twice), &[("steps", "\"a\"")]);
    let skipped = "[[steps]]\nid = \"a\"\nwait = \"1s\"\nskip_in = \"drill\"\n";
    says(&small().plus_runbook(skipped), &[("steps", "\"drill\"")]);
    says(&small().plus_runbook("steps = []\n"), &[("steps", "[]")]);
    let part = "[[steps]]\nid = \"a\"\nrestore = { asset = \"files\", extent = \"missing-or-different\" }\n";
    says(&small().plus_runbook(part), &[]);
    let beside = part.replace("extent", "to = \"/srv/beside\", extent");
    says(&small().plus_runbook(&beside), &[("steps", "\"missing-or-different\"")]);
}

#[test]
fn a_check_must_know_whom_to_ask() {
    let step = "[[steps]]\nid = \"x\"\ncheck = [\"a\"]\n";
    let lost = small().plus("[checks.a]\nsql = \"SELECT 1\"\n").plus_runbook(step);
    says(&lost, &[("probe-asset", "\"SELECT 1\"")]);
    let wrong =
        small().plus("[checks.a]\nsql = \"SELECT 1\"\nasset = \"files\"\n").plus_runbook(step);
    says(&wrong, &[("probe-asset", "\"files\"")]);
}

#[test]
fn a_service_cannot_be_back_before_what_it_needs() {
    let services = "[classes]\nfast = { rto = \"1h\" }\nslow = {}\n[services.a]\nclass = \"fast\"\nneeds = [\"b\"]\n[services.b]\nclass = \"slow\"\n";
    says(&small().plus(services), &[("slower-need", "\"b\"")]);
    says(&small().plus(&services.replace("\"slow\"", "\"fast\"")), &[]);
}

#[test]
fn an_estimate_beyond_its_rto() {
    let mut sample = small().plus_runbook("[[steps]]\nid = \"a\"\nwait = \"1s\"\n");
    sample = sample.plus("rto = \"4h\"\nestimate = \"2h..5h\"\n");
    says(&sample, &[("estimate-beyond-rto", "\"2h..5h\"")]);
}

#[test]
fn keys_of_another_kind_are_named_as_such() {
    let sample =
        small().plus("[checks.a]\nhttp = \"http://x/\"\nexpect = \"1\"\nfiles = \"files\"\n");
    // `files` comes first among the kinds, so it is the others that are out of place.
    says(&sample, &[("misplaced-key", "http"), ("misplaced-key", "expect")]);
}

#[test]
fn a_newer_format_is_refused_in_so_many_words() {
    let sample = small().with("format = 1", "format = 2");
    says(&sample, &[("unknown-format", "2")]);
}

#[test]
fn what_an_archive_does_not_do_and_costs_all_the_same() {
    let archive = |keep: &str| {
        let tier = format!("url = \"s3://shop-backups\"\naccess = \"archive\"\nkeep = {keep}");
        small().with("url = \"s3://shop-backups\"", &tier)
    };
    let short = archive("{ within = \"30d\" }");
    says(&short, &[("archive-keep", "\"archive\"")]);
    assert!(short.report().contains("90 days"), "{}", short.report());
    says(&archive("{ within = \"90d\" }"), &[]);
    let log = "{ mode = \"archive\", to = [\"near\", \"far\"], ack = [\"near\"] }";
    let logged = DATABASE.replace("BASE", "base = \"physical\"\n").replace("WAL", log);
    let sample = archive("{ within = \"90d\" }").plus(&logged);
    says(&sample, &[("archive-log", "\"archive\"")]);
    assert_eq!(sample.diagnostics()[0].severity, Severity::Note);
}

const TWO_STEPS: &str = r#"
[[steps]]
id = "ask"
manual = "Look."
[[steps]]
id = "then"
needs = ["ask"]
when = { step = "ask", is = "broken" }
run = "echo {{ steps.ask.note }}"
"#;

#[test]
fn a_step_that_takes_what_need_not_be_done_yet() {
    says(&small().plus_runbook(TWO_STEPS), &[]);
    let beside = TWO_STEPS.replace("needs = [\"ask\"]\n", "");
    let found = small().plus_runbook(&beside).found();
    let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["step-input", "step-input"], "what it takes, and what it depends on");
    let unknown = TWO_STEPS.replace("step = \"ask\", is", "step = \"who\", is");
    let found = small().plus_runbook(&unknown).found();
    assert_eq!(found[0].0, "step-input");
    let nothing = TWO_STEPS.replace("manual = \"Look.\"", "wait = \"5s\"");
    let found = small().plus_runbook(&nothing).found();
    let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["step-input", "template-name"], "nothing is said, and nothing is given");
}

#[test]
fn what_cannot_be_carried_out_yet_is_noted() {
    let isolate = "[[steps]]\nid = \"cut\"\nisolate = {}\n";
    let sample = small().plus_runbook(isolate);
    assert_eq!(sample.found()[0].0, "not-built");
    assert!(sample.load().is_ok(), "a note refuses nothing");
    says(&small().plus_runbook("[[steps]]\nid = \"cut\"\nisolate = { run = \"true\" }\n"), &[]);
    let kept = "[[steps]]\nid = \"keep\"\nevidence = { take = [\"/var/log\"], to = \"/mnt\" }\n";
    says(&small().plus_runbook(kept), &[]);
    let far = "[[steps]]\nid = \"far\"\nrun = \"true\"\non = \"web-2\"\n";
    says(&small().plus_runbook(far), &[]);
    let far = far.replace("run = \"true\"", "restore = { asset = \"files\" }");
    says(&small().plus_runbook(&far), &[("not-built", "\"web-2\"")]);
    says(&small().plus_runbook(&far.replace("web-2", "{{ target.host }}")), &[]);
}
