//! Remuxing into spans: append-only fMP4 files of one track and bounded length, whose segments are byte ranges. For
//! standard tracks that came in another container (Matroska, MPEG-TS, FLV, fragmented MP4). Needs no decoder.
mod chunk;
mod file;
mod track;

use std::path::PathBuf;

pub use chunk::{ChunkSpan, ChunkSpec, SpanOfChunk};
use file::SpanFiles;
use track::TrackWriter;

use super::frames::{Frame, InvalidConfig, TrackConfig};
use super::grid::GridSettings;
use super::records::SampleTable;
use super::standard::unmet;
use crate::domain::asset::{AssetTrack, BlobKey, Ticks, TrackKind};
use crate::domain::video::NonStandard;

/// How spans are written.
#[derive(Debug, Clone)]
pub struct SpanSettings {
    /// An existing directory for the span files.
    pub dir: PathBuf,
    /// Prefix of the keys of spans and tables, without a slash at its end.
    pub prefix: BlobKey,
    /// The asset's generation; part of track names.
    pub generation: u32,
    /// Presentation time of the source that becomes the origin of the output timeline.
    pub start: Ticks,
    /// How long segments should be.
    pub grid: GridSettings,
    /// Media time of a span, milliseconds: long enough for few files, short enough to move around.
    pub span_ms: u32,
    /// Highest bit rate of a segment, bits per second.
    pub bits_per_sec_max: u64,
}

/// Why a remux ended.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    /// The source turned out not to be standard.
    #[error("{}", .0.message)]
    NonStandard(NonStandard),
    /// No track with this number.
    #[error("no track {0}")]
    NoTrack(usize),
    /// A configuration cannot be read.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// An encoder did not do what it was asked for.
    #[error("{0}")]
    Encoder(String),
    /// The spans could not be written.
    #[error("spans could not be written: {0}")]
    Io(#[from] std::io::Error),
}

impl From<NonStandard> for SpanError {
    fn from(reason: NonStandard) -> Self {
        Self::NonStandard(reason)
    }
}

/// A finished span file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanFile {
    /// Where it was written.
    pub path: PathBuf,
    /// What the asset's track refers to it by.
    pub key: BlobKey,
    /// Its size.
    pub bytes: u64,
}

/// What a remux made: store files and tables under their keys, then the tracks in an asset.
#[derive(Debug)]
pub struct Remuxed {
    /// Pictures first, then sound.
    pub tracks: Vec<AssetTrack>,
    /// Their spans.
    pub spans: Vec<SpanFile>,
    /// Their tables of key frames.
    pub tables: Vec<SampleTable>,
    /// Frames left out because nothing could decode them: pictures before the first key frame.
    pub num_dropped: u64,
    /// Decode times that had to be moved because they did not increase.
    pub num_repaired: u64,
}

/// Writes tracks into spans as their frames come by. Memory: at most two groups of pictures, and the sound that belongs
/// to them.
pub struct SpanWriter {
    tracks: Vec<TrackWriter>,
    /// Index of the track that decides where all are cut.
    leader: Option<usize>,
    settings: SpanSettings,
}

impl SpanWriter {
    /// A writer for these tracks. Pictures must come before sound.
    pub fn new(configs: Vec<TrackConfig>, settings: SpanSettings) -> Result<Self, SpanError> {
        let leader = configs.iter().position(|config| config.kind() == TrackKind::Video);
        let (mut num_video, mut num_audio) = (0, 0);
        let mut tracks = Vec::new();
        for config in configs {
            let (letter, number) = match config.kind() {
                TrackKind::Video => ('v', &mut num_video),
                TrackKind::Audio => ('a', &mut num_audio),
            };
            let name = format!("{letter}{number}-{}", settings.generation);
            *number += 1;
            tracks.push(TrackWriter::new(name, config, leader.is_some(), &settings)?);
        }
        Ok(Self { tracks, leader, settings })
    }

    /// A writer for one track of sound of this name, cut where pictures elsewhere are: at `cuts`, on the output timeline,
    /// ascending; evenly when there are none.
    pub fn beside_pictures(
        name: String,
        config: TrackConfig,
        cuts: &[Ticks],
        settings: SpanSettings,
    ) -> Result<Self, SpanError> {
        let mut track = TrackWriter::new(name, config, !cuts.is_empty(), &settings)?;
        cuts.iter().try_for_each(|cut| track.cut_near(*cut))?;
        Ok(Self { tracks: vec![track], leader: None, settings })
    }

    /// Cuts a track of sound at the frame nearest to `at`, on the output timeline.
    pub fn cut_near(&mut self, track: usize, at: Ticks) -> Result<(), SpanError> {
        self.tracks.get_mut(track).ok_or(SpanError::NoTrack(track))?.cut_near(at)
    }

    /// Takes the next frame of a track, in decode order.
    pub fn push(&mut self, track: usize, frame: Frame) -> Result<(), SpanError> {
        let writer = self.tracks.get_mut(track).ok_or(SpanError::NoTrack(track))?;
        let cuts = writer.push(frame)?;
        if self.leader == Some(track) {
            self.follow(&cuts)?;
        }
        Ok(())
    }

    fn follow(&mut self, cuts: &[Ticks]) -> Result<(), SpanError> {
        for writer in self.tracks.iter_mut().filter(|writer| writer.kind() == TrackKind::Audio) {
            cuts.iter().try_for_each(|cut| writer.cut_near(*cut))?;
        }
        Ok(())
    }

    /// No more frames will come: writes what is left.
    pub fn finish(mut self) -> Result<Remuxed, SpanError> {
        if let Some(leader) = self.leader {
            let cuts = self.tracks.get_mut(leader).ok_or(SpanError::NoTrack(leader))?.end()?;
            self.follow(&cuts)?;
        }
        let mut made =
            Remuxed { tracks: Vec::new(), spans: Vec::new(), tables: Vec::new(), num_dropped: 0, num_repaired: 0 };
        for mut writer in self.tracks {
            writer.end()?;
            writer.finish_into(&mut made)?;
        }
        made.tracks.iter().try_for_each(|track| check_rate(track, self.settings.bits_per_sec_max))?;
        Ok(made)
    }
}

fn check_rate(track: &AssetTrack, bits_per_sec_max: u64) -> Result<(), SpanError> {
    let mut unmets = Vec::new();
    super::standard::check_rate(track, bits_per_sec_max, &mut unmets);
    unmets.into_iter().next().map_or(Ok(()), |reason| Err(reason.into()))
}

/// A group of pictures that cannot be cut.
fn too_long(ms: u32) -> SpanError {
    unmet("gop_length", format!("key frames are more than {} s apart", f64::from(ms) / 1000.0)).into()
}

#[cfg(test)]
mod tests;
