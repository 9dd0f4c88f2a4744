//! The system's program `ssh`: how it is run, and what its words mean.
//!
//! It reads its own configuration, knows hosts, keys and agents, and asks nobody: what would want a
//! password ends with an error. Its messages are in English whatever the locale.
//! Source: ssh(1), ssh_config(5); OpenSSH `sshconnect.c`, `sshconnect2.c`, `clientloop.c`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::failure::Failure;
use crate::refusal::Refusal;

/// How much is kept of what ssh says: more than its longest warning, which has some 800 bytes.
const WORDS_BYTES_MAX: usize = 8 << 10;

/// Who logs in where.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) environment: BTreeMap<String, String>,
}

impl Login {
    /// Starts ssh, whose standard input and output then are the server's subsystem `sftp`.
    pub(super) fn start(&self) -> Result<Child, Failure> {
        self.command().spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::NoProgram,
            _ => Failure::NoStart(error.to_string()),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.env_clear().envs(&self.environment);
        command.args(["-o", "BatchMode=yes", "-s"]);
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        // What follows is no option, whatever it begins with.
        command.args(["--", &self.host, "sftp"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is ours to heed: what was begun is ended through this connection.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// What ssh said last.
#[derive(Debug, Default)]
pub(super) struct Words(VecDeque<u8>);

impl Words {
    /// Listens until ssh says no more.
    pub(super) async fn listen(&mut self, mut says: impl AsyncRead + Unpin) {
        let mut heard = [0; 1024];
        while let Ok(length @ 1..) = says.read(&mut heard).await {
            self.0.extend(&heard[..length]);
            let too_many = self.0.len().saturating_sub(WORDS_BYTES_MAX);
            self.0.drain(..too_many);
        }
    }

    /// Returns the lines that say something.
    pub(super) fn lines(&self) -> Vec<String> {
        let (front, back) = self.0.as_slices();
        let text = String::from_utf8_lossy(&[front, back].concat()).into_owned();
        let lines = text.lines().map(|line| line.trim().trim_matches('@').trim());
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

/// Returns what ssh was refused for, if somebody has to do something about it.
pub(super) fn refusal(said: &[String]) -> Option<Refusal> {
    let says = |words: &str| said.iter().any(|line| line.contains(words));
    if says("REMOTE HOST IDENTIFICATION HAS CHANGED") || says("HOST IDENTIFICATION HAS CHANGED") {
        Some(Refusal::HostChanged)
    } else if says("Host key verification failed") || says("host key is known for") {
        Some(Refusal::HostUnknown)
    } else if says("Permission denied (") || says("Too many authentication failures") {
        Some(Refusal::Login)
    } else if says("subsystem request failed")
        || says("Bad configuration option")
        || says("Bad owner or permissions")
        || says("no matching ")
    {
        Some(Refusal::Unfit)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<Refusal> {
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        refusal(&lines)
    }

    #[test]
    fn what_ssh_says_is_understood() {
        for (text, refusal) in [
            (
                "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.",
                Some(Refusal::HostChanged),
            ),
            (
                "No ED25519 host key is known for backup.example.org and you have requested strict \
                 checking.\nHost key verification failed.",
                Some(Refusal::HostUnknown),
            ),
            ("u@h: Permission denied (publickey,password).", Some(Refusal::Login)),
            ("subsystem request failed on channel 0", Some(Refusal::Unfit)),
            ("ssh: connect to host h port 22: Connection refused", None),
            ("ssh: Could not resolve hostname h: Name or service not known", None),
            ("", None),
        ] {
            assert_eq!(told(text), refusal, "{text}");
        }
    }

    #[tokio::test]
    async fn only_the_last_words_are_kept_and_banners_are_read() {
        let long =
            format!("{}\n@@@@@@@\n@   CHANGED!   @\n@@@@@@@\nlast words\r\n", "x".repeat(20_000));
        let mut words = Words::default();
        words.listen(long.as_bytes()).await;
        assert!(words.0.len() <= WORDS_BYTES_MAX);
        let lines = words.lines();
        assert_eq!(lines[lines.len() - 2..], ["CHANGED!", "last words"]);
    }

    #[test]
    fn nothing_of_an_address_is_taken_for_an_option() {
        let login = Login {
            user: Some("u".to_owned()),
            host: "-oProxyCommand=x".to_owned(),
            port: Some(23),
            environment: BTreeMap::new(),
        };
        let command = login.command();
        let words: Vec<_> =
            command.as_std().get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words.join(" "), "-o BatchMode=yes -s -p 23 -l u -- -oProxyCommand=x sftp");
    }
}
