//! What a store may be able to do beyond put, get, list and delete.

use serde::Serialize;

/// One ability that not every store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// `PutMode::Create` is atomic: of two writers of one name exactly one succeeds.
    ConditionalPut,
    /// Objects can be locked against deletion until a date.
    ObjectLock,
    /// Objects can be moved to a colder, cheaper class.
    AccessTier,
    /// A listing shows every object whose `put` ended before it began, whoever stored it, and none whose
    /// `delete` did.
    PromptListing,
}

impl Capability {
    const ALL: [Self; 4] =
        [Self::ConditionalPut, Self::ObjectLock, Self::AccessTier, Self::PromptListing];

    const fn bit(self) -> u8 {
        match self {
            Self::ConditionalPut => 1,
            Self::ObjectLock => 2,
            Self::AccessTier => 4,
            Self::PromptListing => 8,
        }
    }
}

/// A set of [`Capability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Returns the set with `capability` added.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability.bit())
    }

    /// Returns the set without `capability`.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !capability.bit())
    }

    /// Tells whether `capability` is in the set.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// Iterates over the set in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |c| self.has(*c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_added() {
        let set = Capabilities::NONE.with(Capability::ObjectLock);
        assert!(set.has(Capability::ObjectLock));
        assert!(!set.has(Capability::ConditionalPut));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Capability::ObjectLock]);
        assert_eq!(set.without(Capability::ObjectLock), Capabilities::NONE);
    }
}
