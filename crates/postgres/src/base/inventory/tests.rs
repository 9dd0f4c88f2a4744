//! A data directory as a server leaves it, and what of it is backed up.

use super::*;
use std::os::unix::fs::symlink;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, length: u64) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::File::create(self.at(path)).unwrap().set_len(length).unwrap();
    }

    fn take(&self, tablespaces: Vec<Tablespace>) -> Inventory {
        let version_directory = "PG_15_202209061".to_owned();
        let places = Places { data: self.at("data"), tablespaces, version_directory };
        Inventory::take(&places).unwrap()
    }
}

fn paths(inventory: &Inventory) -> BTreeSet<&str> {
    inventory.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect()
}

fn tablespace(oid: u32, location: PathBuf) -> Tablespace {
    Tablespace { oid, name: format!("space{oid}"), location }
}

#[test]
fn what_a_server_needs_is_there_and_what_it_makes_anew_is_not() {
    let home = Home::new();
    for path in [
        "data/PG_VERSION",
        "data/postmaster.pid",
        "data/global/pg_control",
        "data/global/1262",
        "data/global/pg_internal.init",
        "data/base/5/1259",
        "data/base/5/1259.1",
        "data/base/5/1259_fsm",
        "data/base/5/pg_filenode.map",
        "data/base/5/16400",
        "data/base/5/16400_vm",
        "data/base/5/16400_init",
        "data/base/5/t3_16500",
        "data/base/pgsql_tmp/pgsql_tmp71.0",
        "data/pg_wal/000000010000000000000001",
        "data/pg_wal/archive_status/000000010000000000000001.done",
        "data/pg_replslot/shop/state",
        "data/pg_xact/0000",
    ] {
        home.put(path, 8192);
    }
    let inventory = home.take(Vec::new());
    let expected = [
        "pgdata",
        "pgdata/PG_VERSION",
        "pgdata/base",
        "pgdata/base/5",
        "pgdata/base/5/1259",
        "pgdata/base/5/1259.1",
        "pgdata/base/5/1259_fsm",
        "pgdata/base/5/16400_init",
        "pgdata/base/5/pg_filenode.map",
        "pgdata/global",
        "pgdata/global/1262",
        "pgdata/pg_replslot",
        "pgdata/pg_wal",
        "pgdata/pg_wal/archive_status",
        "pgdata/pg_xact",
        "pgdata/pg_xact/0000",
    ];
    assert_eq!(paths(&inventory), BTreeSet::from(expected));
    assert_eq!(inventory.totals(), (8, 8 * 8192));
    let relations = inventory.entries.iter().filter_map(|entry| match entry.kind {
        EntryKind::File { relation: Some(relation), .. } => Some(relation.to_string()),
        _ => None,
    });
    let relations: BTreeSet<_> = relations.collect();
    assert_eq!(
        relations,
        ["1259", "1259.1", "1259_fsm", "1262", "16400_init"].map(str::to_owned).into()
    );
}

#[test]
fn tablespaces_have_folders_of_their_own_and_no_other_servers_files() {
    let home = Home::new();
    home.put("data/PG_VERSION", 3);
    home.put("space/PG_15_202209061/5/16401", 8192);
    home.put("space/PG_14_202107181/5/16401", 8192);
    home.put("data/pg_tblspc/16402/PG_15_202209061/5/16403", 8192);
    symlink(home.at("space"), home.at("data/pg_tblspc/16400")).unwrap();
    let inventory = home.take(vec![
        tablespace(16400, home.at("space")),
        tablespace(16402, "pg_tblspc/16402".into()),
        tablespace(16404, home.at("gone")),
    ]);
    let found = paths(&inventory);
    let files: Vec<_> = found.into_iter().filter(|path| path.contains("1640")).collect();
    assert_eq!(
        files,
        [
            "tblspc/16400",
            "tblspc/16400/PG_15_202209061",
            "tblspc/16400/PG_15_202209061/5",
            "tblspc/16400/PG_15_202209061/5/16401",
            "tblspc/16402",
            "tblspc/16402/PG_15_202209061",
            "tblspc/16402/PG_15_202209061/5",
            "tblspc/16402/PG_15_202209061/5/16403",
        ]
    );
}

#[test]
fn links_are_what_they_lead_to_and_what_is_odd_is_named() {
    let home = Home::new();
    home.put("data/PG_VERSION", 3);
    home.put("elsewhere/server.key", 17);
    home.put("wal/000000010000000000000001", 17);
    symlink(home.at("elsewhere/server.key"), home.at("data/server.key")).unwrap();
    symlink(home.at("wal"), home.at("data/pg_wal")).unwrap();
    symlink(home.at("nowhere"), home.at("data/dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.at("data/.s")).unwrap();
    let inventory = home.take(Vec::new());
    assert_eq!(
        paths(&inventory),
        BTreeSet::from([
            "pgdata",
            "pgdata/PG_VERSION",
            "pgdata/pg_wal",
            "pgdata/pg_wal/archive_status",
            "pgdata/server.key"
        ])
    );
    let odd: Vec<_> = inventory.oddities.iter().map(|odd| odd.what).collect();
    assert_eq!(odd, ["neither file nor directory", "a link to nothing"]);
    symlink(home.at("data"), home.at("data/circle")).unwrap();
    let version_directory = String::new();
    let places = Places { data: home.at("data"), tablespaces: Vec::new(), version_directory };
    assert!(matches!(Inventory::take(&places), Err(BaseError::TooDeep { .. })));
}
