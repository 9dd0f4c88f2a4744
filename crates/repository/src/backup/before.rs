//! What the parent snapshot has of a directory, as the bytes of its tree.
//!
//! An entry that did not change is recognised by its bytes: what would be written of it now, from what
//! the file system tells, is what is there. So nothing is parsed but names and ids, and a directory of
//! which no entry changed keeps its tree without being encoded or hashed.
//!
//! # Invariants
//!
//! - An entry counts as the same only if writing it anew would give the very bytes that are there.
//! - A tree that is not as restic writes it (other programs order fields in other ways) is written
//!   anew before it is compared, and never taken over as a whole.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use lifeboat_model::BlobId;

use crate::json;
use crate::node::Node;
use crate::tree::{Tree, TreeError};

const BEGIN: &[u8] = b"{\"nodes\":[";
const END: &[u8] = b"]}\n";
const NAME: &[u8] = b"{\"name\":\"";

/// The tree of a directory in the parent snapshot.
#[derive(Debug, Clone)]
pub(super) struct ParentTree {
    pub(super) id: BlobId,
    document: Bytes,
    /// Whether the document is that of the tree with this id.
    is_as_stored: bool,
}

impl ParentTree {
    /// Takes a tree as it is stored.
    pub(super) fn new(id: BlobId, document: Bytes) -> Result<Self, TreeError> {
        // Whether names ascend shows when they are sought: one that does not is not found, and its file is
        // read again.
        let is_empty = document.get(BEGIN.len()..) == Some(END);
        let has_names =
            is_empty || document.get(BEGIN.len()..).is_some_and(|d| d.starts_with(NAME));
        if document.starts_with(BEGIN) && document.ends_with(END) && has_names {
            return Ok(Self { id, document, is_as_stored: true });
        }
        let mut tree = Tree::parse(&document)?;
        tree.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        tree.nodes.dedup_by(|a, b| a.name == b.name);
        Ok(Self { id, document: tree.to_document()?.into(), is_as_stored: false })
    }

    /// Tells whether the tree may be taken over as it is.
    pub(super) const fn is_as_stored(&self) -> bool {
        self.is_as_stored
    }

    /// Returns the bytes of an entry.
    pub(super) fn entry(&self, range: Range<usize>) -> &[u8] {
        &self.document[range]
    }

    /// Returns the bytes of the entry of a name.
    pub(super) fn find(&self, name: &OsStr) -> Option<&[u8]> {
        let mut cursor = self.cursor();
        let there = cursor.seek(name).then(|| cursor.skip()).flatten()?;
        Some(self.entry(there))
    }

    /// Stands before the first entry.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        self.cursor_at(Mark::default())
    }

    /// Stands where a cursor stood before.
    pub(super) fn cursor_at(&self, mark: Mark) -> Cursor<'_> {
        Cursor { document: &self.document, at: BEGIN.len() + mark.at, count: mark.count }
    }
}

/// Where a cursor stands; before the first entry if nothing else is said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    /// How far behind the beginning of the first entry.
    at: usize,
    count: usize,
}

/// An entry that is as it was.
#[derive(Debug, Clone)]
pub(super) struct Same {
    pub(super) range: Range<usize>,
    /// Where in the document the rest begins that tells the content.
    rest: usize,
}

/// Goes through a tree in the order of names.
#[derive(Debug)]
pub(super) struct Cursor<'p> {
    document: &'p [u8],
    at: usize,
    count: usize,
}

impl<'p> Cursor<'p> {
    /// A cursor over nothing.
    pub(super) const fn nothing() -> Self {
        Self { document: &[], at: 0, count: 0 }
    }

    /// Returns where it stands.
    pub(super) const fn mark(&self) -> Mark {
        Mark { at: self.at.saturating_sub(BEGIN.len()), count: self.count }
    }

    /// Goes to the entry of a name; tells whether there is one.
    pub(super) fn seek(&mut self, name: &OsStr) -> bool {
        while let Some(found) = self.name() {
            match (*found).cmp(name.as_bytes()) {
                Ordering::Less if self.skip().is_some() => {}
                ordering => return ordering == Ordering::Equal,
            }
        }
        false
    }

    /// Goes to the end and returns how many entries there are; nothing if the rest is no list of
    /// entries.
    pub(super) fn finish(mut self) -> Option<usize> {
        while self.skip().is_some() {}
        (self.document.get(self.at..) == Some(END)).then_some(self.count)
    }

