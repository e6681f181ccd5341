use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::TryStreamExt;
use tokio::sync::{Notify, oneshot};

use super::*;

type Fetches = Flights<&'static str, BlobError>;

fn join<F>(flights: &Fetches, need: Need, fly: impl FnOnce(Pilot<BlobError>) -> F) -> (Passenger<BlobError>, bool)
where
    F: Future<Output = Result<(), BlobError>> + Send + 'static,
{
    match flights.join(("it", need), || None, fly) {
        Joined::Passenger { passenger, is_first } => (passenger, is_first),
        Joined::Found(_) => unreachable!("nothing is there"),
    }
}

async fn none(_: Pilot<BlobError>) -> Result<(), BlobError> {
    unreachable!("it is under way")
}

#[tokio::test]
async fn all_who_ask_get_the_bytes_of_one_fetch_as_they_come() {
    let flights = Fetches::default();
    let (go_on, told) = oneshot::channel::<()>();
    let (mut first, is_first) = join(&flights, Need::Asked, |pilot| async move {
        pilot.push(Bytes::from_static(b"one "));
        told.await.unwrap();
        pilot.push(Bytes::from_static(b"two"));
        Ok(())
    });
    assert!(is_first);
    first.begun().await.unwrap();
    let mut others: Vec<_> = (0..1000).map(|_| join(&flights, Need::Asked, none)).collect();
    for (other, is_first) in &mut others {
        assert!(!*is_first);
        other.begun().await.expect("woken by the first byte, long before the last one");
    }
    go_on.send(()).unwrap();
    for (other, _) in others {
        assert_eq!(other.into_stream().try_collect::<Vec<_>>().await.unwrap().concat(), b"one two");
    }
    assert_eq!(first.whole().await.unwrap(), "one two");
    tokio::task::yield_now().await;
    assert!(flights.under_way().is_empty());
}

#[tokio::test]
async fn what_cannot_be_fetched_is_told_to_all_and_tried_again() {
    let flights = Fetches::default();
    let full = || async { Err(BlobError::Full) };
    let (mut one, _) = join(&flights, Need::Asked, |_| full());
    let (other, _) = join(&flights, Need::Asked, none);
    assert_eq!(one.begun().await, Err(BlobError::Full));
    assert_eq!(other.whole().await, Err(BlobError::Full));
    let (broken, _) = join(&flights, Need::Asked, |pilot| async move {
        pilot.push(Bytes::from_static(b"half"));
        Err(BlobError::Full)
    });
    let read: Result<Vec<Bytes>, _> = broken.into_stream().try_collect().await;
    assert_eq!(read, Err(BlobError::Full), "a part is not passed off as the whole");
    let (panicked, is_first) = join(&flights, Need::Asked, |_| async { panic!("for the test") });
    assert!(is_first && matches!(panicked.whole().await, Err(BlobError::Unavailable(_))));
    assert!(flights.under_way().is_empty());
}

#[tokio::test]
async fn only_what_was_asked_for_goes_on_for_nobody() {
    let flights = Fetches::default();
    let done = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Notify::new());
    let fly = |need| {
        let (done, gate) = (Arc::clone(&done), Arc::clone(&gate));
        join(&flights, need, |_| async move {
            gate.notified().await;
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    };
    drop(fly(Need::WhileWaitedFor));
    while !flights.under_way().is_empty() {
        tokio::task::yield_now().await;
    }
    // Somebody who asks for what may be asked for makes it wanted.
    let (ahead, _) = fly(Need::WhileWaitedFor);
    drop(join(&flights, Need::Asked, none));
    drop(ahead);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    while !flights.under_way().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(done.load(Ordering::Relaxed), 1);
    // What is done with the bytes is done to its end.
    let (landed, gate_of) = (Arc::clone(&done), Arc::clone(&gate));
    let (passenger, _) = join(&flights, Need::WhileWaitedFor, |pilot| async move {
        pilot.land();
        gate_of.notified().await;
        landed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(passenger.whole().await.unwrap(), "");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    while !flights.under_way().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(done.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_has_landed_is_found() {
    let flights = Fetches::default();
    let found = flights.join(("it", Need::Asked), || Some(Bytes::from_static(b"here")), none);
    assert!(matches!(found, Joined::Found(bytes) if bytes == "here"));
}
