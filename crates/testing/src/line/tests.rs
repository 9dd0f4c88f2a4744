//! A line in each weather, in front of a server that answers with what it was sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::*;

/// Answers each request with its body, and tells what it got on each connection; ends with the test.
struct Echo {
    address: SocketAddr,
    got: Receiver<Vec<u8>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, got) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut all = Vec::new();
                    while echo(&stream, &mut all).is_some() {}
                    let _ = sender.send(all);
                });
            }
        });
        Self { address, got }
    }
}

/// Answers one message; what is no request comes back as it is.
fn echo(mut stream: &TcpStream, all: &mut Vec<u8>) -> Option<()> {
    let mut message = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let came = stream.read(&mut piece).ok().filter(|came| *came > 0)?;
        message.extend_from_slice(&piece[..came]);
        all.extend_from_slice(&piece[..came]);
        if !message.starts_with(b"PUT") {
            return stream.write_all(&message).ok();
        }
        let Some(end) = message::head_end(&message) else { continue };
        let length = message::body_length(&message[..end]).unwrap_or(0);
        if (message.len() - end) as u64 == length {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            return stream.write_all(&[head.as_bytes(), &message[end..]].concat()).ok();
        }
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(line: &Line) -> Self {
        let stream = TcpStream::connect(line.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, target: &str, body: &[u8]) {
        let head = format!("PUT {target} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat()).unwrap();
    }

    /// Reads one answer: its head, and as much of its body as comes.
    fn answer(&mut self) -> (String, Vec<u8>) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).unwrap() == 0 {
                return (head, Vec::new());
            }
        }
        let length = message::body_length(head.as_bytes()).unwrap();
        let mut body = Vec::new();
        (&mut self.0).take(length).read_to_end(&mut body).unwrap();
        (head, body)
    }

    fn ask(&mut self, body: &[u8]) -> (String, Vec<u8>) {
        self.send("/a", body);
        self.answer()
    }
}

fn line(echo: &Echo, weather: Weather) -> Line {
    Line::to(echo.address, weather).unwrap()
}

fn with(rule: Rule) -> Weather {
    Weather::fair().with(rule)
}

#[test]
fn what_passes_is_counted_and_listed() {
    let echo = Echo::start();
    let line = line(&echo, Weather::fair());
    let mut client = Client::connect(&line);
    for body in [&b"first"[..], b"", b"third"] {
        let (head, back) = client.ask(body);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert_eq!(back, body);
    }
    let head = "PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n".len() as u64;
    let back = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".len() as u64;
    let (there_bytes, back_bytes) = (3 * head + 10, 3 * back + 10);
    let expected = Carried { connections: 1, requests: 3, troubles: 0, there_bytes, back_bytes };
    assert_eq!(line.carried(), expected);
    let asked = line.asked();
    assert!(
        asked.iter().all(|asked| (asked.method.as_str(), asked.target.as_str()) == ("PUT", "/a"))
    );
}

#[test]
fn what_is_no_http_passes_and_is_counted_in_bytes() {
    let echo = Echo::start();
    let line = line(&echo, with(Rule::requests(Trouble::Silence)));
    let mut stream = TcpStream::connect(line.address()).unwrap();
    stream.write_all(b"\x16\x03\x01").unwrap();
    let mut back = [0; 3];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"\x16\x03\x01");
    let carried = line.carried();
    assert_eq!((carried.requests, carried.there_bytes, carried.back_bytes), (0, 3, 3));
}

#[test]
fn a_round_trip_delays_and_does_not_throttle() {
    const ROUND_TRIP: Duration = Duration::from_millis(30);
    const BODY_BYTES: usize = 16 << 20;
    let echo = Echo::start();
    let line = line(&echo, Weather::fair().round_trip(ROUND_TRIP));
    let mut client = Client::connect(&line);
    let began = Instant::now();
    client.ask(b"x");
    assert!(began.elapsed() >= 2 * ROUND_TRIP, "a handshake and a request: {:?}", began.elapsed());
    let began = Instant::now();
    client.ask(b"x");
    assert!(began.elapsed() >= ROUND_TRIP, "{:?}", began.elapsed());
    let began = Instant::now();
    let (_, back) = client.ask(&vec![7; BODY_BYTES]);
    assert_eq!(back.len(), BODY_BYTES);
    // Were each piece waited for before the next, this would take sixty times as long.
    assert!(began.elapsed() < 60 * ROUND_TRIP, "{:?}", began.elapsed());
}

