//! Sealing with age: whatever lies on a tier outside its repository is one of these envelopes.
//!
//! An envelope hides; it does not prove who wrote it. Records carry a signature inside.

use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use age::x25519;
use lifeboat_model::{Classify, ErrorKind, Exit, Hint, Secret};
use serde::{Serialize, Serializer};

/// An envelope could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// It was sealed to somebody else.
    #[error("`{what}` is sealed to another recovery key")]
    AnotherKey {
        /// Which object.
        what: String,
    },
    /// It is no whole age file.
    #[error("`{what}` is not a whole age file")]
    Damaged {
        /// Which object.
        what: String,
        /// What age says.
        #[source]
        source: age::DecryptError,
    },
}

impl EnvelopeError {
    fn of(what: &str, source: age::DecryptError) -> Self {
        let what = what.to_owned();
        match source {
            age::DecryptError::NoMatchingKeys => Self::AnotherKey { what },
            source => Self::Damaged { what, source },
        }
    }
}

impl Classify for EnvelopeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::AnotherKey { .. } => ErrorKind::Denied,
            Self::Damaged { .. } => ErrorKind::Corrupt,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::AnotherKey { .. } => Exit::WrongKey,
            Self::Damaged { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::AnotherKey { .. } => {
                Some(Hint::new("is it this site's tier? its key is where the plan's [key] says"))
            }
            Self::Damaged { .. } => {
                Some(Hint::new("run `lifeboat catalog verify`: another tier may hold it whole"))
            }
        }
    }
}

/// A text is not an age recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an age recipient: expected `age1…`")]
pub struct ParseRecipientError {
    text: String,
}

/// To whom envelopes are sealed: `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(x25519::Recipient);

impl Recipient {
    /// Seals `plaintext`; only the recovery key opens it.
    pub fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        age::encrypt(&self.0, plaintext).expect("writing into memory cannot fail")
    }
}

impl FromStr for Recipient {
    type Err = ParseRecipientError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.parse::<x25519::Recipient>();
        parsed.map(Self).map_err(|_| ParseRecipientError { text: text.to_owned() })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What opens envelopes; held only where the recovery key is.
#[derive(Clone)]
pub struct Opener(x25519::Identity);

impl Opener {
    /// Takes an identity as age writes it; `None` if it is none.
    pub fn from_age_identity(identity: &Secret) -> Option<Self> {
        identity.expose().parse().ok().map(Self)
    }

    /// Returns the public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// Opens an envelope; `what` names it in the error.
    pub fn open(&self, what: &str, sealed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        age::decrypt(&self.0, sealed).map_err(|source| EnvelopeError::of(what, source))
    }

    /// Opens the beginning of an envelope, of which only the [first bytes](sealed_length_max) need be
    /// there: at most `length` bytes, each of them verified.
    pub fn open_first(
        &self,
        what: &str,
        sealed: &[u8],
        length: u64,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let read = || {
            let opened = age::Decryptor::new(sealed)?;
            let mut plaintext = Vec::new();
            let identity: &dyn age::Identity = &self.0;
            opened.decrypt(std::iter::once(identity))?.take(length).read_to_end(&mut plaintext)?;
            Ok(plaintext)
        };
        read().map_err(|source| EnvelopeError::of(what, source))
    }
}

/// How many plain bytes age seals at a time.
const CHUNK_LENGTH: u64 = 64 << 10;
/// What proves each of them.
const TAG_LENGTH: u64 = 16;
/// What the head of an envelope has that is sealed to one recipient, without and with what age adds to it
/// at random so that readers do not rely on its shape: 400 bytes at most, and some to spare.
const HEAD_LENGTH_MIN: u64 = 184;
const HEAD_LENGTH_MAX: u64 = 512;

/// Returns how many bytes at the beginning of an envelope hold the first `length` plain ones.
pub const fn sealed_length_max(length: u64) -> u64 {
    HEAD_LENGTH_MAX + length.div_ceil(CHUNK_LENGTH) * (CHUNK_LENGTH + TAG_LENGTH)
}

/// Tells whether an envelope of `sealed` bytes can be a whole one of `length` plain bytes, as far as
/// can be told without opening it: of one that was cut off by some two hundred bytes it cannot.
pub const fn may_be_whole(sealed: u64, length: u64) -> bool {
    let chunks = if length == 0 { 1 } else { length.div_ceil(CHUNK_LENGTH) };
    let body = length + chunks * TAG_LENGTH;
    sealed >= body + HEAD_LENGTH_MIN && sealed - body <= HEAD_LENGTH_MAX
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use age::secrecy::ExposeSecret as _;

    use super::*;

    fn identity() -> Secret {
        Secret::new(x25519::Identity::generate().to_string().expose_secret().to_owned())
    }

    fn opener(identity: &Secret) -> Opener {
        Opener::from_age_identity(identity).unwrap()
    }

    #[test]
    fn stock_age_opens_what_we_seal() {
        let identity = identity();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity");
        std::fs::File::create(&file).unwrap().write_all(identity.expose().as_bytes()).unwrap();
        let mut age = Command::new("age")
            .args(["-d", "-i"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("age is installed by `make test`");
        let sealed = opener(&identity).recipient().seal(b"a record");
        age.stdin.take().unwrap().write_all(&sealed).unwrap();
        assert_eq!(age.wait_with_output().unwrap().stdout, b"a record");
    }

    #[test]
    fn we_open_what_we_sealed_and_nothing_else() {
        let opener = opener(&identity());
        let parsed: Recipient = opener.recipient().to_string().parse().unwrap();
        let sealed = parsed.seal(b"text");
        assert_eq!(opener.open("x", &sealed).unwrap(), b"text");
        let other = super::tests::opener(&identity()).open("x", &sealed).unwrap_err();
        assert_eq!(other.exit(), Exit::WrongKey);
        for length in 0..sealed.len() {
            let error = opener.open("x", &sealed[..length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}");
        }
    }

    #[test]
    fn the_beginning_opens_without_the_rest() {
        let opener = opener(&identity());
        for length in [0, 1, 1000, 65_535, 65_536, 65_537, 300_000] {
            let plaintext: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let sealed = opener.recipient().seal(&plaintext);
            assert!(may_be_whole(sealed.len() as u64, length), "{length}");
            let whole = usize::try_from(sealed_length_max(1000)).unwrap().min(sealed.len());
            let first = opener.open_first("x", &sealed[..whole], 1000).unwrap();
            assert_eq!(first, plaintext[..plaintext.len().min(1000)]);
            for cut in [0, 100, sealed.len().min(65_536) / 2] {
                assert!(opener.open_first("x", &sealed[..cut], 1000).is_err(), "{length} {cut}");
            }
            for cut in [0, 100, sealed.len().saturating_sub(400)] {
                assert!(!may_be_whole(cut as u64, length), "{length} {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_identity_opens_nothing() {
        assert!(
            Opener::from_age_identity(&Secret::new("AGE-SECRET-KEY-1NONE".to_owned())).is_none()
        );
    }
}
