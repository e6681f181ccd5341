//! Reading a recording back from its files, after a node has died over it. Every listed part is in a span; what was cut off
//! in the middle of a part never was listed.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;

use super::chronicle;
use super::recorder::{RecordingPlace, SPAN_SUFFIX};
use super::recording::{Place, RecordedSegment, RecordedTrack, Recording};
use crate::domain::asset::{BlobKey, Ticks, TrackKind};
use crate::domain::cues::Chronicle;
use crate::domain::ports::{BlobError, BlobStore};
use crate::media::frames::{InvalidConfig, TrackConfig, frame_rate};
use crate::media::movie::fields::{Children, Fields, FourCc};
use crate::media::movie::{Movie, MovieError, MovieLimits};
use crate::media::packager::init_segment;

/// Largest `moof` read: one of ours has some hundred samples.
const MOOF_BYTES_MAX: u64 = 1 << 20;
/// What the name of a kind's first track ends with.
const MAIN: char = '0';
/// Flags of a `trun` with durations and sizes, and of one with flags and composition offsets besides, without the one that
/// says where the samples lie.
const SOUND_RUN: u32 = 0x300;
const PICTURE_RUN: u32 = 0xf00;
const NON_SYNC: u32 = 0x1_0000;

/// Why a recording cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The files cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The blob store does not answer.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// A span as it is found.
#[derive(Debug)]
struct FoundSpan {
    config: TrackConfig,
    init: Bytes,
    segments: Vec<FoundSegment>,
    /// Where the last whole part ends.
    end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FoundSegment {
    offset: u64,
    bytes: u32,
    start: i64,
    duration: u32,
    samples: u32,
    independent: bool,
}

/// What is in a `moof` of ours.
struct Fragment {
    start: i64,
    duration: u32,
    samples: u32,
    independent: bool,
}

/// What a span's name says.
fn parse_name(name: &str) -> Option<(&str, u32, u64)> {
    let mut parts = name.strip_suffix(SPAN_SUFFIX)?.rsplitn(3, '-');
    let (first, epoch) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((parts.next()?, epoch, first))
}

/// Reads a recording back, and makes blobs of the spans that were being written.
pub async fn recover(place: &RecordingPlace, blobs: &dyn BlobStore) -> Result<Recording, RecoveryError> {
    settle_open_spans(place, blobs).await?;
    let mut keys: Vec<BlobKey> = blobs.list(place.prefix.as_str()).map_ok(|meta| meta.key).try_collect().await?;
    keys.sort_by_key(|key| parse_name(name_of(key)).map(|(_, epoch, first)| (epoch, first)));
    let mut tracks: BTreeMap<String, RecordedTrack> = BTreeMap::new();
    for key in keys {
        let Some((name, epoch, first)) = parse_name(name_of(&key)) else { continue };
        let read = match blobs.local_path(&key) {
            Some(path) => tokio::task::spawn_blocking(move || read_span(&path)).await,
            None => {
                let span = blobs.read_all(&key).await?;
                tokio::task::spawn_blocking(move || read_segments(&mut io::Cursor::new(span))).await
            }
        };
        match read.map_err(io::Error::other)? {
            Ok(mut span) => {
                let kind = span.config.kind();
                span.config.default = name.ends_with(MAIN);
                let track = tracks.entry(name.to_owned()).or_insert_with(|| RecordedTrack::new(name, kind));
                add_span(track, (key.clone(), epoch, first), span);
            }
            Err(error) => tracing::warn!(blob.key = %key, %error, "a span of a live recording cannot be read"),
        }
    }
    let dir = place.dir.clone();
    let mut chronicle =
        tokio::task::spawn_blocking(move || chronicle::read(&dir)).await.map_err(io::Error::other)??;
    if chronicle == Chronicle::default() {
        // Another node may have left it.
        match blobs.read_all(&place.key(chronicle::FILE)).await {
            Ok(text) => chronicle = chronicle::parse(&text),
            Err(BlobError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut tracks: Vec<RecordedTrack> = tracks.into_values().collect();
    tracks.sort_by_key(|track| track.kind == TrackKind::Audio);
    Ok(Recording { tracks, chronicle })
}

fn name_of(key: &BlobKey) -> &str {
    key.as_str().rsplit('/').next().unwrap_or_default()
}

/// Spans that a dead node has left become blobs.
async fn settle_open_spans(place: &RecordingPlace, blobs: &dyn BlobStore) -> Result<(), RecoveryError> {
    let dir = place.dir.clone();
    let left = tokio::task::spawn_blocking(move || cut_open_spans(&dir)).await.map_err(io::Error::other)??;
    for path in left {
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            blobs.adopt(&place.key(name), &path).await?;
        }
    }
    Ok(())
}

/// Cuts spans off behind their last whole part; those without one go.
fn cut_open_spans(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut left = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_span = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| parse_name(name).is_some());
        if !is_span {
            continue;
        }
        match read_span(&path).ok().filter(|span| !span.segments.is_empty()) {
            Some(span) => {
                let file = File::options().write(true).open(&path)?;
                file.set_len(span.end)?;
                file.sync_all()?;
                left.push(path);
            }
            None => std::fs::remove_file(&path)?,
        }
    }
    Ok(left)
}

fn add_span(track: &mut RecordedTrack, (key, epoch, first): (BlobKey, u32, u64), span: FoundSpan) {
    let index = u32::try_from(track.spans.len()).unwrap_or(u32::MAX);
    let timescale = span.config.timescale;
    if track.kind == TrackKind::Video {
        let sum = |of: fn(&FoundSegment) -> u32| span.segments.iter().map(|segment| u64::from(of(segment))).sum();
        track.frame_rate = frame_rate(sum(|segment| segment.samples), sum(|segment| segment.duration), timescale);
    }
    track.spans.push(key);
    if track.epochs.last().is_none_or(|(known, ..)| *known != epoch) {
        track.epochs.push((epoch, span.config, span.init));
    }
    for (number, found) in (first..).zip(span.segments) {
        let FoundSegment { offset, bytes, start, duration, independent, .. } = found;
        let (start, place) = (Ticks { value: start, timescale }, Some(Place { span: index, offset, bytes }));
        track.segments.push(RecordedSegment { number, epoch, start, duration, independent, place });
    }
}

fn read_span(path: &Path) -> Result<FoundSpan, MovieError> {
    read_segments(&mut BufReader::new(File::open(path)?))
}

/// Reads a span as far as it is whole.
fn read_segments<R: Read + Seek>(reader: &mut R) -> Result<FoundSpan, MovieError> {
    let movie = Movie::read(reader, &MovieLimits::default())?;
    let track = movie.tracks.first().ok_or(MovieError::NoTracks)?;
    let config = TrackConfig::of_track(track).ok_or_else(|| MovieError::damaged("another codec"))?;
    let init = init_segment(&config).map_err(|InvalidConfig(what)| MovieError::damaged(what))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut walk = Walk { reader, end: movie.file_bytes, segments: Vec::new(), whole: 0, open: None };
    while walk.step()?.is_some() {}
    walk.finish_segment();
    let (segments, end) = (walk.segments, walk.whole);
    Ok(FoundSpan { config, init, segments, end })
}

/// Where segments begin in a span, and their sizes, as far as it is whole.
#[cfg(test)]
pub(super) fn segments_of(span: &[u8]) -> Vec<(u64, u32)> {
    let found = read_segments(&mut io::Cursor::new(span));
    found.map_or_else(|_| Vec::new(), |span| span.segments.iter().map(|one| (one.offset, one.bytes)).collect())
}

struct Walk<'a, R> {
    reader: &'a mut R,
    end: u64,
    segments: Vec<FoundSegment>,
    /// Where the last whole part ends.
    whole: u64,
    open: Option<FoundSegment>,
}

