//! A server that runs for as long as somebody holds it, on a port that the kernel chooses.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use crate::program::{ProgramError, shown};

/// Runs the server and, once nothing holds the input's other end any more, kills it with everything
/// that it started: all are of one group. The kernel closes that end however its holder dies.
const LIFELINE: &str = r#"
exec 3<&0
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
"$@" </dev/null 2>&1 &
wait "$!"
exec >&-
wait
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shell: Child,
    /// Ends with the last process that holds the server's output.
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server which says where it listens, as [`address_in`] understands it, and waits for that.
    pub(crate) fn start(command: &Command) -> Result<Self, ProgramError> {
        let name = shown(command);
        let fail = |source| ProgramError::Run { program: name.clone(), source };
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", LIFELINE, "lifeline"]).arg(command.get_program());
        shell.args(command.get_args()).process_group(0);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().map_err(fail)?;
        let output = shell.stdout.take().expect("standard output was piped");
        let (sender, receiver) = mpsc::channel();
        let reader = Some(std::thread::spawn(move || drain(output, &sender)));
        // From here on whatever fails stops it.
        let mut server = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), shell, reader };
        server.address = listens(&name, &receiver)?;
        Ok(server)
    }

    /// Returns where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nobody is left to tell; a shell that cannot be waited for has ended already.
        drop(self.shell.wait());
        // The shell may end before the others that were killed with it.
        drop(self.reader.take().map(JoinHandle::join));
    }
}

/// Reads what a server says to its end, so that it never waits for a reader.
fn drain(output: impl Read, lines: &Sender<String>) {
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { return };
        // Whoever started it stops listening as soon as it knows the address.
        let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
    }
}

/// Waits for the address, or for the end of a server that could not start.
fn listens(name: &str, lines: &Receiver<String>) -> Result<SocketAddr, ProgramError> {
    let mut said = Vec::new();
    for line in lines {
        if let Some(address) = address_in(&line) {
            return Ok(address);
        }
        said.push(line);
    }
    Err(ProgramError::Unexpected { program: name.to_owned(), message: said.join("\n") })
}

/// Reads `… on http://ADDRESS`, and what OpenSSH says: `Server listening on IP port PORT.`
fn address_in(line: &str) -> Option<SocketAddr> {
    if let Some((_, address)) = line.split_once(" on http://") {
        return address.trim().parse().ok();
    }
    let (_, rest) = line.split_once("Server listening on ")?;
    let (ip, port) = rest.trim().trim_end_matches('.').split_once(" port ")?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn script(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn a_server_ends_with_whatever_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let text = format!(
            "sleep 1000 & echo $! >{}; echo listens on http://127.0.0.1:7; wait",
            file.display()
        );
        let server = Server::start(&script(&text)).unwrap();
        assert_eq!(server.address().port(), 7);
        let child = std::fs::read_to_string(file).unwrap();
        // The command line of a process is empty while it becomes another program; its state never is.
        let is_alive = || {
            let line = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            let state = |line: &str| line.rsplit_once(") ")?.1.chars().next();
            line.is_ok_and(|line| !matches!(state(&line), None | Some('Z' | 'X')))
        };
        assert!(is_alive());
        drop(server);
        // Who was killed is gone once the kernel comes to it.
        let end = Instant::now() + Duration::from_secs(20);
        while is_alive() && Instant::now() < end {
            std::thread::yield_now();
        }
        assert!(!is_alive());
    }

    #[test]
    fn every_way_of_saying_where_is_understood() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 7)));
        for line in [
            " * Running on http://127.0.0.1:7",
            "Azurite Blob service successfully listens on http://127.0.0.1:7",
            "Server listening on 127.0.0.1 port 7.\r",
        ] {
            assert_eq!(address_in(line), address, "{line}");
        }
        assert_eq!(address_in("Bind to port 7 on 127.0.0.1 failed"), None);
    }

    #[test]
    fn a_server_that_cannot_start_is_told_with_its_words() {
        let error = Server::start(&script("echo no room here >&2; exit 3")).unwrap_err();
        assert!(error.to_string().contains("no room here"), "{error}");
    }
}
