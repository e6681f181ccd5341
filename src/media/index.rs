//! Indexing an MP4 or QuickTime original: what is in it, whether it is *standard*, and if so, an asset whose segments are
//! ranges of the original. Reads the file's index and the first bytes of its key frames; copies no media.
mod info;
mod timeline;
mod walk;

use std::io::{Read, Seek};

pub(crate) use info::{describe, track_frame_rate};
use timeline::shift_of;
use walk::{Key, KeyReader, Walk, walk};

use super::codecs::h264::AvcConfig;
use super::frames::{CodecConfig, TrackConfig};
use super::grid::{GridSettings, KeyFrameCutter, cut_at_key_frames, sound_cuts};
use super::movie::{Movie, MovieError, MovieLimits, MovieTrack};
use super::packager::{init_segment, segment_bytes};
use super::records::{RECORD_BYTES, SampleRecord, SampleTable, read_records};
use super::standard::{check_header, check_rate, unmet};
use crate::domain::asset::{Asset, AssetTrack, BlobKey, Extent, KeyFrame, Segment, SegmentBytes, Ticks, TrackKind};
use crate::domain::cues::Chronicle;
use crate::domain::ids::{PlaybackId, VideoId};
use crate::domain::video::{MediaInfo, NonStandard};

/// Key frames of the I-frame playlist are at least this far apart, milliseconds.
pub(crate) const TRICK_PLAY_DISTANCE_MS: i64 = 1000;

/// Bounds and choices of indexing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSettings {
    /// Bounds on what is taken from a file.
    pub limits: MovieLimits,
    /// How long segments should be.
    pub grid: GridSettings,
    /// Highest bit rate of a segment that is delivered as it came, bits per second.
    pub bits_per_sec_max: u64,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self { limits: MovieLimits::default(), grid: GridSettings::default(), bits_per_sec_max: 50_000_000 }
    }
}

/// What an asset made by indexing is to be called.
#[derive(Debug, Clone)]
pub struct IndexRequest {
    /// Whose it is.
    pub video_id: VideoId,
    /// What its URLs are named by.
    pub playback_id: PlaybackId,
    /// Its generation; part of track names.
    pub generation: u32,
    /// The original as stored, in the order the reader reads it.
    pub source: Vec<Extent>,
    /// Prefix of the keys of sample tables, without a slash at its end.
    pub table_prefix: BlobKey,
    /// Bounds and choices.
    pub settings: IndexSettings,
}

/// What indexing found.
#[derive(Debug)]
pub struct MovieIndex {
    /// Tracks, codecs, duration.
    pub info: MediaInfo,
    /// Conditions of standard input not met.
    pub non_standard: Vec<NonStandard>,
    /// Set when all conditions are met.
    pub playable: Option<Playable>,
}

/// An asset that can be played once its sample tables are stored.
#[derive(Debug)]
pub struct Playable {
    /// The asset.
    pub asset: Asset,
    /// The tables that its tracks refer to.
    pub tables: Vec<SampleTable>,
}

/// Indexes an original. `Err` when it is no movie or a damaged one; a movie that cannot be played as it is comes back
/// with the reasons in `non_standard`. Memory: the file's own index plus 24 bytes per sample.
pub fn index_movie<R: Read + Seek>(reader: &mut R, request: &IndexRequest) -> Result<MovieIndex, MovieError> {
    let movie = Movie::read(reader, &request.settings.limits)?;
    let info = info::describe(&movie);
    let mut non_standard = Vec::new();
    let configs = check_headers(&movie, &mut non_standard);
    let mut playable = None;
    if non_standard.is_empty() {
        let walked = walk_tracks(reader, &movie, configs, &mut non_standard)?;
        playable = assemble(walked, request, &mut non_standard)?;
    }
    let playable = playable.filter(|_| non_standard.is_empty());
    Ok(MovieIndex { info, non_standard, playable })
}

/// The tracks to be played: the first track of pictures in a codec we package (cover art and chapter pictures are not),
/// and all sound.
fn check_headers<'a>(movie: &'a Movie, unmets: &mut Vec<NonStandard>) -> Vec<(&'a MovieTrack, TrackConfig)> {
    if movie.fragmented {
        unmets.push(unmet("fragmented", "the samples lie in fragments instead of one index"));
    }
    let of = |kind| movie.tracks.iter().filter(move |track: &&MovieTrack| track.kind == kind);
    let is_h264 = |track: &&MovieTrack| track.entry.config(b"avcC").is_some();
    let video = of(TrackKind::Video).find(is_h264).or_else(|| of(TrackKind::Video).next());
    let checked = video.into_iter().chain(of(TrackKind::Audio));
    let mut configs: Vec<_> = checked.filter_map(|track| Some((track, check_header(track, unmets)?))).collect();
    let enabled = configs.iter().position(|(track, _)| track.kind == TrackKind::Audio && track.enabled);
    let first = configs.iter().position(|(track, _)| track.kind == TrackKind::Audio);
    for (index, (_, config)) in configs.iter_mut().enumerate() {
        config.default = Some(index) == enabled.or(first);
    }
    configs
}

