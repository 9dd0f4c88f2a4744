//! Control files, pages, records and histories of real servers, beside what the servers say themselves.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lifeboat_model::{Lsn, Timestamp};
use lifeboat_postgres::control::{ClusterState, ControlFile, WalLevel, invalidate_checkpoint};
use lifeboat_postgres::page::{BlockNumber, Checksums, PAGE_LENGTH, PageVerdict, judge};
use lifeboat_postgres::timeline::TimelineHistory;
use lifeboat_postgres::wal::times::SegmentEnd;
use lifeboat_postgres::wal::{
    Event, RecordReader, SegmentName, SegmentSize, SegmentSummary, TimelineId, WalFileName,
};
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums, Release, Stop};

fn options(release: Release) -> ClusterOptions {
    ClusterOptions::default()
        .release(release)
        .checksums(PageChecksums::On)
        .segment_size_mib(1)
        .setting("full_page_writes", "on")
        .setting("track_commit_timestamp", "on")
        .setting("max_prepared_transactions", "7")
        .setting("autovacuum", "off")
}

fn ask(cluster: &Cluster, sql: &str) -> String {
    cluster.psql("postgres", sql).unwrap()
}

fn control_path(cluster: &Cluster) -> PathBuf {
    cluster.data_dir().join("global/pg_control")
}

fn control(cluster: &Cluster) -> ControlFile {
    ControlFile::parse(&std::fs::read(control_path(cluster)).unwrap()).unwrap()
}

