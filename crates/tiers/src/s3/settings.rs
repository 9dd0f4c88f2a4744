//! What the AWS tools would use: from the plan, else the environment, else the profile's files.
//!
//! Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files", "Settings
//! reference" (region, endpoint, profile, data integrity protections).

use std::io;
use std::path::{Path, PathBuf};

use ini::{Ini, Properties};
use lifeboat_model::{Classify, ErrorKind, Hint};

use super::S3Options;
use super::credentials::Search;
use super::place::{Place, is_vendor};
use super::role::{Role, RoleProvider, Source};
use crate::environment::Environment;
use crate::http::address::{Endpoint, PLANNED};
use crate::http::{ParseEndpointError, Trust, TrustError};

/// The region whose endpoint knows where every bucket is.
const REGION_DEFAULT: &str = "us-east-1";

/// A bucket cannot be spoken to as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum S3OpenError {
    /// The endpoint is none.
    #[error(transparent)]
    Endpoint(#[from] ParseEndpointError),
    /// Encrypted connections cannot be made.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file of the AWS tools cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the AWS tools is not what they would read.
    #[error("{} is not a file of profiles", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ini::ParseError,
    },
    /// The profile is in neither file.
    #[error("there is no profile `{profile}`")]
    NoProfile {
        /// What was asked for.
        profile: String,
    },
    /// Half of a key is given.
    #[error("{given} is set and {lacking} is not{}", within(profile.as_deref()))]
    HalfKey {
        /// What is there.
        given: &'static str,
        /// What is not.
        lacking: &'static str,
        /// In which profile; in the environment, if in none.
        profile: Option<String>,
    },
    /// The profile signs in by a session, which is left to the AWS tools.
    #[error(
        "the profile `{profile}` signs in by `sso_session`, which lifeboat does not do by itself"
    )]
    Session {
        /// The profile.
        profile: String,
    },
    /// The profile takes on a role in a way that is left to the AWS tools.
    #[error("the profile `{profile}` takes on a role, {how}, which lifeboat does not do by itself")]
    Role {
        /// The profile.
        profile: String,
        /// In which way.
        how: &'static str,
    },
}

fn within(profile: Option<&str>) -> String {
    profile.map(|profile| format!(" in the profile `{profile}`")).unwrap_or_default()
}

impl Classify for S3OpenError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Trust(error) => error.hint(),
            Self::NoProfile { .. } => {
                Some(Hint::new("see which there are: aws configure list-profiles"))
            }
            Self::HalfKey { given, lacking, .. } => {
                Some(Hint::new(format!("set {lacking} as well, or neither of it and {given}")))
            }
            Self::Role { profile, .. } | Self::Session { profile } => Some(Hint::new(format!(
                "let another profile ask the AWS tools: write `credential_process = aws configure export-credentials --profile {profile}` below [profile lifeboat] in ~/.aws/config, and use the profile lifeboat"
            ))),
            Self::Endpoint(error) => Some(error.hint()),
            Self::Unreadable { .. } | Self::BadFile { .. } => None,
        }
    }
}

/// One profile, as both files have it.
#[derive(Debug, Default)]
struct Profile {
    name: String,
    config: Properties,
    credentials: Properties,
}

