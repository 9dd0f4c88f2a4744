//! How the command line names a tier: by its name in the plan, or by its address.
//!
//! Every command with a plan takes both; a test over all commands holds that. Plumbing names repositories, see
//! `commands::repo::place`.

use std::path::Path;

use lifeboat_model::TierName;
use lifeboat_ops::Site;
use lifeboat_ops::wire::addresses::Address;

use crate::failure::Failure;
use crate::surroundings;

/// A tier of the plan, as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TierArgument {
    /// By its name in the plan.
    Name(TierName),
    /// By its address. What is none is refused once the plan is there, whose tiers can then be told.
    Address(String),
}

impl From<String> for TierArgument {
    fn from(text: String) -> Self {
        match text.parse() {
            Ok(name) => Self::Name(name),
            Err(_) => Self::Address(text),
        }
    }
}

impl TierArgument {
    /// Returns which tier of the site's plan it is.
    pub fn of(&self, site: &Site) -> Result<TierName, Failure> {
        match self {
            Self::Name(name) => {
                site.address(name)?;
                Ok(name.clone())
            }
            Self::Address(text) => Ok(site.tier_at(&from_root(Address::parse(text)?)?)?),
        }
    }

    /// Returns which tiers of the site's plan these are, each once.
    pub fn all_of(arguments: &[Self], site: &Site) -> Result<Vec<TierName>, Failure> {
        let mut names = Vec::new();
        for argument in arguments {
            let name = argument.of(site)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Returns which tier of the site's plan is named, if one is.
pub fn named(argument: Option<&TierArgument>, site: &Site) -> Result<Option<TierName>, Failure> {
    argument.map(|argument| argument.of(site)).transpose()
}

/// Returns an address in which a directory is named from the root.
pub fn from_root(address: Address) -> Result<Address, Failure> {
    Ok(match address {
        Address::Directory(path) => {
            let path = surroundings::absolute(Path::new(&path))?;
            Address::Directory(path.display().to_string())
        }
        elsewhere => elsewhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_name_is_one() {
        let argument = |text: &str| TierArgument::from(text.to_owned());
        let name = |text: &str| TierArgument::Name(text.parse().unwrap());
        assert_eq!(argument("primary"), name("primary"));
        assert_eq!(argument("off-site_2"), name("off-site_2"));
        for address in ["s3://bucket", "./primary", "primary/", "/srv/a", "tier:x", ""] {
            assert_eq!(argument(address), TierArgument::Address(address.to_owned()));
        }
    }
}
