//! From the segments of one or two playlists to a visit: the tracks there are, and their frames, each when it is due. Segments come
//! at once; what is in them is passed on as a publisher would have sent it.
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::domain::asset::TrackKind;
use crate::media::codecs::annexb::AnnexBWriter;
use crate::media::codecs::h264::AvcConfig;
use crate::media::codecs::hevc::HevcConfig;
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::broadcast::ToldCue;
use crate::media::live::lineup::{Arrived, Fed, Lineup, TrackId};
use crate::media::live::pictures::Pictures;
use crate::media::live::timeline::{IngestClock, Stamp};
use crate::media::movie::MovieError;
use crate::media::movie::fragments::{FragmentSample, Initialisation};
use crate::media::mpegts::ingest::TsIngest;

/// Ticks per second.
const TICKS_PER_SEC: i64 = 90_000;
/// Turn of a transport stream's clock.
const TURN: i64 = 1 << 33;
/// What is late by more is followed by what comes later still, rather than all at once.
const LATE_MAX: Duration = Duration::from_secs(1);
/// More than this is not held back.
const AHEAD_MAX: Duration = Duration::from_secs(30);
/// How a transport stream's packets begin.
const SYNC_BYTE: u8 = 0x47;

/// A segment as it was fetched.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its bytes.
    pub bytes: Bytes,
    /// The initialisation segment that it needs.
    pub map: Option<Bytes>,
    /// Number of the discontinuity that it comes after.
    pub turn: u64,
}

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// No format of segments.
    #[error("its segments are neither transport streams nor fragmented MP4")]
    Format,
    /// A codec nobody can watch here.
    #[error("{0}")]
    Codec(String),
    /// Damage.
    #[error("a segment cannot be read: {0}")]
    Damaged(#[from] MovieError),
}

/// What comes next of a playlist.
#[derive(Debug)]
enum Item {
    Config(TrackId, TrackConfig),
    Frame(Arrived),
    Cue(ToldCue),
}

/// A track of fragments.
#[derive(Debug)]
struct Track {
    id: TrackId,
    timescale: i64,
    /// What is taken off times, ticks.
    edit: i64,
    /// What reads pictures.
    pictures: Option<(Option<AnnexBWriter>, Pictures)>,
    /// Of sound, until it is told.
    config: Option<TrackConfig>,
}

#[derive(Debug)]
enum Format {
    Unknown,
    Transport(Box<TsIngest>, Vec<TrackId>),
    Fragments { map: Bytes, initialisation: Box<Initialisation>, tracks: BTreeMap<u32, Track> },
}

/// One playlist's media.
#[derive(Debug)]
struct Source {
    /// What alone is taken of it.
    wanted: Option<TrackKind>,
    format: Format,
    /// The last time, counted without wrapping.
    last: Option<i64>,
    /// Number of the discontinuity and time of each.
    items: VecDeque<((u64, i64), Item)>,
    num_tracks: usize,
    has_begun: bool,
}

/// What one server's playlists tell.
#[derive(Debug)]
pub struct HlsIngest {
    sources: Vec<Source>,
    lineup: Lineup,
    /// A discontinuity, and a time after it with when that is due.
    base: Option<(u64, i64, Duration)>,
}

impl HlsIngest {
    /// Of playlists of which these kinds of tracks are taken, or all.
    pub fn new(wanted: impl Iterator<Item = Option<TrackKind>>) -> Self {
        let sources = wanted.map(|wanted| Source {
            wanted,
            format: Format::Unknown,
            last: None,
            items: VecDeque::new(),
            num_tracks: 0,
            has_begun: false,
        });
        Self { sources: sources.collect(), lineup: Lineup::new(IngestClock::RTP), base: None }
    }

