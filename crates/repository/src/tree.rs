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
use std::os::unix::ffi::OsStrExt;

use serde::Deserialize;

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
        /// A tree as it is stored.
        #[derive(Deserialize)]
        struct TreeDocument {
            nodes: Option<Vec<NodeDocument>>,
        }
        let document: TreeDocument = serde_json::from_slice(document)?;
        let nodes = document.nodes.unwrap_or_default().into_iter();
        Ok(Self { nodes: nodes.map(NodeDocument::into_node).collect::<Result<_, _>>()? })
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

/// Writes a tree node by node.
#[derive(Debug)]
pub struct TreeWriter {
    document: Vec<u8>,
    last: OsString,
}

impl TreeWriter {
    /// Begins a tree.
    pub fn new() -> Self {
        Self { document: b"{\"nodes\":[".to_vec(), last: OsString::new() }
    }

    /// Writes a node, whose name comes after that of the one before.
    pub fn add(&mut self, node: &Node) -> Result<(), TreeError> {
        // The empty name at the beginning also refuses an empty name.
        if node.name.as_bytes() <= self.last.as_bytes() {
            let (name, previous) = (node.name.clone(), self.last.clone());
            return Err(TreeError::NotOrdered { name, previous });
        }
        if !self.last.is_empty() {
            self.document.push(b',');
        }
        node.write(&mut self.document);
        self.last.clone_from(&node.name);
        Ok(())
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
