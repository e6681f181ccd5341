//! Pictures of a publisher that no player of HLS takes (VP8), encoded as H.264 on their way into the stream by a worker process that
//! exists while such a publisher is here. One that ends is started again, and goes on with the next key frame.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::live_worker::{LiveWorkerError, Restarts, feed, hear_next};
use super::lives::Lives;
use super::transcode_worker::WorkerProcess;
use crate::domain::asset::TrackKind;
use crate::domain::ladder::live::{LiveLadderSettings, LiveSource, live_treatment, realtime_rung};
use crate::domain::live::Live;
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::part::fragment;
use crate::media::live::transcoding::{Encoding, ToTranscode, Transcoded};
use crate::media::packager::init_segment;
use crate::media::work::live::{FromLadder, LadderTask, ToLadder};

/// Pictures a second that are expected of a publisher that does not tell.
const FRAME_RATE: (u32, u32) = (30, 1);

/// What was told last, for what the worker says to be understood.
#[derive(Debug, Default)]
struct Told(Mutex<Task>);

#[derive(Debug, Default)]
struct Task {
    /// Counts what was begun.
    epoch: u32,
    /// What is encoded now; nothing before a key frame.
    config: Option<TrackConfig>,
    /// When the picture before was shown.
    last: i64,
    /// Since when the worker owes something.
    waiting: Option<Instant>,
}

impl Told {
    fn change<T>(&self, change: impl FnOnce(&mut Task) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Task {
    /// What the worker is told for the publisher's next picture.
    fn take(
        &mut self,
        ToTranscode { config, frame }: ToTranscode,
        (settings, frame_rate_max): (&LiveLadderSettings, u32),
        now: Instant,
    ) -> Vec<ToLadder> {
        let mut out = Vec::new();
        let is_other = config.is_some() && config != self.config || frame.keyframe && frame.pts <= self.last;
        if let Some(config) = config.filter(|_| is_other) {
            let begun = begin(self.epoch + 1, &config, (settings, frame_rate_max));
            self.config = begun.is_some().then_some(config);
            self.epoch += 1;
            self.waiting = None;
            out.extend(begun.into_iter().flatten());
        } else if frame.pts <= self.last {
            return out;
        }
        if self.config.is_none() {
            return out;
        }
        self.last = frame.pts;
        out.extend(frame.keyframe.then_some(ToLadder::Cut(frame.pts)));
        out.extend(fragment(TrackKind::Video, &frame).map(ToLadder::Media));
        self.waiting.get_or_insert(now);
        out
    }
}

/// Pictures of this are encoded from now on, as large as they come.
fn begin(
    epoch: u32,
    config: &TrackConfig,
    (settings, frame_rate_max): (&LiveLadderSettings, u32),
) -> Option<[ToLadder; 2]> {
    let (width, height) = config.video_properties(FRAME_RATE).ok()??.display_size();
    let source = LiveSource { width, height, frame_rate: FRAME_RATE, bits_per_sec: 0 };
    let task = LadderTask {
        epoch,
        timescale: config.timescale,
        treatment: live_treatment(config.rotation, "sdr", frame_rate_max),
        rungs: vec![realtime_rung(source, settings)],
        made_until: vec![None],
    };
    Some([ToLadder::Begin(task), ToLadder::Media(init_segment(config).ok()?)])
}

/// Encodes what comes until the publisher has left.
pub(super) async fn transcode(lives: Arc<Lives>, live: Live, Encoding { mut from, to }: Encoding) {
    let (told, mut restarts) = (Told::default(), Restarts::new());
    loop {
        restarts.begin();
        let Err(error) = work(&lives, &told, (&mut from, &to)).await else { return };
        tracing::warn!(live.id = %live.id, %error, "a publisher's pictures are not encoded anew for a moment");
        metrics::counter!("playhouse_live_transcode_restarts_total").increment(1);
        told.change(|task| *task = Task { epoch: task.epoch, ..Task::default() });
        if to.send(Transcoded::Interrupted).await.is_err() {
            return;
        }
        restarts.wait().await;
    }
}

/// One worker, until the publisher has left.
async fn work(
    lives: &Lives,
    told: &Told,
    (from, to): (&mut mpsc::Receiver<ToTranscode>, &mpsc::Sender<Transcoded>),
) -> Result<(), LiveWorkerError> {
    let mut worker = WorkerProcess::start_live(&lives.ladder.process).await?;
    let (reader, writer) = worker.streams();
    let (conditions, watchdog) = (&lives.ladder, lives.ladder.process.watchdog);
    let settings = (&conditions.settings, conditions.frame_rate_max);
    let take = |picture| told.change(|task| (task.take(picture, settings, Instant::now()), task.waiting));
    tokio::select! {
        outcome = feed(from, writer, watchdog, take) => outcome,
        outcome = hear(told, to, reader) => outcome,
    }
}

async fn hear(
    told: &Told,
    to: &mpsc::Sender<Transcoded>,
    mut reader: impl AsyncRead + Unpin,
) -> Result<(), LiveWorkerError> {
    loop {
        let message = hear_next(&mut reader).await?;
        let (epoch, timescale) = told.change(|task| {
            task.waiting = None;
            (task.epoch, task.config.as_ref().map_or(1, |config| config.timescale))
        });
        let transcoded = match message {
            FromLadder::Config { epoch: of, avcc, .. } if of == epoch => {
                Transcoded::Begin(TrackConfig::new(CodecConfig::H264 { avcc }, timescale))
            }
            FromLadder::Picture { epoch: of, picture, .. } if of == epoch => {
                Transcoded::Picture { pts: picture.pts, keyframe: picture.keyframe, payload: picture.payload }
            }
            // Of what is over it is of no use any more.
            _ => continue,
        };
        if to.send(transcoded).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::frames::Frame;

    fn picture(pts: i64, size: Option<(u32, u32)>) -> ToTranscode {
        let config = size.map(|size| TrackConfig::new(CodecConfig::Vp8 { size }, 90_000));
        let frame = Frame { dts: pts, pts, duration: 0, keyframe: size.is_some(), payload: Bytes::from_static(&[1]) };
        ToTranscode { config, frame }
    }

    #[test]
    fn an_encoder_begins_with_a_key_frame_and_with_each_size() {
        let settings = LiveLadderSettings { short_sides: Vec::new(), preset: "superfast".into() };
        let (mut task, now) = (Task::default(), Instant::now());
        let (small, large) = (Some((320, 180)), Some((1920, 1080)));
        let mut sizes = Vec::new();
        for (pts, size) in [(0, None), (10, small), (20, None), (15, None), (30, small), (40, large), (5, large)] {
            for message in task.take(picture(pts, size), (&settings, 30), now) {
                match message {
                    ToLadder::Begin(task) => sizes.push(Some((task.epoch, task.rungs[0].width))),
                    ToLadder::Cut(_) => sizes.push(None),
                    _ => {}
                }
            }
        }
        assert_eq!(sizes, [Some((1, 320)), None, None, Some((2, 1280)), None, Some((3, 1280)), None]);
        assert_eq!(task.waiting, Some(now));
    }
}
