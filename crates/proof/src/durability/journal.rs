//! A file that is replaced as a whole, again and again.

use std::fs;
use std::io;
use std::path::PathBuf;

use lifeboat_tiers::durable;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Trouble;

/// A journal, and what it may say.
pub(super) struct Journal {
    path: PathBuf,
    /// What was last acknowledged.
    acknowledged: Option<String>,
    /// What was written after it, without an answer.
    attempted: Option<String>,
}

impl Journal {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, acknowledged: None, attempted: None }
    }

    pub(super) fn write(&mut self, rng: &mut StdRng) -> Result<(), Trouble> {
        let text = format!("{:x}", rng.random::<u128>());
        self.attempted = Some(text.clone());
        durable::replace(&self.path, text.as_bytes(), durable::PRIVATE)?;
        self.acknowledged = Some(text);
        self.attempted = None;
        Ok(())
    }

    /// Looks whether it says what was acknowledged, or what came after that.
    pub(super) fn look(&mut self) -> Result<(), Trouble> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let (acknowledged, attempted) = (self.acknowledged.take(), self.attempted.take());
        if text == acknowledged || (text.is_some() && text == attempted) {
            self.acknowledged = text;
            Ok(())
        } else {
            let what = format!("{text:?}, neither {acknowledged:?} nor {attempted:?}");
            Err(format!("the journal says {what}").into())
        }
    }
}
