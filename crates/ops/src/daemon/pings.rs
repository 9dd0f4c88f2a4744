//! Dead man's switches: somebody elsewhere is told of every run, and notices when nothing is told any more.
//!
//! What is asked for is what healthchecks.io and those after its example understand: the address itself for a success, with
//! `/start`, `/fail` or `/log` behind it for all else, `rid` for the run, and a message as the body. `{loop}` in the address
//! stands for the loop, like `backup-hourly`, so that each has a switch of its own. The daemon's own loop, `daemon`, is
//! told of only where there is such a place: on a switch for everything its ping would call well what had failed.
//!
//! # Invariants
//!
//! - No job waits for a ping or fails by one; what could not be told is said.
//! - Pings arrive in the order in which things happened.
//!
//! # Limits
//!
//! [`WAITING_MAX`] pings wait while somebody is slow; those beyond are dropped, which is said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::{Method, Request};
use lifeboat_model::{Cancel, ChannelName, Clock, JobId, PlanId, Secret, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::people::Channel;
use lifeboat_plan::value::secret::SecretRef;
use lifeboat_tiers::http::{HttpClient, Patience, Trust};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::execution::Finished;
use super::lock;
use crate::ending::Ending;
use crate::error::explain;
use crate::jobs::{Job, Work};
use crate::secret;
use crate::wire::Site;

/// How many pings wait; a day of a plan's runs, so that a switch which is down for a while loses none.
const WAITING_MAX: usize = 256;

/// How often a ping is tried, and how long is waited before each further time.
const TRIES: u32 = 3;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How long a connection may take, and silence.
const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(5), silence: Duration::from_secs(10) };

/// How long is waited at the end until all was told.
const FINISH_WITHIN: Duration = Duration::from_secs(15);

/// How often the daemon tells of itself.
const DAEMON_EVERY: Duration = Duration::from_mins(5);

/// How much of a message is sent, in bytes; healthchecks.io keeps 100 kB.
const MESSAGE_MAX: usize = 10_000;

/// What the address has for the loop.
const PLACE_OF_LOOP: &str = "{loop}";

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Start,
    Success,
    Fail,
    /// Neither good nor bad.
    Log,
}

impl Word {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Start => "/start",
            Self::Success => "",
            Self::Fail => "/fail",
            Self::Log => "/log",
        }
    }

    const fn of(ending: Ending) -> Self {
        match ending {
            Ending::Succeeded => Self::Success,
            Ending::Cancelled | Ending::NotBuilt => Self::Log,
            _ => Self::Fail,
        }
    }
}

/// Something to be told.
#[derive(Debug)]
struct Ping {
    /// Of which loop; `None` is the daemon's own.
    task: Option<String>,
    word: Word,
    run: Option<JobId>,
    message: String,
    site: Arc<Site>,
}

/// Tells dead man's switches.
#[derive(Debug)]
pub(super) struct Pings {
    sender: Mutex<Option<mpsc::Sender<Ping>>>,
    teller: Mutex<Option<JoinHandle<()>>>,
    told_of_itself: Mutex<Option<Timestamp>>,
}

impl Pings {
    /// Returns somebody who tells nobody.
    pub(super) fn nobody() -> Self {
        let (sender, teller) = (Mutex::new(None), Mutex::new(None));
        Self { sender, teller, told_of_itself: Mutex::new(None) }
    }

    /// Begins to tell.
    pub(super) fn begin(site: &Site) -> Self {
        let (sender, pings) = mpsc::channel(WAITING_MAX);
        let surroundings = site.surroundings();
        let teller = surroundings.runtime.spawn(tell_all(pings, Arc::clone(&surroundings.clock)));
        let (sender, teller) = (Mutex::new(Some(sender)), Mutex::new(Some(teller)));
        Self { sender, teller, told_of_itself: Mutex::new(None) }
    }

    /// Tells that a job begins.
    pub(super) fn started(&self, site: Arc<Site>, job: &Job) {
        let (task, message) = (Some(loop_of(&job.work)), String::new());
        self.tell(Ping { task, word: Word::Start, run: Some(job.id), message, site });
    }

    /// Tells how a job ended.
    pub(super) fn ended(&self, site: Arc<Site>, job: &Job, done: &Finished) {
        let message = done.message.clone().unwrap_or_else(|| done.ending.to_string());
        let (task, word) = (Some(loop_of(&job.work)), Word::of(done.ending));
        self.tell(Ping { task, word, run: Some(job.id), message, site });
    }

