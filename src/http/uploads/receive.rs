//! One append: from the body's frames to the store, with nothing kept in memory but the frame at hand.
use std::time::Instant;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyStream;

use super::hashing::{Check, Hashes};
use crate::actors::upload_lease::WriterLease;
use crate::domain::ports::{BlobError, UploadWriter};
use crate::domain::upload::Concatenation;
use crate::domain::upload::error::{UploadError, UploadFault};
use crate::domain::upload::machine::{AfterAppend, UploadStatus};
use crate::domain::upload::sniff::{SNIFF_BYTES, certainly_not_media};
use crate::http::server::is_stall;
use crate::protocols::tus::wire::{WireError, v1};

/// The disk's room is looked at again after so many bytes.
const ROOM_CHECK_BYTES: u64 = 64 * 1024 * 1024;

/// How an append is taken in.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    /// Bytes the request said it brings: neither more nor fewer.
    pub(super) body_length: Option<u64>,
    /// What the bytes are checked against.
    pub(super) check: Check,
    /// Whether the file ends with this body.
    pub(super) completes: bool,
    /// Whether a body that goes on beyond the upload's length ends the upload (the IETF draft says so).
    pub(super) overrun_ends: bool,
}

/// Why an append was not taken in whole.
#[derive(Debug)]
pub(super) enum IntakeError {
    /// The upload refused.
    Upload(UploadError),
    /// The digest is another; nothing of the body was kept.
    DigestMismatch,
    /// The file is certainly no film; the upload was ended.
    NotMedia(&'static str),
    /// More bytes than the request said.
    TooLong(u64),
    /// The body broke off or stalled; what came is kept.
    Broken {
        /// Whether it stalled.
        has_stalled: bool,
    },
    /// The trailer makes no sense; nothing of the body was kept.
    Trailer(WireError),
}

impl<E: Into<UploadError>> From<E> for IntakeError {
    fn from(error: E) -> Self {
        Self::Upload(error.into())
    }
}

/// Takes in a body in a task of its own: when the connection is gone and the handler with it, what came is still made
/// durable and reported.
pub(super) async fn receive_body(lease: WriterLease, body: Body, intake: Intake) -> Result<UploadStatus, IntakeError> {
    let task = tokio::spawn(receive(lease, BodyStream::new(body), intake));
    task.await.unwrap_or_else(|error| Err(UploadFault::Unavailable(error.to_string()).into()))
}

/// Takes in a stream of frames.
pub(super) async fn receive<S>(lease: WriterLease, frames: S, intake: Intake) -> Result<UploadStatus, IntakeError>
where
    S: Stream<Item = Result<Frame<Bytes>, axum::Error>> + Unpin + Send,
{
    let started = Instant::now();
    let protocol = lease.upload().protocol;
    let outcome = match lease.open().await {
        Ok(writer) => Reception::new(&lease, writer, &intake).run(frames).await,
        Err(error) => Err((lease.grant().offset, AfterAppend::Cut, error.into())),
    };
    metrics::counter!("playhouse_upload_received_bytes_total", "protocol" => protocol.as_str())
        .increment(lease.bytes_seen());
    metrics::histogram!("playhouse_upload_append_seconds").record(started.elapsed().as_secs_f64());
    match outcome {
        Ok(offset) => {
            let then = if intake.completes { AfterAppend::Finish } else { AfterAppend::Continue };
            Ok(lease.end(offset, then).await?)
        }
        // Where the file ends is unknown: the session measures it once the lease is gone.
        Err((UNKNOWN_OFFSET, _, error)) => Err(error),
        Err((offset, then, error)) => {
            let ended = lease.end(offset, then).await;
            if let (Err(failed), AfterAppend::Reject(_)) = (ended, then) {
                tracing::warn!(error = %failed, "a refused upload could not be ended yet");
            }
            Err(error)
        }
    }
}

/// Stands for an offset that only the store can tell.
const UNKNOWN_OFFSET: u64 = u64::MAX;

type Failure = (u64, AfterAppend, IntakeError);

struct Reception<'a> {
    lease: &'a WriterLease,
    intake: &'a Intake,
    writer: Box<dyn UploadWriter>,
    hashes: Hashes,
    /// Leading bytes that are held already.
    skip: u64,
    /// Bytes the upload still takes.
    left: u64,
    /// The file's first bytes, until there are enough to tell what it is; `None` from then on.
    head: Option<BytesMut>,
    until_room_check: u64,
    trailers: Option<HeaderMap>,
}

impl<'a> Reception<'a> {
    fn new(lease: &'a WriterLease, writer: Box<dyn UploadWriter>, intake: &'a Intake) -> Self {
        let grant = lease.grant();
        let is_part = lease.upload().concatenation == Concatenation::Partial;
        Self {
            lease,
            intake,
            writer,
            hashes: Hashes::of(&intake.check),
            skip: grant.skip,
            left: grant.limit,
            // A part may start anywhere in its file: only the whole tells.
            head: (grant.offset == 0 && !is_part).then(BytesMut::new),
            until_room_check: 0,
            trailers: None,
        }
    }

