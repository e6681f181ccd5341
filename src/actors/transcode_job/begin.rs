//! How a ladder begins: planned and stored, or read again and taken up.
use std::sync::Arc;

use super::effects::{Outcome, Shared};
use super::publish::all_renditions;
use super::source::{LadderSource, ORIGIN_NS, SpanSource};
use crate::domain::asset::{Asset, AssetTrack, SegmentBytes, TrackKind};
use crate::domain::ladder::machine::planned_units;
use crate::domain::ladder::{
    Av1Policy, Encoder, Encoders, Grid, Ladder, LadderEnding, LadderPlan, LadderState, NewLadder, PlanRequest, Reading,
    Unit, UnitResult, UnitRow, add_av1, main_picture, plan,
};
use crate::domain::video::{Failure, MediaInfo, Rendition, Video};
use crate::media::view::{family, short_side};
use crate::media::work::Survey;

/// What a plan is made of, besides settings.
pub(super) struct Planning {
    pub(super) video: Video,
    pub(super) media: MediaInfo,
    pub(super) survey: Option<Survey>,
    pub(super) keeps_source: bool,
}

/// A ladder that can be made now.
pub struct Started {
    pub(super) video: Box<Video>,
    pub(super) ladder: Ladder,
    pub(super) plan: Arc<LadderPlan>,
    pub(super) source: LadderSource,
    pub(super) units: Vec<UnitRow>,
    pub(super) results: Vec<(Unit, UnitResult)>,
}

/// The pictures that are delivered as they came, the main ones first.
fn all_source_pictures<'a>(tracks: &'a [AssetTrack], video: &Video) -> impl Iterator<Item = &'a AssetTrack> {
    let is_source =
        |name: &str| video.renditions.iter().any(|rendition| rendition.name == name && rendition.rung == "source");
    tracks.iter().filter(move |track| track.kind == TrackKind::Video && is_source(&track.name))
}

fn source_pictures<'a>(tracks: &'a [AssetTrack], video: &Video) -> Option<&'a AssetTrack> {
    all_source_pictures(tracks, video).next()
}

/// Short sides of the others of them, as far as every player plays them.
fn other_sides(tracks: &[AssetTrack], video: &Video) -> Vec<u32> {
    let others = all_source_pictures(tracks, video).skip(1);
    others.filter(|track| family(track) == "avc1").map(short_side).filter(|side| *side > 0).collect()
}

/// The grid of pictures that are delivered as they came.
fn grid_of(asset: &Asset, track: &AssetTrack) -> Grid {
    let has_media = |number: &u32| track.segments.get(*number as usize).is_some_and(|segment| !segment.is_gap());
    let runs = asset.runs().into_iter().filter(|run| has_media(&run.start));
    let starts = track.segments.iter().map(|segment| segment.start);
    let end = track.segments.last().map(|last| last.start + i64::from(last.duration));
    let is_remuxed = track.segments.iter().any(|segment| matches!(segment.source, SegmentBytes::Span { .. }));
    Grid {
        timescale: track.timescale,
        start_ns: if is_remuxed { ORIGIN_NS } else { 0 },
        cuts: starts.chain(end).collect(),
        frame_rate: track.video.as_ref().map_or((0, 1), |video| video.frame_rate),
        reading: Reading::Sought,
        runs: if asset.epochs.is_empty() { Vec::new() } else { runs.collect() },
    }
}

fn unavailable(error: impl std::fmt::Display) -> Outcome {
    Outcome::Unavailable(error.to_string())
}

impl Shared {
    async fn encoders(&self) -> Result<&[Encoder], Outcome> {
        self.dependencies.encoders().await.map_err(unavailable)
    }

    /// Whether this machine can go on with a plan: a rendition is not made by two encoders.
    async fn can_make(&self, plan: &LadderPlan) -> Result<bool, Outcome> {
        let found = self.encoders().await?;
        Ok(plan.rungs.iter().all(|rung| found.contains(&rung.encoder)))
    }

