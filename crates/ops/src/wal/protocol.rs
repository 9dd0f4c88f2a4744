//! What `lifeboat wal push` and `wal get` say to `wal serve` over its socket, and what it answers.
//!
//! One question and one answer a connection, each a line of JSON; the bytes of a file follow the answer
//! that names their length. A question names the file and the cluster's directory, never a path to read or
//! to write: the server reads of its own cluster's log alone, and whoever asked writes the file himself.

use std::path::PathBuf;

use lifeboat_postgres::wal::WalFileName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, BufReader};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};

/// The version of all of this; another one is answered with [`Verdict::NotMine`].
pub const VERSION: u32 = 1;

/// As long as a line may be: a path has at most 4096 bytes, a message some thousand.
const LINE_LENGTH_MAX: u64 = 32 << 10;

/// As long as a line may be that holds the report of a job, which names all that went wrong.
const REPORT_LENGTH_MAX: u64 = 64 << 20;

/// As many bytes as may follow: the largest segment.
const BODY_LENGTH_MAX: u64 = 1 << 30;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Archive the file.
    Push,
    /// Give the file.
    Get,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The version of the one that asks.
    pub version: u32,
    /// What is wanted.
    pub wish: Wish,
    /// Of which file.
    pub file: WalFileName,
    /// Of the cluster in this directory.
    pub directory: PathBuf,
}

/// What is said to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is archived; or so many bytes of the file follow.
    Done {
        /// How many bytes follow.
        length: u64,
    },
    /// The archive ends before it: proven.
    End,
    /// It did not work.
    Failed {
        /// Why.
        message: String,
    },
    /// It serves another cluster, or speaks otherwise: whoever asks has to do it himself.
    NotMine,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The version of the one that answers.
    pub version: u32,
    /// What is said.
    pub verdict: Verdict,
}

/// A line or a body was not what it should be.
fn malformed(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}

/// Writes a line.
pub async fn say<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    what: &T,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Answers a question that needs no more than a word.
pub async fn reply(
    stream: &mut (impl AsyncWrite + Unpin),
    verdict: Verdict,
) -> std::io::Result<()> {
    say(stream, &Reply { version: VERSION, verdict }).await?;
    stream.shutdown().await
}

/// Reads a line.
pub async fn hear<T: for<'de> Deserialize<'de>>(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<T> {
    hear_up_to(LINE_LENGTH_MAX, stream).await
}

/// Reads a line that may hold a report.
pub async fn hear_long<T: for<'de> Deserialize<'de>>(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<T> {
    hear_up_to(REPORT_LENGTH_MAX, stream).await
}

async fn hear_up_to<T: for<'de> Deserialize<'de>>(
    longest: u64,
    stream: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<T> {
    let mut line = Vec::new();
    (&mut *stream).take(longest).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(malformed("it ends within a line, or the line is too long"));
    }
    serde_json::from_slice(&line).map_err(malformed)
}

/// Reads the bytes that follow an answer.
pub async fn body(
    stream: &mut BufReader<impl AsyncRead + Unpin>,
    length: u64,
) -> std::io::Result<Vec<u8>> {
    if length > BODY_LENGTH_MAX {
        return Err(malformed("it claims to be longer than any segment"));
    }
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes).await?;
    let is_whole = bytes.len() as u64 == length;
    is_whole.then_some(bytes).ok_or_else(|| malformed("it ends within a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            version: VERSION,
            wish: Wish::Push,
            file: "000000010000000000000003".parse().unwrap(),
            directory: PathBuf::from("/var/lib/postgresql/data"),
        }
    }

    #[tokio::test]
    async fn what_is_said_is_heard() {
        let mut wire = Vec::new();
        say(&mut wire, &question()).await.unwrap();
        let reply = Reply { version: VERSION, verdict: Verdict::Done { length: 4 } };
        say(&mut wire, &reply).await.unwrap();
        wire.extend(b"file");
        let mut stream = BufReader::new(&wire[..]);
        assert_eq!(hear::<Question>(&mut stream).await.unwrap(), question());
        assert_eq!(hear::<Reply>(&mut stream).await.unwrap(), reply);
        assert_eq!(body(&mut stream, 4).await.unwrap(), b"file");
    }

    #[tokio::test]
    async fn what_is_cut_off_or_too_long_is_an_error() {
        let mut wire = Vec::new();
        say(&mut wire, &question()).await.unwrap();
        for length in 0..wire.len() {
            assert!(
                hear::<Question>(&mut BufReader::new(&wire[..length])).await.is_err(),
                "{length}"
            );
        }
        let endless = vec![b' '; 1 << 20];
        assert!(hear::<Question>(&mut BufReader::new(&endless[..])).await.is_err());
        assert!(body(&mut BufReader::new(&b"abc"[..]), 4).await.is_err());
        assert!(body(&mut BufReader::new(&b"abc"[..]), u64::MAX).await.is_err());
        // A name that is none never gets as far as a path.
        let text =
            serde_json::to_string(&question()).unwrap().replace("000000010000000000000003", "../x");
        assert!(
            hear::<Question>(&mut BufReader::new(format!("{text}\n").as_bytes())).await.is_err()
        );
    }
}
