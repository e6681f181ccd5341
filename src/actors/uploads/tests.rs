use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::actors::supervisor::{Supervisor, SupervisorArguments, SupervisorMessage};
use crate::domain::account::{Email, NewUser, User, Username};
use crate::domain::cluster::{NodeLife, NodeName};
use crate::domain::ids::ChannelId;
use crate::domain::restart::RestartPolicy;
use crate::domain::time::Timestamp;
use crate::domain::upload::machine::{AfterAppend, UploadInput};
use crate::domain::video::{Privacy, VideoStatus};
use crate::storage::{Embedded, EmbeddedOptions, Storage};

struct SetClock(AtomicI64);
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let draw = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        bytes.iter_mut().zip(draw.iter().cycle()).for_each(|(byte, draw)| *byte = *draw);
    }
}

struct World {
    storage: Storage,
    clock: Arc<SetClock>,
    uploads: UploadsHandle,
    supervisor: ActorRef<SupervisorMessage<Uploads>>,
    user: User,
    completed: Arc<Mutex<Vec<VideoId>>>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Embedded::open(dir.path(), EmbeddedOptions::default()).await.unwrap();
        let clock = Arc::new(SetClock(1_000.into()));
        let entropy = Arc::new(Counting(1.into()));
        let completed: Arc<Mutex<Vec<VideoId>>> = Arc::default();
        let seen = Arc::clone(&completed);
        let context = Arc::new(Uploads {
            catalog: storage.catalog.clone(),
            store: storage.uploads.clone(),
            direct: None,
            blobs: storage.blobs.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            limits: limits(),
            session_idle: Duration::from_secs(60),
            nodes: crate::actors::nodes::NodesHandle::alone(
                NodeLife { node: NodeName::alone(), epoch: 1 },
                storage.catalog.clone(),
            ),
            on_complete: Arc::new(move |video| seen.lock().unwrap().push(video)),
        });
        let new = NewUser {
            id: UserId::random(&*entropy),
            channel_id: ChannelId::random(&*entropy),
            username: Username::parse("alice").unwrap(),
            email: Email::parse("a@example.org").unwrap(),
            password_hash: "x".into(),
            role: Role::Creator,
        };
        let user = storage.catalog.register(new, clock.now()).await.unwrap();
        let uploads = UploadsHandle::new(context);
        let (handle, family) = uploads.family();
        let policy = RestartPolicy { backoff_first: Duration::from_millis(1), ..RestartPolicy::default() };
        let arguments = SupervisorArguments { family, policy, children_max: 100, clock: clock.clone() };
        let (supervisor, _) = Actor::spawn(None, Supervisor::default(), arguments).await.unwrap();
        handle.install(Some(supervisor.clone()));
        Self { storage, clock, uploads, supervisor, user, completed, _dir: dir }
    }

    async fn create(&self, new: NewUpload) -> UploadHandle {
        self.uploads.create(new).await.unwrap()
    }

    fn new_upload(&self, length: Option<u64>) -> NewUpload {
        NewUpload {
            user_id: self.user.id.clone(),
            protocol: UploadProtocol::Tus,
            length,
            concatenation: Concatenation::None,
            details: VideoDetails {
                title: "clip".into(),
                description: String::new(),
                category: None,
                tags: Vec::new(),
                privacy: Privacy::Private,
            },
            file_name: None,
            file_type: None,
            expected_digest: None,
            raw_metadata: None,
            is_direct: false,
        }
    }
}

fn limits() -> UploadLimits {
    UploadLimits {
        size_bytes_max: 10_000,
        quota_bytes_per_user: 20_000,
        chunk_bytes: 100,
        chunk_bytes_max: 1000,
        expiry_secs: 3600,
        writer_stall_ms: 200,
        disk_reserve_bytes: 0,
        open_per_user_max: 5,
        concatenation_parts_max: 3,
    }
}

fn at(offset: u64) -> AppendRequest {
    AppendRequest { offset, body_length: None, declares: None, checked: false, may_overlap: false }
}

async fn lease(handle: &UploadHandle, request: AppendRequest) -> WriterLease {
    handle.begin_append(request).await.unwrap().expect("a lease")
}

async fn append(handle: &UploadHandle, offset: u64, bytes: &'static [u8]) -> UploadStatus {
    let lease = lease(handle, at(offset)).await;
    let mut writer = lease.open().await.unwrap();
    writer.write(Bytes::from_static(bytes)).await.unwrap();
    let offset = writer.finish().await.unwrap();
    lease.end(offset, AfterAppend::Continue).await.unwrap()
}

