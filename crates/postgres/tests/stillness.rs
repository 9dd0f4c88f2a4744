//! What real servers say of whether their data changed.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use lifeboat_postgres::stillness::{Reading, Still};
use lifeboat_postgres::{ClientEnvironment, Conninfo, Server};
use lifeboat_testing::postgres::{Cluster, ClusterOptions, Release};
use tokio::runtime::Runtime;

fn still(cluster: &Cluster, runtime: &Runtime) -> Still {
    let environment = ClientEnvironment::new("/usr/bin:/bin");
    let conninfo = Conninfo::parse(&cluster.connect_string("postgres"), &environment).unwrap();
    runtime.block_on(async {
        let server = Server::connect(&conninfo, &environment).await.unwrap();
        Still::connect(&server).await.unwrap()
    })
}

#[test]
fn commits_change_a_reading_and_what_only_maintains_or_still_runs_does_not() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release);
        let options = options.setting("max_prepared_transactions", "2").segment_size_mib(1);
        let cluster = Cluster::start_with(&options).unwrap();
        let runtime = Runtime::new().unwrap();
        let still = still(&cluster, &runtime);
        let read = || runtime.block_on(still.read()).unwrap().unwrap();
        let sql = |sql: &str| cluster.psql("postgres", sql).unwrap();
        sql("CREATE TABLE rows (n int); CREATE SEQUENCE numbers");
        let first = read();
        assert!(first.is_settled && first.is_being_written(first.committed_before));
        let same = |reading: &Reading| reading.next == first.next && reading.is_settled;
        sql("CHECKPOINT");
        sql("SELECT count(*) FROM rows");
        sql("ANALYZE pg_catalog.pg_class; SELECT pg_stat_clear_snapshot()");
        let later = read();
        assert!(later.committed_before > first.committed_before, "a checkpoint writes, too");
        for change in ["INSERT INTO rows VALUES (1)", "SELECT nextval('numbers')", "TRUNCATE rows"]
        {
            let before = read();
            sql(change);
            let after = read();
            assert!(after.next > before.next && after.is_settled, "{change}: {before:?} {after:?}");
        }
        assert!(!same(&read()));
        sql("BEGIN; INSERT INTO rows VALUES (2); PREPARE TRANSACTION 'two'");
        let prepared = read();
        sql("INSERT INTO rows VALUES (3)");
        assert!(!read().is_settled, "an older one may still commit");
        sql("COMMIT PREPARED 'two'");
        let committed = read();
        assert!(committed.is_settled && committed.next > prepared.next);
        runtime.block_on(still.end_segment()).unwrap();
        let ended = read();
        assert_eq!(ended.next, committed.next);
        assert!(!ended.is_being_written(committed.committed_before));
    }
}

#[test]
fn a_standby_has_nothing_to_say() {
    let mut primary = Cluster::start().unwrap();
    let standby = primary.start_standby().unwrap();
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.block_on(still(&standby, &runtime).read()).unwrap(), None);
}