/// What the server says about its control file, by the names that it has for it.
fn said(cluster: &Cluster) -> BTreeMap<String, String> {
    let rows = ["system", "checkpoint", "recovery", "init"].map(|part| {
        ask(
            cluster,
            &format!(
                "SELECT key || '=' || value FROM pg_control_{part}() c, jsonb_each_text(to_jsonb(c))"
            ),
        )
    });
    let rows = rows.iter().flat_map(|rows| rows.lines());
    rows.filter_map(|row| row.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_control_file_says_what_the_server_says() {
    for release in Release::ALL {
        let mut cluster = Cluster::start_with(&options(release)).unwrap();
        ask(&cluster, "CHECKPOINT");
        let (control, said) = (control(&cluster), said(&cluster));
        let text =
            |name: &str| said.get(name).unwrap_or_else(|| panic!("{name}: {said:?}")).as_str();
        assert_eq!(control.system_id.to_string(), text("system_identifier"));
        assert_eq!(control.version.control.to_string(), text("pg_control_version"));
        assert_eq!(control.version.catalog.to_string(), text("catalog_version_no"));
        assert_eq!(control.written, moment(text("pg_control_last_modified")));
        assert_eq!(control.checkpoint_lsn, text("checkpoint_lsn").parse().unwrap());
        let checkpoint = control.checkpoint;
        assert_eq!(checkpoint.redo, text("redo_lsn").parse().unwrap());
        assert_eq!(checkpoint.timeline.to_string(), text("timeline_id"));
        assert_eq!(checkpoint.previous_timeline.to_string(), text("prev_timeline_id"));
        assert_eq!(checkpoint.time, moment(text("checkpoint_time")));
        assert_eq!(format!("0:{}", checkpoint.next_transaction), text("next_xid"));
        assert_eq!(control.min_recovery, text("min_recovery_end_lsn").parse().unwrap());
        assert_eq!(control.min_recovery_timeline.to_string(), text("min_recovery_end_timeline"));
        assert_eq!(control.backup_start, text("backup_start_lsn").parse().unwrap());
        assert_eq!(control.backup_end, text("backup_end_lsn").parse().unwrap());
        assert_eq!(
            control.is_backup_end_required.to_string(),
            text("end_of_backup_record_required")
        );
        assert_eq!(control.page_length.to_string(), text("database_block_size"));
        assert_eq!(control.file_pages.to_string(), text("blocks_per_segment"));
        assert_eq!(control.wal_page_length.to_string(), text("wal_block_size"));
        assert_eq!(control.segment_size.bytes().to_string(), text("bytes_per_wal_segment"));
        assert_eq!(control.checksum_version.to_string(), text("data_page_checksum_version"));
        assert_eq!(
            (control.state, control.wal_level),
            (ClusterState::InProduction, WalLevel::Replica)
        );
        assert_eq!((control.limits.connections, control.limits.prepared_transactions), (40, 7));
        assert_eq!((control.limits.wal_senders, control.limits.worker_processes), (10, 8));
        assert_eq!(control.limits.locks_per_transaction, 64);
        assert!(control.tracks_commit_timestamps);
        assert_eq!(control.checksums(), Checksums::On);
        let major = ask(&cluster, "SELECT current_setting('server_version_num')::int / 10000");
        assert_eq!(control.version.major.to_string(), major);
        cluster.stop().unwrap();
        assert_eq!(self::control(&cluster).state, ClusterState::ShutDown);
    }
}

#[test]
fn a_cluster_does_not_start_from_an_invalid_checkpoint_without_its_label() {
    for release in Release::ALL {
        let mut cluster = Cluster::start_with(&options(release)).unwrap();
        ask(&cluster, "CREATE TABLE t AS SELECT 42 AS n");
        // The label of a backup that is all of the directory as it lies there after a crash.
        let label = ask(
            &cluster,
            "SELECT pg_backup_start('all', true) \\g /dev/null\nSELECT labelfile FROM pg_backup_stop(false)",
        );
        cluster.stop_by(Stop::Immediate).unwrap();
        let mut file = std::fs::read(control_path(&cluster)).unwrap();
        invalidate_checkpoint(&mut file).unwrap();
        overwrite(&control_path(&cluster), &file);
        assert!(cluster.start_again().is_err());
        let log = std::fs::read_to_string(cluster.log()).unwrap();
        assert!(log.contains("could not locate a valid checkpoint record"), "{log}");
        // A label where one of the files lies already that belong to the server's user.
        let place = cluster.data_dir().join("PG_VERSION");
        std::process::Command::new("cp")
            .arg("-p")
            .arg(place)
            .arg(label_path(&cluster))
            .status()
            .unwrap();
        overwrite(&label_path(&cluster), format!("{label}\n").as_bytes());
        cluster.start_again().unwrap();
        assert_eq!(ask(&cluster, "SELECT n FROM t"), "42");
    }
}

fn label_path(cluster: &Cluster) -> PathBuf {
    cluster.data_dir().join("backup_label")
}

/// Writes into a file that stays its owner's.
fn overwrite(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = std::fs::File::options().write(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Every page of every relation, as the server left it.
#[test]
fn pages_of_real_relations_are_valid_and_damaged_ones_are_not() {
    for release in Release::ALL {
        let mut cluster = Cluster::start_with(&options(release)).unwrap();
        ask(
            &cluster,
            "CREATE TABLE t (n int PRIMARY KEY, words tsvector);
             INSERT INTO t SELECT n, to_tsvector('simple', md5(n::text)) FROM generate_series(1, 20000) n;
             CREATE INDEX ON t USING gin (words); CREATE INDEX ON t USING brin (n);
             CREATE INDEX ON t USING hash (n); VACUUM t",
        );
        cluster.stop().unwrap();
        let (mut valid, mut new) = (0, 0);
        for database in std::fs::read_dir(cluster.data_dir().join("base")).unwrap() {
            for file in std::fs::read_dir(database.unwrap().path()).unwrap() {
                let file = file.unwrap();
                if !file
                    .file_name()
                    .to_str()
                    .unwrap()
                    .starts_with(|first: char| first.is_ascii_digit())
                {
                    continue;
                }
                let bytes = std::fs::read(file.path()).unwrap();
                for (number, page) in (0..).zip(bytes.chunks(PAGE_LENGTH)) {
                    match judge(page, BlockNumber(number), Checksums::On) {
                        PageVerdict::Valid => valid += 1,
                        PageVerdict::New => new += 1,
                        PageVerdict::Invalid(fault) => {
                            panic!("{}: {number}: {fault}", file.path().display())
                        }
                    }
                    let elsewhere = judge(page, BlockNumber(number + 1), Checksums::On);
                    assert!(!matches!(elsewhere, PageVerdict::Valid));
                }
            }
        }
        assert!(valid > 3000, "{valid} valid, {new} new");
    }
}

/// All of the log that lies in `pg_wal`, each segment by its name, in order.
fn log(cluster: &Cluster) -> Vec<(SegmentName, Vec<u8>)> {
    let entries = std::fs::read_dir(cluster.data_dir().join("pg_wal")).unwrap().map(Result::unwrap);
    let mut segments: Vec<_> = entries
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<SegmentName>().ok()?, entry.path()))
        })
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect();
    segments.sort();
    segments
}

