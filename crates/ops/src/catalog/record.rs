//! One record of the catalog: a signed document that holds the hash of the one before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::Signature;
use lifeboat_model::{PlanId, RecordId, SiteName, Timestamp, WriterId};
use lifeboat_tiers::ObjectPath;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::body::Body;
use super::canonical;
use crate::recovery_key::Verifier;
use crate::writer::Writer;

/// The schema that this version writes; it reads this one and all before.
pub const SCHEMA: u32 = 1;

/// Put before what is signed, so that a signature over a record is never one over something else.
const SIGNING_LABEL: &[u8] = b"lifeboat record v1\n";

/// How many hex digits of a record's hash stand in its object's name.
const HASH_DIGITS: usize = 16;

/// The part that every record has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Which version of the language it is written in.
    pub schema: u32,
    /// The site it belongs to.
    pub site: SiteName,
    /// Who wrote it.
    pub writer: WriterId,
    /// Its place in the writer's chain, from 0.
    pub sequence: u64,
    /// The hash of the record before, over its plaintext.
    pub previous: Option<RecordId>,
    /// The plan in force.
    pub plan: Option<PlanId>,
    /// When it was written.
    pub time: Timestamp,
}

/// Bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They are not JSON of the right shape.
    #[error("it is not a record")]
    Malformed(#[source] serde_json::Error),
    /// They are a record in another spelling than the canonical one.
    #[error("it is not spelled canonically, so somebody changed it")]
    NotCanonical,
    /// It has no signature, or one that is none.
    #[error("it has no signature")]
    Unsigned,
    /// It was written by a later version.
    #[error("it has schema {found}, and this version reads up to {SCHEMA}")]
    NewerSchema {
        /// The record's schema.
        found: u32,
    },
}

/// A record, well-formed; whether its signature holds is asked with [`Record::is_signed_by`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    header: Header,
    body: Body,
    id: RecordId,
    plaintext: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    header: Header,
    body: Body,
}

impl Record {
    /// Writes and signs a record.
    pub(crate) fn write(header: Header, body: Body, writer: &Writer) -> Self {
        let document =
            serde_json::to_value(Document { header: header.clone(), body: body.clone() })
                .expect("records are JSON");
        let Value::Object(mut fields) = document else { unreachable!("a struct is an object") };
        let signature = writer.sign(&signed_text(&fields));
        fields.insert("signature".to_owned(), BASE64.encode(signature.to_bytes()).into());
        let plaintext = canonical::to_vec(&fields).expect("records hold no fractions");
        Self { header, body, id: id_of(&plaintext), plaintext }
    }

    /// Reads a record.
    pub fn read(plaintext: &[u8]) -> Result<Self, RecordError> {
        let fields: Map<String, Value> =
            serde_json::from_slice(plaintext).map_err(RecordError::Malformed)?;
        if canonical::to_vec(&fields).ok().as_deref() != Some(plaintext) {
            return Err(RecordError::NotCanonical);
        }
        match fields.get("schema").and_then(Value::as_u64).map(u32::try_from) {
            Some(Ok(schema)) if schema <= SCHEMA => {}
            Some(schema) => {
                return Err(RecordError::NewerSchema { found: schema.unwrap_or(u32::MAX) });
            }
            None => {}
        }
        if signature_in(&fields).is_none() {
            return Err(RecordError::Unsigned);
        }
        let Document { header, body } =
            serde_json::from_value(Value::Object(fields)).map_err(RecordError::Malformed)?;
        Ok(Self { header, body, id: id_of(plaintext), plaintext: plaintext.to_vec() })
    }

    /// Tells whether it carries this key's signature.
    pub fn is_signed_by(&self, verifier: &Verifier) -> bool {
        let fields: Option<Map<String, Value>> = serde_json::from_slice(&self.plaintext).ok();
        let signed = fields.and_then(|mut fields| {
            let signature = signature_in(&fields)?;
            fields.remove("signature");
            Some((signed_text(&fields), signature))
        });
        signed.is_some_and(|(text, signature)| verifier.verifies(&text, &signature))
    }

    /// Returns the part that every record has.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns what it tells.
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Returns its hash.
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// Returns the bytes that were hashed.
    pub fn plaintext(&self) -> &[u8] {
        &self.plaintext
    }

    /// Returns where it lies on a tier.
    pub fn path(&self) -> ObjectPath {
        let name = RecordName::of(self);
        let path = format!("catalog/{}/{:010}-{}.age", name.writer, name.sequence, name.hash);
        path.parse().expect("ids and digits are a valid path")
    }

    /// Returns its place among all records: merged by time, ties broken the same way everywhere.
    pub const fn order(&self) -> (Timestamp, WriterId, u64) {
        (self.header.time, self.header.writer, self.header.sequence)
    }
}

/// What the name of a record's object says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    /// Whose chain.
    pub writer: WriterId,
    /// Which place in it.
    pub sequence: u64,
    /// The first digits of the record's hash.
    pub hash: String,
}

impl RecordName {
    /// Returns the name of a record.
    pub fn of(record: &Record) -> Self {
        let mut hash = record.id.to_hex();
        hash.truncate(HASH_DIGITS);
        Self { writer: record.header.writer, sequence: record.header.sequence, hash }
    }

    /// Reads an object's path; `None` for what is no record.
    pub fn parse(path: &ObjectPath) -> Option<Self> {
        let rest = path.as_str().strip_prefix("catalog/")?;
        let (writer, file) = rest.split_once('/')?;
        let (sequence, hash) = file.strip_suffix(".age")?.split_once('-')?;
        Some(Self {
            writer: writer.parse().ok()?,
            sequence: sequence.parse().ok()?,
            hash: hash.to_owned(),
        })
    }
}

fn id_of(plaintext: &[u8]) -> RecordId {
    RecordId::from_bytes(Sha256::digest(plaintext).into())
}

fn signed_text(unsigned: &Map<String, Value>) -> Vec<u8> {
    let mut text = SIGNING_LABEL.to_vec();
    text.extend(canonical::to_vec(unsigned).expect("it was canonical with its signature"));
    text
}

fn signature_in(fields: &Map<String, Value>) -> Option<Signature> {
    let bytes = BASE64.decode(fields.get("signature")?.as_str()?).ok()?;
    Signature::from_slice(&bytes).ok()
}
