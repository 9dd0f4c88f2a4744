//! The platform's plan, in lifeboat's own words.

use crate::clouds::{OFFSITE, SECONDARY};
use crate::folder::Folder;

/// The name of the platform on its tiers.
pub const SITE: &str = "techit-demo";

/// Where the runbook lies beside the plan.
pub const RUNBOOK: &str = "runbooks/machine-lost.toml";

/// The assets in the order in which they come back.
pub const ASSETS: [&str; 5] = ["database", "media", "configuration", "certificates", "logs"];

/// How much may be lost, and how long it may take, per asset: what the plan's text says too.
pub const OBJECTIVES: [(&str, &str, &str); 5] = [
    ("database", "1h", "2h"),
    ("media", "24h", "4h"),
    ("configuration", "24h", "4h"),
    ("certificates", "24h", "4h"),
    ("logs", "24h", "24h"),
];

/// Writes the plan for a platform; `connect` leads to its database, `key` is the `[key]` table.
pub fn text(folder: &Folder, connect: &str, key: &str) -> String {
    let quoted = |path: std::path::PathBuf| format!("\"{}\"", path.display());
    let files = |name: &str, paths: &[std::path::PathBuf]| {
        let paths: Vec<_> = paths.iter().cloned().map(quoted).collect();
        let (_, rpo, rto) = objectives(name);
        format!(
            "\n[assets.{name}]\nkind  = \"files\"\npaths = [{}]\nrpo   = \"{rpo}\"\nrto   = \"{rto}\"\n",
            paths.join(", ")
        )
    };
    let (_, rpo, rto) = objectives("database");
    format!(
        r#"format = 1

[plan]
name  = "Tech-IT Solutions Platform"
site  = "{SITE}"
owner = "Operations Team"

{key}
# -- What is protected ------------------------------------------------------

[assets.database]
kind    = "postgres"
connect = "{connect}"
base    = "physical"
wal     = {{ mode = "archive", to = ["primary", "secondary"], ack = ["primary", "secondary"] }}
rpo     = "{rpo}"
rto     = "{rto}"
{media}{configuration}{certificates}{logs}
# -- Where copies live -------------------------------------------------------

[tiers.primary]
url  = "file://{primary}"
keep = {{ within = "7d" }}

[tiers.secondary]
url  = "{SECONDARY}"
keep = {{ within = "30d" }}

[tiers.offsite]
url  = "{OFFSITE}"
keep = {{ within = "90d", monthly = 12 }}

# -- When --------------------------------------------------------------------

[schedules.hourly]
cron   = "0 * * * *"
assets = ["database"]
to     = ["primary", "secondary", "offsite"]

[schedules.daily]
cron   = "0 2 * * *"
assets = ["media", "configuration", "certificates", "logs"]
to     = ["primary", "secondary", "offsite"]

[verification]
after_backup = {{ read_data = "5%" }}
full_within  = "7d"

# -- What can happen, and what is then done ----------------------------------

[scenarios.machine-lost]
runbook = "{RUNBOOK}"
rto     = "4h"
causes  = ["hardware failure", "fire", "ransomware"]
"#,
        media = files("media", &[folder.media()]),
        configuration = files("configuration", &[folder.settings(), folder.nginx()]),
        certificates = files("certificates", &[folder.certificates()]),
        logs = files("logs", &[folder.logs()]),
        primary = folder.tier("primary").display(),
    )
}

/// What the operators wrote down for the day on which the machine is gone.
pub const RUNBOOK_TEXT: &str = r#"title = "The machine is gone"

[[steps]]
id      = "database"
restore = { asset = "database", to = "{{ target.directory }}" }

[[steps]]
id      = "media"
restore = { asset = "media" }

[[steps]]
id      = "configuration"
restore = { asset = "configuration" }

[[steps]]
id     = "open"
needs  = ["database", "media", "configuration"]
manual = "Open the platform in a browser, log in, and place an order"
"#;

/// Returns an asset's name, RPO and RTO.
pub fn objectives(name: &str) -> (&'static str, &'static str, &'static str) {
    OBJECTIVES
        .into_iter()
        .find(|(asset, ..)| *asset == name)
        .expect("every asset of the plan has its objectives")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use lifeboat_model::Timestamp;
    use lifeboat_plan::{Colour, Facts, SourceFile, load};

    #[test]
    fn lifeboat_has_nothing_to_say_about_the_plan() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(dir.path(), false).unwrap();
        let key = "[key]\nfile = \"/demo/recovery.key\"\n";
        let text = text(&folder, "host=/tmp/x port=5432 user=postgres dbname=techit_db", key);
        let source = SourceFile { path: "plan.toml".to_owned(), text };
        let files = BTreeMap::from([(RUNBOOK.to_owned(), RUNBOOK_TEXT.to_owned())]);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let said = match load(source, &files, &Facts::default(), now) {
            Ok(checked) => checked.diagnostics,
            Err(rejected) => rejected.diagnostics,
        };
        let said: Vec<_> = said.iter().map(|found| found.render(Colour::Never)).collect();
        assert!(said.is_empty(), "{}", said.join("\n"));
    }
}