    /// The video's ladder, if it can be gone on with; one that cannot is abandoned. AV1 is added when its owner asked for it.
    pub(super) async fn usable_ladder(&self, video: &Video) -> Result<Option<Ladder>, Outcome> {
        let catalog = &self.dependencies.catalog;
        let Some(ladder) = catalog.ladder(&self.video_id).await? else { return Ok(None) };
        if ladder.state != LadderState::Open {
            return Ok(Some(ladder));
        }
        let usable = match &ladder.plan {
            Some(plan) => self.can_make(plan).await?,
            None => false,
        };
        if !usable {
            tracing::warn!(video.id = %self.video_id, generation = ladder.generation, "plan of a ladder cannot be gone on with");
            let ending = LadderEnding::of(LadderState::Abandoned);
            let now = self.dependencies.clock.now();
            catalog.end_ladder((&self.video_id, ladder.generation), ending, now).await?;
        } else if ladder.wants_av1 {
            self.extend(video, &ladder).await?;
        } else {
            return Ok(Some(ladder));
        }
        Ok(catalog.ladder(&self.video_id).await?)
    }

    async fn extend(&self, video: &Video, ladder: &Ladder) -> Result<(), Outcome> {
        let (Some(mut plan), Some(media)) = (ladder.plan.clone(), &video.media) else { return Ok(()) };
        let found = self.encoders().await?;
        let settings = &self.dependencies.ladder;
        let grid = Grid { timescale: plan.timescale, start_ns: plan.start_ns, ..Grid::default() };
        if let Some(encoders) = Encoders::choose(found, &settings.encoder, true) {
            let generation = plan.generation;
            add_av1(
                &mut plan,
                PlanRequest {
                    generation,
                    media,
                    grid: &grid,
                    keeps_pictures: true,
                    own_sides: &[],
                    keeps_sound: true,
                    encoders: &encoders,
                    settings: &settings.settings,
                },
            );
        }
        let renditions = all_renditions(&plan, video.renditions.clone(), &[]);
        let (video_id, units) = (self.video_id.clone(), planned_units(&plan));
        let extended = NewLadder { video_id, plan, units, renditions };
        self.dependencies.catalog.extend_ladder(extended, self.dependencies.clock.now()).await?;
        Ok(())
    }

    /// Plans, and stores the plan.
    pub(super) async fn plan(self, planning: Planning) -> Outcome {
        self.try_plan(planning).await.unwrap_or_else(|outcome| outcome)
    }

    async fn try_plan(&self, planning: Planning) -> Result<Outcome, Outcome> {
        let Planning { video, media, survey, keeps_source } = planning;
        let dependencies = &self.dependencies;
        let settings = &dependencies.ladder;
        let mut own_sides = Vec::new();
        let grid = match survey {
            Some(survey) => {
                let Survey { timescale, start_ns, cuts, frame_rate, reading, .. } = survey;
                Grid { timescale, start_ns, cuts, frame_rate, reading, runs: Vec::new() }
            }
            None if keeps_source => {
                let asset = dependencies.assets.load_asset(&self.video_id, video.asset_generation).await?;
                own_sides = other_sides(&asset.tracks, &video);
                source_pictures(&asset.tracks, &video).map(|track| grid_of(&asset, track)).unwrap_or_default()
            }
            None => return Err(Outcome::Unavailable("the source was not surveyed".into())),
        };
        let found = self.encoders().await?;
        let wants_av1 = settings.av1 == Av1Policy::Always;
        let Some(encoders) = Encoders::choose(found, &settings.encoder, wants_av1) else {
            return Ok(Outcome::NotPlanned(no_encoder()));
        };
        let last = dependencies.catalog.ladder(&self.video_id).await?.map_or(0, |ladder| ladder.generation);
        let request = PlanRequest {
            generation: video.asset_generation.max(last) + 1,
            media: &media,
            grid: &grid,
            keeps_pictures: keeps_source && main_picture(&media).is_some_and(|(_, video)| video.codec == "h264"),
            own_sides: &own_sides,
            keeps_sound: keeps_source,
            encoders: &encoders,
            settings: &settings.settings,
        };
        let plan = plan(request);
        let units = planned_units(&plan);
        if units.is_empty() {
            return Ok(if keeps_source { Outcome::Planned(false) } else { Outcome::NotPlanned(nothing()) });
        }
        let renditions = all_renditions(&plan, source_renditions(&video), &[]);
        let ladder = NewLadder { video_id: self.video_id.clone(), plan, units, renditions };
        dependencies.catalog.start_ladder(ladder, dependencies.clock.now()).await?;
        Ok(Outcome::Planned(true))
    }

