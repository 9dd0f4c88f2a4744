//! `[tiers]`: where copies live.

use std::time::Duration;

use lifeboat_model::PlaceName;

use crate::table::{table, words};
use crate::value::address::TierUrl;
use crate::value::duration::Span;
use crate::value::secret::SecretRef;

table! {
    /// A place where copies live.
    pub struct Tier {
        /// Its address.
        url: TierUrl,
        /// The places of the plan that see it; without it all that can reach its address. A folder of one host's own disk is
        /// seen by that place alone.
        places: Vec<PlaceName> = Vec::new(),
        /// What is kept there.
        keep: Keep = Keep::default(),
        /// Nobody can delete a copy before it is this old; needs object lock.
        lock: Option<Span>,
        /// This host's credentials can add copies and delete none; `lifeboat check` tries to.
        append_only: bool = false,
        /// Who may lift a lock before its date.
        lock_mode: LockMode = LockMode::Compliance,
        /// The access tier that copies are moved to.
        access: Option<AccessTier>,
        /// How soon a recovery gets what lies in `access = "archive"`; sooner is dearer.
        thaw: ThawSpeed = ThawSpeed::Standard,
        /// The address of the store's API, if it is not the vendor's.
        endpoint: Option<String>,
        /// The store's region.
        region: Option<String>,
        /// The bucket's name stands in the path of addresses (true) or before the host (false); without
        /// it as most stores of that kind want it.
        path_style: Option<bool>,
        /// The store creates an object only where there is none, whoever else tries at the same time; false
        /// for a store that does not know conditions.
        conditional_put: bool = true,
        /// A listing shows at once what was stored and removed (true), or only after a while (false); without it as the
        /// store's vendor says, and of a store that is not known, after a while.
        prompt_listing: Option<bool>,
        /// The profile of the vendor's own tools whose credentials are taken.
        profile: Option<String>,
        /// The S3 access key's id.
        access_key_id: Option<SecretRef>,
        /// The S3 access key's secret.
        secret_access_key: Option<SecretRef>,
        /// The Azure storage account's key.
        account_key: Option<SecretRef>,
        /// The shared access signature for the Azure container.
        sas_token: Option<SecretRef>,
    }
}

/// What of a lock is added to it, so that what is still needed is locked anew only every so often.
const SLACK_DIVISOR: u32 = 4;
const SLACK_MIN: Duration = Duration::from_hours(24);

impl Tier {
    /// Tells whether what only a recovery reads takes hours until it can be read.
    pub fn is_archive(&self) -> bool {
        self.access == Some(AccessTier::Archive)
    }

    /// Tells whether a place sees it; a host that is none sees what it can reach.
    pub fn is_seen_at(&self, place: Option<&PlaceName>) -> bool {
        self.places.is_empty() || place.is_none_or(|place| self.places.contains(place))
    }

    /// Tells whether another place sees it than this. Of a folder that is so only where the plan says it.
    pub fn is_seen_beside(&self, here: Option<&PlaceName>) -> bool {
        if self.places.is_empty() {
            return self.url.folder().is_none();
        }
        self.places.iter().any(|place| Some(place) != here)
    }

    /// Returns for how long an object is locked when it is stored: for what the plan says, and for as
    /// long as lies between two times at which the lock of what is still needed is extended.
    pub fn locked_for(&self) -> Option<Duration> {
        let lock = self.lock?.duration();
        Some(lock.saturating_add((lock / SLACK_DIVISOR).max(SLACK_MIN)))
    }
}

words! {
    /// Who may lift a lock before its date.
    pub enum LockMode {
        /// Whoever holds a permission of its own for it.
        Governance = "governance",
        /// Nobody, the owner of the account included.
        Compliance = "compliance",
    }
}

words! {
    /// How cheap, and how slow, a store keeps an object.
    pub enum AccessTier {
        /// At once, at the highest price.
        Hot = "hot",
        /// At once, cheaper to keep and dearer to read.
        Cool = "cool",
        /// At once, cheaper still.
        Cold = "cold",
        /// After hours of waiting.
        Archive = "archive",
    }
}

words! {
    /// How soon a store hands out what cannot be read at once.
    pub enum ThawSpeed {
        /// The cheapest: up to half a day of S3, and as `standard` of Azure.
        Bulk = "bulk",
        /// As the vendor has it: five hours of S3, fifteen of Azure.
        Standard = "standard",
        /// The dearest: minutes of S3 (which may refuse large packs), an hour of Azure.
        Fast = "fast",
    }
}

table! {
    /// What is kept: a copy stays as long as any of the rules wants it. No rule keeps everything.
    #[derive(Default)]
    pub struct Keep {
        /// All that is younger than this.
        within: Option<Span>,
        /// This many of the newest.
        last: Option<u32>,
        /// The newest of each of this many hours.
        hourly: Option<u32>,
        /// The newest of each of this many days.
        daily: Option<u32>,
        /// The newest of each of this many weeks.
        weekly: Option<u32>,
        /// The newest of each of this many months.
        monthly: Option<u32>,
        /// The newest of each of this many years.
        yearly: Option<u32>,
    }
}

const HOUR: Duration = Duration::from_hours(1);

impl Keep {
    /// Tells whether no rule is given, so that everything is kept.
    pub fn keeps_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns for how many hours all is kept; one that has begun counts as a whole one.
    pub fn hours_within(&self) -> u64 {
        let within = self.within.map_or(0, |within| within.duration().as_millis());
        u64::try_from(within.div_ceil(HOUR.as_millis())).unwrap_or(u64::MAX)
    }

    /// Returns how old a copy gets under the rule that keeps it longest; `None` if that depends on
    /// how often copies are made, or if everything is kept.
    pub fn reach(&self) -> Option<Duration> {
        let by_calendar = [
            (self.hourly, HOUR),
            (self.daily, 24 * HOUR),
            (self.weekly, 7 * 24 * HOUR),
            (self.monthly, 30 * 24 * HOUR),
            (self.yearly, 365 * 24 * HOUR),
        ];
        let reached = by_calendar
            .into_iter()
            .filter_map(|(count, length)| count.map(|count| length.saturating_mul(count)));
        if self.last.is_some() {
            return None;
        }
        reached.chain(self.within.map(Span::duration)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_slack_for_being_extended_seldom() {
        let tier = |lock: &str| Tier {
            url: "s3://copies".parse().unwrap(),
            places: Vec::new(),
            keep: Keep::default(),
            lock: Some(lock.parse().unwrap()),
            append_only: false,
            lock_mode: LockMode::Compliance,
            path_style: None,
            conditional_put: true,
            prompt_listing: None,
            access: None,
            thaw: ThawSpeed::Standard,
            endpoint: None,
            region: None,
            profile: None,
            access_key_id: None,
            secret_access_key: None,
            account_key: None,
            sas_token: None,
        };
        let hours = |lock: &str| tier(lock).locked_for().map(|length| length.as_secs() / 3600);
        assert_eq!(hours("40d"), Some(50 * 24));
        assert_eq!(hours("1h"), Some(25));
    }
}
