//! A sample of the bits that `make flips` tries all of.

use lifeboat_proof::flips::{Bit, SIZE_MAX, Specimen};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index::sample;

/// How many bits a test run tries; the long form tries them all.
const SAMPLE: usize = 400;

#[test]
fn any_flipped_bit_is_named_and_gives_no_wrong_data() {
    let specimen = Specimen::make().unwrap();
    assert!(specimen.bits() > SIZE_MAX * 8 * 3 / 4, "{} bits are few", specimen.bits());
    let mut rng = StdRng::seed_from_u64(3);
    let bits: Vec<Bit> = sample(&mut rng, specimen.bits(), SAMPLE).into_iter().map(Bit).collect();
    let failures = specimen.try_flips(&bits, 2);
    assert!(failures.is_empty(), "{failures:#?}");
}
