//! Ladders: plans, units, leases and results.
use std::sync::Arc;

use super::{at, events, processing, registered};
use crate::domain::asset::{BlobKey, Extent, VideoProperties};
use crate::domain::cluster::NodeLife;
use crate::domain::ids::VideoId;
use crate::domain::ladder::{
    Attempted, Chunk, LadderEnding, LadderPlan, LadderState, MadeRung, MadeTiles, NewLadder, Pass, SpanSegment, Unit,
    UnitEnd, UnitResult, UnitState,
};
use crate::domain::ports::{Catalog, CatalogError, VideoStep};
use crate::domain::video::{Failure, Rendition, RenditionState};

const FIRST: Unit = Unit::new(Pass::First, 0);
const REST: Unit = Unit::new(Pass::Rest, 0);
const LATER: Unit = Unit::new(Pass::Rest, 1);

fn plan(generation: u32) -> LadderPlan {
    LadderPlan {
        generation,
        timescale: 90_000,
        start_ns: -7,
        cuts: vec![90_000, 450_000, 800_000],
        chunks: vec![Chunk { first_segment: 0, segments: 1 }, Chunk { first_segment: 1, segments: 1 }],
        treatment: None,
        rungs: Vec::new(),
        first_rung: 0,
        sound: Vec::new(),
    }
}

fn rendition(name: &str, state: RenditionState) -> Rendition {
    Rendition {
        name: name.into(),
        kind: "video".into(),
        codec: "avc1.64001e".into(),
        rung: "360p".into(),
        width: 640,
        height: 360,
        frame_rate_milli: 25_000,
        bandwidth: 1,
        average_bandwidth: 1,
        state,
    }
}

pub(super) fn new_ladder(video_id: &VideoId, generation: u32) -> NewLadder {
    NewLadder {
        video_id: video_id.clone(),
        plan: plan(generation),
        units: vec![FIRST, REST, LATER],
        renditions: vec![rendition("v360-1", RenditionState::Queued)],
    }
}

fn lease(epoch: i64) -> NodeLife {
    NodeLife { node: "one".parse().unwrap(), epoch }
}

fn extent(key: &str) -> Extent {
    Extent { key: BlobKey::new(key), bytes: 9 }
}

fn result(video: &VideoId, unit: Unit) -> UnitResult {
    let key = format!("vod-abr/{video}/1/v360-1-{}.mp4", unit.number);
    let segment = SpanSegment { start: 90_000, duration: 360_000, offset: 700, bytes: 8 };
    let properties = VideoProperties { width: 640, height: 360, rotation: 0, frame_rate: (25, 1) };
    let rung = MadeRung {
        name: "v360-1".into(),
        init: "init".into(),
        codec: "avc1.64001e".into(),
        reorder: 7200,
        video: properties,
        span: extent(&key),
        first_segment: unit.number,
        segments: vec![segment],
        key_frames: "keys".into(),
        num_frames: 100,
    };
    let tiles = MadeTiles { blob: extent(&format!("{key}.tiles")), tiles: Vec::new() };
    UnitResult::Pictures { rungs: vec![rung], tiles: Some(tiles), candidates: Vec::new() }
}

async fn started(catalog: &Arc<dyn Catalog>) -> VideoId {
    let user = registered(&**catalog, "alice").await;
    let id = processing(&**catalog, &user.id, "a clip", at(1)).await;
    let video = catalog.start_ladder(new_ladder(&id, 1), at(2)).await.unwrap();
    assert_eq!(video.renditions, catalog.video(&id).await.unwrap().unwrap().renditions);
    assert_eq!(video.renditions[0].state, RenditionState::Queued);
    id
}

async fn state(catalog: &Arc<dyn Catalog>, id: &VideoId, unit: Unit) -> (UnitState, Attempted) {
    let ladder = catalog.ladder(id).await.unwrap().unwrap();
    let row = ladder.units.iter().find(|row| row.unit == unit).unwrap();
    (row.state, row.attempted)
}

