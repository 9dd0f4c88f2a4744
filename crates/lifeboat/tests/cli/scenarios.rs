//! The procedures of the reference plan, carried out on the reference platform by its own runbooks.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::platform::{Machine, assert_same, assert_told};

/// What a day's backup takes, in the plan's order.
const DAILY: [&str; 5] = ["backup", "database", "media", "configuration", "application"];

#[test]
fn a_platform_that_is_lost_with_its_disk_comes_back_from_the_bucket_and_takes_orders() {
    let mut machine = Machine::new();
    machine.manage(&["probe", "orders"]);
    let ordered = machine.others();
    assert_told(&ordered, "POST /hook {\"event\": \"order.confirmed\"");
    assert_told(&ordered, "PUT /archive/orders/");
    assert_told(&machine.mails(), "We begin with: A rehearsal");
    machine.lifeboat(&DAILY).success();
    let (ledger, media) = (machine.ledger(), machine.tree("var/www/techit_solutions/media"));
    let settings = machine.tree("var/www/techit_solutions/.env");

    machine.wait_for_archive();
    machine.die();
    let gone = ["srv", "etc/lifeboat", "var/backups"].iter().all(|path| !machine.at(path).exists());
    assert!(gone, "nothing is left of the machine and of the tier on its disk");
    machine.bootstrap();
    let ahead = machine.lifeboat(&["recover", "complete-system-failure", "--dry-run"]);
    assert!(ahead.success().contains("if it is lost, say `--without primary`"), "{ahead}");
    let without = machine.lifeboat(&[
        "recover",
        "complete-system-failure",
        "--without=primary",
        "--dry-run",
        "--json",
    ]);
    assert_eq!(without.json()["without"][0], "primary", "{without}");
    let mut recovery = machine.recover("complete-system-failure", &["--without=primary"]);
    recovery.tell("provision", &["confirm", "provision", "--note", "a new server", "--all"]);
    let approval = ["approve", "approve-switch", "--reason", "all of it is there"];
    recovery.tell("approve-switch", &approval);
    let (code, said) = recovery.end();
    assert_eq!(code, 0, "{said}");

    for check in ["validate: done", "migrate: done", "static-files: done", "media: done"] {
        assert!(said.contains(check), "{check} is not in {said}");
    }
    assert_same(&media, &machine.tree("var/www/techit_solutions/media"));
    assert_same(&settings, &machine.tree("var/www/techit_solutions/.env"));
    let then: Vec<_> = ledger.lines().collect();
    let count = then[0].split('|').nth(1).unwrap();
    let now = machine.sql(&format!(
        "SELECT 'orders', count(*), md5(string_agg(state, ',' ORDER BY id))
         FROM (SELECT * FROM orders_order ORDER BY id LIMIT {count}) AS ordered"
    ));
    assert_eq!(
        now, then[0],
        "all that was ordered is there; what the validation ordered comes after it"
    );
    // What the validation tried went out, to those who stand for others.
    let told = machine.others();
    assert_told(&told, "POST /alive");
    assert_told(&told, "PUT /archive/orders/");
    let mails = machine.mails();
    assert_told(&mails, "drill@example.org");
    assert_told(&mails, "We begin with: A rehearsal");
    let message = fs::read_to_string(machine.away("told")).unwrap();
    assert!(message.contains("is back after Complete system failure"), "{message}");
}

#[test]
fn what_breaks_on_a_platform_that_lives_is_mended_by_its_runbooks() {
    let machine = Machine::new();
    machine.manage(&["probe", "orders"]);
    machine.lifeboat(&DAILY).success();
    rows_are_deleted(&machine);
    media_are_lost(&machine);
    the_configuration_is_lost(&machine);
    the_web_server_fails(&machine);
    // It comes back to the newest point, which has no orders of later.
    machine.lifeboat(&["backup", "database"]).success();
    the_database_is_corrupt(&machine);
}

