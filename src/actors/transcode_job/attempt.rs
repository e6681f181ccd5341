//! One attempt at a unit of a ladder: leased, made by a worker, its files taken over, its result recorded.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::effects::Shared;
use super::source::LadderSource;
use crate::actors::transcode_peers::{self, Asked};
use crate::actors::transcode_worker::{Urgency, WorkError};
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::cluster::NodeName;
use crate::domain::ids::PlaybackId;
use crate::domain::ladder::machine::{AttemptOutcome, Precedence};
use crate::domain::ladder::{LadderPlan, MadeRung, MadeTile, MadeTiles, Pass, Rung, Unit, UnitEnd, UnitResult};
use crate::domain::ports::{BlobError, CatalogError};
use crate::media::work::{
    Answer, EncodedRung, Output, OutputFile, Packaged, PictureTask, SoundTask, Task, Tile, TilePlan,
};

/// Pause before other nodes are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Pause before the end of an attempt is recorded again.
const RECORD_AGAIN: Duration = Duration::from_millis(500);
/// Short side of small pictures for the scrubber, pixels.
const TILE_SIDE: u32 = 90;
/// Least and longest distance of small pictures, milliseconds.
const TILE_INTERVAL_MS: (u64, u64) = (1_000, 10_000);
/// Small pictures aimed at.
const TILES: u64 = 120;

/// How an attempt ended, and whether there is still a video to go on with.
pub(super) enum Attempted {
    Ended(AttemptOutcome),
    Gone,
}

/// A recorded result, or why there is none.
type Kept = Result<UnitResult, AttemptOutcome>;

/// What all attempts of a ladder share.
pub(super) struct UnitWork {
    pub(super) shared: Shared,
    pub(super) playback_id: PlaybackId,
    pub(super) plan: Arc<LadderPlan>,
    pub(super) source: LadderSource,
    /// What each rung's first chunk came out like.
    pub(super) patterns: Mutex<HashMap<String, MadeRung>>,
    /// Units that this node's workers are given at once.
    pub(super) places: Semaphore,
}

/// Where the files of an attempt are.
struct Files<'a> {
    dir: &'a std::path::Path,
    stored: Option<Vec<Extent>>,
}

/// A worker's answer, and what of it is stored already.
struct Ran {
    answer: Result<Answer, WorkError>,
    /// `None` while its files are on this node's disk.
    stored: Option<Vec<Extent>>,
}

/// Which unit, how, and how it is stopped.
pub(super) struct Order {
    pub(super) unit: Unit,
    pub(super) rungs: Vec<usize>,
    pub(super) precedence: Precedence,
    pub(super) withdrawn: CancellationToken,
}

/// How the pool is to treat it.
pub(super) fn urgency(precedence: Precedence) -> Urgency {
    match precedence {
        Precedence::Demanded => Urgency::Demanded,
        Precedence::First => Urgency::Soon,
        Precedence::Sound => Urgency::Sound,
        Precedence::Chunk(..2) => Urgency::Early,
        Precedence::Chunk(2..8) => Urgency::Middle,
        Precedence::Chunk(8..80) => Urgency::Long,
        Precedence::Chunk(_) => Urgency::Rest,
        Precedence::Late => Urgency::Later,
    }
}

/// Small pictures of a ladder, when it has any.
pub(super) fn tile_plan(plan: &LadderPlan) -> Option<TilePlan> {
    let rung = plan.rungs.first()?;
    let interval = (plan.pictures_ms() / TILES).clamp(TILE_INTERVAL_MS.0, TILE_INTERVAL_MS.1);
    let scaled = |side: u32| (side * TILE_SIDE / rung.short_side().max(1)).clamp(2, TILE_SIDE * 3) & !1;
    Some(TilePlan {
        interval_ms: u32::try_from(interval).ok()?,
        width: scaled(rung.width),
        height: scaled(rung.height),
    })
}

impl UnitWork {
    fn ladder(&self) -> (&crate::domain::ids::VideoId, u32) {
        (&self.shared.video_id, self.plan.generation)
    }

