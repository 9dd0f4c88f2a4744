//! The last page: how long it took and how much was lost, beside what the plan allows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::plan::OBJECTIVES;
use crate::screen;

/// What was measured for one asset.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Which asset.
    pub asset: &'static str,
    /// Until when its backup had everything.
    pub captured: Timestamp,
    /// How long after the disaster it was back.
    pub recovered_after: Duration,
}

/// Shows the table; tells whether every objective was met.
pub fn show(disaster: Timestamp, measured: &[Measured]) -> bool {
    let head = ["asset", "lost at most", "RPO", "back after", "RTO", "met"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut all_met = true;
    for found in measured {
        let Some((_, rpo, rto)) = OBJECTIVES.iter().find(|(asset, ..)| *asset == found.asset)
        else {
            continue;
        };
        let lost = disaster.duration_since(found.captured);
        let back = found.recovered_after;
        let within = |limit: &str, taken: SignedDuration| hours(limit) >= taken;
        let met = within(rpo, lost)
            && within(rto, SignedDuration::try_from(back).unwrap_or(SignedDuration::MAX));
        all_met &= met;
        rows.push(vec![
            found.asset.to_owned(),
            seconds(lost.unsigned_abs()),
            (*rpo).to_owned(),
            seconds(back),
            (*rto).to_owned(),
            if met { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    screen::table(&rows);
    all_met
}

/// Reads the plan's `2h`.
fn hours(text: &str) -> SignedDuration {
    let number = text.trim_end_matches('h').parse();
    SignedDuration::from_hours(number.expect("the demo's objectives are whole hours"))
}

/// Writes the time of day of an instant, to the second.
pub fn time_of_day(instant: Timestamp) -> String {
    instant.strftime("%H:%M:%S UTC").to_string()
}

/// Writes a duration as a person reads it.
pub fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}