impl<R: Read + Seek> Walk<'_, R> {
    /// Takes the next box; `None` at the end of what is whole.
    fn step(&mut self) -> Result<Option<()>, MovieError> {
        loop {
            let at = self.reader.stream_position()?;
            let Some((kind, size)) = self.header(at)? else { return Ok(None) };
            match &kind {
                b"styp" => {
                    self.finish_segment();
                    self.open = Some(FoundSegment {
                        offset: at,
                        bytes: 0,
                        start: 0,
                        duration: 0,
                        samples: 0,
                        independent: false,
                    });
                }
                b"moof" => {
                    let Some(fragment) = self.fragment(at, size)? else { return Ok(None) };
                    self.reader.seek(SeekFrom::Start(at + size))?;
                    let Some((next, media)) = self.header(at + size)? else { return Ok(None) };
                    if next != *b"mdat" {
                        return Ok(None);
                    }
                    let end = at + size + media;
                    self.add(fragment, end);
                    self.reader.seek(SeekFrom::Start(end))?;
                    return Ok(Some(()));
                }
                _ => {}
            }
            self.reader.seek(SeekFrom::Start(at + size))?;
        }
    }

    /// Kind and size of the box at `at`; `None` when it is not whole.
    fn header(&mut self, at: u64) -> Result<Option<(FourCc, u64)>, MovieError> {
        if self.end.saturating_sub(at) < 8 {
            return Ok(None);
        }
        let mut bytes = [0; 8];
        self.reader.read_exact(&mut bytes)?;
        let mut fields = Fields::new(&bytes);
        let (size, kind) = (u64::from(fields.u32().unwrap_or(0)), fields.code().unwrap_or_default());
        Ok((size >= 8 && at + size <= self.end).then_some((kind, size)))
    }

    fn fragment(&mut self, at: u64, size: u64) -> Result<Option<Fragment>, MovieError> {
        if size > MOOF_BYTES_MAX {
            return Ok(None);
        }
        self.reader.seek(SeekFrom::Start(at + 8))?;
        let mut body = vec![0; usize::try_from(size - 8).unwrap_or(0)];
        self.reader.read_exact(&mut body)?;
        Ok(parse_fragment(&body.into()))
    }

    fn add(&mut self, fragment: Fragment, end: u64) {
        let Some(open) = &mut self.open else { return };
        if open.samples == 0 {
            (open.start, open.independent) = (fragment.start, fragment.independent);
        }
        open.duration = open.duration.saturating_add(fragment.duration);
        open.samples = open.samples.saturating_add(fragment.samples);
        open.bytes = u32::try_from(end - open.offset).unwrap_or(u32::MAX);
        self.whole = end;
    }

    fn finish_segment(&mut self) {
        self.segments.extend(self.open.take().filter(|open| open.samples > 0));
    }
}

