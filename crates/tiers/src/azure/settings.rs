//! What Azure's tools would use: from the plan, else the environment.
//!
//! Source: Azure CLI reference, "az storage", the environment variables of its global parameters.

use lifeboat_model::{Classify, ErrorKind, Hint, Secret};

use super::AzureOptions;
use super::connection::{Connection, ParseConnectionError};
use super::key::{AccountKey, Credential};
use super::place::Place;
use crate::environment::Environment;
use crate::http::address::{Endpoint, PLANNED};
use crate::http::{ParseEndpointError, Trust, TrustError};

/// A container cannot be spoken to as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum AzureOpenError {
    /// The endpoint is none.
    #[error(transparent)]
    Endpoint(#[from] ParseEndpointError),
    /// Encrypted connections cannot be made.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The connection string is none.
    #[error("AZURE_STORAGE_CONNECTION_STRING cannot be used")]
    Connection(#[from] ParseConnectionError),
    /// Credentials were found nowhere.
    #[error("there are no credentials for the storage account `{account}`")]
    NoCredentials {
        /// Whose.
        account: String,
    },
    /// The environment is about another account.
    #[error(
        "there are no credentials for the storage account `{account}`: {variable} is about `{other}`"
    )]
    OtherAccount {
        /// The account of the address.
        account: String,
        /// The variable that says so.
        variable: &'static str,
        /// Its account.
        other: String,
    },
    /// The account's key is none.
    #[error("the key of the storage account `{account}` is not written in Base64")]
    Key {
        /// Whose.
        account: String,
    },
}

impl Classify for AzureOpenError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Trust(error) => return error.hint(),
            Self::Endpoint(error) => return Some(error.hint()),
            Self::NoCredentials { account } => format!(
                "set AZURE_STORAGE_SAS_TOKEN, or AZURE_STORAGE_KEY to what this prints: az storage account keys list --account-name {account} --query [0].value --output tsv; or name account_key or sas_token for the tier in the plan"
            ),
            Self::OtherAccount { .. } => {
                "name account_key or sas_token for the tier in the plan: the environment holds those of one account only".to_owned()
            }
            Self::Connection(_) => {
                "take it from: az storage account show-connection-string --name ACCOUNT --output tsv".to_owned()
            }
            Self::Key { account } => format!(
                "take it from: az storage account keys list --account-name {account} --query [0].value --output tsv"
            ),
        };
        Some(Hint::new(text))
    }
}

/// The variable that says all in one.
const CONNECTION: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// What requests are made with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) place: Place,
    pub(super) credential: Credential,
    pub(super) trust: Trust,
}

impl Settings {
    /// Finds everything.
    pub(super) fn find(options: &AzureOptions) -> Result<Self, AzureOpenError> {
        let environment = Environment(&options.environment);
        let connection = environment.get(CONNECTION);
        let connection = connection.as_deref().map(Connection::parse).transpose()?;
        let own = connection.clone().filter(|connection| connection.is_of(&options.account));
        let (endpoint, told_by) = endpoint(options, own.as_ref()).unzip();
        let authorities = environment.first(&["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]);
        let search = Search { options, environment, connection, own };
        Ok(Self {
            place: Place::new(
                endpoint.as_deref(),
                &options.account,
                &options.container,
                &options.prefix,
            )
            .map_err(|error| error.told_by(told_by.unwrap_or(PLANNED)))?,
            credential: search.credential()?,
            trust: authorities.map_or(Trust::System, |path| Trust::File(path.into())),
        })
    }
}

/// Returns the endpoint that was given, or that the environment has, and what tells of it.
fn endpoint(options: &AzureOptions, own: Option<&Connection>) -> Option<(String, &'static str)> {
    let environment = Environment(&options.environment);
    let variable = |name| environment.get(name).map(|endpoint| (endpoint, name));
    options
        .endpoint
        .clone()
        .map(|endpoint| (endpoint, PLANNED))
        .or_else(|| Some((own?.endpoint.clone()?, CONNECTION)))
        .or_else(|| variable("AZURE_STORAGE_SERVICE_ENDPOINT"))
}

impl AzureOptions {
    /// Returns the host that is asked for the container, if it is not Azure's own: by the endpoint that was given, or that
    /// the environment has.
    pub fn host(&self) -> Option<String> {
        let connection = Environment(&self.environment).get(CONNECTION);
        let connection = connection.as_deref().and_then(|text| Connection::parse(text).ok());
        let own = connection.filter(|connection| connection.is_of(&self.account));
        let (endpoint, _) = endpoint(self, own.as_ref())?;
        Endpoint::parse(&endpoint).ok()?.host_name()
    }
}

/// Where credentials are looked for.
struct Search<'o> {
    options: &'o AzureOptions,
    environment: Environment<'o>,
    connection: Option<Connection>,
    /// The connection string, if it is about this account.
    own: Option<Connection>,
}

impl Search<'_> {
    /// What the plan names counts alone; then the connection string, the account's key, a shared access
    /// signature.
    fn credential(&self) -> Result<Credential, AzureOpenError> {
        let AzureOptions { account_key, sas_token, .. } = self.options;
        if let Some(key) = account_key {
            return self.key(key);
        }
        if let Some(token) = sas_token {
            return Ok(signature(token));
        }
        if let Some(Connection { key, signature: token, .. }) = &self.own {
            match (key, token) {
                (Some(key), _) => return self.key(key),
                (None, Some(token)) => return Ok(signature(token)),
                (None, None) => {}
            }
        }
        let named = self.environment.get("AZURE_STORAGE_ACCOUNT");
        if named.is_none_or(|named| named == self.options.account) {
            if let Some(key) = self.environment.get("AZURE_STORAGE_KEY") {
                return self.key(&Secret::new(key));
            }
            if let Some(token) = self.environment.get("AZURE_STORAGE_SAS_TOKEN") {
                return Ok(signature(&Secret::new(token)));
            }
        }
        Err(self.nowhere())
    }

