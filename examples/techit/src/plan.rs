//! The platform's plan, in lifeboat's own words.

use lifeboat_testing::postgres::Cluster;

use crate::folder::Folder;
use crate::schema::DATABASE;

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

/// Writes the plan for a platform; `key` is its `[key]` table.
pub fn text(folder: &Folder, cluster: &Cluster, key: &str) -> String {
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
connect = "host={socket} port={port} user=postgres dbname={DATABASE}"
base    = "logical"
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
        socket = cluster.socket_dir().display(),
        port = cluster.port(),
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
