//! Clients and `pgbench` write while backups run and things go wrong; then the server is recovered to random
//! times, and the [book](book::Book) that the clients kept says what has to be there.
//!
//! A seed decides what goes wrong and in which order, how long it lasts, and which times are recovered to, as
//! shares of the time in which was written. It is printed, and `LIFEBOAT_LEDGER_SEED` plays it again. What
//! the clients and the server do meanwhile is up to the machine: no two runs write the same log.

pub mod book;
pub mod writers;

use std::collections::BTreeSet;
use std::fs;

use lifeboat_model::Timestamp;
use lifeboat_testing::postgres::{Cluster, ClusterOptions, PageChecksums, Release, Stop};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::book::{Book, Key};
use self::writers::{Load, TABLES, Writers, write_during};
use crate::recovery::{Recovered, Shop};

/// What happens while is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Another base backup is made.
    Backup,
    /// The archive cannot be reached for a while.
    ArchiveAway,
    /// Whoever pushes is killed, twice.
    PusherKilled,
    /// The server crashes, by kill -9 or at once, and starts again.
    Crash,
    /// A standby is promoted; the old primary writes on for a while and does not know.
    Promotion,
}

/// A way in which a server lives on.
const SCENARIOS: [(&str, &[Event]); 6] = [
    ("backups run", &[Event::Backup, Event::Backup]),
    ("the archive is away for a while", &[Event::ArchiveAway]),
    ("the pusher is killed", &[Event::PusherKilled]),
    ("the server crashes", &[Event::Crash, Event::Crash]),
    ("a standby is promoted", &[Event::Promotion, Event::Backup]),
    (
        "everything, one after the other",
        &[
            Event::ArchiveAway,
            Event::Crash,
            Event::Promotion,
            Event::PusherKilled,
            Event::Backup,
            Event::Crash,
        ],
    ),
];

/// A server that is written to, what its clients know, and what befell it.
struct Play {
    shop: Shop,
    standby: Option<Cluster>,
    rng: StdRng,
    book: Book,
    /// From when on it can be recovered.
    begin: Timestamp,
    /// When something happened.
    moments: Vec<Timestamp>,
    phase: u32,
}

impl Play {
    fn begin(release: Release, seed: u64, events: &[Event]) -> Self {
        let options = ClusterOptions::default().release(release).checksums(PageChecksums::On);
        // What was acknowledged has to be in the log, also after a crash of the processes.
        let options = options.setting("synchronous_commit", "on").setting("full_page_writes", "on");
        let mut shop = Shop::with(options.setting("wal_keep_size", "256MB"));
        let is_promoted = events.contains(&Event::Promotion);
        let standby = is_promoted.then(|| shop.cluster.start_standby().unwrap());
        shop.sql(TABLES);
        let rng = StdRng::seed_from_u64(seed);
        let book = Book::default();
        Self { shop, standby, rng, book, begin: Timestamp::MIN, moments: Vec::new(), phase: 0 }
    }

    /// Makes a base backup while is written.
    fn back_up(&mut self) {
        let answer = self.write(|play, _| play.shop.back_up());
        if self.begin == Timestamp::MIN {
            let stopped = &answer["assets"][0]["base"]["stopped"];
            self.begin = stopped.as_str().unwrap().parse().unwrap();
        }
    }

