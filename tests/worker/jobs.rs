//! Transcode jobs on real storage and real workers: from complete bytes to *ready*, or to a reason.
use std::time::{Duration, Instant};

use playhouse::domain::transcode::{AttemptEnd, Attempts, WorkKind};
use playhouse::domain::video::{Video, VideoStatus};

use crate::clips::{clip, sha256};
use crate::node::{self, Node};
use crate::pool::{self, fault, process_settings};

fn code(video: &Video) -> &str {
    video.failure.as_ref().map_or("", |failure| failure.code.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_clips_become_ready_with_everything_they_need() {
    let node = Node::start(process_settings()).await;
    for (name, is_remuxed) in [("plain.mp4", false), ("plain.mkv", true)] {
        let id = node.upload(&clip(name), None).await;
        node.transcodes.start(id.clone()).await.unwrap();
        node.transcodes.start(id.clone()).await.unwrap();
        let video = node.settled(&id).await;
        assert_eq!(video.status, VideoStatus::Ready, "{name}: {:?}", video.failure);
        assert_eq!((video.renditions.len(), video.thumbnails.len(), video.asset_generation), (2, 1, 1), "{name}");
        let asset = node.storage.assets.load_asset(&id, 1).await.unwrap();
        assert_eq!(asset.source, video.source, "{name}");
        assert_eq!(asset.tracks.iter().all(|track| track.spans.is_empty()), !is_remuxed, "{name}");
        node.assert_nothing_is_left_over(&id).await;
    }
    assert_eq!(node.running().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_video_fails_with_the_reason() {
    let node = Node::start(process_settings()).await;
    let video = node.run(&clip("text.mp4"), None).await;
    assert_eq!((video.status, code(&video)), (VideoStatus::Failed, "not_a_video"));
    node.assert_nothing_is_left_over(&video.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_digest_is_checked_first() {
    let node = Node::start(process_settings()).await;
    let right = format!("sha256:{}", sha256("plain.mp4"));
    assert_eq!(node.run(&clip("plain.mp4"), Some(right)).await.status, VideoStatus::Ready);
    let video = node.run(&clip("plain.mp4"), Some("sha1:00".into())).await;
    assert_eq!((video.status, code(&video)), (VideoStatus::Failed, "digest_mismatch"));
    assert_eq!(video.media, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_lost_once_costs_one_attempt() {
    for action in ["crash", "hang"] {
        let (_dir, environment) = fault(action, "inspect", 1);
        let watchdog = Duration::from_secs(5);
        let node = Node::start(pool::ProcessSettings { environment, watchdog, ..process_settings() }).await;
        let video = node.run(&clip("plain.mp4"), None).await;
        assert_eq!(video.status, VideoStatus::Ready, "{action}: {:?}", video.failure);
        assert_eq!(node.attempts(&video.id, WorkKind::Inspect).await, Attempts { crashed: 1, interrupted: 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_kills_two_workers_fails_its_video_alone() {
    let (_dir, environment) = fault("crash", "inspect", 2);
    let node = Node::start(pool::ProcessSettings { environment, ..process_settings() }).await;
    let video = node.run(&clip("plain.mp4"), None).await;
    assert_eq!((video.status, code(&video)), (VideoStatus::Failed, "decoder_crashed"));
    assert_eq!(node.run(&clip("plain.mp4"), None).await.status, VideoStatus::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_across_restarts() {
    let (_dir, environment) = fault("crash", "inspect", 1);
    let node = Node::start(pool::ProcessSettings { environment, ..process_settings() }).await;
    let id = node.upload(&clip("plain.mp4"), None).await;
    // As an earlier life of the server left it: one worker lost, one attempt under way when it was killed.
    let catalog = &node.storage.catalog;
    catalog.begin_attempt(&id, WorkKind::Inspect, node::now()).await.unwrap();
    catalog.end_attempt(&id, WorkKind::Inspect, AttemptEnd::Crashed, node::now()).await.unwrap();
    catalog.begin_attempt(&id, WorkKind::Inspect, node::now()).await.unwrap();
    assert_eq!(node.transcodes.resume().await, Ok(1));
    let video = node.settled(&id).await;
    assert_eq!((video.status, code(&video)), (VideoStatus::Failed, "decoder_crashed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbnail_that_cannot_be_made_does_not_fail_the_video() {
    let (_dir, environment) = fault("crash", "thumbnail", 9);
    let node = Node::start(pool::ProcessSettings { environment, ..process_settings() }).await;
    let video = node.run(&clip("plain.mp4"), None).await;
    assert_eq!((video.status, video.thumbnails.len()), (VideoStatus::Ready, 0));
    node.assert_nothing_is_left_over(&video.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_deleted_in_the_middle_leaves_no_files() {
    let (_dir, environment) = fault("hang", "remux", 1);
    let watchdog = Duration::from_millis(800);
    let node = Node::start(pool::ProcessSettings { environment, watchdog, ..process_settings() }).await;
    let id = node.upload(&clip("plain.mkv"), None).await;
    node.transcodes.start(id.clone()).await.unwrap();
    node.until(async || node.video(&id).await.is_some_and(|video| video.media.is_some())).await;
    node.storage.catalog.delete_video(&id, node::now()).await.unwrap();
    node.until(async || node.running().await == 0).await;
    assert_eq!(node.made(&id).await, Vec::<String>::new());
    assert!(node.work_dir_is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_does_not_wait_for_long_work() {
    let (_dir, environment) = fault("hang", "remux", 9);
    let watchdog = Duration::from_secs(30);
    let node = Node::start(pool::ProcessSettings { environment, watchdog, ..process_settings() }).await;
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let id = node.upload(&clip("plain.mkv"), None).await;
        node.transcodes.start(id.clone()).await.unwrap();
        stuck.push(id);
    }
    node.until(async || node.doing("Work(Remux)").await == 2).await;
    let id = node.upload(&clip("plain.mp4"), None).await;
    let started = Instant::now();
    node.transcodes.start(id.clone()).await.unwrap();
    node.until(async || node.video(&id).await.is_some_and(|video| video.is_playable())).await;
    assert!(started.elapsed() < watchdog, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_when_the_server_is_started_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (_dir, environment) = fault("hang", "remux", 1);
    let first = Node::start_in(dir.path(), pool::ProcessSettings { environment, ..process_settings() }).await;
    let id = first.upload(&clip("plain.mkv"), None).await;
    first.transcodes.start(id.clone()).await.unwrap();
    first.until(async || first.doing("Work(Remux)").await == 1).await;
    first.stop().await;
    let second = Node::start_in(dir.path(), process_settings()).await;
    assert_eq!(second.transcodes.resume().await, Ok(1));
    assert_eq!(second.settled(&id).await.status, VideoStatus::Ready);
    assert_eq!(second.attempts(&id, WorkKind::Remux).await, Attempts { crashed: 0, interrupted: 1 });
    second.assert_nothing_is_left_over(&id).await;
}
