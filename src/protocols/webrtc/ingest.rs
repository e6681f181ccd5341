//! From a publisher's RTP packets to a visit: the tracks it has, and their frames.
//!
//! Each track's packets are put in order, those of a picture together. All tracks have one clock of 90 kHz: at first by when they
//! came, then by what the publisher tells of its clocks. A loss leaves pictures out until the next key frame, which is asked for;
//! key frames are asked for besides so that every segment can begin with one. Browsers change the size of their pictures as they
//! like: each change opens an epoch, so there is some time between two of them, in which pictures of yet another size are left out.
//!
//! Pictures may come in several sizes at once, layers of simulcast: each is a track, the largest first. They begin their segments
//! together, as key frames are asked for of all of them. Browsers stop sending the largest when their line carries less: those who
//! watch are then shown what still comes.
//!
//! VP8 is not for the stream: such pictures are handed out to be encoded anew, and what comes of them is taken in as if it had come.
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::jitter::{Jitter, JitterStats, Next};
use super::peer::RtpPacket;
use super::wire::offer::{Choice, Codec, Media};
use super::wire::payload::Unit;
use crate::domain::asset::TrackKind;
use crate::media::codecs::hevc::Left;
use crate::media::codecs::opus::{OpusConfig, SAMPLE_RATE};
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::live::lineup::{Arrived, Fed, Lineup, TrackId};
use crate::media::live::pictures::Pictures;
use crate::media::live::timeline::{IngestClock, Stamp};
use crate::media::live::transcoding::{ToTranscode, Transcoded};

mod clocks;

use clocks::Clocks;

/// A key frame is asked for when the last one is this old: TARGETDURATION is then two seconds, as short as it gets.
const KEY_EVERY: Duration = Duration::from_millis(1800);
/// The same when somebody who watches cannot go on without: not every wish of every viewer costs all others.
const KEY_WANTED_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked for again while none comes.
const KEY_AGAIN: Duration = Duration::from_millis(500);
/// Shortest time between two changes of the pictures' size.
const RESIZE_EVERY_MIN: Duration = Duration::from_secs(6);
/// Layers that change so soon after another one do it together with that.
const RESIZE_TOGETHER: Duration = Duration::from_secs(1);
/// A layer of which nothing came for this long, while others came, is not sent any more.
const LAYER_SILENCE_MAX: Duration = Duration::from_secs(3);
/// Nobody tells how many pictures a second come, and cameras take fewer in the dark: parts that 20 of them fill well are filled
/// well by 10, 15, 24, 25 and 30, too.
const FRAME_RATE: (u32, u32) = (20, 1);
/// Channels of Opus in RTP (RFC 7587, section 7).
const OPUS_CHANNELS: u8 = 2;

/// What the publisher is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A key frame of this source.
    KeyFrame(u32),
    /// Packets of this source once more.
    Again(u32, Vec<u16>),
}

/// What could not be used, and what was asked for, as counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unusable {
    /// Times that packets were missing.
    pub gaps: u64,
    /// Packets and pictures that cannot be read.
    pub damaged: u64,
    /// Pictures that need ones that are missing, or have a size that they had not long enough.
    pub undecodable: u64,
    /// Key frames that were asked for.
    pub key_frames_asked: u64,
}

/// A section's media.
#[derive(Debug)]
struct Track {
    id: TrackId,
    codec: Codec,
    /// Of the packets that come now.
    ssrc: Option<u32>,
    jitter: Jitter,
    /// Of sources before.
    stats: JitterStats,
    unit: Unit,
    /// Timestamp of the unit in the making, and whether something of it is lost or damaged.
    under_way: Option<(u32, Instant)>,
    is_broken: bool,
    /// Whether no unit has ended yet: the first may have begun before the first packet that was understood.
    is_joining: bool,
    /// When its last packet came.
    came: Option<Instant>,
    pictures: Option<Picturing>,
}

/// What pictures need besides.
#[derive(Debug)]
struct Picturing {
    pictures: Pictures,
    /// Whether pictures are left out until a key frame comes.
    waits_for_key: bool,
    last_key: Option<Instant>,
    last_asked: Option<Instant>,
    /// Whether somebody who watches cannot go on without one.
    is_wanted: bool,
    /// What was announced last, and when.
    announced: Option<(TrackConfig, Instant)>,
}

