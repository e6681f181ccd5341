//! What is encoded of a live stream for viewers by WebRTC, where their browsers cannot take what comes: sound as Opus, pictures as
//! H.264 without B-frames. A worker process of its own does it, frame by frame, once for all such viewers; it exists while some
//! viewer needs it, and a little longer. One that ends is started again, and nobody but these viewers notices.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::live_ladder::source_of;
use super::live_worker::{LiveWorkerError, Restarts, hear_next};
use super::lives::Lives;
use super::transcode_worker::WorkerProcess;
use crate::domain::asset::TrackKind;
use crate::domain::ladder::live::{live_treatment, realtime_rung};
use crate::domain::live::Live;
use crate::media::codecs::opus::OpusConfig;
use crate::media::codecs::others::dynamic_range;
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::live::broadcast::Broadcast;
use crate::media::live::part::fragment;
use crate::media::live::realtime::Wanted;
use crate::media::live::ring::MICROS;
use crate::media::live::stream::LiveStream;
use crate::media::live::tap::{Cursor, Tapped, Tracks};
use crate::media::packager::init_segment;
use crate::media::work::live::{FromLadder, LadderTask, LiveSoundTask, MadeSound, SoundPacket, ToLadder};

/// How long what nobody needs any more is encoded: viewers come back, and the next is served at once.
const LINGER: Duration = Duration::from_secs(10);
/// A worker that is this far behind goes on with the newest key frame, microseconds.
const BEHIND_MAX: i64 = 1_500_000;
/// Packets of sound that are decoded before the first that is heard.
const PRIMING: usize = 2;
/// Shortest time between key frames that viewers ask for.
const KEY_EVERY: Duration = Duration::from_secs(1);
/// Channels of sound that is made.
const CHANNELS: u8 = 2;

/// Encodes what viewers need of a stream until it ends.
pub(super) async fn encode_for_viewers(lives: Arc<Lives>, live: Live, stream: Arc<LiveStream>) {
    let mut wanted = stream.realtime().wanted();
    let mut restarts = Restarts::new();
    // The sender lives as long as the stream.
    while wanted.wait_for(|wanted| wanted.pictures + wanted.sound > 0).await.is_ok() {
        if stream.look(Broadcast::has_ended) {
            return;
        }
        restarts.begin();
        let outcome = work(&lives, &stream).await;
        stream.realtime().end_pictures();
        let Err(error) = outcome else { continue };
        tracing::warn!(live.id = %live.id, %error, "what is encoded for viewers by webrtc is interrupted");
        metrics::counter!("playhouse_live_realtime_restarts_total").increment(1);
        restarts.wait().await;
    }
}

/// One worker, until nobody needs it.
async fn work(lives: &Lives, stream: &LiveStream) -> Result<(), LiveWorkerError> {
    tracing::info!("encoding for viewers by webrtc");
    let mut worker = WorkerProcess::start_live(&lives.ladder.process).await?;
    let (reader, writer) = worker.streams();
    let told = Told::default();
    let feeding = feed((lives, stream, &told), writer);
    let hearing = hear((stream, &told), reader);
    tokio::select! {
        outcome = feeding => outcome,
        outcome = hearing => outcome,
    }
}

/// What the worker was told, for what it says to be understood.
#[derive(Debug, Default)]
struct Told(Mutex<Task>);

#[derive(Debug, Default)]
struct Task {
    /// Epoch and timescale of the pictures, and the epoch of the sound.
    pictures: Option<(u32, u32)>,
    sound: Option<u32>,
    /// Since when it owes something.
    waiting: Option<Instant>,
}

