use bytes::Bytes;

use super::*;
use crate::actors::supervisor::{Supervisor, SupervisorArguments};
use crate::actors::uploads::Uploads;
use crate::domain::account::{Email, NewUser, Role as AccountRole, Username};
use crate::domain::asset::{Asset, AssetTrack, Extent, Segment, SegmentBytes};
use crate::domain::cluster::{NodeLife, NodeName};
use crate::domain::ids::{ChannelId, PlaybackId, UploadId, UserId, VideoId};
use crate::domain::ports::{Archive, UploadQuota, VideoStep};
use crate::domain::restart::RestartPolicy;
use crate::domain::upload::{Concatenation, Upload, UploadLimits, UploadProtocol, UploadState};
use crate::domain::video::{OriginalState, Privacy, VideoDetails};
use crate::media::testing::{empty_asset, empty_track};
use crate::settings::Settings;
use crate::storage::{Embedded, EmbeddedOptions, Storage};
use crate::system::{SystemClock, SystemEntropy};

async fn uploads(storage: &Storage) -> UploadsHandle {
    let limits: UploadLimits = Settings::default().uploads.limits();
    let context = Arc::new(Uploads {
        catalog: Arc::clone(&storage.catalog),
        store: Arc::clone(&storage.uploads),
        direct: None,
        blobs: Arc::clone(&storage.blobs),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits,
        session_idle: Duration::from_secs(60),
        nodes: crate::actors::nodes::NodesHandle::alone(
            NodeLife { node: NodeName::alone(), epoch: 1 },
            Arc::clone(&storage.catalog),
        ),
        on_complete: Arc::new(|_| ()),
    });
    let handle = UploadsHandle::new(context);
    let (installed, family) = handle.family();
    let policy = RestartPolicy::default();
    let arguments = SupervisorArguments { family, policy, children_max: 10, clock: Arc::new(SystemClock) };
    installed.install(Some(Actor::spawn(None, Supervisor::default(), arguments).await.unwrap().0));
    handle
}

async fn janitor(storage: &Storage, orphan_age: Duration) -> JanitorHandle {
    janitor_with(storage, orphan_age, |_| ()).await
}

async fn janitor_with(
    storage: &Storage,
    orphan_age: Duration,
    change: impl FnOnce(&mut OriginalsPolicy),
) -> JanitorHandle {
    let mut originals = OriginalsPolicy {
        archive: storage.archive.clone(),
        assets: Arc::clone(&storage.assets),
        retention: None,
        deletes: false,
        archive_retention: None,
    };
    change(&mut originals);
    let context = JanitorContext {
        nodes: crate::actors::nodes::NodesHandle::alone(
            NodeLife { node: NodeName::alone(), epoch: 1 },
            Arc::clone(&storage.catalog),
        ),
        catalog: Arc::clone(&storage.catalog),
        blobs: Arc::clone(&storage.blobs),
        originals,
        uploads: uploads(storage).await,
        resume_work: Arc::new(|| ()),
        clock: Arc::new(SystemClock),
        interval: Duration::from_secs(3600),
        orphan_age,
        orphan_interval: Duration::from_secs(3600),
    };
    let handle = JanitorHandle::default();
    let (actor, _) = Actor::spawn(None, JanitorActor, Arc::new(context)).await.unwrap();
    handle.0.install(Some(actor));
    handle
}

async fn stray(storage: &Storage) -> BlobKey {
    let key = BlobKey::new(format!("raw-uploads/{}/0", UploadId::random(&SystemEntropy)));
    storage.blobs.put(&key, Bytes::from_static(b"stray")).await.unwrap();
    key
}

#[tokio::test]
async fn an_old_file_that_nothing_refers_to_is_deleted_and_a_young_one_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Embedded::open(directory.path(), EmbeddedOptions::default()).await.unwrap();
    let key = stray(&storage).await;
    let patient = janitor(&storage, Duration::from_secs(3600)).await;
    assert_eq!(patient.run_round().await.unwrap(), RoundReport::default());
    assert!(storage.blobs.read_all(&key).await.is_ok());
    let strict = janitor(&storage, Duration::ZERO).await;
    assert_eq!(strict.run_round().await.unwrap(), RoundReport { orphans_deleted: 1, ..RoundReport::default() });
    assert!(storage.blobs.read_all(&key).await.is_err());
}

#[tokio::test]
async fn rounds_asked_for_at_once_are_all_answered() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Embedded::open(directory.path(), EmbeddedOptions::default()).await.unwrap();
    let janitor = janitor(&storage, Duration::ZERO).await;
    let rounds = futures::future::join_all((0..5).map(|_| janitor.run_round())).await;
    assert!(rounds.iter().all(Result::is_ok), "{rounds:?}");
}

/// Storage with an archive, and what it lies in.
async fn with_archive() -> (Storage, Arc<dyn Archive>, [tempfile::TempDir; 2]) {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let options = EmbeddedOptions { archive_dir: Some(dirs[1].path().join("originals")), ..EmbeddedOptions::default() };
    let storage = Embedded::open(dirs[0].path(), options).await.unwrap();
    let archive = storage.archive.clone().unwrap();
    (storage, archive, dirs)
}

const CONTENT: &[u8] = b"what somebody has uploaded";

async fn account(storage: &Storage) -> UserId {
    if let Some(user) = storage.catalog.user_by_name("alice").await.unwrap() {
        return user.id;
    }
    let new = NewUser {
        id: UserId::random(&SystemEntropy),
        channel_id: ChannelId::random(&SystemEntropy),
        username: Username::parse("alice").unwrap(),
        email: Email::parse("alice@example.org").unwrap(),
        password_hash: "$argon2id$test".into(),
        role: AccountRole::Creator,
    };
    storage.catalog.register(new, SystemClock.now()).await.unwrap().id
}

