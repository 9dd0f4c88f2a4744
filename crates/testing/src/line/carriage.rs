//! Carrying bytes between clients and the server: each piece waits until it is due, while others set out
//! behind it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::message::{Part, Splitter};
use super::sky::Sky;
use super::snag::{Flow, Passed};
use super::weather::{Trouble, Way};

/// How much is read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// How much of one direction of a connection may be on its way: more than a gigabyte a second at a
/// round trip of a tenth of a second, so that latency is all that a line costs.
const UNDERWAY_BYTES_MAX: usize = 64 << 20;

/// Accepts connections for as long as it is let.
pub(super) async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    encryption: Option<TlsAcceptor>,
    sky: Arc<Sky>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((client, _)) = listener.accept().await {
        let (sky, encryption) = (Arc::clone(&sky), encryption.clone());
        // A connection that breaks has told both of its ends so.
        tokio::spawn(async move { drop(accept(client, server, encryption, &sky).await) });
    }
}

async fn accept(
    mut client: TcpStream,
    server: SocketAddr,
    encryption: Option<TlsAcceptor>,
    sky: &Arc<Sky>,
) -> io::Result<()> {
    let opened = Instant::now();
    let trouble = sky.connection();
    if trouble == Some(Trouble::Silence) {
        return swallow(&mut client, sky).await;
    }
    client.set_nodelay(true)?;
    match encryption {
        None => connect(client.into_split(), server, (opened, trouble), sky).await,
        Some(encryption) => {
            let client = encryption.accept(client).await?;
            connect(tokio::io::split(client), server, (opened, trouble), sky).await
        }
    }
}

async fn connect(
    (from_client, to_client): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    server: SocketAddr,
    (opened, trouble): (Instant, Option<Trouble>),
    sky: &Arc<Sky>,
) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let (from_server, to_server) = server.into_split();
    let (there, arriving_there) = queue();
    let (back, arriving_back) = queue();
    let answering = Arc::new(Mutex::new(Flow::default()));
    let outgoing = Outgoing {
        sky: Arc::clone(sky),
        there,
        back: back.clone(),
        answering: Arc::clone(&answering),
        all: Flow::new(trouble.as_ref(), Way::There),
        always: trouble.clone().filter(|trouble| matches!(trouble, Trouble::Answer(_))),
        fate: Fate::Pass(Flow::default()),
        opened,
    };
    let incoming = Incoming {
        sky: Arc::clone(sky),
        back,
        answering,
        all: Flow::new(trouble.as_ref(), Way::Back),
    };
    tokio::try_join!(
        outgoing.run(from_client),
        incoming.run(from_server),
        deliver(arriving_there, to_server),
        deliver(arriving_back, to_client),
    )?;
    Ok(())
}

/// Takes what comes until nothing does, and gives nothing.
async fn swallow(from: &mut TcpStream, sky: &Sky) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(PIECE_BYTES);
    while from.read_buf(&mut buffer).await? > 0 {
        sky.count(Way::There, buffer.len());
        buffer.clear();
    }
    Ok(())
}

/// What is on its way.
#[derive(Debug)]
enum Load {
    Bytes(Bytes, OwnedSemaphorePermit),
    /// Nothing follows in this direction.
    End,
    /// The connection breaks here.
    Cut,
}

/// The end of a direction where bytes set out.
#[derive(Debug, Clone)]
struct Queue {
    sender: mpsc::UnboundedSender<(Instant, Load)>,
    room: Arc<Semaphore>,
}

fn queue() -> (Queue, mpsc::UnboundedReceiver<(Instant, Load)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue { sender, room: Arc::new(Semaphore::new(UNDERWAY_BYTES_MAX)) }, receiver)
}

