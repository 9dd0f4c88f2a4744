//! The window in which a real server's files may be copied: what opens it, and what ends it.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use lifeboat_model::{Classify as _, ErrorKind, SystemClock};
use lifeboat_postgres::base::manifest::{HintBits, Origin};
use lifeboat_postgres::base::{BackupLabel, BaseError, Window};
use lifeboat_postgres::{ClientEnvironment, Conninfo, Server};
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums, Release};
use tokio::runtime::Runtime;

struct Ground {
    cluster: Cluster,
    runtime: Runtime,
}

impl Ground {
    fn new(options: &ClusterOptions) -> Self {
        let cluster = Cluster::start_with(options).unwrap();
        Self { cluster, runtime: Runtime::new().unwrap() }
    }

    fn open(&self) -> Result<Window, BaseError> {
        let environment = ClientEnvironment::new("/usr/bin:/bin");
        let text = self.cluster.connect_string("postgres");
        let conninfo = Conninfo::parse(&text, &environment).unwrap();
        self.runtime.block_on(async {
            let server = Server::connect(&conninfo, &environment).await?;
            Window::open(&server, "lifeboat test", &SystemClock).await
        })
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.psql("postgres", sql).unwrap()
    }
}

#[test]
fn a_window_tells_what_is_copied_and_closes_with_a_label() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release).checksums(PageChecksums::On);
        let ground = Ground::new(&options);
        let space = ground.cluster.make_directory("space").unwrap();
        ground.sql(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
        let window = ground.open().unwrap();
        let beginning = window.beginning().clone();
        assert_eq!(beginning.places.data, ground.cluster.data_dir());
        assert_eq!((beginning.origin, beginning.hint_bits), (Origin::Primary, HintBits::Logged));
        assert_eq!(beginning.places.tablespaces[0].location, space);
        let version = space.join(&beginning.places.version_directory);
        assert!(version.is_dir(), "{version:?}");
        ground.runtime.block_on(window.ping()).unwrap();
        let segment = ground.runtime.block_on(window.end_first_segment()).unwrap();
        let ended = ground.runtime.block_on(window.stop()).unwrap();
        let label = BackupLabel::parse(&ended.label).unwrap();
        assert_eq!((label.start, label.segment), (beginning.start, segment));
        assert_eq!(label.timeline, beginning.timeline);
        assert!(ended.stop > beginning.start && ended.stopped >= beginning.started);
        let map = String::from_utf8(ended.map).unwrap();
        assert!(map.ends_with(&format!(" {}\n", space.display())), "{map}");
    }
}

#[test]
fn a_backup_whose_session_is_lost_cannot_be_stopped() {
    for release in Release::ALL {
        let ground = Ground::new(&ClusterOptions::default().release(release));
        let window = ground.open().unwrap();
        ground.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lifeboat'",
        );
        let error = ground.runtime.block_on(window.stop()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let error = ground.runtime.block_on(window.stop()).unwrap_err();
        assert!(matches!(error, BaseError::SessionLost), "{error}");
        // The server knows of no backup any more, so the next one can be made.
        let window = ground.open().unwrap();
        ground.runtime.block_on(window.stop()).unwrap();
    }
}

#[test]
fn a_window_outlives_what_ends_idle_sessions() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release);
        let ground = Ground::new(&options.setting("idle_session_timeout", "200ms"));
        let window = ground.open().unwrap();
        // The server's clock cannot be simulated.
        ground.sql("SELECT pg_sleep(0.8)");
        ground.runtime.block_on(window.ping()).unwrap();
        ground.runtime.block_on(window.stop()).unwrap();
    }
}

#[test]
fn a_window_on_a_standby_says_so_and_ends_with_its_promotion() {
    for release in Release::ALL {
        let options = ClusterOptions::default().release(release).setting("full_page_writes", "on");
        let mut primary = Cluster::start_with(&options).unwrap();
        let cluster = primary.start_standby().unwrap();
        primary.psql("postgres", "CREATE TABLE t AS SELECT 1").unwrap();
        cluster.catch_up_with(&primary).unwrap();
        let ground = Ground { cluster, runtime: Runtime::new().unwrap() };
        let window = ground.open().unwrap();
        let beginning = window.beginning().clone();
        assert_eq!(beginning.origin, Origin::Standby);
        // It starts at a checkpoint that was replayed already.
        let replayed = ground.sql("SELECT pg_last_wal_replay_lsn()").parse().unwrap();
        assert!(beginning.start <= replayed, "{} {replayed}", beginning.start);
        // It cannot end a segment, and does not try.
        ground.runtime.block_on(window.end_first_segment()).unwrap();
        let ended = ground.runtime.block_on(window.stop()).unwrap();
        assert!(BackupLabel::parse(&ended.label).unwrap().is_from_standby);
        let window = ground.open().unwrap();
        ground.cluster.promote().unwrap();
        let error = ground.runtime.block_on(window.stop()).unwrap_err();
        assert!(matches!(error, BaseError::Promoted), "{error}");
    }
}

#[test]
fn a_server_whose_log_tells_too_little_is_refused() {
    let options =
        ClusterOptions::default().setting("wal_level", "minimal").setting("max_wal_senders", "0");
    let error = Ground::new(&options).open().unwrap_err();
    assert!(error.to_string().contains("wal_level = minimal"), "{error}");
    let ground = Ground::new(&ClusterOptions::default().checksums(PageChecksums::Off));
    assert_eq!(ground.open().unwrap().beginning().hint_bits, HintBits::Silent);
}
