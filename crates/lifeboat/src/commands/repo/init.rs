//! `lifeboat repo init`: make a new, empty repository.

use std::fmt::{self, Write as _};

use clap::Args;
use lifeboat_model::{Exit, RepositoryId};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{InitOptions, Repository};
use serde::Serialize;

use super::Access;
use super::password::{self, Purpose};
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
        let store = self.access.create_store(session)?;
        let secret = password::find(&self.access, Purpose::Choose, session)?;
        let options = InitOptions {
            password: &secret,
            kdf: KdfParameters::for_password(),
            master_key: None,
            polynomial: None,
            origin: KeyOrigin {
                created: session.clock.now(),
                username: surroundings::username(),
                hostname: surroundings::hostname(),
            },
        };
        let repository = Repository::init(store, &options)?;
        session.done(&Made { address: self.access.address, id: repository.config().id })
    }
}
