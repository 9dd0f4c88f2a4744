//! moto's server, which speaks S3 with versions and object lock.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use super::request::{Request, quoted};
use super::server::Server;
use crate::needs;
use crate::program::ProgramError;

/// A server that speaks S3, empty at first.
///
/// Until [`Moto::enforce`] is called it believes whoever asks, whatever the signature is worth.
#[derive(Debug)]
pub struct Moto(Server);

/// Whether a bucket keeps what was replaced or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// It does not.
    Plain,
    /// As an older version.
    Versioned,
    /// As an older version, and objects can be locked.
    Locking,
}

/// What a client proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public half, as in `AWS_ACCESS_KEY_ID`.
    pub key_id: String,
    /// The secret half, as in `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
}

impl Moto {
    /// The region of its buckets.
    pub const REGION: &str = "eu-central-1";

    /// Starts it and waits until it answers.
    pub fn start() -> Result<Self, ProgramError> {
        const REMEDY: &str = "dev/install-needs moto";
        let mut command = Command::new(needs::find("moto", "bin/python", REMEDY)?);
        command.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]);
        Server::start(&command).map(Self)
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Returns its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns what anybody may come with before [`Moto::enforce`].
    pub fn credentials() -> Credentials {
        Credentials { key_id: "anybody".to_owned(), secret: "anything".to_owned() }
    }

    /// Makes a bucket in [`Moto::REGION`].
    pub fn make_bucket(&self, name: &str, kind: Bucket) -> Result<(), ProgramError> {
        let place = format!(
            "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
            Self::REGION
        );
        let lock = match kind {
            Bucket::Locking => vec![("x-amz-bucket-object-lock-enabled", "true".to_owned())],
            Bucket::Plain | Bucket::Versioned => Vec::new(),
        };
        self.send("PUT", &format!("/{name}"), "s3", lock, place)?;
        if kind == Bucket::Versioned {
            let versions =
                "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            self.send(
                "PUT",
                &format!("/{name}?versioning"),
                "s3",
                Vec::new(),
                versions.to_owned(),
            )?;
        }
        Ok(())
    }

    /// Makes a user who may do what `policy` says, a policy document of IAM. Only before [`Moto::enforce`].
    pub fn make_user(&self, name: &str, policy: &str) -> Result<Credentials, ProgramError> {
        self.iam("CreateUser", &[("UserName", name)])?;
        self.iam(
            "PutUserPolicy",
            &[("UserName", name), ("PolicyName", "own"), ("PolicyDocument", policy)],
        )?;
        let key = self.iam("CreateAccessKey", &[("UserName", name)])?;
        let part = |tag: &str| {
            let (_, rest) = key.split_once(&format!("<{tag}>"))?;
            rest.split_once("</").map(|(value, _)| value.to_owned())
        };
        match (part("AccessKeyId"), part("SecretAccessKey")) {
            (Some(key_id), Some(secret)) => Ok(Credentials { key_id, secret }),
            _ => Err(ProgramError::Unexpected { program: "moto".to_owned(), message: key }),
        }
    }

    /// Asks as somebody who has the credentials and is none of ours, before [`Moto::enforce`]; returns the answer's body.
    pub fn ask(
        &self,
        method: &'static str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<String, ProgramError> {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.send(method, target, "s3", headers, String::new())
    }

    /// From now on checks every signature, and what its owner may do.
    pub fn enforce(&self) -> Result<(), ProgramError> {
        self.send("POST", "/moto-api/reset-auth", "s3", Vec::new(), "0".to_owned()).map(drop)
    }

    fn iam(&self, action: &str, fields: &[(&str, &str)]) -> Result<String, ProgramError> {
        let mut form = format!("Action={action}&Version=2010-05-08");
        for (name, value) in fields {
            write!(form, "&{name}={}", quoted(value)).expect("a string takes whatever is written");
        }
        let kind = ("Content-Type", "application/x-www-form-urlencoded".to_owned());
        self.send("POST", "/", "iam", vec![kind], form)
    }

    /// The service is read from the signature's scope; nobody looks at the signature yet.
    fn send(
        &self,
        method: &'static str,
        target: &str,
        service: &str,
        mut headers: Vec<(&str, String)>,
        body: String,
    ) -> Result<String, ProgramError> {
        let scope = format!("20260101/{}/{service}/aws4_request", Self::REGION);
        let signed =
            format!("AWS4-HMAC-SHA256 Credential=anybody/{scope}, SignedHeaders=host, Signature=0");
        headers.push(("Authorization", signed));
        let request = Request { method, target: target.to_owned(), headers, body };
        request.send(self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_as_they_were_asked_for_and_users_are_known() {
        let moto = Moto::start().unwrap();
        for (name, kind) in [
            ("plain", Bucket::Plain),
            ("versioned", Bucket::Versioned),
            ("locking", Bucket::Locking),
        ] {
            moto.make_bucket(name, kind).unwrap();
            let target = format!("/{name}?versioning");
            let told = moto.ask("GET", &target, &[]).unwrap();
            assert_eq!(told.contains("Enabled"), kind != Bucket::Plain, "{name}: {told}");
        }
        let told = moto.ask("GET", "/locking?object-lock", &[]);
        assert!(told.unwrap().contains("Enabled"));
        let policy = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::plain/*"}]}"#;
        let user = moto.make_user("writer", policy).unwrap();
        assert!(!user.key_id.is_empty() && !user.secret.is_empty());
        moto.enforce().unwrap();
        let refused = moto.ask("GET", "/plain", &[]).unwrap_err();
        assert!(refused.to_string().contains("InvalidAccessKeyId"), "{refused}");
    }
}
