//! Nodes: what a directory knows of each of its entries.
//!
//! A [`Node`] keeps all that a Linux restore needs, and all that restic writes, so that a tree of
//! restic's that is read and written again has the same bytes.
//!
//! # Invariants
//!
//! - A file has a list of blobs, which may be empty; a directory has a subtree.
//! - A name that was read is a file's name: not empty, not `.` or `..`, without `/` and NUL. So no
//!   tree, whoever wrote it, leads a restore out of its target.
//!
//! Sources: restic `internal/data/node.go`, `internal/data/tree.go`; Go `io/fs/fs.go` (`FileMode`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use lifeboat_model::BlobId;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::{self, ObjectWriter, base64_bytes};
use crate::time::NodeTime;
use crate::tree::TreeError;

/// Type and permissions of a node, in the bits of Go's `fs.FileMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileMode(u32);

/// The bits of Go's mode beside the bits of Unix that say the same. The type is handled apart,
/// since Go spreads character devices over two bits.
const PERMISSION_BITS: [(u32, u32); 3] = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const CHAR_DEVICE: u32 = 1 << 21;

const UNIX_TYPE: u32 = 0o170_000;
const UNIX_TYPES: [(u32, u32); 6] = [
    (DIRECTORY, 0o040_000),
    (SYMLINK, 0o120_000),
    (DEVICE | CHAR_DEVICE, 0o020_000),
    (DEVICE, 0o060_000),
    (FIFO, 0o010_000),
    (SOCKET, 0o140_000),
];

impl FileMode {
    /// Wraps the bits of Go's mode.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the bits of Go's mode.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Translates `st_mode`.
    pub fn from_unix(st_mode: u32) -> Self {
        let kind = UNIX_TYPES.iter().find(|(_, unix)| st_mode & UNIX_TYPE == *unix);
        let special = PERMISSION_BITS.iter().filter(|(_, unix)| st_mode & unix != 0);
        let bits = st_mode & 0o777 | kind.map_or(0, |(go, _)| *go);
        Self(special.fold(bits, |bits, (go, _)| bits | go))
    }

    /// Returns the twelve permission bits of Unix: set-id, sticky, and read, write, execute.
    pub fn permissions(self) -> u32 {
        let special = PERMISSION_BITS.iter().filter(|(go, _)| self.0 & go != 0);
        special.fold(self.0 & 0o777, |bits, (_, unix)| bits | unix)
    }
}

/// What sort of entry a node is, and what only this sort has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its pieces.
        content: Vec<BlobId>,
    },
    /// A directory.
    Directory {
        /// The tree that lists it.
        subtree: BlobId,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: OsString,
    },
    /// A block device.
    BlockDevice {
        /// Its number.
        device: u64,
    },
    /// A character device.
    CharDevice {
        /// Its number.
        device: u64,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl NodeKind {
    /// Returns the name of the sort, as it is stored.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Directory { .. } => "dir",
            Self::Symlink { .. } => "symlink",
            Self::BlockDevice { .. } => "dev",
            Self::CharDevice { .. } => "chardev",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// An extended attribute; POSIX ACLs and capabilities are such, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedAttribute {
    /// Its name, like `user.comment`.
    pub name: OsString,
    /// Its value.
    pub value: Vec<u8>,
}

/// What every sort of entry has.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Type and permissions.
    pub mode: FileMode,
    /// When its content changed last.
    pub mtime: NodeTime,
    /// When it was read last.
    pub atime: NodeTime,
    /// When its inode changed last.
    pub ctime: NodeTime,
    /// The number of its owner.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// The name of its owner; empty if the number has no name.
    pub user: String,
    /// The name of its group; empty if the number has no name.
    pub group: String,
    /// Its inode, by which hard links find each other.
    pub inode: u64,
    /// The device that the inode belongs to.
    pub device_id: u64,
    /// How many hard links there are; 0 if the sort of entry does not tell.
    pub links: u64,
    /// Its extended attributes, in the order of the file system.
    pub extended_attributes: Vec<ExtendedAttribute>,
    /// What restic keeps of other systems, as it is written.
    pub generic_attributes: Vec<(String, Box<RawValue>)>,
    /// What went wrong when restic read the entry; empty if nothing.
    pub error: String,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            mode: FileMode::default(),
            mtime: NodeTime::UNKNOWN,
            atime: NodeTime::UNKNOWN,
            ctime: NodeTime::UNKNOWN,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            links: 0,
            extended_attributes: Vec::new(),
            generic_attributes: Vec::new(),
            error: String::new(),
        }
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        let generic = |metadata: &Self| -> Vec<(String, String)> {
            let attributes = metadata.generic_attributes.iter();
            attributes.map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
        };
        let plain = |metadata: &Self| (metadata.mode, metadata.uid, metadata.gid, metadata.links);
        let times = |metadata: &Self| (metadata.mtime, metadata.atime, metadata.ctime);
        plain(self) == plain(other)
            && times(self) == times(other)
            && (self.inode, self.device_id) == (other.inode, other.device_id)
            && (&self.user, &self.group, &self.error) == (&other.user, &other.group, &other.error)
            && self.extended_attributes == other.extended_attributes
            && generic(self) == generic(other)
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: OsString,
    /// What sort of entry it is.
    pub kind: NodeKind,
    /// What every sort of entry has.
    pub metadata: Metadata,
}

