//! A hand-over while it goes on: noted here, so that one that is cut short is told of, and gone on with or taken back.
//!
//! # Crash consistency
//!
//! A service is noted before its `stop` is run, so that whatever a killed hand-over stopped is known. The note goes once the
//! hand-over is recorded, or all runs again; one that a kill leaves behind its record is told by that to be over.

use std::fs;
use std::io;

use lifeboat_model::{PlaceName, ServiceName, Timestamp};
use lifeboat_tiers::durable;
use serde::{Deserialize, Serialize};

use super::{Known, PlaceError, What};
use crate::catalog::body::Whereabouts;
use crate::error::OpsError;
use crate::process::ProcessMark;
use crate::state::State;
use crate::wire::Site;

/// A hand-over that was begun here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunHandOver {
    /// When it began.
    pub begun: Timestamp,
    /// Who began it.
    pub login: String,
    /// Where it was to go on.
    pub to: Option<PlaceName>,
    /// The services that were stopped, or were being stopped, in that order.
    pub stopped: Vec<ServiceName>,
    /// Whose work it is.
    pub process: ProcessMark,
}

impl BegunHandOver {
    /// Tells whether somebody is at it.
    pub fn goes_on(&self) -> bool {
        self.process.runs()
    }

    /// Keeps it.
    pub(super) fn keep(&self, site: &Site) -> Result<(), OpsError> {
        let path = State::open(&site.surroundings().state_directory)?.hand_over_path();
        let bytes = serde_json::to_vec(self).expect("it has only texts for keys");
        durable::replace(&path, &bytes, durable::PRIVATE).map_err(|source| OpsError::Io {
            action: "write",
            path,
            source,
        })
    }

    /// Forgets it, since it is over.
    pub(super) fn forget(site: &Site) -> Result<(), OpsError> {
        let path = State::open(&site.surroundings().state_directory)?.hand_over_path();
        match durable::remove(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(OpsError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

/// Returns the hand-over that was begun here and is not over, as far as is known of where the platform lives.
pub fn begun(
    site: &Site,
    here: &Whereabouts,
    known: &Known,
) -> Result<Option<BegunHandOver>, OpsError> {
    let path = State::open(&site.surroundings().state_directory)?.hand_over_path();
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| OpsError::Io { action: "read", path, source })?,
    };
    let begun: BegunHandOver = serde_json::from_slice(&bytes).map_err(|_| PlaceError::Damaged)?;
    // Both are of this host's clock.
    let is_record_of_it = |what: &What| matches!(what, What::Left(left) if left.whereabouts.is(here) && left.still >= begun.begun);
    let is_over = known.moves.iter().any(|each| is_record_of_it(&each.what));
    Ok(Some(begun).filter(|_| !is_over))
}
