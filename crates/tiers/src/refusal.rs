//! What stores in the network refuse for, and what whoever reads that can do.

use std::fmt;
use std::time::Duration;

use lifeboat_model::{ErrorKind, Hint};

/// Why a store will go on refusing until somebody does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Credentials were found nowhere.
    NoCredentials,
    /// What was set up to give credentials gives none.
    BrokenCredentials,
    /// The store does not know the credentials, or they are over.
    Credentials,
    /// The credentials were valid, or will be, but are not now.
    Expired,
    /// The store knows who asks and does not allow it.
    NotAllowed,
    /// The bucket or container is not there.
    NoContainer {
        /// The store's endpoint, if it is a store of S3 that is not AWS.
        elsewhere: Option<String>,
    },
    /// The bucket is in another region.
    Region {
        /// The right one, if the store said it.
        right: Option<String>,
    },
    /// This machine's clock is off, so that its signatures count as too old or as not yet valid.
    Clock {
        /// By how much, if the store said its own time.
        off: Option<Duration>,
    },
    /// The store could not prove that it is who it is taken for.
    Certificate,
    /// The store does not speak encrypted, though its address says so.
    Plain,
    /// The store does not understand the request.
    Unfit,
    /// Nobody has said yet that the host's key is the right one.
    HostUnknown,
    /// The host has another key than it had.
    HostChanged,
    /// The server does not let in who comes.
    Login,
    /// The program that speaks to such servers is not there.
    NoClient,
}

impl Refusal {
    /// Returns the class of errors.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoContainer { .. } => ErrorKind::NotFound,
            Self::Credentials
            | Self::Expired
            | Self::NotAllowed
            | Self::Certificate
            | Self::HostUnknown
            | Self::HostChanged
            | Self::Login => ErrorKind::Denied,
            Self::NoCredentials
            | Self::BrokenCredentials
            | Self::Region { .. }
            | Self::Clock { .. }
            | Self::Plain
            | Self::Unfit
            | Self::NoClient => ErrorKind::Config,
        }
    }

    /// Returns what can be done about it on a tier.
    pub fn hint(&self, tier: &str) -> Hint {
        let by_vendor = match tier.split_once("://") {
            Some(("s3", place)) => self.hint_at_aws(place),
            Some(("azure", place)) => self.hint_at_azure(place),
            Some(("sftp", _)) => self.hint_at_server(tier),
            _ => None,
        };
        Hint::new(by_vendor.unwrap_or_else(|| self.hint_anywhere(tier)))
    }

    fn hint_anywhere(&self, tier: &str) -> String {
        match self {
            Self::NoCredentials => format!("name the credentials for {tier} in the plan"),
            Self::BrokenCredentials => {
                format!(
                    "mend what gives the credentials for {tier}, or take it out of the settings"
                )
            }
            Self::Credentials | Self::Expired => {
                format!("see whether the credentials for {tier} are still valid")
            }
            Self::NotAllowed => format!(
                "allow it for these credentials on {tier}, or use others; docs/object-stores.md lists what is needed for what"
            ),
            Self::NoContainer { .. } => created(&format!("a container for {tier}")),
            Self::Region { .. } => format!("name the region of {tier} in the plan"),
            Self::Clock { .. } => "set this machine's clock: timedatectl set-ntp true".to_owned(),
            Self::Certificate => trusted("SSL_CERT_FILE"),
            Self::Plain => format!(
                "the endpoint of {tier} begins with https:// and nothing encrypted answers there: see whether the port is right, or write http:// where nobody can listen in between"
            ),
            Self::Unfit => format!("see whether the endpoint of {tier} is right for this store"),
            Self::HostUnknown | Self::HostChanged | Self::Login | Self::NoClient => {
                format!("see whether {tier} can be reached by hand")
            }
        }
    }

    fn hint_at_aws(&self, place: &str) -> Option<String> {
        let bucket = place.split('/').next().unwrap_or(place);
        Some(match self {
            Self::NoCredentials => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or write access_key_id and secret_access_key for the tier in the plan".to_owned(),
            Self::BrokenCredentials => "mend it, or take it out of the settings; nothing else is asked in its place. The AWS tools tell more: aws sts get-caller-identity".to_owned(),
            Self::Credentials | Self::Expired => "see whether they are still valid; at AWS this tells whose they are: aws sts get-caller-identity".to_owned(),
            Self::NoContainer { elsewhere: None } => created(&format!("aws s3 mb s3://{bucket}")),
            Self::NoContainer { elsewhere: Some(endpoint) } => created(&format!(
                "with the store's own tools, or aws --endpoint-url {endpoint} s3 mb s3://{bucket}"
            )),
            Self::Region { right: Some(right) } => format!("write region = \"{right}\" for the tier in the plan, or set AWS_REGION={right}"),
            Self::Region { right: None } => format!("write the bucket's region for the tier in the plan, or set AWS_REGION; this tells it: aws s3api get-bucket-location --bucket {bucket}"),
            Self::Certificate => trusted("AWS_CA_BUNDLE"),
            Self::Unfit => "see whether endpoint, region and path_style of the tier are right for this store".to_owned(),
            _ => return None,
        })
    }

    fn hint_at_azure(&self, place: &str) -> Option<String> {
        let (account, place) = place.split_once('/').unwrap_or((place, ""));
        let container = place.split('/').next().unwrap_or(place);
        let named = format!("--account-name {account} --name {container}");
        Some(match self {
            Self::Credentials => format!("see whether Azure's tools are let in with the same: az storage container show {named}"),
            Self::Expired => format!("make a new signature: az storage container generate-sas {named} --permissions rcl --expiry DATE"),
            Self::NoContainer { .. } => created(&format!("az storage container create {named}")),
            Self::Certificate => trusted("REQUESTS_CA_BUNDLE"),
            Self::Unfit => "see whether the endpoint of the tier is the address of the account's blobs: az storage account show --query primaryEndpoints.blob".to_owned(),
            _ => return None,
        })
    }
}