    /// Takes the next segment of the playlist with this number.
    pub fn take(&mut self, source: usize, segment: &Segment) -> Result<(), Unusable> {
        // Clocks that wrap are in the same turn.
        let near = self.sources.iter().find_map(|source| source.last);
        let Some(source) = self.sources.get_mut(source) else { return Ok(()) };
        source.last = source.last.or(near);
        source.has_begun = true;
        source.take(segment)
    }

    /// When something is to be passed on; `None`: nothing is there, or not everything has begun.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        let (_, (turn, time)) = self.next()?;
        Some(match self.base {
            Some((base_turn, base, at)) if base_turn == turn => {
                at.saturating_add(in_seconds(time.saturating_sub(base)))
            }
            _ => now,
        })
    }

    /// The source whose item comes next, and when that is.
    fn next(&self) -> Option<(usize, (u64, i64))> {
        if !self.sources.iter().all(|source| source.has_begun) {
            return None;
        }
        let heads =
            self.sources.iter().enumerate().filter_map(|(index, source)| Some((index, source.items.front()?.0)));
        heads.min_by_key(|(_, at)| *at)
    }

    /// Sound from before the first picture is left out: playlists do not begin alike.
    fn align(&mut self) {
        let is_picture = |item: &Item| matches!(item, Item::Frame(frame) if frame.track.0 == TrackKind::Video);
        let items = || self.sources.iter().flat_map(|source| &source.items);
        let Some(first) = items().filter(|(_, item)| is_picture(item)).map(|(at, _)| *at).min() else { return };
        for source in &mut self.sources {
            source.items.retain(|(at, item)| *at >= first || !matches!(item, Item::Frame(..)));
            source.items.iter_mut().take_while(|(at, _)| *at < first).for_each(|(at, _)| *at = first);
        }
    }

    /// Passes on what is due.
    pub fn give(&mut self, now: Duration, out: &mut Vec<Fed>) {
        if self.base.is_none() && self.next().is_some() {
            self.align();
        }
        while let Some((source, (turn, time))) = self.next() {
            let due = self.due(now).unwrap_or(now);
            let last = self.sources.iter().filter_map(|source| Some(source.items.back()?.0)).max();
            let held = last
                .filter(|(last, _)| *last == turn)
                .map_or(Duration::ZERO, |(_, last)| in_seconds(last.saturating_sub(time)));
            let is_same = self.base.is_some_and(|(base_turn, ..)| base_turn == turn);
            if !is_same || now.saturating_sub(due) > LATE_MAX || held > AHEAD_MAX {
                self.base = Some((turn, time, now));
            } else if due > now {
                return;
            }
            let item = self.sources.get_mut(source).and_then(|source| source.items.pop_front());
            match item {
                Some((_, Item::Config(id, config))) => self.lineup.configure(id, config),
                Some((_, Item::Cue(cue))) => self.lineup.take_cue(cue, out),
                Some((_, Item::Frame(mut frame))) => {
                    frame.stamp.arrival = now;
                    if self.lineup.take(frame, out) && (self.has_all() || self.lineup.has_waited()) {
                        self.lineup.announce(None, |_, config| config.clone(), out);
                    }
                }
                None => return,
            }
        }
    }

    fn has_all(&self) -> bool {
        let known = self.lineup.count(TrackKind::Video) + self.lineup.count(TrackKind::Audio);
        known >= self.sources.iter().map(|source| source.num_tracks).sum::<usize>()
    }
}