    /// Writes before, while and after something is done.
    fn write<T: Send>(&mut self, work: impl FnOnce(&mut Self, &Writers<'_>) -> T + Send) -> T {
        let access = self.shop.cluster.access();
        self.phase += 1;
        let (result, entries) = write_during(&access, self.phase * 1_000_000, |writers| {
            let load = Load::start(&access);
            writers.wait_for(self.rng.random_range(50..150));
            self.moments.push(book::now());
            let result = work(self, writers);
            self.moments.push(book::now());
            drop(load);
            let load = Load::start(&access);
            writers.wait_for(self.rng.random_range(50..150));
            drop(load);
            result
        });
        self.book.add(entries);
        self.book.settle(&keys(&self.shop.sql(ENTRIES)));
        result
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Backup => self.back_up(),
            Event::ArchiveAway => self.write(|play, writers| {
                play.rename("primary", "away");
                play.shop.sql("SELECT pg_switch_wal()");
                writers.wait_for(play.rng.random_range(100..300));
                play.rename("away", "primary");
            }),
            Event::PusherKilled => self.write(|play, writers| {
                for _ in 0..2 {
                    play.kill_a_pusher(writers);
                }
            }),
            Event::Crash => self.write(|play, _| {
                let cluster = &mut play.shop.cluster;
                if play.rng.random() {
                    cluster.crash().unwrap();
                } else {
                    cluster.stop_by(Stop::Immediate).unwrap();
                }
                cluster.start_again().unwrap();
            }),
            Event::Promotion => self.promote(),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what a test takes away need not survive a crash"
    )]
    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.shop.at(from), self.shop.at(to)).unwrap();
    }

    /// Has segments archived until one of those who do it could be killed.
    fn kill_a_pusher(&self, writers: &Writers<'_>) {
        let plan = self.shop.at("plan.toml");
        loop {
            writers.wait_for(1);
            self.shop.sql("SELECT pg_switch_wal()");
            for _ in 0..200 {
                if let Some(pid) = pusher(plan.to_str().unwrap())
                    && kill(pid, Signal::SIGKILL).is_ok()
                {
                    return;
                }
            }
        }
    }

    /// Loses the primary to those who write, but not to itself.
    fn promote(&mut self) {
        self.write(|_, _| ());
        let standby = self.standby.take().expect("it was made when the play began");
        standby.catch_up_with(&self.shop.cluster).unwrap();
        standby.promote().unwrap();
        let old = self.shop.replace_cluster(standby);
        // Nobody told it: it goes on, and archives what is no part of what follows.
        old.psql("postgres", "INSERT INTO entries SELECT 9, generate_series(1, 100)").unwrap();
        old.psql("postgres", "SELECT pg_switch_wal()").unwrap();
        self.moments.push(book::now());
    }

    /// Recovers to random times and to the end, and holds what is there against the book.
    fn recover(mut self, times: usize) {
        self.shop.archive_all();
        let (count, end) = self.book.committed();
        assert!(count > 200, "{count} transactions are no load");
        let span = end.duration_since(self.begin).as_micros();
        for turn in 0..times {
            let moment = if turn % 3 == 2 {
                // Close to something that happened.
                let near = self.moments[self.rng.random_range(0..self.moments.len())];
                near.as_microsecond() + self.rng.random_range(-100_000..100_000)
            } else {
                let share = self.rng.random_range(0.0..1.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "it is a share of a short time"
                )]
                #[expect(clippy::cast_precision_loss, reason = "a microsecond is no loss")]
                let after = (span as f64 * share) as i64;
                self.begin.as_microsecond() + after
            };
            let moment = Timestamp::from_microsecond(moment).unwrap();
            let moment = moment.clamp(self.begin, end);
            let recovered = self.shop.recover(&moment.to_string(), &format!("at{turn}"), &[]);
            self.hold(&recovered, moment, &format!("{moment} ({turn})"));
            recovered.remove();
        }
        let latest = self.shop.recover("latest", "latest", &[]);
        self.hold(&latest, book::now(), "latest");
    }

    fn hold(&self, recovered: &Recovered<'_>, moment: Timestamp, what: &str) {
        let wrong = self.book.judge(moment, &keys(&recovered.sql(ENTRIES)));
        assert!(wrong.is_empty(), "{what}: {} wrong, first {}", wrong.len(), wrong[0]);
        let torn = recovered.sql(
            "SELECT count(*) FROM counters c
             WHERE n <> (SELECT count(*) FROM entries e WHERE e.writer = c.writer AND c.writer < 9)",
        );
        assert_eq!(torn, "0", "{what}: a transaction is there in part");
        let money = "SELECT sum(balance), (SELECT count(*) > 0 FROM transfers) FROM accounts";
        assert_eq!(recovered.sql(money), "0|t", "{what}: money was lost");
    }
}

/// What the server has of the clients' transactions.
pub const ENTRIES: &str = "SELECT writer, n FROM entries";

pub fn keys(rows: &str) -> BTreeSet<Key> {
    let key = |row: &str| {
        let (writer, number) = row.split_once('|').unwrap();
        (writer.parse().unwrap(), number.parse().unwrap())
    };
    rows.lines().map(key).collect()
}

/// Finds a process that pushes by a plan.
fn pusher(plan: &str) -> Option<Pid> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        let pushes = words.windows(2).any(|pair| pair == [b"wal".as_slice(), b"push".as_slice()]);
        (pushes && words.contains(&plan.as_bytes())).then(|| Pid::from_raw(pid))
    })
}

fn play(release: Release, seed: u64, events: &[Event], times: usize) {
    let mut play = Play::begin(release, seed, events);
    play.back_up();
    for event in events {
        play.happen(*event);
    }
    play.recover(times);
}

#[test]
fn after_trouble_each_transaction_is_there_or_not_as_its_client_knows() {
    play(Release::System, 1, &[Event::ArchiveAway, Event::Crash], 2);
}

/// Plays all scenarios, with every seed that is asked for.
fn play_all(release: Release) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("LIFEBOAT_LEDGER_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("LIFEBOAT_LEDGER_SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        for (name, events) in SCENARIOS {
            println!("{release:?}, seed {seed}: {name}");
            play(release, seed, events, 10);
        }
    }
}

#[test]
#[ignore = "it takes minutes; `make ledger` runs it"]
fn every_scenario_on_the_systems_version() {
    play_all(Release::System);
}

#[test]
#[ignore = "it takes minutes; `make ledger` runs it"]
fn every_scenario_on_version_18() {
    play_all(Release::Eighteen);
}
