//! Videos as rows: the main row, and the ordered rows of source, renditions and thumbnails.
use super::super::executor::Row;
use super::super::statement::{Statement, in_list};
use super::super::to_json;
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::{PlaybackId, UserId, VideoId};
use crate::domain::ports::CatalogError;
use crate::domain::time::Timestamp;
use crate::domain::video::{
    OriginalState, Privacy, Rendition, RenditionState, Thumbnail, ThumbnailMoment, Video, VideoDetails, VideoStatus,
};

pub(super) const VIDEO_COLUMNS: &str = "id, playback_id, user_id, channel_id, title, description, category, tags, \
    privacy, status, progress_percent, ready_at, failure, non_standard, media, asset_generation, original, file_size, file_name, \
    expected_digest, chosen_moment, storyboard, trim, view_count, like_count, dislike_count, comment_count, revision, created_at, published_at, \
    updated_at, deleted_at";

/// The tables of a video's ordered parts, in the order [`video_from`] expects their answers.
const CHILDREN: [(&str, &str); 3] = [
    ("video_sources", "t.video_id, t.blob_key, t.bytes"),
    (
        "renditions",
        "t.video_id, t.name, t.kind, t.codec, t.rung, t.width, t.height, t.frame_rate_milli, t.bandwidth, \
         t.average_bandwidth, t.state",
    ),
    ("thumbnails", "t.video_id, t.name, t.moment, t.at_ms, t.blob_key, t.content_type, t.width, t.height"),
];

/// One living video by a condition on `v` with the parameter `:id`.
pub(super) fn select_one(condition: &str, id: &str) -> Statement {
    let sql = format!("SELECT {VIDEO_COLUMNS} FROM videos v WHERE {condition} AND v.deleted_at IS NULL");
    Statement::new(sql).bind("id", id)
}

/// The ordered parts of the one video of [`select_one`].
pub(super) fn select_children_where(condition: &str, id: &str) -> Vec<Statement> {
    let select = |(table, columns): (&str, &str)| {
        let sql = format!(
            "SELECT {columns} FROM videos v JOIN {table} t ON t.video_id = v.id WHERE {condition} ORDER BY t.position"
        );
        Statement::new(sql).bind("id", id)
    };
    CHILDREN.map(select).into()
}

/// The ordered parts of these videos.
pub(super) fn select_children(ids: &[String]) -> Vec<Statement> {
    let list = in_list("id", ids.len());
    let select = |(table, columns): (&str, &str)| {
        let sql =
            format!("SELECT {columns} FROM {table} t WHERE t.video_id IN ({list}) ORDER BY t.video_id, t.position");
        Statement::new(sql).bind_list("id", ids.iter().cloned())
    };
    CHILDREN.map(select).into()
}

fn extent_from(row: &Row) -> Result<Extent, CatalogError> {
    Ok(Extent { key: BlobKey(row.string("blob_key")?), bytes: row.number("bytes")? })
}

fn rendition_from(row: &Row) -> Result<Rendition, CatalogError> {
    Ok(Rendition {
        name: row.string("name")?,
        kind: row.string("kind")?,
        codec: row.string("codec")?,
        rung: row.string("rung")?,
        width: row.number("width")?,
        height: row.number("height")?,
        frame_rate_milli: row.number("frame_rate_milli")?,
        bandwidth: row.number("bandwidth")?,
        average_bandwidth: row.number("average_bandwidth")?,
        state: row.one_of("state", RenditionState::parse)?,
    })
}

fn thumbnail_from(row: &Row) -> Result<Thumbnail, CatalogError> {
    Ok(Thumbnail {
        name: row.string("name")?,
        moment: row.one_of("moment", ThumbnailMoment::parse)?,
        at_ms: row.number("at_ms")?,
        key: BlobKey(row.string("blob_key")?),
        content_type: row.string("content_type")?,
        width: row.number("width")?,
        height: row.number("height")?,
    })
}

/// The parts of one video among the answers for several.
fn parts<T>(
    rows: Option<&Vec<Row>>,
    id: &str,
    from: impl Fn(&Row) -> Result<T, CatalogError>,
) -> Result<Vec<T>, CatalogError> {
    let mut parts = Vec::new();
    for row in rows.into_iter().flatten() {
        if row.text("video_id")? == id {
            parts.push(from(row)?);
        }
    }
    Ok(parts)
}

