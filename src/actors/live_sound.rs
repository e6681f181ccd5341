//! Sound of a live stream for every player, beside sound that not every player knows (Opus of browsers, MP3, AC-3): AAC, made by a
//! worker process that exists while such a publisher is here. One that ends is started again; what it did not make is silence.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::live_worker::{LiveWorkerError, Restarts, hear_next};
use super::lives::Lives;
use super::transcode_worker::WorkerProcess;
use crate::domain::live::Live;
use crate::media::live::sibling::{RunTimes, SiblingSource, ToEncode};
use crate::media::live::stream::LiveStream;
use crate::media::work::live::{FromLadder, LiveSoundTask, MadeSound, SoundPacket, ToLadder};

/// By its times what is encoded comes later than it is heard: the encoder begins with a packet of what lies before the first sample, 1024
/// samples, microseconds.
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
    tokio::select! {
        outcome = feed((lives.ladder.process.watchdog, told), from, writer) => outcome,
        outcome = hear(lives, (stream, told), reader) => outcome,
    }
}

async fn feed(
    (watchdog, told): (Duration, &Told),
    from: &mut mpsc::Receiver<ToEncode>,
    mut writer: impl AsyncWrite + Unpin,
) -> Result<(), LiveWorkerError> {
    while let Some(message) = from.recv().await {
        let (messages, waiting) = told.change(|task| (task.take(message, Instant::now()), task.waiting));
        for message in messages {
            writer.write_all(&message.encode()).await?;
        }
        if waiting.is_some_and(|since| since.elapsed() > watchdog) {
            return Err(LiveWorkerError::Hung);
        }
    }
    Ok(())
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
