//! What patterns match, dialect by dialect.

use super::*;
use Decision::{Matches, TakenBack};
use EntryKind::{Directory, Other};

fn pattern(text: &str) -> Pattern {
    Pattern::new(OsStr::new(text), Dialect::Restic, Case::Matters).unwrap()
}

/// Judges a path as a walk does: what lies in a directory that is left out is left out.
fn is_left_out(patterns: &Patterns, path: &str, kind: EntryKind) -> bool {
    let path = Path::new(path);
    let above = path.ancestors().skip(1);
    above
        .map(|path| (path, Directory))
        .chain([(path, kind)])
        .any(|(path, kind)| patterns.judge_path(path, kind) == Some(Matches))
}

#[test]
fn paths_match_as_in_restic() {
    for (text, path, matches) in [
        ("foo", "/foo", true),
        ("foo", "/a/foo", true),
        ("foo", "/a/foo/bar", true),
        ("foo", "/a/food", false),
        ("*.jpg", "/a/b.jpg", true),
        ("*.jpg", "/a/b.jpg.txt", false),
        ("a/*.jpg", "/x/a/b.jpg", true),
        ("a/*.jpg", "/a/x/b.jpg", false),
        ("/a/*.jpg", "/a/b.jpg", true),
        ("/a/*.jpg", "/x/a/b.jpg", false),
        ("/", "/anything", true),
        ("/a/**/c", "/a/c", true),
        ("/a/**/c", "/a/b/b/c/d", true),
        ("/a/**/c", "/b/a/c", false),
        ("a/**", "/x/a", true),
        ("**", "/x", true),
        ("/**/a", "/x/y/a/z", true),
        ("b/**/a/**/c", "/x/b/a/y/c", true),
        ("b/**/a/**/c", "/x/b/y/c", false),
        ("a/../b/", "/x/b/c", true),
        ("/../b", "/b", true),
        ("./b", "/x/b", true),
        (".", "/x/b", false),
        ("b?r", "/bär", true),
        ("b?r", "/br", false),
        ("[a-c]x", "/bx", true),
        ("[a-c]x", "/dx", false),
        ("[^a-c]x", "/dx", true),
        ("[!a]", "/!", true),
        ("[abc]", "/b", true),
        ("[ä-ö]x", "/öx", true),
        ("x[-]y", "/x-y", false),
        ("a*b*c", "/aXbXbXc", true),
        ("a*b*c", "/aXbXbX", false),
        ("a***c", "/abc", true),
        ("\\*", "/*", true),
        ("\\*", "/a", false),
        ("", "/", false),
    ] {
        let Ok(compiled) = Pattern::new(OsStr::new(text), Dialect::Restic, Case::Matters) else {
            assert!(!matches, "{text}");
            continue;
        };
        assert_eq!(compiled.matches(Path::new(path)), matches, "{text} {path}");
    }
}

#[test]
fn only_directories_that_may_hold_a_match_are_entered() {
    for (text, directory, may) in [
        ("foo", "/anything", true),
        ("/a/b/c", "/a", true),
        ("/a/b/c", "/a/b", true),
        ("/a/b/c", "/a/x", false),
        ("/a/b", "/a/b/c", true),
        ("/a/**/c", "/a/x/y", true),
        ("/a/**/c", "/b", false),
        ("/a/*/c", "/a/x", true),
    ] {
        assert_eq!(pattern(text).may_match_below(Path::new(directory)), may, "{text}");
        let list = Patterns::new(Dialect::Restic, Case::Matters, [text]).unwrap();
        assert_eq!(list.may_match_below(Path::new(directory)), may, "{text}");
    }
}

#[test]
fn case_can_be_ignored_and_names_need_not_be_text() {
    let ignoring = Pattern::new(OsStr::new("ÄB*"), Dialect::Restic, Case::Ignored).unwrap();
    assert!(ignoring.matches(Path::new("/x/äBc")));
    assert!(!pattern("ab").matches(Path::new("/AB")));
    let raw = Path::new(OsStr::from_bytes(b"/a\xff.txt"));
    assert!(pattern("a?.txt").matches(raw));
    assert!(pattern("a[^b].txt").matches(raw));
    let exact = OsStr::from_bytes(b"a\xff*");
    let exact = Pattern::new(exact, Dialect::Restic, Case::Matters).unwrap();
    assert!(exact.matches(raw));
    assert!(!exact.matches(Path::new("/aÿ.txt")));
}

