//! A server whose settings lie in `/etc/postgresql`, as Debian's tools make it, comes back on a machine that has
//! none of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_testing::postgres::ClusterOptions;

use crate::ownership::{give_away, write};
use crate::recovery::Shop;

/// A cluster of `pg_createcluster`, dropped with all of its files.
struct DebianCluster {
    version: String,
    name: String,
    settings: PathBuf,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

impl DebianCluster {
    fn create(bin: &Path, data: &Path, sockets: &Path) -> Self {
        let version = bin.parent().and_then(Path::file_name).unwrap();
        let version = version.to_str().unwrap().to_owned();
        let name = format!("lifeboat{}", std::process::id());
        let settings = Path::new("/etc/postgresql").join(&version).join(&name);
        let cluster = Self { version, name, settings };
        let (data, sockets) = (data.to_str().unwrap(), sockets.to_str().unwrap());
        let mut arguments = vec!["--datadir", data, "--socketdir", sockets, "--port", "5432"];
        arguments.extend(["--start-conf", "manual", &cluster.version, &cluster.name]);
        arguments.extend(["--", "--wal-segsize=1", "--no-sync"]);
        run("pg_createcluster", &arguments);
        cluster
    }

    fn control(&self, action: &str) {
        run("pg_ctlcluster", &["--skip-systemctl-redirect", &self.version, &self.name, action]);
    }
}

impl Drop for DebianCluster {
    fn drop(&mut self) {
        drop(Command::new("pg_dropcluster").args(["--stop", &self.version, &self.name]).output());
        // It leaves what its own tools did not write.
        drop(fs::remove_dir_all(&self.settings));
    }
}

#[test]
fn settings_of_debian_go_along_and_start_the_server_on_a_bare_machine() {
    let shop = Shop::with(ClusterOptions::default());
    let push = shop.sql("SHOW archive_command");
    let sockets = shop.at("sockets");
    fs::create_dir(&sockets).unwrap();
    give_away(&sockets);
    let debian = DebianCluster::create(shop.cluster.bin_dir(), &shop.at("debian"), &sockets);
    // One file more that is included from elsewhere, by its whole path.
    let elsewhere = shop.at("elsewhere.conf");
    write(&elsewhere, "work_mem = '7MB'\n", 0o644);
    let more = debian.settings.join("conf.d/lifeboat.conf");
    let text = format!(
        "archive_mode = on\narchive_command = '{push}'\ninclude '{}'\nmaintenance_work_mem = '33MB'\n",
        elsewhere.display()
    );
    write(&more, &text, 0o644);
    give_away(&more);
    give_away(&elsewhere);
    let connect = format!("host={} port=5432 user=postgres dbname=postgres", sockets.display());
    let plan = fs::read_to_string(shop.at("plan.toml")).unwrap();
    let plan = plan.replace(&shop.cluster.connect_string("postgres"), &connect);
    write(&shop.at("plan.toml"), &plan, 0o644);
    debian.control("start");
    let psql = |sql: &str| {
        let mut psql = shop.cluster.command("psql");
        psql.env("PGHOST", &sockets).args(["-XAtq", "--dbname", "postgres", "--command", sql]);
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    psql("CREATE TABLE ledger (n int)");
    shop.back_up();
    psql("INSERT INTO ledger VALUES (1), (2)");
    let segment = psql("SELECT pg_walfile_name(pg_switch_wal())");
    let archived = format!(
        "SELECT pg_sleep(0.05), coalesce(last_archived_wal >= '{segment}', false) FROM pg_stat_archiver"
    );
    while !psql(&archived).ends_with("|t") {}
    // The machine is gone, and what was in its /etc as well.
    drop(debian);
    fs::remove_file(&elsewhere).unwrap();
    let recovered = shop.recover("latest", "bare", &[]);
    assert_eq!(recovered.rows(), [1, 2]);
    let shown = "SELECT current_setting('work_mem'), current_setting('maintenance_work_mem')";
    assert_eq!(recovered.sql(shown), "7MB|33MB");
    let within = format!("{}/", recovered.data.display());
    for file in ["config_file", "hba_file", "ident_file", "data_directory"] {
        let path = recovered.sql(&format!("SHOW {file}")) + "/";
        assert!(path.starts_with(&within), "{file} is {path}");
    }
    recovered.stop();
}
