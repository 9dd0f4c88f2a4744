//! Watched assets: what is due when, and what a sweep sees.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lifeboat_model::SystemClock;
use lifeboat_model::pattern::{Case, Dialect, Patterns};
use proptest::prelude::*;

use super::ears::{Bell, Ears};
use super::scan::{Place, Territory, sweep};
use super::*;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000)
        .unwrap()
        .saturating_add(Duration::from_millis(ms))
        .unwrap()
}

fn seen(ms: u64, what: &str) -> Sweep {
    let (started, fingerprint) = (at(ms), Fingerprint(what.to_owned()));
    Sweep { started, took: Duration::from_millis(1), fingerprint, freshness: Freshness::Settled }
}

const RPO: Duration = Duration::from_mins(1);

/// A watch of which `a` is captured.
fn captured() -> Watch {
    let mut watch = Watch::new(Some(RPO), None);
    assert_eq!(watch.sweep_at(at(0)), at(0), "nothing is known yet");
    watch.swept(seen(0, "a"));
    assert_eq!(watch.capture_at(at(1)), Some(at(0)));
    watch.begun(at(1));
    assert_eq!(watch.capture_at(at(2)), None, "it is being captured");
    watch.ended(Captured::Whole);
    watch
}

#[test]
fn a_change_is_looked_at_when_it_is_over_and_at_the_latest_after_a_while() {
    let mut watch = captured();
    assert_eq!(watch.sweep_at(at(10)), at(30_000), "half of the rpo");
    watch.noticed(at(10_000));
    assert_eq!(watch.sweep_at(at(10_000)), at(11_000));
    for ms in (10_000..20_000).step_by(500) {
        watch.noticed(at(ms));
        assert!(watch.sweep_at(at(ms)) <= at(15_000), "{ms}");
    }
    watch.swept(seen(15_000, "b"));
    assert_eq!(watch.capture_at(at(15_001)), Some(at(30_001)), "as often as the rpo asks");
}

#[test]
fn a_sweep_that_saw_no_change_moves_on_what_is_known_and_captures_nothing() {
    let mut watch = captured();
    assert_eq!(watch.kept().unwrap().span(), None);
    watch.swept(seen(30_000, "a"));
    assert_eq!(watch.capture_at(at(30_001)), None);
    assert_eq!(watch.kept().unwrap().span(), Some((at(0), at(30_000))));
    watch.noticed(at(40_000));
    watch.swept(seen(41_000, "b"));
    assert_eq!(watch.kept().unwrap().span(), Some((at(0), at(30_000))), "not beyond the change");
    watch.begun(at(41_001));
    watch.swept(seen(42_000, "b"));
    watch.ended(Captured::Whole);
    let span = watch.kept().unwrap().span();
    assert_eq!(span, Some((at(41_000), at(42_000))), "what was seen meanwhile is as captured");
    assert_eq!(watch.capture_at(at(43_000)), None);
}

#[test]
fn what_failed_or_is_not_whole_is_not_taken_for_captured() {
    let mut watch = captured();
    watch.swept(seen(30_000, "b"));
    watch.begun(at(31_000));
    watch.ended(Captured::Nothing);
    assert_eq!(watch.capture_at(at(32_000)), Some(at(61_000)));
    watch.begun(at(61_000));
    watch.ended(Captured::Part);
    watch.swept(seen(70_000, "b"));
    assert_eq!(watch.capture_at(at(70_001)), None, "no more could be had");
    assert_eq!(watch.kept().unwrap().span(), None, "but nothing is promised of it");
}

