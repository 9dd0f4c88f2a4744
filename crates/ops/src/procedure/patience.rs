//! How long a step of a procedure waits for cold storage: as long as it may take, and not at all if that is known to be
//! too short.
//!
//! # Limits
//!
//! It is looked a dozen times, and at most every [`LOOK_EVERY`]: each look is a request for each pack.

use std::time::Duration;

use lifeboat_model::{Cancel, StepName, Timestamp};
use lifeboat_plan::value::duration::Span;
use lifeboat_runbook::Failure;
use lifeboat_runbook::step::TIMEOUT_DEFAULT;

use super::binding::timeout;
use super::deed::Hands;
use crate::error::explain;
use crate::surroundings::Surroundings;
use crate::thaw::{LOOK_EVERY, ThawError, ThawForecast};

/// How often it is looked while as long passes as the vendor says.
const LOOKS: u32 = 12;

/// When packs were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Just now, so that it is known when they can be read at the latest.
    Now,
    /// Some time ago, so that they may be there soon.
    Before,
}

/// The time that a step has.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    surroundings: &'a Surroundings,
    step: &'a StepName,
    timeout: Duration,
    ends: Timestamp,
}

impl<'a> Patience<'a> {
    /// Begins now.
    pub(super) fn begin(hands: &'a Hands, step: &'a StepName) -> Self {
        let surroundings = hands.site.surroundings();
        let timeout = hands.procedure.step(step).map_or(TIMEOUT_DEFAULT, timeout);
        let ends = surroundings.now().saturating_add(timeout).unwrap_or(Timestamp::MAX);
        Self { surroundings, step, timeout, ends }
    }

    /// Lets some time pass until it is worth while to look again.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that names the remedy, if the step's time does not suffice.
    pub(super) fn wait(
        &self,
        forecast: &ThawForecast,
        asked: Asked,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let pause = LOOK_EVERY.max(forecast.within() / LOOKS);
        let next = self.surroundings.now().saturating_add(pause).unwrap_or(Timestamp::MAX);
        let is_hopeless = asked == Asked::Now && forecast.within() > self.timeout;
        if is_hopeless || next >= self.ends {
            return Err(self.given_up(forecast));
        }
        let pause = async { cancel.cut_short(self.surroundings.clock.sleep(pause)).await };
        self.surroundings.runtime.block_on(pause).map_err(|error| Failure::new(error.to_string()))
    }

    fn given_up(&self, forecast: &ThawForecast) -> Failure {
        let (step, timeout) = (self.step, Span::from(self.timeout));
        let within = Span::from(forecast.within());
        let thawing = explain(&ThawError::Thawing(Box::new(forecast.clone())));
        // Trying again at once spends the attempts and changes nothing.
        Failure {
            hint: Some(format!(
                "come back once they can be read: `lifeboat recover retry {step}`, then `lifeboat recover --resume`; \
                 a longer `timeout` of the step waits by itself"
            )),
            ..Failure::lasting(format!(
                "{thawing}: it takes up to {within} since they were asked for, and the step has {timeout}"
            ))
        }
    }
}
