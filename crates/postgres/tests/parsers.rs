//! The short form of the fuzz targets: every parser of bytes that come from a tier or a server, on the kept
//! seeds of `fuzz/corpus` and on mutations of them. It stands in the one room that knows both kinds.
//!
//! `valid-*.seed` must be accepted, `invalid-*.seed` refused; `found-*.seed` came out of a fuzzer and
//! were minimised. No mutation may make a parser panic.
//! The mutations come from a fixed number, so that a failure comes again.

#![cfg(test)]

#[path = "../../../fuzz/parsers.rs"]
mod parsers;

use std::panic::catch_unwind;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");

const MUTATIONS_PER_SEED: u64 = 1500;

/// What a fuzzer found was mutated many times already.
const MUTATIONS_PER_FIND: u64 = 50;

/// How large all seeds may be, in bytes, so that whoever clones the repository is not burdened.
const CORPUS_LENGTH_MAX: usize = 1 << 20;

/// What is put in somewhere: what parsers of numbers, texts and lists stumble over.
const WORDS: [&[u8]; 22] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"-1",
    b"1e9",
    b"0",
    b"[]",
    b"\\u0000",
    b"18446744073709551616",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x80",
    b"\\\\x",
    b"\\\\U0011",
    b"9999-12-31T23:59:59.999999999+23:59",
    b"\"name\":\"..\",",
];

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(Path::new(CORPUS).join(target)).unwrap().map(Result::unwrap);
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.file_name().to_str().unwrap().to_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "seed"))
        .map(|name| {
            let bytes = std::fs::read(Path::new(CORPUS).join(target).join(&name)).unwrap();
            (name, bytes)
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

fn mutated(seed: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        let end = rng.random_range(at..=bytes.len().min(at + 40));
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copied = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                drop(bytes.splice(to..to, copied));
            }
            _ => {
                let word = WORDS[rng.random_range(0..WORDS.len())];
                drop(bytes.splice(at..end, word.iter().copied()));
            }
        }
    }
    bytes
}

#[test]
fn kept_seeds_are_accepted_or_refused_as_their_names_say() {
    for (target, parser) in parsers::ALL {
        for (name, bytes) in seeds(target) {
            let is_accepted = parser(&bytes);
            if !name.starts_with("found-") {
                assert_eq!(is_accepted, name.starts_with("valid-"), "{target}/{name}");
            }
        }
    }
}

#[test]
fn no_mutation_of_a_seed_makes_a_parser_panic() {
    for (target, parser) in parsers::ALL {
        for (name, seed) in seeds(target) {
            let is_found = name.starts_with("found-");
            let count = if is_found { MUTATIONS_PER_FIND } else { MUTATIONS_PER_SEED };
            for number in 0..count {
                let bytes = mutated(&seed, &mut StdRng::seed_from_u64(number));
                let result = catch_unwind(|| parser(&bytes));
                assert!(
                    result.is_ok(),
                    "{target}/{name}, mutation {number}: {}",
                    bytes.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn the_corpus_stays_small() {
    let all = parsers::ALL.iter().flat_map(|(target, _)| seeds(target));
    let length: usize = all.map(|(_, bytes)| bytes.len()).sum();
    assert!(length <= CORPUS_LENGTH_MAX, "{length} bytes");
}

/// A target that is missing here or in `fuzz/` would never run.
#[test]
fn every_parser_has_its_fuzz_target() {
    let targets = Path::new(CORPUS).join("../fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(targets)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut listed: Vec<&str> = parsers::ALL.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