    /// Makes one attempt; when it returns, its end is on record.
    pub(super) async fn attempt(&self, order: Order, progress: watch::Sender<u8>) -> Attempted {
        let dependencies = &self.shared.dependencies;
        let (unit, now) = (order.unit, dependencies.clock.now());
        match dependencies.catalog.lease_unit(self.ladder(), unit, &dependencies.ladder.lease, now).await {
            Ok(()) => {}
            Err(CatalogError::NotFound) => return Attempted::Gone,
            Err(error) => {
                tracing::warn!(video.id = %self.shared.video_id, %unit, %error, "unit not leased");
                return Attempted::Ended(AttemptOutcome::Unavailable);
            }
        }
        let dir = self.shared.work_dir().join(format!("{}-{}", unit.pass, unit.number));
        let started = Instant::now();
        let kept = self.make(&order, &dir, progress).await;
        super::effects::remove_dir(&dir).await;
        let outcome = match kept {
            Ok(_) => AttemptOutcome::Made,
            Err(outcome) => outcome,
        };
        let millis = started.elapsed().as_millis() as u64;
        tracing::info!(video.id = %self.shared.video_id, %unit, millis, ?outcome, "attempt at unit ended");
        self.record(unit, outcome).await
    }

    /// Records an end without result, however long that takes: a unit that stays leased would never be made.
    async fn record(&self, unit: Unit, outcome: AttemptOutcome) -> Attempted {
        let end = match outcome {
            AttemptOutcome::Made => return Attempted::Ended(outcome),
            AttemptOutcome::Crashed => UnitEnd::Crashed,
            AttemptOutcome::Misfit => UnitEnd::Refused,
            AttemptOutcome::Refused(_) | AttemptOutcome::Unavailable | AttemptOutcome::Withdrawn => UnitEnd::Withdrawn,
        };
        self.record_end(unit, &end).await;
        Attempted::Ended(outcome)
    }

    pub(super) async fn record_end(&self, unit: Unit, end: &UnitEnd) {
        let dependencies = &self.shared.dependencies;
        while let Err(error) = dependencies.catalog.end_unit(self.ladder(), unit, end, dependencies.clock.now()).await {
            tracing::warn!(video.id = %self.shared.video_id, %unit, %error, "end of attempt not recorded yet");
            tokio::time::sleep(RECORD_AGAIN).await;
        }
    }

    async fn make(&self, order: &Order, dir: &std::path::Path, progress: watch::Sender<u8>) -> Kept {
        super::effects::remove_dir(dir).await;
        let task = self.task(order, dir).ok_or(AttemptOutcome::Unavailable)?;
        tokio::fs::create_dir_all(dir).await.map_err(|_| AttemptOutcome::Unavailable)?;
        let Ran { answer, stored } = tokio::select! {
            ran = self.run(order, task, progress) => ran,
            () = order.withdrawn.cancelled() => return Err(AttemptOutcome::Withdrawn),
        };
        let files = Files { dir, stored };
        let result = match answer {
            Ok(Answer::EncodedPictures { rungs, tiles, tile_file, candidates, seconds }) => {
                self.measure(&rungs, &seconds);
                let rungs = self.keep_rungs(order, rungs, &files).await?;
                let tiles = self.keep_tiles(tiles, tile_file, &files).await?;
                UnitResult::Pictures { rungs, tiles, candidates }
            }
            Ok(Answer::EncodedSound(packaged)) => self.keep_sound(order.unit, packaged, &files).await?,
            // An answer to a question that was not asked: the worker is not to be trusted.
            Ok(_) | Err(WorkError::Crashed | WorkError::Hung) => return Err(AttemptOutcome::Crashed),
            Err(WorkError::Refused(failure)) => return Err(AttemptOutcome::Refused(failure)),
            Err(_) => return Err(AttemptOutcome::Unavailable),
        };
        self.finish(order.unit, result).await
    }

