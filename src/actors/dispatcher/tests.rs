use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::domain::events::NewEvent;
use crate::domain::time::Timestamp;
use crate::storage::{Embedded, EmbeddedOptions};

fn listener(seen: mpsc::UnboundedSender<Event>) -> Listener {
    Arc::new(move |event| {
        let _ = seen.send(event);
        Box::pin(async {})
    })
}

#[tokio::test]
async fn listeners_are_told_each_new_event_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Embedded::open(directory.path(), EmbeddedOptions::default()).await.unwrap();
    let tell = async |number: u64| {
        let event = NewEvent::new("auth.failed", number, json!({}));
        storage.catalog.record_event(event, Timestamp::from_millis(1)).await.unwrap();
    };
    tell(0).await;
    let (tx, mut rx) = mpsc::unbounded_channel();
    let context = Arc::new(Context { catalog: Arc::clone(&storage.catalog), listeners: vec![listener(tx)] });
    let (actor, _) = Actor::spawn(None, DispatcherActor, context).await.unwrap();
    let post = Post::to(actor);
    loop {
        let described = post.ask(|reply| DispatcherMessage::Describe { reply }).await.unwrap();
        if described.state["handed_on"] == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    for number in 1..=20 {
        tell(number).await;
    }
    for number in 1..=20u64 {
        let event = tokio::time::timeout(Duration::from_secs(5), rx.recv()).await.unwrap().unwrap();
        assert_eq!(event.key, number.to_string(), "what was there before the start is not told");
    }
    assert!(rx.try_recv().is_err());
}
