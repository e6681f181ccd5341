use ractor::ActorRef;

use super::*;
use crate::actors::supervisor::{Supervisor, SupervisorArguments, SupervisorMessage};
use crate::domain::playback::machine::PlayerEvent;
use crate::domain::restart::RestartPolicy;
use crate::storage::{Embedded, EmbeddedOptions, Storage};
use crate::system::{SystemClock, SystemEntropy};

struct Fixture {
    handle: PlaybackHandle,
    supervisor: ActorRef<SupervisorMessage<Playback>>,
    storage: Storage,
    _directory: tempfile::TempDir,
}

async fn start(storage: &Storage) -> (PlaybackHandle, ActorRef<SupervisorMessage<Playback>>) {
    let context = Playback {
        nodes: crate::actors::nodes::NodesHandle::alone(
            crate::domain::cluster::NodeLife { node: crate::domain::cluster::NodeName::alone(), epoch: 1 },
            Arc::clone(&storage.catalog),
        ),
        catalog: Arc::clone(&storage.catalog),
        journal: Arc::clone(&storage.journal),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        limits: PlaybackLimits { idle_ms: 60_000, view_after_ms: 1_000 },
    };
    let handle = PlaybackHandle::new(Arc::new(context));
    let (installed, family) = handle.family();
    let policy = RestartPolicy::default();
    let arguments = SupervisorArguments { family, policy, children_max: 10, clock: Arc::new(SystemClock) };
    let (supervisor, _) = Actor::spawn(None, Supervisor::default(), arguments).await.unwrap();
    installed.install(Some(supervisor.clone()));
    (handle, supervisor)
}

async fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let storage = Embedded::open(directory.path(), EmbeddedOptions::default()).await.unwrap();
    let (handle, supervisor) = start(&storage).await;
    Fixture { handle, supervisor, storage, _directory: directory }
}

fn beat(sequence: u64, position_ms: u64) -> Heartbeat {
    Heartbeat { sequence, position_ms, events: vec![PlayerEvent::Play], ..Heartbeat::default() }
}

fn video() -> VideoId {
    VideoId::random(&SystemEntropy)
}

#[tokio::test]
async fn beacons_reach_their_session_and_no_other() {
    let fixture = fixture().await;
    let video = video();
    let session = fixture.handle.open(&video, 60_000, None).await.unwrap();
    fixture.handle.heartbeat(session.clone(), video.clone(), beat(0, 0)).await.unwrap();
    let other = VideoId::random(&SystemEntropy);
    let refused = fixture.handle.heartbeat(session.clone(), other, beat(1, 0)).await;
    assert_eq!(refused, Err(PlaybackError::OtherVideo));
    let unknown = PlaybackSessionId::random(&SystemEntropy);
    assert_eq!(fixture.handle.heartbeat(unknown, video, beat(0, 0)).await, Err(PlaybackError::NoSession));
}

#[tokio::test]
async fn an_acknowledged_beacon_survives_the_death_of_its_session_and_supervisor() {
    let fixture = fixture().await;
    let video = video();
    let session = fixture.handle.open(&video, 60_000, None).await.unwrap();
    fixture.handle.heartbeat(session.clone(), video.clone(), beat(0, 0)).await.unwrap();
    fixture.handle.heartbeat(session.clone(), video.clone(), beat(1, 700)).await.unwrap();
    fixture.supervisor.get_cell().kill();
    let (again, _supervisor) = start(&fixture.storage).await;
    assert_eq!(again.restore().await.unwrap(), 1);
    again.heartbeat(session.clone(), video, beat(2, 900)).await.unwrap();
    let (family, _) = again.family();
    let description = family.describe().await.unwrap();
    assert_eq!(description.children.first().unwrap().state["position_ms"], 900);
}

#[tokio::test]
async fn a_closed_session_leaves_nothing_in_the_journal() {
    let fixture = fixture().await;
    let video = video();
    let session = fixture.handle.open(&video, 60_000, None).await.unwrap();
    fixture.handle.heartbeat(session, video, beat(0, 0)).await.unwrap();
    assert_eq!(fixture.storage.journal.scan(JOURNAL_TREE).await.unwrap().len(), 1);
    fixture.handle.close_all().await;
    assert_eq!(fixture.storage.journal.scan(JOURNAL_TREE).await.unwrap(), []);
}
