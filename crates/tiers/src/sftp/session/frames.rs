//! What comes from a server, held to the lengths that an answer may have.
//!
//! Whoever reads answers believes the length that stands before each: one that is too short would make it
//! panic, one that is too long would make it take memory that is merely claimed.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// No answer is longer: twice the most that is asked for at once.
pub(super) const ANSWER_BYTES_MAX: u32 = 2 << 20;

/// Kind and version; extensions may follow.
const GREETING_BYTES_MIN: u32 = 5;

/// Kind, number of the request, and a number more.
const ANSWER_BYTES_MIN: u32 = 9;

/// A stream of answers, which counts that something comes.
pub(super) struct Frames<'a, R> {
    inner: R,
    moved: &'a AtomicU64,
    lengths: Lengths,
}

impl<'a, R> Frames<'a, R> {
    pub(super) fn new(inner: R, moved: &'a AtomicU64) -> Self {
        Self { inner, moved, lengths: Lengths::default() }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Frames<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read {
            self.moved.fetch_add(1, Ordering::Relaxed);
            self.lengths.check(&buffer.filled()[before..])?;
        }
        read
    }
}

/// Where in the stream of answers one is.
#[derive(Debug, Default)]
struct Lengths {
    greeted: bool,
    /// The bytes of a length that came so far.
    length: [u8; 4],
    came: usize,
    /// How much of the answer is still to come.
    left: usize,
}

impl Lengths {
    fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            self.length[self.came] = *first;
            self.came += 1;
            bytes = &bytes[1..];
            if self.came == self.length.len() {
                self.begin(u32::from_be_bytes(self.length))?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, length: u32) -> io::Result<()> {
        let least = if self.greeted { ANSWER_BYTES_MIN } else { GREETING_BYTES_MIN };
        if !(least..=ANSWER_BYTES_MAX).contains(&length) {
            let odd = format!("the server's answer makes no sense: it is to have {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, odd));
        }
        (self.greeted, self.came, self.left) = (true, 0, length as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(length: u32) -> Vec<u8> {
        [length.to_be_bytes().to_vec(), vec![7; length as usize]].concat()
    }

    #[test]
    fn answers_are_followed_however_they_are_cut() {
        let stream = [answer(5), answer(9), answer(300)].concat();
        for cut in 1..20 {
            let mut lengths = Lengths::default();
            for part in stream.chunks(cut) {
                lengths.check(part).unwrap();
            }
            assert_eq!((lengths.left, lengths.came), (0, 0), "{cut}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for (before, length) in [
            (vec![], 4),
            (vec![], u32::MAX),
            // What a shell prints when somebody logs in.
            (vec![], u32::from_be_bytes(*b"Last")),
            (answer(5), 8),
            (answer(5), ANSWER_BYTES_MAX + 1),
        ] {
            let mut lengths = Lengths::default();
            lengths.check(&before).unwrap();
            assert!(lengths.check(&length.to_be_bytes()).is_err(), "{length}");
        }
    }
}
