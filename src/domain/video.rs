//! A video's record: what its creator said of it, what was found in it, and how far it is.
use serde::{Deserialize, Serialize};

use super::asset::Extent;
use super::ids::{ChannelId, PlaybackId, UserId, VideoId};
use super::time::Timestamp;
use super::trim::Trim;

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// As stored and as shown in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// Reads what [`Self::as_str`] wrote.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use text_enum;

mod pictures;
pub use pictures::{Storyboard, StoryboardSheet, Thumbnail, ThumbnailMoment};

text_enum!(
    /// Who may watch.
    Privacy {
        /// Everyone, and it is listed.
        Public = "public",
        /// Everyone who was given the link (which carries a token).
        Unlisted = "unlisted",
        /// Its owner and moderators.
        Private = "private",
    }
);

text_enum!(
    /// How far a video is: `uploading → verifying → processing → playable → ready | failed`.
    VideoStatus {
        /// Bytes are still arriving.
        Uploading = "uploading",
        /// All bytes are here; digests are being checked.
        Verifying = "verifying",
        /// Being inspected; not playable yet.
        Processing = "processing",
        /// Can be watched; more is being made.
        Playable = "playable",
        /// Everything planned is there.
        Ready = "ready",
        /// Will not become playable as it is; [`Video::failure`] says why.
        Failed = "failed",
    }
);

text_enum!(
    /// Where a video's original is.
    OriginalState {
        /// Where it was uploaded to.
        Stored = "stored",
        /// There and, as a good copy, in the archive.
        Moving = "moving",
        /// In the archive.
        Archived = "archived",
        /// Nowhere any more.
        Deleted = "deleted",
    }
);

/// Why a video failed, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code, e.g. `not_a_video`, `truncated`, `non_standard_input`, `digest_mismatch`, `decoder_crashed`.
    pub code: String,
    /// One sentence that says what is wrong and, where there is one, the way out.
    pub message: String,
}

/// One condition of *standard input* that a file does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonStandard {
    /// Stable code, e.g. `video_codec`, `bit_depth`, `gop_length`.
    pub code: String,
    /// One sentence with the value found.
    pub message: String,
}

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MediaInfo {
    /// Container, e.g. `mp4`, `mov`, `matroska`, `webm`, `avi`, `mpegts`, `flv`.
    pub container: String,
    /// Length in milliseconds.
    pub duration_ms: u64,
    /// Overall bit rate in bits per second.
    pub bit_rate: u64,
    /// Picture tracks.
    pub video: Vec<VideoInfo>,
    /// Sound tracks.
    pub audio: Vec<AudioInfo>,
}

/// A picture track as found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VideoInfo {
    /// Short codec name, e.g. `h264`, `hevc`, `av1`.
    pub codec: String,
    /// Profile by its usual name, when the codec has one.
    pub profile: Option<String>,
    /// Picture width in pixels, before rotation.
    pub width: u32,
    /// Picture height in pixels, before rotation.
    pub height: u32,
    /// Clockwise rotation to apply for display, degrees.
    pub rotation: u16,
    /// Shape of a pixel before rotation, width to height; `(0, 0)` when not told, which means square.
    #[serde(default)]
    pub pixel_aspect: (u32, u32),
    /// Frames per second as a fraction.
    pub frame_rate: (u32, u32),
    /// Bits per sample.
    pub bit_depth: u8,
    /// `4:2:0`, `4:2:2`, `4:4:4` or `4:0:0`.
    pub chroma: String,
    /// Whether fields are interlaced.
    pub interlaced: bool,
    /// `sdr`, `pq` or `hlg`.
    pub dynamic_range: String,
    /// Colorimetry as GStreamer or the container names it.
    pub colorimetry: Option<String>,
    /// Bit rate in bits per second, when known.
    pub bit_rate: u64,
}

