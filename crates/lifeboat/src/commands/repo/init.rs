//! `lifeboat repo init`: make a new, empty repository.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{Exit, RepositoryId};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::polynomial::Polynomial;
use lifeboat_repository::{InitOptions, Repository};
use serde::Serialize;

use super::Access;
use super::password::{self, Purpose};
use super::place::Place;
use crate::failure::Failure;
use crate::render::{Answer, Page, Sort};
use crate::session::Session;
use crate::surroundings;

/// The arguments of `lifeboat repo init`.
#[derive(Debug, Args)]
#[command(mut_arg("no_lock", super::unmentioned))]
pub struct Init {
    #[command(flatten)]
    access: Access,
    /// Cut files where this repository does, so that what is copied from there and what is backed up
    /// share their data
    #[arg(long, value_name = "REPOSITORY", requires = "copy_chunker_params")]
    from_repo: Option<String>,
    /// Take the chunker's parameters from the repository of --from-repo
    #[arg(long, requires = "from_repo")]
    copy_chunker_params: bool,
    /// Read that repository's password from the first line of this file
    #[arg(
        long,
        value_name = "FILE",
        requires = "from_repo",
        conflicts_with = "from_password_command"
    )]
    from_password_file: Option<PathBuf>,
    /// Take that repository's password from the first line that this shell command prints
    #[arg(long, value_name = "COMMAND", requires = "from_repo")]
    from_password_command: Option<OsString>,
}

#[derive(Serialize)]
struct Made {
    address: String,
    id: RepositoryId,
}

impl Answer for Made {
    const SCHEMA: &'static str = "lifeboat.repo.init/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "made repository {} at {}", self.id, self.address)
    }
}

impl Init {
    /// Makes the repository; one that is there already is left alone.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let polynomial = self.polynomial(session)?;
        let place = Place::find(&self.access.address, session)?;
        let store = place.create(&self.access, session)?;
        let secret = password::find(&self.access, &place, Purpose::Choose, session)?;
        let options = InitOptions {
            password: &secret,
            kdf: KdfParameters::for_password(),
            master_key: None,
            polynomial,
            origin: KeyOrigin {
                created: session.clock.now(),
                username: surroundings::username(),
                hostname: surroundings::hostname(),
            },
        };
        let repository = Repository::init(store, &options)?;
        session.done(&Made { address: self.access.address, id: repository.config().id })
    }

    /// Returns the chunker polynomial of the other repository, if one is named.
    fn polynomial(&self, session: &Session) -> Result<Option<Polynomial>, Failure> {
        let Some(address) = &self.from_repo else { return Ok(None) };
        let other = Access {
            address: address.clone(),
            password_file: self.from_password_file.clone(),
            password_option: "--from-password-file",
            password_command: self.from_password_command.clone(),
            no_lock: true,
            no_cache: true,
            prompt_listing: false,
            bandwidth: self.access.bandwidth,
        };
        Ok(Some(other.open_without_lock(session)?.config().chunker_polynomial))
    }
}
