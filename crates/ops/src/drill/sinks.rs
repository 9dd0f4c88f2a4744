//! Who stands for services of others inside of a yard: takes what is sent to them, and tells what that was.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lifeboat_plan::value::sink::{SinkAddress, SinkKind};
use lifeboat_postgres::yard::Inside;

use super::record::SinkSaw;
use crate::procedure::mailbox::Mailbox;

/// How much is taken of what is sent at once, and how long a silence is waited for.
const TAKEN_MAX: u64 = 16 << 20;
const SILENCE: Duration = Duration::from_secs(30);

/// How much is told of what came.
const TOLD_MAX: usize = 400;

/// Everybody who stands for somebody.
#[derive(Debug, Default)]
pub(crate) struct Sinks {
    sinks: Vec<(SinkAddress, Arc<Mutex<Taken>>)>,
}

#[derive(Debug, Default)]
struct Taken {
    came: u64,
    last: Option<String>,
}

impl Sinks {
    /// Has somebody stand for each of these services; all of them are reached at the yard's only address.
    pub(crate) fn open(
        inside: &Inside,
        addresses: &[SinkAddress],
        mails: &Mailbox,
    ) -> io::Result<Self> {
        let mut sinks = Self::default();
        for address in addresses {
            let port = (Ipv4Addr::UNSPECIFIED, address.port);
            // A listener stays in the network in which it was made.
            let listener = inside.on_thread(|| TcpListener::bind(port)).and_then(|bound| bound)?;
            let taken = Arc::<Mutex<Taken>>::default();
            sinks.sinks.push((address.clone(), Arc::clone(&taken)));
            let (kind, mails) = (address.kind, mails.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (taken, mails) = (Arc::clone(&taken), mails.clone());
                    thread::spawn(move || serve(kind, &stream, &taken, &mails));
                }
            });
        }
        Ok(sinks)
    }

    /// Returns what came.
    pub(super) fn saw(&self) -> Vec<SinkSaw> {
        let saw = self.sinks.iter().map(|(address, taken)| {
            let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            SinkSaw { address: address.to_string(), came: taken.came, last: taken.last.clone() }
        });
        saw.collect()
    }
}

fn serve(kind: SinkKind, stream: &TcpStream, taken: &Mutex<Taken>, mails: &Mailbox) {
    let told = stream.set_read_timeout(Some(SILENCE)).and_then(|()| match kind {
        SinkKind::Mail => take_mails(stream),
        SinkKind::Requests => take_request(stream).map(|request| request.into_iter().collect()),
    });
    // Who hangs up in the middle has sent nothing.
    for text in told.unwrap_or_default() {
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.came += 1;
        taken.last = Some(text.chars().take(TOLD_MAX).collect());
        if kind == SinkKind::Mail {
            mails.take();
        }
    }
}

/// Takes the mails of one connection (RFC 5321), and refuses nothing.
fn take_mails(stream: &TcpStream) -> io::Result<Vec<String>> {
    let (mut out, mut mails, mut mail) = (stream, Vec::new(), String::new());
    let mut lines = BufReader::new(stream.take(TAKEN_MAX)).lines();
    out.write_all(b"220 a drill\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "RCPT" => {
                mail.push_str(&line);
                mail.push('\n');
                "250 taken"
            }
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    mail.push_str(&line);
                    mail.push('\n');
                }
                mails.push(std::mem::take(&mut mail));
                "250 taken"
            }
            "QUIT" => {
                out.write_all(b"221 bye\r\n")?;
                break;
            }
            _ => "250 as you like",
        };
        out.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    Ok(mails)
}

/// Takes one request (RFC 9112), and answers that all is well.
fn take_request(stream: &TcpStream) -> io::Result<Option<String>> {
    let (mut out, mut reader) = (stream, BufReader::new(stream.take(TAKEN_MAX)));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if head.is_empty() {
            line.trim_end().clone_into(&mut head);
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let body = String::from_utf8_lossy(&body);
    Ok(Some(format!("{head} {body}")).filter(|_| !head.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(kind: SinkKind, text: &str) -> (u64, Option<String>, u64) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let (taken, mails) = (Mutex::default(), Mailbox::default());
        serve(kind, &listener.accept().unwrap().0, &taken, &mails);
        let taken = taken.into_inner().unwrap();
        (taken.came, taken.last, mails.count())
    }

    #[test]
    fn mails_and_requests_are_taken_and_what_breaks_off_is_not() {
        let mail = "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nHello\r\n.\r\nQUIT\r\n";
        let told = Some("RCPT TO:<c@d>\nHello\n".to_owned());
        assert_eq!(sent(SinkKind::Mail, mail), (1, told, 1));
        assert_eq!(sent(SinkKind::Mail, "EHLO a\r\n"), (0, None, 0));
        let request = "POST /hook HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
        let told = Some("POST /hook HTTP/1.1 hi".to_owned());
        assert_eq!(sent(SinkKind::Requests, request), (1, told, 0));
        assert_eq!(sent(SinkKind::Requests, ""), (0, None, 0));
    }
}
