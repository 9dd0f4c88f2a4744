//! A server that is only a model is set up and left again, killed between any two steps and started again
//! at any time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::note::Note;
use super::*;
use crate::name::DatabaseName;

const ROLE: &str = "lifeboat";

fn wanted(foreign: Foreign) -> Wanted {
    let name = DatabaseName::new;
    let taken = Taken { files: true, dumps: false };
    Wanted {
        role: ROLE.to_owned(),
        rights: rights(18, taken, &name("shop"), &name("postgres")),
        holder: "shop/database".to_owned(),
        archive: Some(WantedArchive { command: push(), timeout_s: 60, timeout_max_s: 60 }),
        foreign,
    }
}

fn push() -> PushCommand {
    PushCommand {
        program: "/usr/bin/lifeboat".to_owned(),
        plan: Some("/etc/it's/plan.toml".to_owned()),
        asset: Some("database".to_owned()),
        socket: None,
    }
}

fn leaving() -> Leaving {
    let holder = "shop/database".to_owned();
    Leaving { role: ROLE.to_owned(), holder, command: Some(push()) }
}

/// What outlives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    auto: BTreeMap<SettingName, String>,
    below: BTreeMap<SettingName, String>,
    role: Option<FoundRole>,
}

#[derive(Debug, Clone)]
struct Model {
    kind: Kind,
    running: BTreeMap<SettingName, String>,
    senders: u64,
}

impl Model {
    fn new(kind: Kind, senders: u64) -> Self {
        let mut model = Self { kind, running: BTreeMap::new(), senders };
        model.restart();
        model
    }

    fn next(&self, name: SettingName) -> String {
        let auto = self.kind.auto.get(&name);
        auto.unwrap_or(&self.kind.below[&name]).clone()
    }

    fn restart(&mut self) {
        for name in SettingName::ALL {
            self.running.insert(name, self.next(name));
        }
        let is_minimal = self.running[&SettingName::WalLevel] == "minimal";
        let archives = self.running[&SettingName::ArchiveMode] != "off";
        assert!(!is_minimal || !archives && self.senders == 0, "the server does not start");
    }

    fn found(&self) -> Found {
        let setting = |name| Setting {
            running: self.running[&name].clone(),
            auto: self.kind.auto.get(&name).cloned(),
            below: self.kind.below[&name].clone(),
            fixed: false,
            pending: false,
        };
        Found {
            address: "here".to_owned(),
            major: 18,
            is_standby: false,
            takes_settings: true,
            settings: SettingName::ALL.into_iter().map(|name| (name, setting(name))).collect(),
            wal_senders: self.senders,
            role: self.kind.role.clone(),
            waiting: Some(0),
        }
    }

    fn take(&mut self, step: &Step) {
        let sql = &step.sql;
        if let Some(rest) = sql.strip_prefix("ALTER SYSTEM SET ") {
            let (name, value) = rest.split_once(" = ").unwrap();
            self.kind.auto.insert(named(name), unquoted(value));
        } else if let Some(name) = sql.strip_prefix("ALTER SYSTEM RESET ") {
            self.kind.auto.remove(&named(name));
        } else if sql.contains("pg_reload_conf") {
            for name in SettingName::ALL.into_iter().filter(|name| name.takes() == Takes::Reload) {
                self.running.insert(name, self.next(name));
            }
        } else {
            assert!(sql.starts_with("BEGIN;\n") && sql.ends_with("COMMIT"), "{sql}");
            sql.split(";\n").for_each(|statement| self.change_role(statement));
        }
    }

    fn change_role(&mut self, statement: &str) {
        if statement.starts_with("CREATE ROLE") {
            assert!(self.kind.role.replace(FoundRole::default()).is_none());
        } else if statement.starts_with("DROP ROLE") {
            assert!(self.kind.role.take().unwrap().comment.is_some());
        } else if let Some((_, text)) = statement.split_once(" IS ") {
            let text = (text != "NULL").then(|| unquoted(text));
            self.kind.role.as_mut().unwrap().comment = text;
        } else if let Some(role) = &mut self.kind.role {
            for right in wanted(Foreign::Keep).rights {
                if statement == right.grant(ROLE) {
                    role.held.insert(right);
                } else if statement == right.revoke(ROLE) {
                    role.held.remove(&right);
                }
            }
        }
    }

    /// Tells whether files pile up that nobody takes.
    fn piles_up(&self) -> bool {
        self.running[&SettingName::ArchiveMode] != "off"
            && self.running[&SettingName::ArchiveCommand].is_empty()
            && self.running[&SettingName::ArchiveLibrary].is_empty()
    }
}

fn named(name: &str) -> SettingName {
    SettingName::ALL.into_iter().find(|known| known.as_str() == name).unwrap()
}