/// The first fields of a node: all that the file system tells of an entry without looking into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeHead<'a> {
    pub(crate) name: &'a OsStr,
    /// The name of the sort of entry.
    pub(crate) kind: &'a str,
    /// 0 unless it is a file.
    pub(crate) size: u64,
    /// Its attributes are none of the first fields.
    pub(crate) metadata: &'a Metadata,
}

impl NodeHead<'_> {
    /// Writes the fields, and no end of the object.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>) {
        self.begin(buffer);
    }

    fn begin<'b>(&self, buffer: &'b mut Vec<u8>) -> ObjectWriter<'b> {
        let metadata = self.metadata;
        let times =
            [("mtime", metadata.mtime), ("atime", metadata.atime), ("ctime", metadata.ctime)];
        let mut object = ObjectWriter::new(buffer);
        json::write_name(object.field("name"), self.name.as_bytes());
        object.text("type", self.kind.as_bytes());
        object.number_unless_zero("mode", metadata.mode.bits().into());
        for (name, time) in times {
            let buffer = object.field(name);
            buffer.push(b'"');
            time.write(buffer);
            buffer.push(b'"');
        }
        object.number("uid", metadata.uid.into());
        object.number("gid", metadata.gid.into());
        object.text_unless_empty("user", metadata.user.as_bytes());
        object.text_unless_empty("group", metadata.group.as_bytes());
        object.number_unless_zero("inode", metadata.inode);
        object.number_unless_zero("device_id", metadata.device_id);
        object.number_unless_zero("size", self.size);
        object.number_unless_zero("links", metadata.links);
        object
    }
}

impl Node {
    /// Returns the first fields.
    pub(crate) fn head(&self) -> NodeHead<'_> {
        let size = if let NodeKind::File { size, .. } = &self.kind { *size } else { 0 };
        NodeHead { name: &self.name, kind: self.kind.name(), size, metadata: &self.metadata }
    }

    /// Writes the node as restic does.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>) {
        let metadata = &self.metadata;
        let mut object = self.head().begin(buffer);
        if let NodeKind::Symlink { target } = &self.kind {
            write_target(&mut object, target);
        }
        write_attributes(&mut object, metadata);
        if let NodeKind::BlockDevice { device } | NodeKind::CharDevice { device } = &self.kind {
            object.number_unless_zero("device", *device);
        }
        write_content(&mut object, &self.kind);
        object.text_unless_empty("error", metadata.error.as_bytes());
        object.end();
    }
}

fn write_target(object: &mut ObjectWriter<'_>, target: &OsStr) {
    object.text_unless_empty("linktarget", target.as_bytes());
    if target.to_str().is_none() {
        json::write_base64(object.field("linktarget_raw"), target.as_bytes());
    }
}

fn write_attributes(object: &mut ObjectWriter<'_>, metadata: &Metadata) {
    if !metadata.extended_attributes.is_empty() {
        let buffer = object.field("extended_attributes");
        json::write_array(buffer, &metadata.extended_attributes, |buffer, attribute| {
            let mut object = ObjectWriter::new(buffer);
            object.text("name", attribute.name.as_bytes());
            json::write_base64(object.field("value"), &attribute.value);
            object.end();
        });
    }
    if !metadata.generic_attributes.is_empty() {
        let mut attributes = ObjectWriter::new(object.field("generic_attributes"));
        for (name, value) in &metadata.generic_attributes {
            attributes.field(name).extend_from_slice(value.get().as_bytes());
        }
        attributes.end();
    }
}

