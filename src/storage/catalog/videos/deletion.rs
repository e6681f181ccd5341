//! Deleting videos, and telling which blobs are still needed.
use std::collections::HashSet;

use serde_json::json;

use super::super::executor::Row;
use super::super::statement::{Statement, Transaction};
use super::select_in;
use crate::domain::asset::BlobKey;
use crate::domain::events::NewEvent;
use crate::domain::ids::{LiveId, UploadId, VideoId};
use crate::domain::live::Slate;
use crate::domain::ports::CatalogError;
use crate::domain::time::Timestamp;
use crate::domain::video::{Video, VideoStatus};

/// Keys judged in one round of queries; bounds the `IN` lists.
pub(super) const ORPHAN_CHUNK: usize = 256;

/// Marks a video deleted and gives back its bytes' share of the quota. An upload that still fills it is ended.
pub(super) fn mark_deleted(video: &Video, now: Timestamp) -> Transaction {
    let mark = "UPDATE videos SET deleted_at = :now, updated_at = :now, is_listed = 0, revision = revision + 1 \
        WHERE id = :id AND revision = :revision AND deleted_at IS NULL";
    let mark = Statement::new(mark)
        .bind("now", now)
        .bind("id", &video.id)
        .bind("revision", video.revision)
        .one_row("revision");
    let release = if video.status == VideoStatus::Uploading { end_upload(video) } else { vec![free_source(video)] };
    let payload = json!({ "video_id": video.id, "playback_id": video.playback_id, "user_id": video.user_id });
    let event = NewEvent::new("video.deleted", &video.id, payload);
    Transaction::new().then(mark).then_all(release).event(event, now)
}

fn free_source(video: &Video) -> Statement {
    Statement::new("UPDATE users SET stored_bytes = stored_bytes - :bytes WHERE id = :user")
        .bind("bytes", video.file_size)
        .bind("user", &video.user_id)
}

fn end_upload(video: &Video) -> Vec<Statement> {
    let free = "UPDATE users SET stored_bytes = stored_bytes - (SELECT COALESCE(SUM(u.reserved_bytes), 0) \
        FROM uploads u WHERE u.video_id = :video AND u.state = 'open'), open_uploads = open_uploads - (SELECT COUNT(*) \
        FROM uploads u WHERE u.video_id = :video AND u.state = 'open') WHERE id = :user";
    let release_parts = "UPDATE uploads SET taken_by = NULL, may_expire = 1 WHERE taken_by IN \
        (SELECT u.id FROM uploads u WHERE u.video_id = :video AND u.state = 'open')";
    let end = "UPDATE uploads SET state = 'terminated', may_expire = 0, reserved_bytes = 0, \
        end_reason = 'video deleted' WHERE video_id = :video AND state = 'open'";
    vec![
        Statement::new(free).bind("video", &video.id).bind("user", &video.user_id),
        Statement::new(release_parts).bind("video", &video.id),
        Statement::new(end).bind("video", &video.id),
    ]
}

/// Deleted videos, longest ago first.
pub(super) fn select_deleted(limit: u32) -> Statement {
    let query = "SELECT id FROM videos WHERE deleted_at > 0 ORDER BY deleted_at, id LIMIT :limit";
    Statement::new(query).bind("limit", limit)
}

/// A video's blobs.
pub(super) fn select_blobs(id: &VideoId) -> Statement {
    let query = "SELECT blob_key FROM blobs WHERE owner_kind = 'video' AND owner_id = :video ORDER BY blob_key";
    Statement::new(query).bind("video", id)
}

/// Forgets a deleted video with its uploads; rows that refer to it go with it.
pub(super) fn purge(id: &VideoId) -> Transaction {
    let statements = [
        "DELETE FROM blobs WHERE owner_kind = 'video' AND owner_id = :video",
        "DELETE FROM uploads WHERE taken_by IN (SELECT u.id FROM uploads u WHERE u.video_id = :video)",
        "DELETE FROM uploads WHERE video_id = :video",
    ];
    let forget = statements.map(|sql| Statement::new(sql).bind("video", id));
    let video = Statement::new("DELETE FROM videos WHERE id = :video AND deleted_at IS NOT NULL").bind("video", id);
    Transaction::new().then_all(forget).then(video.one_row("deleted video"))
}