/// Carries a scenario out that no person is asked for.
#[track_caller]
fn mend(machine: &Machine, scenario: &str) -> String {
    let (code, said) = machine.recover(scenario, &[]).end();
    assert_eq!(code, 0, "{scenario}: {said}");
    said
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

fn rows_are_deleted(machine: &Machine) {
    let payments = |up_to: &str| {
        machine.sql(&format!(
            "SELECT count(*), md5(string_agg(kept::text, ',' ORDER BY id))
             FROM (SELECT * FROM orders_payment WHERE id <= {up_to}) AS kept"
        ))
    };
    // In no backup, but in the log.
    machine.manage(&["probe", "orders"]);
    let newest = machine.sql("SELECT max(id) FROM orders_payment");
    let then = payments(&newest);
    let moment = machine.sql(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    );
    let gone =
        "WITH gone AS (DELETE FROM orders_payment WHERE id % 2 = 0 OR id = (SELECT max(id) FROM
                orders_payment) RETURNING 1) SELECT count(*) FROM gone";
    let gone = machine.sql(gone);
    // What comes in since, which has to stay.
    machine.manage(&["probe", "orders"]);
    machine.wait_for_archive();
    assert_ne!(payments(&newest), then);

    let beside = machine.at("srv/beside");
    let mut recovery = machine.recover("accidental-deletion", &["--to", beside.to_str().unwrap()]);
    recovery.tell("when", &["confirm", "when", "--note", &moment, "--all"]);
    recovery.wait_for("look");
    assert_eq!(machine.platform(&["missing"]), gone, "what is missing is seen");
    recovery.tell("look", &["confirm", "look", "--note", "all of them", "--all"]);
    let (code, said) = recovery.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(payments(&newest), then, "every row is as it was");
    let since =
        machine.sql(&format!("SELECT count(*) > 0 FROM orders_payment WHERE id > {newest}"));
    assert_eq!(since, "t", "what came since is there");
    assert!(!beside.join("postmaster.pid").exists(), "nothing runs beside any more");
}

fn media_are_lost(machine: &Machine) {
    let media = "var/www/techit_solutions/media";
    let picture = |number: u32| machine.at(&format!("{media}/avatars/customer-{number}.jpg"));
    let (second, third) = (fs::read(picture(2)).unwrap(), fs::read(picture(3)).unwrap());
    let owner = fs::metadata(picture(4)).unwrap().uid();
    fs::remove_file(picture(1)).unwrap();
    fs::remove_file(picture(2)).unwrap();
    overwrite(&picture(3), 100, b"noise");
    fs::set_permissions(picture(4), fs::Permissions::from_mode(0o600)).unwrap();
    // What was uploaded since the backup, and is not lost.
    let uploaded = machine.at(&format!("{media}/avatars/since.jpg"));
    fs::copy(picture(5), &uploaded).unwrap();
    assert!(machine.complaint(&["check_media_files"]).contains("2 of 50 files"));

    mend(machine, "media-loss");
    assert_eq!(
        (fs::read(picture(2)).unwrap(), fs::read(picture(3)).unwrap()),
        (second, third.clone())
    );
    let mended = fs::metadata(picture(4)).unwrap();
    assert_eq!((mended.uid(), mended.mode() & 0o777), (owner, 0o644));
    assert!(uploaded.exists(), "what came since stays");
    let kept = fs::read(machine.aside(media).join("avatars/customer-3.jpg")).unwrap();
    assert!(kept != third && kept[100..].starts_with(b"noise"), "what was damaged is kept");
}

fn the_configuration_is_lost(machine: &Machine) {
    let (settings, web) = ("var/www/techit_solutions/.env", "etc/nginx");
    let then = (machine.tree(settings), machine.tree(web));
    fs::remove_file(machine.at(settings)).unwrap();
    fs::remove_file(machine.at("etc/nginx/nginx.conf")).unwrap();
    mend(machine, "configuration-loss");
    assert_same(&then.0, &machine.tree(settings));
    assert_same(&then.1, &machine.tree(web));
    assert!(machine.manage(&["probe", "login"]).contains("probe logs in"));
}

fn the_web_server_fails(machine: &Machine) {
    for name in ["nginx", "gunicorn"] {
        machine.kill(&machine.at(&format!("run/techit/{name}.pid")));
    }
    assert!(machine.complaint(&["probe", "login"]).contains("Connection refused"));
    let mut recovery = machine.recover("web-server-failure", &[]);
    recovery.tell("look", &["confirm", "look", "--note", "both were killed", "--all"]);
    let (code, said) = recovery.end();
    assert_eq!(code, 0, "{said}");
    assert!(machine.manage(&["probe", "login"]).contains("probe logs in"));
}

fn the_database_is_corrupt(machine: &Machine) {
    let ledger = machine.ledger();
    let data = "var/lib/postgresql/main";
    let table = machine.sql("SELECT pg_relation_filepath('orders_order')");
    machine.sql("CHECKPOINT");
    overwrite(&machine.at(data).join(&table), 512, &[0xff; 4096]);
    let said = mend(machine, "database-corruption");
    assert!(said.contains("integrity: done"), "{said}");
    let ordered = "SELECT count(*) FROM orders_order";
    // What the validation ordered comes on top.
    let then = ledger.lines().next().unwrap().split('|').nth(1).unwrap().parse::<u32>().unwrap();
    assert_eq!(machine.sql(ordered).parse::<u32>().unwrap(), then + 1);
    let kept = fs::read(machine.aside(data).join(&table)).unwrap();
    assert_eq!(kept[512..4608], [0xff; 4096], "the corrupted files are kept");
    assert!(!machine.at("var/lib/postgresql/main.lifeboat-restoring").exists());
}
