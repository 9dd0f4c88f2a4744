//! `lifeboat init`: write a plan for what is found on this machine, and make its recovery key.
//!
//! Nothing that is there is overwritten. The plan is checked before it is written; the key comes
//! first, so that a plan never names a key that is not there.

mod discovery;
mod draft;

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use lifeboat_model::{AssetName, Classify, ErrorKind, Exit, Hint, SiteName, TierName};
use lifeboat_ops::key;
use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_plan::SourceFile;
use lifeboat_postgres::{ClientEnvironment, Conninfo, DatabaseName, Server};
use lifeboat_tiers::durable;
use serde::Serialize;

use crate::failure::{CommandError, Failure};
use crate::plan_file;
use crate::prompt::Terminal;
use crate::render::{Answer, Page, ShownPath, Sort};
use crate::session::Session;
use crate::surroundings;
use discovery::Found;
use draft::{Content, Draft};

/// The name of the plan, when none is given.
const PLAN_NAME: &str = "plan.toml";

/// The name of the key file beside the plan, when none is given.
const KEY_NAME: &str = "recovery.key";

/// Only the owner reads keys, and plans, in which passwords may stand by mistake.
const PRIVATE_MODE: u32 = 0o600;

/// The arguments of `lifeboat init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Init {
    /// Name the site on its tiers; without it, after this host
    #[arg(long, value_name = "NAME")]
    site: Option<SiteName>,
    /// Call the platform so in the plan
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Write the recovery key to this file; without it, beside the plan
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Keep copies here, as `NAME=ADDRESS`; may be given several times
    #[arg(long = "tier", value_name = "[NAME=]ADDRESS", value_parser = named::<TierName>)]
    tiers: Vec<Named<TierName>>,
    /// Protect a database, as `NAME=CONNECT`; may be given several times
    #[arg(long = "database", value_name = "[NAME=]CONNECT", value_parser = named_connect)]
    databases: Vec<Named<AssetName>>,
    /// Protect files, as `NAME=PATH`; the same name may be given several times
    #[arg(long = "asset-path", value_name = "[NAME=]PATH", value_parser = named::<AssetName>)]
    paths: Vec<Named<AssetName>>,
    /// Look for nothing: protect only what is named here
    #[arg(long)]
    no_discovery: bool,
    /// Do not show the key at the terminal and ask to have it read back
    #[arg(long)]
    confirm_later: bool,
}

const EXAMPLES: &str = "\
Examples:
  lifeboat init
  lifeboat init --no-discovery --confirm-later --site shop --tier primary=/mnt/backups/shop \\
      --database 'host=/run/postgresql dbname=shop' --asset-path media=/var/www/shop/media";

/// A value, and the name that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named<N> {
    name: Option<N>,
    value: String,
}

fn named<N: std::str::FromStr<Err: fmt::Display>>(text: &str) -> Result<Named<N>, String> {
    // What begins like a path or an address has no name in front.
    let split = text.split_once('=').filter(|(name, _)| !name.contains(['/', ':']));
    Ok(match split {
        None => Named { name: None, value: text.to_owned() },
        Some((name, value)) => {
            let name = name.parse().map_err(|error: N::Err| error.to_string())?;
            Named { name: Some(name), value: value.to_owned() }
        }
    })
}

/// Connection strings have `=` themselves: a name is one that no libpq keyword has.
fn named_connect(text: &str) -> Result<Named<AssetName>, String> {
    const KEYWORDS: [&str; 9] = [
        "host", "hostaddr", "port", "dbname", "user", "password", "service", "passfile", "sslmode",
    ];
    match text.split_once('=') {
        Some((word, _)) if KEYWORDS.contains(&word) => {
            Ok(Named { name: None, value: text.to_owned() })
        }
        _ => named(text),
    }
}

/// Something that `init` would have to overwrite is there.
#[derive(Debug, thiserror::Error)]
#[error("{} is there already, and nothing is overwritten", path.display())]
struct Occupied {
    path: PathBuf,
    option: &'static str,
}