/// One publisher's media.
#[derive(Debug)]
pub struct RtpIngest {
    started: Instant,
    tracks: Vec<Track>,
    clocks: Clocks,
    lineup: Lineup,
    /// When tracks of pictures were announced last.
    announced: Option<Instant>,
    unusable: Unusable,
    /// What is to be encoded anew.
    to_transcode: Vec<ToTranscode>,
}

impl RtpIngest {
    /// Of what these were chosen for, sections or layers of them; lost packets are waited for as long as `latency`.
    pub fn new(choices: &[Choice], latency: Duration, now: Instant) -> Self {
        let (mut pictures, mut sounds) = (0u8, 0u8);
        let tracks = choices.iter().map(|choice| {
            let (kind, number) = match choice.codec.media() {
                Media::Audio => (TrackKind::Audio, &mut sounds),
                Media::Video => (TrackKind::Video, &mut pictures),
            };
            let id = (kind, *number);
            *number = number.saturating_add(1);
            Track::new(id, choice.codec, latency)
        });
        let tracks: Vec<Track> = tracks.collect();
        let clocks = Clocks::new(choices.iter().map(|choice| (choice.codec.media(), choice.format.clock_rate)));
        let lineup = Lineup::new(IngestClock::RTP).by_size().with_keys_on_request();
        // An encoder has to be started first.
        let is_transcoded = tracks.iter().any(Track::is_transcoded);
        let lineup = if is_transcoded { lineup.patient() } else { lineup };
        let (unusable, to_transcode) = (Unusable::default(), Vec::new());
        Self { started: now, tracks, clocks, lineup, announced: None, unusable, to_transcode }
    }

    /// What could not be used so far.
    pub fn unusable(&self) -> Unusable {
        Unusable { undecodable: self.unusable.undecodable + self.lineup.unconfigured(), ..self.unusable }
    }

    /// How the packets of all tracks do.
    pub fn stats(&self) -> JitterStats {
        self.tracks.iter().fold(JitterStats::default(), |sum, track| add(add(sum, track.stats), track.jitter.stats()))
    }

    /// The longest of how long packets are held now.
    pub fn held_for(&self, now: Instant) -> Duration {
        self.tracks.iter().map(|track| track.jitter.held_for(now)).max().unwrap_or_default()
    }

    /// How long it lately took until packets came that had been asked for.
    pub fn round_trip(&self) -> Option<Duration> {
        self.tracks.iter().filter_map(|track| track.jitter.round_trip()).max()
    }

    /// The publisher tells what a source's clock and its own say at one instant.
    pub fn take_clock(&mut self, ssrc: u32, (ntp, rtp): (u64, u32)) {
        if let Some(section) = self.tracks.iter().position(|track| track.ssrc == Some(ssrc)) {
            self.clocks.tell(section, (ntp, rtp));
        }
    }

    /// Takes a packet of the track with this number.
    pub fn take(&mut self, section: usize, packet: RtpPacket, at: Instant, out: &mut Vec<Fed>) {
        let Some(track) = self.tracks.get_mut(section) else { return };
        track.note_source(packet.header.ssrc);
        track.came = Some(at);
        track.jitter.push(packet, at);
        self.drain(section, at, out);
    }

    /// Whether there are pictures that have to be encoded anew.
    pub fn is_transcoded(&self) -> bool {
        self.tracks.iter().any(Track::is_transcoded)
    }

    /// What has come since that is to be encoded anew.
    pub fn to_transcode(&mut self) -> Vec<ToTranscode> {
        std::mem::take(&mut self.to_transcode)
    }

