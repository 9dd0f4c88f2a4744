//! What a person can do about an error: the words of its hint.

use lifeboat_model::{PlanId, TierName};
use lifeboat_repository::RepositoryError;

use super::OpsError;

impl OpsError {
    /// Returns what to do about a tier that is not as it was left.
    pub(super) fn hint_of_a_tier(&self) -> Option<String> {
        Some(match self {
            Self::TierNew { .. } => "`lifeboat backup` sets it up".to_owned(),
            Self::TierMoved { from, .. } => format!(
                "`lifeboat backup` sets it up there, and brings it what other tiers hold; if it is to stay at {from}, say so in the plan"
            ),
            Self::TierUnread { trouble, .. } => trouble.hint.clone()?,
            Self::TierLate { address, .. } => {
                format!("see whether {address} can be reached from here and is well")
            }
            Self::SnapshotsGone { tier, snapshots } => {
                gone_hint(tier, &snapshots.first().map(ToString::to_string).unwrap_or_default())
            }
            Self::Recovering { .. } => {
                "`lifeboat recover --resume` goes on with it, `lifeboat recover abort` gives it up"
                    .to_owned()
            }
            Self::Held { .. } => {
                "`lifeboat retention show` tells who holds since when, and what ends it".to_owned()
            }
            Self::NotProven { .. } => {
                "look whether it is the right folder or bucket; what is another's is left alone"
                    .to_owned()
            }
            Self::NoElderTier { tier, .. } => format!(
                "bring one of them back; take what is lost for good out of the plan, and with none left `{tier}` begins anew"
            ),
            _ => return None,
        })
    }

    /// Returns what to do where there is no plan yet that a command could ask.
    pub(super) fn hint_on_a_bare_machine(&self) -> Option<String> {
        Some(match self {
            Self::NothingThere { address } => format!(
                "look whether {address} is the tier's whole address, with what stands before `site.json`{}",
                if is_folder(address) { ", and whether it is mounted" } else { "" }
            ),
            Self::KeyOfAnother { site, expected, .. } => format!(
                "find the recovery key of `{site}`, whose verifier is {expected}, or give `--from` the address of your own site's tier"
            ),
            Self::PlanNotRecorded { there, .. } => format!(
                "give `--from` the address of another tier; if you trust who can write to this one, `--plan-id` takes {}",
                or_list(there)
            ),
            Self::MarkLost { .. } => {
                "look whether this is the site's recovery key and its tier's whole address; `--from` takes another tier as well".to_owned()
            }
            Self::NotOnePlan { there, .. } => format!("the plans there are {}", or_list(there)),
            Self::NotATierOf { .. } => {
                "give `--plan-id` another plan, or `--from` the address of another tier".to_owned()
            }
            _ => return None,
        })
    }
}

/// Says how to go on where something is in the way of a restore, or room is lacking.
pub(super) fn hint_of_the_target(error: &RepositoryError) -> String {
    let first = match error {
        RepositoryError::NoRoom { .. } => "make room, and restore into a new directory",
        _ => "restore into an empty or new directory",
    };
    format!(
        "{first}; what an interrupted restore of files left there is gone on with by `lifeboat repo restore tier:TIER SNAPSHOT --to DIR --overwrite if-changed`"
    )
}

/// Says first how to bring a lost mark back: to empty a tier would lose what is there.
pub(super) fn whose_mark(address: &str) -> String {
    format!(
        "if this site has copies there, `lifeboat tiers mark TIER` proves it and puts its `site.json` back; otherwise \
         choose another address than {address}, or empty it: a tier belongs to one site alone"
    )
}

/// Says what may be done about snapshots that are gone from a tier.
pub fn gone_hint(tier: &TierName, snapshot: &str) -> String {
    format!(
        "`lifeboat tiers catch-up {tier}` copies it back from a tier that holds it; if it is to stay away, \
         `lifeboat retention let-go {tier} {snapshot}` says so"
    )
}

pub(super) fn known_names(names: &[impl ToString]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    format!("it has {}", names.join(", "))
}

pub(super) fn known_places(tiers: &[(TierName, String)]) -> String {
    let tiers: Vec<_> =
        tiers.iter().map(|(name, address)| format!("{name} at {address}")).collect();
    format!(
        "it has {}; what is in no plan is for `lifeboat restore --from ADDRESS` and `lifeboat repo`",
        tiers.join(", ")
    )
}

/// Lists plans by their ids, the first few.
pub(super) fn or_list(plans: &[PlanId]) -> String {
    const SHOWN_MAX: usize = 5;
    if plans.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> = plans.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = if plans.len() > SHOWN_MAX { " and older ones" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Tells whether a tier lies in a folder, where something may have to be mounted.
pub(super) fn is_folder(address: &str) -> bool {
    address.starts_with("file:")
}

pub(super) fn folder_above(address: &str) -> &str {
    address.trim_end_matches('/').rsplit_once('/').map_or(address, |(above, _)| above)
}
