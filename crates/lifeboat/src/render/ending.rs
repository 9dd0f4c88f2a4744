//! How jobs and verifications ended, for every command that shows some.

use std::fmt::{self, Write as _};

use lifeboat_model::{ByteSize, counted};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::verification::TierVerification;

use super::{Page, Tone, findings};

/// Returns the tone of an ending.
pub const fn tone_of(ending: Ending) -> Tone {
    match ending {
        Ending::Succeeded => Tone::Good,
        Ending::Skipped | Ending::NotBuilt | Ending::CouldNotVerify | Ending::Cancelled => {
            Tone::Warning
        }
        Ending::Incomplete | Ending::Interrupted | Ending::Failed => Tone::Bad,
    }
}

/// Writes what the verification of a tier showed.
pub fn write_verification(verified: &TierVerification, page: &mut Page) -> fmt::Result {
    let outcome = page.paint.outcome(verified.outcome);
    write!(page, "verified {}: {outcome}", verified.tier)?;
    if let Some(trouble) = &verified.trouble {
        writeln!(page, ": {}", trouble.message)?;
    } else {
        let report = &verified.report;
        let (packs, read) = (report.packs, report.packs_read);
        let bytes = ByteSize(report.bytes_read);
        writeln!(page, ", {read} of {} read back ({bytes})", counted(packs, "pack"))?;
    }
    findings(&verified.report.findings, page)
}
