//! As much of a node as transcode jobs need: storage, workers, and the family's supervisor.
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use playhouse::actors::node_root::{Branch, RootArguments, Tree};
use playhouse::actors::nodes::NodesHandle;
use playhouse::actors::supervisor::SupervisorArguments;
use playhouse::actors::transcode_job::{LadderDependencies, TranscodeDependencies};
use playhouse::actors::transcode_worker::{PoolSettings, ProcessSettings, WorkerPoolHandle};
use playhouse::actors::transcodes::{JOBS_MAX, TranscodesHandle};
use playhouse::domain::account::{Email, NewUser, Role, User, Username};
use playhouse::domain::cluster::{NodeLife, NodeName};
use playhouse::domain::ids::{ChannelId, PlaybackId, UploadId, UserId, VideoId};
use playhouse::domain::ladder::LadderSettings;
use playhouse::domain::ports::{Clock, UploadQuota};
use playhouse::domain::restart::RestartPolicy;
use playhouse::domain::time::Timestamp;
use playhouse::domain::transcode::{AttemptEnd, Attempts, WorkKind};
use playhouse::domain::upload::{Concatenation, Upload, UploadProtocol, UploadState};
use playhouse::domain::video::{Privacy, Video, VideoDetails, VideoStatus};
use playhouse::media::work::MediaLimits;
use playhouse::settings::TranscodeSettings;
use playhouse::storage::{Embedded, EmbeddedOptions, Storage};
use playhouse::system::{SystemClock, SystemEntropy};
use tempfile::TempDir;

use crate::pool::limits;

/// Longest wait for a condition: far beyond what it takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

pub struct Node {
    pub storage: Storage,
    pub transcodes: TranscodesHandle,
    tree: Tree,
    owner: User,
    _dir: Option<TempDir>,
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

async fn owner(storage: &Storage) -> User {
    if let Some(user) = storage.catalog.user_by_name("ann").await.unwrap() {
        return user;
    }
    let user = NewUser {
        id: UserId::random(&SystemEntropy),
        channel_id: ChannelId::random(&SystemEntropy),
        username: Username::parse("ann").unwrap(),
        email: Email::parse("ann@example.org").unwrap(),
        password_hash: "$argon2id$test".into(),
        role: Role::Creator,
    };
    storage.catalog.register(user, now()).await.unwrap()
}

fn new_upload(owner: &User, bytes: u64, expected_digest: Option<String>) -> Upload {
    let text = String::new;
    let (title, tags, category) = ("a clip".into(), Vec::new(), None);
    Upload {
        id: UploadId::random(&SystemEntropy),
        user_id: owner.id.clone(),
        video_id: Some(VideoId::random(&SystemEntropy)),
        protocol: UploadProtocol::Tus,
        state: UploadState::Open,
        length: Some(bytes),
        concatenation: Concatenation::None,
        details: VideoDetails { title, description: text(), category, tags, privacy: Privacy::Public },
        file_name: None,
        file_type: None,
        expected_digest,
        raw_metadata: None,
        part_bytes: None,
        extents: Vec::new(),
        created_at: now(),
        expires_at: now() + Duration::from_secs(3600),
    }
}

fn ladder() -> LadderDependencies {
    let settings = TranscodeSettings { preset: "ultrafast".into(), ..TranscodeSettings::default() };
    LadderDependencies {
        // Small chunks, so that short clips have several.
        settings: LadderSettings { chunk_ms: 2000, ..settings.ladder() },
        av1: settings.av1,
        encoder: settings.encoder.clone(),
        encoders: Arc::default(),
        lease: NodeLife { node: NodeName::alone(), epoch: now().as_millis() },
        in_flight_max: 2,
        make_wait: PATIENCE,
    }
}

impl Node {
    pub async fn start(process: ProcessSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Self::start_in(dir.path(), process).await;
        node._dir = Some(dir);
        node
    }

    pub async fn start_in(dir: &Path, process: ProcessSettings) -> Self {
        let storage = Embedded::open(dir, EmbeddedOptions::default()).await.unwrap();
        let workers = WorkerPoolHandle::default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let transcodes = TranscodesHandle::new(Arc::new(TranscodeDependencies {
            catalog: Arc::clone(&storage.catalog),
            blobs: Arc::clone(&storage.blobs),
            assets: Arc::clone(&storage.assets),
            clock: Arc::clone(&clock),
            door: None,
            nodes: NodesHandle::alone(ladder().lease, Arc::clone(&storage.catalog)),
            workers: workers.clone(),
            work_dir: storage.data_dir.work(),
            limits: MediaLimits { segment_duration: Duration::from_secs(1), ..limits() },
            attempts_max: 2,
            ladder: ladder(),
        }));
        let policy = RestartPolicy::default();
        let (handle, family) = transcodes.family();
        let supervisor =
            SupervisorArguments { family, policy: policy.clone(), children_max: JOBS_MAX, clock: Arc::clone(&clock) };
        let pool = workers.branch(PoolSettings { processes: 1, process });
        let branches = vec![pool, Branch::family(handle, supervisor)];
        let tree = Tree::grow(RootArguments { branches, policy, clock }).await.unwrap();
        let owner = owner(&storage).await;
        Self { storage, transcodes, tree, owner, _dir: None }
    }