fn in_seconds(ticks: i64) -> Duration {
    let micros = i128::from(ticks.max(0)) * 1_000_000 / i128::from(TICKS_PER_SEC);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

impl Source {
    fn wants(&self, (kind, _): TrackId) -> bool {
        self.wanted.is_none_or(|wanted| wanted == kind)
    }

    fn take(&mut self, segment: &Segment) -> Result<(), Unusable> {
        match (&segment.map, segment.bytes.first()) {
            (Some(map), _) => self.take_fragments(map, segment),
            (None, Some(&SYNC_BYTE)) => self.take_transport(segment),
            _ => Err(Unusable::Format),
        }
    }

    fn take_transport(&mut self, segment: &Segment) -> Result<(), Unusable> {
        if !matches!(self.format, Format::Transport(..)) {
            self.format = Format::Transport(Box::default(), Vec::new());
        }
        let Format::Transport(ingest, ids) = &mut self.format else { return Ok(()) };
        let mut fed = Vec::new();
        ingest.take(&segment.bytes, Duration::ZERO, &mut fed);
        if let Some(reason) = ingest.refusal() {
            return Err(Unusable::Codec(reason.to_owned()));
        }
        let (mut ids, mut configs) = (std::mem::take(ids), Vec::new());
        for fed in fed {
            match fed {
                Fed::Visit(visit) => {
                    ids = numbered(&visit.tracks);
                    configs = ids.iter().copied().zip(visit.tracks).collect();
                    self.num_tracks = ids.iter().filter(|id| self.wants(**id)).count();
                }
                Fed::Frame { track, stamp, payload } => {
                    let Some(id) = ids.get(track).copied().filter(|id| self.wants(*id)) else { continue };
                    let dts = self.unfold(stamp.dts);
                    for (id, config) in configs.drain(..) {
                        if self.wants(id) {
                            self.put((segment.turn, dts), Item::Config(id, config));
                        }
                    }
                    let frame = Arrived { track: id, stamp: Stamp { dts, ..stamp }, payload };
                    self.put((segment.turn, dts), Item::Frame(frame));
                }
                Fed::Cue(cue) => {
                    // Told when it came, as it may be for later.
                    let time = self.near(cue.time);
                    let at = self.last.unwrap_or(time);
                    self.put((segment.turn, at), Item::Cue(ToldCue { time, ..cue }));
                }
            }
        }
        if let Format::Transport(_, known) = &mut self.format {
            *known = ids;
        }
        Ok(())
    }

    fn unfold(&mut self, time: i64) -> i64 {
        let time = self.near(time);
        self.last = Some(time);
        time
    }

    /// A time of a clock that wraps, in the turn of the last one.
    fn near(&self, time: i64) -> i64 {
        let near = self.last.unwrap_or(time);
        let difference = (time - near).rem_euclid(TURN);
        near + if difference > TURN / 2 { difference - TURN } else { difference }
    }

    /// An item among the others: those of a segment come track by track.
    fn put(&mut self, at: (u64, i64), item: Item) {
        let place = self.items.iter().rposition(|(other, _)| *other <= at).map_or(0, |index| index + 1);
        self.items.insert(place, (at, item));
    }

    fn take_fragments(&mut self, map: &Bytes, segment: &Segment) -> Result<(), Unusable> {
        let is_known = matches!(&self.format, Format::Fragments { map: known, .. } if known == map);
        if !is_known {
            let initialisation = Box::new(Initialisation::read(map)?);
            let tracks = self.tracks_of(&initialisation)?;
            self.num_tracks = tracks.len();
            self.format = Format::Fragments { map: map.clone(), initialisation, tracks };
        }
        let Format::Fragments { initialisation, .. } = &self.format else { return Ok(()) };
        for sample in initialisation.samples(&segment.bytes)? {
            self.take_sample(sample, segment.turn);
        }
        Ok(())
    }

    /// The tracks that are wanted and can be used.
    fn tracks_of(&self, initialisation: &Initialisation) -> Result<BTreeMap<u32, Track>, Unusable> {
        let (mut pictures, mut sounds) = (0, 0);
        let mut tracks = BTreeMap::new();
        for (number, track) in &initialisation.tracks {
            let Some(config) = TrackConfig::of_track(track) else { continue };
            let counter = if track.kind == TrackKind::Video { &mut pictures } else { &mut sounds };
            let id = (track.kind, *counter);
            *counter += 1;
            if !self.wants(id) {
                continue;
            }
            let edit = track.edits.iter().find(|edit| edit.media_time > 0).map_or(0, |edit| edit.media_time);
            let timescale = i64::from(track.timescale.max(1));
            let (pictures, config) = match reader(&config.codec) {
                Some(reader) => (Some(reader), None),
                None => (None, sound(config)),
            };
            if pictures.is_some() || config.is_some() {
                tracks.insert(*number, Track { id, timescale, edit, pictures, config });
            }
        }
        if tracks.is_empty() {
            let found =
                initialisation.tracks.values().map(|track| String::from_utf8_lossy(&track.entry.code).into_owned());
            let found = found.collect::<Vec<_>>().join(", ");
            return Err(Unusable::Codec(format!("nothing in it can be used: its segments have {found}")));
        }
        Ok(tracks)
    }

    fn take_sample(&mut self, sample: FragmentSample, turn: u64) {
        let Format::Fragments { tracks, .. } = &mut self.format else { return };
        let Some(track) = tracks.get_mut(&sample.track) else { return };
        let scale = |ticks: i64| (i128::from(ticks) * i128::from(TICKS_PER_SEC) / i128::from(track.timescale)) as i64;
        let start = sample.dts.saturating_sub(track.edit);
        let dts = scale(start);
        let composition = scale(start.saturating_add(sample.composition)).saturating_sub(dts);
        let (payload, keyframe, config) = match &mut track.pictures {
            Some((writer, pictures)) => {
                let Ok(seen) = pictures.take(in_a_stream(writer.as_ref(), sample.payload)) else { return };
                (seen.payload, seen.keyframe, pictures.config().filter(|_| seen.is_new))
            }
            None => (sample.payload, true, track.config.take()),
        };
        let id = track.id;
        let stamp = Stamp { dts, composition, keyframe, arrival: Duration::ZERO };
        if let Some(config) = config {
            self.put((turn, dts), Item::Config(id, config));
        }
        self.put((turn, dts), Item::Frame(Arrived { track: id, stamp, payload }));
    }
}

/// Numbers of tracks among those of their kind.
fn numbered(tracks: &[TrackConfig]) -> Vec<TrackId> {
    let (mut pictures, mut sounds) = (0, 0);
    let number = |config: &TrackConfig| {
        let counter = if config.kind() == TrackKind::Video { &mut pictures } else { &mut sounds };
        *counter += 1;
        (config.kind(), *counter - 1)
    };
    tracks.iter().map(number).collect()
}

/// What reads pictures of this codec, as a stream that tells its configuration; `None` of sound.
fn reader(codec: &CodecConfig) -> Option<(Option<AnnexBWriter>, Pictures)> {
    match codec {
        CodecConfig::H264 { avcc } => {
            let config = AvcConfig::parse(avcc).ok()?;
            Some((Some(AnnexBWriter::of_h264(&config)), Pictures::H264(None)))
        }
        CodecConfig::Hevc { hvcc } => {
            let config = HevcConfig::parse(hvcc).ok()?;
            Some((Some(AnnexBWriter::of_hevc(&config)), Pictures::Hevc(None)))
        }
        CodecConfig::Av1 { .. } => Some((None, Pictures::Av1(None))),
        CodecConfig::Vp9 { .. } => Some((None, Pictures::Vp9(None))),
        _ => None,
    }
}

/// A track of sound, counted in samples.
fn sound(config: TrackConfig) -> Option<TrackConfig> {
    let rate = config.audio_properties().ok()??.sample_rate;
    Some(TrackConfig { timescale: rate, ..config })
}

fn in_a_stream(writer: Option<&AnnexBWriter>, payload: Bytes) -> Bytes {
    let Some(writer) = writer else { return payload };
    let mut out = BytesMut::with_capacity(payload.len() + 256);
    // Its parameter sets may stand in the initialisation segment alone.
    writer.write(true, &payload, &mut out);
    out.freeze()
}