#[tokio::test]
async fn an_upload_becomes_a_video_whose_source_is_its_file() {
    let world = World::new().await;
    let handle = world.create(world.new_upload(Some(11))).await;
    assert_eq!(append(&handle, 0, b"hello ").await.offset, 6);
    let status = append(&handle, 6, b"world").await;
    assert_eq!((status.offset, status.state), (11, UploadState::Complete));
    let video_id = handle.upload().video_id.clone().unwrap();
    assert_eq!(*world.completed.lock().unwrap(), std::slice::from_ref(&video_id));
    let video = world.storage.catalog.video(&video_id).await.unwrap().unwrap();
    assert_eq!((video.status, video.file_size), (VideoStatus::Processing, 11));
    let bytes = world.storage.blobs.read_all(&video.source[0].key).await.unwrap();
    assert_eq!(bytes, "hello world");
}

#[tokio::test]
async fn a_writer_dropped_without_a_word_keeps_its_bytes_and_the_next_goes_on() {
    let world = World::new().await;
    let handle = world.create(world.new_upload(Some(11))).await;
    let first = lease(&handle, at(0)).await;
    let mut writer = first.open().await.unwrap();
    writer.write(Bytes::from_static(b"hello ")).await.unwrap();
    drop(writer);
    drop(first);
    assert_eq!(handle.inspect(false).await.unwrap().offset, 6);
    assert_eq!(append(&handle, 6, b"world").await.state, UploadState::Complete);
}

#[tokio::test]
async fn a_silent_writer_is_told_to_stop_and_the_second_one_goes_on() {
    let world = World::new().await;
    let handle = world.create(world.new_upload(Some(11))).await;
    let first = lease(&handle, at(0)).await;
    let mut writer = first.open().await.unwrap();
    writer.write(Bytes::from_static(b"hello ")).await.unwrap();
    first.note_bytes(6);
    world.clock.0.fetch_add(500, Ordering::Relaxed);
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.begin_append(at(6)).await }
    });
    first.cancelled().await;
    let offset = writer.finish().await.unwrap();
    assert_eq!(first.end(offset, AfterAppend::Cut).await.unwrap().offset, 6);
    let second = waiting.await.unwrap().unwrap().expect("a lease");
    assert_eq!((second.grant().offset, second.grant().generation), (6, 2));
}

#[tokio::test]
async fn a_second_writer_is_refused_while_the_first_brings_bytes() {
    let world = World::new().await;
    let handle = world.create(world.new_upload(Some(11))).await;
    let first = lease(&handle, at(0)).await;
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.begin_append(at(0)).await }
    });
    let mut waiting = std::pin::pin!(waiting);
    let refused = loop {
        first.note_bytes(1);
        tokio::select! {
            outcome = &mut waiting => break outcome.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    };
    assert_eq!(refused.err(), Some(UploadError::Locked));
}

#[tokio::test]
async fn a_restarted_session_starts_from_what_is_durable_and_ends_the_old_writer() {
    let world = World::new().await;
    let handle = world.create(world.new_upload(Some(11))).await;
    let first = lease(&handle, at(0)).await;
    let mut writer = first.open().await.unwrap();
    writer.write(Bytes::from_static(b"hello ")).await.unwrap();
    let (_, session) = world.uploads.family().0.list().await.unwrap().pop().unwrap();
    // A measure that failed is what makes a session give up on its state.
    let failed = UploadInput::OffsetMeasured(Err(UploadFault::Unavailable("disk gone".into())));
    session.tell(UploadMessage::Input(failed)).unwrap();
    first.cancelled().await;
    drop(writer);
    assert_eq!(handle.inspect(false).await.unwrap().offset, 6);
    assert_eq!(world.supervisor.get_status(), ractor::ActorStatus::Running);
    assert_eq!(append(&handle, 6, b"world").await.state, UploadState::Complete);
}

