//! A process that is killed in the middle of writing leaves whole objects, and all that it was told
//! are stored.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use lifeboat_tiers::{LocalTier, ObjectPath, ObjectPrefix, PutMode, ReadRange, Tier};

/// Where the victim writes; without it the victim is an ordinary test that has nothing to do.
const FOLDER: &str = "LIFEBOAT_TEST_VICTIM_FOLDER";

/// Larger than what the system writes at once.
const BODY_BYTES: usize = 3 << 20;

/// How many puts are under way at once.
const WRITERS: u8 = 4;

fn body(number: u64, writer: u8) -> Bytes {
    let byte = u8::try_from(number % 200).expect("it fits") ^ writer;
    Bytes::from(vec![byte; BODY_BYTES])
}

fn path(number: u64, writer: u8) -> ObjectPath {
    format!("repo/data/{writer:02x}/{number}").parse().expect("it is a path")
}

/// Writes until it is killed, and says what is stored.
async fn write_forever(folder: &Path) {
    let tier = Arc::new(LocalTier::open(folder).expect("the folder is there"));
    let writers = (0..WRITERS).map(|writer| {
        let tier = Arc::clone(&tier);
        tokio::spawn(async move {
            for number in 0.. {
                let mode = if number % 2 == 0 { PutMode::Create } else { PutMode::Overwrite };
                let path = path(number, writer);
                tier.put(&path, body(number, writer), mode).await.expect("there is room");
                writeln!(std::io::stdout(), "stored {path}").expect("the parent listens");
            }
        })
    });
    futures::future::join_all(writers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        write_forever(Path::new(&folder)).await;
    }
}

/// Starts the victim, kills it after it said so many times that something is stored, and returns
/// all that it said.
fn kill_after(said: usize, folder: &Path) -> Vec<String> {
    let program = std::env::current_exe().expect("this test is a program");
    let mut victim = Command::new(program)
        .args(["--exact", "victim", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut output = BufReader::new(victim.stdout.take().expect("it was piped"));
    let mut text = String::new();
    let mut line = String::new();
    while text.matches("stored ").count() < said {
        line.clear();
        assert_ne!(
            output.read_line(&mut line).expect("it is text"),
            0,
            "it ended by itself: {text}"
        );
        text += &line;
    }
    victim.kill().expect("it runs");
    victim.wait().expect("it can be waited for");
    output.read_to_string(&mut text).expect("it is text");
    // The last line may have been cut off; what it was about to say does not count.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let told = whole.lines().filter_map(|line| line.split_once("stored "));
    told.map(|(_, path)| path.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_whole_objects() {
    for round in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let told = kill_after(1 + 3 * round, folder.path());
        let tier = LocalTier::open(folder.path()).unwrap();
        let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        for object in &listed {
            assert_eq!(object.size, BODY_BYTES as u64, "{} is a part", object.path);
            let found = tier.get(&object.path, ReadRange::Full).await.unwrap();
            let (writer, number) =
                object.path.as_str().strip_prefix("repo/data/").unwrap().split_once('/').unwrap();
            let writer = u8::from_str_radix(writer, 16).unwrap();
            assert!(found == body(number.parse().unwrap(), writer), "{}", object.path);
        }
        for path in told {
            let is_there = listed.iter().any(|object| object.path.as_str() == path);
            assert!(is_there, "{path} was told to be stored");
        }
    }
}
