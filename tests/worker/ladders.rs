//! Ladders on real storage and real workers: every rung of every chunk once, whatever happens on the way.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use playhouse::domain::asset::{Asset, BlobKey, SegmentBytes, TrackKind};
use playhouse::domain::ids::VideoId;
use playhouse::domain::ladder::{LadderState, Pass, UnitResult, UnitState};
use playhouse::domain::ports::{MediaObject, ResolveError, SegmentSource};
use playhouse::domain::video::{RenditionState, Video, VideoStatus};
use playhouse::media::resolve::Resolver;

use crate::clips::clip;
use crate::node::{self, Node};
use crate::pool::{self, fault, process_settings};

async fn asset(node: &Node, video: &Video) -> Arc<Asset> {
    node.storage.assets.load_asset(&video.id, video.asset_generation).await.unwrap()
}

fn resolver(node: &Node) -> Resolver {
    Resolver::new(Arc::clone(&node.storage.blobs), 1 << 20).with_maker(Arc::new(node.transcodes.clone()))
}

/// Names of rungs by their short side, those of the source included.
fn rungs(video: &Video) -> BTreeSet<&str> {
    let pictures = video.renditions.iter().filter(|rendition| rendition.kind == "video");
    pictures.map(|rendition| rendition.rung.as_str()).collect()
}

