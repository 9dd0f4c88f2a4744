//! Planning what a server lacks: a pure function from what was found to what is done.

use std::collections::BTreeSet;

use super::archiver::{Archiver, PushCommand, STOPGAP};
use super::error::Refusal;
use super::found::{Found, FoundRole};
use super::note::{Kept, Note};
use super::right::{Right, can_read_all};
use super::script::Script;
use super::setting::{Setting, SettingName, Takes, seconds};
use crate::name::{quote_identifier, quote_literal};

/// What is done with a way of archiving that is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// It stays, and nothing is changed.
    Keep,
    /// It is replaced, and kept so that it can come back.
    Replace,
}

/// How a log is to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedArchive {
    /// By which command.
    pub command: PushCommand,
    /// A file is handed over after this many seconds, full or not.
    pub timeout_s: u64,
    /// What is there is left alone if it is not longer than this.
    pub timeout_max_s: u64,
}

/// What a server is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The role.
    pub role: String,
    /// What it has to be allowed.
    pub rights: BTreeSet<Right>,
    /// For whom, as `site/asset`.
    pub holder: String,
    /// How its log is archived, if it is.
    pub archive: Option<WantedArchive>,
    /// What is done with somebody else's way.
    pub foreign: Foreign,
}

/// Refuses a server that cannot be changed by anybody.
pub(super) fn check(found: &Found, role: &str) -> Result<(), Refusal> {
    let address = found.address.clone();
    if found.is_standby {
        return Err(Refusal::Standby { address });
    }
    let comment = found.role.as_ref().and_then(|role| role.comment.as_deref());
    if comment.is_some_and(Note::is_unreadable) {
        return Err(Refusal::LaterNote { role: role.to_owned() });
    }
    Ok(())
}

/// Plans what is done so that a server is as it is wanted; where it is already, nothing.
pub fn install(found: &Found, wanted: &Wanted) -> Result<Script, Refusal> {
    check(found, &wanted.role)?;
    if found.role.as_ref().is_some_and(|role| role.is_superuser) {
        return Err(Refusal::RoleIsSuperuser { role: wanted.role.clone() });
    }
    let mut note = found.note().unwrap_or_else(|| {
        let comment = found.role.as_ref().and_then(|role| role.comment.clone());
        Note::begin(found.role.is_none(), comment)
    });
    note.holders.insert(wanted.holder.clone());
    let mut settings = Script::default();
    if let Some(archive) = &wanted.archive {
        note.archives = Some(wanted.holder.clone());
        set_archiving(found, (archive, wanted.foreign), &mut note, &mut settings)?;
    }
    let mut script = grant(found, wanted, &mut note);
    script.changes.extend(settings.changes);
    script.steps.extend(settings.steps);
    script.remarks.extend(settings.remarks);
    if wanted.rights.contains(&Right::BypassRls) && !can_read_all(found.major) {
        script.remarks.push(format!(
            "{} has no right by which a role reads all tables: grant SELECT on each, or dump as a superuser",
            found.major
        ));
    }
    Ok(script)
}

/// Makes the role and grants what it lacks, with the note of it and of all that comes after.
fn grant(found: &Found, wanted: &Wanted, note: &mut Note) -> Script {
    let mut script = Script::default();
    let role = &wanted.role;
    let absent = FoundRole::default();
    let there = found.role.as_ref().unwrap_or(&absent);
    let mut statements = Vec::new();
    if found.role.is_none() {
        script.change(format!("role {role}"), None, Some("made"));
        statements.push(format!("CREATE ROLE {}", quote_identifier(role)));
    }
    for right in wanted.rights.difference(&there.held) {
        script.change(format!("{role}: {right}"), None, Some("granted"));
        statements.push(right.grant(role));
        note.granted.insert(right.clone());
    }
    let text = note.text();
    if there.comment.as_deref() != Some(&text) {
        statements.push(comment(role, Some(&text)));
    }
    if !statements.is_empty() {
        script.transaction(&statements);
    }
    script
}

