//! Uploads whose clients store the bytes by themselves: URLs for their parts, and the taking over of what was stored.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::task::JoinError;

use super::super::reply::ASK_TIMEOUT;
use super::{UploadHandle, Uploads};
use crate::domain::ids::UploadId;
use crate::domain::ports::PartStore;
use crate::domain::time::Timestamp;
use crate::domain::upload::direct::PartPlan;
use crate::domain::upload::error::{UploadError, UploadFault};
use crate::domain::upload::machine::{Request, UploadStatus};
use crate::domain::upload::sniff::{SNIFF_BYTES, certainly_not_media};
use crate::domain::upload::{Upload, UploadState};

/// URLs signed at a time: credentials may have to be fetched for the first of them.
const SIGNED_AT_ONCE: usize = 8;

/// How clients store parts by themselves.
pub struct DirectUploads {
    /// Signs URLs, and takes over what was stored.
    pub store: Arc<dyn PartStore>,
    /// Size of parts, unless there would be too many.
    pub part_bytes: u64,
    /// How long a URL is good.
    pub url_ttl: Duration,
    /// How long a request to complete an upload waits for its parts to be taken over.
    pub answer_within: Duration,
}

type Completion = Shared<BoxFuture<'static, Result<UploadStatus, UploadError>>>;

/// Uploads that are being completed, each once however many ask for it. As many as there are clients who have stored one.
#[derive(Clone, Default)]
pub(super) struct Completions(Arc<Mutex<HashMap<UploadId, Completion>>>);

impl Completions {
    /// What becomes of an upload: of what is under way already, or is begun now and goes on when nobody waits any more.
    fn of(&self, handle: &UploadHandle) -> Completion {
        let mut under_way = self.lock();
        if let Some(completion) = under_way.get(&handle.upload.id) {
            return completion.clone();
        }
        let (completions, handle, id) = (self.clone(), handle.clone(), handle.upload.id.clone());
        let work = tokio::spawn(async move {
            let completed = handle.complete_now().await;
            if let Err(error) = &completed {
                tracing::info!(upload.id = %handle.upload.id, %error, "upload not completed");
            }
            completions.lock().remove(&handle.upload.id);
            completed
        });
        let lost = |error: JoinError| Err(UploadFault::Unavailable(error.to_string()).into());
        let completion = async move { work.await.unwrap_or_else(lost) }.boxed().shared();
        under_way.insert(id, completion.clone());
        completion
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Completion>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a client puts one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartUrl {
    /// Its number, from 1.
    pub part: u32,
    /// Bytes it must have.
    pub bytes: u64,
    /// Whether it is there with that size.
    pub is_stored: bool,
    /// To be PUT to.
    pub url: String,
    /// When the URL stops being good; a new one can be asked for.
    pub expires_at: Timestamp,
}

impl Uploads {
    /// Size of the parts of a new upload whose client stores them by itself.
    pub(super) fn part_bytes_of(&self, length: Option<u64>) -> Result<u64, UploadError> {
        let direct = self.direct.as_ref().ok_or(UploadError::NotDirect)?;
        Ok(PartPlan::part_bytes_for(length.ok_or(UploadError::NotDirect)?, direct.part_bytes))
    }

    /// The store of this upload's parts, if its client stores them by itself.
    fn parts_of(&self, upload: &Upload) -> Result<Option<(&DirectUploads, PartPlan)>, UploadFault> {
        let Some(plan) = upload.parts() else { return Ok(None) };
        let off = || UploadFault::Unavailable("parts of uploads are not stored by clients on this server".into());
        Ok(Some((self.direct.as_ref().ok_or_else(off)?, plan)))
    }

    /// Takes over the parts that the client has stored, if it does so by itself.
    pub(in super::super) async fn take_parts(&self, upload: &Upload) -> Result<(), UploadFault> {
        let Some((direct, plan)) = self.parts_of(upload)? else { return Ok(()) };
        direct.store.take_parts(&upload.id, plan).await?;
        metrics::counter!("playhouse_upload_direct_bytes_total").increment(upload.length.unwrap_or(0));
        let Some(first) = self.catalog.extents(&upload.id).await?.extents.into_iter().next() else { return Ok(()) };
        let head = self.blobs.read(&first.key, 0..first.bytes.min(SNIFF_BYTES as u64)).await?;
        certainly_not_media(&head).map_or(Ok(()), |what| Err(UploadFault::NotMedia(what)))
    }

    /// Deletes the parts as the client has stored them, once they are taken over. What is left is found by the janitor.
    pub(in super::super) async fn drop_parts(&self, upload: &Upload) {
        let Ok(Some((direct, _))) = self.parts_of(upload) else { return };
        if let Err(error) = direct.store.drop_parts(&upload.id).await {
            tracing::warn!(upload.id = %upload.id, %error, "parts of a complete upload not deleted yet");
        }
    }
}

impl UploadHandle {
    /// Completes it; `None` while its parts are still being taken over, which goes on.
    pub(super) async fn complete_in_time(&self) -> Result<Option<UploadStatus>, UploadError> {
        let patience = self.context.direct.as_ref().map_or(ASK_TIMEOUT, |direct| direct.answer_within);
        match tokio::time::timeout(patience, self.completions.of(self)).await {
            Ok(completed) => completed.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Whether its parts are being taken over.
    pub fn is_being_completed(&self) -> bool {
        self.completions.lock().contains_key(&self.upload.id)
    }

    /// URLs of these parts, for a client that stores them by itself; the upload is kept for as long as after a byte.
    pub async fn part_urls(&self, parts: impl Iterator<Item = u32> + Send) -> Result<Vec<PartUrl>, UploadError> {
        let (direct, plan) = self.context.parts_of(&self.upload)?.ok_or(UploadError::NotDirect)?;
        if self.ask_status(Request::Renew).await?.state != UploadState::Open {
            return Err(UploadError::Complete);
        }
        let stored = direct.store.stored_parts(&self.upload.id).await?;
        let expires_at = self.context.clock.now() + direct.url_ttl;
        let sign = async |(part, bytes): (u32, u64)| {
            let url = direct.store.part_url(&self.upload.id, part, direct.url_ttl).await?;
            let is_stored = stored.get(&part) == Some(&bytes);
            Ok::<_, UploadError>(PartUrl { part, bytes, is_stored, url, expires_at })
        };
        let known: Vec<_> = parts.filter_map(|part| Some((part, plan.bytes_of(part)?))).collect();
        stream::iter(known).map(sign).buffered(SIGNED_AT_ONCE).try_collect().await
    }
}
