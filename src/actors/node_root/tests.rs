use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::time::Timestamp;

struct Standing;
impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
}

struct Brittle;
impl Actor for Brittle {
    type Msg = ();
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        panic!("told to fail")
    }
}

fn branch(post: Post<()>, starts: Arc<AtomicUsize>) -> Branch {
    Branch::new(
        "brittle",
        move |root| {
            let (post, starts) = (post.clone(), Arc::clone(&starts));
            Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, Brittle, (), root).await?;
                post.install(Some(actor.clone()));
                starts.fetch_add(1, Ordering::Release);
                Ok(actor.get_cell())
            })
        },
        || Box::pin(async { Ok(Description::leaf("brittle", "b", &true)) }),
    )
}

async fn tree(restarts_max: usize) -> (Tree, RootHandle, Post<()>, Arc<AtomicUsize>) {
    let (post, starts) = (Post::default(), Arc::new(AtomicUsize::new(0)));
    let policy = RestartPolicy { restarts_max, backoff_first: Duration::from_millis(1), ..RestartPolicy::default() };
    let branches = vec![branch(post.clone(), Arc::clone(&starts))];
    let arguments = RootArguments { branches, policy, clock: Arc::new(Standing) };
    let handle = RootHandle::default();
    (Tree::grow_behind(handle.clone(), arguments).await.unwrap(), handle, post, starts)
}

#[tokio::test]
async fn a_failed_branch_is_started_again_behind_the_same_post() {
    let (tree, root, post, starts) = tree(5).await;
    post.tell(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), async {
        while starts.load(Ordering::Acquire) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(root.describe().await.unwrap().children.len(), 1);
    post.tell(()).unwrap();
    tree.stop().await;
}

#[tokio::test]
async fn a_branch_that_cannot_be_kept_up_ends_the_node() {
    let (mut tree, _, post, _) = tree(0).await;
    post.tell(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), tree.collapsed()).await.expect("the root ends");
}