impl Classify for Occupied {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Conflict
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::new(format!("keep it and write elsewhere with `{} FILE`", self.option)))
    }
}

#[derive(Serialize)]
struct Written {
    plan: ShownPath,
    key_file: ShownPath,
    site: SiteName,
    assets: Vec<AssetName>,
    tiers: Vec<TierName>,
    confirmed: bool,
}

impl Answer for Written {
    const SCHEMA: &'static str = "lifeboat.init/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let names: Vec<_> = self.assets.iter().map(AssetName::as_str).collect();
        writeln!(page, "wrote {}, which protects {}", self.plan, names.join(", "))?;
        writeln!(page, "wrote the recovery key to {}", self.key_file)?;
        if !self.confirmed {
            writeln!(
                page,
                "\nCopy the key to a place away from this machine: without it nothing can be restored."
            )?;
            writeln!(page, "Then confirm that you have it:  lifeboat key confirm")?;
        }
        writeln!(page, "Look through the plan, then:    lifeboat check")
    }
}

impl Init {
    /// Writes key and plan, and asks at a terminal to have the key confirmed.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let plan = session.global.plan.clone().unwrap_or_else(|| PathBuf::from(PLAN_NAME));
        let plan = absolute(&plan)?;
        let beside = plan.parent().unwrap_or(Path::new("/")).join(KEY_NAME);
        let key_file = absolute(self.key_file.as_deref().unwrap_or(&beside))?;
        for (path, option) in [(&plan, "--plan"), (&key_file, "--key-file")] {
            if path.symlink_metadata().is_ok() {
                return Err(Occupied { path: path.clone(), option }.into());
            }
        }
        let key = RecoveryKey::generate();
        let draft = self.draft(&key, key_file.clone(), session)?;
        let text = draft.to_string();
        let source = SourceFile { path: plan.display().to_string(), text: text.clone() };
        plan_file::check_text(source, &plan, session)?;

        create(&key_file, &format!("{}\n", key.spelled().expose()), "--key-file")?;
        if let Err(failure) = create(&plan, &text, "--plan") {
            // The key has opened nothing yet; left behind, it would stand in the way of the next try.
            durable::remove(&key_file).map_err(|source| unwritable(&key_file, source))?;
            return Err(failure);
        }
        let confirmed = !self.confirm_later && confirm(&key, &plan, session)?;
        session.done(&Written {
            plan: ShownPath(plan),
            key_file: ShownPath(key_file),
            site: draft.site,
            assets: draft.assets.into_iter().map(|(name, _)| name).collect(),
            tiers: draft.tiers.into_iter().map(|(name, _)| name).collect(),
            confirmed,
        })
    }
}

impl Init {
    /// Puts together what is named and what is found.
    fn draft(
        &self,
        key: &RecoveryKey,
        key_file: PathBuf,
        session: &Session,
    ) -> Result<Draft, Failure> {
        let site = match &self.site {
            Some(site) => site.clone(),
            None => site_from_host(&surroundings::hostname())?,
        };
        let mut assets = Assets::default();
        for named in &self.databases {
            let name = named.name.clone().unwrap_or_else(|| asset_name("database"));
            assets.add(name, Content::Database(named.value.clone()));
        }
        for named in &self.paths {
            let name = named.name.clone().unwrap_or_else(|| asset_name("files"));
            assets.add(name, Content::Files(vec![absolute(Path::new(&named.value))?]));
        }
        if !self.no_discovery {
            self.add_found(discovery::look(Path::new("/")), &mut assets, session);
        }
        if assets.0.is_empty() {
            return Err(CommandError::usage(
                "nothing was found that could be protected",
                "name it: `lifeboat init --database CONNECT --asset-path NAME=PATH`",
            )
            .into());
        }
        let halves = key.public_halves();
        Ok(Draft {
            name: self.name.clone().unwrap_or_else(|| site.to_string()),
            key_file,
            recipient: halves.recipient.to_string(),
            verifier: halves.verifier.to_string(),
            assets: assets.0,
            tiers: self.tiers(&site)?,
            site,
        })
    }