    /// Returns the name of the entry that it stands before.
    fn name(&self) -> Option<Cow<'p, [u8]>> {
        let text = self.document.get(self.at..)?.strip_prefix(NAME)?;
        let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if text[end] == b'"' {
            return Some(Cow::Borrowed(&text[..end]));
        }
        let quoted = &self.document[self.at + NAME.len() - 1..];
        let mut values = serde_json::Deserializer::from_slice(quoted).into_iter::<String>();
        Some(Cow::Owned(json::unquote(&values.next()?.ok()?)?))
    }

    /// Goes over an entry that begins with `head` and goes on as plain entries do: with the content of
    /// a file, the target of a link or the tree of a directory, and nothing else.
    pub(super) fn take_same(&mut self, head: &[u8]) -> Option<Same> {
        let rest = self.document.get(self.at..)?.strip_prefix(head)?;
        let length = plain_rest(rest)?;
        let begin = self.at + head.len();
        let same = Same { range: self.at..begin + length, rest: begin };
        self.go_to(same.range.end);
        Some(same)
    }

    /// Goes over an entry and returns where it is.
    pub(super) fn skip(&mut self) -> Option<Range<usize>> {
        let length = object_length(self.document.get(self.at..)?)?;
        let range = self.at..self.at + length;
        self.go_to(range.end);
        Some(range)
    }

    /// Returns the pieces of a file that is the same.
    pub(super) fn pieces(&self, same: &Same) -> impl Iterator<Item = BlobId> + use<'p> {
        let rest = &self.document[same.rest..same.range.end];
        let ids = rest.strip_prefix(CONTENT).unwrap_or_default();
        ids.chunks(ID_LENGTH + 1).filter_map(|item| read_id(item.get(..ID_LENGTH)?))
    }

    /// Returns the tree of a directory that is the same.
    pub(super) fn subtree(&self, same: &Same) -> Option<BlobId> {
        let id = self.document[same.rest..same.range.end].strip_prefix(SUBTREE)?;
        read_id(id.get(..ID_LENGTH)?)
    }

    fn go_to(&mut self, end: usize) {
        self.at = end + usize::from(self.document.get(end) == Some(&b','));
        self.count += 1;
    }
}

/// Reads an entry.
pub(super) fn parse(entry: &[u8]) -> Option<Node> {
    let document = [BEGIN, entry, END].concat();
    Tree::parse(&document).ok()?.nodes.pop()
}

const CONTENT: &[u8] = b",\"content\":[";
const SUBTREE: &[u8] = b",\"content\":null,\"subtree\":";
const TARGET: &[u8] = b",\"linktarget\":\"";
const TARGET_END: &[u8] = b"\",\"content\":null}";

/// An id with its quotes.
const ID_LENGTH: usize = 66;

fn read_id(text: &[u8]) -> Option<BlobId> {
    let digits = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut id = [0; 32];
    let lower = !digits.iter().any(u8::is_ascii_uppercase);
    (lower && hex::decode_to_slice(digits, &mut id).is_ok()).then(|| BlobId::from_bytes(id))
}

/// Returns the length of what tells the content of a plain entry, to the entry's end.
fn plain_rest(rest: &[u8]) -> Option<usize> {
    if let Some(ids) = rest.strip_prefix(CONTENT) {
        let mut length = 0;
        while let Some(b'"') = ids.get(length) {
            read_id(ids.get(length..length + ID_LENGTH)?)?;
            length += ID_LENGTH;
            match ids.get(length) {
                Some(b',') if ids.get(length + 1) == Some(&b'"') => length += 1,
                _ => break,
            }
        }
        return ids[length..].starts_with(b"]}").then(|| CONTENT.len() + length + 2);
    }
    if let Some(id) = rest.strip_prefix(SUBTREE) {
        read_id(id.get(..ID_LENGTH)?)?;
        let is_end = id.get(ID_LENGTH) == Some(&b'}');
        return is_end.then(|| SUBTREE.len() + ID_LENGTH + 1);
    }
    let target = rest.strip_prefix(TARGET)?;
    let length = target.iter().position(|byte| !json::is_plain(*byte))?;
    let is_end = length > 0 && target[length..].starts_with(TARGET_END);
    is_end.then(|| TARGET.len() + length + TARGET_END.len())
}

/// Returns the length of the object that a text begins with.
fn object_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match text.get(at)? {
            b'"' => at += string_length(&text[at..])? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
        at += 1;
    }
}

