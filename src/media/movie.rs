//! Reading ISO base media files (ISO/IEC 14496-12) and QuickTime movies: the index alone, never the media. Built for
//! hostile input: sizes and counts are checked before anything is allocated, tables stay as the bytes they came in and
//! are walked in constant memory.
mod entry;
pub(crate) mod fields;
pub(crate) mod fragments;
mod layout;
pub(crate) mod tables;
mod track;

use std::io::{Read, Seek};

use bytes::Bytes;

pub use entry::Colour;
pub(crate) use entry::{EntryFormat, SampleEntry};
use fields::{Children, Fields};
use layout::Layout;
pub(crate) use track::{MovieTrack, language_tag, three_letters};

/// Bounds on what is taken from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovieLimits {
    /// Largest index (`moov`) in bytes: it is held in memory while it is read.
    pub moov_bytes_max: u64,
    /// Most samples of one track.
    pub samples_max: u32,
    /// Most tracks.
    pub tracks_max: usize,
}

impl Default for MovieLimits {
    fn default() -> Self {
        Self { moov_bytes_max: 256 << 20, samples_max: 8_000_000, tracks_max: 64 }
    }
}

/// Why a file cannot be read as a movie.
#[derive(Debug, thiserror::Error)]
pub enum MovieError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// It does not start as an MP4 or QuickTime file does.
    #[error("this is not an MP4 or QuickTime file")]
    NotAMovie,
    /// It ends too early.
    #[error("the file ends {0}: it is truncated or still being written")]
    Truncated(String),
    /// Its index contradicts itself.
    #[error("the file's index is damaged: {0}")]
    Damaged(String),
    /// More than the limits allow.
    #[error("the file's {what} is too large: {found}, at most {limit} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// There is neither picture nor sound in it.
    #[error("the file holds neither pictures nor sound")]
    NoTracks,
    /// The source could not be read.
    #[error("the file could not be read: {0}")]
    Io(#[from] std::io::Error),
}

impl MovieError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(crate) fn truncated(place: impl Into<String>) -> Self {
        Self::Truncated(place.into())
    }

    /// Stable code for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotAMovie | Self::NoTracks => "not_a_video",
            Self::Truncated(_) => "truncated",
            Self::Damaged(_) => "damaged",
            Self::TooLarge { .. } => "too_large",
            Self::Io(_) => "unreadable",
        }
    }
}

/// The index of a movie.
#[derive(Debug, Clone)]
pub(crate) struct Movie {
    /// A QuickTime movie rather than MP4.
    pub(crate) quicktime: bool,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// Ticks per second of edits.
    pub(crate) timescale: u32,
    /// Length in those ticks.
    pub(crate) duration: u64,
    /// Samples lie in fragments behind the index.
    pub(crate) fragmented: bool,
    /// Picture and sound tracks in file order.
    pub(crate) tracks: Vec<MovieTrack>,
}

impl Movie {
    /// Reads the index of a file.
    pub(crate) fn read<R: Read + Seek>(reader: &mut R, limits: &MovieLimits) -> Result<Self, MovieError> {
        let layout = layout::read_layout(reader, limits)?;
        let moov = Children::split(&layout.moov)?;
        if moov.first(b"cmov").is_some() {
            return Err(MovieError::damaged("it is compressed, which is not supported"));
        }
        let (timescale, duration) = read_movie_header(moov.required(b"mvhd")?)?;
        let mut tracks = Vec::new();
        for body in moov.all(b"trak") {
            if tracks.len() == limits.tracks_max {
                let limit = limits.tracks_max as u64;
                return Err(MovieError::TooLarge { what: "number of tracks", found: limit + 1, limit });
            }
            tracks.extend(MovieTrack::read(body, limits)?);
        }
        if tracks.is_empty() {
            return Err(MovieError::NoTracks);
        }
        let fragmented = moov.first(b"mvex").is_some();
        let Layout { quicktime, file_bytes, .. } = layout;
        Ok(Self { quicktime, file_bytes, timescale, duration, fragmented, tracks })
    }
}

fn read_movie_header(body: &Bytes) -> Result<(u32, u64), MovieError> {
    let read = || {
        let mut fields = Fields::new(body);
        let long = fields.u8()? == 1;
        fields.skip(if long { 19 } else { 11 })?;
        let timescale = fields.u32()?;
        let duration = if long { fields.u64()? } else { u64::from(fields.u32()?) };
        (timescale > 0).then_some((timescale, duration))
    };
    read().ok_or_else(|| MovieError::damaged("box mvhd"))
}
