//! Keeps secrets that were written into a plan by mistake out of everything that shows its lines.
//!
//! The search is lexical, over the raw text, so that it works on files that do not even parse.
//! It errs towards masking: a masked harmless word costs a moment, a shown password does not
//! come back.

use std::ops::Range;

use crate::decode::Context;
use crate::source::{FileId, SourceFile};

/// Keys whose value is a secret wherever they stand.
const SECRET_WORDS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "access_key",
    "account_key",
    "routing_key",
    "private_key",
];

/// The stretches of text that must not be shown.
#[derive(Debug, Default)]
pub(crate) struct Redactions(Vec<(FileId, Range<usize>)>);

impl Redactions {
    pub(crate) fn add(&mut self, file: FileId, bytes: Range<usize>) {
        self.0.push((file, bytes));
    }

    /// Finds what looks like a secret in `source`.
    pub(crate) fn scan(&mut self, file: FileId, source: &SourceFile) {
        let mut start = 0;
        for line in source.text.split_inclusive('\n') {
            for found in assigned_secrets(line).into_iter().chain(url_passwords(line)) {
                self.add(file, start + found.start..start + found.end);
            }
            start += line.len();
        }
    }

    /// Returns the text of `line` with every secret character replaced by one of the same width
    /// in bytes, so that carets stay where they are.
    pub(crate) fn mask(&self, file: FileId, text: &str, line: Range<usize>) -> String {
        let hidden = |at: usize| self.0.iter().any(|(f, range)| *f == file && range.contains(&at));
        let mut masked = String::with_capacity(line.len());
        for (offset, character) in text[line.clone()].char_indices() {
            if hidden(line.start + offset) {
                masked.extend(std::iter::repeat_n('*', character.len_utf8()));
            } else {
                masked.push(character);
            }
        }
        masked
    }
}

/// Refuses a text that holds the password of a URL.
pub(crate) fn refuse_secret(text: &str, bytes: Range<usize>, cx: &mut Context<'_>) -> bool {
    let found = !url_passwords(text).is_empty();
    if found {
        report_secret(bytes, cx);
    }
    found
}

/// Refuses a command that carries a password, be it in a URL or as an assignment or option.
///
/// What the shell replaces when it runs the command is not the secret itself.
pub(crate) fn refuse_secret_argument(
    text: &str,
    bytes: Range<usize>,
    cx: &mut Context<'_>,
) -> bool {
    let literal = |range: &Range<usize>| !text[range.clone()].starts_with(['$', '`', '{', '<']);
    let found = assigned_secrets(text).iter().any(literal);
    if found {
        report_secret(bytes.clone(), cx);
    }
    found || refuse_secret(text, bytes, cx)
}

fn report_secret(bytes: Range<usize>, cx: &mut Context<'_>) {
    cx.redactions.add(cx.file, bytes.clone());
    let finding = cx
        .error("secret-in-plan", bytes, "a password stands in the plan")
        .label("holds a secret")
        .help("remove it, and let the tool read it from a file or the environment");
    cx.report(finding);
}

/// Finds `password=value`, `password = "value"` and their like.
fn assigned_secrets(line: &str) -> Vec<Range<usize>> {
    let lower = line.to_ascii_lowercase();
    let mut found = Vec::new();
    for word in SECRET_WORDS {
        for (at, _) in lower.match_indices(word) {
            let after = at + word.len();
            let rest = &line[after..];
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let rest = rest.trim_start_matches(['"', '\'']).trim_start();
            let Some(value) = rest.strip_prefix(['=', ':']) else { continue };
            let value = value.trim_start();
            if let Some(range) = value_range(line, line.len() - value.len()) {
                found.push(range);
            }
        }
    }
    found
}

/// Where the value that starts at `start` ends: at its quote, else at a space or a quote.
fn value_range(line: &str, start: usize) -> Option<Range<usize>> {
    let value = &line[start..];
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (from, length) = match quote {
        Some(quote) => (start + 1, value[1..].find(quote)),
        None if value.starts_with(['{', '[']) => return None,
        None => (start, value.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '&'))),
    };
    let end = length.map_or(line.trim_end().len(), |length| from + length);
    (from < end).then_some(from..end)
}

/// Finds the password in `scheme://user:password@host`.
fn url_passwords(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, mark) in line.match_indices("://") {
        let start = at + mark.len();
        let authority = line[start..].split(['/', '"', '\'', ' ', '?', '#']).next().unwrap_or("");
        if let Some((user_info, _)) = authority.rsplit_once('@')
            && let Some(colon) = user_info.find(':')
        {
            found.push(start + colon + 1..start + user_info.len());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    fn masked(line: &str) -> String {
        let mut sources = Sources::default();
        let id = sources.add(SourceFile { path: String::new(), text: line.to_owned() });
        let mut redactions = Redactions::default();
        redactions.scan(id, sources.get(id));
        redactions.mask(id, line, 0..line.len())
    }

    #[test]
    fn secrets_are_masked_in_every_spelling() {
        for line in [
            r#"connect = "host=db password=hunter2 dbname=shop""#,
            r#"connect = "host=db password='hunter2' dbname=shop""#,
            r#"connect = "postgres://shop:hunter2@db/shop""#,
            r#"connect = "postgres://db/shop?user=a&password=hunter2&x=1""#,
            r#"secret_access_key = "hunter2""#,
            "password=hunter2",
            r#"pagerduty_token = "hunter2" # note"#,
            r#""api_key": "hunter2""#,
        ] {
            let masked = masked(line);
            assert!(!masked.contains("hunter2"), "{masked}");
            assert_eq!(masked.len(), line.len());
        }
    }

    #[test]
    fn references_to_secrets_stay_readable() {
        for line in [
            r#"password = { env = "PGPASSWORD" }"#,
            r#"url = "https://example.org/a:b@c""#,
            r#"connect = "postgres://shop@db/shop""#,
        ] {
            assert_eq!(masked(line), line);
        }
    }
}
