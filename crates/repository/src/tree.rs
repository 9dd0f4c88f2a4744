//! Trees: directories, as lists of nodes, in the very bytes that restic writes.
//!
//! [`TreeWriter`] makes one node by node, so that a directory of millions of entries needs only its
//! encoded bytes; [`Tree::parse`] reads one.
//!
//! # Invariants
//!
//! - Names ascend strictly by their bytes; a writer refuses anything else, since restic would.
//! - Encoding a parsed tree of restic's gives the same bytes (the golden tests hold it).
//!
//! Trees of other programs may be out of order; they are read as they are, and
//! [`Tree::is_ordered`] tells.
//!
//! Source: restic `internal/data/tree.go`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;

use serde::Deserialize;
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::de::Read;

use crate::node::{Node, NodeDocument};

/// A tree is not as a tree must be.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It is not the document that it should be.
    #[error("it is not a tree")]
    Json(#[from] serde_json::Error),
    /// A name is not one.
    #[error("`{name}` is not the name of a file")]
    Name {
        /// The name, as it is stored.
        name: String,
    },
    /// A node is of a sort that is not known.
    #[error("`{name}` is of the unknown type `{kind}`")]
    Kind {
        /// The node's name, as it is stored.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A file does not tell its content.
    #[error("file `{name}` has no content")]
    NoContent {
        /// The node's name, as it is stored.
        name: String,
    },
    /// A directory does not tell its subtree.
    #[error("directory `{name}` has no subtree")]
    NoSubtree {
        /// The node's name, as it is stored.
        name: String,
    },
    /// Two nodes have one name, or their names do not ascend.
    #[error("{name:?} does not come after {previous:?}")]
    NotOrdered {
        /// The later node's name.
        name: OsString,
        /// The earlier one's.
        previous: OsString,
    },
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tree {
    /// What is in it.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Parses an opened tree.
    pub fn parse(document: &[u8]) -> Result<Self, TreeError> {
        let mut nodes = Vec::new();
        visit_nodes(&mut Deserializer::from_slice(document), |node| nodes.push(node))?;
        Ok(Self { nodes })
    }

    /// Writes the tree.
    pub fn to_document(&self) -> Result<Vec<u8>, TreeError> {
        let mut writer = TreeWriter::new();
        for node in &self.nodes {
            writer.add(node)?;
        }
        Ok(writer.finish())
    }

    /// Tells whether the names ascend strictly, as restic wants.
    pub fn is_ordered(&self) -> bool {
        self.nodes.is_sorted_by(|a, b| a.name.as_bytes() < b.name.as_bytes())
    }

    /// Returns the node with a name.
    pub fn get(&self, name: &OsStr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

/// Shows the nodes of a tree one by one; those that stand before a mistake, too.
pub(crate) fn visit_nodes<'de, R: Read<'de>>(
    document: &mut Deserializer<R>,
    mut visit: impl FnMut(Node),
) -> Result<(), TreeError> {
    visit_entries(document, |node: NodeDocument| {
        visit(node.into_node()?);
        Ok(())
    })
}

/// Shows the entries of a tree one by one, of each as much as `N` takes; ends with the first failure.
pub(crate) fn visit_entries<'de, R: Read<'de>, N: Deserialize<'de>>(
    document: &mut Deserializer<R>,
    visit: impl FnMut(N) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    let mut failure = None;
    let visitor = TreeVisitor { visit, failure: &mut failure, entry: PhantomData };
    let visited = document.deserialize_map(visitor).and_then(|()| document.end());
    match failure {
        Some(failure) => Err(failure),
        None => Ok(visited?),
    }
}

/// The fields of a tree.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum TreeField {
    Nodes,
    #[serde(other)]
    Other,
}

struct TreeVisitor<'f, N, F> {
    visit: F,
    failure: &'f mut Option<TreeError>,
    entry: PhantomData<N>,
}

impl<'de, N: Deserialize<'de>, F: FnMut(N) -> Result<(), TreeError>> Visitor<'de>
    for TreeVisitor<'_, N, F>
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tree")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        let mut has_nodes = false;
        while let Some(field) = fields.next_key()? {
            match field {
                TreeField::Nodes if has_nodes => return Err(A::Error::duplicate_field("nodes")),
                TreeField::Nodes => {
                    has_nodes = true;
                    fields.next_value_seed(EntriesVisitor(&mut self))?;
                }
                TreeField::Other => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct EntriesVisitor<'v, 'f, N, F>(&'v mut TreeVisitor<'f, N, F>);

impl<'de, N: Deserialize<'de>, F: FnMut(N) -> Result<(), TreeError>> DeserializeSeed<'de>
    for EntriesVisitor<'_, '_, N, F>
{
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, N: Deserialize<'de>, F: FnMut(N) -> Result<(), TreeError>> Visitor<'de>
    for EntriesVisitor<'_, '_, N, F>
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of nodes")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            if let Err(failure) = (self.0.visit)(entry) {
                *self.0.failure = Some(failure);
                return Err(A::Error::custom("an entry is not as it should be"));
            }
        }
        Ok(())
    }
}