/// Commits of many sizes, some of them over the ends of pages and segments, and prepared ones.
const TRAFFIC: &str = "
    CREATE TABLE t (n int, filler text);
    DO $$ BEGIN FOR n IN 1..400 LOOP
        INSERT INTO t VALUES (n, repeat(md5(n::text), n % 200)); COMMIT;
    END LOOP; END $$;
    BEGIN; INSERT INTO t VALUES (0); PREPARE TRANSACTION 'later';
    BEGIN; INSERT INTO t VALUES (0); PREPARE TRANSACTION 'never';
    BEGIN; INSERT INTO t VALUES (-1); SAVEPOINT a; INSERT INTO t VALUES (-2); ROLLBACK TO a;
    DROP TABLE IF EXISTS nothing; CREATE TABLE u (); COMMIT;
    COMMIT PREPARED 'later'; ROLLBACK PREPARED 'never';
    BEGIN; INSERT INTO t VALUES (-3); DROP TABLE u; ROLLBACK;";

#[test]
fn commits_and_restore_points_are_those_that_the_server_knows() {
    for release in Release::ALL {
        let mut cluster = Cluster::start_with(&options(release)).unwrap();
        ask(&cluster, TRAFFIC);
        let point = ask(&cluster, "SELECT pg_create_restore_point('before the migration')");
        let end: Lsn = ask(&cluster, "SELECT pg_current_wal_insert_lsn()").parse().unwrap();
        ask(&cluster, "SELECT pg_switch_wal()");
        let known = ask(
            &cluster,
            "SELECT xid, to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ')
             FROM (SELECT DISTINCT xmin AS x FROM t) t, pg_xact_commit_timestamp(x) AS timestamp,
                  text(x) AS xid WHERE timestamp IS NOT NULL",
        );
        cluster.stop_by(Stop::Immediate).unwrap();
        let segments = log(&cluster);
        let (mut reader, mut commits, mut points) =
            (RecordReader::new(), BTreeMap::new(), Vec::new());
        let (mut aborted, mut prepared) = (0, 0);
        let major = control(&cluster).version.major;
        for (_, segment) in &segments {
            let state = reader.read(segment, |record| match Event::of(record, major) {
                Some(Event::Commit(one)) => drop(commits.insert(one.xid.unwrap(), one.time)),
                Some(Event::RestorePoint(point)) => points.push(point),
                Some(Event::Abort(one)) => aborted += u32::from(one.xid.unwrap() > 0),
                Some(Event::Prepare(_)) => prepared += 1,
                _ => {}
            });
            if state != Ok(lifeboat_postgres::wal::record::LogState::GoesOn) {
                break;
            }
        }
        assert!(segments.len() > 2 && known.lines().count() > 400, "{known}");
        for row in known.lines() {
            let (xid, time) = row.split_once('|').unwrap();
            assert_eq!(commits.get(&xid.parse().unwrap()), Some(&moment(time)), "{xid}");
        }
        // A rolled back savepoint has a record of its own.
        assert_eq!((aborted, prepared), (3, 2));
        assert_eq!(points.len(), 1);
        assert_eq!(
            (points[0].name.as_str(), points[0].lsn),
            ("before the migration", point.parse().unwrap())
        );
        assert!(reader.records_end().unwrap() >= end);
        summaries_find_the_same(&segments, &commits, major);
    }
}

