//! New generations of an asset out of what a ladder has made so far.
use std::collections::HashMap;
use std::sync::Arc;

use super::effects::{Outcome, Shared, rendition};
use crate::domain::asset::{Asset, AssetEpoch, AssetTrack, BlobKey, Extent, TrackKind};
use crate::domain::cues::Chronicle;
use crate::domain::ladder::machine::Publication;
use crate::domain::ladder::{LadderPlan, Rung, RungCodec, SoundRung, Unit, UnitResult};
use crate::domain::ports::VideoStep;
use crate::domain::video::{Rendition, RenditionState, Video};
use crate::media::rungs::{MadeChunks, Misfit, RungTrack, rung_track};

/// What is to be published.
pub(super) struct Publishing {
    pub(super) plan: Arc<LadderPlan>,
    pub(super) publication: Publication,
    /// Renditions that are not listed, as far as they are.
    pub(super) states: Vec<(String, RenditionState)>,
}

/// What an asset has besides what a plan makes.
#[derive(Default)]
struct Own {
    tracks: Vec<AssetTrack>,
    epochs: Vec<AssetEpoch>,
    chronicle: Chronicle,
}

/// What a rung is called.
fn label(rung: &Rung) -> String {
    format!("{}p", rung.short_side())
}

/// A planned rung, before anything is known of it.
fn planned_rung(rung: &Rung, state: RenditionState) -> Rendition {
    Rendition {
        name: rung.name.clone(),
        kind: "video".into(),
        codec: if rung.codec == RungCodec::Av1 { "av01".into() } else { "avc1".into() },
        rung: label(rung),
        width: rung.width,
        height: rung.height,
        frame_rate_milli: 0,
        bandwidth: u64::from(rung.bits_per_sec_max),
        average_bandwidth: u64::from(rung.bits_per_sec_max),
        state,
    }
}

fn planned_sound(rung: &SoundRung, state: RenditionState) -> Rendition {
    Rendition {
        name: rung.name.clone(),
        kind: "audio".into(),
        codec: "mp4a.40.2".into(),
        rung: rung.language.clone(),
        width: 0,
        height: 0,
        frame_rate_milli: 0,
        bandwidth: u64::from(rung.bits_per_sec),
        average_bandwidth: u64::from(rung.bits_per_sec),
        state,
    }
}

/// All renditions: those listed, then those that are to come.
pub(super) fn all_renditions(
    plan: &LadderPlan,
    listed: Vec<Rendition>,
    states: &[(String, RenditionState)],
) -> Vec<Rendition> {
    let state_of =
        |name: &str| states.iter().find(|(known, _)| known == name).map_or(RenditionState::Queued, |(_, state)| *state);
    let is_listed = |name: &str| listed.iter().any(|rendition| rendition.name == name);
    let rungs = plan.rungs.iter().filter(|rung| !is_listed(&rung.name));
    let rungs = rungs.map(|rung| planned_rung(rung, state_of(&rung.name)));
    let sound = plan.sound.iter().filter(|rung| !is_listed(&rung.name));
    let sound = sound.map(|rung| planned_sound(rung, state_of(&rung.name)));
    let planned: Vec<Rendition> = rungs.chain(sound).collect();
    listed.into_iter().chain(planned).collect()
}

impl Shared {
    /// Stores and publishes a new generation.
    pub(super) async fn publish(self, publishing: Publishing) -> Outcome {
        match self.try_publish(&publishing).await {
            Ok(video) => Outcome::Published(Some(Box::new(video))),
            Err(Outcome::Unavailable(reason)) => {
                tracing::warn!(video.id = %self.video_id, reason, "nothing published yet");
                Outcome::Published(None)
            }
            Err(other) => other,
        }
    }

