//! The recovery key: the one secret that brings everything back.
//!
//! [`RecoveryKey::generate`] makes it, [`RecoveryKey::spelled`] writes it for a person and for
//! `restic`, [`RecoveryKey::parse`] reads it from where the person kept it. Everything else that
//! seals or signs follows from it, so that no second secret has to survive.

mod derived;
mod spelling;

use std::fmt;

use lifeboat_model::{Classify, ErrorKind, Hint, Secret};
use serde::Serialize;
use zeroize::Zeroizing;

pub use derived::{ParseVerifierError, RootKey, Verifier};
pub use spelling::ParseKeyError;

use crate::random;
use lifeboat_tiers::envelope::{Opener, Recipient};

/// 256 random bits; wiped from memory when dropped, shown only by [`RecoveryKey::spelled`].
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey(Zeroizing<[u8; 32]>);

/// The public halves of a recovery key, as `[key]` in a plan holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicHalves {
    /// To whom everything outside the repository is sealed.
    pub recipient: Recipient,
    /// By whose signature writers are enrolled.
    pub verifier: Verifier,
}

impl RecoveryKey {
    /// Makes a new key.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random::bytes()))
    }

    /// Reads a key as a person wrote it; case, blanks and look-alike letters do not matter.
    pub fn parse(text: &Secret) -> Result<Self, ParseKeyError> {
        spelling::read(text.expose()).map(Self)
    }

    /// Returns the key as a person copies it, which is also the restic password.
    pub fn spelled(&self) -> Secret {
        Secret::new(spelling::write(&self.0))
    }

    /// Returns the age identity in the form that `age -i` reads.
    pub fn age_identity(&self) -> Secret {
        derived::age_identity(&self.0)
    }

    /// Returns what opens everything that is sealed to this key.
    pub fn opener(&self) -> Opener {
        Opener::from_age_identity(&self.age_identity()).expect("the derived identity is valid")
    }

    /// Returns the key that enrols writers.
    pub fn root_key(&self) -> RootKey {
        derived::root_key(&self.0)
    }

    /// Returns the public halves.
    pub fn public_halves(&self) -> PublicHalves {
        PublicHalves { recipient: self.opener().recipient(), verifier: self.root_key().verifier() }
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}

impl Classify for ParseKeyError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }

    fn exit(&self) -> lifeboat_model::Exit {
        lifeboat_model::Exit::WrongKey
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Mistyped { .. } | Self::Symbol { .. } | Self::GroupLength { .. } => {
                "compare this group with what is written down; upper and lower case do not matter"
            }
            _ => "a recovery key is `LIFEBOAT` and 14 groups of five symbols",
        };
        Some(Hint::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// A change of these values would lock every existing site out.
    #[test]
    fn derived_keys_never_change() {
        let key = RecoveryKey(Zeroizing::new([7; 32]));
        let halves = key.public_halves();
        insta::assert_snapshot!(key.spelled().expose(), @"LIFEBOAT-0W3GA-E1R7R-0W3G8-E1R7T-0W3GE-E1R7W-0W3GC-E1R7Y-0W3G2-E1R7G-0W3G0-E1R7J-0W3G6-9ER6K");
        insta::assert_snapshot!(halves.recipient.to_string(), @"age1dedv3w39rs7rlq9wjhuvhn0d8kuvsuxg8tmzts6ptrzff8evhqzs7x7ped");
        insta::assert_snapshot!(halves.verifier.to_string(), @"ed25519:7h3HEi7DGOAlwxZZqOe4WKysVy8iq8NaJT9ZQbDgbnw=");
        let identity = hex::encode(Sha256::digest(key.age_identity().expose()));
        insta::assert_snapshot!(identity, @"d8028ac8e9c85c9bef9e1ac32c5a038651bc611e321133bd8ec4bdac69de26ad");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let key = RecoveryKey::generate();
        assert_eq!(format!("{key:?} {:?}", key.root_key()), "RecoveryKey(…) RootKey(…)");
        assert_ne!(key, RecoveryKey::generate());
        assert_eq!(RecoveryKey::parse(&key.spelled()), Ok(key));
    }

    #[test]
    fn verifiers_read_back() {
        let verifier = RecoveryKey::generate().public_halves().verifier;
        assert_eq!(verifier.to_string().parse(), Ok(verifier));
        for bad in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA"] {
            assert!(bad.parse::<Verifier>().is_err(), "{bad}");
        }
    }
}
