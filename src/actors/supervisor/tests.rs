use std::sync::atomic::{AtomicUsize, Ordering};

use ractor_cluster::RactorMessage;

use super::*;
use crate::domain::time::Timestamp;

/// A clock that stands still: all restarts fall into one window.
struct Standing;
impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
}

#[derive(RactorMessage)]
enum BrittleMessage {
    Fail,
    Panic,
    Finish,
    Describe(DescribeReply),
}

struct BrittleActor;
impl Actor for BrittleActor {
    type Msg = BrittleMessage;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle(&self, me: ActorRef<Self::Msg>, message: Self::Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match message {
            BrittleMessage::Fail => return Err("told to fail".into()),
            BrittleMessage::Panic => panic!("told to panic"),
            BrittleMessage::Finish => me.stop(None),
            BrittleMessage::Describe(reply) => reply.send(Ok(Description::leaf("brittle", "x", &1))),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Brittles {
    started: AtomicUsize,
}
impl Family for Brittles {
    type Key = String;
    type Seed = ();
    type Message = BrittleMessage;
    const NAME: &'static str = "brittles";
    async fn spawn(&self, _: &String, (): &(), supervisor: ActorCell) -> Result<ActorRef<BrittleMessage>, SpawnErr> {
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Actor::spawn_linked(None, BrittleActor, (), supervisor).await?.0)
    }
    fn describe(reply: DescribeReply) -> BrittleMessage {
        BrittleMessage::Describe(reply)
    }
}

async fn family(restarts_max: usize) -> (FamilyHandle<Brittles>, Arc<Brittles>) {
    let family = Arc::new(Brittles::default());
    let policy = RestartPolicy { restarts_max, backoff_first: Duration::from_millis(1), ..RestartPolicy::default() };
    let arguments =
        SupervisorArguments { family: Arc::clone(&family), policy, children_max: 2, clock: Arc::new(Standing) };
    let (actor, _) = Actor::spawn(None, Supervisor::default(), arguments).await.unwrap();
    let handle = FamilyHandle::default();
    handle.install(Some(actor));
    (handle, family)
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(5), async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("condition within five seconds");
}

#[tokio::test]
async fn a_failed_or_panicked_child_is_restarted_and_a_finished_one_is_forgotten() {
    let (handle, family) = family(5).await;
    let child = handle.find_or_start("a".into(), ()).await.unwrap();
    child.tell(BrittleMessage::Fail).unwrap();
    until(async || family.started.load(Ordering::Relaxed) == 2).await;
    until(async || handle.find("a".into()).await.unwrap().is_some()).await;
    handle.find("a".into()).await.unwrap().unwrap().tell(BrittleMessage::Panic).unwrap();
    until(async || family.started.load(Ordering::Relaxed) == 3).await;
    until(async || handle.find("a".into()).await.unwrap().is_some()).await;
    handle.find("a".into()).await.unwrap().unwrap().tell(BrittleMessage::Finish).unwrap();
    until(async || handle.list().await.unwrap().is_empty()).await;
    assert_eq!(handle.describe().await.unwrap().state["restarts"], 2);
}

#[tokio::test]
async fn a_child_that_fails_too_often_stays_down_and_says_so() {
    let (handle, family) = family(1).await;
    for _ in 0..2 {
        let child = handle.find_or_start("a".into(), ()).await.unwrap();
        child.tell(BrittleMessage::Fail).unwrap();
        let before = family.started.load(Ordering::Relaxed);
        until(async || {
            handle.describe().await.unwrap().state["running"] == 0 || family.started.load(Ordering::Relaxed) > before
        })
        .await;
        until(async || handle.describe().await.unwrap().state["backing_off"] == 0).await;
    }
    assert_eq!(handle.find_or_start("a".into(), ()).await.err(), Some(ChildError::GivenUp));
    assert_eq!(family.started.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_number_of_children_is_bounded_and_each_describes_itself() {
    let (handle, _) = family(1).await;
    handle.find_or_start("a".into(), ()).await.unwrap();
    handle.find_or_start("b".into(), ()).await.unwrap();
    assert_eq!(handle.find_or_start("c".into(), ()).await.err(), Some(ChildError::TooMany));
    assert!(handle.find("never".into()).await.unwrap().is_none());
    assert_eq!(handle.describe().await.unwrap().children.len(), 2);
}
