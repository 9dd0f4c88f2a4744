//! The plan that `lifeboat init` writes: one that lints, with a word at each place worth thinking about.

use std::fmt::{self, Display};
use std::path::PathBuf;

use lifeboat_model::{AssetName, SiteName, TierName};

/// What an asset holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A database, by its connection string.
    Database(String),
    /// Files and directories.
    Files(Vec<PathBuf>),
}

/// All that the plan's text is made of.
#[derive(Debug)]
pub struct Draft {
    /// The site.
    pub site: SiteName,
    /// What people call the platform.
    pub name: String,
    /// Where the recovery key lies.
    pub key_file: PathBuf,
    /// The key's public halves: the age recipient and the verifier.
    pub recipient: String,
    /// See `recipient`.
    pub verifier: String,
    /// The assets, in the order in which they come back.
    pub assets: Vec<(AssetName, Content)>,
    /// The tiers and their addresses.
    pub tiers: Vec<(TierName, String)>,
}

/// Writes a text as a TOML string: what JSON escapes, TOML reads.
fn quoted(text: impl Display) -> String {
    serde_json::Value::String(text.to_string()).to_string()
}

impl Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        for (name, content) in &self.assets {
            asset(f, name, content)?;
        }
        for (name, address) in &self.tiers {
            writeln!(f, "\n[tiers.{name}]")?;
            writeln!(f, "url  = {}", quoted(address))?;
            writeln!(f, "keep = {{ within = \"30d\" }}")?;
        }
        self.schedules(f)?;
        f.write_str(VERIFICATION)
    }
}

const VERIFICATION: &str = "
[verification]
after_backup = { read_data = \"5%\" }   # structure always, and a share of the data
full_within  = \"30d\"
";

impl Draft {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What is protected, where its copies live, and when they are made.")?;
        writeln!(f, "# `lifeboat check` tells whether this plan could run now.")?;
        writeln!(f, "format = 1\n\n[plan]")?;
        writeln!(f, "name = {}", quoted(&self.name))?;
        writeln!(
            f,
            "site = {}   # names this platform on the tiers: never change it",
            quoted(&self.site)
        )?;
        writeln!(
            f,
            "\n# The recovery key opens everything: keep a copy of that file away from this machine."
        )?;
        writeln!(f, "[key]\nfile      = {}", quoted(self.key_file.display()))?;
        writeln!(f, "recipient = {}", quoted(&self.recipient))?;
        writeln!(f, "verifier  = {}", quoted(&self.verifier))
    }

    fn schedules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_database = |content: &Content| matches!(content, Content::Database(_));
        let named = |databases: bool| {
            let wanted = self.assets.iter().filter(|(_, c)| is_database(c) == databases);
            wanted.map(|(name, _)| quoted(name)).collect::<Vec<_>>()
        };
        let tiers: Vec<_> = self.tiers.iter().map(|(name, _)| quoted(name)).collect();
        let tiers = tiers.join(", ");
        for (schedule, cron, assets) in
            [("hourly", "0 * * * *", named(true)), ("daily", "0 2 * * *", named(false))]
        {
            if !assets.is_empty() {
                writeln!(f, "\n[schedules.{schedule}]\ncron   = \"{cron}\"")?;
                writeln!(f, "assets = [{}]", assets.join(", "))?;
                writeln!(f, "to     = [{tiers}]")?;
            }
        }
        Ok(())
    }
}

fn asset(f: &mut fmt::Formatter<'_>, name: &AssetName, content: &Content) -> fmt::Result {
    writeln!(f, "\n[assets.{name}]")?;
    match content {
        Content::Database(connect) => {
            writeln!(f, "kind    = \"postgres\"")?;
            writeln!(f, "connect = {}", quoted(connect))?;
            writeln!(f, "base    = \"logical\"")?;
            writeln!(f, "rpo     = \"1h\"   # how much may be lost")?;
            writeln!(f, "rto     = \"2h\"   # how long it may take to come back")
        }
        Content::Files(paths) => {
            writeln!(f, "kind  = \"files\"")?;
            let paths: Vec<_> = paths.iter().map(|path| quoted(path.display())).collect();
            writeln!(f, "paths = [{}]", paths.join(", "))?;
            writeln!(f, "rpo   = \"24h\"")?;
            writeln!(f, "rto   = \"4h\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn draft() -> Draft {
        Draft {
            site: "shop".parse().unwrap(),
            name: "The \"shop\"".to_owned(),
            key_file: "/etc/lifeboat/recovery.key".into(),
            recipient: "age1example".to_owned(),
            verifier: "ed25519:example".to_owned(),
            assets: vec![
                (
                    "database".parse().unwrap(),
                    Content::Database("host=/run/postgresql dbname=shop".to_owned()),
                ),
                ("media".parse().unwrap(), Content::Files(vec!["/var/www/shop/media".into()])),
            ],
            tiers: vec![("primary".parse().unwrap(), "file:///var/backups/shop".to_owned())],
        }
    }

    #[test]
    fn a_draft_reads_like_a_plan() {
        insta::assert_snapshot!(draft());
    }
}
