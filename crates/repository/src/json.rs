//! JSON as Go's encoder writes it, byte for byte.
//!
//! restic re-encodes trees and compares; a tree of ours that its encoder would have written in
//! another way would be refused by `restic rewrite` and replaced by `restic repair snapshots`.
//!
//! What differs from other encoders: `<`, `>`, `&`, U+2028 and U+2029 are escaped; bytes that are
//! not UTF-8 become `\ufffd`; a file's name goes through `strconv.Quote` before. Backspace and form
//! feed are written as `\b` and `\f`, as Go does since 1.22.
//!
//! Sources: Go `encoding/json/encode.go` (`appendString`), `strconv/quote.go`.

use std::fmt::{self, Write as _};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::printable::is_printable;

/// Writes one object, field by field.
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    buffer: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> ObjectWriter<'a> {
    /// Begins an object.
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        buffer.push(b'{');
        Self { buffer, first: true }
    }

    /// Writes a field's name and returns the buffer for its value.
    pub fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.buffer.push(b',');
        }
        write_text(self.buffer, name.as_bytes());
        self.buffer.push(b':');
        self.buffer
    }

    /// Writes a text.
    pub fn text(&mut self, name: &str, text: &[u8]) {
        write_text(self.field(name), text);
    }

    /// Writes a text, unless it is empty.
    pub fn text_unless_empty(&mut self, name: &str, text: &[u8]) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    /// Writes a number.
    pub fn number(&mut self, name: &str, number: u64) {
        write_number(self.field(name), number);
    }

    /// Writes a number, unless it is zero.
    pub fn number_unless_zero(&mut self, name: &str, number: u64) {
        if number != 0 {
            self.number(name, number);
        }
    }

    /// Ends the object.
    pub fn end(self) {
        self.buffer.push(b'}');
    }
}

/// Writes the items of an array with `write`.
pub fn write_array<T>(
    buffer: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    buffer.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        write(buffer, item);
    }
    buffer.push(b']');
}

/// Writes bytes as a text in base64.
pub fn write_base64(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.push(b'"');
    buffer.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    buffer.push(b'"');
}

/// Writes a number.
pub fn write_number(buffer: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + u8::try_from(number % 10).expect("one digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[begin..]);
}

/// Tells whether a byte is written as it is wherever it stands: in texts and in names.
pub const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

/// Writes a file's name.
pub fn write_name(buffer: &mut Vec<u8>, name: &[u8]) {
    if name.iter().all(|byte| is_plain(*byte)) {
        write_text(buffer, name);
    } else {
        write_text(buffer, quote(name).as_bytes());
    }
}

/// Writes a text that need not be UTF-8.
pub fn write_text(buffer: &mut Vec<u8>, text: &[u8]) {
    buffer.push(b'"');
    if text.iter().all(|byte| is_plain(*byte)) {
        buffer.extend_from_slice(text);
        buffer.push(b'"');
        return;
    }
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            write_char(buffer, c);
        }
        // Go replaces every single byte; Rust's chunk may hold up to three.
        for _ in chunk.invalid() {
            buffer.extend_from_slice(b"\\ufffd");
        }
    }
    buffer.push(b'"');
}

fn write_char(buffer: &mut Vec<u8>, c: char) {
    match c {
        '"' => buffer.extend_from_slice(b"\\\""),
        '\\' => buffer.extend_from_slice(b"\\\\"),
        '\u{8}' => buffer.extend_from_slice(b"\\b"),
        '\u{c}' => buffer.extend_from_slice(b"\\f"),
        '\n' => buffer.extend_from_slice(b"\\n"),
        '\r' => buffer.extend_from_slice(b"\\r"),
        '\t' => buffer.extend_from_slice(b"\\t"),
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            buffer.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
        }
        _ => buffer.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Quotes a name as Go's `strconv.Quote` does, without the quotes around it.
pub fn quote(name: &[u8]) -> String {
    let mut quoted = String::with_capacity(name.len());
    write_quoted(&mut quoted, name).expect("a string takes all that is written");
    quoted
}

fn write_quoted(quoted: &mut String, name: &[u8]) -> fmt::Result {
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            write_quoted_char(quoted, c)?;
        }
        for byte in chunk.invalid() {
            write!(quoted, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

fn write_quoted_char(quoted: &mut String, c: char) -> fmt::Result {
    match c {
        '"' => quoted.write_str("\\\""),
        '\\' => quoted.write_str("\\\\"),
        c if is_printable(c) => quoted.write_char(c),
        '\u{7}' => quoted.write_str("\\a"),
        '\u{8}' => quoted.write_str("\\b"),
        '\u{c}' => quoted.write_str("\\f"),
        '\n' => quoted.write_str("\\n"),
        '\r' => quoted.write_str("\\r"),
        '\t' => quoted.write_str("\\t"),
        '\u{b}' => quoted.write_str("\\v"),
        '\0'..='\u{1f}' | '\u{7f}' => write!(quoted, "\\x{:02x}", u32::from(c)),
        '\0'..='\u{ffff}' => write!(quoted, "\\u{:04x}", u32::from(c)),
        _ => write!(quoted, "\\U{:08x}", u32::from(c)),
    }
}

/// Undoes [`quote`]; nothing if the text was not quoted by its rules.
pub fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(position) = rest.find(['\\', '"', '\n']) {
        name.extend_from_slice(&rest.as_bytes()[..position]);
        let escape = rest[position..].strip_prefix('\\')?;
        let kind = escape.chars().next()?;
        let after = &escape[kind.len_utf8()..];
        rest = match kind {
            'x' => unquote_byte(&mut name, after, 2, 16)?,
            '0'..='7' => unquote_byte(&mut name, escape, 3, 8)?,
            'u' => unquote_char(&mut name, after, 4)?,
            'U' => unquote_char(&mut name, after, 8)?,
            _ => {
                name.push(unquote_simple(kind)?);
                after
            }
        };
    }
    name.extend_from_slice(rest.as_bytes());
    Some(name)
}

const fn unquote_simple(kind: char) -> Option<u8> {
    Some(match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        _ => return None,
    })
}

fn unquote_byte<'a>(
    name: &mut Vec<u8>,
    text: &'a str,
    digits: usize,
    radix: u32,
) -> Option<&'a str> {
    let (number, rest) = split_digits(text, digits, radix)?;
    name.push(u8::try_from(number).ok()?);
    Some(rest)
}

