//! The transactions on uploads, as values.
use serde_json::json;

use super::super::extents::forget;
use super::super::statement::{Statement, Transaction};
use super::super::to_json;
use super::super::videos::rows::{self as videos, insert_source, own_blobs};
use super::rows::{self, Stored};
use crate::domain::asset::Extent;
use crate::domain::events::NewEvent;
use crate::domain::ids::{PlaybackId, UploadId, VideoId};
use crate::domain::ports::CatalogError;
use crate::domain::time::Timestamp;
use crate::domain::upload::{Concatenation, Upload, UploadState};
use crate::domain::video::VideoStatus;

/// Name of the expectation that the account's quota holds.
pub(super) const QUOTA: &str = "quota";
/// Name of the expectation that a partial upload is there to be taken.
pub(super) const PART: &str = "part";
const STATE: &str = "state";

/// What an upload counts against the quota while it is open; a final one's bytes are counted with its parts.
pub(super) fn reserved_for(upload: &Upload) -> u64 {
    if matches!(upload.concatenation, Concatenation::Final(_)) { 0 } else { upload.length.unwrap_or(0) }
}

/// A new upload, its parts taken, and its video. `headroom` is how much may be stored already.
pub(super) fn create(
    upload: &Upload,
    playback_id: Option<&PlaybackId>,
    headroom: u64,
    open_uploads_max: u32,
) -> Result<Transaction, CatalogError> {
    let reserve = "UPDATE users SET stored_bytes = stored_bytes + :bytes, open_uploads = open_uploads + 1 \
        WHERE id = :user AND stored_bytes <= :headroom AND open_uploads < :open_max";
    let reserve = Statement::new(reserve)
        .bind("bytes", reserved_for(upload))
        .bind("user", &upload.user_id)
        .bind("headroom", headroom)
        .bind("open_max", open_uploads_max)
        .one_row(QUOTA);
    let mut transaction = Transaction::new().then(reserve);
    if let (Some(video), Some(playback)) = (&upload.video_id, playback_id) {
        transaction = transaction.then(insert_video(upload, video, playback)?);
    }
    transaction = transaction.then(rows::insert(upload, reserved_for(upload))?);
    if let Concatenation::Final(parts) = &upload.concatenation {
        transaction = transaction.then_all(take_parts(upload, parts));
    }
    Ok(transaction)
}

fn insert_video(upload: &Upload, video: &VideoId, playback: &PlaybackId) -> Result<Statement, CatalogError> {
    let insert = videos::insert((video, playback), &upload.user_id, &upload.details, upload.created_at)?;
    Ok(insert
        .bind("status", VideoStatus::Uploading)
        .bind("file_size", upload.length.unwrap_or(0))
        .bind("file_name", upload.file_name.as_ref())
        .bind("expected_digest", upload.expected_digest.as_ref()))
}

fn take_parts(upload: &Upload, parts: &[UploadId]) -> Vec<Statement> {
    let take = "UPDATE uploads SET taken_by = :final, may_expire = 0 WHERE id = :part AND user_id = :user \
        AND concatenation = 'partial' AND taken_by IS NULL AND state <> 'terminated'";
    let list = "INSERT INTO upload_parts (final_id, position, part_id) VALUES (:final, :position, :part)";
    let both = |(position, part): (usize, &UploadId)| {
        let take = Statement::new(take)
            .bind("final", &upload.id)
            .bind("part", part)
            .bind("user", &upload.user_id)
            .one_row(PART);
        let list = Statement::new(list).bind("final", &upload.id).bind("position", position).bind("part", part);
        [take, list]
    };
    parts.iter().enumerate().flat_map(both).collect()
}

/// Declares a deferred length.
pub(super) fn set_length(upload: &Upload, length: u64, headroom: u64) -> Transaction {
    let update = "UPDATE uploads SET length = :length, reserved_bytes = :length \
        WHERE id = :id AND state = 'open' AND length IS NULL";
    let update = Statement::new(update).bind("length", length).bind("id", &upload.id).one_row(STATE);
    let reserve =
        "UPDATE users SET stored_bytes = stored_bytes + :length WHERE id = :user AND stored_bytes <= :headroom";
    let reserve = Statement::new(reserve)
        .bind("length", length)
        .bind("user", &upload.user_id)
        .bind("headroom", headroom)
        .one_row(QUOTA);
    let video = Statement::new("UPDATE videos SET file_size = :length, revision = revision + 1 WHERE id = :video")
        .bind("length", length)
        .bind("video", upload.video_id.as_ref());
    Transaction::new().then(update).then(reserve).then(video)
}

/// Records the digest of the whole file while nothing is settled yet.
pub(super) fn expect_digest(upload: &Upload, digest: &str) -> Transaction {
    let update = "UPDATE uploads SET expected_digest = :digest \
        WHERE id = :id AND state = 'open' AND expected_digest IS NULL";
    let update = Statement::new(update).bind("digest", digest).bind("id", &upload.id).one_row(STATE);
    let video = "UPDATE videos SET expected_digest = :digest, revision = revision + 1 WHERE id = :video";
    let video = Statement::new(video).bind("digest", digest).bind("video", upload.video_id.as_ref());
    Transaction::new().then(update).then(video)
}