fn unquoted(literal: &str) -> String {
    let literal = literal.trim();
    let (text, escapes) = match literal.strip_prefix('E') {
        Some(text) => (text, true),
        None => (literal, false),
    };
    let text = text.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap().replace("''", "'");
    if escapes { text.replace(r"\\", r"\") } else { text }
}

fn some_settings() -> impl Strategy<Value = BTreeMap<SettingName, String>> {
    let text = |values: &[&str]| {
        let values: Vec<_> = values.iter().map(|value| Some((*value).to_owned())).collect();
        prop::sample::select([values, vec![None]].concat())
    };
    (
        text(&["minimal", "replica", "logical"]),
        text(&["", "/bin/true", r"cp '%p' \mnt\%f", "/usr/bin/lifeboat wal push %p"]),
        text(&["", "basic_archive"]),
        text(&["0", "30", "1h"]),
        text(&["off", "on", "always", "TRUE"]),
    )
        .prop_map(|(level, command, library, timeout, mode)| {
            let values = [level, command, library, timeout, mode];
            let pairs = SettingName::ALL.into_iter().zip(values);
            pairs.filter_map(|(name, value)| Some((name, value?))).collect()
        })
}

/// A server that starts, with or without the role.
fn some_server() -> impl Strategy<Value = Model> {
    let role = prop::option::of(prop::option::of("[a-z' ]{0,9}").prop_map(|comment| FoundRole {
        comment,
        held: BTreeSet::from([Right::Login]),
        ..FoundRole::default()
    }));
    (some_settings(), some_settings(), role, 0..2_u64).prop_filter_map(
        "the server does not start",
        |(auto, mut below, role, senders)| {
            let defaults = ["replica", "", "", "0", "off"].map(str::to_owned);
            for (name, value) in SettingName::ALL.into_iter().zip(defaults) {
                below.entry(name).or_insert(value);
            }
            let next = |name| auto.get(&name).unwrap_or(&below[&name]);
            let archives = SettingName::ArchiveMode.normal(next(SettingName::ArchiveMode)) != "off";
            let is_minimal = next(SettingName::WalLevel) == "minimal";
            let both = !next(SettingName::ArchiveLibrary).is_empty()
                && !next(SettingName::ArchiveCommand).is_empty();
            let starts = !is_minimal || !archives && senders == 0;
            (starts && !both).then(|| Model::new(Kind { auto, below, role }, senders))
        },
    )
}

/// Carries out what is planned, killed after each of these counts of steps, until nothing is left to do.
fn carry_out(
    model: &mut Model,
    kills: &[usize],
    plan: impl Fn(&Found) -> Script,
    check: impl Fn(&Model),
) {
    for kill in kills.iter().copied().chain([usize::MAX]) {
        for step in plan(&model.found()).steps.iter().take(kill) {
            model.take(step);
            check(model);
        }
    }
    let rest = plan(&model.found());
    assert_eq!(rest.steps, [], "what is done is not done again");
    assert_eq!(rest.changes, []);
}

proptest! {
    #[test]
    fn whatever_was_there_comes_back_and_nothing_piles_up(
        server in some_server(),
        set_up_kills in prop::collection::vec(0..8_usize, 0..4),
        removal_kills in prop::collection::vec(0..8_usize, 0..4),
        is_restarted in any::<bool>(),
        changes_mind in any::<bool>(),
    ) {
        let mut model = server.clone();
        let piled_up = server.piles_up();
        let nothing_piles_up =
            |model: &Model| assert!(piled_up || !model.piles_up(), "{model:?}");
        let plan = |found: &Found| install(found, &wanted(Foreign::Replace)).unwrap();
        carry_out(&mut model, &set_up_kills, plan, nothing_piles_up);
        if is_restarted {
            model.restart();
            prop_assert_eq!(&model.running[&SettingName::ArchiveCommand], &push().text());
            prop_assert!(!model.piles_up() && model.found().waits_for_restart().is_empty());
        }
        let back = |found: &Found| remove(found, &leaving()).unwrap().script;
        if changes_mind {
            carry_out(&mut model, &[1], back, nothing_piles_up);
            carry_out(&mut model, &set_up_kills, plan, nothing_piles_up);
        }
        carry_out(&mut model, &removal_kills, back, nothing_piles_up);
        // Every reload of a setting that takes a restart comes with that.
        model.restart();
        carry_out(&mut model, &removal_kills, back, nothing_piles_up);
        prop_assert!(!model.piles_up());
        prop_assert_eq!(&model.kind.role, &server.kind.role);
        let mut expected = server.kind.auto.clone();
        if piled_up {
            expected.insert(SettingName::ArchiveCommand, "/bin/true".to_owned());
        }
        prop_assert_eq!(&model.kind.auto, &expected);
        model.restart();
    }

    #[test]
    fn what_is_somebody_elses_is_only_replaced_when_told(server in some_server()) {
        let library = server.next(SettingName::ArchiveLibrary);
        let command = server.next(SettingName::ArchiveCommand);
        let foreign = !library.is_empty() || command.contains("cp") || command.contains("push");
        let planned = install(&server.found(), &wanted(Foreign::Keep));
        match planned {
            Err(Refusal::Foreign { .. }) => prop_assert!(foreign),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(_) => prop_assert!(!foreign),
        }
    }
}

fn empty() -> Model {
    let defaults = ["replica", "", "", "0", "off"].map(str::to_owned);
    let below = SettingName::ALL.into_iter().zip(defaults).collect();
    Model::new(Kind { auto: BTreeMap::new(), below, role: None }, 10)
}

fn is_empty(found: &Found) -> bool {
    install(found, &wanted(Foreign::Keep)).unwrap().steps.is_empty()
}

#[test]
fn two_assets_of_one_server_share_the_role_until_the_last_leaves() {
    let mut model = empty();
    let plan = |found: &Found| install(found, &wanted(Foreign::Keep)).unwrap();
    carry_out(&mut model, &[], plan, |_| ());
    let other = Wanted { holder: "shop/dumps".to_owned(), archive: None, ..wanted(Foreign::Keep) };
    carry_out(&mut model, &[], |found| install(found, &other).unwrap(), |_| ());
    let back = |found: &Found| remove(found, &leaving()).unwrap().script;
    carry_out(&mut model, &[], back, |_| ());
    assert!(model.kind.auto.is_empty());
    let note = model.kind.role.as_ref().and_then(|role| Note::read(role.comment.as_ref()?));
    assert_eq!(note.unwrap().holders, BTreeSet::from(["shop/dumps".to_owned()]));
    let last = Leaving { holder: "shop/dumps".to_owned(), ..leaving() };
    carry_out(&mut model, &[], |found| remove(found, &last).unwrap().script, |_| ());
    assert_eq!(model.kind, empty().kind);
}

#[test]
fn what_somebody_changed_since_stays() {
    let mut model = empty();
    let plan = |found: &Found| install(found, &wanted(Foreign::Keep)).unwrap();
    carry_out(&mut model, &[], plan, |_| ());
    model.kind.auto.insert(SettingName::ArchiveTimeout, "7".to_owned());
    let removal = remove(&model.found(), &leaving()).unwrap();
    assert!(removal.script.remarks.iter().any(|remark| remark.contains("archive_timeout")));
    removal.script.steps.iter().for_each(|step| model.take(step));
    let kept = BTreeMap::from([(SettingName::ArchiveTimeout, "7".to_owned())]);
    assert_eq!((model.kind.auto, model.kind.role), (kept, None));
}

#[test]
fn a_note_that_is_lost_leaves_nothing_that_piles_up() {
    let mut model = empty();
    let plan = |found: &Found| install(found, &wanted(Foreign::Keep)).unwrap();
    carry_out(&mut model, &[], plan, |_| ());
    model.restart();
    model.kind.role = None;
    let back = |found: &Found| remove(found, &leaving()).unwrap().script;
    carry_out(&mut model, &[], back, |model| assert!(!model.piles_up()));
    model.restart();
    carry_out(&mut model, &[], back, |model| assert!(!model.piles_up()));
    assert!(!model.kind.auto.contains_key(&SettingName::ArchiveCommand));
    assert_eq!(model.next(SettingName::ArchiveMode), "off");
}

#[test]
fn what_cannot_be_changed_is_refused() {
    let refused = |change: &dyn Fn(&mut Found)| {
        let mut found = empty().found();
        change(&mut found);
        install(&found, &wanted(Foreign::Replace)).unwrap_err().to_string()
    };
    assert!(refused(&|found| found.is_standby = true).contains("standby"));
    assert!(refused(&|found| found.takes_settings = false).contains("allow_alter_system"));
    let fixed = refused(&|found| {
        found.settings.get_mut(&SettingName::ArchiveMode).unwrap().fixed = true;
    });
    assert!(fixed.contains("archive_mode is `off` by the server's command line"), "{fixed}");
    let all_powerful = FoundRole { is_superuser: true, ..FoundRole::default() };
    assert!(refused(&|found| found.role = Some(all_powerful.clone())).contains("superuser"));
    // What is right already need not be changeable.
    let mut model = empty();
    let plan = |found: &Found| install(found, &wanted(Foreign::Keep)).unwrap();
    carry_out(&mut model, &[], plan, |_| ());
    let mut found = model.found();
    found.takes_settings = false;
    found.settings.values_mut().for_each(|setting| setting.fixed = true);
    model.restart();
    assert!(is_empty(&model.found()));
}