    /// Takes what has come of that.
    pub fn take_transcoded(&mut self, transcoded: Transcoded, now: Instant, out: &mut Vec<Fed>) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.is_transcoded()) else { return };
        let id = track.id;
        match transcoded {
            Transcoded::Begin(config) => self.lineup.configure(id, config),
            Transcoded::Picture { pts, keyframe, payload } => {
                let arrival = now.saturating_duration_since(self.started);
                let stamp = Stamp { dts: pts, composition: 0, keyframe, arrival };
                self.pass(Arrived { track: id, stamp, payload }, now, out);
            }
            Transcoded::Interrupted => track.wait_for_key(),
        }
    }

    /// Pictures that were handed out have been left out.
    pub fn lose_transcoded(&mut self) {
        self.tracks.iter_mut().filter(|track| track.is_transcoded()).for_each(Track::wait_for_key);
    }

    /// Time passes: what was waited for too long is given up, and what is to be asked for is told.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<Fed>, wishes: &mut Vec<Wish>) {
        for section in 0..self.tracks.len() {
            self.drain(section, now, out);
            let Some(track) = self.tracks.get_mut(section) else { continue };
            let Some(ssrc) = track.ssrc else { continue };
            let again = track.jitter.to_ask(now);
            if !again.is_empty() {
                wishes.push(Wish::Again(ssrc, again));
            }
        }
        self.leave_out_silent(now);
        self.ask_for_key_frames(now, wishes);
    }

    /// Whether pictures come that are not of a layer which others have outlived.
    fn has_coming(&self, now: Instant) -> bool {
        self.tracks.iter().any(|track| track.pictures.is_some() && track.came.is_some() && !track.is_silent(now))
    }

    /// Those of all layers are asked for together, but not for one that may not be announced yet.
    fn ask_for_key_frames(&mut self, now: Instant, wishes: &mut Vec<Wish>) {
        if self.key_frame_due(now).is_none_or(|due| now < due) {
            return;
        }
        let has_coming = self.has_coming(now);
        for track in self.tracks.iter_mut().filter(|track| !(has_coming && track.is_silent(now))) {
            if let (Some(ssrc), Some(pictures)) = (track.ssrc, &mut track.pictures) {
                pictures.last_asked = Some(now);
                self.unusable.key_frames_asked += 1;
                wishes.push(Wish::KeyFrame(ssrc));
            }
        }
    }

    /// Layers that come no more are announced no more, as long as another one comes.
    fn leave_out_silent(&mut self, now: Instant) {
        if !self.has_coming(now) {
            return;
        }
        for track in self.tracks.iter_mut().filter(|track| track.is_silent(now)) {
            let announced = track.pictures.as_mut().and_then(|pictures| pictures.announced.take());
            if announced.is_some() {
                track.wait_for_key();
                self.lineup.remove(track.id);
            }
        }
    }

    /// Somebody who watches cannot go on without a key frame.
    pub fn want_key_frames(&mut self) {
        self.tracks
            .iter_mut()
            .filter_map(|track| track.pictures.as_mut())
            .for_each(|pictures| pictures.is_wanted = true);
    }

    /// When time is to pass next at the latest.
    pub fn next_timer(&self, now: Instant) -> Option<Instant> {
        let packets = self.tracks.iter().filter_map(|track| track.jitter.next_timer(now));
        packets.chain(self.key_frame_due(now)).min()
    }

    /// When a key frame is to be asked for next.
    fn key_frame_due(&self, now: Instant) -> Option<Instant> {
        let (has_coming, is_apart) = (self.has_coming(now), self.is_apart(now));
        let left = self.tracks.iter().filter(|track| track.ssrc.is_some() && !(has_coming && track.is_silent(now)));
        let pictures = left.filter_map(|track| track.pictures.as_ref());
        let asking = pictures.filter(|pictures| !(is_apart && pictures.announced.is_none()));
        asking.map(|pictures| pictures.asks_at(now)).min()
    }

    fn drain(&mut self, section: usize, now: Instant, out: &mut Vec<Fed>) {
        loop {
            let Some(track) = self.tracks.get_mut(section) else { return };
            match track.jitter.pop(now) {
                Some(Next::Packet(packet, at)) => self.take_next(section, packet, at, out),
                Some(Next::Lost(_)) => {
                    self.unusable.gaps += 1;
                    track.lose();
                }
                None => return,
            }
        }
    }

    /// The next packet in order.
    fn take_next(&mut self, section: usize, packet: RtpPacket, at: Instant, out: &mut Vec<Fed>) {
        let Some(track) = self.tracks.get_mut(section) else { return };
        let (time, ends) = (packet.header.timestamp, packet.header.marker || track.codec == Codec::Opus);
        if packet.payload.is_empty() {
            // Browsers send such ones to find out how much goes through.
            return;
        }
        if track.under_way.is_some_and(|(under_way, _)| under_way != time) {
            self.end_unit(section, out);
        }
        let Some(track) = self.tracks.get_mut(section) else { return };
        track.under_way.get_or_insert((time, at));
        if !track.is_broken && track.unit.take(&packet.payload).is_err() {
            self.unusable.damaged += u64::from(!track.is_joining);
            track.is_broken = true;
            track.wait_for_key();
        }
        if ends {
            self.end_unit(section, out);
        }
    }

    /// The unit in the making has all that came of it.
    fn end_unit(&mut self, section: usize, out: &mut Vec<Fed>) {
        let Some((time, at)) = self.tracks.get_mut(section).and_then(|track| track.under_way.take()) else { return };
        let is_apart = self.is_apart(at);
        let Some(track) = self.tracks.get_mut(section) else { return };
        let unit = track.unit.finish().filter(|_| !track.is_broken);
        (track.is_broken, track.is_joining) = (false, false);
        let Some(unit) = unit else {
            track.wait_for_key();
            return;
        };
        let taken = match &mut track.pictures {
            Some(pictures) => pictures.take(unit, at, !is_apart),
            None => Ok(Taken { payload: unit, keyframe: true, config: None }),
        };
        let (id, is_transcoded) = (track.id, track.is_transcoded());
        match taken {
            Ok(Taken { payload, keyframe, config }) => {
                let arrival = at.saturating_duration_since(self.started);
                let dts = self.clocks.time(section, (time, keyframe), arrival);
                if is_transcoded {
                    let config = self.tracks.get(section).and_then(Track::announced).filter(|_| keyframe);
                    let frame = Frame { dts, pts: dts, duration: 0, keyframe, payload };
                    self.to_transcode.push(ToTranscode { config, frame });
                    return;
                }
                let config = config.or_else(|| (id.0 == TrackKind::Audio).then(opus).flatten());
                if let Some(config) = config {
                    self.lineup.configure(id, config);
                }
                self.pass(
                    Arrived { track: id, stamp: Stamp { dts, composition: 0, keyframe, arrival }, payload },
                    at,
                    out,
                );
            }
            Err(Left::Damaged) => self.unusable.damaged += 1,
            Err(Left::Undecodable) => self.unusable.undecodable += 1,
        }
    }

    /// A frame goes to the stream, behind the tracks that there are.
    fn pass(&mut self, frame: Arrived, at: Instant, out: &mut Vec<Fed>) {
        if self.lineup.take(frame, out) && (self.has_all(at) || self.lineup.has_waited()) {
            let has_pictures = self.lineup.count(TrackKind::Video) > 0;
            let rate = has_pictures.then_some(FRAME_RATE);
            self.lineup.announce(rate, |_, config| config.clone(), out);
            self.announced = has_pictures.then_some(at);
        }
    }

    /// Whether pictures of other sizes have to wait, as some were announced just before.
    fn is_apart(&self, now: Instant) -> bool {
        let since = self.announced.map(|announced| now.saturating_duration_since(announced));
        since.is_some_and(|since| (RESIZE_TOGETHER..RESIZE_EVERY_MIN).contains(&since))
    }

    /// Whether every track has told its configuration; once there was an announcement, every one that comes.
    fn has_all(&self, now: Instant) -> bool {
        let is_there = |track: &&Track| self.announced.is_none() || (track.came.is_some() && !track.is_silent(now));
        let told = self.lineup.count(TrackKind::Video) + self.lineup.count(TrackKind::Audio);
        self.tracks.iter().filter(is_there).count() <= told
    }
}

