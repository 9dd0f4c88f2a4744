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
        Ok(Self { parameters, salt: document.salt, data: document.data })
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