/// All bytes are stored. Holds only while the upload is open and as it was read.
pub(super) fn complete(stored: &Stored, extents: Vec<Extent>, now: Timestamp) -> Result<Transaction, CatalogError> {
    let upload = &stored.upload;
    let bytes: u64 = extents.iter().map(|extent| extent.bytes).sum();
    let transaction = Transaction::new().then(close(stored, &extents, bytes, now)?).then(settle(stored, bytes));
    let transaction = transaction.then(forget(&upload.id));
    let Some(video) = &upload.video_id else { return Ok(transaction) };
    let status = if upload.expected_digest.is_some() { VideoStatus::Verifying } else { VideoStatus::Processing };
    let advance = "UPDATE videos SET status = :status, file_size = :bytes, updated_at = :now, revision = revision + 1 \
        WHERE id = :video AND status = 'uploading' AND deleted_at IS NULL";
    let advance = Statement::new(advance)
        .bind("status", status)
        .bind("bytes", bytes)
        .bind("now", now)
        .bind("video", video)
        .one_row("video");
    let payload = json!({ "upload_id": upload.id, "video_id": video, "user_id": upload.user_id, "bytes": bytes });
    Ok(transaction
        .then_all(hand_over_parts(upload))
        .then(advance)
        .then_all(insert_source(video, &extents))
        .then_all(own_blobs(video, &extents, now))
        .event(NewEvent::new("upload.completed", &upload.id, payload), now))
}

fn close(stored: &Stored, extents: &[Extent], bytes: u64, now: Timestamp) -> Result<Statement, CatalogError> {
    let update = "UPDATE uploads SET state = 'complete', length = :bytes, reserved_bytes = :reserved, \
        extents = :extents, completed_at = :now, \
        may_expire = CASE WHEN concatenation = 'partial' AND taken_by IS NULL THEN 1 ELSE 0 END \
        WHERE id = :id AND state = 'open' AND reserved_bytes = :was_reserved";
    let is_part = stored.upload.concatenation == Concatenation::Partial;
    Ok(Statement::new(update)
        .bind("bytes", bytes)
        // A video's file size takes over from here; a part has no video yet.
        .bind("reserved", if is_part { bytes } else { 0 })
        .bind("extents", to_json(&extents)?)
        .bind("now", now)
        .bind("id", &stored.upload.id)
        .bind("was_reserved", stored.reserved_bytes)
        .one_row(STATE))
}

/// Corrects the owner's account by what came more or less than was reserved.
fn settle(stored: &Stored, bytes: u64) -> Statement {
    let is_final = matches!(stored.upload.concatenation, Concatenation::Final(_));
    let update = "UPDATE users SET stored_bytes = stored_bytes - :reserved + :bytes, open_uploads = open_uploads - 1 \
        WHERE id = :user";
    Statement::new(update)
        .bind("reserved", stored.reserved_bytes)
        .bind("bytes", if is_final { 0 } else { bytes })
        .bind("user", &stored.upload.user_id)
}

/// The bytes of a final upload's parts become its video's: no part counts or ends by itself any more.
fn hand_over_parts(upload: &Upload) -> Option<Statement> {
    let Concatenation::Final(parts) = &upload.concatenation else { return None };
    let update = "UPDATE uploads SET reserved_bytes = 0 WHERE taken_by = :final AND state = 'complete'";
    Some(Statement::new(update).bind("final", &upload.id).rows(parts.len() as u64, PART))
}

/// Ends an upload that is as it was read; its video goes, its parts are released.
pub(super) fn terminate(stored: &Stored, reason: &'static str, now: Timestamp) -> Transaction {
    let upload = &stored.upload;
    let end = "UPDATE uploads SET state = 'terminated', may_expire = 0, reserved_bytes = 0, end_reason = :reason \
        WHERE id = :id AND state = :state AND reserved_bytes = :reserved AND taken_by IS NULL";
    let end = Statement::new(end)
        .bind("reason", reason)
        .bind("id", &upload.id)
        .bind("state", upload.state)
        .bind("reserved", stored.reserved_bytes)
        .one_row(STATE);
    let free = "UPDATE users SET stored_bytes = stored_bytes - :bytes, open_uploads = open_uploads - :open \
        WHERE id = :user";
    let free = Statement::new(free)
        .bind("bytes", stored.reserved_bytes)
        .bind("open", upload.state == UploadState::Open)
        .bind("user", &upload.user_id);
    let release = "UPDATE uploads SET taken_by = NULL, may_expire = 1 WHERE taken_by = :id";
    let release = Statement::new(release).bind("id", &upload.id);
    let video = Statement::new("DELETE FROM videos WHERE id = :video AND status = 'uploading'")
        .bind("video", upload.video_id.as_ref());
    let payload = json!({
        "upload_id": upload.id, "video_id": upload.video_id, "user_id": upload.user_id, "reason": reason,
    });
    let event = NewEvent::new("upload.terminated", &upload.id, payload);
    Transaction::new().then(end).then(free).then(release).then(video).event(event, now)
}