/// A video from its row and the answers for its ordered parts.
pub(super) fn video_from(row: &Row, children: &[Vec<Row>]) -> Result<Video, CatalogError> {
    let id = row.text("id")?;
    Ok(Video {
        id: row.id("id")?,
        playback_id: row.id("playback_id")?,
        user_id: row.id("user_id")?,
        channel_id: row.id("channel_id")?,
        title: row.string("title")?,
        description: row.string("description")?,
        category: row.optional_string("category")?,
        tags: row.json("tags")?,
        privacy: row.one_of("privacy", Privacy::parse)?,
        status: row.one_of("status", VideoStatus::parse)?,
        progress_percent: row.number("progress_percent")?,
        ready_at: row.optional_time("ready_at")?,
        failure: row.optional_json("failure")?,
        non_standard: row.json("non_standard")?,
        media: row.optional_json("media")?,
        source: parts(children.first(), id, extent_from)?,
        renditions: parts(children.get(1), id, rendition_from)?,
        thumbnails: parts(children.get(2), id, thumbnail_from)?,
        chosen_moment: row.optional_one_of("chosen_moment", ThumbnailMoment::parse)?,
        storyboard: row.optional_json("storyboard")?,
        trim: row.optional_json("trim")?,
        asset_generation: row.number("asset_generation")?,
        original: row.one_of("original", OriginalState::parse)?,
        file_size: row.number("file_size")?,
        file_name: row.optional_string("file_name")?,
        expected_digest: row.optional_string("expected_digest")?,
        view_count: row.number("view_count")?,
        like_count: row.number("like_count")?,
        dislike_count: row.number("dislike_count")?,
        comment_count: row.number("comment_count")?,
        revision: row.number("revision")?,
        created_at: row.time("created_at")?,
        published_at: row.optional_time("published_at")?,
        updated_at: row.time("updated_at")?,
        deleted_at: row.optional_time("deleted_at")?,
    })
}

/// A new video; `status`, `file_size`, `file_name` and `expected_digest` are still to be bound.
pub(in super::super) fn insert(
    (id, playback): (&VideoId, &PlaybackId),
    user: &UserId,
    details: &VideoDetails,
    now: Timestamp,
) -> Result<Statement, CatalogError> {
    let insert = "INSERT INTO videos (id, playback_id, user_id, channel_id, title, description, category, tags, \
        privacy, status, non_standard, file_size, file_name, expected_digest, created_at, updated_at) \
        SELECT :id, :playback, :user, c.id, :title, :description, :category, :tags, :privacy, :status, '[]', \
        :file_size, :file_name, :expected_digest, :now, :now FROM channels c WHERE c.user_id = :user";
    Ok(Statement::new(insert)
        .bind("id", id)
        .bind("playback", playback)
        .bind("user", user)
        .bind("title", &details.title)
        .bind("description", &details.description)
        .bind("category", details.category.as_ref())
        .bind("tags", to_json(&details.tags)?)
        .bind("privacy", details.privacy)
        .bind("now", now)
        .one_row("channel"))
}

/// Writes what steps and edits may change, if the row is still as it was read. Counters have writers of their own.
pub(in super::super) fn save(video: &Video, read_revision: u64) -> Result<Statement, CatalogError> {
    let update = "UPDATE videos SET title = :title, description = :description, category = :category, tags = :tags, \
        privacy = :privacy, status = :status, is_listed = :is_listed, progress_percent = :progress_percent, \
        ready_at = :ready_at, failure = :failure, non_standard = :non_standard, media = :media, duration_ms = :duration_ms, width = :width, \
        height = :height, codec = :codec, bit_rate = :bit_rate, asset_generation = :asset_generation, \
        chosen_moment = :chosen_moment, storyboard = :storyboard, trim = :trim, revision = :revision, published_at = :published_at, updated_at = :updated_at \
        WHERE id = :id AND revision = :read_revision AND deleted_at IS NULL";
    let media = video.media.as_ref();
    let picture = media.and_then(|media| media.video.first());
    let is_listed = video.privacy == Privacy::Public && video.is_playable();
    let statement = Statement::new(update)
        .bind("title", &video.title)
        .bind("description", &video.description)
        .bind("category", video.category.as_ref())
        .bind("tags", to_json(&video.tags)?)
        .bind("privacy", video.privacy)
        .bind("status", video.status)
        .bind("is_listed", is_listed)
        .bind("progress_percent", video.progress_percent)
        .bind("ready_at", video.ready_at)
        .bind("failure", video.failure.as_ref().map(to_json).transpose()?)
        .bind("non_standard", to_json(&video.non_standard)?)
        .bind("media", media.map(to_json).transpose()?)
        .bind("duration_ms", video.duration_ms())
        .bind("width", picture.map(|picture| picture.width))
        .bind("height", picture.map(|picture| picture.height))
        .bind("codec", picture.map(|picture| picture.codec.as_str()))
        .bind("bit_rate", media.map(|media| media.bit_rate))
        .bind("asset_generation", video.asset_generation)
        .bind("chosen_moment", video.chosen_moment)
        .bind("storyboard", video.storyboard.as_ref().map(to_json).transpose()?)
        .bind("trim", video.trim.as_ref().map(to_json).transpose()?)
        .bind("revision", video.revision)
        .bind("published_at", video.published_at)
        .bind("updated_at", video.updated_at)
        .bind("id", &video.id)
        .bind("read_revision", read_revision);
    Ok(statement.one_row("revision"))
}

