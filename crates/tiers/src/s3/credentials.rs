//! Where credentials are looked for, in the order of the AWS tools, and what is said of a place that was set up and gives
//! none.

use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider,
    EnvCredentialProvider, IMDSv2CredentialProvider, ProcessCredentialProvider,
    ProfileCredentialProvider, SSOCredentialProvider, StaticCredentialProvider,
};
use reqsign_core::{Context, Error, ProvideCredential, ProvideCredentialDyn, Result};

use super::role::{RoleProvider, Source};
use super::{Keys, S3Options};
use crate::environment::Environment;

/// Where the service of a machine is, if it is not where it always is.
const MACHINE_SERVICE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// Places that are asked one after the other; the first that has credentials counts.
///
/// One that was set up and fails ends the search: whatever a later one has is not what somebody meant.
#[derive(Debug)]
pub(super) struct Search(Vec<Place>);

#[derive(Debug)]
struct Place {
    /// What people call it.
    name: String,
    provider: Box<dyn ProvideCredentialDyn<Credential = Credential>>,
    asked: Asked,
}

/// Why a place is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// It has something to say only where it was set up.
    AsItIsSetUp,
    /// It is there on some machines, and on others nobody answers.
    InAnyCase,
}

impl Search {
    /// Looks for those of a profile, or of the default one, which may take on a role.
    pub(super) fn new(
        options: &S3Options,
        profile: Option<&str>,
        role: Option<RoleProvider>,
    ) -> Self {
        if let Some(Keys { id, secret }) = &options.keys {
            let given = StaticCredentialProvider::new(id.expose(), secret.expose());
            return Self(Vec::new()).then("what was given", given);
        }
        // Who names a profile in the plan does not mean whatever else is lying about.
        let is_named = options.profile.is_some();
        let name = profile.unwrap_or("default");
        let mut search = Self(Vec::new());
        if !is_named {
            let keys = "AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY";
            search = search.then(keys, EnvCredentialProvider::new());
        }
        if let Some(role) = role {
            return search.then(format!("the role of the profile `{name}`"), role);
        }
        search = search.then_profile(name);
        if is_named {
            return search;
        }
        let token = AssumeRoleWithWebIdentityCredentialProvider::new();
        search.then("the role of AWS_WEB_IDENTITY_TOKEN_FILE", token).then_services(options)
    }

    /// Looks for those by which a role is asked for.
    pub(super) fn of(source: &Source) -> Self {
        let search = Self(Vec::new());
        match source {
            Source::Profile(name) => search.then_profile(name),
            Source::Environment => search.then("the environment", EnvCredentialProvider::new()),
            Source::Container => search.then("the container", ECSCredentialProvider::new()),
            Source::Machine => search.then("the machine", IMDSv2CredentialProvider::new()),
        }
    }

    fn then_profile(self, name: &str) -> Self {
        let of_profile = |what: &str| format!("{what} of the profile `{name}`");
        let keys = ProfileCredentialProvider::new().with_profile(name);
        let sign_in = SSOCredentialProvider::new().with_profile(name);
        let process = ProcessCredentialProvider::new().with_profile(name);
        self.then(of_profile("the key"), keys)
            .then(of_profile("the single sign-on"), sign_in)
            .then(of_profile("`credential_process`"), process)
    }

    fn then_services(self, options: &S3Options) -> Self {
        let mut search = self.then(
            "the service of the container, which AWS_CONTAINER_CREDENTIALS_FULL_URI or …_RELATIVE_URI names,",
            ECSCredentialProvider::new(),
        );
        let is_set_up = Environment(&options.environment).get(MACHINE_SERVICE).is_some();
        let asked = if is_set_up { Asked::AsItIsSetUp } else { Asked::InAnyCase };
        let name = format!("the service of the machine, at {MACHINE_SERVICE},");
        let provider = Box::new(IMDSv2CredentialProvider::new());
        search.0.push(Place { name, provider, asked });
        search
    }

    fn then(
        mut self,
        name: impl Into<String>,
        provider: impl ProvideCredentialDyn<Credential = Credential>,
    ) -> Self {
        let (name, provider, asked) = (name.into(), Box::new(provider), Asked::AsItIsSetUp);
        self.0.push(Place { name, provider, asked });
        self
    }
}

impl ProvideCredential for Search {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        for Place { name, provider, asked } in &self.0 {
            match provider.provide_credential_dyn(context).await {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) if *asked == Asked::AsItIsSetUp => {
                    let may_pass = error.is_retryable();
                    let told = Error::config_invalid(format!("{name} gives no credentials"));
                    return Err(told.with_source(error).set_retryable(may_pass));
                }
                Err(error) => tracing::debug!(%error, "{name} gives no credentials"),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use reqsign_core::HttpSend;

