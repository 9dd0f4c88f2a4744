//! Telling systemd how it goes, as `sd_notify(3)` says: a datagram of lines to the socket that it named.
//!
//! Written here since it is one datagram; libraries for it bring the same dozen lines.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How often is told at least that all is well, where nobody watches.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whoever started the daemon and wants to know.
#[derive(Debug)]
pub(super) struct Supervisor {
    address: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Finds it by what it put into the environment.
    pub(super) fn of(environment: &BTreeMap<String, String>) -> Self {
        let named = environment.get("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let address = named.and_then(|name| match name.strip_prefix('@') {
            Some(hidden) => SocketAddr::from_abstract_name(hidden).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        let watchdog = environment.get("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        Self { address, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Returns how long may pass until it hears again: half of what it waits for.
    pub(super) fn patience(&self) -> Duration {
        self.watchdog.map_or(PATIENCE, |watchdog| watchdog / 2)
    }

    /// The daemon does its work.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\nWATCHDOG=1\n"));
    }

    /// It goes round.
    pub(super) fn alive(&self, status: &str) {
        self.tell(&format!("STATUS={status}\nWATCHDOG=1\n"));
    }

    /// It reads the plan anew.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\n"));
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping\n");
    }

    fn tell(&self, lines: &str) {
        let Some(address) = &self.address else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| {
            // One who does not read must not stop the daemon.
            socket.set_nonblocking(true)?;
            socket.send_to_addr(lines.as_bytes(), address)
        });
        if let Err(error) = sent {
            tracing::debug!(%error, "The supervisor does not hear.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisor_is_told_as_it_wants_to_be() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let variables = [
            ("NOTIFY_SOCKET".to_owned(), path.to_str().unwrap().to_owned()),
            ("WATCHDOG_USEC".to_owned(), "30000000".to_owned()),
        ];
        let supervisor = Supervisor::of(&variables.into());
        assert_eq!(supervisor.patience(), Duration::from_secs(15));
        let mut bytes = [0; 200];
        let mut heard = || {
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        supervisor.ready("waiting");
        assert_eq!(heard(), "READY=1\nSTATUS=waiting\nWATCHDOG=1\n");
        supervisor.reloading();
        assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        supervisor.stopping();
        assert!(heard().starts_with("STOPPING=1\n"));
        let nobody = Supervisor::of(&BTreeMap::new());
        assert_eq!(nobody.patience(), PATIENCE);
        nobody.ready("waiting");
    }
}
