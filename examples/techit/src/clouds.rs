//! The clouds of the stage: servers on this machine that speak what clouds speak. They end with it.

use lifeboat_testing::emulators::{Azurite, Bucket, Moto};
use lifeboat_testing::program::ProgramError;

/// The bucket of the second tier.
const BUCKET: &str = "techit-backups";

/// Where the second tier lies.
pub const SECONDARY: &str = "s3://techit-backups";

/// The container of the third tier.
const CONTAINER: &str = "techit-offsite";

/// Where the third tier lies: the account is the one that every such server has.
pub const OFFSITE: &str = "azure://devstoreaccount1/techit-offsite";

/// The running servers.
#[derive(Debug)]
pub struct Clouds {
    s3: Moto,
    azure: Azurite,
}

impl Clouds {
    /// Starts them on free ports, with an empty bucket and an empty container.
    pub fn start() -> Result<Self, ProgramError> {
        let s3 = Moto::start()?;
        s3.make_bucket(BUCKET, Bucket::Plain)?;
        let azure = Azurite::start()?;
        azure.make_container(CONTAINER)?;
        Ok(Self { s3, azure })
    }

    /// Returns where they are and who we are there, as their vendors' own tools are told.
    pub fn environment(&self) -> Vec<(String, String)> {
        let who = Moto::credentials();
        let set = [
            ("AWS_ENDPOINT_URL", self.s3.endpoint()),
            ("AWS_REGION", Moto::REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", who.key_id),
            ("AWS_SECRET_ACCESS_KEY", who.secret),
            ("AZURE_STORAGE_CONNECTION_STRING", self.azure.connection_string()),
        ];
        set.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }
}