/// Returns the length of the string that a text begins with.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use proptest::prelude::*;

    use super::*;
    use crate::node::{ExtendedAttribute, Metadata, NodeKind};

    fn node(name: &str, kind: NodeKind) -> Node {
        Node { name: name.into(), kind, metadata: Metadata::default() }
    }

    fn id(number: u8) -> BlobId {
        BlobId::from_bytes([number; 32])
    }

    fn file(name: &str, pieces: u8) -> Node {
        node(name, NodeKind::File { size: 5, content: (0..pieces).map(id).collect() })
    }

    fn tree(nodes: Vec<Node>) -> ParentTree {
        let document = Tree { nodes }.to_document().unwrap();
        ParentTree::new(id(1), document.into()).unwrap()
    }

    fn head(node: &Node) -> Vec<u8> {
        let mut head = Vec::new();
        node.head().write(&mut head);
        head
    }

    #[test]
    fn plain_entries_are_recognised_by_their_bytes() {
        let link = NodeKind::Symlink { target: "../x y".into() };
        let nodes = vec![
            file("a", 0),
            file("b", 1),
            file("c", 3),
            node("d", NodeKind::Directory { subtree: id(9) }),
            node("e", link),
        ];
        let tree = tree(nodes.clone());
        let mut cursor = tree.cursor();
        for node in &nodes {
            assert!(cursor.seek(&node.name));
            let same = cursor.take_same(&head(node)).unwrap();
            assert_eq!(parse(tree.entry(same.range.clone())).as_ref(), Some(node));
            match &node.kind {
                NodeKind::File { content, .. } => {
                    assert_eq!(cursor.pieces(&same).collect::<Vec<_>>(), *content);
                }
                NodeKind::Directory { subtree } => {
                    assert_eq!(cursor.subtree(&same), Some(*subtree));
                }
                _ => {}
            }
        }
        assert_eq!(cursor.finish(), Some(5));
    }

    #[test]
    fn whatever_is_not_plain_is_not_recognised_but_read() {
        let mut with_attribute = file("a", 1);
        with_attribute.metadata.extended_attributes =
            vec![ExtendedAttribute { name: "user.x".into(), value: vec![1] }; 2];
        let mut with_error = file("b", 1);
        with_error.metadata.error = "no}".to_owned();
        let nodes = vec![
            with_attribute,
            with_error,
            node("c", NodeKind::Symlink { target: "a<b".into() }),
            node("d\"\n", NodeKind::Fifo),
        ];
        let tree = tree(nodes.clone());
        let mut cursor = tree.cursor();
        for node in &nodes {
            assert!(cursor.seek(&node.name), "{:?}", node.name);
            assert!(cursor.take_same(&head(node)).is_none());
            let range = cursor.skip().unwrap();
            assert_eq!(parse(tree.entry(range)).as_ref(), Some(node));
        }
        assert_eq!(cursor.finish(), Some(4));
    }

    #[test]
    fn names_that_are_not_there_are_passed_over() {
        let tree = tree(vec![file("b", 1), file("d", 2)]);
        let mut cursor = tree.cursor();
        let found = ["a", "b", "c", "d", "e"].map(|name| {
            let found = cursor.seek(OsStr::new(name));
            if found {
                cursor.skip();
            }
            found
        });
        assert_eq!(found, [false, true, false, true, false]);
        assert!(!Cursor::nothing().seek(OsStr::new("a")));
    }

    #[test]
    fn a_tree_that_restic_would_not_write_is_written_anew() {
        for document in [
            r#"{"nodes":[{"type":"fifo","name":"b","content":null},{"name":"a","type":"fifo"}]}"#,
            "{\"nodes\": [{\"name\":\"a\",\"type\":\"fifo\"},{\"name\":\"b\",\"type\":\"fifo\"}]}\n",
            "{\"nodes\":[{\"name\":\"a\",\"type\":\"fifo\"},{\"name\":\"b\",\"type\":\"fifo\"}],\"x\":[]}\n",
        ] {
            let tree = ParentTree::new(id(1), document.as_bytes().to_vec().into()).unwrap();
            let mut cursor = tree.cursor();
            assert!(cursor.seek(OsStr::new("a")) && cursor.skip().is_some());
            assert!(cursor.seek(OsStr::new("b")) && cursor.skip().is_some());
            let is_taken_over = tree.is_as_stored() && cursor.finish().is_some();
            assert!(!is_taken_over, "{document}");
        }
        let framed =
            ParentTree::new(id(1), Bytes::from_static(b"{\"nodes\":[],\"x\":[]}\n")).unwrap();
        assert_eq!((framed.is_as_stored(), framed.cursor().finish()), (false, Some(0)));
        assert!(ParentTree::new(id(1), Bytes::from_static(b"{\"nodes\":[{]}\n")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in r#"(\{"name":"|[\[\]{}":,\\ab]|,"content":\[|\]\}|","){0,40}"#) {
            let document = [BEGIN, text.as_bytes(), END].concat();
            let _ = ParentTree::new(id(1), document.clone().into());
            let mut cursor = Cursor { document: &document, at: BEGIN.len(), count: 0 };
            let _ = cursor.take_same(b"{\"name\":\"a\"");
            let _ = cursor.seek(&OsString::from("b"));
            cursor.finish();
        }
    }
}
