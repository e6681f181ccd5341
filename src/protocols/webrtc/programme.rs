//! A live stream as RTP: its frames are put into packets once for all viewers, by whoever of them comes first, and only while
//! somebody watches. A viewer has a place in it, and heads of its own.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::pace::Pace;
use super::payloads::Payloads;
use super::wire::offer::Codec;
use crate::domain::asset::TrackKind;
use crate::media::codecs::h264::{AvcConfig, SpsInfo};
use crate::media::codecs::opus::{OpusConfig, packet_samples};
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::broadcast::Broadcast;
use crate::media::live::realtime::{RealtimeCursor, Unfit};
use crate::media::live::ring::MICROS;
use crate::media::live::stream::LiveStream;
use crate::media::live::tap::{Cursor, Tapped, Tracks};
use crate::media::live::tape::{Found, Piece, Tape};

/// Ticks per second of pictures and of sound over RTP.
const PICTURE_RATE: u32 = 90_000;
const SOUND_RATE: u32 = 48_000;
/// By how much times of sound are off by rounding at most, ticks: a millisecond.
const ROUNDED: i64 = 48;
/// Length of a packet of sound that tells none, ticks.
const PACKET_SAMPLES: u32 = 960;
/// Channels that Opus over RTP has at most (RFC 7587).
const CHANNELS_MAX: u8 = 2;
/// Pictures of which none has come for so long do not come.
const COMES_WITHIN: Duration = Duration::from_secs(3);
/// After so many pictures in the order in which they are shown there are no B-frames, though they are shown later than decoded.
const IN_ORDER: u32 = 16;
/// Profiles of H.264 that browsers decode, and what else their pictures have to be.
const PROFILES: [u8; 3] = [66, 77, 100];

/// What viewers are sent of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Pictures as they came.
    Pictures,
    /// Pictures that are encoded for those who cannot take them as they came.
    Encoded,
    /// Pictures of another rendition, by its number: a layer that the publisher sends besides, or a rung of the ladder.
    Other(u32),
    /// Sound.
    Sound,
}

/// Pictures besides those that lead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OtherPictures {
    /// Their lane.
    pub lane: Lane,
    /// The codec by which they go over RTP.
    pub codec: Codec,
    /// How many bits a second they take.
    pub bits_per_sec: f64,
    /// How much later than the sound that belongs to them they come.
    pub late: Duration,
}

/// A frame in packets.
#[derive(Debug, Clone)]
pub struct Unit {
    /// When it came.
    pub made: Instant,
    /// When it is to be sent.
    pub due: Instant,
    /// When it is shown or heard, ticks of its lane's clock on the stream's timeline.
    pub time: i64,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// The payloads of its packets.
    pub payloads: Arc<[Bytes]>,
}

impl Piece for Unit {
    fn made(&self) -> Instant {
        self.made
    }

    fn bytes(&self) -> usize {
        self.payloads.iter().map(Bytes::len).sum()
    }
}

/// Pictures that the stream has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePictures {
    /// The codec by which they can go over RTP.
    pub codec: Codec,
    /// Its `profile_idc`, of H.264.
    pub profile: u8,
    /// Why nobody can be sent them as they are.
    pub unfit: Option<Unfit>,
}

/// What the stream has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Source {
    /// Pictures, if it has some.
    pub pictures: Option<SourcePictures>,
    /// Whether its sound has to be encoded.
    pub sound_unfit: bool,
}

impl Lane {
    /// Ticks per second of its clock.
    pub fn rate(self) -> u32 {
        if self == Self::Sound { SOUND_RATE } else { PICTURE_RATE }
    }
}

/// A live stream as RTP.
pub struct RtpProgramme {
    stream: Arc<LiveStream>,
    made: Mutex<Made>,
}

