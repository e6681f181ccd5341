use bytes::Bytes;

use super::*;
use crate::actors::supervisor::{Supervisor, SupervisorArguments};
use crate::actors::uploads::Uploads;
use crate::domain::cluster::{NodeLife, NodeName};
use crate::domain::ids::UploadId;
use crate::domain::restart::RestartPolicy;
use crate::domain::upload::UploadLimits;
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
    let context = JanitorContext {
        nodes: crate::actors::nodes::NodesHandle::alone(
            NodeLife { node: NodeName::alone(), epoch: 1 },
            Arc::clone(&storage.catalog),
        ),
        catalog: Arc::clone(&storage.catalog),
        blobs: Arc::clone(&storage.blobs),
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
