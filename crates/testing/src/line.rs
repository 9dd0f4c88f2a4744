//! A line to a server: a proxy that delays, cuts, alters, withholds and refuses as its weather says, and
//! counts what passes.
//!
//! ```no_run
//! use std::time::Duration;
//! use lifeboat_testing::emulators::Moto;
//! use lifeboat_testing::line::{Line, Reply, Rule, Trouble, Weather};
//!
//! let moto = Moto::start()?;
//! let storm = Rule::requests(Trouble::Answer(Reply::status(503))).first(2);
//! let line = Line::to(moto.address(), Weather::fair().round_trip(Duration::from_millis(50)).with(storm))?;
//! println!("{}", line.endpoint());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The round trip is latency and nothing else: what is on its way is bounded only by
//! [64 MiB a direction](carriage). A new connection costs a round trip of its own, as a handshake does, though the
//! client's kernel has it at once; so whoever opens one for each request pays for it.
//!
//! # Invariants
//!
//! - No thread and no connection outlives the guard.
//! - Bytes keep their order, and nothing passes that was sent behind a cut.
//!
//! # Limits
//!
//! Requests are known by HTTP/1.1 with `Content-Length`, one at a time on a connection; whatever else passes (TLS,
//! SSH, bodies in chunks) is counted in bytes, and only rules for connections strike it. An encrypted line's own
//! handshake is not delayed. The record of requests grows without bound: it is made for tests.

mod carriage;
mod message;
mod sky;
mod snag;
#[cfg(test)]
mod tests;
mod weather;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use self::sky::Sky;
use crate::certificate::Certificate;

pub use sky::{Asked, Carried};
pub use weather::{At, Reply, Rule, Trouble, Way, Weather};

/// A proxy in front of a server, stopped when it is dropped.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    scheme: &'static str,
    sky: Arc<Sky>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Listens on a port that the kernel chooses, for a server that need not run yet.
    pub fn to(server: SocketAddr, weather: Weather) -> io::Result<Self> {
        Self::open(server, weather, None)
    }

    /// Speaks encrypted with clients and plainly with the server.
    pub fn encrypted(
        server: SocketAddr,
        weather: Weather,
        certificate: &Certificate,
    ) -> io::Result<Self> {
        Self::open(server, weather, Some(Arc::clone(&certificate.0).into()))
    }

    fn open(
        server: SocketAddr,
        weather: Weather,
        encryption: Option<TlsAcceptor>,
    ) -> io::Result<Self> {
        let scheme = if encryption.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let sky = Arc::new(Sky::new(weather));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let above = Arc::clone(&sky);
        let thread = std::thread::Builder::new().name("line".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = carriage::serve(listener, server, encryption, above) => {}
                }
            });
        })?;
        Ok(Self { address, scheme, sky, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its URL, for a server that speaks HTTP.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Changes the weather, for requests and connections that begin from now on.
    pub fn set(&self, weather: Weather) {
        self.sky.set(weather);
    }

    /// Returns how much passed since the line was opened.
    pub fn carried(&self) -> Carried {
        self.sky.carried()
    }

    /// Returns which requests came so far, in order, also those that were kept from the server.
    pub fn asked(&self) -> Vec<Asked> {
        self.sky.asked()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It holds nothing that could panic, and nobody is left to be told if it did.
        drop(self.thread.take().map(JoinHandle::join));
    }
}