/// Replaces a video's renditions.
pub(in super::super) fn replace_renditions(id: &VideoId, renditions: &[Rendition]) -> Vec<Statement> {
    let insert = "INSERT INTO renditions (video_id, position, name, kind, codec, rung, width, height, \
        frame_rate_milli, bandwidth, average_bandwidth, state) VALUES (:video, :position, :name, :kind, :codec, :rung, \
        :width, :height, :frame_rate_milli, :bandwidth, :average_bandwidth, :state)";
    let delete = Statement::new("DELETE FROM renditions WHERE video_id = :video").bind("video", id);
    let inserts = renditions.iter().enumerate().map(|(position, rendition)| {
        Statement::new(insert)
            .bind("video", id)
            .bind("position", position)
            .bind("name", &rendition.name)
            .bind("kind", &rendition.kind)
            .bind("codec", &rendition.codec)
            .bind("rung", &rendition.rung)
            .bind("width", rendition.width)
            .bind("height", rendition.height)
            .bind("frame_rate_milli", rendition.frame_rate_milli)
            .bind("bandwidth", rendition.bandwidth)
            .bind("average_bandwidth", rendition.average_bandwidth)
            .bind("state", rendition.state)
    });
    std::iter::once(delete).chain(inserts).collect()
}

/// Replaces a video's thumbnails.
pub(super) fn replace_thumbnails(id: &VideoId, thumbnails: &[Thumbnail]) -> Vec<Statement> {
    let insert = "INSERT INTO thumbnails (video_id, position, name, moment, at_ms, blob_key, content_type, width, height) \
        VALUES (:video, :position, :name, :moment, :at_ms, :key, :content_type, :width, :height)";
    let delete = Statement::new("DELETE FROM thumbnails WHERE video_id = :video").bind("video", id);
    let inserts = thumbnails.iter().enumerate().map(|(position, thumbnail)| {
        Statement::new(insert)
            .bind("video", id)
            .bind("position", position)
            .bind("name", &thumbnail.name)
            .bind("moment", thumbnail.moment)
            .bind("at_ms", thumbnail.at_ms)
            .bind("key", &thumbnail.key)
            .bind("content_type", &thumbnail.content_type)
            .bind("width", thumbnail.width)
            .bind("height", thumbnail.height)
    });
    std::iter::once(delete).chain(inserts).collect()
}

/// These blobs are a video's no more: the janitor takes them.
pub(in super::super) fn disown_blobs<'a>(
    id: &'a VideoId,
    keys: impl Iterator<Item = &'a BlobKey> + 'a,
) -> Vec<Statement> {
    let disown = "DELETE FROM blobs WHERE owner_id = :video AND owner_kind = 'video' AND blob_key = :key";
    keys.map(|key| Statement::new(disown).bind("video", id).bind("key", key)).collect()
}

/// Gives a video its original.
pub(in super::super) fn insert_source(id: &VideoId, extents: &[Extent]) -> Vec<Statement> {
    let insert = "INSERT INTO video_sources (video_id, position, blob_key, bytes) \
        VALUES (:video, :position, :key, :bytes)";
    let insert = |(position, extent): (usize, &Extent)| {
        Statement::new(insert)
            .bind("video", id)
            .bind("position", position)
            .bind("key", &extent.key)
            .bind("bytes", extent.bytes)
    };
    extents.iter().enumerate().map(insert).collect()
}

/// Says that these blobs belong to a video: they are kept while it lives and go with it.
pub(in super::super) fn own_blobs(id: &VideoId, blobs: &[Extent], now: Timestamp) -> Vec<Statement> {
    let upsert = "INSERT INTO blobs (blob_key, owner_kind, owner_id, tier, place, bytes, state, created_at) \
        VALUES (:key, 'video', :video, 'hot', 'default', :bytes, 'stored', :now) \
        ON CONFLICT (blob_key) DO UPDATE SET bytes = excluded.bytes, owner_id = excluded.owner_id";
    let upsert = |blob: &Extent| {
        Statement::new(upsert).bind("key", &blob.key).bind("video", id).bind("bytes", blob.bytes).bind("now", now)
    };
    blobs.iter().map(upsert).collect()
}