#[test]
fn a_cut_lets_pass_what_stands_before_it() {
    let echo = Echo::start();
    let line = line(&echo, with(Rule::requests(Trouble::Cut(Way::There, At::Half))));
    let mut client = Client::connect(&line);
    let (head, _) = client.ask(b"0123456789");
    assert_eq!(head, "", "the connection is closed");
    assert!(echo.got.recv().unwrap().ends_with(b"\r\n\r\n01234"));

    line.set(with(Rule::requests(Trouble::Cut(Way::Back, At::Body(3)))));
    let (_, back) = Client::connect(&line).ask(b"0123456789");
    assert_eq!(back, b"012");
    line.set(with(Rule::requests(Trouble::Cut(Way::Back, At::Byte(0)))));
    let (head, _) = Client::connect(&line).ask(b"0123456789");
    assert_eq!(head, "", "the answer is lost");
    echo.got.recv().unwrap();
    assert!(echo.got.recv().unwrap().ends_with(b"0123456789"), "and the request was not");

    line.set(with(Rule::connections(Trouble::Cut(Way::Back, At::Byte(5)))));
    let mut stream = TcpStream::connect(line.address()).unwrap();
    stream.write_all(b"no request of HTTP").unwrap();
    let mut back = Vec::new();
    // What was sent and not read may make the end an error.
    let _ = stream.read_to_end(&mut back);
    assert_eq!(back, b"no re");
}

#[test]
fn one_bit_is_altered_on_its_way() {
    let echo = Echo::start();
    for way in [Way::There, Way::Back] {
        let altered = Rule::requests(Trouble::Alter(way, At::Body(1))).nth(2);
        let line = line(&echo, with(altered));
        let mut client = Client::connect(&line);
        let answers = [(); 3].map(|()| client.ask(b"000").1);
        assert_eq!(answers, [b"000", b"010", b"000"], "{way:?}");
        assert_eq!(line.carried().troubles, 1);
    }
}

#[test]
fn who_is_silent_takes_everything_and_answers_nothing() {
    let echo = Echo::start();
    let silent =
        [Rule::requests(Trouble::Silence).about("/a"), Rule::connections(Trouble::Silence)];
    for rule in silent {
        let line = line(&echo, with(rule));
        let mut client = Client::connect(&line);
        client.send("/a", &vec![0; 1 << 20]);
        client.0.get_ref().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let error = client.0.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        assert_eq!(line.carried().troubles, 1);
    }
}

#[test]
fn a_storm_answers_in_the_servers_place_and_passes() {
    let echo = Echo::start();
    let reply = Reply::status(503).retry_after(1).body("<Code>SlowDown</Code>");
    let storm = Rule::method("PUT", Trouble::Answer(reply)).about("/a").first(2);
    let line = line(&echo, with(storm));
    let mut client = Client::connect(&line);
    client.send("/b", b"other");
    assert_eq!(client.answer().1, b"other");
    for _ in 0..2 {
        let (head, body) = client.ask(b"body");
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("Retry-After: 1\r\n"), "{head}");
        assert_eq!(body, b"<Code>SlowDown</Code>");
    }
    assert_eq!(client.ask(b"body").1, b"body");
    drop(client);
    let got = String::from_utf8(echo.got.recv().unwrap()).unwrap();
    assert_eq!(got.matches("PUT /a").count(), 1, "{got}");
    let struck: Vec<bool> = line.asked().iter().map(|asked| asked.trouble.is_some()).collect();
    assert_eq!(struck, [false, true, true, false]);
}

#[test]
fn a_seed_decides_what_has_a_chance() {
    let echo = Echo::start();
    let struck = |seed| {
        let some = Rule::requests(Trouble::Answer(Reply::status(429))).chance(0.5);
        let line = line(&echo, with(some).seed(seed));
        let mut client = Client::connect(&line);
        (0..32).map(|_| client.ask(b"x").0.contains("429")).collect::<Vec<bool>>()
    };
    assert_eq!(struck(1), struck(1));
    assert_ne!(struck(1), struck(2));
}

#[test]
fn a_line_that_is_dropped_is_gone_with_its_connections() {
    let echo = Echo::start();
    let line = line(&echo, Weather::fair());
    let mut client = Client::connect(&line);
    client.ask(b"x");
    let address = line.address();
    drop(line);
    assert_eq!(client.0.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(address).is_err());
}
