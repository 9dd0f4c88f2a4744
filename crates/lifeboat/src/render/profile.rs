//! Where the time of a command went.

use std::fmt::{self, Write as _};

use lifeboat_model::ByteSize;
use lifeboat_repository::profile::ProfileReport;

use super::Page;

/// Writes seconds and bytes of each activity, and how many bytes a second that makes.
pub fn write(report: &ProfileReport, page: &mut Page) -> fmt::Result {
    writeln!(page, "{:<12} {:>9} {:>10} {:>12}", "activity", "seconds", "bytes", "a second")?;
    for spent in &report.activities {
        let seconds = spent.time.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate is told by its first digits"
        )]
        let rate = ByteSize((spent.bytes as f64 / seconds.max(1e-9)) as u64);
        let bytes = ByteSize(spent.bytes);
        let name = spent.activity.name();
        writeln!(
            page,
            "{name:<12} {seconds:>9.3} {:>10} {:>12}",
            bytes.to_string(),
            rate.to_string()
        )?;
    }
    writeln!(page, "{:<12} {:>9.3}", "wall", report.wall.as_secs_f64())
}
