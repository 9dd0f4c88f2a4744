//! An archived file and the tiers that hold it: what one does not give is read from the next.

use lifeboat_tiers::Tier;

use super::error::ArchiveError;
use super::inventory::Listed;

/// The copies of one archived file, in the order in which they are read.
#[derive(Debug, Clone)]
pub struct Copies<'a> {
    first: (&'a dyn Tier, Listed),
    others: Vec<(&'a dyn Tier, Listed)>,
}

impl<'a> Copies<'a> {
    /// A file that one tier holds.
    pub const fn of(tier: &'a dyn Tier, listed: Listed) -> Self {
        Self { first: (tier, listed), others: Vec::new() }
    }

    /// Files that one tier holds.
    pub fn on(tier: &'a dyn Tier, listed: &[Listed]) -> Vec<Self> {
        listed.iter().map(|listed| Self::of(tier, *listed)).collect()
    }

    /// Adds what another tier holds of it, which is read after the others.
    pub fn add(&mut self, tier: &'a dyn Tier, listed: Listed) {
        self.others.push((tier, listed));
    }

    /// Reads from the first copy that gives something; if none does, the last one's trouble is returned.
    pub(super) async fn read<T>(
        &self,
        read: impl AsyncFn(&dyn Tier, &Listed) -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        let mut read_one = read(self.first.0, &self.first.1).await;
        for (tier, listed) in &self.others {
            let Err(error) = &read_one else { break };
            let (error, file): (&dyn std::error::Error, _) = (error, listed.name.file);
            tracing::warn!(error, %file, "A copy of the log cannot be read; another one is.");
            read_one = read(*tier, listed).await;
        }
        read_one
    }
}
