//! Reads a repository's objects without the code that wrote them.
//!
//! The shortest way from the format's specification to files: no cache, no threads, nothing shared
//! with the room that is under test but the libraries that do the arithmetic.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _};
use aes::{Aes128, Aes256};
use bytes::Bytes;
use lifeboat_tiers::ObjectPath;
use poly1305::Poly1305;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The files of a snapshot, by their absolute paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A snapshot as it stands in a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its only tag.
    pub(crate) tag: String,
    pub(crate) files: Files,
}

/// All that a repository's objects say.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The snapshots, by their ids in hexadecimal digits.
    pub(crate) snapshots: BTreeMap<String, Found>,
    /// What is not as it must be, each as the object's path and what is wrong.
    pub(crate) damage: Vec<(String, String)>,
    /// Packs that no index lists.
    pub(crate) orphans: BTreeSet<String>,
    /// Blobs that an index lists and no snapshot needs.
    pub(crate) unneeded: usize,
}

/// A kind and an id.
type BlobName = (String, String);

struct Place {
    pack: String,
    offset: usize,
    length: usize,
    is_compressed: bool,
}

struct Reader<'a> {
    objects: &'a BTreeMap<ObjectPath, Bytes>,
    key: &'a [u8; 64],
    blobs: HashMap<BlobName, Vec<Place>>,
    opened: HashMap<BlobName, Vec<u8>>,
}

/// Reads everything.
pub(crate) fn read(objects: &BTreeMap<ObjectPath, Bytes>, key: &[u8; 64]) -> Reading {
    let mut reader = Reader { objects, key, blobs: HashMap::new(), opened: HashMap::new() };
    let mut reading = Reading::default();
    let mut note = |path: &str, result: Result<(), String>| {
        if let Err(what) = result {
            reading.damage.push((path.to_owned(), what));
        }
    };
    for (path, body) in files_below(objects, "index/") {
        note(path, reader.index(path, body));
    }
    let mut orphans = BTreeSet::new();
    let listed: BTreeSet<&str> =
        reader.blobs.values().flatten().map(|place| place.pack.as_str()).collect();
    for (path, body) in files_below(objects, "data/") {
        if listed.contains(path) {
            note(path, is_named_by_hash(path, body));
        } else {
            orphans.insert(path.to_owned());
        }
    }
    for pack in
        listed.iter().filter(|pack| pack.parse().map_or(true, |p| !objects.contains_key(&p)))
    {
        note(pack, Err("an index lists it and it is not there".to_owned()));
    }
    let mut snapshots = BTreeMap::new();
    for (path, body) in files_below(objects, "snapshots/") {
        let found = reader.snapshot(path, body).map(|found| {
            snapshots.insert(path["snapshots/".len()..].to_owned(), found);
        });
        note(path, found);
    }
    let unneeded = reader.blobs.len() - reader.opened.len();
    Reading { snapshots, orphans, unneeded, ..reading }
}

/// The files below a prefix whose names are hashes; others are nobody's.
fn files_below<'a>(
    objects: &'a BTreeMap<ObjectPath, Bytes>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Bytes)> {
    let is_hash = |path: &ObjectPath| path.file_name().len() == 64;
    objects
        .iter()
        .filter(move |(path, _)| path.as_str().starts_with(prefix) && is_hash(path))
        .map(|(path, body)| (path.as_str(), body))
}

fn is_named_by_hash(path: &str, body: &[u8]) -> Result<(), String> {
    let hash = hex::encode(Sha256::digest(body));
    if path.ends_with(&hash) { Ok(()) } else { Err(format!("it hashes to {hash}")) }
}

fn open(key: &[u8; 64], sealed: &[u8]) -> Result<Vec<u8>, String> {
    if sealed.len() < 32 {
        return Err("it is too short to be sealed".to_owned());
    }
    let (nonce, rest) = sealed.split_at(16);
    let (text, tag) = rest.split_at(rest.len() - 16);
    let mut r: [u8; 16] = key[48..].try_into().expect("the last 16 of 64 bytes");
    for (at, mask) in [(3, 15), (7, 15), (11, 15), (15, 15), (4, 252), (8, 252), (12, 252)] {
        r[at] &= mask;
    }
    let mut pad: [u8; 16] = nonce.try_into().expect("split there");
    let block: &mut aes::Block = (&mut pad).into();
    Aes128::new_from_slice(&key[32..48]).expect("16 bytes").encrypt_block(block);
    let one_time: [u8; 32] = [r, pad].concat().try_into().expect("twice 16 bytes");
    let expected = Poly1305::new(&one_time.into()).compute_unpadded(text);
    if expected.as_slice() != tag {
        return Err("its seal is broken".to_owned());
    }
    let mut text = text.to_vec();
    let cipher = ctr::Ctr128BE::<Aes256>::new_from_slices(&key[..32], nonce);
    cipher.expect("32 and 16 bytes").apply_keystream(&mut text);
    Ok(text)
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    zstd::bulk::decompress(bytes, 64 << 20).map_err(|error| format!("it does not unpack: {error}"))
}

