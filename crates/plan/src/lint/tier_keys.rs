//! A key of a tier that only other stores know, and one that does nothing as the rest of the tier is written.
//!
//! All of it warns: such a tier works as its other keys say, and a plan that lies on tiers must stay one by which
//! somebody can restore.

use lifeboat_model::TierName;

use super::{Inputs, Problem, Rule, Severity};
use crate::place::place;
use crate::plan::tier::Tier;
use crate::value::address::TierUrl;

pub(super) const FOREIGN: Rule =
    Rule { code: "foreign-key", severity: Severity::Warning, needs_whole: false, check: foreign };

pub(super) const IDLE: Rule =
    Rule { code: "idle-key", severity: Severity::Warning, needs_whole: false, check: idle };

/// What a tier lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Folder,
    S3,
    Azure,
    Sftp,
}

impl Store {
    const fn of(url: &TierUrl) -> Self {
        match url {
            TierUrl::File(_) => Self::Folder,
            TierUrl::S3 { .. } => Self::S3,
            TierUrl::Azure { .. } => Self::Azure,
            TierUrl::Sftp(_) => Self::Sftp,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Folder => "a folder",
            Self::S3 => "a bucket of S3",
            Self::Azure => "a container of Azure",
            Self::Sftp => "a directory behind SSH",
        }
    }

    /// How access to it is given.
    const fn credentials(self) -> &'static str {
        match self {
            Self::Folder => "whoever runs lifeboat needs the right to write there, and no key",
            Self::S3 => "give access_key_id and secret_access_key, or a profile",
            Self::Azure => "give account_key or sas_token",
            Self::Sftp => "ssh finds its key in its agent or its configuration",
        }
    }
}

/// The keys that not every store knows, and those that do. `lock` has a rule of its own, since it promises something.
const KNOWN_BY: [(&str, &[Store]); 12] = [
    ("lock_mode", &[Store::S3, Store::Azure]),
    ("access", &[Store::S3, Store::Azure]),
    ("thaw", &[Store::S3, Store::Azure]),
    ("endpoint", &[Store::S3, Store::Azure]),
    ("conditional_put", &[Store::S3, Store::Sftp]),
    ("region", &[Store::S3]),
    ("path_style", &[Store::S3]),
    ("profile", &[Store::S3]),
    ("access_key_id", &[Store::S3]),
    ("secret_access_key", &[Store::S3]),
    ("account_key", &[Store::Azure]),
    ("sas_token", &[Store::Azure]),
];

/// The keys that give access.
const CREDENTIALS: [&str; 5] =
    ["profile", "access_key_id", "secret_access_key", "account_key", "sas_token"];

fn is_written(inputs: &Inputs<'_>, name: &TierName, key: &str) -> bool {
    inputs.places.is_written(&place!["tiers", name, key])
}

fn foreign(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, tier) in &inputs.document.tiers {
        let store = Store::of(&tier.url);
        let unknown = KNOWN_BY.iter().filter(|(_, known)| !known.contains(&store));
        let written = unknown.filter(|(key, _)| is_written(inputs, name, key));
        problems.extend(written.map(|(key, known)| out_of_place(name, store, key, known)));
    }
    problems
}

fn out_of_place(name: &TierName, store: Store, key: &str, known: &[Store]) -> Problem {
    let help = if CREDENTIALS.contains(&key) {
        format!("remove `{key}`; {}", store.credentials())
    } else {
        format!("remove `{key}`")
    };
    Problem::at_key(
        place!["tiers", name, key],
        format!("`{key}` does nothing for `{name}`, {}", store.words()),
    )
    .label(format!(
        "it is for {}",
        known.iter().map(|store| store.words()).collect::<Vec<_>>().join(" or ")
    ))
    .help(help)
}

fn idle(inputs: &Inputs<'_>) -> Vec<Problem> {
    inputs.document.tiers.iter().flat_map(|(name, tier)| idle_of(inputs, name, tier)).collect()
}

fn idle_of(inputs: &Inputs<'_>, name: &TierName, tier: &Tier) -> Vec<Problem> {
    let mut problems = Vec::new();
    // Of a store that does not know the key that is said already.
    let known = |key: &str| {
        let store = Store::of(&tier.url);
        KNOWN_BY.iter().any(|(name, known)| *name == key && known.contains(&store))
    };
    let mut say = |key: &'static str, label: &str, help: &str| {
        let message = format!("`{key}` does nothing for `{name}`");
        problems.push(Problem::at_key(place!["tiers", name, key], message).label(label).help(help));
    };
    let given = |key: &str| known(key) && is_written(inputs, name, key);
    if given("thaw") && !tier.is_archive() {
        let help = "write access = \"archive\", or leave `thaw` out";
        say("thaw", "nothing there has to be made readable first", help);
    }
    if given("lock_mode") && tier.lock.is_none() {
        let help = "write for how long: lock = \"30d\"; or leave `lock_mode` out";
        say("lock_mode", "nothing there is locked", help);
    }
    let halves = [("access_key_id", "secret_access_key"), ("secret_access_key", "access_key_id")];
    for (half, other) in halves {
        if given(half) && !given(other) {
            let label =
                format!("without `{other}` it opens nothing, and other credentials are looked for");
            say(half, &label, &format!("give `{other}` too, or leave both out"));
        }
    }
    problems
}
