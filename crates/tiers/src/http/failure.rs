//! Why an exchange with a store ended without an answer.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::TierError;
use crate::refusal::Refusal;

/// There was no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum HttpFailure {
    /// Nothing moved for too long.
    #[error("nothing moved for {} seconds", silence.as_secs_f32())]
    Silent {
        /// The bound.
        silence: Duration,
    },
    /// No connection came about in time.
    #[error("no connection came about in time")]
    Unanswered {
        /// The library's word.
        #[source]
        source: reqwest::Error,
    },
    /// No connection came about.
    #[error("no connection: {cause}")]
    Connect {
        /// What the system said.
        cause: String,
        /// The library's word.
        #[source]
        source: reqwest::Error,
    },
    /// The store could not prove that it is who it is taken for.
    #[error("its certificate was not accepted: {cause}")]
    Certificate {
        /// What is wrong with it.
        cause: String,
    },
    /// What answers is no encrypted store.
    #[error("what answers there is not encrypted")]
    Plain,
    /// The connection ended before all was said.
    #[error("the connection broke: {cause}")]
    Broken {
        /// What the system said.
        cause: String,
        /// The library's word.
        #[source]
        source: reqwest::Error,
    },
    /// The address is none.
    #[error("its address cannot be asked")]
    Address,
}

impl HttpFailure {
    pub(super) fn of(error: reqwest::Error) -> Self {
        // The address may hold what nobody is to read, and the tier is named anyway.
        let error = error.without_url();
        if let Some(refused) = certificate_error(&error) {
            return Self::Certificate { cause: refused };
        }
        if is_answered_plainly(&error) {
            return Self::Plain;
        }
        let cause = innermost(&error);
        match (error.is_connect(), error.is_timeout()) {
            (_, true) => Self::Unanswered { source: error },
            (true, false) => Self::Connect { cause, source: error },
            (false, false) => Self::Broken { cause, source: error },
        }
    }

    /// Returns whether nobody was there, nobody answered, or something went wrong on the way.
    const fn sort(&self) -> io::ErrorKind {
        match self {
            Self::Silent { .. } | Self::Unanswered { .. } => io::ErrorKind::TimedOut,
            Self::Connect { .. } => io::ErrorKind::NotConnected,
            Self::Certificate { .. } | Self::Plain | Self::Broken { .. } | Self::Address => {
                io::ErrorKind::Other
            }
        }
    }

    /// Says it of a tier: what may pass is `Unavailable`.
    pub(crate) fn told(self, tier: &str, action: String) -> TierError {
        let refusal = match self {
            Self::Certificate { .. } => Refusal::Certificate,
            Self::Plain => Refusal::Plain,
            Self::Address => Refusal::Unfit,
            other => {
                let source = io::Error::new(other.sort(), other);
                return TierError::Unavailable { tier: tier.to_owned(), action, source };
            }
        };
        TierError::refused(tier, action, refusal, io::Error::other(self))
    }
}

/// Returns the causes of an error, itself first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// Returns the next cause, also one that hides in an `io::Error`.
fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(within) => Some(within),
        None => error.source(),
    }
}

fn certificate_error(error: &reqwest::Error) -> Option<String> {
    causes(error).find_map(|cause| match cause.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(refused) => Some(refused.to_string()),
        _ => None,
    })
}

/// Tells whether what came back was no message of an encrypted connection.
fn is_answered_plainly(error: &reqwest::Error) -> bool {
    let of_tls = |cause: &(dyn Error + 'static)| {
        matches!(cause.downcast_ref::<rustls::Error>(), Some(rustls::Error::InvalidMessage(_)))
    };
    causes(error).any(of_tls)
}

fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}
