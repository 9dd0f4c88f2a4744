//! Key files: the master key, sealed by a key that scrypt stretches from a password.
//!
//! # Limits
//!
//! A key file is read before anything about it is known to be genuine. So what it asks of scrypt is
//! held to [`MEMORY_MAX`] and [`WORK_MAX`] before any memory is taken.
//!
//! Sources: restic `doc/design.rst`, section "Keys, Encryption and MAC"; restic
//! `internal/repository/key.go`, `internal/repository/crypto/kdf.go`.

use std::time::{Duration, Instant};

use lifeboat_model::{ByteSize, KeyId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::crypto::{MasterKey, OpenError};
use crate::json::base64_bytes;

/// The most memory that a key file may ask for: eight times what restic's own calibration takes.
pub const MEMORY_MAX: ByteSize = ByteSize(512 << 20);

/// The most work that a key file may ask for, as `N·r·p`: about twenty seconds.
pub const WORK_MAX: u64 = 1 << 26;

/// The salt of a key file, in bytes; restic takes no other.
const SALT_LENGTH: usize = 64;

/// How long restic stretches a password.
const CALIBRATION: Duration = Duration::from_millis(500);

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not the document that it should be.
    #[error("it is not a key file")]
    Json(#[from] serde_json::Error),
    /// It wants another function than scrypt.
    #[error("it wants the key derivation `{kdf}`; only scrypt is known")]
    Kdf {
        /// The function it names.
        kdf: String,
    },
    /// Its parameters make no sense.
    #[error("its scrypt parameters N={n}, r={r}, p={p} are invalid")]
    Invalid {
        /// The cost factor.
        n: u64,
        /// The block size.
        r: u32,
        /// The parallelism.
        p: u32,
    },
    /// It asks for too much memory.
    #[error(
        "its scrypt parameters N={n}, r={r}, p={p} ask for {memory} of memory, more than {MEMORY_MAX}"
    )]
    Memory {
        /// The cost factor.
        n: u64,
        /// The block size.
        r: u32,
        /// The parallelism.
        p: u32,
        /// What they come to.
        memory: ByteSize,
    },
    /// It asks for too much work.
    #[error("its scrypt parameters N={n}, r={r}, p={p} ask for too much work")]
    Work {
        /// The cost factor.
        n: u64,
        /// The block size.
        r: u32,
        /// The parallelism.
        p: u32,
    },
    /// Its salt has the wrong length.
    #[error("its salt has {length} bytes, not {SALT_LENGTH}")]
    Salt {
        /// The salt's length in bytes.
        length: usize,
    },
    /// It opened, but what was sealed in it is no master key.
    #[error("it holds no master key")]
    MasterKey(#[source] serde_json::Error),
}

/// What scrypt is asked for, checked against the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParameters {
    log_n: u8,
    r: u32,
    p: u32,
}

impl KdfParameters {
    /// For a recovery key, whose 256 random bits need no stretching: 32 MiB, a tenth of a second.
    pub const RECOVERY_KEY: Self = Self { log_n: 15, r: 8, p: 1 };

    /// restic's parameters where it finds that it has no time for more.
    const PASSWORD_MIN: Self = Self { log_n: 15, r: 8, p: 4 };

    /// How often a fast machine repeats the function at most.
    const PASSWORD_P_MAX: u32 = 16;

    /// Measures, as restic does, how much this machine does in half a second within 60 MiB.
    pub fn for_password() -> Self {
        let begin = Instant::now();
        Self::RECOVERY_KEY.derive(&Secret::new("measure"), &[0; SALT_LENGTH]);
        let one = begin.elapsed().max(Duration::from_millis(1));
        let p = u32::try_from(CALIBRATION.as_millis() / one.as_millis().max(1)).unwrap_or(u32::MAX);
        Self { p: p.clamp(Self::PASSWORD_MIN.p, Self::PASSWORD_P_MAX), ..Self::PASSWORD_MIN }
    }

