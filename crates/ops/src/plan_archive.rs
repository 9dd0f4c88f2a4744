//! Plans that were in force, with their runbooks, at `plan/<hash>.age`: what a bare machine needs.

use std::collections::BTreeMap;

use bytes::Bytes;
use lifeboat_model::PlanId;
use lifeboat_plan::SourceFile;
use lifeboat_tiers::{ObjectPath, PutMode, ReadRange, Tier, TierError};
use serde::{Deserialize, Serialize};

use crate::error::OpsError;
use lifeboat_tiers::envelope::{Opener, Recipient};

/// A plan as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedPlan {
    schema: u32,
    /// The name of the plan's file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The runbooks' texts by their paths in the plan.
    pub runbooks: BTreeMap<String, String>,
}

fn path(plan: PlanId) -> ObjectPath {
    format!("plan/{}.age", plan.to_hex()).parse().expect("hex digits are a valid path")
}

impl ArchivedPlan {
    /// Takes the files that a plan was loaded from, the plan's own first; `None` if there are none.
    pub fn new(sources: &[SourceFile]) -> Option<Self> {
        let (plan, runbooks) = sources.split_first()?;
        let runbooks = runbooks.iter().map(|file| (file.path.clone(), file.text.clone()));
        let runbooks = runbooks.collect();
        Some(Self { schema: 1, name: plan.path.clone(), text: plan.text.clone(), runbooks })
    }

    /// Stores it on a tier, unless it is there.
    pub async fn store(
        &self,
        plan: PlanId,
        recipient: &Recipient,
        tier: &dyn Tier,
    ) -> Result<(), TierError> {
        let bytes = serde_json::to_vec(self).expect("a plan is JSON");
        let sealed = Bytes::from(recipient.seal(&bytes));
        match tier.put(&path(plan), sealed, PutMode::Create).await {
            Err(TierError::AlreadyExists { .. }) => Ok(()),
            other => other,
        }
    }

    /// Reads one from a tier.
    pub async fn read(plan: PlanId, opener: &Opener, tier: &dyn Tier) -> Result<Self, OpsError> {
        let path = path(plan);
        let sealed = tier.get(&path, ReadRange::Full).await?;
        let bytes = opener.open(path.as_str(), &sealed)?;
        let none = |_| OpsError::NoPlan { address: tier.address().to_owned() };
        serde_json::from_slice(&bytes).map_err(none)
    }
}
