//! The tree of a large directory while it is not complete: entry after entry is hashed and compressed,
//! and what was written is not kept.
//!
//! # Limits
//!
//! Of what is as the parent's tree has it only the places are kept, as long as there is nothing else.

use std::ops::Range;

use lifeboat_model::BlobId;

use super::assemble::Part;
use super::before::ParentTree;
use crate::blob::{BlobStream, StreamedBlob};
use crate::compress::Compression;
use crate::error::RepositoryError;
use crate::tree::TreeWriter;

/// Up to which length neighbouring entries of the parent's tree are taken as one: few places to keep,
/// and little to write at once.
const RUN_LENGTH_MAX: usize = 64 << 10;

/// The tree of a directory, as far as it is known.
#[derive(Debug)]
pub(super) struct Draft {
    compression: Compression,
    kept: Vec<Range<usize>>,
    kept_count: usize,
    /// Begun with the first entry that the parent's tree does not have.
    written: Option<Written>,
}

#[derive(Debug)]
struct Written {
    writer: TreeWriter,
    stream: BlobStream,
}

/// What a draft came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The parent's tree, and nothing else.
    Unchanged(BlobId),
    /// A tree of its own.
    Tree(StreamedBlob),
}

impl Draft {
    pub(super) const fn new(compression: Compression) -> Self {
        Self { compression, kept: Vec::new(), kept_count: 0, written: None }
    }

    /// Adds the entries that come next.
    pub(super) fn add(&mut self, parts: &[Part], parent: Option<&ParentTree>) {
        for part in parts {
            match part {
                Part::Kept(range) => self.keep(range, parent),
                Part::Written(entry) => self.write(entry, parent),
                Part::Absent | Part::Unknown | Part::Same => {}
            }
        }
        if let Some(written) = &mut self.written {
            written.hand_over();
        }
    }

    fn keep(&mut self, range: &Range<usize>, parent: Option<&ParentTree>) {
        self.kept_count += 1;
        if let Some(written) = &mut self.written {
            written.add_kept(range, parent);
            return;
        }
        match self.kept.last_mut() {
            // A comma stands between neighbours.
            Some(last)
                if last.end + 1 == range.start && range.end - last.start <= RUN_LENGTH_MAX =>
            {
                last.end = range.end;
            }
            _ => self.kept.push(range.clone()),
        }
    }

    fn write(&mut self, entry: &[u8], parent: Option<&ParentTree>) {
        self.written(parent).writer.add_written(entry);
    }

    /// Returns what is written, and begins it with what was only kept.
    fn written(&mut self, parent: Option<&ParentTree>) -> &mut Written {
        self.written.get_or_insert_with(|| {
            let stream = BlobStream::new(self.compression);
            let mut written = Written { writer: TreeWriter::new(), stream };
            for run in std::mem::take(&mut self.kept) {
                written.add_kept(&run, parent);
                written.hand_over();
            }
            written
        })
    }

    /// Ends the tree. `before` is how many entries the parent's has, if that is known.
    pub(super) fn finish(
        mut self,
        before: Option<usize>,
        parent: Option<&ParentTree>,
    ) -> Result<Outcome, RepositoryError> {
        if self.written.is_none()
            && let Some(parent) = parent.filter(|parent| parent.is_as_stored())
            && before == Some(self.kept_count)
        {
            return Ok(Outcome::Unchanged(parent.id));
        }
        self.written(parent);
        let Written { writer, mut stream } = self.written.expect("it was begun");
        stream.write(&writer.finish());
        Ok(Outcome::Tree(stream.finish()?))
    }
}

impl Written {
    fn add_kept(&mut self, range: &Range<usize>, parent: Option<&ParentTree>) {
        let parent = parent.expect("what is kept is the parent's");
        self.writer.add_written(parent.entry(range.clone()));
    }

    fn hand_over(&mut self) {
        let Self { writer, stream } = self;
        writer.hand_over(|written| stream.write(written));
    }
}