    /// Takes a ladder up: what an earlier life of the server had leased is free again.
    pub(super) async fn begin_ladder(self) -> Outcome {
        match self.try_begin().await {
            Ok(started) => Outcome::LadderBegun(Box::new(started)),
            Err(outcome) => outcome,
        }
    }

    async fn try_begin(&self) -> Result<Started, Outcome> {
        let catalog = &self.dependencies.catalog;
        let video = catalog.video(&self.video_id).await?.ok_or(Outcome::Gone)?;
        let known = catalog.ladder(&self.video_id).await?.ok_or_else(|| unavailable("no ladder is planned"))?;
        let reclaimed = catalog.reclaim_units(&self.video_id, known.generation, self.dependencies.clock.now()).await?;
        if reclaimed > 0 {
            tracing::info!(video.id = %self.video_id, units = reclaimed, "units of an earlier life are free again");
        }
        let ladder = catalog.ladder(&self.video_id).await?.ok_or(Outcome::Gone)?;
        let plan = ladder.plan.clone().ok_or_else(|| unavailable("the plan cannot be read"))?;
        let results = catalog.unit_results(&self.video_id, ladder.generation).await?;
        let source = self.ladder_source(&video, &plan).await?;
        let units = ladder.units.clone();
        Ok(Started { video: Box::new(video), ladder, plan: Arc::new(plan), source, units, results })
    }

    pub(super) async fn ladder_source(&self, video: &Video, plan: &LadderPlan) -> Result<LadderSource, Outcome> {
        let whole = self.source(video).ok_or_else(|| unavailable("the original is out of reach"))?;
        if video.asset_generation == 0 || plan.chunks.is_empty() {
            return Ok(LadderSource::of_file(whole));
        }
        let asset = self.dependencies.assets.load_asset(&self.video_id, video.asset_generation).await?;
        match self.span_source(video, &asset).map_err(unavailable)? {
            Some(spans) => Ok(LadderSource::of_spans(whole, spans)),
            None => Ok(LadderSource::of_file(whole)),
        }
    }

    /// The source's pictures, when they lie in spans.
    fn span_source(&self, video: &Video, asset: &Asset) -> Result<Option<SpanSource>, &'static str> {
        let Some(track) = source_pictures(&asset.tracks, video).filter(|track| !track.spans.is_empty()) else {
            return Ok(None);
        };
        let files = track.spans.iter().map(|span| self.place(span, 0)).collect();
        let files: Option<Vec<_>> = files;
        let files = files.ok_or("spans are out of reach")?;
        Ok(Some(SpanSource::new(asset, track, files)))
    }

    /// Pictures of a video that has no original.
    pub(super) async fn recorded(&self, video: &Video) -> Result<Option<SpanSource>, Outcome> {
        if !video.source.is_empty() || video.asset_generation == 0 {
            return Ok(None);
        }
        let asset = self.dependencies.assets.load_asset(&self.video_id, video.asset_generation).await?;
        self.span_source(video, &asset).map_err(unavailable)
    }
}

/// Renditions of the source as it came; what an abandoned plan has left is gone.
fn source_renditions(video: &Video) -> Vec<Rendition> {
    let plays = video.renditions.iter().any(|known| known.kind == "video" && known.rung == "source");
    let is_source = |known: &&Rendition| plays && (known.kind == "audio" || known.rung == "source");
    video.renditions.iter().filter(is_source).cloned().collect()
}

fn no_encoder() -> Failure {
    let message = "This server has no encoder for H.264 that works, so that the file cannot be converted.".into();
    Failure { code: "no_encoder".into(), message }
}

fn nothing() -> Failure {
    let message = "There is neither picture nor sound in the file that could be decoded.".into();
    Failure { code: "no_tracks".into(), message }
}