/// Times of the samples of a `moof` of ours; `None` for any other.
fn parse_fragment(moof: &Bytes) -> Option<Fragment> {
    let traf = Children::split(moof).ok()?.within(b"traf").ok()?;
    let mut tfdt = Fields::new(traf.first(b"tfdt")?);
    tfdt.skip(4)?;
    let decoded = i64::try_from(tfdt.u64()?).ok()?;
    let mut run = Fields::new(traf.first(b"trun")?);
    let flags = run.u32()? & 0xff_ff00;
    let samples = run.u32()?;
    run.skip(4)?;
    let (mut duration, mut start, mut independent) = (0u32, i64::MAX, true);
    for index in 0..samples {
        let at = decoded.checked_add(i64::from(duration))?;
        duration = duration.checked_add(run.u32()?)?;
        run.skip(4)?;
        let (sample_flags, offset) = match flags {
            PICTURE_RUN => (run.u32()?, run.i32()?),
            SOUND_RUN => (0, 0),
            _ => return None,
        };
        if index == 0 {
            independent = sample_flags & NON_SYNC == 0;
        }
        // What follows a random access picture may be shown before it.
        start = start.min(at.checked_add(i64::from(offset))?);
    }
    (samples > 0).then_some(Fragment { start, duration, samples, independent })
}