#[test]
fn what_changed_in_the_moment_of_looking_is_looked_at_again() {
    let mut watch = Watch::new(Some(RPO), None);
    watch.swept(Sweep { freshness: Freshness::Fresh, ..seen(0, "a") });
    watch.begun(at(1));
    watch.ended(Captured::Whole);
    watch.swept(seen(30_000, "a"));
    assert!(watch.capture_at(at(30_001)).is_some(), "it may hold what the capture does not");
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_wait() {
    let mut watch = captured();
    watch.swept(seen(3_600_000, "b"));
    watch.begun(at(3_600_001));
    watch.ended(Captured::Nothing);
    assert!(watch.sweep_at(at(1_000)) <= at(31_000));
    assert!(watch.capture_at(at(1_000)).is_some());
    watch.noticed(at(3_600_002));
    watch.noticed(at(2_000));
    assert!(watch.sweep_at(at(2_000)) <= at(7_000));
}

proptest! {
    /// Whatever is noticed, lost, swept and captured, in whatever order: what differs from what was captured is captured
    /// in the end, and an asset never counts as unchanged beyond a change.
    #[test]
    fn no_change_is_forgotten_and_none_is_passed_over(steps in prop::collection::vec(0_u8..6, 1..80)) {
        let mut watch = Watch::new(Some(RPO), None);
        let (mut now, mut content, mut changed, mut taken) = (0, 0_u32, 0, None);
        for step in steps {
            now += 1_000;
            match step {
                0 => (content, changed) = (content + 1, now),
                1 => watch.noticed(at(now)),
                2 | 3 => watch.swept(seen(now, &content.to_string())),
                4 if watch.capture_at(at(now + 3_600_000)).is_some() => {
                    watch.begun(at(now));
                    taken = Some(content);
                }
                _ => if taken.take().is_some() { watch.ended(Captured::Whole) },
            }
            if let Some((from, until)) = watch.kept().and_then(Kept::span) {
                prop_assert!(from <= until && (until <= at(now)));
                let is_as_now = watch.kept().unwrap().basis.fingerprint.0 == content.to_string();
                prop_assert!(is_as_now || until < at(changed));
            }
        }
        watch.ended(Captured::Whole);
        watch.swept(seen(now + 1_000, &content.to_string()));
        let is_known = watch.kept().is_some_and(|kept| kept.basis.fingerprint.0 == content.to_string());
        prop_assert!(is_known || watch.capture_at(at(now + 3_600_000)).is_some());
    }
}

fn look(home: &std::path::Path, exclude: &[&str]) -> Fingerprint {
    let patterns = Patterns::new(Dialect::Plan, Case::Matters, exclude).unwrap();
    let territory = Territory::of_paths(vec![home.to_owned()], patterns);
    sweep(&territory, &SystemClock, &mut |_| {}).fingerprint
}

fn write(path: &std::path::Path, text: &str) {
    lifeboat_tiers::durable::replace(path, text.as_bytes(), 0o600).unwrap();
}

#[test]
fn a_sweep_sees_every_change_but_of_what_is_left_out() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    write(&file, "1");
    fs::create_dir(home.path().join("out")).unwrap();
    let look = || look(home.path(), &["out/*"]);
    let mut all = vec![look()];
    let mut changes_it = |what: &str| {
        let now = look();
        assert_eq!(now, look(), "nothing happened");
        assert!(!all.contains(&now), "{what}");
        all.push(now);
    };
    write(&file, "2");
    changes_it("content");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    changes_it("mode");
    fs::create_dir_all(home.path().join("a/b")).unwrap();
    changes_it("a directory");
    write(&home.path().join("a/b/c"), "3");
    changes_it("a file in it");
    rustix::fs::rename(home.path().join("a"), home.path().join("d")).unwrap();
    changes_it("a move");
    fs::remove_file(&file).unwrap();
    changes_it("a removal");
    let before = look();
    let kept = fs::metadata(home.path().join("out")).unwrap().modified().unwrap();
    write(&home.path().join("out/left"), "4");
    let directory = fs::File::open(home.path().join("out")).unwrap();
    assert_ne!(directory.metadata().unwrap().modified().unwrap(), kept);
    assert_ne!(look(), before, "the directory itself is not left out");
    let now = look();
    let left = fs::OpenOptions::new().append(true).open(home.path().join("out/left")).unwrap();
    std::io::Write::write_all(&mut { left }, b"more").unwrap();
    assert_eq!(look(), now, "but what is in it");
}

#[test]
fn changes_are_heard_also_in_what_was_made_and_moved_later() {
    let home = tempfile::tempdir().unwrap();
    let (tree, single) = (home.path().join("tree"), home.path().join("etc/.env"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(home.path().join("etc")).unwrap();
    write(&single, "A=1");
    let (bell, mut ears) = (Bell::new().unwrap(), Ears::open().unwrap());
    let asset = "configuration".parse().unwrap();
    let patterns = Patterns::new(Dialect::Plan, Case::Matters, [""; 0]).unwrap();
    let territory = Territory::of_paths(vec![tree.clone(), single.clone()], patterns);
    let look = |ears: &mut Ears| {
        ears.begin();
        let seen =
            sweep(&territory, &SystemClock, &mut |place| ears.listen(&asset, place).unwrap());
        ears.end(&asset);
        seen
    };
    look(&mut ears);
    let heard = |ears: &mut Ears| ears.wait(Duration::ZERO, &bell).unwrap().assets.len() == 1;
    assert!(!heard(&mut ears));
    write(&single, "A=2");
    assert!(heard(&mut ears), "it was replaced by a rename");
    write(&home.path().join("etc/other"), "1");
    assert!(!heard(&mut ears), "its neighbour is no part of it");
    fs::create_dir(tree.join("new")).unwrap();
    assert!(heard(&mut ears));
    look(&mut ears);
    write(&tree.join("new/file"), "1");
    assert!(heard(&mut ears), "a directory that came later");
    rustix::fs::rename(tree.join("new"), tree.join("moved")).unwrap();
    fs::create_dir(tree.join("new")).unwrap();
    look(&mut ears);
    assert!(heard(&mut ears));
    write(&tree.join("moved/file"), "2");
    assert!(heard(&mut ears), "a directory that was moved");
    rustix::fs::rename(tree.join("moved"), home.path().join("away")).unwrap();
    assert!(heard(&mut ears));
    look(&mut ears);
    write(&home.path().join("away/file"), "3");
    assert!(!heard(&mut ears), "what was moved away is no part of it any more");
    fs::remove_dir_all(home.path().join("etc")).unwrap();
    assert!(heard(&mut ears));
    look(&mut ears);
    fs::create_dir(home.path().join("etc")).unwrap();
    assert!(heard(&mut ears), "where it would come back is listened");
    bell.ring();
    let waited = ears.wait(Duration::from_mins(10), &bell).unwrap();
    assert!(waited.assets.is_empty(), "woken, not waited out");
    let place = Place::Directory(&tree);
    let why = super::ears::why_deaf(place, rustix::io::Errno::NOSPC);
    assert!(why.contains("max_user_watches"), "{why}");
}
