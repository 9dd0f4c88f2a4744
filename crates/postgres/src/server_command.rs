//! Commands that a server runs through a shell, as `archive_command` and `restore_command` write them.
//!
//! Beside the shell's quotes there is the server's `%`: `%p` is a path, `%f` a name, `%%` a `%`.

/// Writes a word for the shell of a server, whose `%` is.
pub fn quoted(word: &str) -> String {
    shell_word(word).replace('%', "%%")
}

/// Writes a word for any shell.
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Reads a command that only runs a program with words; `None` where a shell would do more than that.
///
/// `%p` and `%f` stay as they are.
pub fn words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ' ' || character == '\t' {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match character {
            '\'' => loop {
                match characters.next()? {
                    '\'' => break,
                    inside => word.push(inside),
                }
            },
            '"' => loop {
                match characters.next()? {
                    '"' => break,
                    '$' | '`' => return None,
                    '\\' => word.push(characters.next().filter(|c| "\"\\".contains(*c))?),
                    inside => word.push(inside),
                }
            },
            '\\' => word.push(characters.next()?),
            '#' if word.is_empty() => return None,
            other if ";&|<>()$`*?[]{}~\n!".contains(other) => return None,
            other => word.push(other),
        }
    }
    words.extend(word);
    Some(words.into_iter().map(|word| word.replace("%%", "%")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay_words_in_a_shell() {
        assert_eq!(quoted("/usr/bin/lifeboat"), "/usr/bin/lifeboat");
        assert_eq!(quoted("/etc/a b%c'd"), r"'/etc/a b%%c'\''d'");
        assert_eq!(quoted(""), "''");
        assert_eq!(shell_word("100% of a"), "'100% of a'");
    }

    #[test]
    fn what_a_shell_would_do_more_is_not_taken_for_words() {
        let read = |text: &str| words(text).map(|words| words.join("|"));
        assert_eq!(read(r#"a 'b c' "%p" \d"#).unwrap(), "a|b c|%p|d");
        for text in ["a && b", "a; b", "a > b", "a $B", "a `b`", "a 'b", "true # x", "a \"$b\""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn words_that_were_written_are_read_back(wanted in prop::collection::vec("[^\0]{0,8}", 1..5)) {
            let text: Vec<_> = wanted.iter().map(|word| quoted(word)).collect();
            prop_assert_eq!(words(&text.join(" ")), Some(wanted));
        }
    }
}
