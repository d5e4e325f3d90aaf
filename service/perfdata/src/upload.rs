//! `POST /upload` and `PUT /uploads/KEY`: a body becomes an upload, while it comes in (`spec/perfdata.md` §4).

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode};
use burrow_perfstore::{Begin, Error, PerfStore, Receipt, UploadWriter};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use protocol_benchfmt::adapters::{self, Format};

use crate::auth::Person;
use crate::multipart::{Event, MultipartError, Parser};

/// Bytes of a file's beginning by which its format is told.
const PEEK: usize = 16 << 10;
/// Bytes of a report of another tool at most: it is read as a whole.
pub const REPORT: usize = 64 << 20;

/// Why an upload came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The body is no multipart body, or not whole.
    #[error(transparent)]
    Multipart(#[from] MultipartError),
    /// The connection broke.
    #[error("the body broke off: {0}; nothing of it was kept")]
    Broken(String),
    /// The client gave the upload up.
    #[error("unexpected field \"abort\": the upload was given up, nothing of it was kept")]
    Aborted,
    /// A field that means nothing.
    #[error("unexpected field {0:?}")]
    Field(String),
    /// The token asks for a `commit` field, and there was none.
    #[error("this token's uploads must end with a field named commit, and there was none; nothing was kept")]
    NoCommit,
    /// A report of another tool that cannot be converted.
    #[error("{file}: {error}")]
    Adapter {
        /// Which file.
        file: String,
        /// Why not.
        error: adapters::AdapterError,
    },
    /// A report of another tool that is too large.
    #[error("{0}: a report of another tool may have {REPORT} bytes; convert it to benchmark text first")]
    LargeReport(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] Error),
}

impl UploadError {
    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            UploadError::Multipart(MultipartError::NotMultipart) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            UploadError::Multipart(_) | UploadError::Broken(_) | UploadError::Field(_) | UploadError::NoCommit | UploadError::Adapter { .. } => {
                StatusCode::BAD_REQUEST
            }
            UploadError::Aborted => StatusCode::CONFLICT,
            UploadError::LargeReport(_) => StatusCode::PAYLOAD_TOO_LARGE,
            UploadError::Store(error) => store_status(error),
        }
    }
}

