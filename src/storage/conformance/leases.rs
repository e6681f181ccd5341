//! Nodes and leases.
use std::sync::Arc;
use std::time::Duration;

use super::{at, registered};
use crate::domain::cluster::{Lease, LeaseAnswer, NodeLife};
use crate::domain::events::NewEvent;
use crate::domain::ports::{Catalog, CatalogError};

fn life(node: &str, epoch: i64) -> NodeLife {
    NodeLife { node: node.parse().unwrap(), epoch }
}

fn given(answer: Result<LeaseAnswer, CatalogError>) -> Lease {
    match answer.unwrap() {
        LeaseAnswer::Given(lease) => lease,
        LeaseAnswer::Held(by) => panic!("held by {by:?}"),
    }
}

const LONG: Option<Duration> = Some(Duration::from_secs(3600));

pub(in super::super) async fn a_lease_has_one_holder(catalog: &Arc<dyn Catalog>) {
    let (one, two) = (life("one", 1), life("two", 1));
    for node in [&one, &two] {
        catalog.renew_node(node, 1).await.unwrap();
    }
    assert_eq!(catalog.lease("job").await.unwrap(), None);
    let first = given(catalog.take_lease("job", &one, LONG).await);
    assert_eq!(catalog.take_lease("job", &two, LONG).await.unwrap(), LeaseAnswer::Held(one.clone()));
    let again = given(catalog.take_lease("job", &one, LONG).await);
    assert_eq!(again, first, "whoever has it has it");
    assert_eq!(catalog.lease("job").await.unwrap(), Some(again.clone()));
    catalog.release_lease(&Lease { generation: 7, ..first }).await.unwrap();
    assert_eq!(catalog.take_lease("job", &two, None).await.unwrap(), LeaseAnswer::Held(one));
    catalog.release_lease(&again).await.unwrap();
    assert_eq!(catalog.lease("job").await.unwrap(), None);
    let other = given(catalog.take_lease("job", &two, None).await);
    assert!(other.generation > again.generation);
    catalog.drop_lease(&again).await.unwrap();
    assert_eq!(catalog.lease("job").await.unwrap(), Some(other.clone()));
    catalog.drop_lease(&other).await.unwrap();
    assert_eq!(catalog.lease("job").await.unwrap(), None);
}

pub(in super::super) async fn silent_nodes_lose_their_leases(catalog: &Arc<dyn Catalog>) {
    let (one, two) = (life("one", 1), life("two", 1));
    catalog.renew_node(&one, 1).await.unwrap();
    given(catalog.take_lease("job", &one, LONG).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let nodes = catalog.nodes().await.unwrap();
    assert!(nodes.len() == 1 && nodes[0].life == one && nodes[0].age >= Duration::from_millis(30), "{nodes:?}");
    assert_eq!(catalog.take_lease("job", &two, None).await.unwrap(), LeaseAnswer::Held(one.clone()));
    let taken = given(catalog.take_lease("job", &two, Some(Duration::from_millis(20))).await);
    assert_eq!(taken.holder, two);
    catalog.renew_node(&two, 1).await.unwrap();
    catalog.leave_node(&two).await.unwrap();
    given(catalog.take_lease("job", &one, None).await);
    assert_eq!(catalog.nodes().await.unwrap().len(), 1);
}

pub(in super::super) async fn later_lives_take_over(catalog: &Arc<dyn Catalog>) {
    let (dead, next, other) = (life("one", 1), life("one", 2), life("two", 1));
    catalog.renew_node(&dead, 1).await.unwrap();
    given(catalog.take_lease("a", &dead, LONG).await);
    given(catalog.take_lease("b", &dead, LONG).await);
    catalog.renew_node(&next, 1).await.unwrap();
    assert_eq!(catalog.renew_node(&dead, 1).await, Err(CatalogError::Stale));
    let own = given(catalog.take_lease("a", &next, LONG).await);
    assert_eq!(own.holder, next);
    assert_eq!(catalog.take_lease("a", &dead, LONG).await.unwrap(), LeaseAnswer::Held(next));
    assert_eq!(given(catalog.take_lease("b", &other, None).await).holder, other, "its life is over");
}

pub(in super::super) async fn racing_takers_agree(catalog: &Arc<dyn Catalog>) {
    let takers: Vec<NodeLife> = (0..6).map(|number| life(&format!("node-{number}"), 1)).collect();
    for node in &takers {
        catalog.renew_node(node, 1).await.unwrap();
    }
    let racing = takers.iter().map(|node| catalog.take_lease("job", node, LONG));
    let answers = futures::future::join_all(racing).await;
    let winners: Vec<Lease> = answers
        .into_iter()
        .filter_map(|answer| match answer.unwrap() {
            LeaseAnswer::Given(lease) => Some(lease),
            LeaseAnswer::Held(_) => None,
        })
        .collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(catalog.lease("job").await.unwrap().as_ref(), winners.first());
    // Of one node that no row tells of, as of a server that is alone.
    let alone = life("alone", 1);
    let racing = (0..6).map(|_| catalog.take_lease("other", &alone, Some(Duration::ZERO)));
    for answer in futures::future::join_all(racing).await {
        assert_eq!(given(answer).generation, 1);
    }
}

pub(in super::super) async fn nothing_is_changed_without_the_lease(catalog: &Arc<dyn Catalog>) {
    let (node, next) = (life("one", 1), life("one", 2));
    catalog.renew_node(&node, 1).await.unwrap();
    let first = given(catalog.take_lease("job", &node, LONG).await);
    let (holder, event) = (catalog.fenced(&first), || NewEvent::new("test", "x", serde_json::json!({})));
    holder.record_event(event(), at(1)).await.unwrap();
    registered(&*holder, "alice").await;
    let second = given(catalog.take_lease("job", &next, LONG).await);
    let late = holder.record_event(event(), at(2)).await;
    assert!(matches!(late, Err(CatalogError::NotHeld)), "{late:?}");
    catalog.fenced(&second).record_event(event(), at(3)).await.unwrap();
    assert_eq!(super::events(&**catalog, "test").await.len(), 2);
}