/// A video of which all is made, and its original.
async fn finished(storage: &Storage, tracks: Vec<AssetTrack>) -> (VideoId, Extent) {
    let (now, video) = (SystemClock.now(), VideoId::random(&SystemEntropy));
    let details = VideoDetails {
        title: "A test".into(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        privacy: Privacy::Public,
    };
    let upload = Upload {
        id: UploadId::random(&SystemEntropy),
        user_id: account(storage).await,
        video_id: Some(video.clone()),
        protocol: UploadProtocol::Tus,
        state: UploadState::Open,
        length: Some(CONTENT.len() as u64),
        concatenation: Concatenation::None,
        details,
        file_name: None,
        file_type: None,
        expected_digest: None,
        raw_metadata: None,
        part_bytes: None,
        extents: Vec::new(),
        created_at: now,
        expires_at: now + Duration::from_secs(3600),
    };
    let blob = Extent { key: BlobKey::new(format!("raw-uploads/{}/0", upload.id)), bytes: CONTENT.len() as u64 };
    let (quota, playback_id) = (UploadQuota { bytes: 1 << 30, open_uploads: 9 }, PlaybackId::random(&SystemEntropy));
    let upload = storage.catalog.create_upload(upload, Some(playback_id.clone()), quota).await.unwrap();
    storage.blobs.put(&blob.key, Bytes::from_static(CONTENT)).await.unwrap();
    storage.catalog.complete_upload(&upload.id, vec![blob.clone()], now).await.unwrap();
    let asset = Asset { video_id: video.clone(), playback_id, tracks, ..empty_asset() };
    let index = storage.assets.save_asset(&asset).await.unwrap();
    let published = VideoStep::Published { generation: 1, renditions: Vec::new(), blobs: vec![index] };
    storage.catalog.step_video(&video, published, now).await.unwrap();
    storage.catalog.step_video(&video, VideoStep::Finished, now).await.unwrap();
    (video, blob)
}

async fn bytes_in(storage: &Storage, area: &str) -> u64 {
    storage.blobs.list(area).try_fold(0, |sum, found| std::future::ready(Ok(sum + found.bytes))).await.unwrap()
}

async fn state(storage: &Storage, video: &VideoId) -> OriginalState {
    storage.catalog.video(video).await.unwrap().unwrap().original
}

#[tokio::test]
async fn a_move_is_taken_up_wherever_it_was_cut_off() {
    let length = CONTENT.len() as u64;
    for steps_done in 0..4 {
        let (storage, archive, _dirs) = with_archive().await;
        let (video, blob) = finished(&storage, Vec::new()).await;
        if steps_done > 0 {
            archive.store(&blob).await.unwrap();
        }
        if steps_done > 1 {
            let moving = (OriginalState::Stored, OriginalState::Moving);
            storage.catalog.move_original(&video, moving, SystemClock.now()).await.unwrap();
        }
        if steps_done > 2 {
            archive.release(&blob).await.unwrap();
        }
        // What is under way is no orphan, and is ended whatever the settings are now.
        let patient = janitor(&storage, Duration::ZERO).await;
        assert_eq!(patient.run_round().await.unwrap().orphans_deleted, 0);
        assert_eq!(storage.blobs.read_all(&blob.key).await.unwrap(), CONTENT);
        assert_eq!(state(&storage, &video).await == OriginalState::Archived, steps_done > 1);
        let strict = janitor_with(&storage, Duration::ZERO, |policy| policy.retention = Some(Duration::ZERO)).await;
        strict.run_round().await.unwrap();
        assert_eq!(state(&storage, &video).await, OriginalState::Archived);
        assert_eq!((bytes_in(&storage, "raw-uploads").await, bytes_in(&storage, "archive").await), (0, length));
        assert_eq!(storage.blobs.read_all(&blob.key).await.unwrap(), CONTENT);
        assert_eq!(strict.run_round().await.unwrap(), RoundReport::default(), "nothing is left to do");
        storage.catalog.delete_video(&video, SystemClock.now()).await.unwrap();
        strict.run_round().await.unwrap();
        assert_eq!(bytes_in(&storage, "archive").await, 0);
    }
}

#[tokio::test]
async fn what_nobody_needs_is_deleted_and_what_is_played_stays() {
    let (storage, archive, _dirs) = with_archive().await;
    let source = SegmentBytes::Virtual { first: 0, samples: 1 };
    let segment = Segment { start: 0, duration: 1, bytes: 1, source };
    let track = AssetTrack { segments: vec![segment], ..empty_track("v0-1") };
    let (gone, _) = finished(&storage, Vec::new()).await;
    let (played, original) = finished(&storage, vec![track]).await;
    let stray = Extent { key: BlobKey::new(format!("raw-uploads/{}/0", UploadId::random(&SystemEntropy))), bytes: 5 };
    storage.blobs.put(&stray.key, Bytes::from_static(b"stray")).await.unwrap();
    archive.store(&stray).await.unwrap();
    archive.release(&stray).await.unwrap();
    let janitor = janitor_with(&storage, Duration::ZERO, |policy| {
        policy.retention = Some(Duration::ZERO);
        policy.archive_retention = Some(Duration::ZERO);
    })
    .await;
    janitor.run_round().await.unwrap();
    janitor.run_round().await.unwrap();
    assert_eq!(state(&storage, &gone).await, OriginalState::Deleted);
    assert_eq!(state(&storage, &played).await, OriginalState::Archived);
    assert_eq!(storage.blobs.read_all(&original.key).await.unwrap(), CONTENT);
    assert_eq!(bytes_in(&storage, "archive").await, CONTENT.len() as u64, "neither the stray nor the deleted one");
}