fn text<'v>(value: &'v Value, field: &str) -> Result<&'v str, String> {
    value[field].as_str().ok_or_else(|| format!("its `{field}` is no text"))
}

fn array<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

impl Reader<'_> {
    fn document(&self, path: &str, body: &[u8]) -> Result<Value, String> {
        is_named_by_hash(path, body)?;
        let opened = open(self.key, body)?;
        let json = match opened.split_first() {
            Some((2, packed)) => inflate(packed)?,
            _ => opened,
        };
        serde_json::from_slice(&json).map_err(|error| format!("it is no JSON: {error}"))
    }

    fn index(&mut self, path: &str, body: &[u8]) -> Result<(), String> {
        let index = self.document(path, body)?;
        for pack in array(&index, "packs") {
            let id = text(pack, "id")?;
            for blob in array(pack, "blobs") {
                let number = |field: &str| {
                    let number = blob[field].as_u64().and_then(|n| usize::try_from(n).ok());
                    number.ok_or_else(|| format!("its `{field}` is no number"))
                };
                let name = (text(blob, "type")?.to_owned(), text(blob, "id")?.to_owned());
                let place = Place {
                    pack: format!("data/{}/{id}", &id[..2]),
                    offset: number("offset")?,
                    length: number("length")?,
                    is_compressed: blob["uncompressed_length"].as_u64().is_some_and(|n| n > 0),
                };
                self.blobs.entry(name).or_default().push(place);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, path: &str, body: &[u8]) -> Result<Found, String> {
        let snapshot = self.document(path, body)?;
        let mut files = Files::new();
        self.directory(text(&snapshot, "tree")?, "", &mut files)?;
        let tag = array(&snapshot, "tags").first().and_then(Value::as_str).unwrap_or_default();
        Ok(Found { tag: tag.to_owned(), files })
    }

    fn directory(&mut self, id: &str, path: &str, files: &mut Files) -> Result<(), String> {
        let tree = self.blob("tree", id)?;
        let tree: Value = serde_json::from_slice(&tree).map_err(|error| error.to_string())?;
        for node in array(&tree, "nodes") {
            let path = format!("{path}/{}", text(node, "name")?);
            if text(node, "type")? == "dir" {
                self.directory(text(node, "subtree")?, &path, files)?;
                continue;
            }
            let mut content = Vec::new();
            for id in array(node, "content") {
                content.extend(self.blob("data", id.as_str().unwrap_or_default())?);
            }
            files.insert(path, content);
        }
        Ok(())
    }

    /// Returns a blob from the first place in which it is whole.
    fn blob(&mut self, kind: &str, id: &str) -> Result<Vec<u8>, String> {
        let name = (kind.to_owned(), id.to_owned());
        if let Some(opened) = self.opened.get(&name) {
            return Ok(opened.clone());
        }
        let places = self.blobs.get(&name).ok_or_else(|| format!("no index lists {kind} {id}"))?;
        let mut result = Err(String::new());
        for place in places {
            result = self.blob_at(place, id);
            if result.is_ok() {
                break;
            }
        }
        let opened = result.map_err(|what| format!("{kind} {id}: {what}"))?;
        self.opened.insert(name, opened.clone());
        Ok(opened)
    }

    fn blob_at(&self, place: &Place, id: &str) -> Result<Vec<u8>, String> {
        let pack = place.pack.parse().ok().and_then(|path: ObjectPath| self.objects.get(&path));
        let pack = pack.ok_or_else(|| format!("{} is not there", place.pack))?;
        let sealed = pack.get(place.offset..place.offset + place.length);
        let opened = open(self.key, sealed.ok_or("it lies beyond its pack's end")?)?;
        let plain = if place.is_compressed { inflate(&opened)? } else { opened };
        let hash = hex::encode(Sha256::digest(&plain));
        if hash == id { Ok(plain) } else { Err(format!("it hashes to {hash}")) }
    }
}