/// Every unit is made once and recorded, every segment and key frame can be had, all rungs are cut alike.
async fn assert_whole(node: &Node, video: &Video) {
    let pictures = || video.renditions.iter().filter(|rendition| rendition.kind == "video");
    assert!(pictures().all(|rendition| rendition.state == RenditionState::Ready), "{:?}", video.renditions);
    let ladder = node.storage.catalog.ladder(&video.id).await.unwrap().unwrap();
    assert_eq!(ladder.state, LadderState::Done);
    let open: Vec<_> = ladder.units.iter().filter(|row| row.unit.pass != Pass::Sound).collect();
    assert!(open.iter().all(|row| row.state == UnitState::Done), "{open:?}");
    let asset = asset(node, video).await;
    let resolver = resolver(node);
    let mut cuts = BTreeSet::new();
    for track in asset.tracks.iter().filter(|track| track.kind == TrackKind::Video) {
        for (number, segment) in (0u32..).zip(&track.segments) {
            assert!(!matches!(segment.source, SegmentBytes::Make { .. }), "{} {number}", track.name);
            let bytes = resolver.resolve(&asset, &track.name, MediaObject::Segment(number)).await.unwrap();
            assert_eq!(bytes.len(), segment.bytes as usize);
        }
        for (number, key) in (0u32..).zip(&track.key_frames) {
            let bytes = resolver.resolve(&asset, &track.name, MediaObject::KeyFrame(number)).await.unwrap();
            assert_eq!(bytes.len(), key.bytes as usize);
        }
        cuts.insert(track.segments.iter().map(|segment| (segment.start, segment.duration)).collect::<Vec<_>>());
    }
    assert_eq!(cuts.len(), 1, "all rungs are cut alike");
    let results = node.storage.catalog.unit_results(&video.id, ladder.generation).await.unwrap();
    let mut made = BTreeSet::new();
    for (unit, result) in &results {
        let UnitResult::Pictures { rungs, .. } = result else { continue };
        for rung in rungs {
            assert!(made.insert((rung.name.clone(), unit.number)), "{unit} made {} twice", rung.name);
            assert!(rung.num_frames > 0);
        }
    }
    assert_eq!(
        made.len(),
        ladder.plan.unwrap().rungs.len() * (results.iter().map(|(unit, _)| unit.number).max().unwrap() as usize + 1)
    );
    node.assert_nothing_is_left_over(&video.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_clip_gets_every_rung_below_it() {
    let node = Node::start(process_settings()).await;
    for name in ["ladder.mp4", "ladder.mkv"] {
        let video = node.run(&clip(name), None).await;
        assert_eq!(video.status, VideoStatus::Ready, "{name}: {:?}", video.failure);
        assert_eq!(rungs(&video), BTreeSet::from(["source", "240p", "144p"]), "{name}");
        assert_whole(&node, &video).await;
        let told: Vec<_> = node.events(&video.id).await;
        let place =
            |kind: &str| told.iter().position(|event| event == kind).unwrap_or_else(|| panic!("{kind}: {told:?}"));
        assert!(place("video.playable") < place("transcode.started"));
        assert!(place("transcode.started") < place("transcode.progress"));
        assert!(place("transcode.progress") < place("video.ready"));
        assert_eq!(told.iter().filter(|kind| *kind == "transcode.rendition_ready").count(), 4, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_standard_is_playable_after_its_first_chunk() {
    let node = Node::start(process_settings()).await;
    let id = node.upload(&clip("ladder-hevc.mkv"), None).await;
    node.transcodes.start(id.clone()).await.unwrap();
    node.until(async || node.video(&id).await.is_some_and(|video| video.status == VideoStatus::Playable)).await;
    let early = node.video(&id).await.unwrap();
    let listed = asset(&node, &early).await;
    assert_eq!(listed.tracks.len(), 1, "the first rung alone");
    assert!(matches!(listed.tracks[0].segments[0].source, SegmentBytes::Span { .. }));
    // The last chunk is made before its turn for whoever asks for it.
    let last = u32::try_from(listed.tracks[0].segments.len() - 1).unwrap();
    let bytes = resolver(&node).resolve(&listed, &listed.tracks[0].name, MediaObject::Segment(last)).await.unwrap();
    let video = node.settled(&id).await;
    assert_eq!(video.status, VideoStatus::Ready, "{:?}", video.failure);
    assert_eq!(rungs(&video), BTreeSet::from(["300p", "240p", "144p"]));
    assert_eq!(video.non_standard[0].code, "video_codec");
    assert_whole(&node, &video).await;
    let again = resolver(&node).resolve(&listed, &listed.tracks[0].name, MediaObject::Segment(last)).await.unwrap();
    assert_eq!(bytes, again, "also after the job has ended");
    let name = listed.tracks[0].name.replace("v300", "v999");
    let unknown = Arc::new(Asset {
        tracks: vec![playhouse::domain::asset::AssetTrack { name, ..listed.tracks[0].clone() }],
        ..(*listed).clone()
    });
    let refused = resolver(&node).resolve(&unknown, &unknown.tracks[0].name, MediaObject::Segment(last)).await;
    assert_eq!(refused, Err(ResolveError::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_decoder_costs_one_attempt_at_a_chunk() {
    for action in ["crash", "hang"] {
        let (_dir, environment) = fault(action, "encode_pictures", 1);
        let watchdog = Duration::from_secs(6);
        let node = Node::start(pool::ProcessSettings { environment, watchdog, ..process_settings() }).await;
        let video = node.run(&clip("ladder.mp4"), None).await;
        assert_eq!(video.status, VideoStatus::Ready, "{action}: {:?}", video.failure);
        assert_whole(&node, &video).await;
        let ladder = node.storage.catalog.ladder(&video.id).await.unwrap().unwrap();
        let crashed: u32 = ladder.units.iter().map(|row| row.attempted.crashed).sum();
        assert_eq!(crashed, 1, "{action}: {:?}", ladder.units);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_kills_workers_fails_what_cannot_be_watched_without_it() {
    for (name, status) in [("ladder.mp4", VideoStatus::Ready), ("ladder-hevc.mkv", VideoStatus::Failed)] {
        let (_dir, environment) = fault("crash", "encode_pictures", 99);
        let node = Node::start(pool::ProcessSettings { environment, ..process_settings() }).await;
        let video = node.run(&clip(name), None).await;
        assert_eq!(video.status, status, "{name}");
        let made = video.renditions.iter().filter(|rendition| rendition.rung.ends_with('p'));
        assert!(made.clone().count() >= 2 && made.clone().all(|rung| rung.state == RenditionState::Failed));
        assert!(node.events(&video.id).await.contains(&"transcode.failed".to_owned()));
        let message = video.failure.map(|failure| failure.message).unwrap_or_default();
        assert_eq!(message.contains("0:00 to 0:0"), status == VideoStatus::Failed, "{message}");
    }
}

/// Units done when a node stops are not done again by the next; the others are.
#[tokio::test(flavor = "multi_thread")]
async fn a_ladder_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_in(dir.path(), process_settings()).await;
    let id = node.upload(&clip("ladder-hevc.mkv"), None).await;
    node.transcodes.start(id.clone()).await.unwrap();
    let done = async |node: &Node| -> Vec<String> {
        let Some(ladder) = node.storage.catalog.ladder(&id).await.unwrap() else { return Vec::new() };
        let done = ladder.units.iter().filter(|row| row.state == UnitState::Done);
        done.map(|row| row.unit.to_string()).collect()
    };
    node.until(async || done(&node).await.len() >= 2).await;
    node.stop().await;
    let node = Node::start_in(dir.path(), process_settings()).await;
    let before = done(&node).await;
    let results = node.storage.catalog.unit_results(&id, 1).await.unwrap();
    node.transcodes.resume().await.unwrap();
    let video = node.settled(&id).await;
    assert_eq!(video.status, VideoStatus::Ready, "{:?}", video.failure);
    assert!(before.len() >= 2 && before.len() < done(&node).await.len(), "{before:?}");
    let after = node.storage.catalog.unit_results(&id, 1).await.unwrap();
    assert!(results.iter().all(|result| after.contains(result)));
    assert_whole(&node, &video).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_chunks_and_nothing_else() {
    let node = Node::start(process_settings()).await;
    node.transcodes.pause(true);
    let id = node.upload(&clip("ladder.mp4"), None).await;
    node.transcodes.start(id.clone()).await.unwrap();
    node.until(async || node.doing("MakeLadder").await == 1).await;
    let another = node.upload(&clip("plain.mp4"), None).await;
    node.transcodes.start(another.clone()).await.unwrap();
    assert_eq!(node.settled(&another).await.status, VideoStatus::Ready);
    assert_eq!(node.storage.catalog.unit_results(&id, 2).await.unwrap(), []);
    node.transcodes.pause(false);
    let video = node.settled(&id).await;
    assert_whole(&node, &video).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_video_ends_its_ladder() {
    let (_dir, environment) = fault("hang", "encode_pictures", 9);
    let watchdog = Duration::from_secs(60);
    let node = Node::start(pool::ProcessSettings { environment, watchdog, ..process_settings() }).await;
    let id = node.upload(&clip("ladder.mp4"), None).await;
    node.transcodes.start(id.clone()).await.unwrap();
    node.until(async || node.doing("MakeLadder").await == 1).await;
    node.storage.catalog.delete_video(&id, node::now()).await.unwrap();
    node.transcodes.forget(&id).await;
    node.until(async || node.running().await == 0).await;
    assert!(node.work_dir_is_empty());
    let (_, blobs) = node.storage.catalog.deleted_videos(9).await.unwrap().remove(0);
    let left: Vec<String> = node.made(&id).await;
    let known: BTreeSet<BlobKey> = blobs.into_iter().collect();
    assert!(left.iter().all(|key| known.contains(&BlobKey::new(key.clone()))), "{left:?}");
    let gone: Option<VideoId> = node.video(&id).await.map(|video| video.id);
    assert_eq!(gone, None);
}
