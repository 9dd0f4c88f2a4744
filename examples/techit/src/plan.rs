//! The platform's plan, in lifeboat's own words.

use crate::folder::Folder;

/// The name of the platform on its tiers.
pub const SITE: &str = "techit-demo";

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
wal     = {{ mode = "archive", to = ["primary", "secondary"], ack = ["primary"] }}
rpo     = "{rpo}"
rto     = "{rto}"
{media}{configuration}{certificates}{logs}
# -- Where copies live -------------------------------------------------------

[tiers.primary]
url  = "file://{primary}"
keep = {{ within = "7d" }}

[tiers.secondary]
url  = "file://{secondary}"
keep = {{ within = "30d" }}

# -- When --------------------------------------------------------------------

[schedules.hourly]
cron   = "0 * * * *"
assets = ["database"]
to     = ["primary", "secondary"]

[schedules.daily]
cron   = "0 2 * * *"
assets = ["media", "configuration", "certificates", "logs"]
to     = ["primary", "secondary"]

[verification]
after_backup = {{ read_data = "5%" }}
full_within  = "7d"
"#,
        media = files("media", &[folder.media()]),
        configuration = files("configuration", &[folder.settings(), folder.nginx()]),
        certificates = files("certificates", &[folder.certificates()]),
        logs = files("logs", &[folder.logs()]),
        primary = folder.tier("primary").display(),
        secondary = folder.tier("secondary").display(),
    )
}

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
        let files = BTreeMap::<String, String>::new();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let said = match load(source, &files, &Facts::default(), now) {
            Ok(checked) => checked.diagnostics,
            Err(rejected) => rejected.diagnostics,
        };
        let said: Vec<_> = said.iter().map(|found| found.render(Colour::Never)).collect();
        assert!(said.is_empty(), "{}", said.join("\n"));
    }
}