#[tokio::test]
async fn sizes_quotas_and_counts_are_refused_before_anything_is_kept() {
    let world = World::new().await;
    let refused = |outcome: Result<UploadHandle, UploadError>| outcome.err().unwrap();
    let too_large = refused(world.uploads.create(world.new_upload(Some(10_001))).await);
    assert_eq!(too_large, UploadError::TooLarge { limit: 10_000 });
    for _ in 0..2 {
        world.create(world.new_upload(Some(10_000))).await;
    }
    let quota = refused(world.uploads.create(world.new_upload(Some(1))).await);
    assert_eq!(quota, UploadError::Fault(UploadFault::Quota { used: 20_000, limit: 20_000 }));
    for _ in 0..3 {
        world.create(world.new_upload(None)).await;
    }
    let open = refused(world.uploads.create(world.new_upload(None)).await);
    assert_eq!(open, UploadError::Fault(UploadFault::Quota { used: 5, limit: 5 }));
    let untitled = NewUpload {
        details: VideoDetails { title: String::new(), ..world.new_upload(None).details },
        ..world.new_upload(None)
    };
    assert!(matches!(refused(world.uploads.create(untitled).await), UploadError::Invalid(_)));
}

#[tokio::test]
async fn parts_become_one_video_without_copying() {
    let world = World::new().await;
    let partial = |length| NewUpload { concatenation: Concatenation::Partial, ..world.new_upload(Some(length)) };
    let (first, second) = (world.create(partial(6)).await, world.create(partial(5)).await);
    append(&first, 0, b"hello ").await;
    let ids = vec![first.upload().id.clone(), second.upload().id.clone()];
    let early = world.uploads.concatenate(world.new_upload(None), ids.clone()).await.err().unwrap();
    assert_eq!(early, UploadError::BadPart(ids[1].to_string()));
    append(&second, 0, b"world").await;
    assert!(world.completed.lock().unwrap().is_empty(), "parts make no video");
    let whole = world.uploads.concatenate(world.new_upload(None), ids.clone()).await.unwrap();
    let status = whole.inspect(false).await.unwrap();
    assert_eq!((status.offset, status.length, status.state), (11, Some(11), UploadState::Complete));
    let video = world.storage.catalog.video(whole.upload().video_id.as_ref().unwrap()).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    for extent in &video.source {
        bytes.extend_from_slice(&world.storage.blobs.read_all(&extent.key).await.unwrap());
    }
    assert_eq!(bytes, b"hello world");
    let taken = first.terminate("terminated").await.err().unwrap();
    assert!(matches!(taken, UploadError::Fault(UploadFault::InUse(_))), "{taken:?}");
    let many = world.uploads.concatenate(world.new_upload(None), vec![ids[0].clone(); 4]).await.err().unwrap();
    assert_eq!(many, UploadError::TooManyParts { limit: 3 });
}

#[tokio::test]
async fn expired_uploads_end_with_their_bytes_and_whole_ones_are_completed() {
    let world = World::new().await;
    let abandoned = world.create(world.new_upload(Some(11))).await;
    append(&abandoned, 0, b"hello ").await;
    assert!(!world.uploads.expire(abandoned.upload().clone()).await.unwrap(), "not due");
    world.clock.0.fetch_add(2 * 3_600_000, Ordering::Relaxed);
    let due = world.storage.catalog.expired_uploads(world.clock.now(), 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert!(world.uploads.expire(due[0].clone()).await.unwrap());
    assert_eq!(abandoned.inspect(false).await.err(), Some(UploadError::Ended));
    assert!(world.storage.uploads.offset(&abandoned.upload().id).await.is_err(), "bytes are gone");
    assert!(world.storage.catalog.expired_uploads(world.clock.now(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_the_owner_and_administrators_find_an_upload() {
    let world = World::new().await;
    let handle = world.create(world.new_upload(Some(1))).await;
    let id = &handle.upload().id;
    let stranger = UserId::parse("usr_stranger1").unwrap();
    assert!(world.uploads.find(id, &world.user.id, Role::Creator).await.is_ok());
    assert_eq!(world.uploads.find(id, &stranger, Role::Moderator).await.err(), Some(UploadError::NotFound));
    assert!(world.uploads.find(id, &stranger, Role::Admin).await.is_ok());
}

#[tokio::test]
async fn a_session_describes_itself() {
    let world = World::new().await;
    let handle = world.create(world.new_upload(Some(11))).await;
    append(&handle, 0, b"hello ").await;
    let description = world.uploads.family().0.describe().await.unwrap();
    let session = &description.children[0];
    assert_eq!((session.kind, session.key.as_deref()), ("upload_session", Some(handle.upload().id.as_str())));
    assert_eq!((session.state["phase"].as_str(), session.state["offset"].as_u64()), (Some("idle"), Some(6)));
}
