//! Chooses which packs are due to be read, so that all are read within a cycle.
//!
//! Each pack has its own instant in the cycle, spread evenly by its id. A run reads the packs whose
//! instants lie in the window since the last run that read all of its own, so runs may come as
//! irregularly as they like, and fail: windows that touch each other leave nothing out and fall on no
//! pack twice a cycle. Only a run in whose window no pack falls reads one before its turn.
//!
//! Whoever keeps no memory of runs has two ways: a percentage goes round by the clock, so that runs
//! at most that share of a cycle apart read everything; a [`Part`] is named by whoever asks.

use std::collections::HashSet;
use std::num::NonZeroU8;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_model::PackId;

/// A window of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollingShare {
    cycle: Duration,
    window: Duration,
    until: Timestamp,
}

impl RollingShare {
    /// The packs that fell due after `last` and until `now`; all of them after a whole cycle.
    pub fn since(last: Timestamp, now: Timestamp, cycle: Duration) -> Self {
        let window = Duration::try_from(now.duration_since(last)).unwrap_or_default();
        Self { cycle, window, until: now }
    }

    /// The given hundredths of all packs, going round: runs that come this share of a cycle apart
    /// read everything once a cycle.
    pub fn of_percent(percent: u8, now: Timestamp, cycle: Duration) -> Self {
        let window = cycle * u32::from(percent.min(100)) / 100;
        Self { cycle, window, until: now }
    }

    /// Tells whether a pack fell due in the window.
    pub fn contains(&self, pack: &PackId) -> bool {
        self.window >= self.cycle || self.due_ago(pack) < self.window.as_nanos()
    }

    /// Chooses the packs to read: those that fell due, and if none did, the one whose turn was
    /// longest ago. A share that is not nothing thus reads something of a small repository too.
    pub fn choose<'p>(&self, packs: impl Iterator<Item = &'p PackId> + Clone) -> HashSet<PackId> {
        let due: HashSet<_> = packs.clone().filter(|pack| self.contains(pack)).copied().collect();
        if !due.is_empty() || self.window.is_zero() {
            return due;
        }
        packs.max_by_key(|pack| (self.due_ago(pack), **pack)).copied().into_iter().collect()
    }

    /// Returns how many nanoseconds ago a pack fell due last.
    fn due_ago(&self, pack: &PackId) -> u128 {
        // A cycle is never nothing while a window is shorter than it.
        let cycle = i128::try_from(self.cycle.as_nanos()).unwrap_or(i128::MAX).max(1);
        (self.until.as_nanosecond() - phase(pack, cycle)).rem_euclid(cycle).unsigned_abs()
    }
}

/// One of several parts of all packs, as restic divides them: reading each part once reads every
/// pack once, however many runs lie in between, and needs no memory of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    number: u8,
    of: NonZeroU8,
}

impl Part {
    /// Names a part, from 1 on; there is none beyond the last.
    pub fn new(number: u8, of: u8) -> Option<Self> {
        let of = NonZeroU8::new(of).filter(|of| (1..=of.get()).contains(&number))?;
        Some(Self { number, of })
    }

    /// Tells whether a pack is in this part.
    pub fn contains(&self, pack: &PackId) -> bool {
        pack.as_bytes()[0] % self.of == self.number - 1
    }
}

