//! The two streams: answers go to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Read, Write};

use lifeboat_model::{Cancel, Exit};

use crate::failure::{CommandError, Failure, Interrupted};
use crate::render::{self, Answer, Paint, Sort};

/// How much of a stream is passed on at once.
const STREAM_BUFFER_BYTES: usize = 256 << 10;

/// Where and in which form a command speaks.
#[derive(Debug, Clone)]
pub struct Screen {
    /// Answers are JSON documents.
    pub json: bool,
    /// Remarks and progress are left out.
    pub quiet: bool,
    /// How answers are coloured.
    pub out: Paint,
    /// How errors are coloured.
    pub err: Paint,
}

impl Screen {
    /// Prints an answer, unless nobody wants to be told that all went well.
    pub fn answer<A: Answer>(&self, answer: &A, exit: Exit) -> Result<(), CommandError> {
        if !self.json && !self.wants(answer, exit) {
            return Ok(());
        }
        let text = if self.json {
            render::document(A::SCHEMA, answer).map_err(CommandError::Document)?
        } else {
            render::text(answer, self.out)
        };
        print(text.as_bytes())
    }

    /// Prints an answer where talk goes, since standard output holds something else.
    pub fn answer_aside<A: Answer>(&self, answer: &A, exit: Exit) {
        if self.wants(answer, exit) {
            talk(&render::text(answer, self.err));
        }
    }

    /// With `--quiet` nobody wants to be told that all went well.
    fn wants<A: Answer>(&self, answer: &A, exit: Exit) -> bool {
        !self.quiet || exit != Exit::Done || answer.sort() == Sort::Data
    }

    /// Prints an error; with `--json` as a document on standard output too.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            // An answer that could not be printed was reported as the error already.
            _ = print(render::failure::json(failure).as_bytes());
        }
        talk(&render::failure::text(failure, self.err));
    }

    /// Prints talk: what is being done, what to do next.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            talk(&format!("{text}\n"));
        }
    }

    /// Tells whether a progress bar may be drawn.
    pub fn draws_progress(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }
}

/// Prints text or bytes that are the answer as they are, like a file's content.
pub fn print(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Whoever reads may stop reading; the work behind the answer is done.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(unwritable),
    }
}

/// Prints what a reader gives, until its end or until nobody reads any more.
pub fn stream(reader: &mut impl Read, cancel: &Cancel) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; STREAM_BUFFER_BYTES];
    loop {
        cancel.check().map_err(Interrupted::from)?;
        let read = |source| CommandError::System { action: "read the file", source };
        let count = reader.read(&mut buffer).map_err(read)?;
        let written = if count == 0 { out.flush() } else { out.write_all(&buffer[..count]) };
        match written {
            Ok(()) if count > 0 => (),
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(unwritable(error).into()),
        }
    }
}

/// Prints talk that may not be left out: an error, or what is to be known before a question.
pub fn talk(text: &str) {
    pass_on(text.as_bytes());
}

/// Prints what somebody else has to say, as it is.
pub fn pass_on(said: &[u8]) {
    let mut err = io::stderr().lock();
    // There is nowhere left to say that standard error cannot be written.
    _ = err.write_all(said).and_then(|()| err.flush());
}

const fn unwritable(source: io::Error) -> CommandError {
    CommandError::System { action: "write to standard output", source }
}