impl Queue {
    fn load(&self, due: Instant, load: Load) -> io::Result<()> {
        self.sender.send((due, load)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn bytes(&self, due: Instant, bytes: Bytes) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let room = Arc::clone(&self.room).acquire_many_owned(size).await;
        self.load(due, Load::Bytes(bytes, room.map_err(io::Error::other)?))
    }

    /// Sends what passes, and the end of all where it was cut.
    async fn passed(&self, due: Instant, passed: Passed) -> io::Result<()> {
        self.bytes(due, passed.bytes).await?;
        if passed.is_cut { self.load(due, Load::Cut) } else { Ok(()) }
    }
}

/// Hands over what is due; a cut ends the connection by an error.
async fn deliver(
    mut arriving: mpsc::UnboundedReceiver<(Instant, Load)>,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some((due, load)) = arriving.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        match load {
            Load::Bytes(bytes, _room) => to.write_all(&bytes).await?,
            Load::End => break,
            Load::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
    to.shutdown().await
}

/// What becomes of the request that is being sent.
#[derive(Debug)]
enum Fate {
    Pass(Flow),
    Answer(String),
    Silence,
}

/// From the client to the server.
#[derive(Debug)]
struct Outgoing {
    sky: Arc<Sky>,
    there: Queue,
    back: Queue,
    answering: Arc<Mutex<Flow>>,
    all: Flow,
    /// What befalls every request of this connection.
    always: Option<Trouble>,
    fate: Fate,
    opened: Instant,
}

impl Outgoing {
    async fn run(mut self, mut from: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut splitter = Splitter::new();
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE_BYTES);
            if from.read_buf(&mut buffer).await? == 0 {
                return self.there.load(self.due(), Load::End);
            }
            let Passed { bytes, is_cut } = self.all.take(buffer.split().freeze());
            self.sky.count(Way::There, bytes.len());
            for part in splitter.push(bytes) {
                self.part(part).await?;
            }
            if is_cut {
                return self.there.load(self.due(), Load::Cut);
            }
        }
    }

    /// Returns when what sets out now is there. Nothing sets out before the handshake would have been over.
    fn due(&self) -> Instant {
        let round_trip = self.sky.round_trip();
        Instant::now().max(self.opened + round_trip) + round_trip / 2
    }

    async fn part(&mut self, part: Part) -> io::Result<()> {
        match part {
            Part::Request { method, target, head } => {
                let trouble = self.sky.request(&method, &target).or_else(|| self.always.clone());
                *self.answering.lock().unwrap_or_else(PoisonError::into_inner) =
                    Flow::new(trouble.as_ref(), Way::Back);
                self.fate = match trouble {
                    Some(Trouble::Answer(reply)) => Fate::Answer(reply.to_text(&method)),
                    Some(Trouble::Silence) => Fate::Silence,
                    other => Fate::Pass(Flow::new(other.as_ref(), Way::There)),
                };
                self.pass(head).await
            }
            Part::Body(bytes) => self.pass(bytes).await,
            Part::Other(bytes) => self.there.bytes(self.due(), bytes).await,
            Part::End => self.end().await,
        }
    }

    async fn pass(&mut self, bytes: Bytes) -> io::Result<()> {
        let due = self.due();
        match &mut self.fate {
            Fate::Pass(flow) => self.there.passed(due, flow.take(bytes)).await,
            Fate::Answer(_) | Fate::Silence => Ok(()),
        }
    }

    async fn end(&mut self) -> io::Result<()> {
        let Fate::Answer(text) = &mut self.fate else { return Ok(()) };
        let text = std::mem::take(text);
        self.sky.count(Way::Back, text.len());
        let due = self.due() + self.sky.round_trip() / 2;
        self.back.bytes(due, text.into()).await
    }
}

/// From the server to the client.
#[derive(Debug)]
struct Incoming {
    sky: Arc<Sky>,
    back: Queue,
    answering: Arc<Mutex<Flow>>,
    all: Flow,
}

impl Incoming {
    async fn run(mut self, mut from: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE_BYTES);
            let came = from.read_buf(&mut buffer).await?;
            let due = Instant::now() + self.delay();
            if came == 0 {
                return self.back.load(due, Load::End);
            }
            let Passed { bytes, is_cut } = self.all.take(buffer.split().freeze());
            let mut passed =
                self.answering.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
            passed.is_cut |= is_cut;
            self.sky.count(Way::Back, passed.bytes.len());
            let is_cut = passed.is_cut;
            self.back.passed(due, passed).await?;
            if is_cut {
                return Ok(());
            }
        }
    }

    fn delay(&self) -> Duration {
        self.sky.round_trip() / 2
    }
}
