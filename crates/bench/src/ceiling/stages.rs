//! The stages themselves, over sample files.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aes::Aes256;
use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use lifeboat_repository::MasterKey;
use lifeboat_repository::blob::blob_id;
use lifeboat_repository::chunker::{Chunker, Extent, Gear, Input, Piece};
use lifeboat_repository::compress::{Compression, Compressor, Decompressor};
use lifeboat_repository::crypto::NONCE_LENGTH;
use lifeboat_repository::profile::{Activity, Profile};
use poly1305::universal_hash::{KeyInit as _, UniversalHash as _};
use poly1305::{Block, Poly1305};
use serde::Serialize;

use crate::failure::{BenchError, file};

/// How often everything is timed; the fastest counts, since noise only ever adds.
const ROUNDS: usize = 3;

/// How much is read at once.
const READ_SIZE: usize = 256 << 10;

/// How long a pack grows; restic's default.
const PACK_LENGTH: usize = 16 << 20;

/// Any odd number gives a gear table; speed does not depend on which.
const POLYNOMIAL: u64 = 0x003D_A335_8B4D_C173;

/// One stage: how much work it was and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Stage {
    /// The bytes that went in.
    pub bytes: u64,
    /// The seconds that it took, over all cores.
    pub seconds: f64,
}

impl Stage {
    /// Returns bytes a second that one core does while the others work as well.
    #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 / self.seconds } else { 0.0 }
    }

    fn add(&mut self, bytes: usize, took: Duration) {
        self.bytes += bytes as u64;
        self.seconds += took.as_secs_f64();
    }

    /// Keeps the faster of two timings of the same work.
    fn keep_faster(&mut self, other: Self) {
        if self.bytes == 0 || other.seconds < self.seconds {
            *self = other;
        }
    }
}

/// Every stage of a backup and of a check that reads all data, over the same sample.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Stages {
    /// Opening the files and reading them from the page cache.
    pub read: Stage,
    /// Finding where pieces end.
    pub gear: Stage,
    /// The name of a piece: SHA-256 of what it holds.
    pub sha256_blob: Stage,
    /// zstd at the default level; data that does not shrink is given up late, as zstd does.
    pub compress: Stage,
    /// AES-256 in counter mode over what is stored.
    pub ctr: Stage,
    /// Poly1305 over what is stored.
    pub poly1305: Stage,
    /// Both of them as lifeboat does it, tile by tile.
    pub seal: Stage,
    /// The name of a pack: SHA-256 of what is stored.
    pub sha256_pack: Stage,
    /// Writing packs to the target file system.
    pub write: Stage,
    /// Reading packs back from there.
    pub read_pack: Stage,
    /// Decompressing what is compressed.
    pub decompress: Stage,
}

