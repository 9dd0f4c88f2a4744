//! `lifeboat evidence verify`: whether evidence is what was written.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{Classify as _, Exit, Outcome, RecordId, counted};
use lifeboat_ops::Site;
use lifeboat_ops::evidence::evidence_in;
use lifeboat_ops::evidence::proof::{Examined, JournalState, Proven, examine, read_document};
use lifeboat_ops::recovery_key::Verifier;
use serde::Serialize;

use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Cell, Page, Sort, Table, Tone, time};
use crate::session::Session;
use crate::tier_argument::{self, TierArgument};

/// No document is larger.
const DOCUMENT_MAX: u64 = 4 << 20;

/// The arguments of `lifeboat evidence verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Verify these documents, as `show --format json` wrote them, with nothing but the plan's `verifier`
    #[arg(value_name = "FILE", conflicts_with = "from")]
    files: Vec<PathBuf>,
    /// Read this tier alone, by name or address
    #[arg(long, value_name = "TIER")]
    from: Option<TierArgument>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Examined);

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.evidence.verify/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let Examined { records, tiers, catalog, flaws } = &self.0;
        let mut table = Table::new(["Record", "Written", "Of", "Verdict", "Journal", "On"]);
        for known in records {
            row(known, &mut table);
        }
        page.table(&table);
        for tier in tiers {
            match &tier.error {
                None => writeln!(page, "{}: {} read", tier.tier, counted(tier.read, "record"))?,
                Some(error) => {
                    let word = page.paint.bad("not reached");
                    writeln!(page, "{}: {word}: {error}", tier.tier)?;
                }
            }
        }
        let catalog = catalog.iter().map(ToString::to_string);
        for flaw in catalog.chain(flaws.iter().map(ToString::to_string)) {
            writeln!(page, "{}: {flaw}", page.paint.bad("flaw"))?;
        }
        if flaws
            .iter()
            .any(|flaw| matches!(flaw, lifeboat_ops::evidence::proof::EvidenceFlaw::Absent { .. }))
        {
            let hint = page.paint.good("hint");
            writeln!(
                page,
                "{hint}: `lifeboat evidence collect` writes down what this host's journals still tell"
            )?;
        }
        writeln!(page, "verified: {} of evidence", counted(records.len(), "record"))
    }
}

fn row(known: &Proven, table: &mut Table) {
    let journal = match known.journal {
        JournalState::Same => Cell::new("the same", Tone::Good),
        JournalState::Differs => Cell::new("another", Tone::Bad),
        JournalState::NotHere => Cell::new("not here", Tone::Aside),
        JournalState::None => Cell::new("none", Tone::Aside),
    };
    let tiers: Vec<_> = known.tiers.iter().map(ToString::to_string).collect();
    table.row([
        known.record.to_string().into(),
        time::instant(known.time).into(),
        format!("{} {}", known.of.name(), known.subject).into(),
        known.outcome.into(),
        journal,
        tiers.join(", ").into(),
    ]);
}

#[derive(Serialize)]
struct Documents {
    documents: Vec<Document>,
}

#[derive(Serialize)]
struct Document {
    file: String,
    record: Option<RecordId>,
    outcome: Outcome,
    message: String,
}

impl Answer for Documents {
    const SCHEMA: &'static str = "lifeboat.evidence.documents/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        for Document { file, outcome, message, .. } in &self.documents {
            writeln!(page, "{file}: {}: {message}", page.paint.outcome(*outcome))?;
        }
        Ok(())
    }
}

impl Verify {
    /// Runs the command.
    pub(super) fn run(self, session: &Session) -> Result<Exit, Failure> {
        let site = session.site()?;
        if !self.files.is_empty() {
            return self.documents(&site, session);
        }
        let tiers: BTreeSet<_> = match tier_argument::named(self.from.as_ref(), &site)? {
            Some(tier) => BTreeSet::from([tier]),
            None => site.plan().tiers().keys().cloned().collect(),
        };
        let examined = examine(&site, &tiers, &session.cancel)?;
        let exit = examined.exit();
        session.end(&Shown(examined), exit)
    }

    fn documents(&self, site: &Site, session: &Session) -> Result<Exit, Failure> {
        let verifier = site.plan().key().verifier.as_ref();
        let verifier = verifier.and_then(|verifier| verifier.parse::<Verifier>().ok());
        let verifier = verifier.ok_or_else(|| {
            let hint = "write `verifier` into its [key]; `lifeboat key show` prints it";
            CommandError::usage("the plan has no `verifier` to verify with", hint)
        })?;
        let (mut documents, mut exit) = (Vec::new(), Exit::Done);
        for path in &self.files {
            let file = path.display().to_string();
            let failed = |source| CommandError::File { action: "read", path: file.clone(), source };
            let mut bytes = Vec::new();
            let opened = File::open(path).map_err(failed)?;
            opened.take(DOCUMENT_MAX).read_to_end(&mut bytes).map_err(failed)?;
            documents.push(match read_document(&bytes, site.name(), &verifier) {
                Ok(record) => {
                    let facts = evidence_in(&record).map(|own| &own.facts);
                    let told = facts.map(|facts| format!("{} {}", facts.of.name(), facts.run));
                    let message = format!("{} as it was signed", told.unwrap_or_default());
                    Document { file, record: Some(record.id()), outcome: Outcome::Passed, message }
                }
                Err(error) => {
                    let is_open = error.exit() == Exit::CouldNotVerify;
                    let outcome = if is_open { Outcome::CouldNotVerify } else { Outcome::Failed };
                    exit = if exit == Exit::Failed || !is_open {
                        Exit::Failed
                    } else {
                        Exit::CouldNotVerify
                    };
                    Document { file, record: None, outcome, message: error.to_string() }
                }
            });
        }
        session.end(&Documents { documents }, exit)
    }
}