    /// Has a task done by a worker of this node or of another one, whichever has time first.
    async fn run(&self, order: &Order, task: Task, progress: watch::Sender<u8>) -> Ran {
        let dependencies = &self.shared.dependencies;
        let here = |task, progress| async {
            let answer = dependencies.workers.run_at(urgency(order.precedence), task, progress).await;
            Ran { answer, stored: None }
        };
        // A viewer does not wait while others are asked.
        if order.precedence == Precedence::Demanded {
            return here(task, progress).await;
        }
        loop {
            if let Ok(_place) = self.places.try_acquire() {
                return here(task, progress).await;
            }
            for node in self.others(order.unit) {
                if let Asked::Ended(ended) = transcode_peers::ask(&dependencies.nodes, &node, &task, &progress).await {
                    let (answer, stored) = match ended {
                        Ok((answer, stored)) => (Ok(answer), Some(stored)),
                        Err(error) => (Err(error), None),
                    };
                    return Ran { answer, stored };
                }
            }
            tokio::select! {
                Ok(_place) = self.places.acquire() => return here(task, progress).await,
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// Nodes whose workers can be asked, not the same one first for every unit.
    pub(super) fn others(&self, unit: Unit) -> Vec<NodeName> {
        let dependencies = &self.shared.dependencies;
        let mut others = match dependencies.door {
            Some(_) => dependencies.nodes.able_to_work(),
            // What is on this machine's disk is nobody else's.
            None => Vec::new(),
        };
        if !others.is_empty() {
            let first = unit.number as usize % others.len();
            others.rotate_left(first);
        }
        others
    }

    async fn finish(&self, unit: Unit, result: UnitResult) -> Kept {
        let dependencies = &self.shared.dependencies;
        let (lease, now) = (&dependencies.ladder.lease, dependencies.clock.now());
        match dependencies.catalog.finish_unit(self.ladder(), unit, lease, (&result, now)).await {
            Ok(()) => Ok(result),
            Err(error) => {
                tracing::warn!(video.id = %self.shared.video_id, %unit, %error, "result not recorded");
                Err(AttemptOutcome::Unavailable)
            }
        }
    }

    /// Where blobs of an attempt go. In buckets each has names of its own: one that was overtaken changes nothing.
    fn key_prefix(&self) -> BlobKey {
        let prefix = format!("vod-abr/{}/{}", self.shared.video_id, self.plan.generation);
        BlobKey::new(match self.shared.dependencies.door {
            Some(_) => format!("{prefix}/{:016x}", rand::random::<u64>()),
            None => prefix,
        })
    }

    fn output(&self, dir: &std::path::Path) -> Output {
        Output {
            dir: dir.to_owned(),
            key_prefix: self.key_prefix(),
            video_id: self.shared.video_id.clone(),
            playback_id: self.playback_id.clone(),
            generation: self.plan.generation,
        }
    }

    fn task(&self, order: &Order, dir: &std::path::Path) -> Option<Task> {
        let (output, plan, number) = (self.output(dir), &self.plan, order.unit.number);
        if order.unit.pass == Pass::Sound {
            return Some(Task::EncodeSound(Box::new(SoundTask {
                source: self.source.whole(),
                output,
                rung: plan.sound.get(number as usize)?.clone(),
                start_ns: self.source.sound_start_ns(plan),
                cuts: plan.cuts.clone(),
                timescale: plan.timescale,
                limits: self.shared.dependencies.limits.clone(),
            })));
        }
        let chunk = plan.chunks.get(number as usize)?;
        let rungs: Vec<Rung> = order.rungs.iter().filter_map(|rung| plan.rungs.get(*rung).cloned()).collect();
        Some(Task::EncodePictures(Box::new(PictureTask {
            source: self.source.of_chunk(*chunk)?,
            output,
            treatment: self.source.treatment(plan)?,
            start_ns: plan.start_ns,
            timescale: plan.timescale,
            cuts: plan.cuts_of(number)?.to_vec(),
            first_segment: chunk.first_segment,
            rungs,
            tiles: tile_plan(plan).filter(|_| order.unit.pass == Pass::Rest),
        })))
    }

    fn measure(&self, rungs: &[EncodedRung], seconds: &[f64]) {
        let of_rung = |name: &str| self.plan.rungs.iter().find(|rung| rung.name == name).map(Rung::short_side);
        for (rung, seconds) in rungs.iter().zip(seconds) {
            let side = of_rung(&rung.name).unwrap_or(0);
            metrics::histogram!("playhouse_transcode_rung_seconds", "rung" => format!("{side}p")).record(*seconds);
        }
    }

    /// Takes over the spans, if each is like the other chunks of its rung.
    async fn keep_rungs(
        &self,
        order: &Order,
        rungs: Vec<EncodedRung>,
        files: &Files<'_>,
    ) -> Result<Vec<MadeRung>, AttemptOutcome> {
        let wanted = order.rungs.iter().filter_map(|rung| self.plan.rungs.get(*rung)).map(|rung| rung.name.as_str());
        if !wanted.eq(rungs.iter().map(|rung| rung.name.as_str())) {
            return Err(AttemptOutcome::Crashed);
        }
        let chunk = self.plan.chunks.get(order.unit.number as usize).ok_or(AttemptOutcome::Unavailable)?;
        let mut made = Vec::with_capacity(rungs.len());
        for rung in rungs {
            let file = rung.span.clone();
            let mut kept = made_rung(rung, chunk.first_segment);
            if kept.segments.len() != chunk.segments as usize || !self.fits(&kept) {
                tracing::warn!(video.id = %self.shared.video_id, unit = %order.unit, rung = kept.name, "chunk is unlike the others");
                return Err(AttemptOutcome::Misfit);
            }
            kept.span = self.adopt(&file, files).await?;
            made.push(kept);
        }
        Ok(made)
    }

    fn fits(&self, made: &MadeRung) -> bool {
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        patterns.entry(made.name.clone()).or_insert_with(|| made.clone()).fits(made)
    }

    async fn keep_tiles(
        &self,
        tiles: Vec<Tile>,
        file: Option<OutputFile>,
        files: &Files<'_>,
    ) -> Result<Option<MadeTiles>, AttemptOutcome> {
        let Some(file) = file.filter(|_| !tiles.is_empty()) else { return Ok(None) };
        let blob = self.adopt(&file, files).await?;
        let place = |tile: &Tile| MadeTile { at_ms: tile.at_ms, first: tile.picture.first, bytes: tile.picture.bytes };
        Ok(Some(MadeTiles { blob, tiles: tiles.iter().map(place).collect() }))
    }

    async fn keep_sound(&self, unit: Unit, made: Packaged, files: &Files<'_>) -> Kept {
        let name = self.plan.sound.get(unit.number as usize).map(|rung| rung.name.as_str());
        let track = made.tracks.into_iter().next();
        if track.as_ref().is_some_and(|track| Some(track.name.as_str()) != name) {
            return Err(AttemptOutcome::Crashed);
        }
        let mut blobs = Vec::new();
        for file in &made.files {
            blobs.push(self.adopt(file, files).await?);
        }
        Ok(UnitResult::Sound { track: track.map(Box::new), blobs })
    }

    async fn adopt(&self, file: &OutputFile, files: &Files<'_>) -> Result<Extent, AttemptOutcome> {
        let dir = match files {
            Files { stored: Some(stored), .. } => {
                return transcode_peers::stored_as(stored, &file.key).ok_or(AttemptOutcome::Crashed);
            }
            Files { dir, .. } => dir,
        };
        if !self.shared.is_ours(file, dir) {
            tracing::warn!(file = %file.path.display(), key = %file.key, "a worker offers what is not its own");
            return Err(AttemptOutcome::Crashed);
        }
        match self.shared.dependencies.blobs.adopt(&file.key, &file.path).await {
            Ok(bytes) => Ok(Extent { key: file.key.clone(), bytes }),
            Err(error @ (BlobError::Full | BlobError::NotFound(_) | BlobError::Unavailable(_))) => {
                tracing::warn!(blob.key = %file.key, %error, "file of a unit not stored");
                Err(AttemptOutcome::Unavailable)
            }
        }
    }
}

/// A rung as recorded; its span is still to be stored.
fn made_rung(rung: EncodedRung, first_segment: u32) -> MadeRung {
    MadeRung {
        name: rung.name,
        init: rung.init,
        codec: rung.codec,
        reorder: rung.reorder,
        video: rung.video,
        span: Extent { key: rung.span.key, bytes: 0 },
        first_segment,
        segments: rung.segments,
        key_frames: rung.key_frames,
        num_frames: rung.num_frames,
    }
}