impl Refusal {
    fn hint_at_server(&self, tier: &str) -> Option<String> {
        Some(match self {
            Self::Unfit => format!("see whether its server offers files at all: {}", trial(tier)),
            Self::HostUnknown => format!(
                "compare the key's fingerprint with what the server's keeper tells you, then accept it, as the user that lifeboat runs as: ssh {}",
                login(tier)
            ),
            Self::HostChanged => format!(
                "find out why before you go on: somebody may stand in between. If the server was set up anew, forget its old key and accept the new one: ssh-keygen -R {}",
                known_as(tier)
            ),
            Self::Login => format!(
                "put a key there that this user's ssh finds without asking: ssh-copy-id {}; then this has to work: {}",
                login(tier),
                trial(tier)
            ),
            Self::NoClient => "install it: apt-get install openssh-client".to_owned(),
            _ => return None,
        })
    }
}

fn created(command: &str) -> String {
    format!(
        "create it where copies are to be: {command}; lifeboat makes none, since an empty one in its place would hide a loss"
    )
}

fn trusted(variable: &str) -> String {
    format!(
        "if the store has a certificate of your own authority, name the file with the authority: {variable}=/path/to/ca.pem"
    )
}

/// Returns who logs in where, as ssh's programs take it after their options.
fn login(tier: &str) -> String {
    let (host, port) = host_and_port(tier);
    let host = host.replace(['[', ']'], "");
    port.map_or_else(|| host.clone(), |port| format!("-p {port} {host}"))
}

/// Returns a command that asks a server for nothing, as lifeboat would.
fn trial(tier: &str) -> String {
    let (host, port) = host_and_port(tier);
    let port = port.map(|port| format!(" -P {port}")).unwrap_or_default();
    format!("sftp -b /dev/null{port} {host}")
}

/// Returns the name under which known_hosts has a host.
fn known_as(tier: &str) -> String {
    let (host, port) = host_and_port(tier);
    let host = host.rsplit('@').next().unwrap_or(host).replace(['[', ']'], "");
    port.map_or_else(|| host.clone(), |port| format!("'[{host}]:{port}'"))
}

/// Splits `sftp://user@host:port/path`.
fn host_and_port(tier: &str) -> (&str, Option<&str>) {
    let place = tier.split_once("://").map_or(tier, |(_, place)| place);
    let login = place.split('/').next().unwrap_or(place);
    match login.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (login, None),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredentials => f.write_str("there are no credentials for it"),
            Self::BrokenCredentials => {
                f.write_str("what was set up to give credentials for it gives none")
            }
            Self::Credentials => f.write_str("the credentials are wrong or over"),
            Self::Expired => f.write_str("the credentials are not valid at this time"),
            Self::NotAllowed => f.write_str("the credentials do not allow it"),
            Self::NoContainer { .. } => f.write_str("its bucket or container does not exist"),
            Self::Region { right: Some(right) } => write!(f, "the bucket is in the region {right}"),
            Self::Region { right: None } => f.write_str("the bucket is in another region"),
            Self::Clock { off: Some(off) } => {
                write!(f, "this machine's clock is off by {} seconds", off.as_secs())
            }
            Self::Clock { off: None } => f.write_str("this machine's clock is off"),
            Self::Certificate => f.write_str("it could not prove that it is the store"),
            Self::HostUnknown => f.write_str("its host key is not known"),
            Self::HostChanged => f.write_str("its host key is not the one that it had"),
            Self::Login => f.write_str("the login was refused"),
            Self::NoClient => f.write_str("there is no program that speaks to it"),
            Self::Plain => f.write_str("it does not speak encrypted"),
            Self::Unfit => f.write_str("it does not understand what is asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_a_server_can_be_typed_as_it_stands() {
        let told = |refusal: Refusal, tier: &str| refusal.hint(tier).to_string();
        let plain = "sftp://u@backup/srv";
        let ported = "sftp://u@[::1]:2222/~/srv";
        assert!(told(Refusal::HostUnknown, plain).ends_with(": ssh u@backup"));
        assert!(told(Refusal::HostUnknown, ported).ends_with(": ssh -p 2222 u@::1"));
        assert!(told(Refusal::HostChanged, plain).ends_with(": ssh-keygen -R backup"));
        assert!(told(Refusal::HostChanged, ported).ends_with(": ssh-keygen -R '[::1]:2222'"));
        let login = told(Refusal::Login, ported);
        assert!(login.contains("ssh-copy-id -p 2222 u@::1;"), "{login}");
        assert!(login.ends_with(": sftp -b /dev/null -P 2222 u@[::1]"), "{login}");
        assert!(told(Refusal::Unfit, "sftp://[::1]/x").ends_with(" [::1]"));
    }
}
