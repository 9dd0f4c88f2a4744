//! `s3s-fs` for benchmarks: it says where it listens, and does in the time of the answer what takes
//! `s3s-fs` the time of the bucket.
//!
//! `s3s-fs` walks the whole bucket for each page of a listing and reads 4 KiB at a time, so that a
//! measurement of a hundred thousand objects would be one of the server. Listings come from memory here,
//! and a range is read in one piece; everything else, signatures included, is done by `s3s` and `s3s-fs`.

mod catalog;

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use catalog::{Catalog, Entry, Page, Question};
use futures::stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

/// What whoever asks has to sign with.
const KEY_ID: &str = "lifeboat";
const SECRET: &str = "lifeboat-benchmark";

struct Server {
    root: PathBuf,
    files: FileSystem,
    catalog: Catalog,
}

impl Server {
    fn new(root: &Path) -> Result<Self, Box<dyn Error>> {
        let files = FileSystem::new(root).map_err(|error| format!("{error:?}"))?;
        Ok(Self { root: root.to_owned(), files, catalog: Catalog::read(root)? })
    }

    fn path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if !is_plain(bucket) || !key.split('/').all(is_plain) {
            return Err(s3_error!(InvalidArgument, "a key of empty parts, `.` or `..`"));
        }
        Ok(self.root.join(bucket).join(key))
    }

    /// Takes note of an object that was put.
    fn was_put(&self, bucket: &str, key: &str) -> S3Result<()> {
        let entry = std::fs::metadata(self.path(bucket, key)?).and_then(|it| Entry::of(&it));
        self.catalog.put(bucket, key, entry.map_err(|error| s3_error!(error, InternalError))?);
        Ok(())
    }
}

/// Reads a part of a file in one piece.
fn read(path: &Path, range: Option<Range>) -> S3Result<GetObjectOutput> {
    let file = File::open(path).map_err(|error| s3_error!(error, NoSuchKey))?;
    let fail = |error: io::Error| s3_error!(error, InternalError);
    let entry = file.metadata().and_then(|it| Entry::of(&it)).map_err(fail)?;
    let wanted = range.map_or(Ok(0..entry.size), |range| range.check(entry.size))?;
    let mut body = vec![0; usize::try_from(wanted.end - wanted.start).unwrap_or(0)];
    file.read_exact_at(&mut body, wanted.start).map_err(fail)?;
    let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
    let content_range =
        range.map(|_| format!("bytes {}-{}/{}", wanted.start, wanted.end - 1, entry.size));
    let body = Ok::<_, Infallible>(Bytes::from(body));
    Ok(GetObjectOutput {
        body: Some(StreamingBlob::wrap(stream::iter([body]))),
        content_length: Some(length),
        content_range,
        last_modified: Some(entry.modified.into()),
        // Names are the sums of what they name, so the length tells whether it is the same.
        e_tag: Some(ETag::Strong(format!("{:x}", entry.size))),
        ..GetObjectOutput::default()
    })
}

fn listed(page: Page, input: &ListObjectsV2Input) -> ListObjectsV2Output {
    let count = page.objects.len() + page.prefixes.len();
    let objects = page.objects.into_iter().map(|(key, entry)| Object {
        key: Some(key),
        size: i64::try_from(entry.size).ok(),
        last_modified: Some(entry.modified.into()),
        ..Object::default()
    });
    let prefixes = page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
    ListObjectsV2Output {
        name: Some(input.bucket.clone()),
        prefix: input.prefix.clone(),
        delimiter: input.delimiter.clone(),
        key_count: i32::try_from(count).ok(),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next,
        contents: Some(objects.collect()),
        common_prefixes: Some(prefixes.collect()),
        ..ListObjectsV2Output::default()
    }
}

/// Hands operations over to `s3s-fs` as they are.
macro_rules! handed_over {
    ($($name:ident($input:ident) -> $output:ident;)*) => {$(
        fn $name<'s: 'f, 'f>(
            &'s self,
            request: S3Request<$input>,
        ) -> std::pin::Pin<Box<dyn Future<Output = S3Result<S3Response<$output>>> + Send + 'f>> {
            self.files.$name(request)
        }
    )*};
}

#[async_trait::async_trait]
impl S3 for Server {
    handed_over! {
        create_bucket(CreateBucketInput) -> CreateBucketOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        head_object(HeadObjectInput) -> HeadObjectOutput;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
        upload_part(UploadPartInput) -> UploadPartOutput;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        let answer = self.files.put_object(request).await?;
        self.was_put(&bucket, &key)?;
        Ok(answer)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        let answer = self.files.complete_multipart_upload(request).await?;
        self.was_put(&bucket, &key)?;
        Ok(answer)
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = request.input;
        let path = self.path(&bucket, &key)?;
        let output = tokio::task::spawn_blocking(move || read(&path, range)).await;
        Ok(S3Response::new(output.map_err(|error| s3_error!(error, InternalError))??))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        let answer = self.files.delete_object(request).await?;
        self.catalog.delete(&bucket, &key);
        Ok(answer)
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = request.input.bucket.clone();
        let answer = self.files.delete_objects(request).await?;
        for key in answer.output.deleted.iter().flatten().filter_map(|one| one.key.as_deref()) {
            self.catalog.delete(&bucket, key);
        }
        Ok(answer)
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        if !self.root.join(&input.bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        let question = Question {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            after: input.continuation_token.as_deref().or(input.start_after.as_deref()),
            count: input.max_keys.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(0)),
        };
        let page = self.catalog.page(&input.bucket, question);
        Ok(S3Response::new(listed(page, &input)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).ok_or("expected the directory of the buckets")?;
    let root = std::fs::canonicalize(root)?;
    let mut service = S3ServiceBuilder::new(Server::new(&root)?);
    service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
    let service = service.build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listens on http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            // A connection that breaks is the client's affair.
            drop(http.serve_connection(TokioIo::new(socket), service).await);
        });
    }
}
