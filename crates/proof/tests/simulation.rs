//! A few hundred of the simulations that `make simulate` runs ten thousand of.

use lifeboat_proof::simulation::{Deed, Remains, Scene, Tally, Telling, simulate};

/// How many simulations a test run takes the time for.
const SEEDS: u64 = 300;

#[test]
fn whatever_goes_wrong_every_snapshot_is_whole() {
    let mut remains = Remains::default();
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    for (seed, scene) in (0..SEEDS).flat_map(|seed| Scene::ALL.map(|scene| (seed, scene))) {
        match simulate(scene, seed, Telling::Brief) {
            Ok(story) => {
                remains.snapshots += story.remains.snapshots;
                remains.orphans += story.remains.orphans;
                remains.unneeded += story.remains.unneeded;
                tally.add(&story.tally);
            }
            Err(failure) => {
                broken.push(format!("seed {} ({scene:?}): {}", failure.seed, failure.what));
            }
        }
    }
    assert!(broken.is_empty(), "replay with `make simulate SEED=…`: {broken:#?}");
    // Else nothing was hit, which would prove little.
    let never: Vec<_> = Deed::ALL.iter().filter(|deed| tally.count(**deed) == 0).collect();
    assert!(never.is_empty(), "{never:?} never happened:\n{tally}");
    assert!(remains.snapshots > 300, "{remains:?}");
    assert!(remains.orphans > 50 && remains.unneeded > 50, "{remains:?}");
}

/// In these a prune made the very pack that a killed one had left, and removed it with what was left.
#[test]
fn seeds_that_once_went_wrong_are_well() {
    for seed in [2997, 4305, 6258] {
        assert!(simulate(Scene::Disks, seed, Telling::Brief).is_ok(), "seed {seed}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for (seed, scene) in (0..30).flat_map(|seed| Scene::ALL.map(|scene| (seed, scene))) {
        let one = simulate(scene, seed, Telling::Brief);
        let other = simulate(scene, seed, Telling::Full);
        assert_eq!(one.ok(), other.ok(), "seed {seed} ({scene:?})");
    }
}