    fn tiers(&self, site: &SiteName) -> Result<Vec<(TierName, String)>, CommandError> {
        let mut tiers: Vec<(TierName, String)> = Vec::new();
        for named in &self.tiers {
            let default = ["primary", "secondary", "offsite"].get(tiers.len());
            let name = match (&named.name, default) {
                (Some(name), _) => name.clone(),
                (None, Some(name)) => name.parse().expect("it is a name"),
                (None, None) => {
                    let message = format!("the tier at {} has no name", named.value);
                    return Err(CommandError::usage(message, "write `--tier NAME=ADDRESS`"));
                }
            };
            let address = if named.value.contains("://") {
                named.value.clone()
            } else {
                format!("file://{}", absolute(Path::new(&named.value))?.display())
            };
            tiers.push((name, address));
        }
        if tiers.is_empty() {
            let address = format!("file:///var/backups/{site}");
            tiers.push(("primary".parse().expect("it is a name"), address));
        }
        Ok(tiers)
    }

    /// Adds what was found, unless the command line names an asset like that.
    fn add_found(&self, found: Found, assets: &mut Assets, session: &Session) {
        if self.databases.is_empty() {
            for server in &found.servers {
                let connect = server.connect_string();
                match databases(&connect, session) {
                    Ok(names) => add_databases(&connect, &names, assets),
                    Err(failure) => session.screen.remark(&format!(
                        "the PostgreSQL server at {connect} was left out, since it could not be asked: {}",
                        failure.error()
                    )),
                }
            }
        }
        let Found { media, configuration, mut applications, certificates, servers: _ } = found;
        // What is an asset of its own need not be stored with its application again.
        applications.retain(|application| application.is_dir());
        for (name, paths) in [
            ("media", media),
            ("configuration", configuration),
            ("application", applications),
            ("certificates", certificates),
        ] {
            let name = asset_name(name);
            if !paths.is_empty() && !assets.has(&name) {
                assets.add(name, Content::Files(paths));
            }
        }
    }
}

/// Assets in the order in which they were named; paths of one name belong together.
#[derive(Debug, Default)]
struct Assets(Vec<(AssetName, Content)>);

impl Assets {
    fn has(&self, wanted: &AssetName) -> bool {
        self.0.iter().any(|(name, _)| name == wanted)
    }

    fn add(&mut self, wanted: AssetName, content: Content) {
        let known = self.0.iter_mut().find(|(name, _)| *name == wanted);
        match (known, content) {
            (Some((_, Content::Files(paths))), Content::Files(more)) => paths.extend(more),
            (Some(_), content) => {
                let name = (2..=self.0.len() + 2)
                    .map(|number| asset_name(&format!("{wanted}-{number}")))
                    .find(|name| !self.has(name))
                    .expect("there are more numbers than assets");
                self.0.push((name, content));
            }
            (None, content) => self.0.push((wanted, content)),
        }
    }
}

/// Makes a name from a text that was checked to be short and plain.
fn asset_name(text: &str) -> AssetName {
    text.parse().expect("it is made of letters, digits and dashes")
}

/// Makes the site's name from the host's, which may hold dots.
fn site_from_host(host: &str) -> Result<SiteName, CommandError> {
    host.split('.').next().unwrap_or_default().parse().map_err(|_| {
        let message = format!("this host's name `{host}` cannot name a site");
        CommandError::usage(message, "name it with `--site NAME`")
    })
}

fn databases(connect: &str, session: &Session) -> Result<Vec<DatabaseName>, Failure> {
    let mut environment =
        ClientEnvironment::new(session.process.variable("PATH").unwrap_or_default());
    if let Some(home) = session.process.variable("HOME") {
        environment = environment.home(home);
    }
    let conninfo = Conninfo::parse(&format!("{connect} dbname=postgres"), &environment)?;
    let names = session
        .runtime
        .block_on(async { Server::connect(&conninfo, &environment).await?.databases().await })?;
    Ok(names)
}