/// A sound track as found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AudioInfo {
    /// Short codec name, e.g. `aac`, `opus`, `mp3`.
    pub codec: String,
    /// Number of channels.
    pub channels: u16,
    /// Channel layout by its usual name, e.g. `stereo`, `5.1`.
    pub layout: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// BCP 47 language, `und` when unknown.
    pub language: String,
    /// Bit rate in bits per second, when known.
    pub bit_rate: u64,
}

text_enum!(
    /// How far one rendition is.
    RenditionState {
        /// Planned, nothing made.
        Queued = "queued",
        /// Being made.
        Processing = "processing",
        /// Complete and listed.
        Ready = "ready",
        /// Could not be made.
        Failed = "failed",
    }
);

/// One rendition, as shown in the API; its segments are in the asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// The asset track's name.
    pub name: String,
    /// `video` or `audio`.
    pub kind: String,
    /// RFC 6381 codec string.
    pub codec: String,
    /// Rung by its short side, e.g. `720p`; `source` for the original as it came; the language for sound.
    pub rung: String,
    /// Width as shown, pixels; 0 for sound.
    pub width: u32,
    /// Height as shown, pixels; 0 for sound.
    pub height: u32,
    /// Frames per second times 1000; 0 for sound.
    pub frame_rate_milli: u32,
    /// Measured peak, bits per second.
    pub bandwidth: u64,
    /// Measured average, bits per second.
    pub average_bandwidth: u64,
    /// How far it is.
    pub state: RenditionState,
}

/// A video's whole record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Video {
    /// Its id.
    pub id: VideoId,
    /// What media URLs are named by.
    pub playback_id: PlaybackId,
    /// Who uploaded it.
    pub user_id: UserId,
    /// The channel it belongs to.
    pub channel_id: ChannelId,
    /// Title, 1 to 255 characters.
    pub title: String,
    /// Description.
    pub description: String,
    /// Category, free text.
    pub category: Option<String>,
    /// Tags, in the creator's order.
    pub tags: Vec<String>,
    /// Who may watch.
    pub privacy: Privacy,
    /// How far it is.
    pub status: VideoStatus,
    /// 0 to 100 within `processing` and `playable`.
    pub progress_percent: u8,
    /// When it is expected to be `ready`, while that can be told.
    pub ready_at: Option<Timestamp>,
    /// Set when `status` is `failed`.
    pub failure: Option<Failure>,
    /// Conditions of standard input it does not meet; empty for standard input.
    pub non_standard: Vec<NonStandard>,
    /// What the probe found, once it ran.
    pub media: Option<MediaInfo>,
    /// Renditions.
    pub renditions: Vec<Rendition>,
    /// Generation of the stored asset index; 0 before there is one.
    pub asset_generation: u32,
    /// Still pictures of all moments; those of one moment follow one another, the largest first.
    pub thumbnails: Vec<Thumbnail>,
    /// The moment that its owner wants to stand for it.
    pub chosen_moment: Option<ThumbnailMoment>,
    /// Small pictures for the scrubber.
    pub storyboard: Option<Storyboard>,
    /// The part that its owner wants to be shown.
    pub trim: Option<Trim>,
    /// The original: ordered extents.
    pub source: Vec<Extent>,
    /// Where that is.
    pub original: OriginalState,
    /// Size of the original in bytes.
    pub file_size: u64,
    /// The file's name as uploaded.
    pub file_name: Option<String>,
    /// Digest to check before processing, as `algorithm:hex`, when the creator gave one.
    pub expected_digest: Option<String>,
    /// Views, each session once.
    pub view_count: u64,
    /// Likes.
    pub like_count: u64,
    /// Dislikes.
    pub dislike_count: u64,
    /// Comments.
    pub comment_count: u64,
    /// Increases with each change; what ETags are made of.
    pub revision: u64,
    /// When the upload was created.
    pub created_at: Timestamp,
    /// When it first became playable.
    pub published_at: Option<Timestamp>,
    /// Last change.
    pub updated_at: Timestamp,
    /// When it was deleted; its bytes go with the janitor's next round at the latest.
    pub deleted_at: Option<Timestamp>,
}