    /// Checks parameters against the limits.
    pub fn new(n: u64, r: u32, p: u32) -> Result<Self, KeyFileError> {
        if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
            return Err(KeyFileError::Invalid { n, r, p });
        }
        let blocks = (u128::from(n) + u128::from(p)) * u128::from(r);
        let memory = ByteSize(u64::try_from(128 * blocks).unwrap_or(u64::MAX));
        if memory > MEMORY_MAX {
            return Err(KeyFileError::Memory { n, r, p, memory });
        }
        if u128::from(n) * u128::from(r) * u128::from(p) > u128::from(WORK_MAX) {
            return Err(KeyFileError::Work { n, r, p });
        }
        let log_n = u8::try_from(n.trailing_zeros()).expect("a power of two below 2^64");
        Ok(Self { log_n, r, p })
    }

    /// Returns how much work it is, to try the cheapest first.
    pub const fn work(self) -> u64 {
        (1 << self.log_n) * self.r as u64 * self.p as u64
    }

    fn derive(self, password: &Secret, salt: &[u8]) -> MasterKey {
        let parameters = scrypt::Params::new(self.log_n, self.r, self.p)
            .expect("checked against limits that are tighter than scrypt's");
        let mut bytes = Zeroizing::new([0; 64]);
        scrypt::scrypt(password.expose().as_bytes(), salt, &parameters, &mut *bytes)
            .expect("64 bytes are a length that scrypt can give");
        MasterKey::from_bytes(&bytes)
    }
}

/// Who made a key file, and when, as it says without proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyNote {
    /// When.
    pub created: String,
    /// Which user.
    pub username: String,
    /// On which host.
    pub hostname: String,
}

/// Who made a key file, and when; a note for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOrigin {
    /// When.
    pub created: Timestamp,
    /// Which user.
    pub username: String,
    /// On which host.
    pub hostname: String,
}

/// A key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    note: KeyNote,
    parameters: KdfParameters,
    salt: Vec<u8>,
    data: Vec<u8>,
}

/// A key file as it is stored.
#[derive(Serialize, Deserialize)]
struct KeyDocument {
    #[serde(default)]
    created: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    #[serde(with = "base64_bytes")]
    salt: Vec<u8>,
    #[serde(with = "base64_bytes")]
    data: Vec<u8>,
}

impl KeyFile {
    /// Parses a key file; one that asks for too much is refused here.
    pub fn parse(document: &[u8]) -> Result<Self, KeyFileError> {
        let document: KeyDocument = serde_json::from_slice(document)?;
        if document.kdf != "scrypt" {
            return Err(KeyFileError::Kdf { kdf: document.kdf });
        }
        if document.salt.len() != SALT_LENGTH {
            return Err(KeyFileError::Salt { length: document.salt.len() });
        }
        let parameters = KdfParameters::new(document.n, document.r, document.p)?;
        let KeyDocument { created, username, hostname, salt, data, .. } = document;
        let note = KeyNote { created, username, hostname };
        Ok(Self { note, parameters, salt, data })
    }

    /// Returns who made it, and when.
    pub const fn note(&self) -> &KeyNote {
        &self.note
    }

    /// Returns what it asks of scrypt.
    pub const fn parameters(&self) -> KdfParameters {
        self.parameters
    }

    /// Opens the key file; nothing if the password is not its own.
    pub fn open(&self, password: &Secret) -> Result<Option<MasterKey>, KeyFileError> {
        let stretched = self.parameters.derive(password, &self.salt);
        match stretched.open(&self.data).map(Zeroizing::new) {
            Ok(document) => {
                serde_json::from_slice(&document).map(Some).map_err(KeyFileError::MasterKey)
            }
            Err(OpenError::Unauthenticated | OpenError::TooShort { .. }) => Ok(None),
        }
    }

