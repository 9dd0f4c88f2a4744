//! Planning how what was set up is taken back: a pure function, as setting up is.
//!
//! # Why in two parts
//!
//! `archive_mode` goes off with a restart only. Until then a server without a command, or with one that
//! fails, keeps all of its log. So a stopgap takes the command's place, and the note stays on a role without
//! rights; after the restart the stopgap and the role go.

use lifeboat_model::counted;

use super::archiver::{Archiver, PushCommand, STOPGAP};
use super::error::Refusal;
use super::found::{Found, FoundRole};
use super::install::{check, comment};
use super::note::{Kept, Note};
use super::script::{Script, Step};
use super::setting::{Setting, SettingName};
use crate::name::quote_identifier;

/// Lets the log go for good, where archiving was on before and nobody took it.
const NOBODY: &str = "/bin/true";

/// Whose setup is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// The role.
    pub role: String,
    /// Who leaves, as `site/asset`.
    pub holder: String,
    /// By which command its log is archived, if it is.
    pub command: Option<PushCommand>,
}

/// What is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// What is done.
    pub script: Script,
    /// Whether the rest is taken back after a restart.
    pub waits_for_restart: bool,
}

/// Plans how what was set up is taken back; where nothing is, nothing.
pub fn remove(found: &Found, leaving: &Leaving) -> Result<Removal, Refusal> {
    check(found, &leaving.role)?;
    let mut back = Back { found, leaving, script: Script::default() };
    let Some(mut note) = back.note() else {
        back.say_what_stays();
        return Ok(Removal { script: back.script, waits_for_restart: false });
    };
    let mut waits = false;
    if note.archives.as_deref() == Some(&leaving.holder) {
        waits = back.settings(&mut note)?;
    }
    if !waits {
        note.holders.remove(&leaving.holder);
        note.archives = note.archives.filter(|holder| *holder != leaving.holder);
    }
    back.role(note, waits);
    if !waits {
        back.say_what_stays();
    }
    Ok(Removal { script: back.script, waits_for_restart: waits })
}

struct Back<'a> {
    found: &'a Found,
    leaving: &'a Leaving,
    script: Script,
}

