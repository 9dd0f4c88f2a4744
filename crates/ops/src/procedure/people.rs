//! Who somebody is by the plan: a login, the contacts that have it, and what they answer for.

use lifeboat_plan::Plan;
use lifeboat_runbook::Person;

/// The one user that may act for others.
const ROOT: &str = "root";

/// Returns the login of whoever runs a process: the user that it runs as, or, if that is root, the user who
/// became root for it. Whoever is root could be anybody anyway.
pub fn login_of(user: &str, behind_root: Option<&str>) -> String {
    match behind_root {
        Some(behind) if user == ROOT && !behind.is_empty() => behind.to_owned(),
        _ => user.to_owned(),
    }
}

/// Returns somebody with all the names and roles that the plan's contacts give to their login.
pub fn person(plan: &Plan, login: &str) -> Person {
    let mut rights = std::collections::BTreeSet::from([login.to_owned()]);
    for (name, contact) in plan.contacts() {
        if contact.login.as_deref() == Some(login) {
            rights.insert(name.to_string());
            rights.extend(contact.role.clone());
        }
    }
    Person { name: login.to_owned(), rights }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_acts_for_somebody_else() {
        assert_eq!(login_of("root", Some("alice")), "alice");
        assert_eq!(login_of("root", None), "root");
        assert_eq!(login_of("bob", Some("alice")), "bob");
    }
}
