//! A role that a profile takes on: whose credentials ask AWS for it, and under which name.
//!
//! Source: AWS SDKs and Tools Reference Guide, "Assume role credential provider".
//!
//! # Limits
//!
//! AWS itself is asked, at the endpoint of the region. A code that a person types, a source that takes on a role itself,
//! a web identity and a service elsewhere are left to the AWS tools.

use reqsign_aws_v4::{AssumeRoleCredentialProvider, Credential, RequestSigner};
use reqsign_core::{Context, Error, ProvideCredential, Result, Signer};

use super::credentials::Search;

/// What the session is called in the records of whoever owns the role, if the profile calls it nothing.
const SESSION_NAME: &str = "lifeboat";

/// A role, as a profile describes it.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) source: Source,
    pub(super) session_name: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) duration_s: Option<u32>,
}

/// Whose credentials ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Those of another profile.
    Profile(String),
    /// The key in the environment.
    Environment,
    /// What the service of the container gives.
    Container,
    /// What the service of the machine gives.
    Machine,
}

impl Source {
    /// Reads what a profile calls `credential_source`.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "Environment" => Self::Environment,
            "EcsContainer" => Self::Container,
            "Ec2InstanceMetadata" => Self::Machine,
            _ => return None,
        })
    }
}

/// Asks for a role in a region.
#[derive(Debug)]
pub(super) struct RoleProvider {
    pub(super) role: Role,
    pub(super) region: String,
}

/// Credentials that were found.
#[derive(Debug)]
struct Given(Credential);

impl ProvideCredential for Given {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

impl ProvideCredential for RoleProvider {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        let Role { arn, source, session_name, external_id, duration_s } = &self.role;
        let given = Search::of(source).provide_credential(context).await?;
        let given =
            given.ok_or_else(|| Error::config_invalid("its source has none to ask with"))?;
        let signer = RequestSigner::new("sts", &self.region);
        let signer = Signer::new(context.clone(), Given(given), signer);
        let name = session_name.as_deref().unwrap_or(SESSION_NAME).to_owned();
        let mut provider = AssumeRoleCredentialProvider::new(arn.clone(), signer)
            .with_region(self.region.clone())
            .with_regional_sts_endpoint()
            .with_role_session_name(name);
        if let Some(id) = external_id {
            provider = provider.with_external_id(id.clone());
        }
        if let Some(seconds) = duration_s {
            provider = provider.with_duration_seconds(*seconds);
        }
        provider.provide_credential(context).await
    }
}