    /// Tells now and then that the daemon goes round, and each time that it cannot.
    pub(super) fn alive(&self, site: Arc<Site>, trouble: Option<String>) {
        let now = site.surroundings().now();
        let mut told = lock(&self.told_of_itself);
        let next = told.and_then(|told| told.min(now).saturating_add(DAEMON_EVERY).ok());
        let is_early = next.is_some_and(|next| now < next);
        if is_early && trouble.is_none() {
            return;
        }
        *told = Some(now);
        drop(told);
        let word = if trouble.is_some() { Word::Fail } else { Word::Success };
        self.tell(Ping { task: None, word, run: None, message: trouble.unwrap_or_default(), site });
    }

    fn tell(&self, ping: Ping) {
        if switches(ping.site.plan()).next().is_none() {
            return;
        }
        let sender = lock(&self.sender).clone();
        if let Some(Err(error)) = sender.map(|sender| sender.try_send(ping)) {
            tracing::warn!(%error, "A dead man's switch is too slow; it is not told of something.");
        }
    }

    /// Waits until all was told, but not for ever.
    pub(super) fn finish(&self, site: &Site) {
        drop(lock(&self.sender).take());
        let Some(teller) = lock(&self.teller).take() else { return };
        let surroundings = site.surroundings();
        let waited = async { select(teller, surroundings.clock.sleep(FINISH_WITHIN)).await };
        if let Either::Right(((), teller)) = surroundings.runtime.block_on(waited) {
            tracing::warn!("A dead man's switch was not told of everything.");
            teller.abort();
        }
    }
}

/// Returns the name of the loop that a job belongs to, as an address can have it.
fn loop_of(work: &Work) -> String {
    let name = match work {
        Work::Task { task } => task.to_string(),
        Work::Backup { .. } => "backup".to_owned(),
    };
    name.replace(':', "-")
}

fn switches(plan: &Plan) -> impl Iterator<Item = (&ChannelName, &SecretRef)> {
    plan.notify().iter().filter_map(|(name, channel)| match channel {
        Channel::Ping(channel) => Some((name, &channel.ping)),
        _ => None,
    })
}

/// The addresses of a plan's switches.
type Addresses = Vec<(ChannelName, Secret)>;

async fn tell_all(mut pings: mpsc::Receiver<Ping>, clock: Arc<dyn Clock>) {
    // Made once there is somebody to tell: a machine without certificates may well have no switch.
    let mut made: Option<HttpClient> = None;
    let mut known: Option<(PlanId, Addresses)> = None;
    while let Some(ping) = pings.recv().await {
        let plan = ping.site.plan().id();
        if known.as_ref().is_none_or(|(of, _)| *of != plan) {
            let site = Arc::clone(&ping.site);
            let resolved = tokio::task::spawn_blocking(move || addresses(&site)).await;
            known = Some((plan, resolved.unwrap_or_default()));
        }
        let Some((_, addresses)) = known.as_ref().filter(|(_, addresses)| !addresses.is_empty())
        else {
            continue;
        };
        let client = match made.take().map_or_else(|| HttpClient::new(&Trust::System, PATIENCE), Ok)
        {
            Ok(client) => &*made.insert(client),
            Err(error) => {
                tracing::error!(error = explain(&error), "No dead man's switch can be told.");
                return;
            }
        };
        for (name, address) in addresses {
            let of = (ping.task.as_deref(), ping.word, ping.run);
            let Some(address) = address_for(address.expose(), of) else { continue };
            if let Err(why) = tell_one(client, &*clock, &address, &ping.message).await {
                tracing::warn!(channel = %name, why, "A dead man's switch was not told.");
            }
        }
    }
}

fn addresses(site: &Site) -> Addresses {
    let resolve = |(name, place): (&ChannelName, &SecretRef)| {
        let found = secret::resolve(place, site.surroundings(), &Cancel::new());
        let found = found.inspect_err(|error| {
            tracing::warn!(channel = %name, error = explain(error), "The address of a dead man's switch is not to be had.");
        });
        Some((name.clone(), found.ok()?))
    };
    switches(site.plan()).filter_map(resolve).collect()
}

/// Returns the address that a ping goes to; `None` if it is not for this switch.
fn address_for(
    address: &str,
    (task, word, run): (Option<&str>, Word, Option<JobId>),
) -> Option<String> {
    let has_place = address.contains(PLACE_OF_LOOP);
    let task = match task {
        Some(task) => task,
        None if has_place => "daemon",
        None => return None,
    };
    let (path, query) = match address.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (address, None),
    };
    let run = run.map(|run| format!("rid={}", uuid_of(run)));
    let query: Vec<_> = query.into_iter().chain(run).collect();
    let path = path.trim_end_matches('/').replace(PLACE_OF_LOOP, task);
    let mark = if query.is_empty() { "" } else { "?" };
    Some(format!("{path}{}{mark}{}", word.suffix(), query.join("&")))
}