fn write_content(object: &mut ObjectWriter<'_>, kind: &NodeKind) {
    let write_id = |buffer: &mut Vec<u8>, id: &BlobId| {
        json::write_text(buffer, id.to_hex().as_bytes());
    };
    match kind {
        NodeKind::File { content, .. } => {
            json::write_array(object.field("content"), content, write_id);
        }
        _ => object.field("content").extend_from_slice(b"null"),
    }
    if let NodeKind::Directory { subtree } = kind {
        write_id(object.field("subtree"), subtree);
    }
}

/// A node as it is stored.
#[derive(Deserialize)]
pub(crate) struct NodeDocument {
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    mode: u32,
    #[serde(default = "unknown_time", deserialize_with = "read_time")]
    mtime: NodeTime,
    #[serde(default = "unknown_time", deserialize_with = "read_time")]
    atime: NodeTime,
    #[serde(default = "unknown_time", deserialize_with = "read_time")]
    ctime: NodeTime,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    #[serde(default, with = "base64_bytes")]
    linktarget_raw: Vec<u8>,
    #[serde(default)]
    extended_attributes: Option<Vec<AttributeDocument>>,
    #[serde(default)]
    generic_attributes: Option<GenericAttributes>,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    content: Option<Vec<BlobId>>,
    #[serde(default)]
    subtree: Option<BlobId>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct AttributeDocument {
    name: String,
    #[serde(with = "base64_bytes")]
    value: Vec<u8>,
}

/// Attributes in the order in which they are written, which is that of their names.
struct GenericAttributes(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for GenericAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attributes =
            std::collections::BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)?;
        Ok(Self(attributes.into_iter().collect()))
    }
}

const fn unknown_time() -> NodeTime {
    NodeTime::UNKNOWN
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    NodeTime::parse(&text)
        .ok_or_else(|| serde::de::Error::custom(format_args!("`{text}` is not a time")))
}

fn is_file_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

impl NodeDocument {
    pub(crate) fn into_node(self) -> Result<Node, TreeError> {
        let name = json::unquote(&self.name)
            .filter(|name| is_file_name(name))
            .ok_or_else(|| TreeError::Name { name: self.name.clone() })?;
        let target = if self.linktarget_raw.is_empty() {
            self.linktarget.into()
        } else {
            OsString::from_vec(self.linktarget_raw)
        };
        let kind = match self.kind.as_str() {
            "file" => {
                let content = self.content.ok_or(TreeError::NoContent { name: self.name })?;
                NodeKind::File { size: self.size, content }
            }
            "dir" => {
                let subtree = self.subtree.ok_or(TreeError::NoSubtree { name: self.name })?;
                NodeKind::Directory { subtree }
            }
            "symlink" => NodeKind::Symlink { target },
            "dev" => NodeKind::BlockDevice { device: self.device },
            "chardev" => NodeKind::CharDevice { device: self.device },
            "fifo" => NodeKind::Fifo,
            "socket" => NodeKind::Socket,
            _ => return Err(TreeError::Kind { name: self.name, kind: self.kind }),
        };
        let attributes = self.extended_attributes.unwrap_or_default().into_iter();
        let metadata = Metadata {
            mode: FileMode::from_bits(self.mode),
            mtime: self.mtime,
            atime: self.atime,
            ctime: self.ctime,
            uid: self.uid,
            gid: self.gid,
            user: self.user,
            group: self.group,
            inode: self.inode,
            device_id: self.device_id,
            links: self.links,
            extended_attributes: attributes
                .map(|a| ExtendedAttribute { name: a.name.into(), value: a.value })
                .collect(),
            generic_attributes: self.generic_attributes.map_or_else(Vec::new, |map| map.0),
            error: self.error,
        };
        Ok(Node { name: OsString::from_vec(name), kind, metadata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_the_bits_of_go() {
        for (unix, go) in [
            (0o100_644, 0o644),
            (0o040_755, 0x8000_01ed),
            (0o120_777, 0x0800_01ff),
            (0o060_660, 0x0400_01b0),
            (0o020_620, 0x0420_0190),
            (0o010_600, 0x0200_0180),
            (0o140_755, 0x0100_01ed),
            (0o104_755, 0x0080_01ed),
            (0o102_755, 0x0040_01ed),
            (0o041_777, 0x8010_01ff),
        ] {
            let mode = FileMode::from_unix(unix);
            assert_eq!(mode.bits(), go, "{unix:o}");
            assert_eq!(mode.permissions(), unix & 0o7777, "{unix:o}");
        }
    }
}
