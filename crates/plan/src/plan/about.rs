//! `[plan]` and `[key]`: whose plan it is, and where its key is.

use jiff::civil::Date;
use lifeboat_model::SiteName;

use crate::table::table;
use crate::value::period::Period;
use crate::value::secret::SecretRef;

table! {
    /// Whose plan this is, and when it was looked at last.
    pub struct About {
        /// What the platform is called among people.
        name: String,
        /// What the platform is called on the tiers.
        site: SiteName,
        /// The plan's version.
        version: Option<String>,
        /// Who answers for the plan.
        owner: Option<String>,
        /// The day when the plan was last reviewed.
        updated: Option<Date>,
        /// How often it has to be reviewed.
        review_every: Option<Period>,
    }
}

table! {
    /// Where the recovery key is, never the key itself, and its public halves.
    pub struct Key {
        /// The public half that data is encrypted for; written by `lifeboat init`.
        recipient: Option<String>,
        /// The public half that signatures are checked with; written by `lifeboat init`.
        verifier: Option<String>,
        .. /// Where the key is.
        secret: SecretRef,
    }
}