struct Made {
    cursor: Cursor,
    encoded_cursor: RealtimeCursor,
    source: Feeding,
    encoded: [Feeding; 2],
    pictures: Tape<Unit>,
    encoded_pictures: Tape<Unit>,
    sound: Tape<Unit>,
    others: Vec<Other>,
    /// Number of the next of them.
    next_other: u32,
}

/// Where other pictures come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Track(usize),
    Rung(String),
}

/// Another rendition.
struct Other {
    number: u32,
    origin: Origin,
    feeding: Feeding,
    tape: Tape<Unit>,
}

/// Tracks that are put into packets.
#[derive(Default)]
struct Feeding {
    tracks: Option<Arc<Tracks>>,
    /// Number of the track and what makes packets of it: pictures and sound.
    pictures: Option<(usize, Option<Payloads>)>,
    sound: Option<(usize, Payloads)>,
    order: Order,
    told: Source,
    /// Whether there was a key frame to begin with.
    has_begun: bool,
    /// When the last packet of sound ends.
    heard_until: Option<i64>,
    pace: Pace,
}

/// In which order pictures come.
#[derive(Debug, Default)]
struct Order {
    newest: i64,
    count: u32,
    is_delayed: bool,
    is_other: bool,
}

impl Order {
    /// Takes the next picture; whether pictures come in another order than they are shown in, as far as one can tell.
    fn take(&mut self, dts: i64, pts: i64) -> bool {
        if self.count == 0 {
            (self.is_delayed, self.newest) = (pts != dts, pts);
        }
        self.is_other |= pts < self.newest;
        self.newest = self.newest.max(pts);
        self.count = self.count.saturating_add(1);
        self.is_other || (self.is_delayed && self.count < IN_ORDER)
    }
}

impl Feeding {
    fn begin(&mut self, tracks: &Arc<Tracks>) {
        let find = |kind| tracks.configs.iter().position(|config| config.kind() == kind);
        let of = |number: usize| tracks.configs.get(number).and_then(Payloads::of);
        let pictures = find(TrackKind::Video);
        let sound = find(TrackKind::Audio);
        let opus = sound.and_then(|number| Some((number, of(number).filter(|_| is_sendable_sound(tracks, number))?)));
        let told = pictures.and_then(|number| describe(tracks.configs.get(number)?));
        *self = Self {
            pictures: pictures.map(|number| (number, of(number))),
            told: Source { pictures: told, sound_unfit: sound.is_some() && opus.is_none() },
            sound: opus,
            tracks: Some(Arc::clone(tracks)),
            order: Order::default(),
            has_begun: false,
            heard_until: None,
            pace: Pace::default(),
        };
    }

    /// Only these pictures.
    fn begin_pictures(&mut self, tracks: &Arc<Tracks>, number: usize) {
        let config = tracks.configs.get(number);
        *self = Self {
            pictures: Some((number, config.and_then(Payloads::of))),
            told: Source { pictures: config.and_then(describe), sound_unfit: false },
            tracks: Some(Arc::clone(tracks)),
            ..Self::default()
        };
    }

