//! Tells by samples that data cannot be compressed, so that photographs, films and archives cost no
//! compression in vain.
//!
//! # Limits
//!
//! Compressible bytes between the samples are missed. A run of them that is as long as the distance
//! of two samples cannot be, so each run that is missed costs less than a [`SAMPLES`]th of the data.

use std::fmt;

use zstd::bulk::Compressor;

/// How many samples are taken, at equal distances, the first where the data begin.
const SAMPLES: usize = 16;

/// How long a sample is, in bytes.
const SAMPLE_LENGTH: usize = 2 << 10;

/// Shorter data are not asked about: the samples would be a large part of them.
const LENGTH_MIN: usize = 4 * SAMPLES * SAMPLE_LENGTH;

/// zstd's fastest level that still looks at how often each byte occurs.
const LEVEL: i32 = 1;

/// Takes samples; a worker makes one and uses it for all its blobs.
pub(super) struct Probe {
    context: Compressor<'static>,
    samples: Vec<u8>,
    target: Vec<u8>,
}

impl Probe {
    pub(super) fn new() -> Self {
        let context =
            Compressor::new(LEVEL).expect("zstd refuses a context only when memory is exhausted");
        let samples = Vec::with_capacity(SAMPLES * SAMPLE_LENGTH);
        Self { context, samples, target: vec![0; SAMPLES * SAMPLE_LENGTH] }
    }

    /// Tells whether nothing speaks for compressing `data`.
    ///
    /// zstd keeps a block as it is unless that saves one byte in 64. If it does so with the samples,
    /// they find no room, since a frame around them is longer than they are.
    pub(super) fn finds_noise(&mut self, data: &[u8]) -> bool {
        if data.len() < LENGTH_MIN {
            return false;
        }
        self.samples.clear();
        for sample in data.chunks(data.len() / SAMPLES).take(SAMPLES) {
            self.samples.extend_from_slice(&sample[..SAMPLE_LENGTH]);
        }
        self.context.compress_to_buffer(&self.samples, &mut self.target[..]).is_err()
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::compress::{Compression, Compressor};

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn noise_is_noise_and_text_is_not() {
        let mut probe = Probe::new();
        assert!(probe.finds_noise(&noise(1, LENGTH_MIN)));
        assert!(probe.finds_noise(&noise(2, 8 << 20)));
        let letters: Vec<u8> = noise(3, 1 << 20).iter().map(|byte| byte % 64).collect();
        assert!(!probe.finds_noise(&letters));
    }

    #[test]
    fn what_is_short_is_not_asked_about() {
        assert!(!Probe::new().finds_noise(&noise(4, LENGTH_MIN - 1)));
        assert!(!Probe::new().finds_noise(&[]));
    }

    #[test]
    fn a_compressible_part_as_long_as_the_distance_of_two_samples_is_seen() {
        let length = 1 << 20;
        let distance = length / SAMPLES + SAMPLE_LENGTH;
        let (noise, mut probe) = (noise(5, length), Probe::new());
        for begin in (0..length - distance).step_by(7 * SAMPLE_LENGTH + 1) {
            let mut data = noise.clone();
            data[begin..begin + distance].fill(b' ');
            assert!(!probe.finds_noise(&data), "{begin}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn each_run_that_is_missed_is_shorter_than_the_distance_of_two_samples(
            runs in prop::collection::vec((any::<u64>(), any::<bool>(), 1..200_000_usize), 1..12),
        ) {
            let mut data = Vec::new();
            let compressible_runs = runs.iter().filter(|(_, compressible, _)| *compressible).count();
            for (seed, compressible, length) in runs {
                let mut run = noise(seed, length);
                if compressible {
                    run.fill(7);
                }
                data.extend(run);
            }
            if Probe::new().finds_noise(&data) {
                let mut compressor = Compressor::new(Compression::Max);
                let least = compressor.compress(&data).len();
                let wasted = data.len().saturating_sub(least);
                prop_assert!(wasted <= compressible_runs * (data.len() / SAMPLES + SAMPLE_LENGTH));
            }
        }
    }
}