    /// Makes a key file and returns its name and bytes.
    pub fn seal(
        key: &MasterKey,
        password: &Secret,
        parameters: KdfParameters,
        origin: &KeyOrigin,
    ) -> (KeyId, Vec<u8>) {
        let salt: [u8; SALT_LENGTH] = rand::random();
        let document = Zeroizing::new(serde_json::to_vec(key).expect("a master key is plain data"));
        let file = KeyDocument {
            created: origin.created.to_string(),
            username: origin.username.clone(),
            hostname: origin.hostname.clone(),
            kdf: "scrypt".to_owned(),
            n: 1 << parameters.log_n,
            r: parameters.r,
            p: parameters.p,
            salt: salt.to_vec(),
            data: parameters.derive(password, &salt).seal(&document),
        };
        let bytes = serde_json::to_vec(&file).expect("a key file is plain data");
        (KeyId::from_bytes(Sha256::digest(&bytes).into()), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weaker than anything that is ever written, so that the test is quick.
    const QUICK: KdfParameters = KdfParameters { log_n: 4, r: 1, p: 1 };

    fn origin() -> KeyOrigin {
        KeyOrigin {
            created: "2024-10-23T02:00:00Z".parse().unwrap(),
            username: "root".to_owned(),
            hostname: "web".to_owned(),
        }
    }

    fn document(n: u64, r: u32, p: u32) -> String {
        let salt = "A".repeat(86);
        format!(r#"{{"kdf":"scrypt","N":{n},"r":{r},"p":{p},"salt":"{salt}==","data":"AAAA"}}"#)
    }

    #[test]
    fn only_the_password_opens_a_key_file() {
        let key = MasterKey::generate();
        let password = Secret::new("correct horse");
        let (id, bytes) = KeyFile::seal(&key, &password, QUICK, &origin());
        assert_eq!(*id.as_bytes(), <[u8; 32]>::from(Sha256::digest(&bytes)));
        let file = KeyFile::parse(&bytes).unwrap();
        assert_eq!(file.open(&password).unwrap(), Some(key));
        assert_eq!(file.open(&Secret::new("correct mule")).unwrap(), None);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with(
            r#"{"created":"2024-10-23T02:00:00Z","username":"root","hostname":"web","kdf":"scrypt","N":16,"r":1,"p":1,"salt":""#
        ));
    }

    #[test]
    fn a_key_file_that_asks_for_gigabytes_is_refused_before_it_gets_them() {
        let error = KeyFile::parse(document(1 << 25, 8, 1).as_bytes()).unwrap_err();
        assert!(matches!(error, KeyFileError::Memory { .. }));
        assert_eq!(
            error.to_string(),
            "its scrypt parameters N=33554432, r=8, p=1 ask for 32.0 GiB of memory, more than 512.0 MiB"
        );
        for (n, r, p) in [(1 << 63, u32::MAX, 1), (2, 1 << 30, 1), (2, 1, u32::MAX)] {
            let error = KeyFile::parse(document(n, r, p).as_bytes()).unwrap_err();
            assert!(matches!(error, KeyFileError::Memory { .. }), "{n} {r} {p}");
        }
        let error = KeyFile::parse(document(1 << 15, 8, 1 << 15).as_bytes()).unwrap_err();
        assert!(matches!(error, KeyFileError::Work { .. }), "{error}");
    }

    #[test]
    fn parameters_of_restic_are_taken() {
        for (n, p) in [(32_768, 1), (32_768, 7), (65_536, 5), (131_072, 6), (262_144, 4)] {
            let file = KeyFile::parse(document(n, 8, p).as_bytes()).unwrap();
            assert_eq!(file.parameters().work(), n * 8 * u64::from(p));
        }
    }

    #[test]
    fn senseless_key_files_are_refused() {
        for (n, r, p) in [(0, 8, 1), (1, 8, 1), (3, 8, 1), (32_768, 0, 1), (32_768, 8, 0)] {
            let error = KeyFile::parse(document(n, r, p).as_bytes()).unwrap_err();
            assert!(matches!(error, KeyFileError::Invalid { .. }), "{n} {r} {p}");
        }
        let other = document(32_768, 8, 1).replace("scrypt", "argon2");
        assert!(matches!(KeyFile::parse(other.as_bytes()), Err(KeyFileError::Kdf { .. })));
        let short = document(32_768, 8, 1).replace(&format!("{}==", "A".repeat(86)), "AAAA");
        let error = KeyFile::parse(short.as_bytes()).unwrap_err();
        assert!(matches!(error, KeyFileError::Salt { length: 3 }), "{error}");
    }

    #[test]
    fn a_password_is_stretched_further_than_a_recovery_key() {
        let parameters = KdfParameters::for_password();
        assert!(parameters.work() >= 4 * KdfParameters::RECOVERY_KEY.work());
        let (n, r, p) = (1 << parameters.log_n, parameters.r, parameters.p);
        assert_eq!(KdfParameters::new(n, r, p).unwrap(), parameters);
    }
}