    fn is_new(&self, tapped: &Tapped) -> bool {
        self.tracks.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &tapped.tracks))
    }

    /// Packets of sound follow each other to the sample, whatever their times were rounded to.
    fn heard_at(&mut self, tapped: &Tapped) -> i64 {
        let told = tapped.pts(SOUND_RATE);
        let time = self.heard_until.filter(|until| (until - told).abs() <= ROUNDED).unwrap_or(told);
        let length = packet_samples(&tapped.frame.payload).unwrap_or(PACKET_SAMPLES);
        self.heard_until = Some(time + i64::from(length));
        time
    }

    /// A frame in packets, and of which kind; nothing of one that is not sent.
    fn take(&mut self, tapped: &Tapped, made: Instant) -> Option<(TrackKind, Unit)> {
        let frame = &tapped.frame;
        if let Some((_, payloads)) = self.sound.as_mut().filter(|(number, _)| *number == tapped.track) {
            let payloads = payloads.make(frame).into();
            let time = self.heard_at(tapped);
            let due = self.pace.due(made, time, SOUND_RATE);
            return Some((TrackKind::Audio, Unit { made, due, time, keyframe: true, payloads }));
        }
        let (_, payloads) = self.pictures.as_mut().filter(|(number, _)| *number == tapped.track)?;
        let is_other = self.order.take(frame.dts, frame.pts);
        let told = self.told.pictures.as_mut()?;
        if is_other || told.unfit == Some(Unfit::Reordered) {
            told.unfit = is_other.then_some(Unfit::Reordered);
        }
        self.has_begun = told.unfit.is_none() && (self.has_begun || frame.keyframe);
        let payloads: Arc<[Bytes]> = payloads.as_mut().filter(|_| self.has_begun)?.make(frame).into();
        let time = tapped.pts(PICTURE_RATE);
        let unit = Unit { made, due: made, time, keyframe: frame.keyframe, payloads };
        (!unit.payloads.is_empty()).then_some((TrackKind::Video, unit))
    }
}

/// What a track of pictures is to viewers.
fn describe(config: &TrackConfig) -> Option<SourcePictures> {
    let (codec, profile, unfit) = match &config.codec {
        CodecConfig::H264 { avcc } => {
            let avc = AvcConfig::parse(avcc).ok()?;
            let sps = SpsInfo::parse(avc.sps.first()?).ok()?;
            (Codec::H264, sps.profile, unfit_form(&sps))
        }
        CodecConfig::Hevc { .. } => (Codec::Hevc, 0, None),
        CodecConfig::Av1 { .. } => (Codec::Av1, 0, None),
        CodecConfig::Vp9 { .. } => (Codec::Vp9, 0, None),
        _ => return None,
    };
    let rotated = (config.rotation != 0).then_some(Unfit::Rotated);
    Some(SourcePictures { codec, profile, unfit: unfit.or(rotated) })
}

fn unfit_form(sps: &SpsInfo) -> Option<Unfit> {
    if !sps.progressive {
        Some(Unfit::Form("its pictures are interlaced"))
    } else if sps.chroma_format != 1 || sps.bit_depth_luma != 8 || sps.bit_depth_chroma != 8 {
        Some(Unfit::Form("its colours are not 4:2:0 in 8 bits"))
    } else if !PROFILES.contains(&sps.profile) {
        Some(Unfit::Form("its profile"))
    } else {
        None
    }
}

fn is_sendable_sound(tracks: &Tracks, number: usize) -> bool {
    match tracks.configs.get(number).map(|config| &config.codec) {
        Some(CodecConfig::Opus { dops }) => OpusConfig::parse(dops).is_some_and(|opus| opus.channels <= CHANNELS_MAX),
        _ => false,
    }
}

impl RtpProgramme {
    /// What comes of this stream: one for all that watch it.
    pub fn of(stream: &Arc<LiveStream>) -> Arc<Self> {
        stream.shared(Self::new)
    }

    fn new(stream: Arc<LiveStream>) -> Self {
        let made = Made {
            cursor: stream.look(|broadcast| broadcast.tap().join()),
            encoded_cursor: stream.realtime().join(),
            source: Feeding::default(),
            encoded: [Feeding::default(), Feeding::default()],
            pictures: Tape::default(),
            encoded_pictures: Tape::default(),
            sound: Tape::default(),
            others: Vec::new(),
            next_other: 0,
        };
        Self { stream, made: Mutex::new(made) }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<LiveStream> {
        &self.stream
    }

    /// Moves when there may be more as it came, and at the end.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.stream.tapped()
    }