    async fn run<S>(mut self, frames: S) -> Result<u64, Failure>
    where
        S: Stream<Item = Result<Frame<Bytes>, axum::Error>> + Unpin + Send,
    {
        let taken = self.take_frames(frames).await;
        let taken = match taken {
            Ok(()) => self.flush_head().await.and_then(|()| self.check_digest()),
            // Too few bytes to tell what the file is are kept all the same.
            Err(error) => {
                let head = self.head.take().map(BytesMut::freeze).unwrap_or_default();
                match self.put(head).await {
                    Ok(()) => Err(error),
                    Err(failed) => Err(failed),
                }
            }
        };
        self.settle(taken).await
    }

    async fn take_frames<S>(&mut self, mut frames: S) -> Result<(), IntakeError>
    where
        S: Stream<Item = Result<Frame<Bytes>, axum::Error>> + Unpin + Send,
    {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.lease.cancelled() => return Err(UploadError::Preempted.into()),
                frame = frames.next() => frame,
            };
            match frame {
                None => break,
                Some(Err(error)) => return Err(IntakeError::Broken { has_stalled: is_stall(&error) }),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take(data).await?,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
        match self.intake.body_length {
            Some(told) if self.lease.bytes_seen() < told => Err(IntakeError::Broken { has_stalled: false }),
            _ => Ok(()),
        }
    }

    async fn take(&mut self, mut data: Bytes) -> Result<(), IntakeError> {
        self.lease.note_bytes(data.len() as u64);
        if let Some(told) = self.intake.body_length.filter(|told| self.lease.bytes_seen() > *told) {
            return Err(IntakeError::TooLong(told));
        }
        self.hashes.update(&data);
        let skipped = self.skip.min(data.len() as u64);
        self.skip -= skipped;
        drop(data.split_to(usize::try_from(skipped).unwrap_or(data.len())));
        if data.len() as u64 > self.left {
            return Err(self.overrun().into());
        }
        self.left -= data.len() as u64;
        let Some(head) = &mut self.head else { return self.put(data).await };
        head.extend_from_slice(&data);
        if head.len() < SNIFF_BYTES { Ok(()) } else { self.flush_head().await }
    }

    fn overrun(&self) -> UploadError {
        match self.lease.upload().length {
            Some(length) => UploadError::Overrun { length },
            None => UploadError::TooLarge { limit: self.lease.grant().offset + self.lease.grant().limit },
        }
    }

    /// Looks at the first bytes and lets them through unless they are certainly no film's.
    async fn flush_head(&mut self) -> Result<(), IntakeError> {
        let Some(head) = self.head.take() else { return Ok(()) };
        match certainly_not_media(&head) {
            Some(what) => Err(IntakeError::NotMedia(what)),
            None => self.put(head.freeze()).await,
        }
    }

    async fn put(&mut self, data: Bytes) -> Result<(), IntakeError> {
        if data.is_empty() {
            return Ok(());
        }
        let bytes = data.len() as u64;
        if self.until_room_check < bytes {
            if !self.lease.has_room_for(bytes).await? {
                return Err(UploadError::from(BlobError::Full).into());
            }
            self.until_room_check = ROOM_CHECK_BYTES.max(bytes);
        }
        self.until_room_check -= bytes;
        Ok(self.writer.write(data).await?)
    }

    fn check_digest(&mut self) -> Result<(), IntakeError> {
        let checksum = match &self.intake.check {
            Check::None => return Ok(()),
            Check::Told(checksum) => Some(checksum.clone()),
            Check::Trailer => {
                let trailers = self.trailers.take().unwrap_or_default();
                v1::checksum(&trailers).map_err(IntakeError::Trailer)?
            }
        };
        let missing = || IntakeError::Trailer(WireError::Missing("Upload-Checksum"));
        let checksum = checksum.ok_or_else(missing)?;
        let hashes = std::mem::replace(&mut self.hashes, Hashes::of(&Check::None));
        if hashes.matches(&checksum) { Ok(()) } else { Err(IntakeError::DigestMismatch) }
    }

    /// Makes durable what is to be kept, takes back what is not.
    async fn settle(self, taken: Result<(), IntakeError>) -> Result<u64, Failure> {
        let is_rejected = matches!(taken, Err(IntakeError::NotMedia(_)));
        let is_undone = taken.is_err() && self.intake.check.is_some();
        let settled = if is_rejected || is_undone { self.writer.discard().await } else { self.writer.finish().await };
        let then = match &taken {
            Err(IntakeError::NotMedia(_)) => AfterAppend::Reject("not_media"),
            Err(IntakeError::Upload(UploadError::Overrun { .. } | UploadError::TooLarge { .. }))
                if self.intake.overrun_ends =>
            {
                AfterAppend::Reject("too_large")
            }
            Err(IntakeError::DigestMismatch | IntakeError::Trailer(_)) => AfterAppend::Continue,
            _ => AfterAppend::Cut,
        };
        match (taken, settled) {
            (Ok(()), Ok(offset)) => Ok(offset),
            (Err(error), Ok(offset)) => Err((offset, then, error)),
            (Ok(()), Err(failed)) => Err((UNKNOWN_OFFSET, then, failed.into())),
            (Err(error), Err(failed)) => {
                tracing::warn!(upload.id = %self.lease.upload().id, error = %failed, "an append could not be settled");
                Err((UNKNOWN_OFFSET, then, error))
            }
        }
    }
}

impl Intake {
    /// An append of this upload's protocol with a body of so many bytes.
    pub(super) fn plain(body_length: Option<u64>, check: Check) -> Self {
        Self { body_length, check, completes: false, overrun_ends: false }
    }
}
