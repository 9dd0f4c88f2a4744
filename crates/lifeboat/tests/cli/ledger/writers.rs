//! Clients that commit one transaction after the other, over connections that they keep.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use lifeboat_testing::postgres::Access;

use super::book::{Ended, Entry, now};
use crate::recovery::Ending;

/// How many clients there are.
const WRITERS: u32 = 3;

/// Every so many transactions one is rolled back.
const GIVEN_UP_EVERY: u32 = 7;

/// A `psql` that is spoken to.
struct Conversation {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Conversation {
    /// Connects; `None` while nobody is there.
    fn open(access: &Access) -> Option<Self> {
        let mut psql = access.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"]);
        psql.args(["--set", "ON_ERROR_STOP=1", "--dbname", "postgres", "--file", "-"]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = psql.spawn().unwrap();
        let (say, hear) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut conversation = Self { child, say, hear: BufReader::new(hear) };
        conversation.run("SELECT 1").then_some(conversation)
    }

    /// Runs SQL; `false` if no answer came, or a bad one, with which the conversation ends.
    fn run(&mut self, sql: &str) -> bool {
        if writeln!(self.say, "{sql};\n\\echo done").is_err() {
            return false;
        }
        loop {
            let mut line = String::new();
            match self.hear.read_line(&mut line) {
                Ok(0) | Err(_) => return false,
                Ok(_) if line == "done\n" => return true,
                Ok(_) => {}
            }
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Those who write, for somebody who waits until they wrote some more.
pub struct Writers<'a> {
    access: &'a Access,
    is_done: AtomicBool,
    committed: Mutex<usize>,
    more: Condvar,
}

impl Writers<'_> {
    /// Waits until so many more transactions were committed.
    pub fn wait_for(&self, count: usize) {
        let committed = self.committed.lock().unwrap();
        let wanted = *committed + count;
        drop(self.more.wait_while(committed, |committed| *committed < wanted).unwrap());
    }

    fn write(&self, writer: u32, first: u32) -> Vec<Entry> {
        let (mut entries, mut number) = (Vec::new(), first);
        let mut idle = None;
        while !self.is_done.load(Ordering::Relaxed) {
            let Some(mut conversation) = idle.take().or_else(|| Conversation::open(self.access))
            else {
                // Nobody is there to wait for.
                drop(Command::new("sleep").arg("0.05").status());
                continue;
            };
            let gives_up = number % GIVEN_UP_EVERY == 3;
            let end = if gives_up { "ROLLBACK" } else { "COMMIT" };
            let sql = format!(
                "BEGIN; INSERT INTO entries VALUES ({writer}, {number}); \
                 UPDATE counters SET n = n + 1 WHERE writer = {writer}; {end}"
            );
            let sent = now();
            let is_answered = conversation.run(&sql);
            let ended = match is_answered {
                _ if gives_up => Ended::GivenUp,
                true => Ended::Committed(now()),
                false => Ended::Unknown,
            };
            entries.push(Entry { key: (writer, number), sent, ended });
            number += 1;
            if is_answered {
                *self.committed.lock().unwrap() += 1;
                self.more.notify_all();
                idle = conversation.run("SELECT pg_sleep(0.008)").then_some(conversation);
            }
        }
        entries
    }
}

/// What is written to.
pub const TABLES: &str = "
    CREATE TABLE entries (writer int, n int, PRIMARY KEY (writer, n));
    CREATE TABLE counters AS SELECT writer, 0 AS n FROM generate_series(0, 9) writer;
    CREATE TABLE accounts AS SELECT n, 0 AS balance FROM generate_series(1, 500) n;
    CREATE UNIQUE INDEX ON accounts (n);
    CREATE TABLE transfers (a int, b int, amount int);";

/// Writes while something is done; each client numbers its transactions from `first` on.
pub fn write_during<T: Send>(
    access: &Access,
    first: u32,
    work: impl FnOnce(&Writers<'_>) -> T + Send,
) -> (T, Vec<Entry>) {
    let (is_done, committed, more) = (AtomicBool::new(false), Mutex::new(0), Condvar::new());
    let writers = Writers { access, is_done, committed, more };
    thread::scope(|scope| {
        let begin = |writer| {
            let writers = &writers;
            scope.spawn(move || writers.write(writer, first))
        };
        let clients: Vec<_> = (0..WRITERS).map(begin).collect();
        let ending = Ending(&writers.is_done);
        let result = work(&writers);
        drop(ending);
        let entries = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (result, entries)
    })
}

/// What `pgbench` does beside it: moves money between accounts, so that all of it together stays none.
const TRANSFER: &str = r"
\set a random(1, 400)
\set b :a + random(1, 100)
\set amount random(1, 100)
BEGIN;
UPDATE accounts SET balance = balance - :amount WHERE n = :a;
UPDATE accounts SET balance = balance + :amount WHERE n = :b;
INSERT INTO transfers VALUES (:a, :b, :amount);
COMMIT;
";

/// `pgbench` at work, until it is dropped or its server goes away.
pub struct Load(Child);

impl Load {
    pub fn start(access: &Access) -> Self {
        let mut pgbench = access.command("pgbench");
        pgbench.args(["--no-vacuum", "--client=2", "--rate=60", "--time=900", "--file=-"]);
        pgbench.arg("postgres");
        pgbench.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = pgbench.spawn().unwrap();
        child.stdin.take().unwrap().write_all(TRANSFER.as_bytes()).unwrap();
        Self(child)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It ends by itself when its server does.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
