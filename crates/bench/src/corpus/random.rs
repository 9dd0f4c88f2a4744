//! Bytes and sizes from a seed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// How much is written at once.
const BLOCK: usize = 1 << 20;

/// Words that text is made of; about as many different ones as a log has.
const WORDS: [&str; 16] = [
    "connection",
    "from",
    "accepted",
    "request",
    "GET",
    "/api/v1/orders",
    "status",
    "200",
    "in",
    "ms",
    "user",
    "session",
    "closed",
    "warning",
    "retry",
    "the",
];

/// Random numbers; the same for the same seed and number, on every machine.
#[derive(Debug, Clone)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// Returns the numbers that belong to the file, or whatever else it is, with this number.
    pub fn of(seed: u64, number: u64) -> Self {
        let mut mixed = Xoshiro256PlusPlus::seed_from_u64(seed ^ number.rotate_left(32));
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed.next_u64()))
    }

    /// Returns a number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        self.0.random()
    }

    /// Returns a number from 0 to below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.random_range(0..bound)
    }

    /// Returns a normally distributed number (Box and Muller's way).
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.share(), self.share());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Returns bytes that nothing can compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Writes a file that nothing can compress.
    pub fn write_noise(&mut self, path: &Path, length: u64) -> io::Result<()> {
        self.write(path, length, |random, block| random.0.fill_bytes(block))
    }

    /// Writes a file of words and numbers.
    pub fn write_text(&mut self, path: &Path, length: u64) -> io::Result<()> {
        self.write(path, length, |random, block| {
            let mut text = String::with_capacity(block.len() + 32);
            while text.len() < block.len() {
                let number = random.0.next_u64();
                text.push_str(WORDS[(number % 16) as usize]);
                text.push(if number & 0xf0 == 0 { '\n' } else { ' ' });
                if number & 0xf00 == 0 {
                    text.push_str(&(number >> 32).to_string());
                }
            }
            block.copy_from_slice(&text.as_bytes()[..block.len()]);
        })
    }

    fn write(
        &mut self,
        path: &Path,
        length: u64,
        mut fill: impl FnMut(&mut Self, &mut [u8]),
    ) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut target = File::create(path)?;
        let mut left = usize::try_from(length).map_err(io::Error::other)?;
        let mut block = vec![0; BLOCK.min(left)];
        while left > 0 {
            let step = left.min(BLOCK);
            fill(self, &mut block[..step]);
            target.write_all(&block[..step])?;
            left -= step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_every_machine() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str, random: &mut Random| {
            let path = directory.path().join(name);
            random.write_noise(&path, 10).unwrap();
            fs::read(path).unwrap()
        };
        let bytes = read("a", &mut Random::of(1, 2));
        assert_eq!(bytes, read("b", &mut Random::of(1, 2)));
        assert_ne!(bytes, read("c", &mut Random::of(1, 3)));
        assert_ne!(bytes, read("d", &mut Random::of(2, 2)));
    }

    #[test]
    fn text_is_text_of_the_wanted_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/text");
        Random::of(1, 1).write_text(&path, 5000).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.len(), 5000);
        assert!(text.lines().count() > 10);
    }

    #[test]
    fn normal_numbers_are_normal() {
        let mut random = Random::of(7, 7);
        let numbers: Vec<_> = (0..10_000).map(|_| random.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        let variance = numbers.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }
}
