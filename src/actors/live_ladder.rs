//! The ladder of a live stream: a worker process of its own decodes the source's pictures once and encodes them in every rung.
//! It is told what viewers see, and what it makes goes into the same [`LiveStream`]. The source waits for none of it: a worker
//! that ends is started again and goes on where that left off, one that does not keep up loses its largest rung.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::live_worker::{LiveWorkerError, Restarts, hear_next};
use super::lives::Lives;
use super::transcode_worker::{ProcessSettings, WorkerProcess};
use crate::domain::asset::{Ticks, TrackKind};
use crate::domain::ladder::Rung;
use crate::domain::ladder::live::{LiveLadderSettings, LiveSource, Overload, live_rungs, live_treatment, without_own};
use crate::domain::live::Live;
use crate::media::codecs::others::dynamic_range;
use crate::media::frames::{CodecConfig, Colour, TrackConfig};
use crate::media::live::broadcast::{Broadcast, Epoch};
use crate::media::live::ring::{LiveSegment, Ring};
use crate::media::live::stream::LiveStream;
use crate::media::work::live::{FromLadder, LadderTask, ToLadder};

/// Latest time believed, ticks: more than a thousand years of 90,000 a second.
const TIME_MAX: i64 = 1 << 52;
/// How long one looks for something to do before looking again.
const LOOK: Duration = Duration::from_secs(60);
/// Segments behind the edge from which a worker starts at most: what is older is gone for its rungs.
const START_BEHIND: usize = 1;

/// How live ladders are made.
#[derive(Debug, Clone)]
pub struct LadderConditions {
    /// Which rungs.
    pub settings: LiveLadderSettings,
    /// How workers are started.
    pub process: ProcessSettings,
    /// How far rungs may be behind their source.
    pub lag_max: Duration,
    /// Frames per second that rungs have at most.
    pub frame_rate_max: u32,
}

/// How a rung does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RungStats {
    /// Its name in URLs.
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Most bits a second.
    pub bits_per_sec_max: u32,
    /// Whether it was given up, for this publisher's visit, because the machine does not keep up.
    pub dropped: bool,
}

/// How a ladder does; clones share it.
#[derive(Debug, Clone, Default)]
pub struct LadderState(Arc<Mutex<LadderStats>>);

/// How a ladder does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LadderStats {
    /// The rungs of the newest epoch, largest first.
    pub rungs: Vec<RungStats>,
    /// How much later than the source rungs are, milliseconds; `None` before the first.
    pub added_latency_ms: Option<i64>,
    /// Worker processes that have ended before their stream did.
    pub restarts: u32,
}

impl LadderState {
    /// As it is now.
    pub(super) fn stats(&self, broadcast: &Broadcast) -> LadderStats {
        let source = broadcast.leading().and_then(|index| broadcast.renditions().get(index)?.delay_micros);
        let rungs = broadcast.renditions().iter().filter(|rendition| rendition.is_rung());
        let latest = rungs.filter_map(|rung| rung.delay_micros).max();
        let added_latency_ms = latest.zip(source).map(|(rung, source)| (rung - source) / 1000);
        LadderStats { added_latency_ms, ..self.change(|stats| stats.clone()) }
    }

    /// Names of the rungs that are encoded.
    fn made(&self) -> Vec<String> {
        let made = |stats: &mut LadderStats| {
            let made = stats.rungs.iter().filter(|rung| !rung.dropped);
            made.map(|rung| rung.name.clone()).collect()
        };
        self.change(made)
    }