    use super::super::context::context;
    use super::super::settings::Settings;
    use super::*;
    use crate::durable::{create_directories, replace};
    use crate::http::Trust;

    /// A home with both files.
    fn home((config, credentials): (&str, &str)) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".aws");
        create_directories(&folder, 0o700).unwrap();
        replace(&folder.join("config"), in_home(config, home.path()).as_bytes(), 0o600).unwrap();
        replace(&folder.join("credentials"), credentials.as_bytes(), 0o600).unwrap();
        for (name, ends) in [("good", PRINTS), ("bad", "echo 'no ticket' >&2; exit 3")] {
            let script = format!("#!/bin/sh\n{ends}\n");
            replace(&home.path().join(name), script.as_bytes(), 0o700).unwrap();
        }
        home
    }

    /// A bucket as somebody has it who lives there, with these variables and a profile of the plan.
    fn options(home: &Path, variables: &[(&str, &str)], planned: Option<&str>) -> S3Options {
        let given = [("HOME", "HOME"), ("AWS_EC2_METADATA_DISABLED", "true")];
        let given = given.iter().chain(variables);
        let mut options = S3Options::new("bucket", "");
        options.profile = planned.map(str::to_owned);
        options.environment =
            given.map(|(name, value)| ((*name).to_owned(), in_home(value, home))).collect();
        options
    }

    /// What is found there.
    async fn found(
        files: (&str, &str),
        variables: &[(&str, &str)],
        planned: Option<&str>,
    ) -> std::result::Result<Option<(String, Option<String>)>, String> {
        let home = home(files);
        let options = options(home.path(), variables, planned);
        let settings = Settings::find(&options).map_err(|error| error.to_string())?;
        let context = context(&options.environment, &Trust::System).unwrap();
        match settings.credentials(&options).provide_credential(&context).await {
            Ok(found) => Ok(found.map(|found| (found.access_key_id, found.session_token))),
            Err(error) => {
                let causes =
                    std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
                Err(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
            }
        }
    }

    const PRINTS: &str = r#"echo '{"Version": 1, "AccessKeyId": "printed", "SecretAccessKey": "s", "SessionToken": "t"}'"#;

    fn in_home(text: &str, home: &Path) -> String {
        text.replace("HOME", &home.display().to_string())
    }

    const CREDENTIALS: &str = "[default]\naws_access_key_id = first\naws_secret_access_key = s\n\
                               [other]\naws_access_key_id = second\naws_secret_access_key = s\n\
                               aws_session_token = token\n";

    const CONFIG: &str = "[profile prints]\ncredential_process = HOME/good --for lifeboat\n\
                          [profile fails]\ncredential_process = HOME/bad\n\
                          [profile stated]\naws_access_key_id = third\naws_secret_access_key = s\n\
                          [profile signs-in]\nsso_start_url = https://x\nsso_region = eu-central-1\n\
                          sso_account_id = 1\nsso_role_name = r\n\
                          [profile session]\nsso_session = shop\nsso_account_id = 1\nsso_role_name = r\n\
                          [profile role]\nrole_arn = arn:aws:iam::123456789012:role/writer\nsource_profile = other\n\
                          external_id = shop\n\
                          [profile own]\nrole_arn = arn:aws:iam::123456789012:role/writer\n\
                          credential_source = Environment\nrole_session_name = backups\n\
                          [profile typed]\nrole_arn = r\nsource_profile = other\nmfa_serial = m\n\
                          [profile chain]\nrole_arn = r\nsource_profile = role\n\
                          [profile alone]\nrole_arn = r\n\
                          [profile half]\naws_access_key_id = x\n";

    fn pair(id: &str, token: Option<&str>) -> (String, Option<String>) {
        (id.to_owned(), token.map(str::to_owned))
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "own"), ("AWS_SECRET_ACCESS_KEY", "s")];

    #[tokio::test]
    async fn credentials_are_found_in_the_order_of_the_aws_tools() {
        let files = (CONFIG, CREDENTIALS);
        let token = [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", "t"), ("AWS_PROFILE", "other")];
        let chosen = |name| [("AWS_PROFILE", name)];
        for (variables, planned, expected) in [
            (&[][..], None, pair("first", None)),
            (&KEYS, None, pair("own", None)),
            (&token, None, pair("own", Some("t"))),
            (&chosen("other"), None, pair("second", Some("token"))),
            (&chosen("stated"), None, pair("third", None)),
            (&chosen("prints"), None, pair("printed", Some("t"))),
            (&KEYS, Some("other"), pair("second", Some("token"))),
            // What is empty says nothing.
            (&[("AWS_ACCESS_KEY_ID", ""), ("AWS_PROFILE", "")], None, pair("first", None)),
        ] {
            let found = found(files, variables, planned).await;
            assert_eq!(found, Ok(Some(expected)), "{variables:?} {planned:?}");
        }
        let elsewhere = [("AWS_SHARED_CREDENTIALS_FILE", "HOME/nothing")];
        assert_eq!(found(files, &elsewhere, None).await, Ok(None));
        assert_eq!(found(("", ""), &[], None).await, Ok(None));
    }

    #[tokio::test]
    async fn who_was_set_up_and_gives_none_is_named_and_nobody_else_asked() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let service = format!("http://{closed}/role");
        let files = (CONFIG, CREDENTIALS);
        let chosen = |name| [("AWS_PROFILE", name)];
        let token = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "HOME/none"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ];
        let half = [("AWS_ACCESS_KEY_ID", "own")];
        let elsewhere = [("AWS_PROFILE", "role"), ("AWS_ENDPOINT_URL", "http://store")];
        let empty = ("", "");
        for (files, variables, told) in [
            (files, &chosen("fails")[..], "`credential_process` of the profile `fails`"),
            (files, &chosen("fails"), "no ticket"),
            (files, &chosen("signs-in"), "the single sign-on of the profile `signs-in`"),
            (files, &chosen("session"), "the profile `session` signs in"),
            (files, &chosen("typed"), "`typed` takes on a role, with a code that somebody types"),
            (files, &chosen("chain"), "by a profile that takes on one itself"),
            (files, &chosen("alone"), "neither `source_profile` nor `credential_source`"),
            (files, &elsewhere, "of a service that is not AWS"),
            (files, &chosen("own"), "its source has none to ask with"),
            (files, &chosen("half"), "aws_secret_access_key is not"),
            (files, &chosen("missing"), "there is no profile `missing`"),
            (files, &half, "AWS_SECRET_ACCESS_KEY is not"),
            (("[default", ""), &[], "is not a file of profiles"),
            (empty, &token, "AWS_WEB_IDENTITY_TOKEN_FILE"),
            (empty, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", service.as_str())], "container"),
        ] {
            let error = found(files, variables, None).await.unwrap_err();
            assert!(error.contains(told), "{variables:?}: {error}");
        }
    }

    /// What AWS answers who may take on a role, and what it was asked.
    #[derive(Debug, Clone, Default)]
    struct Roles(Arc<Mutex<Vec<http::Request<Bytes>>>>);

    impl HttpSend for Roles {
        async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
            self.0.lock().unwrap().push(request);
            let answer = "<AssumeRoleResponse><AssumeRoleResult><Credentials>\
                          <AccessKeyId>ASIA000000000000</AccessKeyId>\
                          <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                          <Expiration>2999-01-01T00:00:00Z</Expiration>\
                          </Credentials></AssumeRoleResult></AssumeRoleResponse>";
            Ok(http::Response::new(Bytes::from_static(answer.as_bytes())))
        }
    }

    #[tokio::test]
    async fn a_role_is_asked_for_with_the_credentials_of_its_source() {
        let home = home((CONFIG, CREDENTIALS));
        let region = ("AWS_REGION", "eu-central-1");
        for (variables, planned, asked) in [
            (
                &[region, ("AWS_PROFILE", "role")][..],
                None,
                ["second/", "lifeboat", "ExternalId=shop"],
            ),
            (&[region, KEYS[0], KEYS[1]], Some("own"), ["own/", "backups", "Action=AssumeRole"]),
        ] {
            let options = options(home.path(), variables, planned);
            let roles = Roles::default();
            let context = context(&options.environment, &Trust::System).unwrap();
            let context = context.with_http_send(roles.clone());
            let search = Settings::find(&options).unwrap().credentials(&options);
            let found = search.provide_credential(&context).await.unwrap().unwrap();
            assert_eq!(found.access_key_id, "ASIA000000000000");
            assert!(found.session_token.is_some() && found.expires_in.is_some());
            let requests = roles.0.lock().unwrap();
            let [request] = &requests[..] else { panic!("{requests:?}") };
            assert_eq!(request.uri().host(), Some("sts.eu-central-1.amazonaws.com"));
            let signed = request.headers()["authorization"].to_str().unwrap();
            assert!(signed.contains(&format!("Credential={}", asked[0])), "{signed}");
            let query = request.uri().query().unwrap();
            for part in [&format!("RoleSessionName={}", asked[1]), asked[2], "%3Arole%2Fwriter"] {
                assert!(query.contains(part), "{part}: {query}");
            }
        }
    }
}
