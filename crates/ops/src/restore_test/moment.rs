//! Which moment a test brings back.
//!
//! A server alone can go to any second that its log leads to. Several assets come from one recovery point, so that they
//! belong together.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lifeboat_model::{AssetName, Cancel, EventSink, TierName, Timestamp};
use lifeboat_plan::value::instant::PointInTime;
use lifeboat_postgres::recovery::RecoveryTarget;

use super::seed::Draws;
use crate::catalog::body::Body;
use crate::catalog::view::{View, Wanted};
use crate::error::OpsError;
use crate::holdings::Holdings;
use crate::point::{At, Point};
use crate::recovery::{self, RecoveryOptions, has_base_backups};
use crate::state::State;
use crate::wire::Site;

/// A moment, as the different sorts of assets want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// For what is in snapshots.
    pub(super) at: At,
    /// For a server.
    pub(super) target: RecoveryTarget,
    /// When that was, where it is a time.
    pub(super) time: Option<Timestamp>,
}

impl Moment {
    /// Chooses the moment that is wanted of some assets.
    pub(super) fn choose(
        site: &Site,
        assets: &BTreeSet<AssetName>,
        at: &PointInTime,
        draws: &mut Draws,
        tier: Option<&TierName>,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<Self, OpsError> {
        let mut alone = assets.iter().filter(|_| assets.len() == 1);
        if let Some(server) = alone.next().filter(|asset| has_base_backups(site, asset)) {
            let target = RecoveryTarget::Latest;
            let planned = RecoveryOptions::new(server.clone(), target, PathBuf::new());
            let options = RecoveryOptions { tier: tier.cloned(), ..planned };
            return Self::of_server(site, &options, at, draws, heard);
        }
        if let PointInTime::Time(time) = at {
            return Ok(Self::at(At::Time(*time), *time));
        }
        let state = State::open(&site.surroundings().state_directory)?;
        let view = View::open(&state.view_path())?;
        let holdings = Holdings::look(site, &view, heard.0, heard.1)?;
        let points: Vec<_> = holdings.points.iter().filter(|p| holds(p, assets, tier)).collect();
        let chosen = match at {
            PointInTime::Latest => points.first(),
            PointInTime::Point(time) => match points.iter().find(|p| At::Named(*time).names(p)) {
                None => return Ok(Self::at(At::Time(*time), *time)),
                named => named,
            },
            PointInTime::Random => draws.one_of(&points),
            other => {
                let what = format!(
                    "`{other}` for a test of several assets; write latest, random or a time"
                );
                return Err(OpsError::NotInPlan { what });
            }
        };
        let first = assets.first().cloned();
        match (chosen, first) {
            // By its name, since that alone ties to the database the media that came after it.
            (Some(point), _) => {
                let whole = whole_at(&view, point, assets)?.unwrap_or(point.time);
                Ok(Self::at(At::parse(&point.name)?, point.time.max(whole)))
            }
            (None, Some(asset)) => {
                let when = "at all, in a point that holds all assets of this test".to_owned();
                Err(OpsError::NoPoint { asset, when })
            }
            (None, None) => Err(OpsError::NotInPlan { what: "asset to restore".to_owned() }),
        }
    }

    const fn at(at: At, time: Timestamp) -> Self {
        Self { at, target: RecoveryTarget::Time(time), time: Some(time) }
    }

    fn of_server(
        site: &Site,
        options: &RecoveryOptions,
        at: &PointInTime,
        draws: &mut Draws,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<Self, OpsError> {
        let target = match at {
            PointInTime::Random => {
                recovery::any_second(site, options, &mut |count| draws.below(count), heard)?
            }
            other => {
                let text = other.to_string();
                text.parse().map_err(|_| OpsError::NoTime { text })?
            }
        };
        let time = match target {
            RecoveryTarget::Time(time) => Some(time),
            _ => None,
        };
        let at = time.map_or(At::Latest, At::Time);
        Ok(Self { at, target, time })
    }
}

/// Returns when the data of a point's base backups make sense, which is later than their beginning.
fn whole_at(
    view: &View,
    point: &Point,
    assets: &BTreeSet<AssetName>,
) -> Result<Option<Timestamp>, OpsError> {
    let mut whole = None;
    let own = point.members.iter().map(|member| &member.capture);
    for capture in own.filter(|capture| assets.contains(&capture.asset)) {
        let asset = Some(&capture.asset);
        let wanted = Wanted { kind: "asset-backed-up", asset, tier: None, good_only: false };
        let records = view.latest(wanted, u32::MAX)?;
        let stopped = records.iter().find_map(|record| match record.body() {
            Body::AssetBackedUp(body) if Some(body.job.to_string()) == capture.job => {
                body.base.as_ref().map(|base| base.stopped)
            }
            _ => None,
        });
        whole = whole.max(stopped);
    }
    Ok(whole)
}

/// Tells whether a point has whole captures of all of them, on the tier that is wanted.
fn holds(point: &Point, assets: &BTreeSet<AssetName>, tier: Option<&TierName>) -> bool {
    assets.iter().all(|asset| {
        let member = point.members.iter().find(|member| member.capture.asset == *asset);
        member.is_some_and(|member| {
            let capture = &member.capture;
            let is_there = tier.is_none_or(|tier| capture.copies.contains_key(tier));
            is_there && capture.complete != Some(false)
        })
    })
}
