//! What a restore test takes beside the restore: both over the same media, in turn, as on a machine that has nothing.
//!
//! A restore alone reads from the tier and writes the files. The test does that, reads back what it wrote, holds it against
//! the snapshot, records what came of it with its evidence, and removes everything. Its own report tells what is neither
//! restoring nor checking; that is its overhead. What it takes by the clock beyond the restore alone is told beside it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use lifeboat_testing::interrupt::Interrupt;
use serde::Deserialize;

use crate::corpus::{Recipe, media};
use crate::failure::BenchError;
use crate::place::{Place, remove};
use crate::site::{Site, run};

/// The most that a restore test may take beside restoring and checking, in seconds (issue: 10 s).
pub const OVERHEAD_GOAL_S: f64 = 10.0;

/// The asset, and its test.
const ASSET: &str = "media";
const TEST: &str = "measured";

/// One turn of both.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// What the restore alone took, in seconds.
    pub restore_s: f64,
    /// What the whole test took, in seconds.
    pub test_s: f64,
    /// What it took beside restoring and checking by its own report, in seconds.
    pub own_s: f64,
    /// What each part of it took, in seconds.
    pub phases_s: BTreeMap<String, f64>,
}

impl Turn {
    /// Returns what the test took beyond the restore alone.
    pub fn beyond_s(&self) -> f64 {
        self.test_s - self.restore_s
    }
}

/// Returns how many bytes everything needs: what is restored, its copy, and both of what comes back.
pub fn needed_bytes(recipe: Recipe) -> u64 {
    recipe.scaled(media::BYTES) * 4
}

/// Lets `lifeboat` restore media and test their restore, so many times in turn.
pub fn measure(
    (lifeboat, place): (&Path, &Place),
    environment: &[(&'static str, OsString)],
    (recipe, cores, turns): (Recipe, usize, usize),
    interrupt: &Interrupt,
) -> Result<Vec<Turn>, BenchError> {
    let root = place.fresh("media")?;
    media::make(&root, recipe, cores, interrupt)?;
    let site = Site::make(lifeboat, place, environment, ("measured", ASSET, &root))?;
    site.change(|plan| {
        format!("{plan}\n[restore_tests.{TEST}]\ncron = \"0 5 * * SUN\"\nassets = [\"{ASSET}\"]\n")
    })?;
    site.call(&["backup"])?;
    (0..turns).map(|_| turn(&site, place, interrupt)).collect()
}

fn turn(site: &Site<'_>, place: &Place, interrupt: &Interrupt) -> Result<Turn, BenchError> {
    interrupt.check()?;
    let (back, scratch) = (place.join("back"), place.fresh("scratch")?);
    let back_text = back.display().to_string();
    let mut restore = site.command(&["restore", ASSET, "--to", &back_text]);
    // A test knows nothing of what this machine keeps of repositories.
    restore.env("XDG_CACHE_HOME", place.fresh("bare")?);
    let begun = Instant::now();
    run(&mut restore)?;
    let restore_s = begun.elapsed().as_secs_f64();
    remove(&back)?;
    interrupt.check()?;
    let scratch = scratch.display().to_string();
    let begun = Instant::now();
    let said = site.call(&["test", TEST, "--scratch", &scratch, "--json"])?;
    told(&said, restore_s, begun.elapsed().as_secs_f64())
}

/// What is read of the report of a test.
#[derive(Deserialize)]
struct Report {
    tests: Vec<Tested>,
}

#[derive(Deserialize)]
struct Tested {
    outcome: String,
    own_ms: u64,
    phases_ms: BTreeMap<String, u64>,
}

/// Takes the figures of a test out of its report, which says that it passed.
fn told(report: &str, restore_s: f64, test_s: f64) -> Result<Turn, BenchError> {
    let wrong = |what: String| BenchError::WrongWork { racer: "lifeboat test", what };
    let report: Report = serde_json::from_str(report).map_err(|error| wrong(error.to_string()))?;
    let Some(tested) = report.tests.into_iter().next().filter(|it| it.outcome == "passed") else {
        return Err(wrong("no test passed".to_owned()));
    };
    let phases = tested.phases_ms.into_iter();
    let phases_s = phases.map(|(name, ms)| (name, seconds(ms))).collect();
    Ok(Turn { restore_s, test_s, own_s: seconds(tested.own_ms), phases_s })
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

/// Returns the turn whose overhead is in the middle.
pub fn middle(turns: &[Turn]) -> Option<&Turn> {
    let mut sorted: Vec<_> = turns.iter().collect();
    sorted.sort_by(|a, b| a.own_s.total_cmp(&b.own_s));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = r#"{"tests": [{"outcome": "passed", "own_ms": 250, "phases_ms":
        {"fetch": 100, "restore": 1500, "check": 0, "teardown": 50}, "seed": 1}]}"#;

    #[test]
    fn the_figures_are_those_of_a_test_that_passed() {
        let turn = told(PASSED, 1.5, 2.0).unwrap();
        assert!((turn.own_s - 0.25).abs() < 1e-9 && (turn.beyond_s() - 0.5).abs() < 1e-9);
        assert!((turn.phases_s["restore"] - 1.5).abs() < 1e-9);
        for bad in [PASSED.replace("passed", "failed"), "{\"tests\": []}".to_owned(), String::new()]
        {
            assert!(told(&bad, 1.0, 1.0).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_middle_is_by_the_overhead() {
        let of = |own_s| Turn { own_s, ..told(PASSED, 1.0, 2.0).unwrap() };
        let turns = [of(3.0), of(1.0), of(2.0)];
        assert!((middle(&turns).unwrap().own_s - 2.0).abs() < 1e-9);
        assert_eq!(middle(&[]), None);
    }
}