/// Returns the instant of a pack in the cycle.
fn phase(pack: &PackId, cycle_ns: i128) -> i128 {
    // 32 bits of the id are even enough, and the product of them and any cycle below 2^95
    // nanoseconds, which is longer than time is counted here, does not overflow.
    let [a, b, c, d, ..] = *pack.as_bytes();
    let fraction = i128::from(u32::from_be_bytes([a, b, c, d]));
    cycle_ns.saturating_mul(fraction) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn start() -> Timestamp {
        "2026-11-23T02:00:00Z".parse().unwrap()
    }

    fn packs() -> Vec<PackId> {
        (0_u32..1000)
            .map(|n| {
                let mut id = [0; 32];
                id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
                PackId::from_bytes(id)
            })
            .collect()
    }

    #[test]
    fn a_percentage_is_about_that_many_packs() {
        let share = RollingShare::of_percent(10, start(), 30 * DAY);
        let chosen = packs().iter().filter(|pack| share.contains(pack)).count();
        assert!((90..=110).contains(&chosen), "{chosen} of 1000");
        let all = RollingShare::of_percent(100, start(), 30 * DAY);
        assert!(packs().iter().all(|pack| all.contains(pack)));
        let none = RollingShare::of_percent(0, start(), 30 * DAY);
        assert!(!packs().iter().any(|pack| none.contains(pack)));
    }

    #[test]
    fn every_pack_is_in_exactly_one_part() {
        for of in [1, 2, 7, 255] {
            let parts: Vec<Part> = (1..=of).map(|number| Part::new(number, of).unwrap()).collect();
            for pack in packs() {
                let holding = parts.iter().filter(|part| part.contains(&pack)).count();
                assert_eq!(holding, 1, "{of} parts");
            }
        }
        for (number, of) in [(0, 5), (6, 5), (0, 0), (1, 0)] {
            assert_eq!(Part::new(number, of), None);
        }
    }

    #[test]
    fn a_run_after_a_whole_cycle_reads_all() {
        let share = RollingShare::since(start(), start() + 7 * DAY, 7 * DAY);
        assert!(packs().iter().all(|pack| share.contains(pack)));
    }

    #[test]
    fn a_share_reads_at_least_one_pack_unless_it_is_nothing() {
        let three = &packs()[..3];
        let at = |hours| start() + Duration::from_hours(hours);
        let choose = |percent, hours| {
            RollingShare::of_percent(percent, at(hours), 30 * DAY).choose(three.iter())
        };
        let read: HashSet<_> = (0..30 * 24)
            .flat_map(|hours| {
                let chosen = choose(1, hours);
                assert!(!chosen.is_empty());
                chosen
            })
            .collect();
        assert_eq!(read.len(), 3, "it is not the same one for ever");
        assert!(choose(0, 0).is_empty());
        let nothing = RollingShare::of_percent(1, start(), 30 * DAY).choose([].iter());
        assert!(nothing.is_empty());
    }

    proptest! {
        #[test]
        fn every_run_reads_something_and_the_cycle_still_everything(
            gaps_s in proptest::collection::vec(1_u64..200_000, 1..20),
            count in 1_usize..20,
        ) {
            let packs = &packs()[..count];
            // The windows touch each other and are together one cycle.
            let cycle = Duration::from_secs(gaps_s.iter().sum());
            let (mut read, mut last) = (HashSet::new(), start());
            for gap in gaps_s {
                let now = last + Duration::from_secs(gap);
                let share = RollingShare::since(last, now, cycle);
                let chosen = share.choose(packs.iter());
                prop_assert!(!chosen.is_empty());
                let due = packs.iter().filter(|pack| share.contains(pack)).count();
                prop_assert_eq!(chosen.len(), due.max(1));
                read.extend(chosen);
                last = now;
            }
            prop_assert_eq!(read.len(), count);
        }

        #[test]
        fn what_runs_left_out_that_failed_is_read_by_the_next(
            runs in proptest::collection::vec((1_u64..200_000, proptest::bool::ANY), 1..20),
        ) {
            let total = Duration::from_secs(runs.iter().map(|(gap, _)| gap).sum());
            let (mut read, mut now, mut read_until) = (HashSet::new(), start(), start());
            let last = runs.len() - 1;
            for (number, (gap, ends_well)) in runs.into_iter().enumerate() {
                now += Duration::from_secs(gap);
                let share = RollingShare::since(read_until, now, total);
                if ends_well || number == last {
                    read.extend(packs().into_iter().filter(|pack| share.contains(pack)));
                    read_until = now;
                }
            }
            prop_assert_eq!(read.len(), packs().len());
        }

        #[test]
        fn runs_at_any_times_read_each_pack_exactly_once_a_cycle(
            gaps_s in proptest::collection::vec(1_u64..200_000, 1..20),
        ) {
            let total = Duration::from_secs(gaps_s.iter().sum());
            let mut times_read = vec![0; 1000];
            let mut last = start();
            for gap in gaps_s {
                let now = last + Duration::from_secs(gap);
                // The cycle is a little longer than all gaps: no window covers it alone.
                let share = RollingShare::since(last, now, total + Duration::from_nanos(1));
                for (times, pack) in times_read.iter_mut().zip(packs()) {
                    *times += u32::from(share.contains(&pack));
                }
                last = now;
            }
            // One nanosecond is not covered; at most the packs due in it are unread.
            prop_assert!(times_read.iter().all(|times| *times <= 1));
            prop_assert!(times_read.iter().filter(|times| **times == 0).count() <= 1);
        }
    }
}