impl Profile {
    fn get(&self, key: &str) -> Option<String> {
        let text = self.credentials.get(key).or_else(|| self.config.get(key))?;
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    fn has_credentials(&self) -> bool {
        let own = ["aws_access_key_id", "credential_process", "sso_start_url"];
        own.iter().any(|key| self.get(key).is_some())
    }

    /// Refuses what the AWS tools would make credentials from and lifeboat would not, so that nothing else is found in
    /// their place.
    fn refuse_what_is_left_to_others(&self) -> Result<(), S3OpenError> {
        let profile = || self.name.clone();
        for file in [&self.credentials, &self.config] {
            let get = |key: &str| file.get(key).map(str::to_owned);
            half_key(["aws_access_key_id", "aws_secret_access_key"], get, Some(profile()))?;
        }
        if self.has_credentials() {
            return Ok(());
        }
        if self.get("sso_session").is_some() {
            return Err(S3OpenError::Session { profile: profile() });
        }
        Ok(())
    }
}

/// Says which role a profile takes on, if it does.
fn role_of(environment: &Environment<'_>, profile: &Profile) -> Result<Option<Role>, S3OpenError> {
    let Some(arn) = profile.get("role_arn") else { return Ok(None) };
    let left = |how| S3OpenError::Role { profile: profile.name.clone(), how };
    let elsewhere = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"];
    if environment.first(&elsewhere).or_else(|| profile.get("endpoint_url")).is_some() {
        return Err(left("of a service that is not AWS"));
    }
    if profile.get("mfa_serial").is_some() {
        return Err(left("with a code that somebody types"));
    }
    let source = match (profile.get("source_profile"), profile.get("credential_source")) {
        (Some(name), _) => {
            // A profile may be its own source: its key asks.
            let own = name == profile.name;
            let takes_role = |it: Profile| it.get("role_arn").is_some();
            if !own && environment.profile(Some(&name), false).map(takes_role)? {
                return Err(left("by a profile that takes on one itself"));
            }
            Source::Profile(name)
        }
        (None, Some(word)) => {
            Source::parse(&word).ok_or_else(|| left("by a `credential_source` of another kind"))?
        }
        (None, None) => return Err(left("with neither `source_profile` nor `credential_source`")),
    };
    let duration_s = profile.get("duration_seconds").and_then(|seconds| seconds.parse().ok());
    let (session_name, external_id) =
        (profile.get("role_session_name"), profile.get("external_id"));
    Ok(Some(Role { arn, source, session_name, external_id, duration_s }))
}

/// Refuses one half of a key without the other.
fn half_key(
    [id, secret]: [&'static str; 2],
    get: impl Fn(&str) -> Option<String>,
    profile: Option<String>,
) -> Result<(), S3OpenError> {
    let (given, lacking) = match (get(id), get(secret)) {
        (Some(_), None) => (id, secret),
        (None, Some(_)) => (secret, id),
        _ => return Ok(()),
    };
    Err(S3OpenError::HalfKey { given, lacking, profile })
}

/// What requests are made with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) place: Place,
    pub(super) region: String,
    pub(super) trust: Trust,
    pub(super) sums: Sums,
    /// Whether the store is AWS itself.
    pub(super) is_vendor: bool,
    profile: Option<String>,
    role: Option<Role>,
}

/// When requests carry a sum beside what the signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    /// Always.
    WhenSupported,
    /// Only where the store wants one, for stores that refuse what they do not know.
    WhenRequired,
}

impl Settings {
    /// Finds everything; reads the files of the profile.
    pub(super) fn find(options: &S3Options) -> Result<Self, S3OpenError> {
        let environment = Environment(&options.environment);
        let chosen = options.profile.clone().or_else(|| environment.get("AWS_PROFILE"));
        if options.keys.is_none() && options.profile.is_none() {
            half_key(
                ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
                |name| environment.get(name),
                None,
            )?;
        }
        let profile = environment.profile(chosen.as_deref(), options.keys.is_some())?;
        let region = options
            .region
            .clone()
            .or_else(|| environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .or_else(|| profile.get("region"))
            .unwrap_or_else(|| REGION_DEFAULT.to_owned());
        let (endpoint, told_by) = endpoint(options, &profile).unzip();
        let place = Place::new(
            endpoint.as_deref(),
            &region,
            options.addressing,
            &options.bucket,
            &options.prefix,
        )
        .map_err(|error| error.told_by(told_by.unwrap_or(PLANNED)))?;
        let authorities = environment
            .get("AWS_CA_BUNDLE")
            .or_else(|| profile.get("ca_bundle"))
            .or_else(|| environment.get("SSL_CERT_FILE"));
        let calculation = environment
            .get("AWS_REQUEST_CHECKSUM_CALCULATION")
            .or_else(|| profile.get("request_checksum_calculation"));
        let has_key = options.keys.is_some() || environment.get("AWS_ACCESS_KEY_ID").is_some();
        let asks_profile = options.keys.is_none() && (options.profile.is_some() || !has_key);
        let role = if asks_profile { role_of(&environment, &profile)? } else { None };
        let required = calculation.is_some_and(|word| word.eq_ignore_ascii_case("when_required"));
        Ok(Self {
            is_vendor: place.elsewhere().is_none(),
            place,
            region,
            trust: authorities.map_or(Trust::System, |path| Trust::File(PathBuf::from(path))),
            sums: if required { Sums::WhenRequired } else { Sums::WhenSupported },
            profile: chosen,
            role,
        })
    }

    /// Returns where credentials are looked for, in this order.
    pub(super) fn credentials(&self, options: &S3Options) -> Search {
        let region = self.region.clone();
        let role = self.role.clone().map(|role| RoleProvider { role, region });
        Search::new(options, self.profile.as_deref(), role)
    }
}

/// Returns the endpoint that was given, or that the environment or the profile has, and what tells of it.
fn endpoint(options: &S3Options, profile: &Profile) -> Option<(String, &'static str)> {
    let environment = Environment(&options.environment);
    let variable = |name| environment.get(name).map(|endpoint| (endpoint, name));
    options
        .endpoint
        .clone()
        .map(|endpoint| (endpoint, PLANNED))
        .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
        .or_else(|| variable("AWS_ENDPOINT_URL"))
        .or_else(|| Some((profile.get("endpoint_url")?, "`endpoint_url` of the profile")))
}

impl S3Options {
    /// Returns the host that is asked for the bucket, if it is not AWS: by the endpoint that was given, or that the
    /// environment or the profile has.
    pub fn host(&self) -> Option<String> {
        let environment = Environment(&self.environment);
        let chosen = self.profile.clone().or_else(|| environment.get("AWS_PROFILE"));
        let profile = environment.profile(chosen.as_deref(), self.keys.is_some());
        let (endpoint, _) = endpoint(self, &profile.unwrap_or_default())?;
        Endpoint::parse(&endpoint).ok()?.host_name()
    }