/// Adds a server's databases; its maintenance database holds nothing of anybody's.
fn add_databases(connect: &str, names: &[DatabaseName], assets: &mut Assets) {
    let names: Vec<&str> =
        names.iter().map(DatabaseName::as_str).filter(|name| *name != "postgres").collect();
    for name in &names {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let asset = match names.len() {
            1 => asset_name("database"),
            _ => asset_name(&format!(
                "database-{}",
                name.chars().map(plain).take(50).collect::<String>()
            )),
        };
        assets.add(asset, Content::Database(format!("{connect} dbname={}", conninfo_value(name))));
    }
}

/// Quotes a value of a connection string, as libpq wants it.
fn conninfo_value(value: &str) -> String {
    let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if is_plain && !value.is_empty() {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(|source| CommandError::File {
        action: "find",
        path: path.display().to_string(),
        source,
    })
}

/// Writes a file that is not there yet, and the directory for it.
fn create(path: &Path, text: &str, option: &'static str) -> Result<(), Failure> {
    const DIRECTORY_MODE: u32 = 0o755;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let written = durable::create_directories(directory, DIRECTORY_MODE)
        .and_then(|()| durable::write_new(path, text.as_bytes(), PRIVATE_MODE));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Occupied { path: path.to_owned(), option }.into(),
        _ => unwritable(path, source).into(),
    })
}

fn unwritable(path: &Path, source: io::Error) -> CommandError {
    CommandError::File { action: "write", path: path.display().to_string(), source }
}

/// Shows the key to whoever sits at the terminal and asks to have it read back.
fn confirm(key: &RecoveryKey, plan: &Path, session: &Session) -> Result<bool, Failure> {
    let terminal = Terminal::open(&session.cancel).filter(|_| !session.screen.json);
    let Some(terminal) = terminal else { return Ok(false) };
    terminal.show(&format!(
        "\nThis is the recovery key. It opens everything, and without it nothing can be restored.\n\
         Copy it now to a place away from this machine:\n\n    {}\n\n",
        key.spelled().expose()
    ))?;
    let typed =
        terminal.ask_secret("Type it back from your copy, or press Enter to do it later: ")?;
    if typed.expose().trim().is_empty() {
        return Ok(false);
    }
    let mut global = session.global.clone();
    global.plan = Some(plan.to_owned());
    let site = Session { global, ..session.clone() }.site()?;
    key::confirm(&site, &typed, &session.cancel)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_before_an_equals_sign() {
        let media = Named { name: Some(asset_name("media")), value: "/srv/media".to_owned() };
        assert_eq!(named("media=/srv/media"), Ok(media));
        let odd = Named::<AssetName> { name: None, value: "/srv/a=b".to_owned() };
        assert_eq!(named("/srv/a=b"), Ok(odd));
        assert!(named::<AssetName>("no name=/srv").is_err());
        let connect = "host=/run/postgresql dbname=shop";
        assert_eq!(named_connect(connect).unwrap().name, None);
        assert_eq!(named_connect(&format!("shop={connect}")).unwrap().value, connect);
    }

    #[test]
    fn assets_of_one_name_are_joined_or_numbered() {
        let mut assets = Assets::default();
        for path in ["/a", "/b"] {
            assets.add(asset_name("media"), Content::Files(vec![path.into()]));
        }
        for name in ["one", "two"] {
            assets.add(asset_name("database"), Content::Database(format!("dbname={name}")));
        }
        let names: Vec<_> = assets.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["media", "database", "database-2"]);
        assert_eq!(assets.0[0].1, Content::Files(vec!["/a".into(), "/b".into()]));
    }

    #[test]
    fn database_names_are_quoted_where_libpq_wants_it() {
        assert_eq!(conninfo_value("shop_1"), "shop_1");
        assert_eq!(conninfo_value("it's"), "'it\\'s'");
        assert_eq!(conninfo_value(""), "''");
    }
}
