//! How an asset is proven to come back, as a status tells it. Pure.
//!
//! Where the plan has restore tests of an asset, they decide ([`crate::proof`]); where it has none, the last restore of it
//! that was checked.

use lifeboat_model::{Outcome, Timestamp};
use serde::Serialize;

use super::history::BroughtBack;
use crate::objectives::Rehearsal;
use crate::proof::{self, Need};

/// How well it is proven that an asset comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofState {
    /// It came back and was checked, by this plan and in time.
    Proven,
    /// It did once; the plan changed since, that is too long ago, or the last test could not verify it.
    NeedsProof,
    /// It never did.
    Never,
    /// It was tried last and did not pass.
    Failed,
}

/// The proof of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// How well it is proven.
    pub state: ProofState,
    /// When it passed last.
    pub time: Option<Timestamp>,
    /// Why it is not proven, if it is not.
    pub why: Option<String>,
    /// Whether the plan asks for it: it has a restore test of the asset.
    pub is_asked: bool,
}

/// Judges how well an asset is proven: by its restore tests, or by how it came `back`, the newest first.
pub fn proof(tested: Option<&proof::Proof>, back: &[BroughtBack]) -> Proof {
    tested.map_or_else(|| of_restores(back), of_tests)
}

fn of_tests(tested: &proof::Proof) -> Proof {
    let state = match (&tested.needs, tested.proven) {
        (None, _) => ProofState::Proven,
        (Some(Need::Failed { .. }), _) => ProofState::Failed,
        (Some(Need::NeverProven), _) | (Some(_), None) => ProofState::Never,
        (Some(_), Some(_)) => ProofState::NeedsProof,
    };
    let why = tested.needs.as_ref().map(ToString::to_string);
    Proof { state, time: tested.proven, why, is_asked: true }
}

fn of_restores(back: &[BroughtBack]) -> Proof {
    let checked = back.iter().filter(|back| back.by == Rehearsal::VerifiedRestore);
    let last = checked.clone().find(|back| back.outcome != Outcome::CouldNotVerify);
    let mut passed = checked.filter(|back| back.outcome == Outcome::Passed);
    let time = passed.next().map(|passed| passed.time);
    let (state, why) = match last.map(|last| last.outcome) {
        Some(Outcome::Failed) => {
            (ProofState::Failed, Some("its last restore did not pass its checks".to_owned()))
        }
        _ if time.is_none() => (ProofState::Never, None),
        _ => (ProofState::Proven, None),
    };
    Proof { state, time, why, is_asked: false }
}
