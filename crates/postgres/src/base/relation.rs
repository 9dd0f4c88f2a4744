//! Names of the files in which relations lie: `16384`, `16384_fsm`, `16384.2`, `t3_16390`.
//!
//! The grammar is `parse_filename_for_nontemp_relation` of PostgreSQL's
//! `src/backend/storage/file/reinit.c`, and `looks_like_temp_rel_name` of `fd.c`.

use std::fmt;

/// What of a relation a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The data.
    Main,
    /// Where there is room.
    FreeSpace,
    /// Which pages everybody sees.
    Visibility,
    /// What an unlogged relation is made of after a crash.
    Init,
}

/// A file of a relation that is neither temporary nor anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFile {
    /// The number of the relation's files; the relation's own number at first.
    pub number: u32,
    /// What of it.
    pub fork: Fork,
    /// Which of the files of that fork, counted from 0.
    pub segment: u32,
}

/// What a name in a database's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationName {
    /// A file of a relation.
    Relation(RelationFile),
    /// A file of a temporary relation.
    Temporary,
    /// Something else.
    Other,
}

impl RelationName {
    /// Reads a name.
    pub fn parse(name: &str) -> Self {
        if let Some(file) = relation(name) {
            return Self::Relation(file);
        }
        let temporary = name.strip_prefix('t').and_then(|rest| rest.split_once('_'));
        match temporary {
            Some((backend, rest)) if number(backend).is_some() && relation(rest).is_some() => {
                Self::Temporary
            }
            _ => Self::Other,
        }
    }
}

impl fmt::Display for RelationFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fork = match self.fork {
            Fork::Main => "",
            Fork::FreeSpace => "_fsm",
            Fork::Visibility => "_vm",
            Fork::Init => "_init",
        };
        write!(f, "{}{fork}", self.number)?;
        if self.segment > 0 { write!(f, ".{}", self.segment) } else { Ok(()) }
    }
}

fn relation(name: &str) -> Option<RelationFile> {
    let (stem, segment) = match name.split_once('.') {
        Some((stem, segment)) => (stem, number(segment).filter(|segment| *segment > 0)?),
        None => (name, 0),
    };
    let (digits, fork) = match stem.split_once('_') {
        None => (stem, Fork::Main),
        Some((digits, "fsm")) => (digits, Fork::FreeSpace),
        Some((digits, "vm")) => (digits, Fork::Visibility),
        Some((digits, "init")) => (digits, Fork::Init),
        Some(_) => return None,
    };
    Some(RelationFile { number: number(digits)?, fork, segment })
}

/// Reads a number as PostgreSQL writes it: digits alone, no zero before others.
fn number(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let has_padding = text.len() > 1 && text.starts_with('0');
    (is_plain && !has_padding).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_told_apart() {
        let file =
            |number, fork, segment| RelationName::Relation(RelationFile { number, fork, segment });
        for (name, expected) in [
            ("1259", file(1259, Fork::Main, 0)),
            ("16384.12", file(16384, Fork::Main, 12)),
            ("16384_fsm", file(16384, Fork::FreeSpace, 0)),
            ("16384_vm.1", file(16384, Fork::Visibility, 1)),
            ("16384_init", file(16384, Fork::Init, 0)),
            ("4294967295", file(u32::MAX, Fork::Main, 0)),
            ("t3_16390", RelationName::Temporary),
            ("t3_16390_fsm", RelationName::Temporary),
            ("t3_16390_vm.1", RelationName::Temporary),
            ("t_16390", RelationName::Other),
            ("t3_", RelationName::Other),
            ("4294967296", RelationName::Other),
            ("016384", RelationName::Other),
            ("16384.0", RelationName::Other),
            ("16384.", RelationName::Other),
            ("16384_", RelationName::Other),
            ("16384_tmp", RelationName::Other),
            ("pg_filenode.map", RelationName::Other),
            ("PG_VERSION", RelationName::Other),
            ("", RelationName::Other),
        ] {
            assert_eq!(RelationName::parse(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(name in "t?[0-9]{1,11}(_(fsm|vm|init|x))?(\\.[0-9]{1,3})?") {
            if let RelationName::Relation(file) = RelationName::parse(&name) {
                prop_assert_eq!(file.to_string(), name);
            }
        }
    }
}
