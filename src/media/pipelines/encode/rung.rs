//! One rung's encoder: a thread of its own behind a short queue, so that a chunk alone on an idle machine uses more than
//! one core, and as many chunks as there are cores share them without one waiting for another.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use nix::time::{ClockId, clock_gettime};

use super::picture::Picture;
use super::{av1, element};
use crate::domain::asset::BlobKey;
use crate::domain::ladder::{Rung, RungCodec};
use crate::domain::video::Failure;
use crate::media::frames::{Colour, TrackConfig};
use crate::media::pipelines::internal;
use crate::media::pipelines::worker::Reporter;
use crate::media::spans::{ChunkSpan, ChunkSpec, SpanOfChunk};
use crate::media::work::PictureTask;
use crate::media::work::live::LadderTask;

/// Pictures waiting for an encoder: enough for it not to wait, little memory.
pub(super) const QUEUE: usize = 4;

/// A picture to be encoded.
pub(super) struct Shot {
    pub(super) picture: Picture,
    /// When it is shown, ticks.
    pub(super) pts: i64,
    /// Whether a segment starts with it.
    pub(super) is_key: bool,
}

/// What every encoder of a chunk is told.
#[derive(Debug, Clone)]
pub(super) struct RungJob {
    pub(super) rung: Rung,
    pub(super) timescale: u32,
    pub(super) cuts: Vec<i64>,
    pub(super) first_segment: u32,
    pub(super) dir: PathBuf,
    pub(super) prefix: BlobKey,
    /// Frames per second that the rung has at most.
    pub(super) frame_rate_max: u32,
    /// Whether somebody waits for each picture.
    pub(super) is_live: bool,
}

impl RungJob {
    pub(super) fn new(rung: &Rung, task: &PictureTask) -> Self {
        Self {
            rung: rung.clone(),
            timescale: task.timescale.max(1),
            cuts: task.cuts.clone(),
            first_segment: task.first_segment,
            dir: task.output.dir.clone(),
            prefix: task.output.key_prefix.clone(),
            frame_rate_max: task.treatment.frame_rate_max,
            is_live: false,
        }
    }

    /// Of a stream that goes on, from this instant of it.
    pub(super) fn live(rung: &Rung, task: &LadderTask) -> Self {
        Self {
            rung: rung.clone(),
            timescale: task.timescale.max(1),
            cuts: Vec::new(),
            first_segment: 0,
            dir: PathBuf::new(),
            prefix: BlobKey::new(""),
            frame_rate_max: task.treatment.frame_rate_max,
            is_live: true,
        }
    }

    /// An empty span for pictures of this configuration.
    pub(super) fn span(&self, mut config: TrackConfig) -> Result<ChunkSpan, Failure> {
        let spec = ChunkSpec {
            name: self.rung.name.clone(),
            first_segment: self.first_segment,
            cuts: self.cuts.clone(),
            dir: self.dir.clone(),
            prefix: self.prefix.clone(),
        };
        config.colour = Some(Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false });
        ChunkSpan::new(spec, config).map_err(internal)
    }

    /// How far decoding runs ahead of presentation, for every chunk: what three consecutive B-frames with references among
    /// them need at 20 frames per second. Where pictures are longer, decode times make up for it.
    pub(super) fn reorder(&self) -> u32 {
        self.timescale / 10
    }
}

/// A running encoder.
pub(super) struct RungThread {
    shots: SyncSender<Shot>,
    thread: JoinHandle<Result<(SpanOfChunk, f64), Failure>>,
}

impl RungThread {
    pub(super) fn start(job: RungJob, reporter: Arc<Reporter>) -> Result<Self, Failure> {
        let (shots, receiver) = sync_channel(QUEUE);
        let run = move || {
            let made = encode(&job, &receiver, &reporter)?;
            Ok((made, processor_seconds(ClockId::CLOCK_THREAD_CPUTIME_ID)))
        };
        let thread = std::thread::Builder::new().name("rung".into()).spawn(run).map_err(internal)?;
        Ok(Self { shots, thread })
    }

    /// Hands a picture over; waits while the queue is full. `false` when the encoder has ended, which [`Self::finish`]
    /// tells more of.
    pub(super) fn push(&self, shot: Shot) -> bool {
        self.shots.send(shot).is_ok()
    }

    /// Waits for the rest; the span and the processor time it took.
    pub(super) fn finish(self) -> Result<(SpanOfChunk, f64), Failure> {
        drop(self.shots);
        self.thread.join().map_err(|_| internal("an encoder panicked"))?
    }
}

fn encode(job: &RungJob, shots: &Receiver<Shot>, reporter: &Reporter) -> Result<SpanOfChunk, Failure> {
    match job.rung.codec {
        RungCodec::H264 => element::encode(job, shots, reporter),
        RungCodec::Av1 => av1::encode(job, shots, reporter),
    }
}

/// Processor time used by this thread or process, seconds.
pub(super) fn processor_seconds(clock: ClockId) -> f64 {
    clock_gettime(clock).map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
