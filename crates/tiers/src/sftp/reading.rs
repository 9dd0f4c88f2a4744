//! Reading an object: its slices are asked for together and arrive where they belong.

use bytes::{Bytes, BytesMut};
use futures::future;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::failure::{Failure, Status, Trouble};
use super::files::{self, Opened, is_directory, is_file};
use super::session::IN_FLIGHT_MAX;
use super::store::Visit;
use crate::{ObjectPath, ReadRange};

/// Reads an object or a part of it.
pub(super) async fn read(
    visit: &Visit,
    path: &ObjectPath,
    range: ReadRange,
) -> Result<Bytes, Trouble> {
    let file = match files::open(visit.session(), &visit.place().below(path.as_str())).await {
        Ok(file) => file,
        Err(failure) => return Err(visit.absent_or(failure).await),
    };
    let reader = Reader { file, slice: visit.session().slices().await?.read };
    match range {
        ReadRange::Full => reader.all().await,
        // An empty range may begin at the end and not behind it.
        ReadRange::Bounded { offset, length: length @ 1.. } => {
            if offset.checked_add(length).is_none() {
                return Err(reader.out_of_range().await);
            }
            match reader.part(offset, length).await {
                Ok(part) => Ok(part),
                Err(Short::Ended) => Err(reader.out_of_range().await),
                Err(Short::Failed(failure)) => Err(reader.no_object_or(failure).await),
            }
        }
        ReadRange::Bounded { .. } | ReadRange::Suffix(_) => {
            let size = reader.size().await?;
            let span = range.within(size).ok_or(Trouble::OutOfRange { size })?;
            Ok(reader.part(span.start, span.end - span.start).await?)
        }
    }
}

/// Why less was read than was wanted.
enum Short {
    Ended,
    Failed(Failure),
}

impl From<Short> for Trouble {
    fn from(short: Short) -> Self {
        Self::Failed(match short {
            // What was open when its size was asked does not change: it is replaced as a whole.
            Short::Ended => Failure::Odd("the file is shorter than it was said to be".to_owned()),
            Short::Failed(failure) => failure,
        })
    }
}

/// An open file.
struct Reader {
    file: Opened,
    /// How many bytes one request asks for.
    slice: u32,
}

impl Reader {
    async fn size(&self) -> Result<u64, Trouble> {
        let attributes = self.file.attributes().await?;
        if !is_file(&attributes) {
            return Err(Trouble::Absent);
        }
        let size = attributes.get_size();
        size.ok_or_else(|| Failure::Odd("it tells no size".to_owned()).into())
    }

    async fn out_of_range(&self) -> Trouble {
        self.size().await.map_or_else(|trouble| trouble, |size| Trouble::OutOfRange { size })
    }

    /// Says what it means that nothing could be read: a directory can be opened as well.
    async fn no_object_or(&self, failure: Failure) -> Trouble {
        if failure.is(Status::Failure)
            && self.file.attributes().await.is_ok_and(|attributes| is_directory(&attributes))
        {
            return Trouble::Absent;
        }
        failure.into()
    }

    /// Reads everything; what fits into one slice comes together with its size.
    async fn all(&self) -> Result<Bytes, Trouble> {
        let buffer = BytesMut::with_capacity(self.slice as usize);
        let (size, first) = future::join(self.size(), self.file.read(0, self.slice, buffer)).await;
        let (size, first) = (size?, first?.unwrap_or_default());
        let have = first.len() as u64;
        if have >= size {
            return Ok(first.freeze().slice(..usize::try_from(size).unwrap_or(usize::MAX)));
        }
        let mut body = room(size)?;
        body.extend_from_slice(&first);
        let rest = body.split_off(first.len());
        let rest = self.fill(have, size - have, rest).await?;
        body.unsplit(rest);
        Ok(body.freeze())
    }

    async fn part(&self, offset: u64, length: u64) -> Result<Bytes, Short> {
        let buffer = room(length).map_err(Short::Failed)?;
        self.fill(offset, length, buffer).await.map(BytesMut::freeze)
    }

    /// Fills `buffer`, which is empty and has room for `length` bytes.
    async fn fill(
        &self,
        offset: u64,
        length: u64,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, Short> {
        let end = offset + length;
        let mut slices = Vec::new();
        let mut start = offset;
        while start < end {
            let wanted = u64::from(self.slice).min(end - start);
            let wanted = u32::try_from(wanted).unwrap_or(self.slice);
            let rest = buffer.split_off(wanted as usize);
            slices.push((start, wanted, std::mem::replace(&mut buffer, rest)));
            start += u64::from(wanted);
        }
        let asked = slices.into_iter().map(|(start, wanted, room)| self.slice(start, wanted, room));
        let read = stream::iter(asked).buffered(IN_FLIGHT_MAX);
        read.try_fold(BytesMut::new(), |mut body, slice| {
            // They lie side by side, so nothing is copied.
            body.unsplit(slice);
            future::ready(Ok(body))
        })
        .await
    }

    /// Reads one slice, asking again for what a server keeps back.
    async fn slice(&self, start: u64, wanted: u32, room: BytesMut) -> Result<BytesMut, Short> {
        let mut have = self.read(start, wanted, room).await?;
        while have.len() < wanted as usize {
            let length = u32::try_from(have.len()).unwrap_or(wanted);
            let room = have.split_off(have.len());
            let more = self.read(start + u64::from(length), wanted - length, room).await?;
            have.unsplit(more);
        }
        Ok(have)
    }

    async fn read(&self, start: u64, wanted: u32, room: BytesMut) -> Result<BytesMut, Short> {
        match self.file.read(start, wanted, room).await {
            Ok(Some(read)) if (1..=wanted as usize).contains(&read.len()) => Ok(read),
            Ok(Some(_)) => {
                let odd = "it sent nothing, or more than was asked for".to_owned();
                Err(Short::Failed(Failure::Odd(odd)))
            }
            Ok(None) => Err(Short::Ended),
            Err(failure) => Err(Short::Failed(failure)),
        }
    }
}

/// Sets memory aside, or says that there is not enough.
fn room(length: u64) -> Result<BytesMut, Failure> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    // What the other would end the process for is an error here.
    match Vec::<u8>::new().try_reserve_exact(length) {
        Ok(()) => Ok(BytesMut::with_capacity(length)),
        Err(error) => Err(Failure::Odd(error.to_string())),
    }
}
