//! How bad things are in one simulation.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// What may go wrong, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weather {
    /// How often a request fails, in a thousand; half of those are carried out all the same.
    pub(crate) fails_per_mille: u32,
    /// How often a disk is full for a while, in a thousand writes.
    pub(crate) full_per_mille: u32,
    /// How often a disk goes down for a while, in a thousand requests.
    pub(crate) down_per_mille: u32,
    /// How often something takes seconds or minutes, in a thousand.
    pub(crate) slow_per_mille: u32,
    /// How often the machine sleeps for most of an hour, in a thousand.
    pub(crate) sleep_per_mille: u32,
    /// How often a process is killed in its time, in a thousand.
    pub(crate) killed_per_mille: u32,
    /// Whether what was put is listed only after a while.
    pub(crate) listing: Listing,
    /// What a write leaves in whose middle the process is killed.
    pub(crate) torn: Torn,
}

/// Whether what was put is listed only after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// At once.
    Prompt,
    /// After less time than shared locks take to settle.
    Lagging,
    /// After up to as long as a listing may take at all.
    Late,
}

/// What a write leaves in whose middle the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Torn {
    /// A part under another name, as the tier's contract wants it.
    Aside,
    /// A part under the object's own name, as a disk leaves it that lies about its syncs.
    InPlace,
}

impl Listing {
    /// Half of the seeds whose listings lag have them late.
    pub(crate) const fn of_seed(self, seed: u64) -> Self {
        match self {
            Self::Lagging if seed % 2 == 1 => Self::Late,
            other => other,
        }
    }

    /// Tells whether a listing shows everything that was done before it.
    pub(crate) fn is_prompt(self) -> bool {
        self == Self::Prompt
    }
}

impl Weather {
    /// Nothing goes wrong.
    pub(crate) const CALM: Self = Self {
        fails_per_mille: 0,
        full_per_mille: 0,
        down_per_mille: 0,
        slow_per_mille: 0,
        sleep_per_mille: 0,
        killed_per_mille: 0,
        listing: Listing::Prompt,
        torn: Torn::Aside,
    };

    /// Draws some weather; each sort of trouble is away in part of all simulations, so that it does
    /// not always hide the others.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let mut pick = |from: &[u32]| *from.choose(rng).expect("there is a choice");
        Self {
            fails_per_mille: pick(&[0, 0, 5, 20, 60]),
            full_per_mille: pick(&[0, 0, 0, 20]),
            down_per_mille: 0,
            slow_per_mille: pick(&[0, 5, 30]),
            sleep_per_mille: pick(&[0, 0, 5, 20]),
            killed_per_mille: pick(&[0, 300, 700]),
            listing: if rng.random_ratio(1, 3) { Listing::Lagging } else { Listing::Prompt },
            torn: if rng.random_ratio(1, 5) { Torn::InPlace } else { Torn::Aside },
        }
    }
}
