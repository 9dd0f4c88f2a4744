//! What the search for credentials may use: files, commands and requests, and the environment that was
//! handed in.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqsign_core::{
    CommandExecute, CommandOutput, Context, Error, FileRead, HttpSend, Result, StaticEnv,
};

use crate::http::{HttpClient, HttpFailure, Patience, Trust, TrustError};

/// How long a service that hands out credentials may take: the one of a machine answers at once, and
/// where there is none nobody does.
const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(2), silence: Duration::from_secs(10) };

/// How long a command that prints credentials may take; it may ask a service itself.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);

/// Makes what the search may use.
pub(super) fn context(
    environment: &BTreeMap<String, String>,
    trust: &Trust,
) -> std::result::Result<Context, TrustError> {
    // One that is empty says nothing, not that the key is empty.
    let said = environment.iter().filter(|(_, value)| !value.is_empty());
    let envs: HashMap<_, _> = said.map(|(name, value)| (name.clone(), value.clone())).collect();
    let home_dir = environment.get("HOME").map(PathBuf::from);
    let client = HttpClient::new(trust, PATIENCE)?;
    Ok(Context::new()
        .with_env(StaticEnv { home_dir, envs })
        .with_file_read(Files)
        .with_http_send(Requests(client))
        .with_command_execute(Commands))
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        tokio::fs::read(path).await.map_err(|error| {
            Error::config_invalid("a file of credentials cannot be read")
                .with_context(format!("path: {path}"))
                .with_source(error)
        })
    }
}

#[derive(Debug)]
struct Requests(HttpClient);

impl HttpSend for Requests {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let answer = self.0.send(request).await.map_err(|failure: HttpFailure| {
            Error::unexpected(format!("a service for credentials did not answer: {failure}"))
                .set_retryable(true)
        })?;
        let mut response = http::Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

#[derive(Debug)]
struct Commands;

impl CommandExecute for Commands {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        args: &'a [&'a str],
    ) -> Result<CommandOutput> {
        let failed = |why: String| {
            Error::config_invalid(format!("`{program}`, which prints credentials, {why}"))
        };
        let run = tokio::process::Command::new(program).args(args).kill_on_drop(true).output();
        let output = tokio::time::timeout(COMMAND_TIMEOUT, run)
            .await
            .map_err(|_| failed(format!("took over {} seconds", COMMAND_TIMEOUT.as_secs())))?
            .map_err(|error| failed(format!("did not start: {error}")))?;
        let status = output.status.code().unwrap_or(-1);
        Ok(CommandOutput { status, stdout: output.stdout, stderr: output.stderr })
    }
}
