use std::path::Path;
use std::time::Instant;

use async_trait::async_trait;

use super::identity::tests::{authority, node_in};
use super::*;
use crate::domain::cluster::Role;

mod simulation;

const PATIENCE: Duration = Duration::from_secs(20);

/// Says who it is, and what it was asked.
struct Echo(&'static str);

#[async_trait]
impl Answerer for Echo {
    async fn answer(&self, question: Bytes) -> Option<Bytes> {
        if question.as_ref() == b"nonsense" {
            return None;
        }
        Some([self.0.as_bytes(), b" heard ", question.as_ref()].concat().into())
    }
}

async fn node(dir: &Path, (name, roles): (&'static str, &[Role]), seeds: &[&Cluster]) -> Cluster {
    let config = ClusterConfig {
        identity: node_in(dir, name),
        epoch: 1,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertised: None,
        seeds: seeds.iter().map(|seed| seed.handle.peers.address().to_string()).collect(),
        profile: Profile { roles: roles.to_vec(), zone: "here".into(), public_url: String::new() },
        gossip_interval: Duration::from_millis(50),
        message_bytes_max: 1 << 20,
        versions: wire::VERSIONS,
    };
    Cluster::start(config, Arc::new(Echo(name))).await.unwrap().0
}

async fn until(cluster: &Cluster, what: &str, is_so: impl Fn(&[members::Member]) -> bool) {
    let mut changes = cluster.handle.members().changes();
    let waited = tokio::time::timeout(PATIENCE, changes.wait_for(|members| is_so(members)));
    let outcome = waited.await.map(drop);
    assert!(outcome.is_ok(), "{what}: {:?}", cluster.handle.members().all());
}

fn names(members: &[members::Member]) -> Vec<&str> {
    members.iter().map(|member| member.node.as_str()).collect()
}

/// The framework keeps one registry per process: where nodes share one, actors of others are not told from one's own. What goes
/// between processes is in `tests/e2e/cluster.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_one_another_and_notice_who_leaves() {
    let dir = authority();
    let one = node(dir.path(), ("one", &Role::ALL), &[]).await;
    let two = node(dir.path(), ("two", &[Role::Edge]), &[&one]).await;
    let three = node(dir.path(), ("three", &[Role::Api]), &[&one]).await;
    for cluster in [&one, &two, &three] {
        until(cluster, "all three", |members| names(members) == ["one", "three", "two"]).await;
        until(cluster, "connections", |members| members.iter().filter(|member| member.is_connected).count() == 2).await;
    }
    let seen = two.handle.members().find(&"three".parse().unwrap()).unwrap();
    assert_eq!((seen.roles.as_slice(), seen.zone.as_str(), seen.state), (&[Role::Api][..], "here", State::Up));
    three.handle.drain().await;
    until(&two, "a node that drains", |members| members.iter().any(|member| member.state == State::Draining)).await;
    assert_eq!(placement::owner("x", Role::Api, &two.handle.members().all()).unwrap().as_str(), "one");
    let left = Instant::now();
    three.stop().await;
    for cluster in [&one, &two] {
        until(cluster, "two of three", |members| names(members) == ["one", "two"]).await;
    }
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
    for cluster in [one, two] {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_answers_or_says_that_it_cannot() {
    let dir = authority();
    let one = node(dir.path(), ("alpha", &Role::ALL), &[]).await;
    let (handle, me, limit) = (one.handle(), "alpha".parse().unwrap(), Duration::from_secs(5));
    let answer = handle.ask(&me, Bytes::from_static(b"a question"), limit).await.unwrap();
    assert_eq!(answer.as_ref(), b"alpha heard a question");
    let refused = handle.ask(&me, Bytes::from_static(b"nonsense"), limit).await;
    assert_eq!(refused, Err(AskNodeError::Refused(me)));
    let nobody: NodeName = "nobody".parse().unwrap();
    assert_eq!(handle.ask(&nobody, Bytes::new(), limit).await, Err(AskNodeError::Unreachable(nobody)));
    one.stop().await;
}