impl Told {
    fn change<T>(&self, change: impl FnOnce(&mut Task) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Something that is encoded while it is needed.
#[derive(Debug, Default)]
struct Need {
    /// Since when nobody needs it.
    idle: Option<Instant>,
    reading: Option<Reading>,
}

/// How far it is read.
#[derive(Debug)]
struct Reading {
    cursor: Cursor,
    tracks: Option<Arc<Tracks>>,
}

impl Need {
    /// Whether it is to be encoded now; begins to read, or ends, if need be.
    fn look(&mut self, count: usize, stream: &LiveStream, now: Instant) -> bool {
        if count > 0 {
            self.idle = None;
            let join = || Reading { cursor: stream.look(|broadcast| broadcast.tap().join()), tracks: None };
            self.reading.get_or_insert_with(join);
        } else if self.reading.is_some() && now.duration_since(*self.idle.get_or_insert(now)) >= LINGER {
            *self = Self::default();
        }
        self.reading.is_some()
    }

    /// When it ends, if nobody comes.
    fn ends_at(&self) -> Option<Instant> {
        self.idle.map(|idle| idle + LINGER)
    }

    /// What has come since of the first track of a kind, and whether it is of other tracks than before.
    fn read(&mut self, stream: &LiveStream, kind: TrackKind) -> Vec<Tapped> {
        let Some(reading) = &mut self.reading else { return Vec::new() };
        let first = |tracks: &Tracks| tracks.configs.iter().position(|config| config.kind() == kind);
        let cursor = &mut reading.cursor;
        stream.look(|broadcast| {
            broadcast.tap().read(cursor).filter(|tapped| first(&tapped.tracks) == Some(tapped.track)).collect()
        })
    }

    /// Whether these tracks are new to it.
    fn takes_up(&mut self, tracks: &Arc<Tracks>) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        let before = reading.tracks.replace(Arc::clone(tracks));
        before.is_none_or(|before| !Arc::ptr_eq(&before, tracks))
    }
}

/// Tells the worker what the publisher sends, for as long as somebody needs it.
async fn feed(
    (lives, stream, told): (&Lives, &LiveStream, &Told),
    mut writer: impl AsyncWrite + Unpin,
) -> Result<(), LiveWorkerError> {
    let realtime = stream.realtime();
    let (mut tapped, mut wanted, mut keys) = (stream.tapped(), realtime.wanted(), realtime.keys_asked());
    let (mut pictures, mut sound) = (Need::default(), Need::default());
    let mut keyed = Instant::now();
    loop {
        let now = Instant::now();
        tapped.mark_unchanged();
        let Wanted { pictures: of_pictures, sound: of_sound, .. } = *wanted.borrow_and_update();
        let had_pictures = pictures.reading.is_some();
        let has_pictures = pictures.look(of_pictures, stream, now);
        if !sound.look(of_sound, stream, now) && !has_pictures || stream.look(Broadcast::has_ended) {
            return Ok(());
        }
        let mut messages = Vec::new();
        if had_pictures && !has_pictures {
            messages.push(ToLadder::Drop(0));
            realtime.end_pictures();
        }
        let is_key_asked = keys.has_changed().unwrap_or(false) && now.duration_since(keyed) >= KEY_EVERY;
        if is_key_asked {
            keys.mark_unchanged();
            keyed = now;
        }
        feed_pictures((lives, stream, told), (&mut pictures, is_key_asked), &mut messages);
        feed_sound((stream, told), &mut sound, &mut messages);
        for message in messages {
            writer.write_all(&message.encode()).await?;
        }
        let owing = told.change(|task| task.waiting);
        if owing.is_some_and(|since| since.elapsed() > lives.ladder.process.watchdog) {
            return Err(LiveWorkerError::Hung);
        }
        let ends = [pictures.ends_at(), sound.ends_at()].into_iter().flatten().min().unwrap_or(now + LINGER);
        tokio::select! {
            Ok(()) = tapped.changed() => {}
            Ok(()) = wanted.changed() => {}
            () = tokio::time::sleep_until(ends.max(now + Duration::from_millis(1))) => {}
        }
    }
}

fn feed_pictures(
    (lives, stream, told): (&Lives, &LiveStream, &Told),
    (need, is_key_asked): (&mut Need, bool),
    out: &mut Vec<ToLadder>,
) {
    let mut frames = need.read(stream, TrackKind::Video);
    let newest = frames.last().map_or(0, |last| last.dts(MICROS));
    let is_behind = frames.first().is_some_and(|first| newest - first.dts(MICROS) > BEHIND_MAX);
    if let Some(start) = frames.iter().rposition(|tapped| tapped.frame.keyframe).filter(|_| is_behind) {
        frames.drain(..start);
    }
    let mut is_key_asked = is_key_asked;
    for one in &frames {
        if need.takes_up(&one.tracks) {
            // Only what comes from now on is encoded; what has come before is what that needs to be decoded.
            let until =
                frames.iter().filter(|other| Arc::ptr_eq(&other.tracks, &one.tracks)).map(|of| of.frame.pts).max();
            let Some((task, init)) = task((lives, stream), one, until) else { continue };
            told.change(|known| known.pictures = Some((task.epoch, task.timescale)));
            out.extend([ToLadder::Begin(task), ToLadder::Media(init)]);
        }
        let Frame { dts, pts, keyframe, .. } = one.frame;
        let cut = if keyframe { Some(pts) } else { std::mem::take(&mut is_key_asked).then_some(dts) };
        out.extend(cut.map(ToLadder::Cut));
        out.extend(fragment(TrackKind::Video, &one.frame).map(ToLadder::Media));
        told.change(|known| *known.waiting.get_or_insert_with(Instant::now));
    }
}

/// What is to be made of these pictures, and their initialisation segment.
fn task(
    (lives, stream): (&Lives, &LiveStream),
    first: &Tapped,
    until: Option<i64>,
) -> Option<(LadderTask, bytes::Bytes)> {
    let config = first.tracks.configs.get(first.track)?;
    let source = stream.look(|broadcast| source_of(broadcast, (broadcast.leading()?, config)))?;
    let conditions = &lives.ladder;
    let range = dynamic_range(config.colour.map(|colour| colour.transfer));
    let task = LadderTask {
        epoch: first.tracks.epoch,
        timescale: config.timescale,
        treatment: live_treatment(config.rotation, range, conditions.frame_rate_max),
        rungs: vec![realtime_rung(source, &conditions.settings)],
        made_until: vec![until],
    };
    Some((task, init_segment(config).ok()?))
}

fn feed_sound((stream, told): (&LiveStream, &Told), need: &mut Need, out: &mut Vec<ToLadder>) {
    let begins = need.reading.as_ref().is_some_and(|reading| reading.tracks.is_none());
    let mut frames = need.read(stream, TrackKind::Audio);
    if begins {
        // What has come before anybody needed it is heard by nobody.
        frames.drain(..frames.len().saturating_sub(PRIMING));
    }
    for one in frames {
        if need.takes_up(&one.tracks) {
            let config = one.tracks.configs.get(one.track);
            let task = config.and_then(|config| LiveSoundTask::of(one.tracks.epoch, config, MadeSound::Opus));
            told.change(|known| known.sound = task.as_ref().map(|task| task.epoch));
            out.extend(task.map(ToLadder::BeginSound));
        }
        if told.change(|known| known.sound) == Some(one.tracks.epoch) {
            let packet = SoundPacket { pts_micros: one.pts(MICROS), payload: one.frame.payload.clone() };
            out.push(ToLadder::Sound(packet));
            told.change(|known| *known.waiting.get_or_insert_with(Instant::now));
        }
    }
}

/// Takes what the worker makes.
async fn hear((stream, told): (&LiveStream, &Told), mut reader: impl AsyncRead + Unpin) -> Result<(), LiveWorkerError> {
    let realtime = stream.realtime();
    let mut sounding = None;
    loop {
        let message = hear_next(&mut reader).await?;
        let (pictures, sound) = told.change(|known| {
            known.waiting = None;
            (known.pictures, known.sound)
        });
        match message {
            FromLadder::Config { epoch, avcc, .. } => {
                // Of an epoch that is over it is of no use any more.
                if let Some((_, timescale)) = pictures.filter(|(known, _)| *known == epoch) {
                    realtime.begin_pictures(epoch, TrackConfig::new(CodecConfig::H264 { avcc }, timescale.max(1)));
                }
            }
            FromLadder::Picture { epoch, picture, .. } => {
                if pictures.is_some_and(|(known, _)| known == epoch) {
                    let (pts, payload) = (picture.pts, picture.payload);
                    realtime.push_picture(&Frame { dts: pts, pts, duration: 0, keyframe: picture.keyframe, payload });
                }
            }
            FromLadder::Sound { epoch, packet } => {
                if sound != Some(epoch) {
                    continue;
                }
                if sounding.replace(epoch) != Some(epoch) {
                    let opus = OpusConfig::of_channels(CHANNELS).ok_or(LiveWorkerError::Nonsense)?;
                    realtime.begin_sound(epoch, TrackConfig::new(CodecConfig::Opus { dops: opus.to_bytes() }, MICROS));
                }
                let (pts, payload) = (packet.pts_micros, packet.payload);
                realtime.push_sound(&Frame { dts: pts, pts, duration: 0, keyframe: true, payload });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::media::live::broadcast::BroadcastSettings;
    use crate::media::live::stream::Forgetful;
    use crate::media::live::testing::{audio, video, visit};
    use crate::media::live::timeline::Stamp;

    fn stream() -> LiveStream {
        let stream = LiveStream::new(BroadcastSettings::new(Duration::from_secs(60), 0), Box::new(Forgetful));
        stream.begin_visit(1, visit(vec![video(), audio()]), Timestamp::from_millis(0)).unwrap();
        stream
    }

    fn play(stream: &LiveStream, tenths: std::ops::Range<i64>) {
        for tenth in tenths {
            let arrival = Duration::from_millis(tenth as u64 * 100);
            let now = Timestamp::from_millis(tenth * 100);
            for track in [0, 1] {
                let stamp = Stamp { dts: tenth * 100, composition: 0, keyframe: tenth % 10 == 0, arrival };
                stream.push(1, (track, stamp), Bytes::from_static(&[0, 0, 0, 2, 0x65, 1]), now).unwrap();
            }
        }
    }

    #[test]
    fn sound_begins_with_what_is_heard_now() {
        let stream = stream();
        play(&stream, 0..9);
        let (told, mut need, mut out) = (Told::default(), Need::default(), Vec::new());
        assert!(!need.look(0, &stream, Instant::now()) && need.look(1, &stream, Instant::now()));
        feed_sound((&stream, &told), &mut need, &mut out);
        assert!(matches!(&out[0], ToLadder::BeginSound(task) if task.codec == "AAC" && task.channels == 2), "{out:?}");
        assert_eq!(out.len(), 1 + PRIMING);
        play(&stream, 9..12);
        out.clear();
        feed_sound((&stream, &told), &mut need, &mut out);
        let times: Vec<i64> = out
            .iter()
            .map(
                |message| if let ToLadder::Sound(packet) = message { packet.pts_micros } else { panic!("{message:?}") },
            )
            .collect();
        assert!(times.len() == 3 && times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }

    #[test]
    fn what_nobody_needs_ends_a_little_later() {
        let (stream, mut need, now) = (stream(), Need::default(), Instant::now());
        assert!(need.look(2, &stream, now) && need.look(0, &stream, now));
        assert_eq!(need.ends_at(), Some(now + LINGER));
        assert!(need.look(1, &stream, now + LINGER / 2) && need.look(0, &stream, now + LINGER));
        assert!(!need.look(0, &stream, now + LINGER * 2) && need.ends_at().is_none());
        assert!(!stream.look(|broadcast| broadcast.tap().is_read()), "and leaves nothing behind");
    }
}
