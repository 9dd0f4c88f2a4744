//! How answers and errors look: for a person as text, for a program as one JSON document.
//!
//! A command's answer implements [`Answer`]; `screen` decides which of the two forms is printed.

pub mod diagnostic;
mod ending;
pub mod failure;
mod findings;
pub mod paint;
pub mod profile;
mod requests;
mod restored;
pub mod table;
pub mod time;

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

pub use ending::{tone_of, write_verification};
pub use findings::{exit_of, findings};
pub use paint::{Paint, Tone};
pub use requests::{write_all_traffic, write_requests, write_traffic};
pub use restored::RestoredFiles;
pub use table::{Cell, Table};

/// A path of a file, which need not be text.
///
/// A person is shown `\xff` for a byte that is no text and for a control character, which a terminal
/// would obey. A program gets `\u{fffd}` for what is no text, and all bytes beside it
/// ([`ShownPath::raw`]).
#[derive(Debug, Clone)]
pub struct ShownPath(pub PathBuf);

impl ShownPath {
    /// Returns all bytes in base64, if they are not text.
    pub fn raw(&self) -> Option<String> {
        let bytes = self.0.as_os_str().as_bytes();
        self.0.to_str().is_none().then(|| STANDARD.encode(bytes))
    }
}

impl fmt::Display for ShownPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for ShownPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string_lossy())
    }
}

/// How many lines of one sort a person is shown; a program gets all of them.
const LINES_SHOWN: usize = 20;

/// Why somebody reads an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// It is what was asked for.
    Data,
    /// It tells what was done; `--quiet` leaves it out where all went well.
    Summary,
}

/// What a command answers.
pub trait Answer: Serialize {
    /// The name and version of the JSON document's shape; `docs/json.md` describes each.
    const SCHEMA: &'static str;

    /// Tells why somebody reads it.
    fn sort(&self) -> Sort {
        Sort::Data
    }

    /// Writes the answer for a person.
    fn write(&self, page: &mut Page) -> fmt::Result;
}

/// A text that is being written for a person.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// How words are coloured here.
    pub paint: Paint,
}

impl Page {
    /// Returns an empty page.
    pub const fn new(paint: Paint) -> Self {
        Self { text: String::new(), paint }
    }

    /// Returns what was written.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Writes a line for each of the first few things, and how many more there are: those that are left out here, and
    /// those that were left out before.
    pub fn lines<T>(
        &mut self,
        things: &[T],
        more: u64,
        line: impl Fn(&T) -> String,
    ) -> fmt::Result {
        for thing in things.iter().take(LINES_SHOWN) {
            writeln!(self, "{}", line(thing))?;
        }
        self.left_out(things.len(), more)
    }

    /// Says how many of so many things are not among the first few.
    fn left_out(&mut self, things: usize, more: u64) -> fmt::Result {
        let hidden = things.saturating_sub(LINES_SHOWN) as u64;
        match hidden.saturating_add(more) {
            0 => Ok(()),
            more => writeln!(self, "and {more} more; `--json` lists them"),
        }
    }

    /// Adds a table.
    pub fn table(&mut self, table: &Table) {
        self.text.push_str(&table.to_text(self.paint));
    }
}

impl fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        Ok(())
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(flatten)]
    body: Map<String, Value>,
}

/// Writes `body` as a JSON document of the shape `schema`.
pub fn document<T: Serialize>(schema: &'static str, body: &T) -> serde_json::Result<String> {
    let Value::Object(mut body) = serde_json::to_value(body)? else {
        unreachable!("an answer is a struct")
    };
    // Reports of the operations carry the version of their own shape; the document's name says more.
    body.remove("schema");
    let mut text = serde_json::to_string_pretty(&Document { schema, body })?;
    text.push('\n');
    Ok(text)
}

/// Writes an answer for a person.
pub fn text(answer: &impl Answer, paint: Paint) -> String {
    let mut page = Page::new(paint);
    answer.write(&mut page).expect("writing into a String cannot fail");
    page.into_text()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn of_many_lines_the_first_are_shown_and_the_rest_counted() {
        let shown = |count: usize, more| {
            let mut page = Page::new(Paint::Plain);
            let things: Vec<_> = (0..count).collect();
            page.lines(&things, more, |thing| format!("line {thing}")).unwrap();
            page.into_text()
        };
        assert_eq!(shown(2, 0), "line 0\nline 1\n");
        assert_eq!(shown(LINES_SHOWN, 0).lines().count(), LINES_SHOWN);
        let many = shown(LINES_SHOWN + 3, 2);
        assert_eq!(many.lines().count(), LINES_SHOWN + 1);
        assert!(many.ends_with("line 19\nand 5 more; `--json` lists them\n"), "{many}");
        assert_eq!(shown(0, 4), "and 4 more; `--json` lists them\n");
    }

    #[test]
    fn a_name_that_is_no_text_is_neither_lost_nor_obeyed() {
        let raw = |bytes: &[u8]| ShownPath(OsStr::from_bytes(bytes).into());
        let odd = raw(b"/a\xff\x1b[2J");
        assert_eq!(odd.to_string(), "/a\\xff\\u{1b}[2J");
        assert_eq!(odd.raw().unwrap(), "L2H/G1sySg==");
        assert_eq!(serde_json::to_value(&odd).unwrap(), "/a\u{fffd}\u{1b}[2J");
        assert_eq!((raw("/ä b".as_bytes()).to_string(), raw(b"/a").raw()), ("/ä b".into(), None));
    }

    #[derive(Serialize)]
    struct Greeting {
        name: &'static str,
    }

    impl Answer for Greeting {
        const SCHEMA: &'static str = "lifeboat.greeting/1";

        fn write(&self, page: &mut Page) -> fmt::Result {
            writeln!(page, "hello {}", self.name)
        }
    }

    #[test]
    fn an_answer_has_two_forms() {
        let answer = Greeting { name: "you" };
        assert_eq!(text(&answer, Paint::Plain), "hello you\n");
        assert_eq!(
            document(Greeting::SCHEMA, &answer).unwrap(),
            "{\n  \"schema\": \"lifeboat.greeting/1\",\n  \"name\": \"you\"\n}\n"
        );
    }
}
