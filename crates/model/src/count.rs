//! Numbers of things in words: `1 file`, `2 files`.

use std::fmt::Display;

/// Returns a number with its noun, which is in the plural unless there is one.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) {
        format!("{count} {noun}")
    } else {
        format!("{count} {}", plural(noun))
    }
}

/// Returns the plural of a noun that has a regular one.
fn plural(noun: &str) -> String {
    let ends_in = |ends: &[&str]| ends.iter().any(|end| noun.ends_with(end));
    match noun.strip_suffix('y') {
        Some(stem) if !ends_in(&["ay", "ey", "oy", "uy"]) => format!("{stem}ies"),
        _ if ends_in(&["s", "x", "ch", "sh"]) => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural_and_nouns_have_theirs() {
        for (count, noun, text) in [
            (1_u64, "file", "1 file"),
            (0, "file", "0 files"),
            (2, "directory", "2 directories"),
            (1, "directory", "1 directory"),
            (3, "key file", "3 key files"),
            (2, "key", "2 keys"),
            (4, "index", "4 indexes"),
            (5, "process", "5 processes"),
        ] {
            assert_eq!(counted(count, noun), text, "{noun}");
        }
        assert_eq!(
            (counted(1_usize, "row"), counted(7_u8, "row")),
            ("1 row".into(), "7 rows".into())
        );
    }
}
