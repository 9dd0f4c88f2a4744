//! What users uploaded: pictures, scans and texts of realistic sizes.
//!
//! Pictures do not compress and no two are alike, so they are random bytes between a JPEG's first and
//! last ones. The same seed makes the same bytes.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use lifeboat_testing::interrupt::Interrupt;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::failure::DemoError;
use crate::files::{self, Look};
use crate::schema::AVATARS;

const KIB: usize = 1024;

/// A sort of upload.
struct Album {
    directory: &'static str,
    stem: &'static str,
    extension: &'static str,
    count: u32,
    bytes: Range<usize>,
}

const ALBUMS: [Album; 4] = [
    Album {
        directory: "avatars",
        stem: "user",
        extension: "jpg",
        count: AVATARS,
        bytes: 15 * KIB..70 * KIB,
    },
    Album {
        directory: "tickets",
        stem: "photo",
        extension: "jpg",
        count: 900,
        bytes: 90 * KIB..450 * KIB,
    },
    Album {
        directory: "invoices",
        stem: "invoice",
        extension: "pdf",
        count: 500,
        bytes: 40 * KIB..160 * KIB,
    },
    Album { directory: "notes", stem: "note", extension: "txt", count: 300, bytes: KIB..12 * KIB },
];

/// Writes all of it; returns how many files there are.
pub fn write(media: &Path, interrupt: &Interrupt) -> Result<u32, DemoError> {
    let mut random = SmallRng::seed_from_u64(1);
    for album in &ALBUMS {
        for number in 1..=album.count {
            interrupt.check()?;
            write_one(media, album, number, &mut random)?;
        }
    }
    Ok(ALBUMS.iter().map(|album| album.count).sum())
}

/// Writes what a day brings: some new photos and a changed picture.
pub fn write_more(media: &Path, day: u32) -> Result<u32, DemoError> {
    const NEW: u32 = 30;
    let mut random = SmallRng::seed_from_u64(u64::from(day) + 1);
    let [avatars, photos, ..] = &ALBUMS;
    write_one(media, avatars, day, &mut random)?;
    for number in 1..=NEW {
        write_one(media, photos, photos.count + day * NEW + number, &mut random)?;
    }
    Ok(NEW + 1)
}

fn write_one(
    media: &Path,
    album: &Album,
    number: u32,
    random: &mut SmallRng,
) -> Result<(), DemoError> {
    let Album { directory, stem, extension, .. } = album;
    let path = media.join(directory).join(format!("{stem}-{number:06}.{extension}"));
    let size = random.random_range(album.bytes.clone());
    let look = Look {
        mode: if number.is_multiple_of(7) { 0o640 } else { 0o644 },
        is_web: true,
        age: Duration::from_nanos(random.random_range(0..60_000_000_000_000_000)),
    };
    files::write(&path, &content(extension, number, size, random), look)
}

fn content(extension: &str, number: u32, size: usize, random: &mut SmallRng) -> Vec<u8> {
    let framed = |first: &[u8], last: &[u8], random: &mut SmallRng| {
        let mut bytes = vec![0; size];
        random.fill_bytes(&mut bytes);
        bytes[..first.len()].copy_from_slice(first);
        bytes[size - last.len()..].copy_from_slice(last);
        bytes
    };
    match extension {
        "jpg" => framed(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01", b"\xff\xd9", random),
        "pdf" => framed(b"%PDF-1.7\n", b"\n%%EOF\n", random),
        _ => {
            let line = format!("Note {number}: the customer asked about the order again.\n");
            line.into_bytes().into_iter().cycle().take(size).collect()
        }
    }
}
