//! Tiers that answer after a backup has begun: they get what was stored meanwhile, or it is said of each asset why not.

use std::collections::BTreeSet;
use std::thread;

use lifeboat_model::TierName;

use super::lane::{Lanes, Ordered, Traffic};
use super::{AssetReport, Job};
use crate::catalog::body::{AssetBackedUp, Body};
use crate::catch_up::CaughtUp;
use crate::ending::JobStage;
use crate::error::OpsError;

impl Job<'_> {
    /// Takes in the tiers that answered late, or not at all, and brings them what was stored meanwhile.
    pub(super) fn bring_late(
        &mut self,
        reports: &mut [AssetReport],
    ) -> Result<Vec<CaughtUp>, OpsError> {
        let late = self.open.take_in(self.events, self.cancel)?;
        if late.is_empty() {
            return Ok(Vec::new());
        }
        self.hold_tiers();
        self.open.leave_damage_out(&late)?;
        let (lanes, clock): (Lanes<'_>, _) =
            (self.lanes().collect(), self.site().surroundings().clock.as_ref());
        thread::scope(|scope| {
            let mut traffic = lanes.open(scope, self.events, clock);
            for number in 0..reports.len() {
                self.order_late(number, &late, reports, &mut traffic)?;
            }
            self.await_all(reports, &mut traffic)?;
            self.catch_up(reports, late, &mut traffic)
        })
    }

    /// Orders an asset for the tiers that answered late; says of those that it cannot be brought to why.
    fn order_late(
        &self,
        number: usize,
        late: &BTreeSet<TierName>,
        reports: &mut [AssetReport],
        traffic: &mut Traffic<'_, '_>,
    ) -> Result<(), OpsError> {
        let report = &mut reports[number];
        let tiers = self.site().tiers_of(&report.asset, &self.options.to).unwrap_or_default();
        let stored = report.snapshots.first().cloned();
        for name in tiers.iter().filter(|name| late.contains(*name)) {
            match (self.tier(name), &stored) {
                (Ok(_), Some(on)) => {
                    traffic.order(Ordered::Asset(number), &on.tier, name, on.snapshot);
                    continue;
                }
                (Ok(_), None) => {
                    self.skip(std::slice::from_ref(name), "there is nothing to copy", report);
                }
                (Err(trouble), _) => {
                    report.note((JobStage::Copy, Some(name)), self.since(self.begun), Err(trouble));
                }
            }
            let nothing = AssetBackedUp {
                snapshots: Vec::new(),
                bytes_read: 0,
                bytes_stored: 0,
                skipped: Vec::new(),
                stages: report.stages.last().cloned().into_iter().collect(),
                ..report.to_record(self)
            };
            self.open.record(Body::AssetBackedUp(nothing))?;
        }
        self.open.deliver()?;
        Ok(())
    }
}
