//! A platform that runs when something happens to it: brought up in a yard, and damaged as its plan says.
//!
//! Servers with base backups come back from the tiers, up to the end of their log, as their files on the host change while
//! they would be copied. All other files are as they are on the host. Then the plan's services are started and seen
//! healthy, and then the damage is done. None of that is part of the recovery that is measured.

use lifeboat_model::{AssetName, Cancel, EventSink, ServiceName};
use lifeboat_plan::plan::scenario::PlatformState;
use lifeboat_plan::value::command::Command;
use lifeboat_plan::value::selection::Selection;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::yard::Inside;
use serde::{Deserialize, Serialize};

use super::DrillError;
use crate::command::{CommandLine, NO_LIMIT};
use crate::error::explain;
use crate::procedure::Procedure;
use crate::procedure::deed::fetch_words;
use crate::procedure::platform::Platform;
use crate::procedure::probe::Asker;
use crate::recovery::has_base_backups_alone;
use crate::recovery::in_place::{self, InPlaceOptions};
use crate::recovery::sandbox::milliseconds;
use crate::wire::Site;

/// What was done before anything was declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The servers whose data were brought back for it.
    pub restored: Vec<AssetName>,
    /// The services that were seen healthy, in the order in which they were started.
    pub services: Vec<ServiceName>,
    /// The command that did the damage; nothing happened to the platform if there is none.
    pub damage: Option<String>,
    /// How long all of it took, in milliseconds.
    pub took_ms: u64,
}

/// Returns the servers that are brought back so that the platform of a scenario runs.
pub(super) fn servers<'s>(
    site: &'s Site,
    procedure: &Procedure,
) -> impl Iterator<Item = &'s AssetName> {
    let runs = procedure.scenario().platform == PlatformState::Runs;
    let servers = site.databases().map(|(name, _)| name);
    servers.filter(move |name| runs && has_base_backups_alone(site, name))
}

/// Brings the platform of a scenario up.
pub(super) struct Preparation<'a> {
    pub(super) procedure: &'a Procedure,
    pub(super) inside: &'a Inside,
    /// The words by which this program is run with its plan.
    pub(super) fetch: &'a [String],
    /// Who asks the platform.
    pub(super) asker: Asker<'a>,
    pub(super) events: &'a dyn EventSink,
    pub(super) cancel: &'a Cancel,
}

impl Preparation<'_> {
    /// Has the platform run, and has happen to it what the plan says.
    pub(super) fn carry_out(&self) -> Result<Prepared, DrillError> {
        let site = self.asker.site;
        let begun = site.surroundings().now();
        let restored: Vec<_> = servers(site, self.procedure).cloned().collect();
        for asset in &restored {
            self.restore(asset)?;
        }
        let healthy = Platform { asker: self.asker }.start(&Selection::All);
        let healthy = healthy.map_err(|failure| DrillError::NotUp { why: failure.why })?;
        let damage = self.procedure.scenario().damage.as_ref();
        damage.map_or(Ok(()), |damage| self.do_damage(damage))?;
        Ok(Prepared {
            restored,
            services: healthy.into_iter().map(|(name, _)| name).collect(),
            damage: damage.map(Command::to_string),
            took_ms: milliseconds(begun, site.surroundings().now()),
        })
    }

    fn restore(&self, asset: &AssetName) -> Result<(), DrillError> {
        let site = self.asker.site;
        let options = InPlaceOptions {
            confirm: Some(site.name().clone()),
            fetch: fetch_words(self.fetch, asset),
            ..InPlaceOptions::new(asset.clone(), RecoveryTarget::Latest)
        };
        let report = in_place::recover(site, &options, self.events, self.cancel)?;
        report.recovery.whole()?;
        Ok(())
    }

    /// Does the damage, where it can be done to nothing but the yard.
    fn do_damage(&self, damage: &Command) -> Result<(), DrillError> {
        let undone = |why: String| DrillError::Undamaged { why };
        let words = self.asker.values.words(damage, None);
        let words = words.map_err(|error| undone(error.to_string()))?;
        let line = CommandLine::new(self.inside.words(words), NO_LIMIT);
        let line = line.called(Some(&damage.to_string()));
        line.run(self.cancel).map(drop).map_err(|error| undone(explain(&error)))
    }
}
