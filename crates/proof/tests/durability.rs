//! A few of the power cuts that `make durability` makes thousands of.

use lifeboat_proof::durability::survive;

/// How many disks a test run takes the time for.
const SEEDS: u64 = 12;

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    for seed in 0..SEEDS {
        if let Err(what) = survive(seed) {
            panic!("seed {seed}: {what}");
        }
    }
}
