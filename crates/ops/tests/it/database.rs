//! A real database: backed up, spoilt, brought back, compared.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use lifeboat_model::{Cancel, Classify as _, Exit, Silent};
use lifeboat_ops::backup::{BackupOptions, Remark, backup};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::point::{At, Role};
use lifeboat_ops::restore::{Destination, only_database};
use lifeboat_testing::postgres::{Cluster, ClusterOptions};
use lifeboat_testing::restic::Restic;

use crate::ground::{Ground, back_up, messages, restore_in_place, restore_into, restore_to};

fn plan(connect: &str) -> String {
    format!(
        r#"
[assets.database]
kind = "postgres"
connect = "{connect}"
rpo = "1h"
[assets.media]
kind = "files"
paths = ["HOME/media"]
[assets.settings]
kind = "files"
paths = ["HOME/settings"]
watch = true
[tiers.primary]
url = "file://HOME/first"
[schedules.daily]
cron = "0 2 * * *"
assets = ["*"]
to = ["primary"]
"#
    )
}

const SCHEMA: &str = "
    CREATE ROLE shop_owner; CREATE TABLE orders (id int PRIMARY KEY, note text);
    INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 1000) n;
    ALTER TABLE orders OWNER TO shop_owner;";

#[test]
fn a_database_comes_back_and_the_old_one_is_kept() {
    let mut cluster = Cluster::start().unwrap();
    cluster.create_database("shop").unwrap();
    cluster.psql("shop", SCHEMA).unwrap();
    let ground = Ground::new();
    ground.write("media/a", "a");
    ground.write("settings", "s");
    let site = ground.site(&plan(&cluster.connect_string("shop")));
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    let order: Vec<_> = report.assets.iter().map(|asset| asset.asset.as_str()).collect();
    assert_eq!(order, ["settings", "database", "media"]);
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap().points;
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].members.iter().filter(|m| m.role == Role::Database).count(), 1);
    assert!(points[0].missing.is_empty());
    cluster.psql("shop", "DELETE FROM orders WHERE id > 10").unwrap();
    let asset = only_database(&site).unwrap();
    let at = At::parse(&points[0].name).unwrap();
    let restored = restore_in_place(&site, asset.as_str(), at).unwrap();
    let database = restored.database.unwrap();
    assert_eq!((database.tables, database.rows), (1, 1000));
    assert_eq!(cluster.psql("shop", "SELECT count(*) FROM orders").unwrap().trim(), "1000");
    let kept = database.kept_as.unwrap();
    assert_eq!(cluster.psql(&kept, "SELECT count(*) FROM orders").unwrap().trim(), "10");
    // Beside: the dump and what belongs to it, as files; stock restic finds the same.
    restore_to(&site, "database", At::Latest, &ground.path("back")).unwrap();
    let folder = ground.path("back/lifeboat/database/dump");
    for file in ["shop.dump", "shop.tables.json", "globals.sql"] {
        assert!(fs::metadata(folder.join(file)).unwrap().len() > 0, "{file}");
    }
    let restic = Restic::new(ground.path("first/repo"), ground.key.spelled().expose());
    restic.check_read_data().unwrap();
    // The whole cluster is lost: roles and database come back into an empty one.
    cluster.destroy().unwrap();
    cluster.make_anew().unwrap();
    let restored = restore_in_place(&site, "database", At::Latest).unwrap();
    let database = restored.database.unwrap();
    assert_eq!((database.kept_as.as_ref(), database.rows), (None, 1000));
    assert!(database.roles_created.contains(&"shop_owner".to_owned()), "{database:?}");
}

#[test]
fn single_tables_come_out_of_a_dump_as_files_that_psql_loads() {
    let cluster = Cluster::start().unwrap();
    cluster.create_database("shop").unwrap();
    let odd = r#"CREATE SCHEMA archive; CREATE TABLE archive.orders (id int);
        CREATE TABLE public."Odd/ Name" (note text); INSERT INTO "Odd/ Name" VALUES (E'a\nb'), ('\.'), (NULL)"#;
    cluster.psql("shop", &format!("{SCHEMA} {odd}")).unwrap();
    let ground = Ground::new();
    ground.write("media/a", "a");
    ground.write("settings", "s");
    let site = ground.site(&plan(&cluster.connect_string("shop")));
    back_up(&site).unwrap();
    cluster.psql("shop", "DELETE FROM public.orders; DROP TABLE \"Odd/ Name\"").unwrap();
    let names = ["public.orders", "\"Odd/ Name\""].map(str::to_owned).to_vec();
    let to = Destination::Tables(names, ground.path("back"));
    let report = restore_into(&site, "database", At::Latest, to).unwrap();
    assert_eq!(report.tables.iter().map(|table| table.rows).collect::<Vec<_>>(), [1000, 3]);
    assert!(report.tables.iter().all(|table| table.file.parent() == Some(&ground.path("back"))));
    cluster.create_database("beside").unwrap();
    for table in &report.tables {
        cluster.psql("beside", &fs::read_to_string(&table.file).unwrap()).unwrap();
    }
    assert_eq!(cluster.psql("beside", "SELECT sum(id) FROM public.orders").unwrap(), "500500");
    let odd = cluster.psql("beside", r#"SELECT count(*), count(note) FROM "Odd/ Name""#);
    assert_eq!(odd.unwrap(), "3|2");
    for (table, word) in [("orders", "archive.orders, public.orders"), ("lost", "has no table")] {
        let to = Destination::Tables(vec![table.to_owned()], ground.path("other"));
        let error = restore_into(&site, "database", At::Latest, to).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.hint().unwrap().to_string().contains("--table"), "{error}");
    }
    assert!(!ground.path("other").exists(), "nothing is begun that cannot be done");
    let to = Destination::Tables(vec!["public.orders".to_owned()], ground.path("back"));
    let error = restore_into(&site, "database", At::Latest, to).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    let to = Destination::Tables(vec!["orders".to_owned()], ground.path("other"));
    let error = restore_into(&site, "media", At::Latest, to).unwrap_err();
    assert!(error.to_string().contains("which is no database"), "{error}");
}

