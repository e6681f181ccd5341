//! Sound of a live stream for every player, beside sound that not every player knows (Opus of browsers, MP3, AC-3): AAC, made by a
//! worker process that exists while such a publisher is here. One that ends is started again; what it did not make is silence.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::live_worker::{LiveWorkerError, Restarts, feed, hear_next};
use super::lives::Lives;
use super::transcode_worker::WorkerProcess;
use crate::domain::live::Live;
use crate::media::live::sibling::{RunTimes, SiblingSource, ToEncode};
use crate::media::live::stream::LiveStream;
use crate::media::work::live::{FromLadder, LiveSoundTask, MadeSound, SoundPacket, ToLadder};

/// How much later what is encoded comes by its times than it is heard, microseconds: the encoder begins with a packet of what lies
/// before the first sample, which is 1024 samples long.
const DELAY: i64 = 21_333;

/// What was told last, for what the worker says to be understood.
#[derive(Debug, Default)]
struct Told(Mutex<Task>);

#[derive(Debug, Default)]
struct Task {
    source: Option<SiblingSource>,
    /// Number of the run, and its times.
    run: u32,
    times: Option<RunTimes>,
    /// Since when the worker owes something.
    waiting: Option<Instant>,
}

impl Told {
    fn change<T>(&self, change: impl FnOnce(&mut Task) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Task {
    /// What the worker is told for the next of the publisher's words.
    fn take(&mut self, message: ToEncode, now: Instant) -> Vec<ToLadder> {
        let (stamp, payload) = match message {
            ToEncode::Begin(source) => {
                (self.source, self.times) = (Some(source), None);
                return Vec::new();
            }
            ToEncode::Packet(stamp, payload) => (stamp, payload),
        };
        let Some(source) = &self.source else { return Vec::new() };
        let mut out = Vec::new();
        let known = self.times.as_mut().and_then(|times| times.micros(stamp, now));
        let pts_micros = known.or_else(|| {
            self.run += 1;
            self.waiting = None;
            out.push(ToLadder::BeginSound(LiveSoundTask::of(self.run, &source.config, MadeSound::Aac)?));
            self.times.insert(RunTimes::new(source.clock, stamp, now)).micros(stamp, now)
        });
        out.extend(pts_micros.map(|pts_micros| ToLadder::Sound(SoundPacket { pts_micros, payload })));
        self.waiting.get_or_insert(now);
        out
    }
}

/// Makes AAC of what comes until the publisher has left.
pub(super) async fn make_siblings(
    lives: Arc<Lives>,
    live: Live,
    stream: Arc<LiveStream>,
    mut from: mpsc::Receiver<ToEncode>,
) {
    let (told, mut restarts) = (Told::default(), Restarts::new());
    loop {
        // No process before there is something to be made.
        while told.change(|task| task.source.is_none()) {
            let Some(message) = from.recv().await else { return };
            told.change(|task| task.take(message, Instant::now()));
        }
        restarts.begin();
        let Err(error) = work(&lives, (&stream, &told), &mut from).await else { return };
        tracing::warn!(live.id = %live.id, %error, "what is made of a live stream's sound is interrupted");
        metrics::counter!("playhouse_live_sound_restarts_total").increment(1);
        told.change(|task| (task.times, task.waiting) = (None, None));
        restarts.wait().await;
    }
}

/// One worker, until the publisher has left.
async fn work(
    lives: &Lives,
    (stream, told): (&LiveStream, &Told),
    from: &mut mpsc::Receiver<ToEncode>,
) -> Result<(), LiveWorkerError> {
    let mut worker = WorkerProcess::start_live(&lives.ladder.process).await?;
    let (reader, writer) = worker.streams();
    let take = |message| told.change(|task| (task.take(message, Instant::now()), task.waiting));
    tokio::select! {
        outcome = feed(from, writer, lives.ladder.process.watchdog, take) => outcome,
        outcome = hear(lives, (stream, told), reader) => outcome,
    }
}

async fn hear(
    lives: &Lives,
    (stream, told): (&LiveStream, &Told),
    mut reader: impl AsyncRead + Unpin,
) -> Result<(), LiveWorkerError> {
    loop {
        let FromLadder::Sound { epoch, packet } = hear_next(&mut reader).await? else {
            return Err(LiveWorkerError::Nonsense);
        };
        let now = Instant::now();
        let place = told.change(|task| {
            task.waiting = None;
            let (source, times) = task.source.as_ref().zip(task.times.as_ref()).filter(|_| task.run == epoch)?;
            Some((source.visit, source.track, times.stamp(packet.pts_micros - DELAY, now)))
        });
        if let Some((visit, track, stamp)) = place {
            // Of a visit that is over it is of no use.
            let _ = stream.push_made(visit, (track, stamp), packet.payload, lives.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::media::codecs::opus::OpusConfig;
    use crate::media::frames::{CodecConfig, TrackConfig};
    use crate::media::live::broadcast::BroadcastSettings;
    use crate::media::live::sibling::Sibling;
    use crate::media::live::stream::Forgetful;
    use crate::media::live::testing::{at, video, visit};
    use crate::media::live::timeline::Stamp;

    #[test]
    fn a_run_begins_with_a_visit_and_after_a_pause() {
        let opus = CodecConfig::Opus { dops: OpusConfig::of_channels(2).unwrap().to_bytes() };
        let mut both = visit(vec![video(), TrackConfig::new(opus, 48_000)]);
        let (joined, (mut sibling, mut from)) = (Sibling::join(&mut both), Sibling::new());
        let stream = LiveStream::new(BroadcastSettings::new(Duration::from_secs(60), 0), Box::new(Forgetful));
        sibling.begin(stream.begin_visit(1, both, at(0)).unwrap(), joined);
        for (track, ms) in [(0, 0), (1, 0), (1, 20), (1, 60_000)] {
            let arrival = Duration::from_millis(ms as u64);
            sibling.pass(track, Stamp { dts: ms, composition: 0, keyframe: true, arrival }, &Bytes::from_static(&[1]));
        }
        let (mut task, now) = (Task::default(), Instant::now());
        let mut told = Vec::new();
        for seconds in [0, 0, 0, 60] {
            told.extend(task.take(from.try_recv().unwrap(), now + Duration::from_secs(seconds)));
        }
        let begins = |message: &ToLadder| matches!(message, ToLadder::BeginSound(task) if task.codec == "Opus");
        assert_eq!(told.iter().map(begins).collect::<Vec<_>>(), [true, false, false, true, false], "{told:?}");
        assert_eq!((task.run, task.waiting), (2, Some(now + Duration::from_secs(60))), "a pause is nobody's fault");
        assert!(from.try_recv().is_err());
    }
}