/// Each segment summarised alone, and what two share added, is what one reader found in all of them.
fn summaries_find_the_same(
    segments: &[(SegmentName, Vec<u8>)],
    commits: &BTreeMap<u32, Timestamp>,
    major: u32,
) {
    let (mut count, mut latest, mut points) = (0, None, 0);
    let mut before: Option<SegmentSummary> = None;
    for (name, segment) in segments {
        let Ok(alone) = SegmentSummary::of_partial(*name, segment) else { break };
        let summary =
            before.as_ref().map_or_else(|| alone.clone(), |before| alone.clone().after(before));
        assert_eq!(summary.major, major);
        count += summary.commits.map_or(0, |times| times.count);
        latest = latest.max(summary.commits.map(|times| times.latest));
        points += summary.restore_points.len();
        let is_open = summary.end == SegmentEnd::Open;
        before = Some(alone);
        if is_open {
            break;
        }
    }
    assert_eq!(count, commits.len() as u64);
    assert_eq!(latest, commits.values().max().copied());
    assert_eq!(points, 1);
}

#[test]
fn a_promotion_writes_a_history_that_is_read() {
    for release in Release::ALL {
        let mut cluster = Cluster::start_with(&options(release)).unwrap();
        ask(&cluster, "CREATE TABLE t AS SELECT 42 AS n; CHECKPOINT");
        cluster.stop().unwrap();
        let signal = cluster.data_dir().join("standby.signal");
        let version = cluster.data_dir().join("PG_VERSION");
        std::process::Command::new("cp").arg("-p").arg(version).arg(signal).status().unwrap();
        cluster.start_again().unwrap();
        assert_eq!(ask(&cluster, "SELECT pg_promote()"), "t");
        let end = ask(&cluster, "SELECT pg_current_wal_insert_lsn()");
        let file = std::fs::read(cluster.data_dir().join("pg_wal/00000002.history")).unwrap();
        let history = TimelineHistory::parse(TimelineId(2), &file).unwrap();
        let parent = history.parent().unwrap();
        assert_eq!(
            (parent.timeline, parent.reason.as_str()),
            (TimelineId(1), "no recovery target specified")
        );
        assert!(parent.end <= end.parse().unwrap());
        assert_eq!(history.timeline_at(end.parse().unwrap()), TimelineId(2));
        // The new timeline's segment begins with the pages of the old one.
        let name = SegmentName::of(TimelineId(2), parent.end, SegmentSize::MIN);
        let segment =
            std::fs::read(cluster.data_dir().join("pg_wal").join(name.to_string())).unwrap();
        let mut promoted = None;
        let mut reader = RecordReader::new();
        let major = control(&cluster).version.major;
        let _ = reader.read(&segment, |record| {
            if let Some(Event::EndOfRecovery { timeline, previous, .. }) = Event::of(record, major)
            {
                promoted = Some((record.start(), previous, timeline));
            }
        });
        assert_eq!(promoted, Some((first_place(parent.end), TimelineId(1), TimelineId(2))));
        let names = ["00000002.history", &name.to_string()].map(str::parse::<WalFileName>);
        assert_eq!(names, [Ok(WalFileName::History(TimelineId(2))), Ok(name.into())]);
    }
}

/// Where a record lies that begins at a position, which may be before a page's head.
fn first_place(lsn: Lsn) -> Lsn {
    match lsn.0 % 8192 {
        0 if SegmentSize::MIN.offset_of(lsn) == 0 => Lsn(lsn.0 + 40),
        0 => Lsn(lsn.0 + 24),
        _ => lsn,
    }
}