/// What a creator says of a video when uploading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoDetails {
    /// Title, 1 to 255 characters.
    pub title: String,
    /// Description, at most [`DESCRIPTION_CHARS_MAX`] characters.
    pub description: String,
    /// Category, free text of at most 50 characters.
    pub category: Option<String>,
    /// At most [`TAGS_MAX`] tags of 1 to [`TAG_CHARS_MAX`] characters.
    pub tags: Vec<String>,
    /// Who may watch.
    pub privacy: Privacy,
}

/// A change to a video's details; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VideoPatch {
    /// New title.
    pub title: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New category; `Some(None)` removes it.
    pub category: Option<Option<String>>,
    /// New tags.
    pub tags: Option<Vec<String>>,
    /// New privacy.
    pub privacy: Option<Privacy>,
}

/// Longest title, characters (the catalog's column).
pub const TITLE_CHARS_MAX: usize = 255;
/// Longest description, characters.
pub const DESCRIPTION_CHARS_MAX: usize = 5000;
/// Longest category, characters.
pub const CATEGORY_CHARS_MAX: usize = 50;
/// Most tags of a video.
pub const TAGS_MAX: usize = 30;
/// Longest tag, characters.
pub const TAG_CHARS_MAX: usize = 50;

/// One field that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidField {
    /// The field's name in the API.
    pub field: &'static str,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

fn check_chars(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), InvalidField> {
    let chars = text.chars().count();
    if chars < min || chars > max {
        return Err(InvalidField { field, message: format!("must have {min} to {max} characters, has {chars}") });
    }
    Ok(())
}

impl VideoDetails {
    /// Checks every field's limits.
    pub fn validate(&self) -> Result<(), InvalidField> {
        check_chars("title", self.title.trim(), 1, TITLE_CHARS_MAX)?;
        check_chars("description", &self.description, 0, DESCRIPTION_CHARS_MAX)?;
        if let Some(category) = &self.category {
            check_chars("category", category, 1, CATEGORY_CHARS_MAX)?;
        }
        if self.tags.len() > TAGS_MAX {
            return Err(InvalidField { field: "tags", message: format!("at most {TAGS_MAX} tags") });
        }
        self.tags.iter().try_for_each(|tag| check_chars("tags", tag, 1, TAG_CHARS_MAX))
    }
}

impl VideoPatch {
    /// The details after this change.
    pub fn apply(self, to: VideoDetails) -> VideoDetails {
        VideoDetails {
            title: self.title.unwrap_or(to.title),
            description: self.description.unwrap_or(to.description),
            category: self.category.unwrap_or(to.category),
            tags: self.tags.unwrap_or(to.tags),
            privacy: self.privacy.unwrap_or(to.privacy),
        }
    }
}

impl Video {
    /// What the creator said of it.
    pub fn details(&self) -> VideoDetails {
        VideoDetails {
            title: self.title.clone(),
            description: self.description.clone(),
            category: self.category.clone(),
            tags: self.tags.clone(),
            privacy: self.privacy,
        }
    }

    /// Still pictures of the moment that stands for it: the one its owner chose, else the best there is.
    pub fn shown_thumbnails(&self) -> impl Iterator<Item = &Thumbnail> {
        let shown = pictures::shown_moment(&self.thumbnails, self.chosen_moment);
        self.thumbnails.iter().filter(move |picture| Some(picture.moment) == shown)
    }

    /// How long what is shown is, milliseconds; `None` before that is known.
    pub fn duration_ms(&self) -> Option<u64> {
        self.trim.map(Trim::duration_ms).or(self.media.as_ref().map(|media| media.duration_ms))
    }

    /// Whether players may be given it now.
    pub fn is_playable(&self) -> bool {
        self.deleted_at.is_none() && matches!(self.status, VideoStatus::Playable | VideoStatus::Ready)
    }
}