pub(in super::super) async fn a_plan_is_stored_with_its_units(catalog: &Arc<dyn Catalog>) {
    let id = started(catalog).await;
    let ladder = catalog.ladder(&id).await.unwrap().unwrap();
    assert_eq!((ladder.plan, ladder.state), (Some(plan(1)), LadderState::Open));
    assert_eq!(ladder.units.len(), 3);
    assert!(ladder.units.iter().all(|row| row.state == UnitState::Queued && row.attempted == Attempted::default()));
    assert_eq!(events(&**catalog, "transcode.started").await.len(), 1);
    assert_eq!(catalog.open_ladders(9).await.unwrap(), std::slice::from_ref(&id));
    assert!(matches!(catalog.start_ladder(new_ladder(&id, 1), at(3)).await, Err(CatalogError::Conflict(_))));
    catalog.delete_video(&id, at(3)).await.unwrap();
    assert_eq!(catalog.start_ladder(new_ladder(&id, 2), at(4)).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.open_ladders(9).await.unwrap(), Vec::new());
}

pub(in super::super) async fn a_unit_is_leased_once_and_finished_by_its_holder(catalog: &Arc<dyn Catalog>) {
    let id = started(catalog).await;
    let ladder = (&id, 1);
    catalog.lease_unit(ladder, FIRST, &lease(5), at(3)).await.unwrap();
    assert_eq!(catalog.lease_unit(ladder, FIRST, &lease(6), at(3)).await, Err(CatalogError::Stale));
    let made = result(&id, FIRST);
    let finish = |epoch| {
        let made = &made;
        async move { catalog.finish_unit(ladder, FIRST, &lease(epoch), (made, at(4))).await }
    };
    assert_eq!(finish(6).await, Err(CatalogError::Stale));
    finish(5).await.unwrap();
    assert_eq!(finish(5).await, Err(CatalogError::Stale), "finished is finished");
    assert_eq!(catalog.lease_unit(ladder, FIRST, &lease(7), at(5)).await, Err(CatalogError::Stale));
    catalog.end_unit(ladder, FIRST, &UnitEnd::Crashed, at(5)).await.unwrap();
    assert_eq!(state(catalog, &id, FIRST).await, (UnitState::Done, Attempted::default()));
    assert_eq!(catalog.unit_results(&id, 1).await.unwrap(), [(FIRST, made.clone())]);
    assert_eq!(catalog.results_of(&id, 1, 0).await.unwrap(), [made]);
    assert_eq!(catalog.results_of(&id, 1, 1).await.unwrap(), []);
    // A chunk that nobody planned to make early.
    let early = Unit::new(Pass::First, 1);
    catalog.lease_unit(ladder, early, &lease(5), at(6)).await.unwrap();
    assert_eq!(state(catalog, &id, early).await.0, UnitState::Leased);
}

pub(in super::super) async fn attempts_at_units_are_counted_by_their_end(catalog: &Arc<dyn Catalog>) {
    let id = started(catalog).await;
    let ladder = (&id, 1);
    for end in [UnitEnd::Crashed, UnitEnd::Refused, UnitEnd::Withdrawn] {
        catalog.lease_unit(ladder, REST, &lease(5), at(3)).await.unwrap();
        catalog.end_unit(ladder, REST, &end, at(4)).await.unwrap();
        catalog.end_unit(ladder, REST, &end, at(4)).await.unwrap();
    }
    catalog.lease_unit(ladder, REST, &lease(5), at(3)).await.unwrap();
    assert_eq!(catalog.reclaim_units(&id, 1, at(5)).await.unwrap(), 1);
    assert_eq!(catalog.reclaim_units(&id, 1, at(5)).await.unwrap(), 0);
    let attempted = Attempted { crashed: 1, interrupted: 1, refused: 1 };
    assert_eq!(state(catalog, &id, REST).await, (UnitState::Queued, attempted));
    let failure = Failure { code: "decoder_crashed".into(), message: "It crashed.".into() };
    catalog.end_unit(ladder, REST, &UnitEnd::Failed(failure), at(6)).await.unwrap();
    assert_eq!(state(catalog, &id, REST).await, (UnitState::Failed, attempted));
    assert_eq!(catalog.lease_unit(ladder, REST, &lease(5), at(7)).await, Err(CatalogError::Stale));
    catalog.delete_video(&id, at(8)).await.unwrap();
    assert_eq!(catalog.lease_unit(ladder, LATER, &lease(5), at(9)).await, Err(CatalogError::NotFound));
    catalog.purge_video(&id).await.unwrap();
    assert_eq!(catalog.ladder(&id).await.unwrap(), None);
}