/// The id in a key of the form `<bucket>/<id>/…`.
fn owner_in<'a>(key: &'a BlobKey, bucket: &str) -> Option<&'a str> {
    key.as_str().strip_prefix(bucket)?.strip_prefix('/')?.split_once('/').map(|(id, _)| id)
}

fn upload_in(key: &BlobKey) -> Option<&str> {
    owner_in(key, "raw-uploads").filter(|id| UploadId::parse(id).is_ok())
}

fn video_in(key: &BlobKey) -> Option<&str> {
    owner_in(key, "vod-abr").filter(|id| VideoId::parse(id).is_ok())
}

fn live_in(key: &BlobKey) -> Option<&str> {
    owner_in(key, "vod-abr").filter(|id| LiveId::parse(id).is_ok())
}

fn distinct<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    let ids: HashSet<&str> = ids.collect();
    ids.into_iter().map(str::to_owned).collect()
}

/// Queries for what needs these keys, in one snapshot: blobs of living videos, uploads under way (also as parts of a
/// concatenation that is), videos being worked on, broadcasts being recorded, slates of live
/// streams.
pub(super) fn select_needed(keys: &[BlobKey]) -> Vec<Statement> {
    let owned = "SELECT b.blob_key FROM blobs b JOIN videos v ON v.id = b.owner_id \
        WHERE b.owner_kind = 'video' AND v.deleted_at IS NULL AND b.blob_key IN";
    let filling = "SELECT u.id FROM uploads u LEFT JOIN uploads f ON f.id = u.taken_by WHERE (u.state = 'open' OR \
        (u.state = 'complete' AND u.concatenation = 'partial' AND (u.taken_by IS NULL OR f.state = 'open'))) AND u.id IN";
    let in_work = "SELECT v.id FROM videos v WHERE v.deleted_at IS NULL \
        AND (v.status IN ('verifying', 'processing', 'playable') \
        OR EXISTS (SELECT 1 FROM ladders l WHERE l.video_id = v.id AND l.state = 'open')) AND v.id IN";
    let recorded = "SELECT recording AS id FROM lives WHERE recording IN";
    let slates = "SELECT slate FROM lives WHERE slate IS NOT NULL AND id IN";
    let all: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
    vec![
        select_in(owned, "key", &all),
        select_in(filling, "upload", &distinct(keys.iter().filter_map(upload_in))),
        select_in(in_work, "video", &distinct(keys.iter().filter_map(video_in))),
        select_in(recorded, "video", &distinct(keys.iter().filter_map(video_in))),
        select_in(slates, "live", &distinct(keys.iter().filter_map(live_in))),
    ]
}

/// Those of the keys that none of the answers to [`select_needed`] names.
pub(super) fn not_needed(keys: &[BlobKey], answers: &[Vec<Row>]) -> Result<Vec<BlobKey>, CatalogError> {
    let texts = |index: usize, column: &'static str| -> Result<HashSet<&str>, CatalogError> {
        answers.get(index).into_iter().flatten().map(|row| row.text(column)).collect()
    };
    let (owned, filling) = (texts(0, "blob_key")?, texts(1, "id")?);
    let (in_work, recorded) = (texts(2, "id")?, texts(3, "id")?);
    let slates = answers.get(4).into_iter().flatten().map(|row| row.json::<Slate>("slate"));
    let slates = slates.collect::<Result<Vec<_>, _>>()?;
    let is_needed = |key: &&BlobKey| {
        owned.contains(key.as_str())
            || slates.iter().any(|slate| slate.clip.key == **key || slate.picture.key == **key)
            || upload_in(key).is_some_and(|id| filling.contains(id))
            || video_in(key).is_some_and(|id| in_work.contains(id) || recorded.contains(id))
    };
    Ok(keys.iter().filter(|key| !is_needed(key)).cloned().collect())
}