#[test]
fn a_database_that_is_down_fails_alone() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    ground.write("settings", "s");
    let connect = format!("host={} dbname=shop", ground.home.path().display());
    let report = back_up(&ground.site(&plan(&connect))).unwrap();
    assert_eq!((report.ending, report.exit()), (Ending::Failed, Exit::Failed));
    let endings: Vec<_> =
        report.assets.iter().map(|asset| (asset.asset.as_str(), asset.ending)).collect();
    assert_eq!(
        endings,
        [
            ("settings", Ending::Succeeded),
            ("database", Ending::Failed),
            ("media", Ending::Succeeded)
        ]
    );
    assert!(!messages(&report).is_empty());
}

/// A host whose files contain those of its database server.
const FILES_AND_SERVER: &str = r#"
[assets.system]
kind = "files"
paths = ["PATH"]
CONNECT
[tiers.primary]
url = "file://HOME/first"
[schedules.daily]
cron = "0 2 * * *"
assets = ["*"]
to = ["primary"]
"#;

/// A running server below `system/pg` of a host, whose path also holds a file.
fn server_among_files(ground: &Ground) -> Cluster {
    // The server's own user has to come through to its data.
    fs::set_permissions(ground.home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    ground.write("system/etc", "etc");
    let data = ground.path("system/pg/15/main");
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    Cluster::start_with(&ClusterOptions::default().data(data)).unwrap()
}

#[test]
fn the_data_of_a_running_server_is_left_out_and_said() {
    let ground = Ground::new();
    let cluster = server_among_files(&ground);
    // Also where the plan's path is a way through a link, which no server tells.
    symlink(ground.home.path(), ground.path("link")).unwrap();
    let connect = cluster.connect_string("postgres");
    let database = format!("[assets.database]\nkind = \"postgres\"\nconnect = \"{connect}\"");
    for (connect, path) in [("", "HOME/system"), (&*database, "HOME/link/system")] {
        let site = ground.site(&FILES_AND_SERVER.replace("CONNECT", connect).replace("PATH", path));
        let report = back_up(&site).unwrap();
        assert_eq!((report.ending, report.exit()), (Ending::Succeeded, Exit::Done), "{report:#?}");
        let path = PathBuf::from(path.replace("HOME", ground.home.path().to_str().unwrap()));
        let system = report.assets.iter().find(|a| a.asset.as_str() == "system").unwrap();
        assert_eq!(system.remarks, [Remark::LiveDatabase { path: path.join("pg/15/main") }]);
        assert_eq!(system.counts.unwrap().files(), 1);
        let back = ground.path("back").join(connect.len().to_string());
        restore_to(&site, "system", At::Latest, &back).unwrap();
        let restored = back.join(path.strip_prefix("/").unwrap());
        assert!(restored.join("etc").is_file());
        assert!(restored.join("pg/15").is_dir() && !restored.join("pg/15/main").exists());
        ground.pass(60);
    }
}

#[test]
fn a_file_asset_that_is_the_data_of_a_running_server_is_refused() {
    let ground = Ground::new();
    let mut cluster = server_among_files(&ground);
    for path in ["HOME/system/pg/15/main", "HOME/system/pg/15/main/base"] {
        let site = ground.site(&FILES_AND_SERVER.replace("CONNECT", "").replace("PATH", path));
        let report = back_up(&site).unwrap();
        assert_eq!((report.ending, report.exit()), (Ending::Failed, Exit::Usage), "{report:#?}");
        assert!(messages(&report)[0].contains("PostgreSQL server that runs"), "{report:#?}");
        let hint = report.assets[0].stages[0].hint.as_deref().unwrap();
        assert!(hint.contains("kind = \"postgres\""), "{hint}");
    }
    // Without its server it is files like others.
    cluster.stop().unwrap();
    let plan = FILES_AND_SERVER.replace("CONNECT", "").replace("PATH", "HOME/system");
    let report = back_up(&ground.site(&plan)).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    assert!(report.assets[0].remarks.is_empty() && report.assets[0].counts.unwrap().files() > 100);
}

#[test]
fn a_backup_without_its_log_is_not_published() {
    // The server believes that it archives, and nothing arrives.
    let cluster = Cluster::start_with(&ClusterOptions::default().archive_command("true")).unwrap();
    let ground = Ground::new();
    ground.write("media/a", "a");
    ground.write("settings", "s");
    let text = plan(&cluster.connect_string("postgres"));
    let wal = "base = \"physical\"\nwal = { mode = \"archive\", to = [\"primary\"] }";
    let text = text.replace("kind = \"postgres\"", &format!("kind = \"postgres\"\n{wal}"));
    let site = ground.site(&text);
    let assets = vec!["database".parse().unwrap()];
    let options = BackupOptions { assets, ..BackupOptions::default() };
    let report = backup(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!((report.ending, report.exit()), (Ending::Failed, Exit::Failed), "{report:#?}");
    assert!(messages(&report)[0].contains("is not in the archive on `primary`"), "{report:#?}");
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap().points;
    assert!(points.is_empty(), "{points:#?}");
    // Without any archive it is refused before the server is asked.
    let site = ground.site(&text.replace(wal, "base = \"physical\""));
    let report = backup(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert!(messages(&report)[0].contains("of no use without the log"), "{report:#?}");
}
