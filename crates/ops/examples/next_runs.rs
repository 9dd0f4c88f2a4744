//! Measures how long it takes to compute the next runs of ten thousand schedules: `make bench-schedule`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use lifeboat_model::{Clock as _, SystemClock};
use lifeboat_ops::schedule::{Conditions, History, Past, Task, due, next_runs};
use lifeboat_plan::{Facts, SourceFile, load};

const SCHEDULES: usize = 10_000;
const ROUNDS: u32 = 20;

const HEAD: &str = r#"
format = 1
[plan]
name = "Large"
site = "large"
[key]
env = "KEY"
[assets.files]
kind = "files"
paths = ["/srv"]
[tiers.near]
url = "file:///backups/near"
"#;

const ZONES: [&str; 3] = ["UTC", "Europe/Berlin", "America/New_York"];

fn text() -> String {
    let mut text = HEAD.to_owned();
    for number in 0..SCHEDULES {
        let (minute, hour, zone) = (number % 60, number % 24, ZONES[number % 3]);
        let cron = match number % 4 {
            0 => format!("{minute} * * * *"),
            1 => format!("{minute} {hour} * * *"),
            2 => format!("{minute} {hour} * * SUN"),
            _ => format!("{minute} {hour} * * SAT#1"),
        };
        write!(
            text,
            "[schedules.s{number}]\ncron = \"{cron}\"\ntz = \"{zone}\"\njitter = \"5m\"\nassets = [\"files\"]\nto = [\"near\"]\n"
        )
        .expect("a text takes all");
    }
    text
}

#[expect(clippy::print_stdout, reason = "it prints what it measured")]
fn main() {
    let now = SystemClock.now();
    let source = SourceFile { path: "plan.toml".to_owned(), text: text() };
    let files = BTreeMap::<String, String>::new();
    let plan = load(source, &files, &Facts::default(), now).expect("it is a plan").plan;
    let history: History =
        Task::all(&plan).into_iter().map(|task| (task, Past::since(now))).collect();
    let conditions = Conditions::default();
    let time = |name: &str, work: &dyn Fn() -> usize| {
        let began = Instant::now();
        let count: usize = (0..ROUNDS).map(|_| work()).sum();
        let each = began.elapsed() / ROUNDS;
        println!("{name}: {:.1} ms for {} runs", each.as_secs_f64() * 1e3, count / ROUNDS as usize);
    };
    time("next runs", &|| next_runs(&plan, &history, &conditions, now).len());
    time("due", &|| due(&plan, &history, &conditions, now).len());
}
