//! The 3-2-1-1-0 scorecard of an asset, computed from what is there. Pure.
//!
//! Three copies, production among them, on two kinds of store, one of them elsewhere, one that nobody can delete, and no
//! error in any verification. Each digit names what it counts on, or what it lacks; what could not be looked at
//! never counts, and makes a digit that falls short "could not verify" where it might have filled it.
//!
//! # Limits
//!
//! All disks of this machine are one kind of store, whatever is plugged in: nobody tells what is one disk and what is
//! another. A server counts as elsewhere unless it is asked at this machine's own address; whether it stands in the same room
//! is for a person to know.
//! Two clouds are two kinds of store and by themselves nothing that nobody can delete: only a lock that the store itself
//! told of counts.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use lifeboat_model::{Outcome, TierName, Timestamp};
use lifeboat_plan::plan::tier::Tier;
use lifeboat_plan::value::address::TierUrl;
use lifeboat_tiers::Protection;
use serde::Serialize;

use crate::objectives::Place;
use crate::standing::VerifiedOnce;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// A disk of this machine, production's included.
    Disk,
    /// A disk of another machine.
    Server,
    /// A bucket of S3.
    S3,
    /// A container of Azure.
    Azure,
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "this machine's disk",
            Self::Server => "a server",
            Self::S3 => "S3",
            Self::Azure => "Azure",
        })
    }
}

impl Medium {
    /// Returns what kind of store a tier is.
    pub const fn of(tier: &Tier) -> Self {
        match tier.url {
            TierUrl::File(_) => Self::Disk,
            TierUrl::S3 { .. } => Self::S3,
            TierUrl::Azure { .. } => Self::Azure,
            TierUrl::Sftp(_) => Self::Server,
        }
    }
}

/// Returns where a tier is, by the host that is asked for it: a store whose API is asked on this machine is on this
/// machine.
pub fn place_of(url: &TierUrl, host: Option<&str>) -> Place {
    let is_here = |host: &str| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_named_so = name == "localhost" || name.ends_with(".localhost");
        host.parse::<IpAddr>().map_or(is_named_so, |address| {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        })
    };
    match (url, host) {
        (TierUrl::File(_), _) => Place::Here,
        (_, Some(host)) if is_here(host) => Place::Here,
        _ => Place::Elsewhere,
    }
}

/// What is known of an asset's newest snapshot on a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is there.
    Whole,
    /// There is none.
    Nothing,
    /// Nobody could look.
    Unknown,
}

/// A tier that the plan sends an asset to.
#[derive(Debug, Clone)]
pub struct TierCopy<'a> {
    /// Which tier.
    pub tier: &'a TierName,
    /// What kind of store it is.
    pub medium: Medium,
    /// Where it is.
    pub place: Place,
    /// Whether a copy is there.
    pub held: Held,
    /// How the store keeps what is there from being deleted, as it was read back; absent where nobody asked.
    pub protection: Option<Protection>,
    /// The verification that the tier is judged by.
    pub verified: Option<&'a VerifiedOnce>,
}

/// One digit of the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digit {
    /// How much is wanted at least; of errors at most.
    pub wanted: usize,
    /// How much was found.
    pub found: usize,
    /// Whether that is as wanted.
    pub outcome: Outcome,
    /// What it counts on.
    pub evidence: Vec<String>,
    /// What is missing, if something is.
    pub lacking: Option<String>,
}

/// The card of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scorecard {
    /// Three copies, production among them.
    pub copies: Digit,
    /// Two kinds of store.
    pub media: Digit,
    /// One elsewhere.
    pub offsite: Digit,
    /// One that nobody can delete.
    pub immutable: Digit,
    /// No errors in what was verified.
    pub errors: Digit,
}

impl Scorecard {
    /// Returns the digits in the order of their name.
    pub const fn digits(&self) -> [&Digit; 5] {
        [&self.copies, &self.media, &self.offsite, &self.immutable, &self.errors]
    }

