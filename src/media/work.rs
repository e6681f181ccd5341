//! What a server and its worker processes tell each other: one JSON object a line, over a socket pair. Both ends are the
//! same binary; the protocol number catches a binary that was replaced under a running server.
mod encoding;
pub mod live;

use std::path::PathBuf;
use std::time::Duration;

pub use encoding::{
    Candidate, EncodedRung, PictureFormat, PictureTask, SoundTask, SpanSegment, StillPicture, StillsTask, Survey, Tile,
    TilePlan,
};
use serde::{Deserialize, Serialize};

use crate::domain::asset::{AssetTrack, BlobKey};
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::ladder::Encoder;
use crate::domain::video::{Failure, MediaInfo, NonStandard};

/// Increases with every change of the types below.
pub const PROTOCOL_VERSION: u32 = 8;

/// Longest line accepted from a worker, which may be in the hands of the file it reads: the index of a day of video in
/// one-second segments takes 30 MB.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// A source as a worker reads it: ranges of local files, or of blobs elsewhere, that follow one another without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The file, or the door at which the blob is asked for.
    pub path: PathBuf,
    /// Name of the blob, when it is not on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<BlobKey>,
    /// First byte of it that counts.
    #[serde(default)]
    pub first: u64,
    /// Number of bytes from there on: the sealed length of a whole file.
    pub bytes: u64,
}

impl SourceFile {
    /// A range of a local file.
    pub fn local(path: impl Into<PathBuf>, first: u64, bytes: u64) -> Self {
        Self { path: path.into(), key: None, first, bytes }
    }
}

/// Conditions of standard input that are settings, and caps on what is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaLimits {
    /// Aimed-at segment duration.
    pub segment_duration: Duration,
    /// Longest GOP of standard input.
    pub gop_duration_max: Duration,
    /// Highest bit rate of standard input, bits per second.
    pub bit_rate_max: u64,
    /// Largest `moov` box read, bytes.
    pub moov_bytes_max: u64,
}

/// Where and under which names a task leaves what it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// An existing directory of this attempt alone.
    pub dir: PathBuf,
    /// What the blob keys of its files start with, without a slash at its end.
    pub key_prefix: BlobKey,
    /// Whose it is.
    pub video_id: VideoId,
    /// What its URLs are named by.
    pub playback_id: PlaybackId,
    /// Generation that goes into track names.
    pub generation: u32,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Say what is in the source, and index it when it can be played as it is.
    Inspect {
        /// The source.
        source: Vec<SourceFile>,
        /// Where sample tables go.
        output: Output,
        /// The conditions.
        limits: MediaLimits,
    },
    /// Put the source's streams as they are into spans.
    Remux {
        /// The source.
        source: Vec<SourceFile>,
        /// Where spans go.
        output: Output,
        /// The conditions, evaluated on what comes out.
        limits: MediaLimits,
        /// What inspection found.
        media: MediaInfo,
    },
    /// Make one representative picture.
    Thumbnail {
        /// The source.
        source: Vec<SourceFile>,
        /// Where the picture goes.
        output: Output,
        /// Length of the video in milliseconds.
        duration_ms: u64,
        /// Clockwise rotation for display: 0, 90, 180 or 270 degrees.
        rotation: u16,
    },
    /// Read the source to its end without decoding it, and say where it can be cut into segments.
    Survey {
        /// The source.
        source: Vec<SourceFile>,
        /// How long segments should be.
        limits: MediaLimits,
        /// What inspection found.
        media: MediaInfo,
    },
    /// Encode one chunk of pictures.
    EncodePictures(Box<PictureTask>),
    /// Encode a track of sound from its start to its end.
    EncodeSound(Box<SoundTask>),
    /// Make full pictures of chosen moments.
    Stills(Box<StillsTask>),
    /// Lay small pictures out on sheets, for the scrubber.
    Storyboard {
        /// Where the sheets go.
        output: Output,
        /// The small pictures in order.
        tiles: Vec<Tile>,
        /// Pictures in a row of a sheet.
        columns: u32,
        /// Rows of a sheet.
        rows: u32,
    },
    /// Check the digest of the whole source.
    Digest {
        /// The source.
        source: Vec<SourceFile>,
        /// `sha256`, `sha1` or `md5`, a colon, and the digest in hexadecimal.
        expected: String,
    },
    /// Try every encoder of pictures that may be installed on this machine.
    SelfTest,
}

/// The kinds of [`Task`], for queues, counters and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// [`Task::Inspect`].
    Inspect,
    /// [`Task::Remux`].
    Remux,
    /// [`Task::Thumbnail`].
    Thumbnail,
    /// [`Task::Survey`].
    Survey,
    /// [`Task::EncodePictures`].
    EncodePictures,
    /// [`Task::EncodeSound`].
    EncodeSound,
    /// [`Task::Stills`].
    Stills,
    /// [`Task::Storyboard`].
    Storyboard,
    /// [`Task::Digest`].
    Digest,
    /// [`Task::SelfTest`].
    SelfTest,
}

impl TaskKind {
    /// As shown in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Remux => "remux",
            Self::Thumbnail => "thumbnail",
            Self::Survey => "survey",
            Self::EncodePictures => "encode_pictures",
            Self::EncodeSound => "encode_sound",
            Self::Stills => "stills",
            Self::Storyboard => "storyboard",
            Self::Digest => "digest",
            Self::SelfTest => "self_test",
        }
    }
}