struct Walked {
    config: TrackConfig,
    frame_rate: (u32, u32),
    walk: Walk,
}

fn walk_tracks<R: Read + Seek>(
    reader: &mut R,
    movie: &Movie,
    configs: Vec<(&MovieTrack, TrackConfig)>,
    unmets: &mut Vec<NonStandard>,
) -> Result<Vec<Walked>, MovieError> {
    let mut walked = Vec::new();
    for (track, config) in configs {
        let shift = match shift_of(track, movie.timescale) {
            Ok(shift) => shift,
            Err(reason) => {
                unmets.push(reason);
                continue;
            }
        };
        let avc = match &config.codec {
            CodecConfig::H264 { avcc } => AvcConfig::parse(avcc).ok(),
            _ => None,
        };
        let walk = walk(track, &shift, &mut KeyReader { reader: &mut *reader, avc }, unmets)?;
        walked.push(Walked { config, frame_rate: track_frame_rate(track), walk });
    }
    Ok(walked)
}

fn assemble(
    walked: Vec<Walked>,
    request: &IndexRequest,
    unmets: &mut Vec<NonStandard>,
) -> Result<Option<Playable>, MovieError> {
    let (mut tracks, mut tables) = (Vec::new(), Vec::new());
    let mut picture_cuts: Vec<Ticks> = Vec::new();
    let (mut num_video, mut num_audio) = (0, 0);
    if !unmets.is_empty() {
        return Ok(None);
    }
    for Walked { config, frame_rate, walk } in walked {
        let starts = match config.kind() {
            TrackKind::Video => {
                check_groups(&walk, &config, &request.settings.grid, unmets);
                video_starts(&walk, &config, &request.settings.grid)
            }
            TrackKind::Audio => audio_starts(&walk, &config, &picture_cuts, &request.settings.grid),
        };
        let (letter, number) = match config.kind() {
            TrackKind::Video => ('v', &mut num_video),
            TrackKind::Audio => ('a', &mut num_audio),
        };
        let name = format!("{letter}{number}-{}", request.generation);
        *number += 1;
        let track = build_track(name, &config, frame_rate, &walk, &starts, request)?;
        if config.kind() == TrackKind::Video {
            let cut = |segment: &Segment| Ticks { value: segment.start, timescale: config.timescale };
            picture_cuts = track.segments.iter().map(cut).collect();
        }
        check_rate(&track, request.settings.bits_per_sec_max, unmets);
        tables.extend(track.sample_table.clone().map(|key| SampleTable { key, bytes: walk.table.into() }));
        tracks.push(track);
    }
    let IndexRequest { video_id, playback_id, generation, source, .. } = request.clone();
    Ok(Some(Playable {
        asset: Asset {
            video_id,
            playback_id,
            generation,
            source,
            tracks,
            epochs: Vec::new(),
            chronicle: Chronicle::default(),
        },
        tables,
    }))
}

fn check_groups(walk: &Walk, config: &TrackConfig, grid: &GridSettings, unmets: &mut Vec<NonStandard>) {
    let ends = walk.keys.iter().skip(1).map(|key| key.at).chain([walk.end]);
    let groups = walk.keys.iter().map(|key| key.at).zip(ends);
    let Some((start, end)) = groups.max_by_key(|(start, end)| end - start) else { return };
    if end - start <= grid.longest(config.timescale) {
        return;
    }
    let seconds = Ticks { value: end - start, timescale: config.timescale }.as_secs_f64();
    let longest = f64::from(grid.longest_ms) / 1000.0;
    let open = walk.open_keys.iter().any(|at| (start..end).contains(at));
    unmets.push(if open {
        unmet(
            "open_gop",
            format!("groups of pictures are open: {seconds:.3} s cannot be cut, at most {longest} s may be"),
        )
    } else {
        unmet("gop_length", format!("key frames are up to {seconds:.3} s apart, more than {longest} s"))
    });
}

fn video_starts(walk: &Walk, config: &TrackConfig, grid: &GridSettings) -> Vec<u64> {
    let times: Vec<i64> = walk.keys.iter().map(|key| key.at).collect();
    let chosen = cut_at_key_frames(&times, walk.end, KeyFrameCutter::new(grid, config.timescale));
    chosen.into_iter().filter_map(|index| walk.keys.get(index)).map(|key| key.record).collect()
}

