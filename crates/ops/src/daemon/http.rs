//! `/health`, `/ready` and `/metrics` over HTTP: three documents that are read, and nothing else.
//!
//! Written here (ADR 0052): a server library would bring routing, bodies and upgrades that nothing here may have. Each
//! connection gets one answer and is closed.
//!
//! # Limits
//!
//! Only GET and HEAD, no body, a head of at most [`HEAD_LENGTH_MAX`], [`CONNECTIONS_MAX`] at a time, [`PATIENCE`] for each.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use lifeboat_model::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Daemon, DaemonError};

/// How many are answered at once.
const CONNECTIONS_MAX: usize = 16;

/// As long as the head of a request may be.
const HEAD_LENGTH_MAX: usize = 8 << 10;

/// How long asking and answering may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// As long as this lives, the documents can be read.
#[derive(Debug)]
pub struct Published {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Published {
    /// Returns where.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub status: Status,
    pub body: String,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Fine,
    NotUnderstood,
    NotFound,
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Fine => "200 OK",
            Self::NotUnderstood => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked<'h> {
    path: &'h str,
    wants: Wants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Body,
    HeadOnly,
}

impl Daemon {
    /// Publishes the daemon's health and metrics on an address.
    pub fn publish(self: &Arc<Self>, address: SocketAddr) -> Result<Published, DaemonError> {
        let site = self.site();
        let runtime = &site.surroundings().runtime;
        let failed = |source| DaemonError::Address { address, source };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let clock = Arc::clone(&site.surroundings().clock);
        let task = runtime.spawn(accept(listener, Arc::downgrade(self), clock));
        Ok(Published { address, task })
    }
}

async fn accept(listener: TcpListener, daemon: Weak<Daemon>, clock: Arc<dyn Clock>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(room) = Arc::clone(&connections).acquire_owned().await else { return };
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let (daemon, clock) = (Weak::clone(&daemon), Arc::clone(&clock));
        tokio::spawn(async move {
            let answered = Box::pin(attend(&mut stream, &daemon));
            if let Either::Left((Err(error), _)) = select(answered, clock.sleep(PATIENCE)).await {
                tracing::debug!(%error, "A request broke off.");
            }
            drop(room);
        });
    }
}

/// Answers one request.
pub(super) async fn attend(stream: &mut TcpStream, daemon: &Weak<Daemon>) -> io::Result<()> {
    let head = head(stream).await?;
    let asked = head.as_deref().and_then(asked);
    let page = match asked {
        None => Page {
            status: Status::NotUnderstood,
            body: "only GET and HEAD are answered\n".to_owned(),
        },
        Some(asked) => match daemon.upgrade() {
            Some(daemon) => {
                let path = asked.path.to_owned();
                let page = tokio::task::spawn_blocking(move || daemon.page(&path)).await;
                page.map_err(io::Error::other)?
            }
            None => Page { status: Status::Unavailable, body: "it ends\n".to_owned() },
        },
    };
    stream.write_all(headers(&page).as_bytes()).await?;
    if asked.is_none_or(|asked| asked.wants == Wants::Body) {
        stream.write_all(page.body.as_bytes()).await?;
    }
    stream.shutdown().await
}

fn headers(page: &Page) -> String {
    let fields = [
        format!("HTTP/1.1 {}", page.status.line()),
        "Content-Type: text/plain; version=0.0.4; charset=utf-8".to_owned(),
        format!("Content-Length: {}", page.body.len()),
        "Cache-Control: no-store".to_owned(),
        "X-Content-Type-Options: nosniff".to_owned(),
        "Connection: close".to_owned(),
    ];
    format!("{}\r\n\r\n", fields.join("\r\n"))
}

/// Reads the head of a request; `None` if it is too long or no text.
async fn head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 || bytes.len() > HEAD_LENGTH_MAX {
            return Ok(None);
        }
    }
    Ok(String::from_utf8(bytes).ok())
}

/// Reads what is asked for.
fn asked(head: &str) -> Option<Asked<'_>> {
    let mut words = head.lines().next()?.split(' ');
    let wants = match words.next()? {
        "GET" => Wants::Body,
        "HEAD" => Wants::HeadOnly,
        _ => return None,
    };
    let target = words.next()?;
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let path = target.split('?').next().filter(|path| path.starts_with('/') && is_http)?;
    Some(Asked { path, wants })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_is_understood() {
        let path = |head| asked(head).map(|asked| (asked.path, asked.wants));
        assert_eq!(path("GET /metrics HTTP/1.1\r\nHost: x\r\n"), Some(("/metrics", Wants::Body)));
        assert_eq!(path("HEAD /health?x=1 HTTP/1.0\r\n"), Some(("/health", Wants::HeadOnly)));
        for refused in [
            "POST /metrics HTTP/1.1",
            "GET metrics HTTP/1.1",
            "GET /metrics",
            "GET / HTTP/2",
            "",
            " ",
        ] {
            assert_eq!(path(refused), None, "{refused}");
        }
    }
}