/// The status that an error of the store is answered with.
pub(crate) fn store_status(error: &Error) -> StatusCode {
    match error {
        Error::NoLines { .. } | Error::NoFiles | Error::GivenUp => StatusCode::BAD_REQUEST,
        Error::TooLarge { .. } | Error::TooManyLabels { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::KeyBusy(_) | Error::KeyTaken { .. } => StatusCode::CONFLICT,
        Error::Busy | Error::Rebuilding => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Takes a body in. When the future is dropped before its end, the upload is given up.
///
/// # Errors
/// [`UploadError`]; nothing of the upload stays.
pub async fn receive(
    store: &PerfStore,
    person: &Person,
    key: Option<String>,
    headers: &HeaderMap,
    body: Body,
    plain: Option<&str>,
) -> Result<Receipt, UploadError> {
    let content_type = headers.get(axum::http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let parser = match (Parser::new(content_type), plain) {
        (Ok(parser), _) => Some(parser),
        (Err(MultipartError::NotMultipart), Some(_)) => None,
        (Err(error), _) => return Err(error.into()),
    };
    let upload = store.begin(Begin { by: person.name.clone(), key }).await?;
    let mut receiver = Receiver { upload, number: 0, file: None, committed: false };
    let mut body = body.into_data_stream();
    let received = match parser {
        Some(parser) => parts(&mut receiver, parser, &mut body).await,
        None => whole(&mut receiver, plain.unwrap_or_default(), &mut body).await,
    };
    let received = match received {
        Ok(()) if person.require_commit && !receiver.committed => Err(UploadError::NoCommit),
        other => other,
    };
    match received {
        Ok(()) => Ok(receiver.upload.commit().await?),
        Err(error) => {
            // Waited for, so that the next upload gets the name that this one gives back.
            receiver.upload.abort().await;
            Err(error)
        }
    }
}

/// A body that is one file.
async fn whole(receiver: &mut Receiver, name: &str, body: &mut BodyDataStream) -> Result<(), UploadError> {
    receiver.begin(name);
    while let Some(bytes) = body.next().await {
        receiver.data(bytes.map_err(|error| UploadError::Broken(error.to_string()))?).await?;
    }
    receiver.committed = true;
    receiver.end().await
}

async fn parts(receiver: &mut Receiver, mut parser: Parser, body: &mut BodyDataStream) -> Result<(), UploadError> {
    let mut number = 0;
    loop {
        while let Some(event) = parser.next()? {
            match event {
                Event::Part { field, file } => {
                    receiver.number = number;
                    number += 1;
                    match field.as_str() {
                        "file" => receiver.begin(file.as_deref().unwrap_or_default()),
                        "commit" => receiver.committed = true,
                        "abort" => return Err(UploadError::Aborted),
                        _ => return Err(UploadError::Field(field)),
                    }
                }
                Event::Data(data) => receiver.data(data).await?,
                Event::EndOfPart => receiver.end().await?,
            }
        }
        match body.next().await {
            Some(bytes) => parser.push(&bytes.map_err(|error| UploadError::Broken(error.to_string()))?),
            // Also what follows the closing boundary is read to its end, so that a broken connection is noticed.
            None => return Ok(parser.finish()?),
        }
    }
}

/// A file whose format is not known yet, or that goes on.
enum File {
    /// Its beginning.
    Peeked { name: String, head: BytesMut },
    /// Benchmark text: it goes to the store as it comes.
    Text,
    /// A report of another tool, or what looks like one so far.
    Report { name: String, whole: BytesMut },
}

struct Receiver {
    upload: UploadWriter,
    number: u32,
    file: Option<File>,
    committed: bool,
}

impl Receiver {
    fn begin(&mut self, name: &str) {
        self.file = Some(File::Peeked { name: name.to_owned(), head: BytesMut::new() });
    }

    async fn data(&mut self, data: Bytes) -> Result<(), UploadError> {
        match &mut self.file {
            // The value of another field.
            None => Ok(()),
            Some(File::Text) => Ok(self.upload.write(data).await?),
            Some(File::Report { name, whole }) => {
                if whole.len() + data.len() > REPORT {
                    return Err(UploadError::LargeReport(shown(name)));
                }
                whole.extend_from_slice(&data);
                Ok(())
            }
            Some(File::Peeked { head, .. }) => {
                head.extend_from_slice(&data);
                if head.len() >= PEEK { self.decide().await } else { Ok(()) }
            }
        }
    }

    /// The beginning tells: text goes on as it comes, what may be a report is collected.
    async fn decide(&mut self) -> Result<(), UploadError> {
        let Some(File::Peeked { name, head }) = self.file.take() else { return Ok(()) };
        let json = head.trim_ascii_start().first().is_some_and(|first| matches!(first, b'{' | b'['));
        if json || matches!(adapters::detect(&head), Some(format) if format != Format::Benchmark) {
            self.file = Some(File::Report { name, whole: head });
            return Ok(());
        }
        self.upload.file(self.number, Some(&name)).await?;
        self.file = Some(File::Text);
        Ok(self.upload.write(head.freeze()).await?)
    }

    async fn end(&mut self) -> Result<(), UploadError> {
        if matches!(self.file, Some(File::Peeked { .. })) {
            self.decide().await?;
        }
        let Some(File::Report { name, whole }) = self.file.take() else { return Ok(()) };
        let whole = whole.freeze();
        match adapters::detect(&whole) {
            Some(format) if format != Format::Benchmark => {
                let mut text = Vec::new();
                adapters::convert(format, &whole, &mut text).map_err(|error| UploadError::Adapter { file: shown(&name), error })?;
                let ending = if format == Format::CriterionText { "orig" } else { "json" };
                self.upload.converted_file(self.number, Some(&name), ending, whole).await?;
                Ok(self.upload.write(text.into()).await?)
            }
            // Text that only began like a report.
            _ => {
                self.upload.file(self.number, Some(&name)).await?;
                Ok(self.upload.write(whole).await?)
            }
        }
    }
}

fn shown(name: &str) -> String {
    if name.is_empty() { "the file".to_owned() } else { name.to_owned() }
}