    async fn try_publish(&self, publishing: &Publishing) -> Result<Video, Outcome> {
        let dependencies = &self.dependencies;
        let plan = &publishing.plan;
        let video = dependencies.catalog.video(&self.video_id).await?.ok_or(Outcome::Gone)?;
        let results = dependencies.catalog.unit_results(&self.video_id, plan.generation).await?;
        let generation = (video.asset_generation + 1).max(plan.generation);
        let Own { mut tracks, epochs, chronicle } = self.own_tracks(&video, plan).await?;
        let (mut blobs, mut early) = (Vec::new(), Vec::new());
        let made = self.made_rungs(publishing, &results, generation);
        for made in made.map_err(|error| Outcome::Unavailable(error.to_string()))? {
            blobs.push(self.store_table(&made).await?);
            if !made.is_whole {
                early.push(made.track.name.clone());
            }
            tracks.push(made.track);
        }
        tracks.extend(sound_tracks(&results));
        // Pictures first; otherwise as they are.
        tracks.sort_by_key(|track| track.kind == TrackKind::Audio);
        let listed = tracks.iter().map(|track| listed_rendition(plan, track, &early)).collect();
        let asset = Asset {
            video_id: video.id.clone(),
            playback_id: video.playback_id.clone(),
            generation,
            source: video.source.clone(),
            tracks,
            epochs,
            chronicle,
        };
        blobs.push(dependencies.assets.save_asset(&asset).await?);
        let renditions = all_renditions(plan, listed, &publishing.states);
        let step = VideoStep::Published { generation, renditions, blobs };
        Ok(dependencies.catalog.step_video(&self.video_id, step, dependencies.clock.now()).await?)
    }

    /// What is listed and not of this plan.
    async fn own_tracks(&self, video: &Video, plan: &LadderPlan) -> Result<Own, Outcome> {
        let plays = video.renditions.iter().any(|known| known.kind == "video" && known.rung == "source");
        if video.asset_generation == 0 || !plays {
            return Ok(Own::default());
        }
        let asset = self.dependencies.assets.load_asset(&self.video_id, video.asset_generation).await?;
        let is_source = |name: &str| {
            let rendition = video.renditions.iter().find(|rendition| rendition.name == name);
            let is_kept = rendition.is_some_and(|rendition| rendition.kind == "audio" || rendition.rung == "source");
            is_kept && !plan.sound.iter().any(|sound| sound.name == name)
        };
        let tracks = asset.tracks.iter().filter(|track| is_source(&track.name)).cloned().collect();
        Ok(Own { tracks, epochs: asset.epochs.clone(), chronicle: asset.chronicle.clone() })
    }

    fn made_rungs(
        &self,
        publishing: &Publishing,
        results: &[(Unit, UnitResult)],
        generation: u32,
    ) -> Result<Vec<RungTrack>, Misfit> {
        let Publishing { plan, publication, .. } = publishing;
        let mut tracks = Vec::new();
        for (index, rung) in plan.rungs.iter().enumerate() {
            let is_wanted = match publication {
                Publication::Early => index == plan.first_rung,
                Publication::Complete => rung.codec == RungCodec::H264,
                Publication::WithAv1 => true,
            };
            let made: MadeChunks =
                results.iter().filter_map(|(unit, result)| Some((unit.number, result.rung(&rung.name)?))).collect();
            let table = BlobKey::new(format!("vod-abr/{}/{generation}/{}.keys", self.video_id, rung.name));
            let track = rung_track(plan, rung, &made, table)?;
            tracks.extend(track.filter(|made| is_wanted && (made.is_whole || *publication == Publication::Early)));
        }
        Ok(tracks)
    }

    async fn store_table(&self, made: &RungTrack) -> Result<Extent, Outcome> {
        let key = made.track.sample_table.clone().ok_or_else(|| Outcome::Unavailable("no key frames".into()))?;
        let bytes = made.key_frames.len() as u64;
        self.dependencies.blobs.put(&key, made.key_frames.clone().into()).await?;
        Ok(Extent { key, bytes })
    }
}

fn sound_tracks(results: &[(Unit, UnitResult)]) -> impl Iterator<Item = AssetTrack> {
    let track = |result: &UnitResult| match result {
        UnitResult::Sound { track, .. } => track.as_deref().cloned(),
        UnitResult::Pictures { .. } => None,
    };
    results.iter().filter_map(move |(_, result)| track(result))
}

fn listed_rendition(plan: &LadderPlan, track: &AssetTrack, early: &[String]) -> Rendition {
    let rungs: HashMap<&str, &Rung> = plan.rungs.iter().map(|rung| (rung.name.as_str(), rung)).collect();
    let mut rendition = rendition(track);
    if let Some(rung) = rungs.get(track.name.as_str()) {
        rendition.rung = label(rung);
    }
    if early.contains(&track.name) {
        rendition.state = RenditionState::Processing;
    }
    rendition
}