    fn key(&self, key: &Secret) -> Result<Credential, AzureOpenError> {
        let account = &self.options.account;
        let key = AccountKey::new(account, key);
        key.map(Credential::Key).ok_or_else(|| AzureOpenError::Key { account: account.clone() })
    }

    fn nowhere(&self) -> AzureOpenError {
        let account = self.options.account.clone();
        let in_string = self.connection.as_ref().and_then(|connection| connection.account.clone());
        let named = self.environment.get("AZURE_STORAGE_ACCOUNT");
        let candidates =
            [("AZURE_STORAGE_CONNECTION_STRING", in_string), ("AZURE_STORAGE_ACCOUNT", named)];
        let other = candidates.into_iter().find_map(|(variable, other)| Some((variable, other?)));
        match other.filter(|(_, other)| *other != account) {
            Some((variable, other)) => AzureOpenError::OtherAccount { account, variable, other },
            None => AzureOpenError::NoCredentials { account },
        }
    }
}

/// Azure's portal hands tokens out with the question mark, its command line without.
fn signature(token: &Secret) -> Credential {
    Credential::Signature(Secret::new(token.expose().trim().trim_start_matches('?')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a2V5";

    fn found(variables: &[(&str, &str)]) -> Result<Settings, AzureOpenError> {
        let mut options = AzureOptions::new("shop", "copies", "");
        options.environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::find(&options)
    }

    #[test]
    fn credentials_are_found_as_azures_tools_find_them() {
        for variables in [
            &[("AZURE_STORAGE_KEY", KEY)][..],
            &[("AZURE_STORAGE_ACCOUNT", "shop"), ("AZURE_STORAGE_KEY", KEY)],
            &[("AZURE_STORAGE_CONNECTION_STRING", "AccountName=shop;AccountKey=a2V5")],
            &[
                ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=x"),
                ("AZURE_STORAGE_KEY", KEY),
            ],
            &[("AZURE_STORAGE_KEY", KEY), ("AZURE_STORAGE_SAS_TOKEN", "sig=x")],
        ] {
            let credential = found(variables).unwrap().credential;
            assert!(matches!(credential, Credential::Key(_)), "{variables:?}: {credential:?}");
        }
        for token in ["?sv=1&sig=x", "sv=1&sig=x"] {
            let credential = found(&[("AZURE_STORAGE_SAS_TOKEN", token)]).unwrap().credential;
            let Credential::Signature(read) = credential else { panic!("{token}") };
            assert_eq!(read.expose(), "sv=1&sig=x");
        }
    }

    #[test]
    fn those_of_another_account_are_named_and_not_used() {
        let refused = |variables: &[_]| found(variables).unwrap_err().to_string();
        assert!(refused(&[]).contains("no credentials for the storage account `shop`"));
        let other = [("AZURE_STORAGE_ACCOUNT", "mine"), ("AZURE_STORAGE_KEY", KEY)];
        assert!(refused(&other).contains("AZURE_STORAGE_ACCOUNT is about `mine`"));
        let other = [("AZURE_STORAGE_CONNECTION_STRING", "AccountName=mine;AccountKey=hunter2")];
        let error = refused(&other);
        assert!(error.contains("AZURE_STORAGE_CONNECTION_STRING is about `mine`"), "{error}");
        assert!(!error.contains("hunter2"));
        assert!(refused(&[("AZURE_STORAGE_KEY", "!")]).contains("not written in Base64"));
    }

    #[test]
    fn what_the_plan_names_counts_alone() {
        let mut options = AzureOptions::new("shop", "copies", "");
        options.sas_token = Some(Secret::new("sig=x"));
        options.environment.insert("AZURE_STORAGE_KEY".to_owned(), KEY.to_owned());
        let credential = Settings::find(&options).unwrap().credential;
        assert!(matches!(credential, Credential::Signature(_)), "{credential:?}");
    }
}
