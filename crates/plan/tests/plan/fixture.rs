//! The reference platform's plan, and ways to change it.

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_model::Timestamp;
use lifeboat_plan::{Checked, Colour, Diagnostic, Facts, Rejected, SourceFile, load};

/// A plan file and the files beside it.
#[derive(Debug, Clone)]
pub struct Sample {
    pub plan: String,
    pub files: BTreeMap<String, String>,
    pub facts: Facts,
    pub now: Timestamp,
}

/// A day on which the reference plan was reviewed lately enough.
pub fn reviewed_lately() -> Timestamp {
    "2025-11-01T12:00:00Z".parse().unwrap()
}

impl Sample {
    /// The plan of the reference platform.
    pub fn techit() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/techit/plan");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder.join("runbooks")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(format!("runbooks/{name}"), read(&path));
        }
        let plan = read(&folder.join("plan.toml"));
        Self { plan, files, facts: Facts::default(), now: reviewed_lately() }
    }

    /// A small plan in which nothing is wrong.
    pub fn small() -> Self {
        Self {
            plan: SMALL.to_owned(),
            files: BTreeMap::new(),
            facts: Facts::default(),
            now: reviewed_lately(),
        }
    }

    /// Replaces a text of the plan that is there exactly once.
    pub fn with(mut self, old: &str, new: &str) -> Self {
        assert_eq!(self.plan.matches(old).count(), 1, "`{old}` is not there exactly once");
        self.plan = self.plan.replace(old, new);
        self
    }

    /// Adds lines to the end of the plan.
    pub fn plus(mut self, lines: &str) -> Self {
        self.plan.push('\n');
        self.plan.push_str(lines);
        self
    }

    /// Adds a scenario with this runbook.
    pub fn plus_runbook(mut self, steps: &str) -> Self {
        self.files.insert("runbooks/r.toml".to_owned(), format!("title = \"R\"\n{steps}"));
        self.plus("[scenarios.s]\nrunbook = \"runbooks/r.toml\"\n")
    }

    pub fn load(&self) -> Result<Checked, Rejected> {
        let plan = SourceFile { path: "plan.toml".to_owned(), text: self.plan.clone() };
        load(plan, &self.files, &self.facts, self.now)
    }

    /// All that is said about it.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        match self.load() {
            Ok(checked) => checked.diagnostics,
            Err(rejected) => rejected.diagnostics,
        }
    }

    /// All that is said about it, as a person sees it.
    pub fn report(&self) -> String {
        let diagnostics = self.diagnostics();
        diagnostics.iter().map(|d| d.render(Colour::Never)).collect::<Vec<_>>().join("\n\n")
    }

    /// The code and the covered text of each diagnostic.
    pub fn found(&self) -> Vec<(&'static str, String)> {
        let covered = |d: &Diagnostic| d.text[d.covers.0..d.covers.1].to_owned();
        self.diagnostics().iter().map(|d| (d.code, covered(d))).collect()
    }
}

const SMALL: &str = r#"format = 1

[plan]
name = "Shop"
site = "shop"

[key]
file = "/etc/lifeboat/recovery.key"

[assets.files]
kind = "files"
paths = ["/srv/shop"]
rpo = "24h"

[tiers.near]
url = "file:///var/backups/shop"

[tiers.far]
url = "s3://shop-backups"

[schedules.daily]
cron = "0 2 * * *"
assets = ["files"]
to = ["near", "far"]
"#;