    /// Returns the verdict over all digits.
    pub fn outcome(&self) -> Outcome {
        self.digits().into_iter().map(|digit| digit.outcome).max().unwrap_or(Outcome::Passed)
    }
}

impl fmt::Display for Scorecard {
    /// What was found, as the card is called: `3-2-1-1-0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: Vec<_> = self.digits().iter().map(|digit| digit.found.to_string()).collect();
        f.pad(&found.join("-"))
    }
}

/// Computes the card of an asset; verifications older than `cycle` count for nothing.
pub fn scorecard(copies: &[TierCopy<'_>], cycle: Duration, now: Timestamp) -> Scorecard {
    Scorecard {
        copies: count_copies(copies),
        media: count_media(copies),
        offsite: count_offsite(copies),
        immutable: count_immutable(copies, now),
        errors: count_errors(copies, cycle, now),
    }
}

fn held<'c, 'a>(copies: &'c [TierCopy<'a>]) -> impl Iterator<Item = &'c TierCopy<'a>> {
    copies.iter().filter(|copy| copy.held == Held::Whole)
}

/// Makes a digit that is to reach a number; `maybe` tells what of what nobody could look at would count too.
fn at_least(
    wanted: usize,
    (found, maybe): (usize, usize),
    evidence: Vec<String>,
    lacking: impl FnOnce() -> String,
) -> Digit {
    let outcome = match () {
        () if found >= wanted => Outcome::Passed,
        () if found + maybe >= wanted => Outcome::CouldNotVerify,
        () => Outcome::Failed,
    };
    let lacking = (outcome != Outcome::Passed).then(lacking);
    Digit { wanted, found, outcome, evidence, lacking }
}

fn unseen(copies: &[TierCopy<'_>], counts: impl Fn(&TierCopy<'_>) -> bool) -> usize {
    copies.iter().filter(|copy| copy.held == Held::Unknown && counts(copy)).count()
}

/// Says why a digit falls short: what could not be looked at, else what there is none of.
fn short(copies: &[TierCopy<'_>], counts: impl Fn(&TierCopy<'_>) -> bool, none: &str) -> String {
    let unseen = copies.iter().filter(|copy| copy.held == Held::Unknown && counts(copy));
    let names: Vec<_> = unseen.map(|copy| format!("`{}`", copy.tier)).collect();
    if names.is_empty() {
        none.to_owned()
    } else {
        format!("{} could not be looked at", names.join(", "))
    }
}