impl Stages {
    /// Returns the stages with their names, in the order of the work.
    pub const fn named(&self) -> [(&'static str, Stage); 11] {
        [
            ("read", self.read),
            ("gear", self.gear),
            ("SHA-256 of blobs", self.sha256_blob),
            ("zstd", self.compress),
            ("AES-256-CTR", self.ctr),
            ("Poly1305", self.poly1305),
            ("CTR and Poly1305 in tiles", self.seal),
            ("SHA-256 of packs", self.sha256_pack),
            ("write", self.write),
            ("read packs", self.read_pack),
            ("zstd, back", self.decompress),
        ]
    }

    /// Returns the seconds that all cores together need for a backup of the sample.
    pub fn backup_seconds(&self) -> f64 {
        self.known_seconds()
            + self.compress.seconds
            + self.sealing_seconds()
            + self.sha256_pack.seconds
            + self.write.seconds
    }

    /// Returns the part of it that is spent on data which is stored already as well.
    pub fn known_seconds(&self) -> f64 {
        self.read.seconds + self.gear.seconds + self.sha256_blob.seconds
    }

    /// Returns the seconds that all cores together need to check a repository of the sample with all data.
    pub fn check_seconds(&self) -> f64 {
        self.read_pack.seconds
            + self.sha256_pack.seconds
            + self.sealing_seconds()
            + self.decompress.seconds
            + self.sha256_blob.seconds
    }

    /// Returns how many bytes were stored for each that was read.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is rounded anyway")]
    pub fn stored_share(&self) -> f64 {
        self.seal.bytes as f64 / self.read.bytes.max(1) as f64
    }

    /// Sealing as it is done or as its parts would allow, whichever is faster.
    fn sealing_seconds(&self) -> f64 {
        self.seal.seconds.min(self.ctr.seconds + self.poly1305.seconds)
    }

    /// Adds what another core did.
    fn add(&mut self, other: &Self) {
        self.each(other, |own, other| {
            own.bytes += other.bytes;
            own.seconds += other.seconds;
        });
    }

    fn keep_faster(&mut self, other: &Self) {
        self.each(other, Stage::keep_faster);
    }

    fn each(&mut self, other: &Self, mut act: impl FnMut(&mut Stage, Stage)) {
        act(&mut self.read, other.read);
        act(&mut self.gear, other.gear);
        act(&mut self.sha256_blob, other.sha256_blob);
        act(&mut self.compress, other.compress);
        act(&mut self.ctr, other.ctr);
        act(&mut self.poly1305, other.poly1305);
        act(&mut self.seal, other.seal);
        act(&mut self.sha256_pack, other.sha256_pack);
        act(&mut self.write, other.write);
        act(&mut self.read_pack, other.read_pack);
        act(&mut self.decompress, other.decompress);
    }
}

/// Times every stage over `sample` with `cores` threads at once, each over its share of the files; packs
/// are written below `scratch` and removed again.
pub fn measure(sample: &[PathBuf], scratch: &Path, cores: usize) -> Result<Stages, BenchError> {
    let share = |core: usize| -> Vec<_> { sample.iter().skip(core).step_by(cores).collect() };
    let mut fastest = Stages::default();
    for _ in 0..ROUNDS {
        let all = thread::scope(|scope| {
            let rounds: Vec<_> = (0..cores)
                .map(|core| {
                    let (share, pack) = (share(core), scratch.join(format!("pack-{core}")));
                    scope.spawn(move || Round::new(pack).run(&share))
                })
                .collect();
            let mut all = Stages::default();
            for round in rounds {
                all.add(&round.join().expect("a round cannot panic")?);
            }
            Ok::<_, BenchError>(all)
        })?;
        fastest.keep_faster(&all);
    }
    Ok(fastest)
}

/// Reads a file through the chunker's eyes.
struct Source<'f>(&'f mut File);

impl Input for Source<'_> {
    fn fill(&mut self, room: &mut [u8]) -> io::Result<Extent> {
        let want = room.len().min(READ_SIZE);
        Ok(match self.0.read(&mut room[..want])? {
            0 => Extent::End,
            length => Extent::Data(length),
        })
    }
}

/// One pass over a share of the sample, on one core.
struct Round {
    stages: Stages,
    key: MasterKey,
    compressor: Compressor,
    decompressor: Decompressor,
    sealed: Vec<u8>,
    pack: Vec<u8>,
    path: PathBuf,
}

impl Round {
    /// Prepares a pass that writes its packs to `path`.
    fn new(path: PathBuf) -> Self {
        Self {
            stages: Stages::default(),
            key: MasterKey::from_bytes(&[7; 64]),
            compressor: Compressor::new(Compression::Auto),
            decompressor: Decompressor::new(),
            sealed: Vec::new(),
            pack: Vec::with_capacity(PACK_LENGTH * 2),
            path,
        }
    }

    fn run(mut self, sample: &[&PathBuf]) -> Result<Stages, BenchError> {
        let gear = Gear::derive(POLYNOMIAL);
        let profile = Profile::measuring();
        let mut chunker = Chunker::new(&gear).measured_by(profile.meter());
        for path in sample {
            self.read(path).map_err(file("read", path))?;
            chunker.restart();
            self.cut(path, &mut chunker)?;
        }
        self.flush()?;
        let report = profile.report().expect("it is measuring");
        let cutting = report.activities.iter().filter(|spent| spent.activity == Activity::Cut);
        self.stages.gear.seconds = cutting.map(|spent| spent.time.as_secs_f64()).sum();
        Ok(self.stages)
    }

    fn read(&mut self, path: &Path) -> io::Result<()> {
        self.sealed.resize(READ_SIZE, 0);
        let watch = Instant::now();
        let length = read_all(path, &mut self.sealed[..READ_SIZE])?;
        self.stages.read.add(length, watch.elapsed());
        Ok(())
    }

    fn cut(&mut self, path: &Path, chunker: &mut Chunker<'_>) -> Result<(), BenchError> {
        let mut source = File::open(path).map_err(file("read", path))?;
        loop {
            let piece = chunker.next_piece(&mut Source(&mut source)).map_err(file("read", path))?;
            let Some(piece) = piece else { return Ok(()) };
            self.stages.gear.bytes += piece.len() as u64;
            if let Piece::Data(buffer) = piece {
                self.store(&buffer)?;
                chunker.recycle(buffer);
            }
        }
    }

