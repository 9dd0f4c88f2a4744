//! Ctrl-C and SIGTERM: the first asks the work to stop at a safe point, the second ends it at once.
//!
//! SIGHUP does nothing: `restic unlock` sends it to whoever holds a lock on this machine, to learn
//! whether that process is there. Source: restic `internal/restic/lock_unix.go`.

use lifeboat_model::{Cancel, Exit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::CommandError;
use crate::screen::Screen;

/// Starts to listen; must be called inside a tokio runtime.
pub fn listen(cancel: Cancel, screen: Screen) -> Result<(), CommandError> {
    let stream = |kind| {
        signal(kind).map_err(|source| CommandError::System { action: "listen for signals", source })
    };
    let (mut interrupt, mut terminate) =
        (stream(SignalKind::interrupt())?, stream(SignalKind::terminate())?);
    // Once somebody has listened to it, it ends the process no more.
    drop(stream(SignalKind::hangup())?);
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        cancel.cancel();
        screen.remark("stopping at the next safe point; once more to stop at once");
        next(&mut interrupt, &mut terminate).await;
        end_now();
    });
    Ok(())
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}

/// Ends the process like a kill would: every store is made to survive that at any instant.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a second Ctrl-C must end work that does not poll its flag"
)]
fn end_now() -> ! {
    std::process::exit(i32::from(Exit::Cancelled.code()))
}
