//! Who waits for a job and is shown what it does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lifeboat_model::{Event, EventSink, JobId};
use tokio::sync::{mpsc, oneshot};

use super::execution::Finished;
use crate::jobs::Job;

/// How many events wait for a listener who is slow; those beyond are let go, since a later one tells as
/// much.
const EVENTS_WAITING_MAX: usize = 256;

/// What a listener hears.
pub(super) struct Hears {
    pub events: mpsc::Receiver<Event>,
    pub end: oneshot::Receiver<(Job, Finished)>,
}

#[derive(Debug)]
struct Listener {
    events: mpsc::Sender<Event>,
    end: oneshot::Sender<(Job, Finished)>,
}

type All = Arc<Mutex<BTreeMap<JobId, Vec<Listener>>>>;

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners(All);

impl Listeners {
    /// Listens to a job from now on.
    pub(super) fn listen(&self, job: JobId) -> Hears {
        let (events, heard) = mpsc::channel(EVENTS_WAITING_MAX);
        let (end, ended) = oneshot::channel();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(job).or_default().push(Listener { events, end });
        Hears { events: heard, end: ended }
    }

    /// Returns who passes a job's events on.
    pub(super) fn of(&self, job: JobId) -> Told {
        Told { job, all: Arc::clone(&self.0) }
    }

    /// Tells that a job ended.
    pub(super) fn end(&self, job: &Job, done: &Finished) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in all.remove(&job.id).into_iter().flatten() {
            // One who has gone is told nothing.
            _ = listener.end.send((job.clone(), done.clone()));
        }
    }
}

/// Passes the events of a job on.
#[derive(Debug)]
pub(super) struct Told {
    job: JobId,
    all: All,
}

impl EventSink for Told {
    fn emit(&self, event: Event) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in all.get(&self.job).into_iter().flatten() {
            _ = listener.events.try_send(event.clone());
        }
    }
}
