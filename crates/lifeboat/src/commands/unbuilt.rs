//! The commands of the language whose features are still to come: they say so and end with 5.

use std::ffi::OsString;

use clap::Subcommand;

use crate::failure::CommandError;

/// Whatever follows an unbuilt command; it is accepted, since its shape is not settled.
#[derive(Debug, clap::Args)]
pub struct Anything {
    /// Arguments of the feature to come
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

/// A command that is not built yet.
#[derive(Debug, Subcommand)]
pub enum Unbuilt {
    /// Bring single rows back, with what hangs on them
    Undelete(Anything),
    /// Declare, note, acknowledge, close and review incidents
    Incident(Anything),
    /// Predict when tiers are full and what they will cost
    Forecast(Anything),
    /// Send a notification through the channels of the plan
    Notify(Anything),
}

impl Unbuilt {
    /// Returns the answer of the command.
    pub fn refusal(&self) -> CommandError {
        let (command, feature) = match self {
            Self::Undelete(_) => ("undelete", "bringing single rows back"),
            Self::Incident(_) => ("incident", "incidents and escalation"),
            Self::Forecast(_) => ("forecast", "forecasts of growth and costs"),
            Self::Notify(_) => ("notify", "notifications"),
        };
        CommandError::NotBuilt { command, feature }
    }
}