fn audio_starts(walk: &Walk, config: &TrackConfig, pictures: &[Ticks], grid: &GridSettings) -> Vec<u64> {
    let cuts: Vec<i64> = pictures.iter().map(|cut| cut.rescale(config.timescale)).collect();
    let mut cuts = sound_cuts(&cuts, walk.start..walk.end, grid, config.timescale).into_iter().peekable();
    let mut starts = vec![0];
    for (index, record) in (0u64..).zip(read_records(&walk.table)) {
        let mut cut = false;
        while cuts.next_if(|at| record.pts() + i64::from(record.duration / 2) >= *at).is_some() {
            cut = true;
        }
        if cut && index > 0 {
            starts.push(index);
        }
    }
    starts
}

fn build_track(
    name: String,
    config: &TrackConfig,
    frame_rate: (u32, u32),
    walk: &Walk,
    starts: &[u64],
    request: &IndexRequest,
) -> Result<AssetTrack, MovieError> {
    let damaged = |error: super::frames::InvalidConfig| MovieError::damaged(error.to_string());
    let key = BlobKey::new(format!("{}/{name}.samples", request.table_prefix));
    Ok(AssetTrack {
        kind: config.kind(),
        codec: config.codec_string().map_err(damaged)?,
        timescale: config.timescale,
        video: config.video_properties(frame_rate).map_err(damaged)?,
        audio: config.audio_properties().map_err(damaged)?,
        init: init_segment(&TrackConfig { reorder: walk.reorder, ..config.clone() }).map_err(damaged)?,
        reorder: walk.reorder,
        sample_table: Some(key),
        spans: Vec::new(),
        segments: build_segments(walk, starts, config.kind())?,
        key_frames: key_frames(walk, config.timescale)?,
        name,
    })
}

fn records_in(table: &[u8], first: u64, end: u64) -> &[u8] {
    let at = |record: u64| usize::try_from(record.saturating_mul(RECORD_BYTES)).unwrap_or(usize::MAX);
    table.get(at(first)..at(end).min(table.len())).unwrap_or_default()
}

fn build_segments(walk: &Walk, starts: &[u64], kind: TrackKind) -> Result<Vec<Segment>, MovieError> {
    let too_large = || MovieError::damaged("a segment is too large");
    let num_records = walk.table.len() as u64 / RECORD_BYTES;
    let mut segments: Vec<Segment> = Vec::with_capacity(starts.len());
    for (index, first) in starts.iter().copied().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(num_records);
        let mut media_bytes = 0u64;
        let mut start = i64::MAX;
        for record in read_records(records_in(&walk.table, first, end)) {
            media_bytes += u64::from(record.bytes);
            start = start.min(record.pts());
        }
        if let Some(previous) = segments.last_mut() {
            previous.duration = u32::try_from(start - previous.start).map_err(|_| too_large())?;
        }
        let bytes = segment_bytes(kind, end - first, media_bytes).ok_or_else(too_large)?;
        let samples = u32::try_from(end - first).map_err(|_| too_large())?;
        segments.push(Segment { start, duration: 0, bytes, source: SegmentBytes::Virtual { first, samples } });
    }
    if let Some(last) = segments.last_mut() {
        last.duration = u32::try_from(walk.end - last.start).map_err(|_| too_large())?;
    }
    Ok(segments)
}

fn key_frames(walk: &Walk, timescale: u32) -> Result<Vec<KeyFrame>, MovieError> {
    let distance = TRICK_PLAY_DISTANCE_MS * i64::from(timescale) / 1000;
    let mut chosen: Vec<Key> = Vec::new();
    for key in &walk.keys {
        if chosen.last().is_none_or(|last| key.at - last.at >= distance) {
            chosen.push(*key);
        }
    }
    let ends = chosen.iter().skip(1).map(|key| key.at).chain([walk.end]);
    chosen.iter().zip(ends).map(|(key, end)| key_frame(walk, *key, end)).collect()
}

fn key_frame(walk: &Walk, key: Key, end: i64) -> Result<KeyFrame, MovieError> {
    let damaged = || MovieError::damaged("a key frame is out of range");
    let record: Option<SampleRecord> = read_records(records_in(&walk.table, key.record, key.record + 1)).next();
    let bytes = record.and_then(|record| segment_bytes(TrackKind::Video, 1, u64::from(record.bytes)));
    Ok(KeyFrame {
        start: key.at,
        duration: u32::try_from(end - key.at).map_err(|_| damaged())?,
        bytes: bytes.ok_or_else(damaged)?,
        source: SegmentBytes::Virtual { first: key.record, samples: 1 },
    })
}

#[cfg(test)]
mod tests;