/// Sound is always the same.
fn opus() -> Option<TrackConfig> {
    let dops = OpusConfig::of_channels(OPUS_CHANNELS)?.to_bytes();
    Some(TrackConfig::new(CodecConfig::Opus { dops }, SAMPLE_RATE))
}

fn add(one: JitterStats, other: JitterStats) -> JitterStats {
    JitterStats {
        packets: one.packets + other.packets,
        recovered: one.recovered + other.recovered,
        lost: one.lost + other.lost,
        late: one.late + other.late,
        asked: one.asked + other.asked,
    }
}

impl Track {
    fn new(id: TrackId, codec: Codec, latency: Duration) -> Self {
        let pictures = match codec {
            Codec::H264 => Some(Pictures::H264(None)),
            Codec::Hevc => Some(Pictures::Hevc(None)),
            Codec::Av1 => Some(Pictures::Av1(None)),
            Codec::Vp9 => Some(Pictures::Vp9(None)),
            Codec::Vp8 => Some(Pictures::Vp8(None)),
            Codec::Opus => None,
        };
        let pictures = pictures.map(|pictures| Picturing {
            pictures,
            waits_for_key: true,
            last_key: None,
            last_asked: None,
            is_wanted: false,
            announced: None,
        });
        Self {
            id,
            codec,
            ssrc: None,
            jitter: Jitter::new(latency),
            stats: JitterStats::default(),
            unit: Unit::new(codec),
            under_way: None,
            is_broken: false,
            is_joining: true,
            came: None,
            pictures,
        }
    }

