//! Whether a tier that was not read is known to hold what fits a restore better than what was found: only then it is waited for.

use std::collections::BTreeSet;

use lifeboat_model::{TierName, Timestamp};

use super::{RestoreOptions, captured};
use crate::backlog::Backlog;
use crate::error::OpsError;
use crate::holdings::Holdings;
use crate::point::{At, ChosenCapture, Role, roles};
use crate::tier_state::expected;
use crate::wire::open::OpenSite;

/// Tells whether anything fits.
pub(super) fn is_found(options: &RestoreOptions, holdings: &Holdings) -> bool {
    captured(options, holdings).is_some()
}

/// Returns which of some tiers that were not read is known to hold what fits better than what was found, or anything that fits if
/// nothing was.
pub(super) fn held_by(
    open: &OpenSite<'_>,
    options: &RestoreOptions,
    holdings: &Holdings,
    unread: &BTreeSet<TierName>,
) -> Result<Option<TierName>, OpsError> {
    if unread.is_empty() {
        return Ok(None);
    }
    let (view, plan, asset) = (open.catalog().view(), open.site().plan(), &options.asset);
    let backlog = Backlog::load(view, plan)?;
    let found = captured(options, holdings);
    if found.is_some() && options.snapshot.is_some() {
        return Ok(None);
    }
    let role = roles(plan).get(asset).copied().unwrap_or(Role::Media);
    for tier in unread {
        let recorded = expected(view, tier)?;
        let only_there = backlog.nowhere_else(asset, (tier, &recorded), holdings.present());
        if only_there.into_iter().any(|time| fits_better(options.at, role, found, time)) {
            return Ok(Some(tier.clone()));
        }
    }
    Ok(None)
}

/// Tells whether a capture of this time could be chosen instead of the one that was found.
fn fits_better(at: At, role: Role, found: Option<ChosenCapture<'_>>, time: Timestamp) -> bool {
    let Some(ChosenCapture { capture, point }) = found else {
        return at.reaches(time) || matches!(at, At::Named(_));
    };
    let here = capture.time;
    match (at, point) {
        (At::Latest | At::Time(_), _) => time > here && at.reaches(time),
        // A point of this name may lie where nobody looked.
        (At::Named(_), None) => true,
        (At::Named(_), Some(point)) => match role {
            Role::Media if here >= point.time => (point.time..here).contains(&time),
            Role::Media => time > here,
            Role::Database | Role::Configuration if here <= point.time => {
                time > here && time <= point.time
            }
            Role::Database | Role::Configuration => time < here,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::point::{Capture, Point};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn point(second: i64) -> Point {
        Point {
            name: "a".to_owned(),
            time: at(second),
            members: Vec::new(),
            missing: Vec::new(),
            whole_on: Vec::new(),
            heights: BTreeMap::new(),
        }
    }

    #[test]
    fn only_what_would_be_chosen_instead_is_waited_for() {
        let capture = Capture {
            asset: "media".parse().unwrap(),
            job: None,
            time: at(50),
            ended: None,
            complete: None,
            copies: BTreeMap::new(),
        };
        let better = |wanted, role, point: Option<&Point>| -> Vec<i64> {
            let found = Some(ChosenCapture { capture: &capture, point });
            let fits = |second: &i64| fits_better(wanted, role, found, at(*second));
            [10, 40, 45, 60, 70, 90].into_iter().filter(fits).collect()
        };
        assert_eq!(better(At::Latest, Role::Media, None), [60, 70, 90]);
        assert_eq!(better(At::Time(at(70)), Role::Media, None), [60, 70]);
        let (early, late) = (point(40), point(70));
        let named = At::Named(at(40));
        assert_eq!(better(named, Role::Media, Some(&early)), [40, 45]);
        assert_eq!(better(named, Role::Media, Some(&late)), [60, 70, 90]);
        assert_eq!(better(named, Role::Configuration, Some(&late)), [60, 70]);
        assert_eq!(better(named, Role::Configuration, Some(&early)), [10, 40, 45]);
        assert_eq!(better(named, Role::Database, None).len(), 6, "nobody knows of the point");
    }
}
