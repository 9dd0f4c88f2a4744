//! What the choices of a test are made by: one number that a person can type, and draws that follow from it for good.

use crate::random;

/// One test in so many is tried on a damaged copy, too.
const CONTROL_EVERY: u64 = 8;

/// What every choice of a test follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u32);

impl Seed {
    /// Returns one that nobody can foresee.
    pub fn any() -> Self {
        Self(u32::from_le_bytes(random::bytes()))
    }
}

/// Draws by splitmix64, which is spelled out here so that a seed means the same in every version.
#[derive(Debug)]
pub(super) struct Draws {
    state: u64,
    is_control: bool,
}

impl Draws {
    pub(super) fn new(seed: Seed) -> Self {
        let mut draws = Self { state: u64::from(seed.0), is_control: false };
        // Drawn first, so that it does not depend on what else is drawn.
        draws.is_control = draws.below(CONTROL_EVERY) == 0;
        draws
    }

    /// Tells whether this test is tried on a damaged copy.
    pub(super) const fn is_control(&self) -> bool {
        self.is_control
    }

    /// Draws a number below `count`; 0 for none.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        z.checked_rem(count).unwrap_or(0)
    }

    /// Draws one of several.
    pub(super) fn one_of<'t, T>(&mut self, several: &'t [T]) -> Option<&'t T> {
        let count = several.len() as u64;
        several.get(usize::try_from(self.below(count)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_good() {
        let mut draws = Draws::new(Seed(7));
        let numbers: Vec<_> = (0..4).map(|_| draws.below(1000)).collect();
        let mut again = Draws::new(Seed(7));
        assert_eq!((0..4).map(|_| again.below(1000)).collect::<Vec<_>>(), numbers);
        assert_eq!(numbers, [804, 346, 203, 674]);
    }

    #[test]
    fn one_test_in_eight_is_tried_on_damage() {
        let controls = (0..8000).filter(|seed| Draws::new(Seed(*seed)).is_control()).count();
        assert!((800..1200).contains(&controls), "{controls}");
    }

    #[test]
    fn of_nothing_nothing_is_drawn() {
        let mut draws = Draws::new(Seed(1));
        assert_eq!(draws.one_of::<u8>(&[]), None);
        assert_eq!(draws.one_of(&[5]), Some(&5));
    }
}
