//! A real database: backed up, spoilt, brought back, compared.

use std::fs;

use lifeboat_model::{Cancel, Exit, Silent};
use lifeboat_ops::backup::{BackupOptions, backup};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::point::{At, Role};
use lifeboat_ops::restore::only_database;
use lifeboat_testing::postgres::Cluster;
use lifeboat_testing::restic::Restic;

use crate::ground::{Ground, back_up, messages, restore_in_place, restore_to};

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

#[test]
fn a_base_backup_is_not_built_yet() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    ground.write("settings", "s");
    let text = plan("host=/nowhere dbname=shop")
        .replace("kind = \"postgres\"", "kind = \"postgres\"\nbase = \"physical\"");
    let site = ground.site(&text);
    let assets = vec!["database".parse().unwrap()];
    let options = BackupOptions { assets, to: Vec::new() };
    let report = backup(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!((report.ending, report.exit()), (Ending::NotBuilt, Exit::NotBuilt));
}