    /// Whether nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.stream.look(Broadcast::has_ended)
    }

    /// Takes in what has come since.
    pub fn pull(&self, now: Instant) {
        let mut made = self.made();
        let tapped: Vec<Tapped> = self.stream.look(|broadcast| broadcast.tap().read(&mut made.cursor).collect());
        made.take(&tapped, now);
        let encoded = self.stream.realtime().read(&mut made.encoded_cursor);
        if encoded.is_anew {
            made.encoded_pictures.clear();
        }
        made.take_encoded(&encoded.frames, now);
        made.take_rungs(&encoded.rungs, now);
        let Made { pictures, encoded_pictures, sound, others, .. } = &mut *made;
        let others = others.iter_mut().map(|other| &mut other.tape);
        [pictures, encoded_pictures, sound].into_iter().chain(others).for_each(|tape| tape.trim(now));
    }

    /// What the stream has, once something of it has come.
    pub fn source(&self) -> Option<Source> {
        let made = self.made();
        made.source.tracks.as_ref().map(|_| made.source.told)
    }

    /// Where to begin in a lane: with its newest key frame, once there is one.
    pub fn start(&self, lane: Lane) -> Option<u64> {
        self.made().tape(lane)?.start()
    }

    /// The same, and when that is shown.
    pub fn beginning(&self, lane: Lane) -> Option<(u64, i64)> {
        self.made().tape(lane)?.beginning().map(|(number, unit)| (number, unit.time))
    }

    /// Where what comes next is.
    pub fn end(&self, lane: Lane) -> u64 {
        self.made().tape(lane).map_or(0, Tape::end)
    }

    /// The newest unit of a lane.
    pub fn newest(&self, lane: Lane) -> Option<Unit> {
        self.made().tape(lane)?.newest().cloned()
    }

    /// What there is of a lane from this unit on, so many of them at most.
    pub fn units(&self, lane: Lane, from: u64, most: usize) -> Found<Unit> {
        self.made().tape(lane).map_or(Found::Gone(None), |tape| tape.from(from, most))
    }

    /// How many bits a second a lane takes.
    pub fn bits_per_sec(&self, lane: Lane) -> Option<f64> {
        self.made().tape(lane)?.bits_per_sec()
    }

    /// Pictures besides those that lead which come now, the ones that take most first.
    pub fn others(&self, now: Instant) -> Vec<OtherPictures> {
        let made = self.made();
        let mut others: Vec<OtherPictures> = made.others.iter().filter_map(|other| made.describe(other, now)).collect();
        others.sort_by(|one, other| other.bits_per_sec.total_cmp(&one.bits_per_sec));
        others
    }
}

impl Made {
    fn tape(&self, lane: Lane) -> Option<&Tape<Unit>> {
        Some(match lane {
            Lane::Pictures => &self.pictures,
            Lane::Encoded => &self.encoded_pictures,
            Lane::Sound => &self.sound,
            Lane::Other(number) => &self.others.iter().find(|other| other.number == number)?.tape,
        })
    }

    /// `None` of those that cannot be sent, or do not come.
    fn describe(&self, other: &Other, now: Instant) -> Option<OtherPictures> {
        let SourcePictures { codec, unfit: None, .. } = other.feeding.told.pictures? else { return None };
        let newest = other.tape.newest()?;
        if now.saturating_duration_since(newest.made) > COMES_WITHIN {
            return None;
        }
        let heard_at = newest.time * i64::from(SOUND_RATE) / i64::from(PICTURE_RATE);
        let sound = self.sound.find(|sound| sound.time >= heard_at);
        let late = sound.map_or(Duration::ZERO, |sound| newest.made.saturating_duration_since(sound.made));
        Some(OtherPictures { lane: Lane::Other(other.number), codec, bits_per_sec: other.tape.bits_per_sec()?, late })
    }

