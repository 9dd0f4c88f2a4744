//! A few of the power cuts that `make durability` makes thousands of.

use std::path::Path;

use lifeboat_proof::durability::{Life, survive};

/// How many disks a test run takes the time for.
const SEEDS: u64 = 12;

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let mut lived = Life::default();
    for seed in 0..SEEDS {
        match survive(seed, Path::new(env!("CARGO_BIN_EXE_proof"))) {
            Ok(life) => lived.add(&life),
            Err(what) => panic!("seed {seed}: {what}"),
        }
    }
    // Else nothing was hit, which would prove little.
    let Life { stored, forgotten, prunes, prunes_interrupted, records, records_interrupted } =
        lived;
    for count in [stored, forgotten, prunes, prunes_interrupted, records, records_interrupted] {
        assert!(count > 0, "{lived:?}");
    }
}
