//! Azurite, which speaks Azure Blob Storage, without immutability.

use std::net::SocketAddr;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use lifeboat_model::{Clock as _, SystemClock, Timestamp};
use sha2::Sha256;

use super::request::{Request, quoted};
use super::server::Server;
use crate::needs;
use crate::program::ProgramError;

/// A server that speaks Azure Blob Storage, empty at first.
#[derive(Debug)]
pub struct Azurite(Server);

impl Azurite {
    /// The account's name.
    pub const ACCOUNT: &str = "devstoreaccount1";

    /// The account's key, which is the same for everybody and public.
    ///
    /// Source: Azurite's README, section "Default Storage Account".
    pub const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// The version of the protocol in which a container is made.
    const VERSION: &str = "2023-11-03";

    /// Starts it and waits until it answers.
    pub fn start() -> Result<Self, ProgramError> {
        const REMEDY: &str = "dev/install-needs azurite";
        const MAIN: &str = "node_modules/azurite/dist/src/blob/main.js";
        let mut command = Command::new("node");
        command.arg(needs::find("azurite", MAIN, REMEDY)?).args([
            "--blobPort",
            "0",
            "--silent",
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ]);
        Server::start(&command).map(Self)
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Returns its URL, with the account in the path.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{}", self.address(), Self::ACCOUNT)
    }

    /// Returns what Azure's tools take as `AZURE_STORAGE_CONNECTION_STRING`.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol=http;AccountName={};AccountKey={};BlobEndpoint={};",
            Self::ACCOUNT,
            Self::KEY,
            self.endpoint()
        )
    }

    /// Makes a container.
    pub fn make_container(&self, name: &str) -> Result<(), ProgramError> {
        let now = SystemClock.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let version = Self::VERSION;
        let account = Self::ACCOUNT;
        let target = format!("/{account}/{name}?restype=container");
        // Source: Azure's REST API, "Authorize with Shared Key": twelve lines for the method and the
        // standard headers, all empty here, then those of Azure, then the resource, in which the
        // account's name stands twice where the path holds it as well.
        let text = format!(
            "PUT{}x-ms-date:{now}\nx-ms-version:{version}\n/{account}/{account}/{name}\nrestype:container",
            "\n".repeat(12)
        );
        let headers = vec![
            ("x-ms-date", now),
            ("x-ms-version", version.to_owned()),
            ("Authorization", format!("SharedKey {account}:{}", Self::sign(&text))),
        ];
        Request { method: "PUT", target, headers, body: String::new() }
            .send(self.address())
            .map(drop)
    }

    /// Makes a shared access signature for a container, like `sv=…&sig=…`: `permissions` as Azure writes
    /// them (`rcl`), valid until then.
    ///
    /// Source: Azure's REST API, "Create a service SAS", section "Version 2020-12-06 and later".
    pub fn signature(container: &str, permissions: &str, until: Timestamp) -> String {
        const SIGNED_IN: &str = "2020-12-06";
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let account = Self::ACCOUNT;
        // No start, no stored policy, no network, any protocol; and at the end no snapshot, no scope of encryption
        // and no headers of answers.
        let text = format!(
            "{permissions}\n\n{until}\n/blob/{account}/{container}\n\n\n\n{SIGNED_IN}\nc{}",
            "\n".repeat(7)
        );
        let signature = quoted(&Self::sign(&text));
        let until = quoted(&until);
        format!("sv={SIGNED_IN}&sr=c&sp={permissions}&se={until}&sig={signature}")
    }

    /// Signs as the account's owner.
    fn sign(text: &str) -> String {
        let key = STANDARD.decode(Self::KEY).expect("the key is written in base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_made_once() {
        let azurite = Azurite::start().unwrap();
        azurite.make_container("backups").unwrap();
        let again = azurite.make_container("backups").unwrap_err();
        assert!(again.to_string().contains("ContainerAlreadyExists"), "{again}");
    }
}