    /// The next frame of other pictures.
    fn take_other(&mut self, origin: Origin, tapped: &Tapped, came: Instant) {
        let index = self.others.iter().position(|other| other.origin == origin).unwrap_or_else(|| {
            let number = self.next_other;
            self.next_other = number.wrapping_add(1);
            self.others.push(Other { number, origin, feeding: Feeding::default(), tape: Tape::default() });
            self.others.len() - 1
        });
        let Some(Other { feeding, tape, .. }) = self.others.get_mut(index) else { return };
        if feeding.is_new(tapped) {
            feeding.begin_pictures(&tapped.tracks, tapped.track);
            tape.clear();
        }
        if let Some((TrackKind::Video, unit)) = feeding.take(tapped, came) {
            push(tape, unit);
        }
    }

    fn take_rungs(&mut self, rungs: &[(String, Vec<Tapped>)], now: Instant) {
        self.others.retain(|other| match &other.origin {
            Origin::Rung(name) => rungs.iter().any(|(made, _)| made == name),
            Origin::Track(_) => true,
        });
        for (name, frames) in rungs {
            frames.iter().for_each(|tapped| self.take_other(Origin::Rung(name.clone()), tapped, now));
        }
    }

    fn take(&mut self, tapped: &[Tapped], now: Instant) {
        let newest = tapped.last().map_or(0, |last| last.dts(MICROS));
        for one in tapped {
            let behind = Duration::from_micros(u64::try_from(newest - one.dts(MICROS)).unwrap_or(0));
            let came = now.checked_sub(behind).unwrap_or(now);
            if self.source.is_new(one) {
                self.source.begin(&one.tracks);
                self.pictures.clear();
                self.others.retain(|other| !matches!(other.origin, Origin::Track(_)));
            }
            let kind = one.tracks.configs.get(one.track).map(TrackConfig::kind);
            if kind == Some(TrackKind::Video) && one.tracks.leader() != Some(one.track) {
                self.take_other(Origin::Track(one.track), one, came);
                continue;
            }
            match self.source.take(one, came) {
                Some((TrackKind::Video, unit)) => push(&mut self.pictures, unit),
                Some((TrackKind::Audio, unit)) => push(&mut self.sound, unit),
                None => {}
            }
        }
    }

    fn take_encoded(&mut self, tapped: &[Tapped], now: Instant) {
        for one in tapped {
            let [of_pictures, of_sound] = &mut self.encoded;
            let is_picture = one.tracks.leader() == Some(one.track);
            let feeding = if is_picture { of_pictures } else { of_sound };
            if feeding.is_new(one) {
                feeding.begin(&one.tracks);
            }
            let unit = feeding.take(one, now);
            // Who encodes begins late and catches up: players who heard that would hold all sound for long. And what was under way
            // when the source began to send what needs no encoding is sent to nobody.
            let is_heard = self.source.told.sound_unfit && feeding.pace.is_known();
            match unit {
                Some((TrackKind::Video, unit)) => push(&mut self.encoded_pictures, unit),
                Some((TrackKind::Audio, unit)) if is_heard => push(&mut self.sound, unit),
                Some((TrackKind::Audio, _)) | None => {}
            }
        }
    }
}