fn unquote_char<'a>(name: &mut Vec<u8>, text: &'a str, digits: usize) -> Option<&'a str> {
    let (number, rest) = split_digits(text, digits, 16)?;
    name.extend_from_slice(char::from_u32(number)?.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

fn split_digits(text: &str, digits: usize, radix: u32) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    let all_digits = number.chars().all(|c| c.is_digit(radix));
    all_digits.then(|| Some((u32::from_str_radix(number, radix).ok()?, rest)))?
}

/// Bytes that stand as base64 in a document, for `#[serde(with)]`.
pub mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes bytes as a text in base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads bytes from a text in base64; `null` is no bytes, as for Go.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        STANDARD.decode(text.unwrap_or_default()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut buffer = Vec::new();
        write_text(&mut buffer, bytes);
        String::from_utf8(buffer).unwrap()
    }

    /// Each right side is what Go 1.22 prints for `json.Marshal` of the left.
    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        for (raw, escaped) in [
            (&b"plain"[..], r#""plain""#),
            (b"a\"b\\c/d", r#""a\"b\\c/d""#),
            (b"<a href=x>&", r#""\u003ca href=x\u003e\u0026""#),
            (
                b"\0\x01\x08\x09\x0a\x0b\x0c\x0d\x1f\x7f",
                "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\x7f\"",
            ),
            (
                "\u{2028}\u{2029}\u{200b}é😀\u{fffd}".as_bytes(),
                "\"\\u2028\\u2029\u{200b}é😀\u{fffd}\"",
            ),
            (b"a\xffb", r#""a\ufffdb""#),
            (b"\xe2\x82", r#""\ufffd\ufffd""#),
        ] {
            assert_eq!(text(raw), escaped);
        }
    }

    /// Each right side is what Go prints for `strconv.Quote` of the left, without the quotes.
    #[test]
    fn names_are_quoted_as_go_quotes_them() {
        for (raw, quoted) in [
            (&b"plain <&> 'x'"[..], "plain <&> 'x'"),
            (b"a\"b\\c", r#"a\"b\\c"#),
            (b"\0\x07\x08\x09\x0a\x0b\x0c\x0d\x1b\x7f", r"\x00\a\b\t\n\v\f\r\x1b\x7f"),
            (
                "\u{80}\u{a0}\u{ad}\u{200b}\u{2028}\u{e000}".as_bytes(),
                r"\u0080\u00a0\u00ad\u200b\u2028\ue000",
            ),
            ("é中😀\u{fffd}\u{e0001}\u{10ffff}".as_bytes(), "é中😀\u{fffd}\\U000e0001\\U0010ffff"),
            (b"\xff\xe2\x82x\xf0\x9f\x98", r"\xff\xe2\x82x\xf0\x9f\x98"),
        ] {
            assert_eq!(quote(raw), quoted);
            assert_eq!(unquote(quoted).as_deref(), Some(raw));
        }
    }

    #[test]
    fn unquoting_takes_what_go_takes() {
        assert_eq!(unquote(r"\101\x41\u0041\U00000041").as_deref(), Some(&b"AAAA"[..]));
        for bad in [
            r"\",
            r"\x",
            r"\x4",
            r"\x4g",
            r"\400",
            r"\18",
            r"\ud800",
            r"\U00110000",
            r"\'",
            r"\q",
            "a\"b",
            "a\nb",
            r"\x+1",
            r"\é",
        ] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn numbers_and_plain_names_are_written_as_all_others(number: u64, name in "[ -~]{0,9}") {
            let mut buffer = Vec::new();
            write_number(&mut buffer, number);
            buffer.push(b',');
            write_name(&mut buffer, name.as_bytes());
            let expected = format!("{number},{}", text(quote(name.as_bytes()).as_bytes()));
            prop_assert_eq!(String::from_utf8(buffer).unwrap(), expected);
        }

        #[test]
        fn every_name_survives(name in vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(unquote(&quote(&name)), Some(name));
        }

        #[test]
        fn every_text_is_json(name in any::<String>()) {
            let back: String = serde_json::from_str(&text(name.as_bytes())).unwrap();
            prop_assert_eq!(back, name);
        }

        #[test]
        fn no_text_makes_unquoting_panic(quoted in r#"[\\xuU0-9a-f"é]{0,40}"#) {
            let _ = unquote(&quoted);
        }
    }
}
