//! As much of HTTP/1.1 as it takes to tell requests apart. Pure.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest head of a request; what goes on longer is taken for something else than HTTP.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The longest name of a method.
const METHOD_BYTES_MAX: usize = 16;

/// Returns where the head ends, if it does.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    bytes.windows(END.len()).position(|window| window == END).map(|at| at + END.len())
}

/// Returns a header of a head.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut found = fields.filter(|(field, _)| field.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

/// Returns the length of the body that a head announces.
pub(super) fn body_length(head: &[u8]) -> Option<u64> {
    header(std::str::from_utf8(head).ok()?, "content-length")?.parse().ok()
}

/// What a client sends, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A request begins, with its whole head.
    Request { method: String, target: String, head: Bytes },
    /// Some of its body.
    Body(Bytes),
    /// All of it came.
    End,
    /// Something else than HTTP.
    Other(Bytes),
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Body(u64),
    Other,
}

/// Takes what a client sends apart, however it is cut into pieces.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    held: BytesMut,
}

impl Splitter {
    pub(super) fn new() -> Self {
        Self { state: State::Head, held: BytesMut::new() }
    }

    /// Takes the next bytes; a head that is not complete yet is held back.
    pub(super) fn push(&mut self, mut bytes: Bytes) -> Vec<Part> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            match self.state {
                State::Other => parts.push(Part::Other(std::mem::take(&mut bytes))),
                State::Body(left) => self.take_body(left, &mut bytes, &mut parts),
                State::Head => self.take_head(&mut bytes, &mut parts),
            }
        }
        parts
    }

    fn take_body(&mut self, left: u64, bytes: &mut Bytes, parts: &mut Vec<Part>) {
        let some = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        parts.push(Part::Body(bytes.split_to(some)));
        self.await_body(left - some as u64, parts);
    }

    fn await_body(&mut self, left: u64, parts: &mut Vec<Part>) {
        self.state = State::Body(left);
        if left == 0 {
            self.state = State::Head;
            parts.push(Part::End);
        }
    }

    fn take_head(&mut self, bytes: &mut Bytes, parts: &mut Vec<Part>) {
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        let Some(end) = head_end(&self.held) else {
            bytes.clear();
            if !may_become_request(&self.held) {
                self.give_up(parts);
            }
            return;
        };
        let Some((method, target, length)) = request(&self.held[..end]) else {
            bytes.clear();
            self.give_up(parts);
            return;
        };
        bytes.advance(end - before);
        let head = self.held.split().freeze().slice(..end);
        parts.push(Part::Request { method, target, head });
        self.await_body(length, parts);
    }

    fn give_up(&mut self, parts: &mut Vec<Part>) {
        self.state = State::Other;
        parts.push(Part::Other(self.held.split().freeze()));
    }
}

/// Tells whether a request may begin like this.
fn may_become_request(bytes: &[u8]) -> bool {
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    bytes.len() <= HEAD_BYTES_MAX
        && method.len() <= METHOD_BYTES_MAX
        && method.iter().all(u8::is_ascii_uppercase)
}

/// Reads method, target and the length of the body out of a whole head.
fn request(head: &[u8]) -> Option<(String, String, u64)> {
    let text = std::str::from_utf8(head).ok()?;
    let mut words = text.lines().next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    if !may_become_request(head) || !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    if header(text, "transfer-encoding").is_some() {
        return None;
    }
    Some((method.to_owned(), target.to_owned(), body_length(head).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8], size: usize) -> Vec<Part> {
        let mut splitter = Splitter::new();
        let pieces =
            text.chunks(size).flat_map(|piece| splitter.push(Bytes::copy_from_slice(piece)));
        let mut parts: Vec<Part> = Vec::new();
        for part in pieces {
            match (parts.last_mut(), part) {
                (Some(Part::Body(before)), Part::Body(more))
                | (Some(Part::Other(before)), Part::Other(more)) => {
                    *before = [before.as_ref(), &more].concat().into();
                }
                (_, part) => parts.push(part),
            }
        }
        parts
    }

    #[test]
    fn requests_are_told_apart_however_they_come() {
        let put = "PUT /a?b HTTP/1.1\r\ncontent-length: 3\r\n\r\n";
        let get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = |head: &'static str, method: &str, target: &str| Part::Request {
            method: method.to_owned(),
            target: target.to_owned(),
            head: Bytes::from_static(head.as_bytes()),
        };
        let text = format!("{put}abc{get}");
        for size in 1..=text.len() {
            let expected = [
                request(put, "PUT", "/a?b"),
                Part::Body(Bytes::from_static(b"abc")),
                Part::End,
                request(get, "GET", "/a"),
                Part::End,
            ];
            assert_eq!(split(text.as_bytes(), size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_request_passes_as_it_is() {
        for text in [
            &b"\x16\x03\x01\x02"[..],
            b"SSH-2.0-x\r\n",
            b"NOISE\r\n\r\nmore",
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
        ] {
            for size in 1..=text.len() {
                assert_eq!(split(text, size), [Part::Other(Bytes::copy_from_slice(text))]);
            }
        }
    }
}
