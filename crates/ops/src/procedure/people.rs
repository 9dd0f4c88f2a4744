//! Who somebody is by the plan: a login, the contacts that have it, and what they answer for.

use std::fmt;

use lifeboat_plan::Plan;
use lifeboat_runbook::Person;

/// The one user that may act for others.
const ROOT: &str = "root";

/// Whoever runs a process; records name both who they are and as whom they acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// By which the plan knows them.
    pub name: String,
    /// Whether they became root for it, which is told by an environment that root can set.
    became: Became,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    Nobody,
    Root,
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.became {
            Became::Nobody => f.write_str(&self.name),
            Became::Root => write!(f, "{} as {ROOT}", self.name),
        }
    }
}

/// Returns the login of whoever runs a process: the user that it runs as, or, if that is root, the user who
/// became root for it. Whoever is root could be anybody anyway.
pub fn login_of(user: &str, behind_root: Option<&str>) -> Login {
    match behind_root {
        Some(behind) if user == ROOT && !matches!(behind, "" | ROOT) => {
            Login { name: behind.to_owned(), became: Became::Root }
        }
        _ => Login { name: user.to_owned(), became: Became::Nobody },
    }
}

/// Returns somebody with all the names and roles that the plan's contacts give to their login.
pub fn person(plan: &Plan, login: &Login) -> Person {
    let mut rights = std::collections::BTreeSet::from([login.name.clone()]);
    for (name, contact) in plan.contacts() {
        if contact.login.as_ref() == Some(&login.name) {
            rights.insert(name.to_string());
            rights.extend(contact.role.clone());
        }
    }
    Person { name: login.to_string(), rights }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_acts_for_somebody_else() {
        let login = |user, behind| {
            let login = login_of(user, behind);
            (login.name.clone(), login.to_string())
        };
        let told = |name: &str, both: &str| (name.to_owned(), both.to_owned());
        assert_eq!(login("root", Some("alice")), told("alice", "alice as root"));
        assert_eq!(login("root", None), told("root", "root"));
        assert_eq!(login("root", Some("root")), told("root", "root"));
        assert_eq!(login("bob", Some("alice")), told("bob", "bob"));
    }
}
