//! Asking the daemon of a site from another command of its host.

use std::path::{Path, PathBuf};

use lifeboat_model::{Exit, SiteName};
use lifeboat_ops::Site;
use lifeboat_ops::daemon::client::{self, Conversation};
use lifeboat_ops::daemon::control::{Ask, Reply, Served, Waits};
use lifeboat_ops::daemon::report::{socket_below, socket_of};
use lifeboat_ops::jobs::{Job, Work};
use serde_json::Value;

use crate::failure::{CommandError, Failure};
use crate::plan_file;
use crate::session::Session;

/// A daemon that answered.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it listens.
    pub socket: PathBuf,
    /// What it says of itself.
    pub served: Served,
}

/// Looks for the daemon of a site, where it wrote down itself that it listens. One that does not answer in time counts as
/// none: what can be done without it is.
pub fn find(site: &Site, session: &Session) -> Option<Found> {
    // Who may not read the journal may not ask the daemon either.
    let socket = socket_of(site).ok().flatten()?;
    let served = session.runtime.block_on(client::served(&socket))?;
    Some(Found { socket, served })
}

/// Asks the daemon of a site something; an error if none runs.
pub fn ask(site: &Site, session: &Session, ask: &Ask) -> Result<Reply, Failure> {
    ask_at(socket_of(site)?, site.name(), session, ask)
}

/// Asks the daemon something that concerns the plan in force alone: the one on disk needs to do no more than name its site.
pub fn ask_in_force(session: &Session, ask: &Ask) -> Result<Reply, Failure> {
    let site = plan_file::site_name(session)?;
    let socket = socket_below(&session.surroundings(&site).state_directory)?;
    ask_at(socket, &site, session, ask)
}

fn ask_at(
    socket: Option<PathBuf>,
    site: &SiteName,
    session: &Session,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let asked = socket.map(|socket| session.runtime.block_on(client::ask(&socket, ask)));
    match asked.transpose().map_err(failed)?.flatten() {
        Some(Reply::Refused { message }) => Err(refused(message)),
        Some(reply) => Ok(reply),
        None => Err(CommandError::NoDaemon { site: site.to_string() }.into()),
    }
}

/// Begins a conversation with a daemon that was found.
pub fn converse(found: &Found, session: &Session, ask: &Ask) -> Result<Conversation, Failure> {
    let begun = session.runtime.block_on(Conversation::begin(&found.socket, ask));
    begun.map_err(failed)?.ok_or_else(|| {
        let site = found.socket.display().to_string();
        CommandError::NoDaemon { site }.into()
    })
}

/// Hears the next answer; a Ctrl-C meanwhile stops the job and is told once.
pub fn hear(
    conversation: &mut Conversation,
    session: &Session,
    stop: &mut Option<impl FnOnce()>,
) -> Result<Reply, Failure> {
    let heard = session.runtime.block_on(async {
        if stop.is_none() {
            return conversation.next().await;
        }
        tokio::select! {
            heard = conversation.next() => heard,
            () = stopped(session) => {
                if let Some(stop) = stop.take() {
                    tokio::task::block_in_place(stop);
                }
                conversation.next().await
            }
        }
    });
    match heard.map_err(failed)? {
        Reply::Refused { message } => Err(refused(message)),
        reply => Ok(reply),
    }
}

async fn stopped(session: &Session) {
    _ = session.cancel.cut_short(std::future::pending::<()>()).await;
}

/// Says that the daemon does not do something.
fn refused(message: String) -> Failure {
    CommandError::Daemon { message, hint: None, exit: Exit::Failed }.into()
}

fn failed(source: std::io::Error) -> Failure {
    CommandError::System { action: "talk to the daemon", source }.into()
}

/// Chooses where a daemon listens: where systemd put the unit's files, or beside the state.
pub fn usual_socket(site: &Site, session: &Session) -> PathBuf {
    const NAME: &str = "lifeboat.sock";
    let state = &site.surroundings().state_directory;
    match session.process.variable("RUNTIME_DIRECTORY") {
        Some(given) => Path::new(given).join(NAME),
        None if state.starts_with("/var/lib/lifeboat") => Path::new("/run/lifeboat").join(NAME),
        None => state.join(NAME),
    }
}

/// How a job ended that was waited for.
#[derive(Debug)]
pub struct Ended {
    /// The job.
    pub job: Job,
    /// The operation's report, if there is one.
    pub report: Option<Value>,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// How the command ends.
    pub exit: u8,
}

/// Lets a daemon do something, shows what it does, and stops it at a Ctrl-C.
pub fn do_and_wait(found: &Found, work: Work, session: &Session) -> Result<Ended, Failure> {
    let events = session.events();
    let mut conversation = converse(found, session, &Ask::Run { work, waits: Waits::Yes })?;
    let Reply::Queued { job } = hear(&mut conversation, session, &mut None::<fn()>)? else {
        return Err(refused("the daemon did not queue it".to_owned()));
    };
    session.screen.remark(&format!("the daemon does it, as job {}", job.id));
    let (socket, runtime, id) = (found.socket.clone(), session.runtime.clone(), job.id);
    let mut stop = Some(move || {
        // If nobody hears, the job is over or the daemon is.
        _ = runtime.block_on(client::ask(&socket, &Ask::Cancel { job: id }));
    });
    loop {
        match hear(&mut conversation, session, &mut stop)? {
            Reply::Event { event } => events.emit(event),
            Reply::Ended { job, report, hint, exit } => {
                return Ok(Ended { job, report, hint, exit });
            }
            _ => {
                return Err(refused(
                    "the daemon said something that nobody understands".to_owned(),
                ));
            }
        }
    }
}