/// Returns the statement that sets a role's comment.
pub(super) fn comment(role: &str, text: Option<&str>) -> String {
    let text = text.map_or_else(|| "NULL".to_owned(), quote_literal);
    format!("COMMENT ON ROLE {} IS {text}", quote_identifier(role))
}

fn set_archiving(
    found: &Found,
    (archive, foreign): (&WantedArchive, Foreign),
    note: &mut Note,
    script: &mut Script,
) -> Result<(), Refusal> {
    let mut reload = false;
    for (name, setting) in ordered(found) {
        let current = name.normal(setting.next());
        reload |= name.takes() == Takes::Reload && name.normal(&setting.running) != current;
        let Some(value) = target(name, setting, archive, foreign)? else { continue };
        if setting.fixed {
            return Err(Refusal::Fixed { setting: name, value: setting.running.clone() });
        }
        if !found.takes_settings {
            return Err(Refusal::NoAlterSystem { address: found.address.clone() });
        }
        if is_foreign(name, setting, archive) {
            script.remarks.push(format!(
                "{name} was `{}`: it archives nothing any more, and comes back with `lifeboat postgres remove`",
                setting.next()
            ));
        }
        keep(note, name, setting, &value);
        script.set(name, setting.next(), Some(&value), &setting.below);
        reload = true;
    }
    if reload {
        script.step("SELECT pg_catalog.pg_reload_conf()");
    }
    Ok(())
}

/// Returns the settings that there are, in the order in which they are set.
fn ordered(found: &Found) -> impl Iterator<Item = (SettingName, &Setting)> {
    SettingName::ALL.into_iter().filter_map(|name| Some((name, found.settings.get(&name)?)))
}

/// Takes note of what a setting was, unless what is there now is our own.
fn keep(note: &mut Note, name: SettingName, setting: &Setting, value: &str) {
    let auto = setting.auto.as_deref();
    let before = match note.settings.get(&name) {
        Some(kept) if auto == Some(&kept.set) || auto == Some(STOPGAP) => kept.before.clone(),
        _ => setting.auto.clone().filter(|value| value != STOPGAP),
    };
    note.settings.insert(name, Kept { before, set: value.to_owned() });
}

fn is_foreign(name: SettingName, setting: &Setting, archive: &WantedArchive) -> bool {
    match name {
        SettingName::ArchiveLibrary => !setting.next().is_empty(),
        SettingName::ArchiveCommand => match Archiver::read(setting.next()) {
            Archiver::Nobody => false,
            Archiver::Lifeboat(push) => !push.is_for(&archive.command),
            Archiver::Foreign => true,
        },
        _ => false,
    }
}

/// Returns what a setting has to be, if it has to be something else.
fn target(
    name: SettingName,
    setting: &Setting,
    archive: &WantedArchive,
    foreign: Foreign,
) -> Result<Option<String>, Refusal> {
    let current = name.normal(setting.next());
    if is_foreign(name, setting, archive) && foreign == Foreign::Keep {
        return Err(Refusal::Foreign { setting: name, value: current });
    }
    Ok(match name {
        SettingName::WalLevel => (current == "minimal").then(|| "replica".to_owned()),
        SettingName::ArchiveMode => (current == "off").then(|| "on".to_owned()),
        SettingName::ArchiveLibrary => (!current.is_empty()).then(String::new),
        SettingName::ArchiveTimeout => {
            let is_enough =
                seconds(&current).is_some_and(|s| (1..=archive.timeout_max_s).contains(&s));
            (!is_enough).then(|| archive.timeout_s.to_string())
        }
        SettingName::ArchiveCommand => {
            let is_ours = matches!(
                Archiver::read(&current),
                Archiver::Lifeboat(push)
                    if push.is_for(&archive.command) && push.program == archive.command.program
            );
            (!is_ours).then(|| archive.command.text())
        }
    })
}
