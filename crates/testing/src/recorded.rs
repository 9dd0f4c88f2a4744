//! A server that plays exchanges from a script: for what a store's emulator does not know.
//!
//! A script is written from the store's documentation and names its source. Exchanges stand in their order,
//! with an empty line between them:
//!
//! ```text
//! # Source: where the store says so
//! > PUT /container/blob?comp=tier
//! > x-ms-access-tier: Hot
//! < 202
//! < x-ms-request-id: 1
//! <
//! < the body of the answer
//! ```
//!
//! A request must have the method, the path with its query, and the headers that are written; it may have
//! more, but none that is written with a `!` before its name. One that is another than the next of the script is answered with 418, which no store does.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A request that is expected, and what is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Exchange {
    /// Like `PUT /container/blob`.
    request: String,
    /// Like `x-ms-version: 1`, with the name in lower case.
    required: Vec<String>,
    /// Names in lower case, with a colon.
    forbidden: Vec<String>,
    status: String,
    headers: Vec<String>,
    body: String,
}

/// Reads a script; panics at what is none, since a test wrote it.
fn parse(script: &str) -> Vec<Exchange> {
    let lines = script.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let lines: Vec<_> = lines.collect();
    let blocks = lines.split(|line| line.is_empty()).filter(|block| !block.is_empty());
    blocks.map(exchange).collect()
}

fn exchange(lines: &[&str]) -> Exchange {
    let mut read = Exchange::default();
    let asked = lines.iter().filter_map(|line| line.strip_prefix('>'));
    for (index, line) in asked.map(str::trim).enumerate() {
        match (index, line.split_once(": ")) {
            (0, _) => line.clone_into(&mut read.request),
            (_, Some((name, value))) => {
                read.required.push(format!("{}: {value}", name.to_ascii_lowercase()));
            }
            (_, None) => match line.strip_prefix('!') {
                Some(name) => read.forbidden.push(format!("{}:", name.to_ascii_lowercase())),
                None => panic!("`{line}` is no header"),
            },
        }
    }
    let mut answered = lines.iter().filter_map(|line| line.strip_prefix('<')).map(str::trim);
    answered
        .next()
        .unwrap_or_else(|| panic!("nothing is answered to `{}`", read.request))
        .clone_into(&mut read.status);
    read.headers.extend(answered.by_ref().take_while(|line| !line.is_empty()).map(str::to_owned));
    read.body = answered.collect::<Vec<_>>().join("\n");
    read
}

/// What is left of a script, and what did not follow it.
#[derive(Debug, Default)]
struct Play {
    left: Vec<Exchange>,
    strays: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub struct Recorded {
    address: SocketAddr,
    play: Arc<Mutex<Play>>,
    is_over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Recorded {
    /// Starts to play a script.
    pub fn start(script: &str) -> io::Result<Self> {
        let mut left = parse(script);
        left.reverse();
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let play = Arc::new(Mutex::new(Play { left, strays: Vec::new() }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&play), Arc::clone(&is_over));
        let server = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                // A client that goes away is noticed by what is left of the script.
                let _ = stream.and_then(|stream| serve(stream, &shared));
            }
        });
        Ok(Self { address, play, is_over, server: Some(server) })
    }

    /// Returns its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Panics unless the whole script was played and nothing else was asked.
    pub fn finish(self) {
        let play = self.play.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(play.strays.is_empty(), "not as in the script: {:#?}", play.strays);
        let left: Vec<_> = play.left.iter().rev().map(|exchange| &exchange.request).collect();
        assert!(left.is_empty(), "nobody asked for {left:#?}");
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // It waits for a connection.
        drop(TcpStream::connect(self.address));
        drop(self.server.take().map(JoinHandle::join));
    }
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, play: &Mutex<Play>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (request, headers) = head(&mut reader)?;
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
    let answer = play.lock().unwrap_or_else(PoisonError::into_inner).answer(&request, &headers);
    stream.write_all(answer.as_bytes())
}

/// Reads method and target, and the headers with their names in lower case.
fn head(reader: &mut impl io::BufRead) -> io::Result<(String, Vec<String>)> {
    let mut lines = Vec::new();
    for line in reader.by_ref().lines() {
        match line?.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let request = lines.next().unwrap_or_default();
    let request = request.trim_end_matches(" HTTP/1.1").to_owned();
    let headers = lines.map(|line| match line.split_once(':') {
        Some((name, value)) => format!("{}: {}", name.to_ascii_lowercase(), value.trim()),
        None => line,
    });
    Ok((request, headers.collect()))
}

impl Play {
    fn answer(&mut self, request: &str, headers: &[String]) -> String {
        if let Some(next) = self.left.pop_if(|next| next.is_asked_by(request, headers)) {
            return next.answer();
        }
        let expected = self.left.last().map(|next| (&next.request, &next.required));
        self.strays.push(format!("{request} {headers:?} instead of {expected:?}"));
        "HTTP/1.1 418 Stray\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
    }
}

impl Exchange {
    fn is_asked_by(&self, request: &str, headers: &[String]) -> bool {
        let is_forbidden =
            |header: &String| self.forbidden.iter().any(|name| header.starts_with(name));
        self.request == request
            && self.required.iter().all(|required| headers.contains(required))
            && !headers.iter().any(is_forbidden)
    }

    /// To `HEAD` the script writes the length that is told, and no body.
    fn answer(&self) -> String {
        let tells_length =
            |header: &String| header.to_ascii_lowercase().starts_with("content-length:");
        let mut lines = vec![format!("HTTP/1.1 {} As Written", self.status)];
        lines.push("Connection: close".to_owned());
        lines.extend(self.headers.iter().cloned());
        if !self.headers.iter().any(tells_length) {
            lines.push(format!("Content-Length: {}", self.body.len()));
        }
        format!("{}\r\n\r\n{}", lines.join("\r\n"), self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "
        # Source: none
        > GET /a?b=c
        > X-Wanted: yes
        > !X-Unwanted
        < 200
        < x-told: 1
        <
        < two
        < lines

        > DELETE /a
        < 202
    ";

    fn ask(server: &Recorded, text: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_script_is_played_in_its_order() {
        let server = Recorded::start(SCRIPT).unwrap();
        let first = ask(&server, "GET /a?b=c HTTP/1.1\r\nx-wanted:  yes\r\nx-more: 1\r\n\r\n");
        assert!(first.starts_with("HTTP/1.1 200 ") && first.contains("x-told: 1"), "{first}");
        assert!(first.ends_with("\r\n\r\ntwo\nlines"), "{first}");
        assert!(ask(&server, "DELETE /a HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 202 "));
        server.finish();
    }

    #[test]
    #[should_panic(expected = "instead of")]
    fn what_is_not_in_the_script_is_told() {
        let server = Recorded::start(SCRIPT).unwrap();
        let unwanted = "GET /a?b=c HTTP/1.1\r\nx-wanted: yes\r\nx-unwanted: 1\r\n\r\n";
        for stray in ["GET /a?b=c HTTP/1.1\r\n\r\n", unwanted] {
            assert!(ask(&server, stray).starts_with("HTTP/1.1 418 "), "{stray}");
        }
        server.finish();
    }

    #[test]
    #[should_panic(expected = "nobody asked for")]
    fn what_nobody_asked_for_is_told() {
        Recorded::start(SCRIPT).unwrap().finish();
    }
}