    /// What its pictures are of, as far as it was told.
    fn announced(&self) -> Option<TrackConfig> {
        self.pictures.as_ref()?.announced.as_ref().map(|(config, _)| config.clone())
    }

    /// Whether its pictures are encoded anew.
    fn is_transcoded(&self) -> bool {
        self.codec == Codec::Vp8
    }

    /// Another source counts its packets in another way.
    fn note_source(&mut self, ssrc: u32) {
        if self.ssrc.replace(ssrc).is_some_and(|before| before != ssrc) {
            let anew = self.jitter.anew();
            self.stats = add(self.stats, std::mem::replace(&mut self.jitter, anew).stats());
            self.lose();
        }
    }

    /// Packets are missing: of the picture under way, or of the one that comes next; nobody knows.
    fn lose(&mut self) {
        self.unit.clear();
        self.under_way = None;
        self.is_broken = self.id.0 == TrackKind::Video;
        self.wait_for_key();
    }

    /// Whether nothing has come for so long that nothing will.
    fn is_silent(&self, now: Instant) -> bool {
        self.came.is_some_and(|came| now.saturating_duration_since(came) >= LAYER_SILENCE_MAX)
    }

    fn wait_for_key(&mut self) {
        if let Some(pictures) = &mut self.pictures {
            pictures.waits_for_key = true;
        }
    }
}

/// A frame, and its track's configuration if that is another one from here on.
struct Taken {
    payload: Bytes,
    keyframe: bool,
    config: Option<TrackConfig>,
}

impl Picturing {
    /// Takes an access unit; if the tracks were announced just before, pictures of another size are left out.
    fn take(&mut self, unit: Bytes, now: Instant, may_change: bool) -> Result<Taken, Left> {
        let seen = self.pictures.take(unit)?;
        if !seen.keyframe {
            let taken = Taken { payload: seen.payload, keyframe: false, config: None };
            return if self.waits_for_key { Err(Left::Undecodable) } else { Ok(taken) };
        }
        let config = self.pictures.config().ok_or(Left::Undecodable)?;
        self.last_key = Some(now);
        self.is_wanted = false;
        let is_same = self.announced.as_ref().is_some_and(|(announced, _)| *announced == config);
        if !(is_same || may_change && self.may_change(now)) {
            self.waits_for_key = true;
            return Err(Left::Undecodable);
        }
        self.waits_for_key = false;
        let told = (!is_same).then(|| config.clone());
        if !is_same {
            self.announced = Some((config, now));
        }
        Ok(Taken { payload: seen.payload, keyframe: true, config: told })
    }

    fn may_change(&self, now: Instant) -> bool {
        self.announced.as_ref().is_none_or(|(_, at)| now.saturating_duration_since(*at) >= RESIZE_EVERY_MIN)
    }

    /// When a key frame is to be asked for next.
    fn asks_at(&self, now: Instant) -> Instant {
        let again = self.last_asked.map_or(now, |asked| asked + KEY_AGAIN);
        // Pictures of a size that is left out are of no use before it may change; another key frame may be of the size before.
        let every = if self.is_wanted { KEY_WANTED_EVERY } else { KEY_EVERY };
        match (self.waits_for_key, self.last_key) {
            (false, Some(key)) => again.max(key + every),
            _ => again,
        }
    }
}

#[cfg(test)]
mod tests;
