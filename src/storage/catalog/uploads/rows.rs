//! Uploads as rows.
use super::super::executor::Row;
use super::super::statement::Statement;
use super::super::to_json;
use crate::domain::ids::UploadId;
use crate::domain::ports::CatalogError;
use crate::domain::time::Timestamp;
use crate::domain::upload::{Concatenation, Upload, UploadProtocol, UploadState};

const UPLOAD_COLUMNS: &str = "id, user_id, video_id, protocol, state, length, reserved_bytes, concatenation, taken_by, \
    details, file_name, file_type, expected_digest, raw_metadata, part_bytes, extents, created_at, expires_at";

/// An upload with what only the catalog needs to know.
pub(super) struct Stored {
    pub(super) upload: Upload,
    /// Its share of the owner's `stored_bytes`.
    pub(super) reserved_bytes: u64,
    /// The final upload it is a part of.
    pub(super) taken_by: Option<UploadId>,
}

/// The upload's row, and those of its parts in order.
pub(super) fn select(id: &UploadId) -> Vec<Statement> {
    let upload = format!("SELECT {UPLOAD_COLUMNS} FROM uploads WHERE id = :id");
    let parts = "SELECT part_id FROM upload_parts WHERE final_id = :id ORDER BY position";
    vec![Statement::new(upload).bind("id", id), Statement::new(parts).bind("id", id)]
}

/// Uploads past their expiry; a final one not before the last of its parts.
pub(super) fn select_expired(now: Timestamp, limit: u32) -> Statement {
    let query = "SELECT u.id FROM uploads u WHERE u.may_expire = 1 AND u.expires_at <= :now AND NOT EXISTS \
        (SELECT 1 FROM uploads p WHERE p.taken_by = u.id AND p.expires_at > :now) ORDER BY u.expires_at LIMIT :limit";
    Statement::new(query).bind("now", now).bind("limit", limit)
}

pub(super) fn concatenation_text(concatenation: &Concatenation) -> &'static str {
    match concatenation {
        Concatenation::None => "none",
        Concatenation::Partial => "partial",
        Concatenation::Final(_) => "final",
    }
}

pub(super) fn stored_from(row: &Row, parts: &[Row]) -> Result<Stored, CatalogError> {
    let concatenation = match row.text("concatenation")? {
        "none" => Concatenation::None,
        "partial" => Concatenation::Partial,
        "final" => Concatenation::Final(parts.iter().map(|part| part.id("part_id")).collect::<Result<_, _>>()?),
        other => return Err(CatalogError::Corrupt(format!("column concatenation: unknown value {other:?}"))),
    };
    let upload = Upload {
        id: row.id("id")?,
        user_id: row.id("user_id")?,
        video_id: row.optional_id("video_id")?,
        protocol: row.one_of("protocol", UploadProtocol::parse)?,
        state: row.one_of("state", UploadState::parse)?,
        length: row.optional_number("length")?,
        concatenation,
        details: row.json("details")?,
        file_name: row.optional_string("file_name")?,
        file_type: row.optional_string("file_type")?,
        expected_digest: row.optional_string("expected_digest")?,
        raw_metadata: row.optional_string("raw_metadata")?,
        part_bytes: row.optional_number("part_bytes")?,
        extents: row.json("extents")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    };
    Ok(Stored { upload, reserved_bytes: row.number("reserved_bytes")?, taken_by: row.optional_id("taken_by")? })
}

pub(super) fn insert(upload: &Upload, reserved_bytes: u64) -> Result<Statement, CatalogError> {
    let insert = "INSERT INTO uploads (id, user_id, video_id, protocol, state, length, reserved_bytes, concatenation, \
        may_expire, details, file_name, file_type, expected_digest, raw_metadata, part_bytes, extents, created_at, expires_at) \
        VALUES (:id, :user, :video, :protocol, 'open', :length, :reserved, :concatenation, 1, :details, :file_name, \
        :file_type, :expected_digest, :raw_metadata, :part_bytes, '[]', :created_at, :expires_at)";
    Ok(Statement::new(insert)
        .bind("id", &upload.id)
        .bind("user", &upload.user_id)
        .bind("video", upload.video_id.as_ref())
        .bind("protocol", upload.protocol)
        .bind("length", upload.length)
        .bind("reserved", reserved_bytes)
        .bind("concatenation", concatenation_text(&upload.concatenation))
        .bind("details", to_json(&upload.details)?)
        .bind("file_name", upload.file_name.as_ref())
        .bind("file_type", upload.file_type.as_ref())
        .bind("expected_digest", upload.expected_digest.as_ref())
        .bind("raw_metadata", upload.raw_metadata.as_ref())
        .bind("part_bytes", upload.part_bytes)
        .bind("created_at", upload.created_at)
        .bind("expires_at", upload.expires_at))
}
