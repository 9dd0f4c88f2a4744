//! Blobs and headers out of packs. What does not open is read once more where a line may have altered it; a
//! disk gives the same again.

use lifeboat_model::{BlobId, PackId};
use lifeboat_tiers::{ReadRange, TierError};

use super::{Repository, State};
use crate::blob::{BlobKind, BlobLocation, BlobOpener, LONG, LongBlob};
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::pack::{HeaderError, PackHeader};
use crate::store::FileId as _;

/// How much of a pack's end is read at first; enough for the header of a pack of 64 MiB with blobs
/// of 64 KiB on average, so that most headers take one read.
const HEADER_READ_LENGTH: u64 = 48 << 10;

impl<S: State> Repository<S> {
    /// Reads the header of a pack of `size` bytes.
    pub fn pack_header(&self, id: &PackId, size: u64) -> Result<PackHeader, RepositoryError> {
        let opened = match self.read_header(id, size)? {
            Err(error) if !self.store.reads_here() => {
                tracing::warn!(pack = id.to_hex(), %error, "a header came damaged; reading it again");
                self.read_header(id, size)?
            }
            other => other,
        };
        opened.map_err(|error| self.corrupt(id.object(), error))
    }

    fn read_header(
        &self,
        id: &PackId,
        size: u64,
    ) -> Result<Result<PackHeader, HeaderError>, RepositoryError> {
        let mut tail = self.store.get_range(id, ReadRange::Suffix(HEADER_READ_LENGTH.min(size)))?;
        let length = match PackHeader::tail_length(&tail, size) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        if tail.len() < length {
            tail = self.store.get_range(id, ReadRange::Suffix(length as u64))?;
        }
        Ok(PackHeader::open(&self.key, &tail, size))
    }

    /// Reads a blob from where it lies.
    pub fn read_blob_at(
        &self,
        opener: &mut BlobOpener<'_>,
        kind: BlobKind,
        id: &BlobId,
        location: &BlobLocation,
    ) -> Result<Vec<u8>, RepositoryError> {
        self.read_opened((kind, id), location, |mut sealed| {
            opener.open(id, &mut sealed, location.uncompressed_length)
        })
    }

    /// Reads a long directory from where it lies, without opening it into memory; nothing if it is not
    /// long.
    pub(crate) fn read_long_tree_at(
        &self,
        opener: &BlobOpener<'_>,
        id: &BlobId,
        location: &BlobLocation,
    ) -> Result<Option<LongBlob<Vec<u8>>>, RepositoryError> {
        let Some(length) = location.uncompressed_length.filter(|length| length.get() > LONG) else {
            return Ok(None);
        };
        let open = |sealed| opener.open_long(id, sealed, length);
        self.read_opened((BlobKind::Tree, id), location, open).map(Some)
    }

    fn read_opened<T>(
        &self,
        (kind, id): (BlobKind, &BlobId),
        location: &BlobLocation,
        mut open: impl FnMut(Vec<u8>) -> Result<T, Defect>,
    ) -> Result<T, RepositoryError> {
        let opened = match open(self.read_sealed_at(location)?) {
            Err(defect) if !self.store.reads_here() => {
                tracing::warn!(blob = id.to_hex(), %defect, "a blob came damaged; reading it again");
                open(self.read_sealed_at(location)?)
            }
            other => other,
        };
        let at = Some((location.pack, location.offset));
        opened.map_err(|defect| self.corrupt(StoredObject::Blob { kind, id: *id, at }, defect))
    }

    fn read_sealed_at(&self, location: &BlobLocation) -> Result<Vec<u8>, RepositoryError> {
        let range =
            ReadRange::Bounded { offset: location.offset.into(), length: location.length.into() };
        let mut sealed = Vec::new();
        match self.store.get_into(&location.pack, range, &mut sealed) {
            Ok(()) => Ok(sealed),
            Err(TierError::NotFound { .. }) => {
                Err(self.corrupt(location.pack.object(), Defect::Missing))
            }
            Err(TierError::OutOfRange { size, .. }) => {
                let expected = u64::from(location.offset) + u64::from(location.length);
                let defect = Defect::Length { expected, actual: size };
                Err(self.corrupt(location.pack.object(), defect))
            }
            Err(error) => Err(error.into()),
        }
    }
}