pub(in super::super) async fn what_units_made_is_kept_until_they_are_abandoned(catalog: &Arc<dyn Catalog>) {
    let id = started(catalog).await;
    let made = result(&id, REST);
    catalog.lease_unit((&id, 1), REST, &lease(5), at(3)).await.unwrap();
    catalog.finish_unit((&id, 1), REST, &lease(5), (&made, at(4))).await.unwrap();
    let keys: Vec<BlobKey> = made.blobs().into_iter().map(|blob| blob.key).collect();
    assert_eq!(keys.len(), 2);
    let published = VideoStep::Published { generation: 1, renditions: Vec::new(), blobs: vec![extent("index")] };
    catalog.step_video(&id, published, at(5)).await.unwrap();
    catalog.step_video(&id, VideoStep::Finished, at(6)).await.unwrap();
    let unborn = BlobKey::new(format!("vod-abr/{id}/1/unborn.mp4"));
    let all = || [keys.clone(), vec![unborn.clone()]].concat();
    assert_eq!(catalog.orphans(all()).await.unwrap(), [], "an open ladder makes more");
    let ending = LadderEnding { disowned: keys[1..].to_vec(), ..LadderEnding::of(LadderState::Done) };
    catalog.end_ladder((&id, 1), ending, at(7)).await.unwrap();
    assert_eq!(catalog.orphans(all()).await.unwrap(), [keys[1].clone(), unborn.clone()]);
    assert_eq!(catalog.open_ladders(9).await.unwrap(), []);
    catalog.request_av1(&id, at(8)).await.unwrap();
    catalog.end_ladder((&id, 1), LadderEnding::of(LadderState::Done), at(8)).await.unwrap();
    assert_eq!(catalog.open_ladders(9).await.unwrap(), std::slice::from_ref(&id));
    assert!(catalog.ladder(&id).await.unwrap().unwrap().wants_av1);
    let more = NewLadder { units: vec![Unit::new(Pass::Av1, 0), REST], ..new_ladder(&id, 1) };
    catalog.extend_ladder(more, at(8)).await.unwrap();
    let ladder = catalog.ladder(&id).await.unwrap().unwrap();
    assert_eq!((ladder.units.len(), ladder.wants_av1), (4, false));
    assert_eq!(state(catalog, &id, REST).await.0, UnitState::Done);
    catalog.end_ladder((&id, 1), LadderEnding::of(LadderState::Abandoned), at(9)).await.unwrap();
    assert_eq!(catalog.orphans(all()).await.unwrap(), all());
    catalog.start_ladder(new_ladder(&id, 2), at(9)).await.unwrap();
    let ladder = catalog.ladder(&id).await.unwrap().unwrap();
    assert_eq!((ladder.generation, ladder.units.len()), (2, 3));
}

pub(in super::super) async fn progress_and_failed_renditions_are_told(catalog: &Arc<dyn Catalog>) {
    let id = started(catalog).await;
    let progress = VideoStep::Progress { percent: 20, ready_at: Some(at(60)) };
    for _ in 0..2 {
        let video = catalog.step_video(&id, progress.clone(), at(3)).await.unwrap();
        assert_eq!((video.progress_percent, video.ready_at), (20, Some(at(60))));
    }
    assert_eq!(events(&**catalog, "transcode.progress").await.len(), 1);
    let states = vec![("v360-1".to_owned(), RenditionState::Failed), ("other".to_owned(), RenditionState::Ready)];
    for _ in 0..2 {
        let video = catalog.step_video(&id, VideoStep::Transcoding { states: states.clone() }, at(4)).await.unwrap();
        assert_eq!(video.renditions, [rendition("v360-1", RenditionState::Failed)]);
    }
    assert_eq!(events(&**catalog, "transcode.renditions_changed").await.len(), 1);
    let failure = Some(Failure { code: "decoder_crashed".into(), message: "It crashed.".into() });
    let ending = LadderEnding { failure, ..LadderEnding::of(LadderState::Failed) };
    for _ in 0..2 {
        catalog.end_ladder((&id, 1), ending.clone(), at(5)).await.unwrap();
    }
    assert_eq!(events(&**catalog, "transcode.failed").await.len(), 1);
    assert_eq!(catalog.ladder(&id).await.unwrap().unwrap().state, LadderState::Failed);
}