    /// Puts one piece through all stages between reading and writing.
    fn store(&mut self, piece: &[u8]) -> Result<(), BenchError> {
        time(&mut self.stages.sha256_blob, piece.len(), || blob_id(piece));
        let (stages, compressor) = (&mut self.stages, &mut self.compressor);
        let shorter = time(&mut stages.compress, piece.len(), || compressor.shorten(piece));
        let stored = shorter.unwrap_or(piece);
        self.sealed.clear();
        let (key, sealed) = (&self.key, &mut self.sealed);
        time(&mut stages.seal, stored.len(), || key.seal_onto(stored, sealed));
        self.pack.extend_from_slice(&self.sealed);
        let stored_length = stored.len();
        if let Some(stored) = shorter {
            let expected = u32::try_from(piece.len()).expect("a piece is at most 8 MiB");
            let decompressor = &mut self.decompressor;
            let back = time(&mut stages.decompress, piece.len(), || {
                decompressor.decompress(stored, expected)
            });
            back.expect("what was compressed a moment ago decompresses");
        }
        self.cipher_alone(stored_length);
        if self.pack.len() >= PACK_LENGTH { self.flush() } else { Ok(()) }
    }

    /// Times the two halves of sealing, each over all of the bytes that were just sealed.
    fn cipher_alone(&mut self, length: usize) {
        let text = &mut self.sealed[NONCE_LENGTH..NONCE_LENGTH + length];
        time(&mut self.stages.ctr, length, || {
            let mut cipher = ctr::Ctr128BE::<Aes256>::new(&[7; 32].into(), &[9; 16].into());
            cipher.apply_keystream(text);
        });
        time(&mut self.stages.poly1305, length, || {
            let mut mac = Poly1305::new(&[7; 32].into());
            let (blocks, rest) = Block::slice_as_chunks(text);
            mac.update(blocks);
            mac.compute_unpadded(rest)
        });
    }

    /// Names the pack, writes it, reads it back and removes it.
    fn flush(&mut self) -> Result<(), BenchError> {
        let pack = &self.pack;
        time(&mut self.stages.sha256_pack, pack.len(), || blob_id(pack));
        let path = &self.path;
        let written =
            time(&mut self.stages.write, pack.len(), || File::create(path)?.write_all(pack));
        written.map_err(file("write", path))?;
        self.sealed.resize(self.sealed.len().max(READ_SIZE), 0);
        let room = &mut self.sealed[..READ_SIZE];
        let read = time(&mut self.stages.read_pack, pack.len(), || read_all(path, room));
        read.map_err(file("read", path))?;
        fs::remove_file(path).map_err(file("remove", path))?;
        self.pack.clear();
        Ok(())
    }
}

/// Reads a file piece by piece into the same room and returns its length.
fn read_all(path: &Path, room: &mut [u8]) -> io::Result<usize> {
    let mut source = File::open(path)?;
    let mut length = 0;
    loop {
        match source.read(room)? {
            0 => return Ok(length),
            read => length += read,
        }
    }
}

fn time<T>(stage: &mut Stage, bytes: usize, work: impl FnOnce() -> T) -> T {
    let watch = Instant::now();
    let done = std::hint::black_box(work());
    stage.add(bytes, watch.elapsed());
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = directory.join(name);
        File::create(&path).unwrap().write_all(content).unwrap();
        path
    }

    #[test]
    fn every_stage_sees_every_byte() {
        let directory = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let files = [
            sample(directory.path(), "a", &text),
            sample(directory.path(), "b", b"short"),
            sample(directory.path(), "empty", b""),
        ];
        let stages = measure(&files, directory.path(), 2).unwrap();
        let whole = text.len() as u64 + 5;
        for (name, stage) in [
            ("read", stages.read),
            ("gear", stages.gear),
            ("sha", stages.sha256_blob),
            ("zstd", stages.compress),
        ] {
            assert_eq!(stage.bytes, whole, "{name}");
        }
        assert!(stages.stored_share() < 0.5, "{}", stages.stored_share());
        assert_eq!(stages.ctr.bytes, stages.poly1305.bytes);
        assert_eq!(stages.write.bytes, stages.read_pack.bytes);
        assert!(stages.backup_seconds() > stages.known_seconds());
        assert!(!directory.path().join("pack-0").exists());
    }
}
