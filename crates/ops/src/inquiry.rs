//! Asking several tiers at the same time, each on a thread of its own: one that does not answer keeps nobody waiting
//! who has enough without it.
//!
//! # Limits
//!
//! A thread whose answer nobody waits for any more goes on until its tier was given up, and is then gone. It changes
//! nothing.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use lifeboat_model::{Event, EventSink, TierName};
use lifeboat_tiers::FirstAnswer;

/// How long the others are waited for when there is enough to begin with: whoever is well has answered by then, and a
/// backup reads its assets once for all that take part from the beginning.
const GRACE: Duration = Duration::from_secs(3);

/// How often it is looked within a silence whether something was heard.
const LOOKS: u32 = 16;

/// How long a tier may say nothing to whoever only looks, and has an answer without it: as long as to who never heard of it.
pub(crate) const SILENCE_MAX: Duration = FirstAnswer::USUAL.tries_max;

/// Several tiers that were asked, and have not all answered.
#[derive(Debug)]
pub(crate) struct Inquiry<T, K = TierName> {
    told: Receiver<Told<T, K>>,
    awaited: BTreeSet<K>,
}

#[derive(Debug)]
enum Told<T, K> {
    Event(Event),
    Found(K, T),
}

/// Passes on what is to be seen of the work to whoever waits.
#[derive(Debug)]
struct Passing<T, K>(Sender<Told<T, K>>);

impl<T: Debug + Send, K: Debug + Send> EventSink for Passing<T, K> {
    fn emit(&self, event: Event) {
        // Nobody waits any more.
        drop(self.0.send(Told::Event(event)));
    }
}

impl<T, K> Inquiry<T, K>
where
    T: Debug + Send + 'static,
    K: Debug + Clone + Ord + Send + 'static,
{
    /// Asks each of these tiers.
    pub(crate) fn begin(
        tiers: impl IntoIterator<Item = K>,
        ask: impl Fn(&K, &dyn EventSink) -> T + Send + Sync + 'static,
    ) -> Self {
        let (tell, told) = channel();
        let ask = Arc::new(ask);
        let awaited: BTreeSet<K> = tiers.into_iter().collect();
        for tier in awaited.clone() {
            let (ask, tell, span) = (Arc::clone(&ask), tell.clone(), tracing::Span::current());
            thread::spawn(move || {
                let found = span.in_scope(|| ask(&tier, &Passing(tell.clone())));
                // Nobody waits any more.
                drop(tell.send(Told::Found(tier, found)));
            });
        }
        Self { told, awaited }
    }

    /// Returns the tiers that have not answered yet.
    pub(crate) const fn awaited(&self) -> &BTreeSet<K> {
        &self.awaited
    }

    /// Waits for the next answer; there is none once all are there.
    pub(crate) fn next(&mut self, events: &dyn EventSink) -> Option<(K, T)> {
        while !self.awaited.is_empty() {
            let told = self.told.recv().expect("asking a tier does not panic");
            if let Some(found) = self.take(told, events) {
                return Some(found);
            }
        }
        None
    }

    /// Waits until there is enough, and then a little for the others.
    pub(crate) fn gather(
        &mut self,
        events: &dyn EventSink,
        is_enough: impl Fn(&[(K, T)]) -> bool,
    ) -> Vec<(K, T)> {
        let (mut found, mut end) = (Vec::new(), None);
        loop {
            if end.is_none() && is_enough(&found) {
                end = Instant::now().checked_add(GRACE);
            }
            let next = match end {
                Some(end) => self.next_until(end, events),
                None => self.next(events),
            };
            match next {
                Some(next) => found.push(next),
                None => return found,
            }
        }
    }

    /// Waits for the next answer until this moment.
    fn next_until(&mut self, end: Instant, events: &dyn EventSink) -> Option<(K, T)> {
        while !self.awaited.is_empty() {
            let rest = end.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(rest) {
                Ok(told) => {
                    let found = self.take(told, events);
                    if found.is_some() {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("asking a tier does not panic"),
            }
        }
        None
    }

    /// Waits for all of whom something is heard: whoever says nothing for so long is waited for no longer.
    pub(crate) fn gather_unless_silent(
        &mut self,
        events: &dyn EventSink,
        longest: Duration,
        silent_for: impl Fn(&K) -> Duration,
    ) -> Vec<(K, T)> {
        let (begun, mut found) = (Instant::now(), Vec::new());
        let is_heard = |key: &K| begun.elapsed() < longest || silent_for(key) < longest;
        while self.awaited.iter().any(is_heard) {
            found.extend(self.next_until(Instant::now() + longest / LOOKS, events));
        }
        found
    }

    fn take(&mut self, told: Told<T, K>, events: &dyn EventSink) -> Option<(K, T)> {
        match told {
            Told::Event(event) => {
                events.emit(event);
                None
            }
            Told::Found(tier, found) => {
                self.awaited.remove(&tier);
                Some((tier, found))
            }
        }
    }
}

/// Asks each of several at the same time and waits for all; the answers come in their order.
pub(crate) fn ask_all<N: Sync, T: Send>(names: &[N], ask: impl Fn(&N) -> T + Sync) -> Vec<T> {
    let span = tracing::Span::current();
    thread::scope(|scope| {
        let ask = |name| {
            let (ask, span) = (&ask, &span);
            scope.spawn(move || span.in_scope(|| ask(name)))
        };
        let asked: Vec<_> = names.iter().map(ask).collect();
        asked.into_iter().map(|asked| asked.join().expect("asking a tier does not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use lifeboat_model::Silent;

    use super::*;

    fn names() -> [TierName; 2] {
        ["far", "near"].map(|name| name.parse().unwrap())
    }

    #[test]
    fn who_does_not_answer_keeps_nobody_waiting_and_is_heard_later() {
        let (let_go, held) = channel::<()>();
        let held = Mutex::new(held);
        let mut inquiry = Inquiry::begin(names(), move |tier, _: &dyn EventSink| {
            if tier.as_str() == "far" {
                held.lock().unwrap().recv().unwrap();
            }
            tier.as_str().len()
        });
        let [far, near] = names();
        assert_eq!(inquiry.next(&Silent), Some((near, 4)));
        assert_eq!(inquiry.next_until(Instant::now(), &Silent), None);
        assert!(inquiry.awaited().contains(&far));
        let_go.send(()).unwrap();
        assert_eq!(inquiry.next(&Silent), Some((far, 3)));
        assert_eq!(inquiry.next(&Silent), None);
    }

    #[test]
    fn who_says_nothing_for_long_is_waited_for_no_longer_and_who_is_slow_is() {
        let (let_go, held) = channel::<()>();
        let held = Mutex::new(held);
        let mut inquiry = Inquiry::begin(names(), move |tier, _: &dyn EventSink| {
            if tier.as_str() == "far" {
                held.lock().unwrap().recv().unwrap_or_default();
            }
            tier.as_str().len()
        });
        let (longest, [far, near]) = (Duration::from_millis(40), names());
        let found = inquiry.gather_unless_silent(&Silent, longest, |_| Duration::MAX);
        assert_eq!(found, [(near, 4)]);
        let heard = Mutex::new(3);
        let found = inquiry.gather_unless_silent(&Silent, longest, |_| {
            let mut heard = heard.lock().unwrap();
            *heard -= 1;
            if *heard == 0 {
                let_go.send(()).unwrap();
            }
            Duration::ZERO
        });
        assert_eq!(found, [(far, 3)]);
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        assert_eq!(ask_all(&names(), |name| name.as_str().to_owned()), ["far", "near"]);
    }
}
