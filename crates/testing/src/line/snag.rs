//! Where in a flow of bytes it is cut or altered. Pure.

use bytes::{Bytes, BytesMut};

use super::message;
use super::weather::{At, Trouble, Way};

/// What is done at the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Cut,
    Alter,
}

/// What passes of some bytes, and whether anything may follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) bytes: Bytes,
    pub(super) is_cut: bool,
}

/// One message, or one direction of a connection, with what befalls it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    snag: Option<(Act, At)>,
    /// How many bytes came.
    came: u64,
    /// The head as far as it came, while it matters where it ends.
    head: BytesMut,
    /// Where the place is, once that is known.
    place: Option<u64>,
}

impl Flow {
    /// A flow that this trouble befalls, if it is one of this direction.
    pub(super) fn new(trouble: Option<&Trouble>, way: Way) -> Self {
        let snag = match trouble {
            Some(Trouble::Cut(on, at)) if *on == way => Some((Act::Cut, *at)),
            Some(Trouble::Alter(on, at)) if *on == way => Some((Act::Alter, *at)),
            _ => None,
        };
        Self { snag, ..Self::default() }
    }

    /// Takes the next bytes and returns what passes of them.
    pub(super) fn take(&mut self, bytes: Bytes) -> Passed {
        let from = self.came;
        self.came += bytes.len() as u64;
        let Some((act, at)) = self.snag else { return Passed { bytes, is_cut: false } };
        if self.place.is_none() {
            self.place = self.find(at, &bytes);
        }
        match self.place {
            Some(place) if (from..self.came).contains(&place) => {
                let index = usize::try_from(place - from).expect("it lies within these bytes");
                strike(act, &bytes, index)
            }
            // A body that ends where it is to be cut.
            Some(place) if act == Act::Cut && place == self.came => Passed { bytes, is_cut: true },
            _ => Passed { bytes, is_cut: false },
        }
    }

    fn find(&mut self, at: At, bytes: &Bytes) -> Option<u64> {
        if let At::Byte(byte) = at {
            return Some(byte);
        }
        self.head.extend_from_slice(bytes);
        let end = message::head_end(&self.head)?;
        let within = match at {
            At::Half => message::body_length(&self.head[..end]).unwrap_or(0) / 2,
            At::Byte(byte) | At::Body(byte) => byte,
        };
        Some(end as u64 + within)
    }
}

fn strike(act: Act, bytes: &Bytes, index: usize) -> Passed {
    match act {
        Act::Cut => Passed { bytes: bytes.slice(..index), is_cut: true },
        Act::Alter => {
            let mut altered = BytesMut::from(bytes.as_ref());
            altered[index] ^= 1;
            Passed { bytes: altered.freeze(), is_cut: false }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "PUT / HTTP/1.1\r\nContent-Length: 6\r\n\r\n012345";

    /// Returns what passes of the message, however it is cut into pieces, and whether it was cut.
    fn passed(trouble: &Trouble, size: usize) -> (String, bool) {
        let mut flow = Flow::new(Some(trouble), Way::There);
        let mut text = String::new();
        for piece in MESSAGE.as_bytes().chunks(size) {
            let passed = flow.take(Bytes::copy_from_slice(piece));
            text += std::str::from_utf8(&passed.bytes).unwrap();
            if passed.is_cut {
                return (text, true);
            }
        }
        (text, false)
    }

    #[test]
    fn the_place_is_found_however_the_bytes_come() {
        let head = &MESSAGE[..MESSAGE.len() - 6];
        for size in 1..=MESSAGE.len() {
            for (at, left) in [
                (At::Byte(0), String::new()),
                (At::Byte(3), "PUT".to_owned()),
                (At::Body(0), head.to_owned()),
                (At::Half, format!("{head}012")),
                (At::Body(6), MESSAGE.to_owned()),
            ] {
                let cut = passed(&Trouble::Cut(Way::There, at), size);
                assert_eq!(cut, (left, true), "{at:?} in pieces of {size}");
            }
            let altered = passed(&Trouble::Alter(Way::There, At::Half), size);
            assert_eq!(altered, (format!("{head}012245"), false), "in pieces of {size}");
            let other = passed(&Trouble::Cut(Way::Back, At::Byte(0)), size);
            assert_eq!(other, (MESSAGE.to_owned(), false));
        }
    }
}
