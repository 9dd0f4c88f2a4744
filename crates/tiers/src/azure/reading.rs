//! Reads of a blob or a part of it, and whether the bytes are those that were put.
//!
//! Source: Azure Storage REST API, "Get Blob", "Specifying the range header for Blob service operations".

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{Method, StatusCode};
use md5::{Digest as _, Md5};

use super::client::{AzureClient, Call};
use super::refused::{AzureFailure, Refused};
use crate::ReadRange;
use crate::http::answers;
use crate::http::ranges::{Asked, asked, part_of};
use crate::http::refused;
use crate::http::sums::summed;

/// The header with the sum that the store was given and noted.
pub(super) const SUM_HEADER: &str = "content-md5";

/// Why a blob was not read.
type ReadFailure = refused::ReadFailure<Refused>;

/// Sums a body up as Azure does: it knows MD5 and a CRC. Against whoever alters on purpose stands TLS, and
/// behind that the repository, which knows everything by its SHA-256.
pub(super) async fn sum(body: Bytes) -> String {
    BASE64_STANDARD.encode(summed(body, |body| Md5::digest(body)).await)
}

/// Reads a blob or a part of it. Azure does not know the last bytes of a blob by their number, so
/// its size is asked for first.
pub(super) async fn read(
    client: &AzureClient,
    key: &str,
    range: ReadRange,
) -> Result<Bytes, ReadFailure> {
    let exact = match range {
        ReadRange::Suffix(length) if length > 0 => {
            let size = size(client, key).await?;
            let length = length.min(size);
            ReadRange::Bounded { offset: size - length, length }
        }
        other => other,
    };
    let call = Call::new(Method::GET, key);
    let call = match asked(exact) {
        Asked::Everything => call,
        Asked::Bytes(bytes) => call.header("x-ms-range", bytes),
        Asked::Nothing => return read_nothing(client, key, range).await,
    };
    let answer = match client.ask_through(call).await {
        Err(AzureFailure::Refused(refused))
            if refused.status == StatusCode::RANGE_NOT_SATISFIABLE =>
        {
            return read_nothing(client, key, range).await;
        }
        other => other?,
    };
    let body = part_of(&answer, exact)?;
    if let (ReadRange::Full, Some(noted)) = (range, answer.header(SUM_HEADER))
        && sum(body.clone()).await != noted
    {
        let came = "with another sum than the one that the store noted";
        return Err(AzureFailure::Altered { came }.into());
    }
    Ok(body)
}

async fn size(client: &AzureClient, key: &str) -> Result<u64, ReadFailure> {
    let answer = client.ask_through(Call::new(Method::HEAD, key)).await?;
    Ok(answers::length(&answer.headers).map_err(AzureFailure::from)?)
}

/// Reads where there is nothing to read: of an empty blob, or no bytes, or beyond the end.
async fn read_nothing(
    client: &AzureClient,
    key: &str,
    range: ReadRange,
) -> Result<Bytes, ReadFailure> {
    let size = size(client, key).await?;
    match range.within(size) {
        Some(within) if within.is_empty() => Ok(Bytes::new()),
        Some(_) => Err(AzureFailure::Altered { came: "with another size" }.into()),
        None => Err(ReadFailure::OutOfRange { size }),
    }
}