fn count_copies(copies: &[TierCopy<'_>]) -> Digit {
    let mut evidence = vec!["production".to_owned()];
    evidence.extend(held(copies).map(|copy| copy.tier.to_string()));
    let found = (evidence.len(), unseen(copies, |_| true));
    at_least(3, found, evidence, || {
        short(copies, |_| true, "fewer than two tiers hold a copy beside production")
    })
}

fn count_media(copies: &[TierCopy<'_>]) -> Digit {
    let mut media = BTreeSet::from([Medium::Disk]);
    media.extend(held(copies).map(|copy| copy.medium));
    let is_new = |copy: &TierCopy<'_>| !media.contains(&copy.medium);
    let evidence = media.iter().map(ToString::to_string).collect();
    at_least(2, (media.len(), unseen(copies, is_new)), evidence, || {
        short(copies, is_new, "every copy lies on a disk of this machine")
    })
}

fn count_offsite(copies: &[TierCopy<'_>]) -> Digit {
    let is_away = |copy: &TierCopy<'_>| copy.place == Place::Elsewhere;
    let away: Vec<_> = held(copies).filter(|copy| is_away(copy)).collect();
    let evidence = away.iter().map(|copy| copy.tier.to_string()).collect();
    at_least(1, (away.len(), unseen(copies, is_away)), evidence, || {
        short(copies, is_away, "no copy lies elsewhere than on this machine")
    })
}

fn count_immutable(copies: &[TierCopy<'_>], now: Timestamp) -> Digit {
    let mut evidence = Vec::new();
    for copy in held(copies) {
        if let Some(Protection::Locked { until, .. }) =
            copy.protection.filter(|p| p.lasts_until(now))
        {
            evidence.push(format!("{}, locked until {}", copy.tier, until.strftime("%Y-%m-%d")));
        }
    }
    // A store of this machine, and one that was asked and has no lock, would not count.
    let might = |copy: &TierCopy<'_>| copy.medium != Medium::Disk && copy.protection.is_none();
    let unasked = copies.iter().filter(|copy| copy.held != Held::Nothing && might(copy)).count();
    let found = (evidence.len(), unasked);
    at_least(1, found, evidence, || {
        short(copies, might, "whoever has the credentials can delete every copy")
    })
}

fn count_errors(copies: &[TierCopy<'_>], cycle: Duration, now: Timestamp) -> Digit {
    let mut digit = Digit {
        wanted: 0,
        found: 0,
        outcome: Outcome::Passed,
        evidence: Vec::new(),
        lacking: None,
    };
    for copy in held(copies) {
        let (tier, age) = (copy.tier, copy.verified.map(|once| now.duration_since(once.time)));
        let is_fresh = age.is_some_and(|age| Duration::try_from(age).unwrap_or_default() <= cycle);
        let outcome = match copy.verified.map(|once| once.outcome) {
            Some(Outcome::Passed) if is_fresh => Outcome::Passed,
            Some(Outcome::Failed) => Outcome::Failed,
            _ => Outcome::CouldNotVerify,
        };
        if outcome > digit.outcome {
            digit.lacking = Some(match (outcome, copy.verified) {
                (Outcome::Failed, _) => format!("`{tier}` was found damaged"),
                (_, None) => format!("`{tier}` was never verified"),
                _ => format!("`{tier}` was not verified in time"),
            });
            digit.outcome = outcome;
        }
        digit.found += usize::from(outcome == Outcome::Failed);
        digit.evidence.extend((outcome == Outcome::Passed).then(|| tier.to_string()));
    }
    if digit.evidence.is_empty() && digit.lacking.is_none() {
        (digit.outcome, digit.lacking) =
            (Outcome::CouldNotVerify, Some("there is no copy to verify".to_owned()));
    }
    digit
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Outcome::{CouldNotVerify, Failed, Passed};
    use lifeboat_tiers::LockMode;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn verified(days_ago: i64, outcome: Outcome) -> VerifiedOnce {
        let time = Timestamp::from_second(1_700_000_000 - days_ago * 86_400).unwrap();
        VerifiedOnce { time, outcome, all_data: false }
    }

    fn locked(days: i64) -> Protection {
        let until = Timestamp::from_second(1_700_000_000 + days * 86_400).unwrap();
        Protection::Locked { mode: LockMode::Compliance, until }
    }

    struct Three([TierName; 3], VerifiedOnce);

    impl Three {
        fn new() -> Self {
            let names = ["near", "bucket", "container"].map(|name| name.parse().unwrap());
            Self(names, verified(1, Passed))
        }

        /// A copy on this machine's disk, one in S3 that is locked, one in Azure that is not.
        fn copies(&self) -> Vec<TierCopy<'_>> {
            let kinds = [
                (Medium::Disk, Place::Here, Protection::None),
                (Medium::S3, Place::Elsewhere, locked(30)),
                (Medium::Azure, Place::Elsewhere, Protection::None),
            ];
            let copy = |(tier, (medium, place, protection))| TierCopy {
                tier,
                medium,
                place,
                held: Held::Whole,
                protection: Some(protection),
                verified: Some(&self.1),
            };
            self.0.iter().zip(kinds).map(copy).collect()
        }
    }

    fn outcomes(card: &Scorecard) -> [Outcome; 5] {
        card.digits().map(|digit| digit.outcome)
    }

    #[test]
    fn the_reference_plans_tiers_fill_the_card_and_each_digit_names_why() {
        let three = Three::new();
        let card = scorecard(&three.copies(), 30 * DAY, now());
        assert_eq!((card.to_string().as_str(), card.outcome()), ("4-3-2-1-0", Passed));
        assert_eq!(card.copies.evidence, ["production", "near", "bucket", "container"]);
        assert_eq!(card.media.evidence, ["this machine's disk", "S3", "Azure"]);
        assert_eq!(card.offsite.evidence, ["bucket", "container"]);
        assert_eq!(card.immutable.evidence, ["bucket, locked until 2023-12-14"]);
        assert!(card.digits().iter().all(|digit| digit.lacking.is_none()), "{card:?}");
    }

    #[test]
    fn a_store_is_here_by_the_host_that_is_asked_for_it() {
        let bucket: TierUrl = "s3://copies".parse().unwrap();
        for (host, place) in [
            (None, Place::Elsewhere),
            (Some("store.example.org"), Place::Elsewhere),
            (Some("localhost.example.org"), Place::Elsewhere),
            (Some("127.0.0.1.example.org"), Place::Elsewhere),
            (Some("10.0.0.1"), Place::Elsewhere),
            (Some("LocalHost."), Place::Here),
            (Some("store.localhost"), Place::Here),
            (Some("127.8.0.1"), Place::Here),
            (Some("[::1]"), Place::Here),
            (Some("::ffff:127.0.0.1"), Place::Here),
            (Some("0.0.0.0"), Place::Here),
        ] {
            assert_eq!(place_of(&bucket, host), place, "{host:?}");
        }
        assert_eq!(place_of(&"file:///srv".parse().unwrap(), None), Place::Here);
    }

    #[test]
    fn two_clouds_without_a_lock_are_nothing_that_nobody_can_delete() {
        let three = Three::new();
        let mut copies = three.copies();
        for protection in [Protection::None, locked(-1)] {
            copies[1].protection = Some(protection);
            let card = scorecard(&copies, 30 * DAY, now());
            assert_eq!(outcomes(&card), [Passed, Passed, Passed, Failed, Passed]);
            let lacking = card.immutable.lacking.unwrap();
            assert!(lacking.contains("can delete every copy"), "{lacking}");
        }
        copies[1].protection = None;
        assert_eq!(scorecard(&copies, 30 * DAY, now()).immutable.outcome, CouldNotVerify);
    }

    #[test]
    fn a_copy_that_is_gone_or_was_not_seen_does_not_count_and_only_the_one_is_a_failure() {
        let three = Three::new();
        let mut copies = three.copies();
        (copies[1].held, copies[2].held) = (Held::Nothing, Held::Nothing);
        let card = scorecard(&copies, 30 * DAY, now());
        assert_eq!(card.to_string(), "2-1-0-0-0");
        assert_eq!(outcomes(&card), [Failed, Failed, Failed, Failed, Passed]);
        copies[1].held = Held::Unknown;
        copies[1].protection = None;
        let card = scorecard(&copies, 30 * DAY, now());
        let unknown = [CouldNotVerify; 4];
        assert_eq!(outcomes(&card)[..4], unknown);
        let lacking = card.offsite.lacking.unwrap();
        assert_eq!(lacking, "`bucket` could not be looked at");
    }

    #[test]
    fn no_error_counts_only_where_it_was_looked_for_in_time() {
        for (once, outcome, found) in [
            (Some(verified(1, Passed)), Passed, 0),
            (Some(verified(31, Passed)), CouldNotVerify, 0),
            (Some(verified(1, CouldNotVerify)), CouldNotVerify, 0),
            (Some(verified(1, Failed)), Failed, 1),
            (Some(verified(99, Failed)), Failed, 1),
            (None, CouldNotVerify, 0),
        ] {
            let three = Three::new();
            let mut copies = three.copies();
            copies[2].verified = once.as_ref();
            let errors = scorecard(&copies, 30 * DAY, now()).errors;
            assert_eq!((errors.outcome, errors.found), (outcome, found), "{once:?}");
            assert_eq!(errors.lacking.is_some(), outcome != Passed);
        }
        let errors = scorecard(&[], 30 * DAY, now()).errors;
        assert_eq!(errors.outcome, CouldNotVerify, "what is not there is not whole");
    }
}
