//! The one connection of a tier: made when it is wanted, and again after it broke.
//!
//! # Invariants
//!
//! - There is never more than one connection, nor more than one attempt at one. Whoever asks while an
//!   attempt is under way shares its outcome; the next who asks after a failure begins another. How often that
//!   is, is bounded by whoever tries again ([`RetryTier`](crate::RetryTier)).

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::failure::Failure;
use super::session::Session;
use super::ssh::Login;
use crate::patience::Patience;

type Attempt = Shared<BoxFuture<'static, Result<Arc<Session>, Failure>>>;

/// Where a session comes from.
#[derive(Debug)]
pub(super) struct Link {
    login: Arc<Login>,
    patience: Patience,
    attempt: Mutex<Option<Attempt>>,
}

impl Link {
    pub(super) fn new(login: Login, patience: Patience) -> Self {
        Self { login: Arc::new(login), patience, attempt: Mutex::default() }
    }

    /// Returns the session, or a new one in the place of one that ended.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Failure> {
        self.attempt().await
    }

    fn attempt(&self) -> Attempt {
        let mut last = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let is_spent = |attempt: &Attempt| match attempt.peek() {
            None => false,
            Some(Ok(session)) => session.is_over(),
            Some(Err(_)) => true,
        };
        match &*last {
            Some(attempt) if !is_spent(attempt) => attempt.clone(),
            _ => last.insert(self.begin()).clone(),
        }
    }

    fn begin(&self) -> Attempt {
        let (login, patience) = (Arc::clone(&self.login), self.patience);
        async move { Session::open(&login, patience).await }.boxed().shared()
    }
}