impl Task {
    /// Its kind.
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::Inspect { .. } => TaskKind::Inspect,
            Self::Remux { .. } => TaskKind::Remux,
            Self::Thumbnail { .. } => TaskKind::Thumbnail,
            Self::Survey { .. } => TaskKind::Survey,
            Self::EncodePictures(_) => TaskKind::EncodePictures,
            Self::EncodeSound(_) => TaskKind::EncodeSound,
            Self::Stills(_) => TaskKind::Stills,
            Self::Storyboard { .. } => TaskKind::Storyboard,
            Self::Digest { .. } => TaskKind::Digest,
            Self::SelfTest => TaskKind::SelfTest,
        }
    }
}

/// A finished file in the output directory and the blob it is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// The blob's key.
    pub key: BlobKey,
    /// Where the file is now.
    pub path: PathBuf,
}

/// Something playable: tracks and the files they refer to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packaged {
    /// The tracks of the asset.
    pub tracks: Vec<AssetTrack>,
    /// The files, to be stored before the asset is.
    pub files: Vec<OutputFile>,
}

/// What can be done with a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It plays as it is.
    Playable(Packaged),
    /// Its streams look standard, but have to be put into spans first.
    Remux,
    /// Conditions of standard input it does not meet; never empty.
    NonStandard(Vec<NonStandard>),
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of [`Task::Inspect`].
    Inspected {
        /// What was found.
        media: MediaInfo,
        /// What can be done with it.
        verdict: Verdict,
    },
    /// Of [`Task::Remux`]: never [`Verdict::Remux`].
    Remuxed {
        /// What is known better after having seen every frame.
        media: MediaInfo,
        /// What came out.
        verdict: Verdict,
    },
    /// Of [`Task::Thumbnail`].
    Illustrated {
        /// The picture.
        file: OutputFile,
        /// Its content type.
        content_type: String,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// Of [`Task::Survey`].
    Surveyed(Survey),
    /// Of [`Task::EncodePictures`].
    EncodedPictures {
        /// One for each rung asked for, in order.
        rungs: Vec<EncodedRung>,
        /// Small pictures, if asked for, in order; ranges of `tile_file`.
        tiles: Vec<Tile>,
        /// The file that they lie in.
        tile_file: Option<OutputFile>,
        /// The chunk's best moments, best first, at most two.
        candidates: Vec<Candidate>,
        /// Seconds of processor time that each rung took, in order; the decoder's last.
        seconds: Vec<f64>,
    },
    /// Of [`Task::EncodeSound`]: one track; none when there was no sound to be decoded.
    EncodedSound(Packaged),
    /// Of [`Task::Stills`].
    StillsMade {
        /// In the order of moments, sizes, formats.
        pictures: Vec<StillPicture>,
    },
    /// Of [`Task::Storyboard`].
    StoryboardMade {
        /// The sheets, in order: JPEG.
        sheets: Vec<OutputFile>,
        /// Width of one small picture in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// Of [`Task::Digest`]: the digest is the expected one.
    Digested,
    /// Of [`Task::SelfTest`].
    SelfTested {
        /// Encoders that work, in order of preference: hardware, then x264, then `rav1e`, which is built in.
        encoders: Vec<Encoder>,
    },
}

impl Answer {
    /// Files of encoding tasks, each of which is to become a blob.
    pub fn files(&self) -> Vec<&OutputFile> {
        match self {
            Self::EncodedPictures { rungs, tile_file, .. } => {
                rungs.iter().map(|rung| &rung.span).chain(tile_file).collect()
            }
            Self::EncodedSound(packaged) => packaged.files.iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// What a worker process is to do to itself before it touches a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Nice level.
    pub nice: i32,
    /// Address space, bytes.
    pub address_space_bytes_max: u64,
}

/// Server to worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// First line.
    Hello {
        /// [`PROTOCOL_VERSION`] of the server.
        protocol: u32,
        /// Limits to take on.
        limits: ProcessLimits,
    },
    /// Do this; one at a time.
    Run {
        /// Repeated in everything said about it.
        id: u64,
        /// What.
        task: Box<Task>,
    },
}

/// Worker to server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// Limits are taken on, GStreamer is loaded; tasks may come.
    Ready {
        /// [`PROTOCOL_VERSION`] of the worker.
        protocol: u32,
    },
    /// The task moves on: the sign of life that the watchdog wants.
    Progress {
        /// The task.
        id: u64,
        /// How far it is, 0 to 100.
        percent: u8,
    },
    /// The task is over.
    Done {
        /// The task.
        id: u64,
        /// What it came to, or what is wrong with the file.
        answer: Result<Answer, Failure>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_a_line_of_json() {
        let task = Task::Digest {
            source: vec![SourceFile::local("/a\nb", 0, 7)],
            expected: "md5:d41d8cd98f00b204e9800998ecf8427e".into(),
        };
        let message = ToWorker::Run { id: 3, task: Box::new(task) };
        let line = serde_json::to_string(&message).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<ToWorker>(&line).unwrap(), message);

        let failure = Failure { code: "truncated".into(), message: "cut off".into() };
        let message = FromWorker::Done { id: 3, answer: Err(failure) };
        let line = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<FromWorker>(&line).unwrap(), message);
    }
}
