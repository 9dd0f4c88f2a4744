//! Services of others, as far as a platform can tell: they take what is sent to them, and tell what that was.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Takes what somebody sends and tells of it, before the answer that lets them go on: so what was sent in an order is told
/// in it, and all is told once they are gone.
type Take = fn(TcpStream, &dyn Fn(String)) -> std::io::Result<()>;

/// Takes mails, or what HTTP brings, until the process ends.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    /// Takes mails; each is told as its recipients and its text.
    pub fn of_mail() -> std::io::Result<Self> {
        Self::listen(take_mail)
    }

    /// Takes requests; each is told as its method, path and body.
    pub fn of_requests() -> std::io::Result<Self> {
        Self::listen(take_request)
    }

    fn listen(take: Take) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, taken) = (listener.local_addr()?, Arc::<Mutex<Vec<_>>>::default());
        let told = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = Arc::clone(&told);
                thread::spawn(move || {
                    // Who goes in the middle of it sent nothing.
                    _ = take(stream, &|text| {
                        told.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    });
                });
            }
        });
        Ok(Self { address, taken })
    }

    /// Returns its port on this host.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns what came since this was asked last.
    pub fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn take_mail(mut stream: TcpStream, tell: &dyn Fn(String)) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut mail = String::new();
    stream.write_all(b"220 sink\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let answer = match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str()
        {
            "RCPT" => {
                mail.push_str(&line);
                mail.push('\n');
                "250 taken"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let text = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".");
                mail.push_str(&text.collect::<Vec<_>>().join("\n"));
                "250 taken"
            }
            "QUIT" => {
                if !mail.is_empty() {
                    tell(std::mem::take(&mut mail));
                }
                stream.write_all(b"221 bye\r\n")?;
                break;
            }
            _ => "250 sink",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
    }
    if !mail.is_empty() {
        tell(mail);
    }
    Ok(())
}

fn take_request(mut stream: TcpStream, tell: &dyn Fn(String)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if head.is_empty() {
            line.trim_end().trim_end_matches(" HTTP/1.1").clone_into(&mut head);
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    if !head.is_empty() {
        tell(format!("{head} {body}"));
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}