    /// Ends all actors, and with them their workers, and closes the storage.
    pub async fn stop(self) {
        self.tree.stop().await;
    }

    /// Stores a file as a complete upload; starts no job.
    pub async fn upload(&self, file: &Path, digest: Option<String>) -> VideoId {
        let bytes = std::fs::read(file).unwrap();
        let upload = new_upload(&self.owner, bytes.len() as u64, digest);
        let (id, video_id) = (upload.id.clone(), upload.video_id.clone().unwrap());
        let quota = UploadQuota { bytes: 1 << 40, open_uploads: 100 };
        let playback_id = PlaybackId::random(&SystemEntropy);
        self.storage.catalog.create_upload(upload, Some(playback_id), quota).await.unwrap();
        self.storage.uploads.create(&id).await.unwrap();
        let mut writer = self.storage.uploads.append(&id, false).await.unwrap();
        writer.write(Bytes::from(bytes)).await.unwrap();
        writer.finish().await.unwrap();
        let extents = self.storage.uploads.seal(&id).await.unwrap();
        self.storage.catalog.complete_upload(&id, extents, now()).await.unwrap();
        video_id
    }

    /// Uploads, starts the job, and waits until it has come to an end.
    pub async fn run(&self, file: &Path, digest: Option<String>) -> Video {
        let id = self.upload(file, digest).await;
        self.transcodes.start(id.clone()).await.unwrap();
        self.settled(&id).await
    }

    pub async fn video(&self, id: &VideoId) -> Option<Video> {
        self.storage.catalog.video(id).await.unwrap()
    }

    /// Waits until the video is ready or failed and its job is gone.
    pub async fn settled(&self, id: &VideoId) -> Video {
        let is_settled = |video: &Video| matches!(video.status, VideoStatus::Ready | VideoStatus::Failed);
        self.until(async || self.video(id).await.as_ref().is_some_and(is_settled)).await;
        self.until(async || self.transcodes.family().0.find(id.clone()).await.unwrap().is_none()).await;
        self.video(id).await.unwrap()
    }

    pub async fn until(&self, mut condition: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !condition().await {
            assert!(started.elapsed() < PATIENCE, "waited in vain");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Jobs that run.
    pub async fn running(&self) -> usize {
        self.transcodes.family().0.list().await.unwrap().len()
    }

    /// Jobs that say they are doing this.
    pub async fn doing(&self, what: &str) -> usize {
        let family = self.transcodes.family().0.describe().await.unwrap();
        family.children.iter().filter(|job| job.state.get("doing").is_some_and(|doing| *doing == what)).count()
    }

    /// Kinds of all events about a video, in order.
    pub async fn events(&self, id: &VideoId) -> Vec<String> {
        let events = self.storage.catalog.events_after(0, 1000).await.unwrap();
        events.into_iter().filter(|event| event.key == id.as_str()).map(|event| event.kind).collect()
    }

    /// Attempts that ended badly before now.
    pub async fn attempts(&self, id: &VideoId, work: WorkKind) -> Attempts {
        let attempts = self.storage.catalog.begin_attempt(id, work, now()).await.unwrap();
        self.storage.catalog.end_attempt(id, work, AttemptEnd::Withdrawn, now()).await.unwrap();
        attempts
    }

    /// Keys of what was made for a video.
    pub async fn made(&self, id: &VideoId) -> Vec<String> {
        let blobs: Vec<_> = self.storage.blobs.list(&format!("vod-abr/{id}")).try_collect().await.unwrap();
        blobs.into_iter().map(|blob| blob.key.0).collect()
    }

    pub fn work_dir_is_empty(&self) -> bool {
        std::fs::read_dir(self.storage.data_dir.work()).unwrap().next().is_none()
    }

    /// Every blob belongs to somebody, and no file in the making is left.
    pub async fn assert_nothing_is_left_over(&self, id: &VideoId) {
        let keys = self.made(id).await.into_iter().map(playhouse::domain::asset::BlobKey).collect();
        assert_eq!(self.storage.catalog.orphans(keys).await.unwrap(), Vec::new());
        assert!(self.work_dir_is_empty());
    }
}