#[test]
fn broken_patterns_are_named() {
    for (text, problem) in [
        ("[a", "no `]`"),
        ("[]", "is empty"),
        ("[b-a]", "before it begins"),
        ("[a-]", "no `]`"),
        ("a\\", "follows"),
        ("", "empty"),
    ] {
        let broken = Pattern::new(OsStr::new(text), Dialect::Restic, Case::Matters);
        let error = broken.unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn the_last_pattern_that_matches_decides_as_in_restic() {
    for (texts, path, expected) in [
        (&["*.o", "!keep.o"][..], "/a/keep.o", Some(TakenBack)),
        (&["!keep.o", "*.o"], "/a/keep.o", Some(Matches)),
        (&["/home/*", "!/home/a", "*.o"], "/home/a/b/c", Some(TakenBack)),
        (&["/home/*", "!/home/a", "*.o"], "/home/a/b.o", Some(Matches)),
        (&["*.o", "!/home/a"], "/home/a/b.o", Some(TakenBack)),
        (&["/home/*", "!/home/a"], "/home/b/c", Some(Matches)),
        (&["/home/*", "!/home/a"], "/srv", None),
        (&["", "b"], "/b", Some(Matches)),
    ] {
        let list = Patterns::new(Dialect::Restic, Case::Matters, texts).unwrap();
        assert_eq!(list.judge_path(Path::new(path), Other), expected, "{texts:?} {path}");
    }
}

#[test]
fn a_gitignore_means_what_its_manual_says() {
    for (content, path, kind, expected) in [
        ("*.o", "/a/b.o", Other, true),
        ("a/b", "/a/b", Other, true),
        ("a/b", "/x/a/b", Other, false),
        ("/b", "/b", Other, true),
        ("/b", "/a/b", Other, false),
        ("b/", "/a/b", Other, false),
        ("b/", "/a/b", Directory, true),
        ("a/b/", "/a/b", Directory, true),
        ("**/a/b", "/x/y/a/b", Other, true),
        ("a/**", "/a", Directory, false),
        ("a/**", "/a/x", Other, true),
        ("a/**/b", "/a/b", Other, true),
        ("a/**/b", "/a/x/y/b", Other, true),
        ("a**b", "/axyb", Other, true),
        ("a/*", "/a/x/y", Other, true),
        ("a/*/y", "/a/x/z/y", Other, false),
        ("*.o\n!keep.o", "/keep.o", Other, false),
        ("a\n!a/keep", "/a/keep", Other, true),
        ("a/*\n!a/keep", "/a/keep", Other, false),
        ("#a", "/#a", Other, false),
        ("\\#a", "/#a", Other, true),
        ("\\!a", "/!a", Other, true),
        ("a  ", "/a", Other, true),
        ("a\\ ", "/a ", Other, true),
        ("a\\\\ ", "/a\\", Other, true),
        ("a\t", "/a", Other, false),
        ("a\r\nb\r\n", "/a", Other, true),
        ("\u{feff}a", "/a", Other, true),
        ("[a", "/[a", Other, false),
        ("a\\", "/a\\", Other, false),
        ("[]-]x", "/-x", Other, true),
        ("[]-]x", "/]x", Other, true),
        ("[!a]x", "/bx", Other, true),
        ("[[:upper:]]x", "/Bx", Other, true),
        ("[[:upper:]]x", "/bx", Other, false),
        ("b??r", "/bär", Other, true),
        ("b?r", "/bär", Other, false),
        ("/", "/a", Directory, false),
        ("", "/a", Directory, false),
        ("*", "/a", Directory, true),
    ] {
        let list = Patterns::of_gitignore(content.as_bytes());
        assert_eq!(is_left_out(&list, path, kind), expected, "{content:?} {path}");
    }
}

#[test]
fn the_plans_patterns_match_as_restic_and_git_users_expect() {
    let cases: [(&[&str], &str, EntryKind, bool); 17] = [
        (&[], "/srv/a", Other, false),
        (&["/var/cache"], "/var/cache", Directory, true),
        (&["/var/cache"], "/srv/var/cache", Directory, false),
        (&["/var/*/x"], "/var/a/x", Other, true),
        (&["/var/*/x"], "/var/a/b/x", Other, false),
        (&["/var/**/x"], "/var/a/b/x", Other, true),
        (&["*.tmp"], "/srv/a/b.tmp", Other, true),
        (&["*.tmp"], "/srv/a.tmp/b", Other, false),
        (&["cache"], "/srv/cache", Directory, true),
        (&["cache"], "/srv/mycache", Directory, false),
        (&["a/cache"], "/srv/a/cache", Directory, true),
        (&["tmp/"], "/srv/tmp", Directory, true),
        (&["tmp/"], "/srv/tmp", Other, false),
        (&["*.tmp", "!keep.tmp"], "/srv/keep.tmp", Other, false),
        (&["!keep.tmp", "*.tmp"], "/srv/keep.tmp", Other, true),
        (&["[ab].log"], "/srv/c.log", Other, false),
        (&["\\{a\\}"], "/srv/{a}", Other, true),
    ];
    for (texts, path, kind, expected) in cases {
        let list = Patterns::new(Dialect::Plan, Case::Matters, texts).unwrap();
        let decision = list.judge_path(Path::new(path), kind);
        assert_eq!(decision == Some(Matches), expected, "{texts:?} {path}");
    }
    for broken in ["", "/", "!", "[a", "{a", "a\\"] {
        assert!(Patterns::new(Dialect::Plan, Case::Matters, [broken]).is_err(), "{broken}");
    }
}