fn uuid_of(run: JobId) -> String {
    let text = run.to_string();
    let digits = text.rsplit_once('_').map_or(text.as_str(), |(_, digits)| digits);
    Uuid::parse_str(digits).map_or_else(|_| digits.to_owned(), |id| id.hyphenated().to_string())
}

/// Tells one; what goes wrong is said without the address, which is a secret.
async fn tell_one(
    client: &HttpClient,
    clock: &dyn Clock,
    address: &str,
    message: &str,
) -> Result<(), String> {
    let body = Bytes::copy_from_slice(&message.as_bytes()[..message.len().min(MESSAGE_MAX)]);
    let mut why = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            clock.sleep(TRY_AGAIN_AFTER).await;
        }
        let request = Request::builder().method(Method::POST).uri(address).body(body.clone());
        let request = request.map_err(|_| "its address is none".to_owned())?;
        why = match client.send(request).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            // A switch that is not known will not be known a second later.
            Ok(answer) if answer.status.is_client_error() => {
                return Err(format!("it answered {}", answer.status));
            }
            Ok(answer) => format!("it answered {}", answer.status),
            Err(error) => explain(&error),
        };
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use lifeboat_model::SimClock;

    use super::*;

    #[test]
    fn each_word_has_its_address() {
        let to = |word, address| address_for(address, (Some("backup-hourly"), word, None)).unwrap();
        assert_eq!(to(Word::Success, "https://hc/1"), "https://hc/1");
        assert_eq!(to(Word::Start, "https://hc/1/"), "https://hc/1/start");
        assert_eq!(to(Word::Fail, "https://hc/key/{loop}"), "https://hc/key/backup-hourly/fail");
        assert_eq!(
            to(Word::Start, "https://hc/key/{loop}?create=1"),
            "https://hc/key/backup-hourly/start?create=1"
        );
        let own = |address| address_for(address, (None, Word::Success, None));
        assert_eq!(own("https://hc/1"), None, "it would call a failure well");
        let own = own("https://hc/key/{loop}");
        assert_eq!(own.as_deref(), Some("https://hc/key/daemon"));
        let run: JobId = "job_0199c0de-0000-7000-8000-000000000001".parse().unwrap();
        let with_run = address_for("https://hc/1?a=b", (Some("retention"), Word::Fail, Some(run)));
        let wanted = "https://hc/1/fail?a=b&rid=0199c0de-0000-7000-8000-000000000001";
        assert_eq!(with_run.as_deref(), Some(wanted));
        for (ending, word) in [
            (Ending::Succeeded, Word::Success),
            (Ending::Cancelled, Word::Log),
            (Ending::NotBuilt, Word::Log),
            (Ending::Incomplete, Word::Fail),
            (Ending::CouldNotVerify, Word::Fail),
        ] {
            assert_eq!(Word::of(ending), word);
        }
    }

    /// Answers each request with the next status; returns what was asked for.
    fn switch(statuses: &'static [u16]) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/uuid", listener.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let answer = |status: &u16| {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                let (mut head, mut line) = (String::new(), String::new());
                while stream.read_line(&mut line).unwrap() > 2 {
                    head.push_str(&line.to_lowercase());
                    line.clear();
                }
                let length =
                    head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
                stream.read_exact(&mut body).unwrap();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                format!("{} {}", head.lines().next().unwrap(), String::from_utf8(body).unwrap())
            };
            statuses.iter().map(answer).collect()
        });
        (address, answering)
    }

    #[test]
    fn a_switch_that_stumbles_is_told_again_and_what_it_refuses_is_said() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (client, clock) = (
            HttpClient::new(&Trust::System, PATIENCE).unwrap(),
            SimClock::new("2026-11-30T12:00:00Z".parse().unwrap()),
        );
        let tell = |address: &str, what| runtime.block_on(tell_one(&client, &clock, address, what));
        let (address, answering) = switch(&[503, 200]);
        tell(&address, "no tier").unwrap();
        let asked = answering.join().unwrap();
        assert_eq!(asked, ["post /uuid http/1.1 no tier"; 2]);
        let (address, answering) = switch(&[404]);
        let why = tell(&address, "it").unwrap_err();
        assert!(why.contains("404") && !why.contains("uuid"), "{why}");
        answering.join().unwrap();
    }
}
