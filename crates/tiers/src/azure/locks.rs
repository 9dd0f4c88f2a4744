//! Immutability: at `put`, read back, and made longer.
//!
//! Source: Azure Storage REST API, "Put Blob", "Get Blob Properties", "Set Blob Immutability Policy"; Azure
//! Storage documentation, "Version-level write once, read many (WORM) policies for immutable blob data".

use http::Method;
use lifeboat_model::Timestamp;

use super::client::{AzureClient, Call, http_date};
use super::refused::AzureFailure;
use crate::http::{Answer, answers};
use crate::{LockMode, Protection};

const MODE: &str = "x-ms-immutability-policy-mode";
const UNTIL: &str = "x-ms-immutability-policy-until-date";

/// A policy that is unlocked can be taken back by whoever may set policies, one that is locked by nobody.
const fn word(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Governance => "Unlocked",
        LockMode::Compliance => "Locked",
    }
}

/// Writes a date in whole seconds, not earlier than it is: that is all that Azure takes.
fn date(until: Timestamp) -> String {
    let second = until.as_second() + i64::from(until.subsec_nanosecond() > 0);
    http_date(Timestamp::from_second(second).unwrap_or(until))
}

/// Adds to a request that the blob is locked until then.
pub(super) fn lock(call: Call, mode: LockMode, until: Timestamp) -> Call {
    call.header(UNTIL, date(until)).header(MODE, word(mode))
}

/// Reads from the headers of a blob how it is locked; a policy whose date is over keeps nothing.
///
/// A legal hold is not told: whoever may set one may lift it, and it has no date.
pub(super) fn protection(answer: &Answer, now: Timestamp) -> Protection {
    let mode = match answer.header(MODE).map(str::to_ascii_lowercase).as_deref() {
        Some("unlocked") => LockMode::Governance,
        Some("locked") => LockMode::Compliance,
        _ => return Protection::None,
    };
    match answers::header_time(&answer.headers, UNTIL) {
        Some(until) if until > now => Protection::Locked { mode, until },
        _ => Protection::None,
    }
}

/// Asks how a blob is locked.
pub(super) async fn read(client: &AzureClient, key: &str) -> Result<Protection, AzureFailure> {
    let answer = client.ask_through(Call::new(Method::HEAD, key)).await?;
    Ok(protection(&answer, client.clock.now()))
}

/// Locks a blob until then, or as long as it is locked already; one that is locked keeps its mode.
pub(super) async fn extend(
    client: &AzureClient,
    key: &str,
    mode: LockMode,
    until: Timestamp,
) -> Result<(), AzureFailure> {
    let mode = match read(client, key).await? {
        protection if protection.lasts_until(until) => return Ok(()),
        Protection::Locked { mode, .. } => mode,
        Protection::None => mode,
    };
    let call = Call::new(Method::PUT, key).query("comp", "immutabilityPolicies");
    client.ask_through(lock(call, mode, until)).await.map(drop)
}