    /// Tells whether the bucket is at this endpoint, however that is spelled. AWS has one bucket of a name in all its
    /// regions, so that there any of its endpoints will do.
    pub fn is_at(&self, other: &str) -> Result<bool, S3OpenError> {
        let environment = Environment(&self.environment);
        let chosen = self.profile.clone().or_else(|| environment.get("AWS_PROFILE"));
        let profile = environment.profile(chosen.as_deref(), self.keys.is_some())?;
        Ok(match endpoint(self, &profile) {
            Some((own, told_by)) if !is_vendor(&own) => {
                let own = Endpoint::parse(&own).map_err(|error| error.told_by(told_by))?;
                own.is_same_as(Endpoint::parse(other)?)
            }
            _ => is_vendor(other),
        })
    }
}

impl Environment<'_> {
    /// Reads the chosen profile, or the default one, which need not be there.
    fn profile(&self, chosen: Option<&str>, has_keys: bool) -> Result<Profile, S3OpenError> {
        let name = chosen.unwrap_or("default");
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let config = self.section("AWS_CONFIG_FILE", "config", &in_config)?;
        let credentials = self.section("AWS_SHARED_CREDENTIALS_FILE", "credentials", name)?;
        if chosen.is_some() && config.is_none() && credentials.is_none() {
            return Err(S3OpenError::NoProfile { profile: name.to_owned() });
        }
        let profile = Profile {
            name: name.to_owned(),
            config: config.unwrap_or_default(),
            credentials: credentials.unwrap_or_default(),
        };
        if !has_keys && self.get("AWS_ACCESS_KEY_ID").is_none() {
            profile.refuse_what_is_left_to_others()?;
        }
        Ok(profile)
    }

    fn section(
        &self,
        variable: &str,
        file: &str,
        section: &str,
    ) -> Result<Option<Properties>, S3OpenError> {
        let below_home = || Some(Path::new(&self.get("HOME")?).join(".aws").join(file));
        let Some(path) = self.get(variable).map(PathBuf::from).or_else(below_home) else {
            return Ok(None);
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(S3OpenError::Unreadable { path, source }),
        };
        let parsed =
            Ini::load_from_str(&text).map_err(|source| S3OpenError::BadFile { path, source })?;
        Ok(parsed.section(Some(section)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_same_however_it_is_spelled() {
        for (own, other, same) in [
            (Some("https://store.example.org"), "store.example.org", true),
            (Some("https://store.example.org"), "https://Store.example.org:443/", true),
            (Some("http://127.0.0.1:9000"), "http://127.0.0.1:9000/", true),
            (Some("http://store.example.org"), "http://store.example.org:80", true),
            (Some("http://store.example.org"), "https://store.example.org", false),
            (Some("http://127.0.0.1:9000"), "http://127.0.0.1:9001", false),
            (Some("https://store.example.org/a"), "https://store.example.org/b", false),
            (None, "s3.eu-central-1.amazonaws.com", true),
            (Some("https://s3.us-east-1.amazonaws.com"), "s3.eu-central-1.amazonaws.com", true),
            (None, "https://store.example.org", false),
        ] {
            let endpoint = own.map(str::to_owned);
            let options = S3Options { endpoint, ..S3Options::new("bucket", "") };
            assert_eq!(options.is_at(other).unwrap(), same, "{own:?} {other}");
        }
        let mut options = S3Options::new("bucket", "");
        let endpoint = "http://store:9000".to_owned();
        options.environment.insert("AWS_ENDPOINT_URL".to_owned(), endpoint.clone());
        assert!(options.is_at(&endpoint).unwrap(), "it is where the environment says");
    }
}