    fn change<T>(&self, change: impl FnOnce(&mut LadderStats) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a worker has done its work.
enum Ending {
    /// The stream is over.
    StreamOver,
    /// There is nothing to be made of this epoch, or nothing that this machine can make in time.
    NothingToMake(u32),
}

/// Makes the rungs of a stream until it ends.
pub(super) async fn make_rungs(lives: Arc<Lives>, live: Live, (stream, state): (Arc<LiveStream>, LadderState)) {
    let mut restarts = Restarts::new();
    while !stream.look(Broadcast::has_ended) {
        restarts.begin();
        let error = match work(&lives, &stream, &state).await {
            Ok(Ending::StreamOver) => return,
            Ok(Ending::NothingToMake(epoch)) => {
                let is_past = |broadcast: &Broadcast| broadcast.has_ended() || newest_epoch(broadcast) != Some(epoch);
                while stream.wait_for(LOOK, |broadcast| is_past(broadcast).then_some(())).await.is_none() {}
                continue;
            }
            Err(error) => error,
        };
        tracing::warn!(live.id = %live.id, %error, "a live stream's rungs are interrupted");
        metrics::counter!("playhouse_live_ladder_restarts_total").increment(1);
        state.change(|stats| stats.restarts += 1);
        restarts.wait().await;
    }
}

/// One worker, from its start to its end or the stream's.
async fn work(lives: &Lives, stream: &LiveStream, state: &LadderState) -> Result<Ending, LiveWorkerError> {
    let mut cursor = Cursor::default();
    // No process for a stream that has no pictures.
    while stream.wait_for(LOOK, |broadcast| has_pictures(broadcast).then_some(())).await.is_none() {}
    if stream.look(Broadcast::has_ended) {
        return Ok(Ending::StreamOver);
    }
    let mut worker = WorkerProcess::start_live(&lives.ladder.process).await?;
    let (reader, writer) = worker.streams();
    let told = Told::default();
    let feeding = feed((lives, stream, state), (&mut cursor, &told), writer);
    let hearing = hear(lives, stream, (&told, reader));
    tokio::select! {
        outcome = feeding => outcome,
        outcome = hearing => outcome,
    }
}

fn newest_epoch(broadcast: &Broadcast) -> Option<u32> {
    broadcast.epochs().next_back().map(|epoch| epoch.number)
}

fn has_pictures(broadcast: &Broadcast) -> bool {
    broadcast.has_ended() || broadcast.leading().is_some()
}

/// What the worker was told last, for what it says to be understood, and how far it has come.
#[derive(Default)]
struct Told(Mutex<Task>);

#[derive(Default)]
struct Task {
    epoch: u32,
    rungs: Vec<String>,
    timescale: u32,
    /// When the last picture is shown that came of it, ticks.
    reached: Option<i64>,
}

impl Told {
    fn change<T>(&self, change: impl FnOnce(&mut Task) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, task: &LadderTask) {
        let rungs = task.rungs.iter().map(|rung| rung.name.clone()).collect();
        let LadderTask { epoch, timescale, .. } = *task;
        self.change(|told| *told = Task { epoch, rungs, timescale, reached: None });
    }

    fn rung(&self, index: u8) -> Result<String, LiveWorkerError> {
        self.change(|told| told.rungs.get(usize::from(index)).cloned()).ok_or(LiveWorkerError::Nonsense)
    }

    /// How far it is behind a picture that is shown at this time; nothing while it begins.
    fn behind(&self, newest: i64) -> Duration {
        let (reached, timescale) = self.change(|told| (told.reached, told.timescale));
        let ticks = reached.map_or(0, |reached| newest - reached);
        let millis = Ticks { value: ticks, timescale: timescale.max(1) }.rescale(1000);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// How far the worker was told of the source.
#[derive(Debug, Default)]
struct Cursor {
    epoch: Option<u32>,
    segment: u64,
    part: usize,
    is_cut_told: bool,
}

/// What it is told next.
enum Next {
    Epoch {
        number: u32,
        config: Box<TrackConfig>,
        init: Bytes,
        source: LiveSource,
        /// Short sides of the publisher's other pictures.
        own: Vec<u32>,
    },
    Cut(i64),
    /// A part, and when the newest one begins, ticks.
    Part {
        bytes: Bytes,
        newest: i64,
    },
    Over,
}

impl Cursor {
    /// `None`: nothing yet.
    fn next(&mut self, broadcast: &Broadcast) -> Option<Next> {
        if broadcast.has_ended() {
            return Some(Next::Over);
        }
        let index = broadcast.leading()?;
        let ring = &broadcast.renditions().get(index)?.ring;
        let epoch = broadcast.epochs().next_back()?;
        if self.epoch != Some(epoch.number) {
            let first = ring.segments().rev().filter(|one| is_start(one, epoch)).take(START_BEHIND + 1).last()?;
            let (config, init) = epoch.tracks.get(index)?.as_ref()?;
            *self = Self { epoch: Some(epoch.number), segment: first.beginning.number, part: 0, is_cut_told: false };
            let source = source_of(broadcast, (index, config))?;
            return Some(Next::Epoch {
                number: epoch.number,
                config: Box::new(config.clone()),
                init: init.clone(),
                source,
                own: own_sides(broadcast, (index, epoch)),
            });
        }
        if self.part == 0 {
            self.catch_up(ring, epoch);
        }
        loop {
            let segment = ring.segment(self.segment)?;
            if segment.beginning.epoch != epoch.number {
                return None;
            }
            if let Some(part) = segment.parts.get(self.part) {
                if !std::mem::replace(&mut self.is_cut_told, true) {
                    return Some(Next::Cut(segment.beginning.start.value));
                }
                self.part += 1;
                let newest = ring.segments().next_back().and_then(|last| last.parts.last());
                let newest = newest.map_or(part.start, |newest| newest.start);
                return Some(Next::Part { bytes: part.bytes.clone(), newest });
            }
            if !segment.is_complete {
                return None;
            }
            *self = Self { epoch: self.epoch, segment: self.segment + 1, part: 0, is_cut_told: false };
        }
    }

    /// Goes to the edge when there are whole segments in between: what is that old comes too late.
    fn catch_up(&mut self, ring: &Ring, epoch: &Epoch) {
        let newest = ring.segments().rev().find(|one| is_start(one, epoch)).map(|one| one.beginning.number);
        if let Some(newest) = newest.filter(|newest| *newest > self.segment + 1 + START_BEHIND as u64) {
            *self = Self { epoch: self.epoch, segment: newest, part: 0, is_cut_told: false };
        }
    }
}

/// Whether decoding can start with this segment of the epoch.
fn is_start(segment: &LiveSegment, epoch: &Epoch) -> bool {
    let starts = segment.parts.first().is_some_and(|part| part.independent);
    starts && segment.beginning.epoch == epoch.number
}

/// What a track of pictures is, as far as it matters to its rungs.
pub(super) fn source_of(broadcast: &Broadcast, (index, config): (usize, &TrackConfig)) -> Option<LiveSource> {
    let frame_rate = broadcast.frame_rate().unwrap_or((30, 1));
    let properties = config.video_properties(frame_rate).ok()??;
    let (width, height) = properties.display_size();
    let ring = &broadcast.renditions().get(index)?.ring;
    let whole = ring.segments().rev().find(|segment| segment.is_complete && segment.size > 0);
    let bits = whole.and_then(|one| (u64::from(one.size) * 8_000_000).checked_div(u64::try_from(one.micros()).ok()?));
    Some(LiveSource { width, height, frame_rate, bits_per_sec: bits.unwrap_or(0) })
}

/// Short sides of the pictures that the publisher sends besides the leading ones, as far as every player plays them.
fn own_sides(broadcast: &Broadcast, (leading, epoch): (usize, &Epoch)) -> Vec<u32> {
    let others = broadcast.renditions().iter().zip(&epoch.tracks).enumerate();
    let others = others.filter(|(index, (it, _))| *index != leading && it.kind == TrackKind::Video && !it.is_rung());
    let own = others.filter_map(|(_, (_, track))| track.as_ref().map(|(config, _)| config));
    let own = own.filter(|config| matches!(config.codec, CodecConfig::H264 { .. }));
    own.filter_map(|config| Some(config.video_properties((0, 1)).ok()??.short_side())).collect()
}

/// Tells the worker what the publisher sends.
async fn feed(
    (lives, stream, state): (&Lives, &LiveStream, &LadderState),
    (cursor, told): (&mut Cursor, &Told),
    mut writer: impl AsyncWrite + Unpin,
) -> Result<Ending, LiveWorkerError> {
    let conditions = &lives.ladder;
    let mut overload = Overload::new(0, conditions.lag_max, lives.clock.now());
    loop {
        let Some(next) = stream.wait_for(LOOK, |broadcast| cursor.next(broadcast)).await else { continue };
        match next {
            Next::Over => return Ok(Ending::StreamOver),
            Next::Cut(at) => writer.write_all(&ToLadder::Cut(at).encode()).await?,
            Next::Epoch { number, config, init, source, own } => {
                let rungs = without_own(live_rungs(source, &conditions.settings), &own);
                overload = Overload::new(rungs.len(), conditions.lag_max, lives.clock.now());
                state.change(|stats| stats.rungs = rungs.iter().map(shown).collect());
                stream.give_up_rungs_but(&state.made());
                if rungs.is_empty() {
                    return Ok(Ending::NothingToMake(number));
                }
                let range = dynamic_range(config.colour.map(|colour| colour.transfer));
                let treatment = live_treatment(config.rotation, range, conditions.frame_rate_max);
                let resumes = |rung: &Rung| stream.look(|broadcast| broadcast.rung_resumes_at(&rung.name, number));
                let made_until = rungs.iter().map(resumes).collect();
                let task = LadderTask { epoch: number, timescale: config.timescale, treatment, rungs, made_until };
                told.begin(&task);
                writer.write_all(&ToLadder::Begin(task).encode()).await?;
                writer.write_all(&ToLadder::Media(init).encode()).await?;
            }
            Next::Part { bytes, newest } => {
                let lag = told.behind(newest);
                if lag > conditions.process.watchdog {
                    return Err(LiveWorkerError::Hung);
                }
                if let Some(rung) = overload.step(lag, lives.clock.now()) {
                    give_up(state, (rung, lag));
                    stream.give_up_rungs_but(&state.made());
                    if overload.is_exhausted() {
                        return Ok(Ending::NothingToMake(told.change(|told| told.epoch)));
                    }
                    let rung = u8::try_from(rung).unwrap_or(u8::MAX);
                    writer.write_all(&ToLadder::Drop(rung).encode()).await?;
                }
                writer.write_all(&ToLadder::Media(bytes).encode()).await?;
            }
        }
    }
}

fn shown(rung: &Rung) -> RungStats {
    let Rung { name, width, height, bits_per_sec_max, .. } = rung.clone();
    RungStats { name, width, height, bits_per_sec_max, dropped: false }
}

fn give_up(state: &LadderState, (rung, lag): (usize, Duration)) {
    metrics::counter!("playhouse_live_rungs_dropped_total").increment(1);
    let name = state.change(|stats| {
        let rung = stats.rungs.get_mut(rung)?;
        rung.dropped = true;
        Some(rung.name.clone())
    });
    tracing::warn!(rung = name, lag_ms = lag.as_millis(), "this machine does not keep up with a live stream's rungs");
}

/// Takes what the worker makes.
async fn hear(
    lives: &Lives,
    stream: &LiveStream,
    (told, mut reader): (&Told, impl AsyncRead + Unpin),
) -> Result<Ending, LiveWorkerError> {
    loop {
        match hear_next(&mut reader).await? {
            FromLadder::Config { epoch, rung, avcc } => {
                let name = told.rung(rung)?;
                let timescale = told.change(|told| told.timescale);
                let mut config = TrackConfig::new(CodecConfig::H264 { avcc }, timescale);
                config.colour = Some(Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false });
                stream.begin_rung((&name, epoch), config).map_err(|_| LiveWorkerError::Nonsense)?;
            }
            FromLadder::Picture { epoch, rung, picture } => {
                if !(0..=TIME_MAX).contains(&picture.pts) {
                    return Err(LiveWorkerError::Nonsense);
                }
                let name = told.rung(rung)?;
                told.change(|told| told.reached = Some(picture.pts).filter(|_| told.epoch == epoch).or(told.reached));
                stream.push_rung((&name, epoch), picture, lives.clock.now());
            }
            // Nobody asked for any.
            FromLadder::Sound { .. } => return Err(LiveWorkerError::Nonsense),
        }
    }
}