impl Back<'_> {
    /// Returns the note, or what can be told without one that is lost.
    fn note(&mut self) -> Option<Note> {
        let holder = &self.leaving.holder;
        if let Some(note) = self.found.note().filter(|note| note.holders.contains(holder)) {
            return Some(note);
        }
        if self.found.note().is_some() {
            return None;
        }
        let auto = |name| self.found.settings.get(&name).and_then(|found| found.auto.clone());
        let command = auto(SettingName::ArchiveCommand)?;
        if command != STOPGAP && !self.is_ours(&command) {
            return None;
        }
        self.script.remarks.push(format!(
            "the note on the role `{}` is gone: archive_command and archive_mode become what the other files say",
            self.leaving.role
        ));
        let comment = self.found.role.as_ref().and_then(|role| role.comment.clone());
        let mut note = Note::begin(false, comment);
        note.holders.insert(holder.clone());
        note.archives = Some(holder.clone());
        for name in [SettingName::ArchiveCommand, SettingName::ArchiveMode] {
            if let Some(set) = auto(name) {
                note.settings.insert(name, Kept { before: None, set });
            }
        }
        Some(note)
    }

    fn is_ours(&self, command: &str) -> bool {
        let own = self.leaving.command.as_ref();
        matches!((Archiver::read(command), own), (Archiver::Lifeboat(push), Some(own)) if push.is_for(own))
    }

    fn setting(&self, name: SettingName) -> Option<&Setting> {
        self.found.settings.get(&name)
    }

    /// Returns what was set and is still so.
    fn ours(&self, note: &Note, name: SettingName) -> Option<Kept> {
        let auto = self.setting(name)?.auto.as_deref();
        let kept = note.settings.get(&name)?;
        (auto == Some(&kept.set) || auto == Some(STOPGAP)).then(|| kept.clone())
    }

    /// Returns what holds of a setting when it was taken back.
    fn after(&self, note: &Note, name: SettingName) -> String {
        let Some(setting) = self.setting(name) else { return String::new() };
        let value = match self.ours(note, name) {
            Some(kept) => kept.before.unwrap_or_else(|| setting.below.clone()),
            None => setting.next().to_owned(),
        };
        name.normal(&value)
    }

    /// Takes the settings back; tells whether the rest has to wait for a restart.
    fn settings(&mut self, note: &mut Note) -> Result<bool, Refusal> {
        let mode = SettingName::ArchiveMode;
        let runs = self.setting(mode).is_some_and(|found| mode.normal(&found.running) != "off");
        let will_archive = self.after(note, mode) != "off";
        let waits = runs && !will_archive && self.ours(note, SettingName::ArchiveCommand).is_some();
        let steps = self.script.steps.len();
        if waits {
            self.stand_in(note);
        } else {
            self.command_back(note, will_archive);
            self.back(note, SettingName::ArchiveLibrary);
        }
        self.back(note, SettingName::ArchiveTimeout);
        self.back(note, mode);
        self.level_back(note, will_archive);
        if self.script.steps.len() == steps && !waits {
            return Ok(false);
        }
        if self.script.steps.len() > steps {
            if !self.found.takes_settings {
                return Err(Refusal::NoAlterSystem { address: self.found.address.clone() });
            }
            self.script.step("SELECT pg_catalog.pg_reload_conf()");
        }
        Ok(waits)
    }

    /// Lets a stopgap take the files until the restart.
    fn stand_in(&mut self, note: &mut Note) {
        let name = SettingName::ArchiveCommand;
        let Some(setting) = self.found.settings.get(&name) else { return };
        if setting.auto.as_deref() != Some(STOPGAP) {
            self.script.set(name, setting.next(), Some(STOPGAP), &setting.below);
        }
        if let Some(kept) = note.settings.get_mut(&name) {
            STOPGAP.clone_into(&mut kept.set);
        }
        if let Some(waiting @ 1..) = self.found.waiting {
            self.script
                .remarks
                .push(format!("{waiting} files of the log were not archived yet, and will not be"));
        }
    }

    fn command_back(&mut self, note: &mut Note, will_archive: bool) {
        let name = SettingName::ArchiveCommand;
        let lets_go = !self.after(note, name).is_empty()
            || !self.after(note, SettingName::ArchiveLibrary).is_empty();
        if lets_go || !will_archive || self.ours(note, name).is_none() {
            return self.back(note, name);
        }
        let Some(setting) = self.found.settings.get(&name) else { return };
        note.settings.remove(&name);
        self.script.set(name, setting.next(), Some(NOBODY), &setting.below);
        self.script.remarks.push(format!(
            "archive_mode was on before and archive_command empty, by which the server would keep all of its log: it is `{NOBODY}` now"
        ));
    }

    /// Lets a setting be what it was before.
    fn back(&mut self, note: &mut Note, name: SettingName) {
        let Some(setting) = self.found.settings.get(&name) else { return };
        let ours = self.ours(note, name);
        let Some(kept) = note.settings.remove(&name) else { return };
        if ours.is_some() {
            let before = kept.before.as_deref();
            self.script.set(name, setting.next(), before, &setting.below);
        } else if setting.auto != kept.before {
            let now = setting.next();
            self.script.remarks.push(format!("{name} was changed since, to `{now}`: it stays so"));
        }
    }

    fn level_back(&mut self, note: &mut Note, will_archive: bool) {
        let name = SettingName::WalLevel;
        let is_less = self.ours(note, name).is_some() && self.after(note, name) == "minimal";
        if is_less && (will_archive || self.found.wal_senders > 0) {
            note.settings.remove(&name);
            self.script.remarks.push(
                "wal_level was minimal and stays replica: with archive_mode or max_wal_senders as they are now, the server would not start"
                    .to_owned(),
            );
        } else {
            self.back(note, name);
        }
    }

    /// Takes rights, note and role back, as far as nobody else needs them.
    fn role(&mut self, mut note: Note, waits: bool) {
        let Some(role) = &self.found.role else { return };
        let name = &self.leaving.role;
        let holders: Vec<_> =
            note.holders.iter().filter(|holder| **holder != self.leaving.holder).collect();
        if !holders.is_empty() {
            let others: Vec<_> = holders.into_iter().map(String::as_str).collect();
            let others = others.join(", ");
            self.script.remarks.push(format!("the role `{name}` stays: it serves {others} too"));
        } else if waits {
            let revoked: Vec<_> = note.granted.iter().map(|right| right.revoke(name)).collect();
            for right in &std::mem::take(&mut note.granted) {
                self.script.change(format!("{name}: {right}"), Some("granted"), None);
            }
            let mut statements = revoked;
            statements.extend(changed_comment(name, role, Some(&note.text())));
            if !statements.is_empty() {
                self.script.transaction(&statements);
            }
            return;
        } else if note.made && role.owned.is_empty() {
            return self.drop_role(role);
        } else {
            return self.leave_role(role, &note);
        }
        if let Some(statement) = changed_comment(name, role, Some(&note.text())) {
            self.script.transaction(&[statement]);
        }
    }

    /// Drops a role that owns nothing: what is granted to it goes first, in each database.
    fn drop_role(&mut self, role: &FoundRole) {
        let quoted = quote_identifier(&self.leaving.role);
        self.script.change(format!("role {}", self.leaving.role), Some("there"), None);
        for database in &role.granted_in {
            let sql = format!("DROP OWNED BY {quoted}");
            self.script.steps.push(Step { database: Some(database.clone()), sql });
        }
        self.script
            .transaction(&[format!("DROP OWNED BY {quoted}"), format!("DROP ROLE {quoted}")]);
    }

    /// Takes from a role what was granted to it, and lets it be.
    fn leave_role(&mut self, role: &FoundRole, note: &Note) {
        let name = &self.leaving.role;
        let mut statements = Vec::new();
        for right in &note.granted {
            self.script.change(format!("{name}: {right}"), Some("granted"), None);
            statements.push(right.revoke(name));
        }
        statements.extend(changed_comment(name, role, note.comment.as_deref()));
        if !statements.is_empty() {
            self.script.transaction(&statements);
        }
        let quoted = quote_identifier(name);
        for (database, count) in role.owned.iter().filter(|_| note.made) {
            let place = database.as_ref().map_or("all databases", |name| name.as_str());
            self.script.remarks.push(format!(
                "the role `{name}` stays, without its rights: it owns {} in {place}; REASSIGN OWNED BY {quoted} TO …, then DROP ROLE {quoted}",
                counted(*count, "object")
            ));
        }
    }

    /// Says what archives on and was not set by setting up.
    fn say_what_stays(&mut self) {
        let Some(setting) = self.setting(SettingName::ArchiveCommand) else { return };
        if setting.auto.is_none() && self.is_ours(&setting.below) {
            self.script.remarks.push(format!(
                "the server still archives by `{}`, which `lifeboat postgres setup` did not set: take it out of the file of settings",
                setting.below
            ));
        }
    }
}

fn changed_comment(name: &str, role: &FoundRole, text: Option<&str>) -> Option<String> {
    (role.comment.as_deref() != text).then(|| comment(name, text))
}