/// Writes a tree node by node.
#[derive(Debug)]
pub struct TreeWriter {
    document: Vec<u8>,
    last: OsString,
    is_empty: bool,
}

impl TreeWriter {
    /// Begins a tree.
    pub fn new() -> Self {
        Self { document: b"{\"nodes\":[".to_vec(), last: OsString::new(), is_empty: true }
    }

    /// Writes a node, whose name comes after that of the one before.
    pub fn add(&mut self, node: &Node) -> Result<(), TreeError> {
        // The empty name at the beginning also refuses an empty name.
        if node.name.as_bytes() <= self.last.as_bytes() {
            let (name, previous) = (node.name.clone(), self.last.clone());
            return Err(TreeError::NotOrdered { name, previous });
        }
        self.begin_node();
        node.write(&mut self.document);
        self.last.clone_from(&node.name);
        Ok(())
    }

    /// Adds a node that is written already; whoever calls sees to the order of names.
    pub(crate) fn add_written(&mut self, node: &[u8]) {
        self.begin_node();
        self.document.extend_from_slice(node);
    }

    /// Hands over what was written since the last time.
    pub(crate) fn hand_over(&mut self, take: impl FnOnce(&[u8])) {
        take(&self.document);
        self.document.clear();
    }

    fn begin_node(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.document.push(b',');
        }
    }

    /// Ends the tree.
    pub fn finish(mut self) -> Vec<u8> {
        self.document.extend_from_slice(b"]}\n");
        self.document
    }
}