fn push(tape: &mut Tape<Unit>, unit: Unit) {
    if unit.keyframe {
        tape.begin();
    }
    tape.push(unit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::media::frames::Frame;
    use crate::media::live::broadcast::BroadcastSettings;
    use crate::media::live::stream::Forgetful;
    use crate::media::live::testing::{at, audio, video, visit};
    use crate::media::live::timeline::Stamp;

    fn opus() -> TrackConfig {
        let dops = OpusConfig::of_channels(2).unwrap().to_bytes();
        TrackConfig::new(CodecConfig::Opus { dops }, 48_000)
    }

    fn stream(tracks: Vec<TrackConfig>) -> Arc<LiveStream> {
        let settings = BroadcastSettings::new(Duration::from_secs(60), 0);
        let stream = Arc::new(LiveStream::new(settings, Box::new(Forgetful)));
        stream.begin_visit(1, visit(tracks), at(0)).unwrap();
        stream
    }

    /// Ten pictures a second, a key frame each second, each with a packet of sound; shown this much later, milliseconds.
    fn play(stream: &LiveStream, tenths: std::ops::Range<i64>, composition: impl Fn(i64) -> i64) {
        for tenth in tenths {
            let arrival = Duration::from_millis(tenth as u64 * 100);
            let now = Timestamp::from_millis(tenth * 100);
            let keyframe = tenth % 10 == 0;
            let stamp = Stamp { dts: tenth * 100, composition: composition(tenth), keyframe, arrival };
            let payload = Bytes::from_static(&[0, 0, 0, 4, 0x41, 1, 2, 3]);
            stream.push(1, (0, stamp), payload, now).unwrap();
            let stamp = Stamp { dts: tenth * 100, composition: 0, keyframe: true, arrival };
            stream.push(1, (1, stamp), Bytes::from_static(&[0xfc, 1, 2]), now).unwrap();
        }
    }

    fn units(programme: &RtpProgramme, lane: Lane) -> Vec<Unit> {
        let Some(start) = programme.start(lane) else { return Vec::new() };
        match programme.units(lane, start, usize::MAX) {
            Found::Pieces(units) => units,
            Found::Gone(_) => panic!("gone"),
        }
    }

    #[tokio::test]
    async fn it_is_made_once_for_all_and_only_while_somebody_watches() {
        let stream = stream(vec![video(), opus()]);
        play(&stream, 0..15, |_| 0);
        let (one, other) = (RtpProgramme::of(&stream), RtpProgramme::of(&stream));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.source(), None);
        let now = Instant::now();
        one.pull(now);
        let source = one.source().unwrap();
        assert_eq!((source.pictures.unwrap().unfit, source.sound_unfit), (None, false));
        let pictures = units(&other, Lane::Pictures);
        assert_eq!(pictures.len(), 5, "from the newest key frame on");
        assert!(pictures[0].keyframe && pictures[0].payloads.len() == 1, "its parameter sets are in the same packet");
        assert_eq!(now.duration_since(pictures[0].made).as_millis() / 100, 4);
        let sound = units(&other, Lane::Sound);
        assert_eq!(sound.len(), 1, "one can begin with any");
        let (picture, packet) = (pictures.last().unwrap().time, sound.last().unwrap().time);
        assert_eq!(picture * 48_000 / 90_000, packet, "both are on one timeline");
        play(&stream, 15..16, |_| 0);
        let mut moved = one.moved();
        moved.mark_changed();
        other.pull(now);
        let again = units(&one, Lane::Pictures);
        assert!(Arc::ptr_eq(&again[0].payloads, &pictures[0].payloads), "nobody gets a copy");
        drop((one, other));
        assert!(!stream.look(|broadcast| broadcast.tap().is_read()));
    }

    #[test]
    fn b_frames_are_noticed_and_a_mere_delay_is_none() {
        let stream_of = |composition: fn(i64) -> i64| {
            let stream = stream(vec![video(), audio()]);
            let programme = RtpProgramme::of(&stream);
            play(&stream, 0..4, composition);
            programme.pull(Instant::now());
            let early = programme.source().unwrap();
            play(&stream, 4..35, composition);
            programme.pull(Instant::now());
            let late = programme.source().unwrap();
            assert!(early.sound_unfit && units(&programme, Lane::Sound).is_empty(), "AAC has to be encoded");
            (early.pictures.unwrap().unfit, late.pictures.unwrap().unfit, units(&programme, Lane::Pictures).len())
        };
        let reordered = Some(Unfit::Reordered);
        assert_eq!(stream_of(|tenth| if tenth % 2 == 1 { 0 } else { 150 }), (reordered, reordered, 0));
        assert_eq!(stream_of(|_| 80), (reordered, None, 5));
        assert_eq!(stream_of(|_| 0), (None, None, 5));
    }

    #[test]
    fn what_is_encoded_for_viewers_is_in_lanes_of_its_own() {
        let stream = stream(vec![video(), audio()]);
        let programme = RtpProgramme::of(&stream);
        play(&stream, 0..3, |_| 0);
        programme.pull(Instant::now());
        let realtime = stream.realtime();
        realtime.begin_pictures(1, video());
        realtime.begin_sound(1, opus());
        let frame = |dts, payload| Frame { dts, pts: dts, duration: 0, keyframe: true, payload };
        let now = Instant::now();
        realtime.push_picture(&frame(9000, Bytes::from_static(&[0, 0, 0, 2, 0x65, 1])));
        realtime.push_sound(&frame(4800, Bytes::from_static(&[0xfc, 1])));
        programme.pull(now);
        assert!(units(&programme, Lane::Sound).is_empty(), "it is not known yet how late it is");
        realtime.push_sound(&frame(52_800, Bytes::from_static(&[0xfc, 1])));
        programme.pull(now + Duration::from_secs(1));
        let (pictures, sound) = (units(&programme, Lane::Encoded), units(&programme, Lane::Sound));
        assert_eq!((pictures[0].time, sound[0].time), (9000, 52_800));
        assert_eq!(programme.newest(Lane::Encoded).unwrap().time, 9000);
    }

    #[test]
    fn other_renditions_are_lanes_of_their_own_while_they_come() {
        let stream = stream(vec![video(), video(), opus()]);
        let programme = RtpProgramme::of(&stream);
        stream.begin_rung(("r90", 1), video()).unwrap();
        let begun = Instant::now();
        for tenth in 0..25i64 {
            let (arrival, now) = (Duration::from_millis(tenth as u64 * 100), Timestamp::from_millis(tenth * 100));
            let keyframe = tenth % 10 == 0;
            let stamp = Stamp { dts: tenth * 100, composition: 0, keyframe, arrival };
            for (track, bytes) in [(0, 2000), (1, 1000)] {
                let unit = [&[0, 0, (bytes >> 8) as u8, bytes as u8, 0x41][..], &vec![1; bytes - 1]].concat();
                stream.push(1, (track, stamp), unit.into(), now).unwrap();
            }
            stream.push(1, (2, Stamp { keyframe: true, ..stamp }), Bytes::from_static(&[0xfc, 1, 2]), now).unwrap();
            programme.pull(begun + arrival);
        }
        let now = begun + Duration::from_millis(2400);
        let others = programme.others(now);
        let most = programme.bits_per_sec(Lane::Pictures).unwrap();
        assert!(others.len() == 1 && others[0].codec == Codec::H264, "nothing of the rung has come: {others:?}");
        assert!((others[0].bits_per_sec * 2.0 / most - 1.0).abs() < 0.1, "{others:?} {most}");
        let beginning = programme.beginning(others[0].lane);
        assert_eq!(beginning.map(|(number, _)| number), Some(20), "its newest key frame");
        assert_eq!(beginning, programme.beginning(Lane::Pictures), "at the same time");
        assert!(programme.others(now + COMES_WITHIN * 2).is_empty(), "nothing comes any more");
    }

    #[test]
    fn viewers_are_told_why_pictures_are_not_for_them() {
        let sps = |profile: u8, chroma_format, bits, progressive| SpsInfo {
            profile,
            chroma_format,
            bit_depth_luma: bits,
            bit_depth_chroma: bits,
            progressive,
            width: 320,
            height: 180,
            colour: None,
        };
        assert_eq!(unfit_form(&sps(100, 1, 8, true)), None);
        for unfit in [sps(100, 1, 8, false), sps(110, 1, 10, true), sps(122, 2, 8, true), sps(88, 1, 8, true)] {
            assert!(unfit_form(&unfit).is_some(), "{unfit:?}");
        }
        let mut rotated = video();
        rotated.rotation = 90;
        assert_eq!(describe(&rotated).unwrap().unfit, Some(Unfit::Rotated));
        assert!(describe(&audio()).is_none());
    }
}
