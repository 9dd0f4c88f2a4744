//! One request to a server of this machine, for what a test prepares there.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::program::ProgramError;

/// What is asked.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// Like `PUT`.
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) target: String,
    /// Headers beside the host and the length.
    pub(super) headers: Vec<(&'a str, String)>,
    /// What is sent.
    pub(super) body: String,
}

impl Request<'_> {
    /// Sends it and returns the answer's body; an answer that is no success is an error.
    pub(super) fn send(&self, to: SocketAddr) -> Result<String, ProgramError> {
        let program = format!("{} http://{to}{}", self.method, self.target);
        let answer = match self.exchange(to) {
            Ok(answer) => answer,
            Err(source) => return Err(ProgramError::Run { program, source }),
        };
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status.starts_with('2') {
            return Ok(body.to_owned());
        }
        Err(ProgramError::Unexpected { program, message: answer })
    }

    /// The server closes the connection after its answer, so its end is the end of the answer.
    fn exchange(&self, to: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        let mut text = Vec::new();
        write!(text, "{} {} HTTP/1.1\r\nHost: {to}\r\n", self.method, self.target)?;
        for (name, value) in &self.headers {
            write!(text, "{name}: {value}\r\n")?;
        }
        let length = self.body.len();
        write!(text, "Content-Length: {length}\r\nConnection: close\r\n\r\n{}", self.body)?;
        stream.write_all(&text)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Writes a value of a form or of a query: every byte that is not plainly harmless by its number.
pub(super) fn quoted(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes whatever is written");
        }
        text
    })
}
