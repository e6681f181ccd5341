//! Uploads: creation under a quota, completion that copies nothing, concatenation, ending.
//!
//! `users.stored_bytes` is the sum of `uploads.reserved_bytes` and of the file sizes of videos that have their bytes;
//! each transaction here and in `videos` keeps it so. A partial upload that a final one has *taken* is the final one's:
//! it neither expires nor ends by itself, and its bytes become the video's. What a final upload consists of is looked up
//! here when it is completed, whatever extents are given.
use async_trait::async_trait;

use super::executor::CommitError;
use super::statement::{Statement, Transaction};
use super::{CatalogStore, EDIT_ATTEMPTS_MAX, contended};
use crate::domain::asset::Extent;
use crate::domain::ids::{PlaybackId, UploadId, UserId};
use crate::domain::ports::{CatalogError, UploadCatalog, UploadQuota};
use crate::domain::time::Timestamp;
use crate::domain::upload::{Concatenation, Upload, UploadState};

mod changes;
mod rows;

use rows::Stored;

/// Most items of one answer.
const EXPIRED_MAX: u32 = 200;

impl CatalogStore {
    async fn stored_upload(&self, id: &UploadId) -> Result<Option<Stored>, CatalogError> {
        let mut answers = self.executor.read(rows::select(id)).await?.into_iter();
        let (found, parts) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        found.first().map(|row| rows::stored_from(row, &parts)).transpose()
    }

    async fn existing_upload(&self, id: &UploadId) -> Result<Stored, CatalogError> {
        self.stored_upload(id).await?.ok_or(CatalogError::NotFound)
    }

    /// Which of the two quotas did not let a change through.
    async fn quota_error(&self, user: &UserId, quota: UploadQuota, is_new: bool) -> CatalogError {
        let query = Statement::new("SELECT stored_bytes, open_uploads FROM users WHERE id = :user");
        let row = match self.row(query.bind("user", user)).await {
            Ok(Some(row)) => row,
            Ok(None) => return CatalogError::NotFound,
            Err(error) => return error,
        };
        let open: u64 = row.number("open_uploads").unwrap_or(0);
        if is_new && open >= u64::from(quota.open_uploads) {
            return CatalogError::QuotaExceeded { used: open, limit: u64::from(quota.open_uploads) };
        }
        CatalogError::QuotaExceeded { used: row.number("stored_bytes").unwrap_or(0), limit: quota.bytes }
    }

    /// The bytes of a final upload: those of its parts, in order. All of them must be complete.
    async fn extents_of_parts(&self, parts: &[UploadId]) -> Result<Vec<Extent>, CatalogError> {
        let mut extents = Vec::new();
        for part in parts {
            let part = self.existing_upload(part).await?.upload;
            if part.state != UploadState::Complete {
                return Err(CatalogError::Conflict("part"));
            }
            extents.extend(part.extents);
        }
        Ok(extents)
    }
}

#[async_trait]
impl UploadCatalog for CatalogStore {
    async fn create_upload(
        &self,
        upload: Upload,
        playback_id: Option<PlaybackId>,
        quota: UploadQuota,
    ) -> Result<Upload, CatalogError> {
        let Some(headroom) = quota.bytes.checked_sub(changes::reserved_for(&upload)) else {
            return Err(self.quota_error(&upload.user_id, quota, true).await);
        };
        match self.commit(changes::create(&upload, playback_id.as_ref(), headroom, quota.open_uploads)?).await {
            Ok(_) => Ok(upload),
            Err(CommitError::Unmet(changes::QUOTA)) => Err(self.quota_error(&upload.user_id, quota, true).await),
            Err(CommitError::Unmet(changes::PART)) => Err(CatalogError::Conflict("part")),
            Err(CommitError::Unmet(_)) => Err(CatalogError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<Upload>, CatalogError> {
        Ok(self.stored_upload(id).await?.map(|stored| stored.upload))
    }

    async fn set_upload_length(&self, id: &UploadId, length: u64, quota: UploadQuota) -> Result<(), CatalogError> {
        let Stored { upload, .. } = self.existing_upload(id).await?;
        match (upload.state, upload.length) {
            (UploadState::Terminated, _) => return Err(CatalogError::NotFound),
            (_, Some(known)) if known == length => return Ok(()),
            (_, Some(_)) | (UploadState::Complete, None) => return Err(CatalogError::Conflict("length")),
            (UploadState::Open, None) => {}
        }
        let outcome = match quota.bytes.checked_sub(length) {
            Some(headroom) => self.commit(changes::set_length(&upload, length, headroom)).await,
            None => Err(CommitError::Unmet(changes::QUOTA)),
        };
        match outcome {
            Ok(_) => Ok(()),
            Err(CommitError::Unmet(changes::QUOTA)) => Err(self.quota_error(&upload.user_id, quota, false).await),
            Err(error) => Err(error.into()),
        }
    }

    async fn expect_upload_digest(&self, id: &UploadId, digest: &str) -> Result<(), CatalogError> {
        let Stored { upload, .. } = self.existing_upload(id).await?;
        if upload.expected_digest.as_deref() == Some(digest) {
            return Ok(());
        }
        match self.commit(changes::expect_digest(&upload, digest)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Unmet(_)) => Err(CatalogError::Conflict("digest")),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_upload_expiry(&self, id: &UploadId, expires_at: Timestamp) -> Result<(), CatalogError> {
        let update = "UPDATE uploads SET expires_at = :expires_at WHERE id = :id AND state <> 'terminated'";
        let update = Statement::new(update).bind("expires_at", expires_at).bind("id", id).one_row("living upload");
        match self.commit(Transaction::new().then(update)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Unmet(_)) => Err(CatalogError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn complete_upload(
        &self,
        id: &UploadId,
        extents: Vec<Extent>,
        now: Timestamp,
    ) -> Result<Upload, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let stored = self.existing_upload(id).await?;
            match stored.upload.state {
                UploadState::Complete => return Ok(stored.upload),
                UploadState::Terminated => return Err(CatalogError::NotFound),
                UploadState::Open => {}
            }
            let extents = match &stored.upload.concatenation {
                Concatenation::Final(parts) => self.extents_of_parts(parts).await?,
                _ => extents.clone(),
            };
            match self.commit(changes::complete(&stored, extents, now)?).await {
                Ok(_) | Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    async fn terminate_upload(&self, id: &UploadId, reason: &'static str, now: Timestamp) -> Result<(), CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let stored = self.existing_upload(id).await?;
            let is_part = stored.upload.concatenation == Concatenation::Partial;
            match stored.upload.state {
                UploadState::Terminated => return Ok(()),
                UploadState::Complete if !is_part => return Err(CatalogError::Conflict("upload")),
                _ if stored.taken_by.is_some() => return Err(CatalogError::Conflict("upload")),
                _ => {}
            }
            match self.commit(changes::terminate(&stored, reason, now)).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Unmet(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    async fn expired_uploads(&self, now: Timestamp, limit: u32) -> Result<Vec<Upload>, CatalogError> {
        let answer = self.rows(rows::select_expired(now, limit.min(EXPIRED_MAX))).await?;
        let mut expired = Vec::with_capacity(answer.len());
        for row in answer {
            expired.extend(self.upload(&row.id("id")?).await?);
        }
        Ok(expired)
    }
}