impl Default for TreeWriter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use lifeboat_model::BlobId;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::node::{ExtendedAttribute, FileMode, Metadata, NodeKind};
    use crate::time::NodeTime;

    fn node(name: &[u8], kind: NodeKind) -> Node {
        Node { name: OsString::from_vec(name.to_vec()), kind, metadata: Metadata::default() }
    }

    fn id(number: u8) -> BlobId {
        BlobId::from_bytes([number; 32])
    }

    fn written(nodes: Vec<Node>) -> String {
        String::from_utf8(Tree { nodes }.to_document().unwrap()).unwrap()
    }

    const TIMES: &str = r#""mtime":"0001-01-01T00:00:00Z","atime":"0001-01-01T00:00:00Z","ctime":"0001-01-01T00:00:00Z","uid":0,"gid":0"#;

    #[test]
    fn fields_stand_in_restics_order() {
        let time = NodeTime::from_unix(1_729_648_800, 5_000);
        let mut file = node(b"a", NodeKind::File { size: 3, content: vec![id(1)] });
        file.metadata = Metadata {
            mode: FileMode::from_unix(0o104_711),
            mtime: time,
            atime: time,
            ctime: time,
            uid: 1000,
            gid: 100,
            user: "web".to_owned(),
            group: "users".to_owned(),
            inode: 7,
            device_id: 8,
            links: 2,
            extended_attributes: vec![ExtendedAttribute {
                name: "user.x".into(),
                value: b"v\0".to_vec(),
            }],
            generic_attributes: Vec::new(),
            error: "e".to_owned(),
        };
        let (one, stamp) = (id(1).to_hex(), "2024-10-23T02:00:00.000005Z");
        assert_eq!(
            written(vec![file]),
            format!(
                r#"{{"nodes":[{{"name":"a","type":"file","mode":8389065,"mtime":"{stamp}","atime":"{stamp}","ctime":"{stamp}","uid":1000,"gid":100,"user":"web","group":"users","inode":7,"device_id":8,"size":3,"links":2,"extended_attributes":[{{"name":"user.x","value":"dgA="}}],"content":["{one}"],"error":"e"}}]}}{}"#,
                '\n'
            )
        );
    }

    #[test]
    fn each_sort_of_entry_has_its_own_fields() {
        let target = OsString::from_vec(b"x\xff".to_vec());
        let (link, raw) = ("linktarget", "linktarget_raw");
        let sub = id(2).to_hex();
        for (kind, fields) in [
            (NodeKind::File { size: 0, content: Vec::new() }, r#","content":[]"#.to_owned()),
            (
                NodeKind::Directory { subtree: id(2) },
                format!(r#","content":null,"subtree":"{sub}""#),
            ),
            (
                NodeKind::Symlink { target: "a<b".into() },
                format!(r#","{link}":"a\u003cb","content":null"#),
            ),
            (
                NodeKind::Symlink { target },
                format!(r#","{link}":"x\ufffd","{raw}":"eP8=","content":null"#),
            ),
            (NodeKind::BlockDevice { device: 2049 }, r#","device":2049,"content":null"#.to_owned()),
            (NodeKind::CharDevice { device: 0 }, r#","content":null"#.to_owned()),
            (NodeKind::Fifo, r#","content":null"#.to_owned()),
            (NodeKind::Socket, r#","content":null"#.to_owned()),
        ] {
            let sort = kind.name();
            let tree = Tree { nodes: vec![node(b"n", kind)] };
            let document = tree.to_document().unwrap();
            let expected =
                format!("{{\"nodes\":[{{\"name\":\"n\",\"type\":\"{sort}\",{TIMES}{fields}}}]}}\n");
            assert_eq!(String::from_utf8(document.clone()).unwrap(), expected);
            assert_eq!(Tree::parse(&document).unwrap(), tree);
        }
    }

    #[test]
    fn attributes_of_other_systems_survive_as_they_are() {
        let document = format!(
            "{{\"nodes\":[{{\"name\":\"n\",\"type\":\"fifo\",{TIMES},\"generic_attributes\":{{\"windows.creation_time\":{{\"LowDateTime\":1,\"HighDateTime\":2}},\"windows.file_attributes\":32}},\"content\":null}}]}}\n"
        );
        let tree = Tree::parse(document.as_bytes()).unwrap();
        assert_eq!(tree.nodes[0].metadata.generic_attributes.len(), 2);
        assert_eq!(String::from_utf8(tree.to_document().unwrap()).unwrap(), document);
    }

    #[test]
    fn names_must_ascend_when_written() {
        let names = |names: [&[u8]; 2]| Tree {
            nodes: names.iter().map(|name| node(name, NodeKind::Fifo)).collect(),
        };
        let bad: [[&[u8]; 2]; 4] = [[b"b", b"a"], [b"a", b"a"], [b"", b"a"], [b"\xff", b"a"]];
        for bad in bad {
            let error = names(bad).to_document().unwrap_err();
            assert!(matches!(error, TreeError::NotOrdered { .. }), "{bad:?}");
        }
        assert!(names([b"B", b"a"]).is_ordered());
        assert!(names([b"a", b"\xff"]).to_document().is_ok());
        assert_eq!(written(Vec::new()), "{\"nodes\":[]}\n");
    }

    fn parse_one(name: &str, rest: &str) -> Result<Tree, TreeError> {
        Tree::parse(format!(r#"{{"nodes":[{{"name":"{name}",{rest}}}]}}"#).as_bytes())
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["", ".", "..", "a/b", "/", "\\\\x00", "a\\\\", "\\\\x2fetc"] {
            let error = parse_one(bad, r#""type":"fifo""#).unwrap_err();
            assert!(matches!(error, TreeError::Name { .. }), "{bad}: {error}");
        }
        assert!(parse_one("...", r#""type":"fifo""#).is_ok());
    }

    #[test]
    fn nodes_that_cannot_be_restored_are_refused() {
        let error = parse_one("n", r#""type":"irregular""#).unwrap_err();
        assert_eq!(error.to_string(), "`n` is of the unknown type `irregular`");
        let error = parse_one("n", r#""type":"file","content":null"#).unwrap_err();
        assert_eq!(error.to_string(), "file `n` has no content");
        let error = parse_one("n", r#""type":"dir""#).unwrap_err();
        assert_eq!(error.to_string(), "directory `n` has no subtree");
        assert!(Tree::parse(br#"{"nodes":null}"#).unwrap().nodes.is_empty());
        assert!(Tree::parse(br#"{"tree":[]}"#).is_ok_and(|tree| tree.nodes.is_empty()));
    }

    fn any_kind() -> impl Strategy<Value = NodeKind> {
        let bytes = vec(any::<u8>(), 1..20).prop_map(OsString::from_vec);
        prop_oneof![
            (any::<u64>(), vec(any::<u8>(), 0..4)).prop_map(|(size, content)| NodeKind::File {
                size,
                content: content.into_iter().map(id).collect(),
            }),
            any::<u8>().prop_map(|subtree| NodeKind::Directory { subtree: id(subtree) }),
            bytes.prop_map(|target| NodeKind::Symlink { target }),
            any::<u64>().prop_map(|device| NodeKind::BlockDevice { device }),
            any::<u64>().prop_map(|device| NodeKind::CharDevice { device }),
            Just(NodeKind::Fifo),
            Just(NodeKind::Socket),
        ]
    }

    fn any_metadata() -> impl Strategy<Value = Metadata> {
        let time = (-62_135_596_800..253_370_000_000_i64, 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanoseconds)| NodeTime::from_unix(seconds, nanoseconds));
        let attribute = ("[a-z.]{1,10}", vec(any::<u8>(), 0..10))
            .prop_map(|(name, value)| ExtendedAttribute { name: name.into(), value });
        let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<[u64; 3]>());
        let texts = (any::<String>(), any::<String>(), any::<String>());
        (numbers, [time.clone(), time.clone(), time], texts, vec(attribute, 0..3)).prop_map(
            |((mode, uid, gid, counts), times, (user, group, error), extended_attributes)| {
                Metadata {
                    mode: FileMode::from_bits(mode),
                    mtime: times[0],
                    atime: times[1],
                    ctime: times[2],
                    uid,
                    gid,
                    user,
                    group,
                    inode: counts[0],
                    device_id: counts[1],
                    links: counts[2],
                    extended_attributes,
                    generic_attributes: Vec::new(),
                    error,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn every_tree_survives(
            entries in proptest::collection::btree_map(
                vec(any::<u8>(), 1..30),
                (any_kind(), any_metadata()),
                0..8,
            ),
        ) {
            let nodes = entries.into_iter().filter(|(name, _)| {
                !matches!(&name[..], b"." | b"..") && !name.contains(&0) && !name.contains(&b'/')
            });
            let nodes = nodes.map(|(name, (kind, metadata))| Node {
                name: OsString::from_vec(name),
                kind,
                metadata,
            });
            let tree = Tree { nodes: nodes.collect() };
            let document = tree.to_document().unwrap();
            let parsed = Tree::parse(&document).unwrap();
            prop_assert_eq!(&parsed, &tree);
            prop_assert_eq!(parsed.to_document().unwrap(), document);
        }

        #[test]
        fn no_document_makes_the_parser_panic(
            text in r#"\{"nodes":\[\{("(name|type|mtime|content|mode)":("[a-z\\x0-9]{0,9}"|[0-9]{1,30}|null),){0,6}"uid":1\}\]\}"#,
        ) {
            let _ = Tree::parse(text.as_bytes());
        }
    }
}
