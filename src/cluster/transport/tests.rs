use super::super::identity::tests::{authority, node_in};
use super::super::wire::VERSIONS;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A node's connections, and what comes over them.
struct Node {
    transport: Transport,
    requests: mpsc::Receiver<Opened>,
    gossip: mpsc::Receiver<(SocketAddr, Bytes)>,
    _rest: Box<dyn std::any::Any>,
}

fn node_of(identity: Identity, (epoch, listen): (i64, u16), versions: RangeInclusive<u16>) -> Node {
    let (actors, links) = mpsc::channel(16);
    let ((gossip, heard), (requests, requested)) = (mpsc::channel(16), mpsc::channel(16));
    let ((relays, relayed), (fills, filled)) = (mpsc::channel(16), mpsc::channel(16));
    let (work, worked) = mpsc::channel(16);
    let listen = SocketAddr::from(([127, 0, 0, 1], listen));
    let config = TransportConfig { identity, epoch, listen, advertised: None, versions };
    let transport = Transport::start(config, Inlets { actors, gossip, requests, relays, fills, work }).unwrap();
    Node { transport, requests: requested, gossip: heard, _rest: Box::new((links, relayed, filled, worked)) }
}

fn node(dir: &std::path::Path, name: &str) -> Node {
    node_of(node_in(dir, name), (1, 0), VERSIONS)
}

impl Node {
    fn peers(&self) -> &Peers {
        &self.transport.peers
    }

    fn look_for(&self, nodes: &[&Node]) {
        self.transport.looker()(nodes.iter().map(|node| node.peers().address().to_string()).collect());
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[PeerInfo]) -> bool) {
        let mut changed = self.peers().changed();
        let waited = tokio::time::timeout(PATIENCE, async {
            while !is_so(&self.peers().connected()) {
                // Connections that broke are seen by looking, too.
                let _ = tokio::time::timeout(Duration::from_millis(50), changed.changed()).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.peers().connected());
    }
}

fn names(peers: &[PeerInfo]) -> Vec<&str> {
    peers.iter().map(|peer| peer.life.node.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_dial_one_another_share_one_connection() {
    let dir = authority();
    let (one, mut two) = (node(dir.path(), "one"), node(dir.path(), "two"));
    one.look_for(&[&two]);
    two.look_for(&[&one]);
    one.until("two", |peers| names(peers) == ["two"]).await;
    two.until("one", |peers| names(peers) == ["one"]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut stream = one.peers().open(&"two".parse().unwrap(), StreamKind::Request).await.unwrap();
    stream.send.write_all(b"hello").await.unwrap();
    stream.send.finish().unwrap();
    let mut opened = tokio::time::timeout(PATIENCE, two.requests.recv()).await.unwrap().unwrap();
    assert_eq!(opened.from, *one.peers().me());
    assert_eq!(opened.stream.receive.read_to_end(100).await.unwrap(), b"hello");
    one.peers().send_gossip(two.peers().address(), Bytes::from_static(b"psst"));
    let heard = tokio::time::timeout(PATIENCE, two.gossip.recv()).await.unwrap().unwrap();
    assert_eq!(heard, (one.peers().address(), Bytes::from_static(b"psst")));
    let nobody = one.peers().open(&"three".parse().unwrap(), StreamKind::Request).await;
    assert!(matches!(nobody, Err(OpenStreamError::NotConnected(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_is_found_again() {
    let dir = authority();
    let one = node(dir.path(), "one");
    let two = node(dir.path(), "two");
    one.look_for(&[&two]);
    one.until("two", |peers| names(peers) == ["two"]).await;
    let port = two.peers().port();
    let Node { transport, _rest: streams, .. } = two;
    transport.stop().await;
    drop(streams);
    let socket = || std::net::UdpSocket::bind(("127.0.0.1", port));
    let free = async || {
        while socket().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await
        }
    };
    tokio::time::timeout(PATIENCE, free()).await.expect("a free port");
    one.until("nobody", <[PeerInfo]>::is_empty).await;
    std::fs::remove_file(dir.path().join("two.pem")).unwrap();
    std::fs::remove_file(dir.path().join("two.key")).unwrap();
    let _again = node_of(node_in(dir.path(), "two"), (2, port), VERSIONS);
    one.until("its next life", |peers| peers.iter().any(|peer| peer.life.epoch == 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_other_releases_are_not_let_in() {
    let (dir, elsewhere) = (authority(), authority());
    let host = node(dir.path(), "host");
    let friend = node(dir.path(), "friend");
    let stranger = node(elsewhere.path(), "stranger");
    let newer = node_of(node_in(dir.path(), "newer"), (1, 0), 8..=9);
    let before = node_of(node_in(dir.path(), "the-one-before"), (1, 0), wire::versions_up_to(1));
    let next = node_of(node_in(dir.path(), "the-next"), (1, 0), 2..=VERSIONS.end() + 1);
    for node in [&stranger, &newer, &before, &next, &friend] {
        node.look_for(&[&host]);
    }
    host.until("its friends", |peers| names(peers) == ["friend", "the-next", "the-one-before"]).await;
    friend.until("the host", |peers| names(peers) == ["host"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let agreed: Vec<u16> = host.peers().connected().iter().map(|peer| peer.version).collect();
    let newest = *VERSIONS.end();
    assert_eq!(agreed, [newest, newest, 1], "the newest that both speak");
    assert!(stranger.peers().connected().is_empty() && newer.peers().connected().is_empty());
    let Err(refused) = dial(newer.peers(), &host.peers().address().to_string()).await else { panic!("it is let in") };
    assert!(refused.contains("speaks versions 8 to 9"), "{refused}");
    let with = |node: &str| host.peers().version_with(&node.parse().unwrap());
    assert_eq!(["friend", "the-one-before", "newer"].map(with), [Some(newest), Some(1), None]);
    let Err(refused) = dial(before.peers(), &next.peers().address().to_string()).await else { panic!("it is let in") };
    assert!(refused.contains("speaks versions 1 to 1"), "{refused}");
}

/// What a certificate says counts, and garbage costs nothing but its connection.
#[tokio::test(flavor = "multi_thread")]
async fn liars_and_garbage_are_cut_off() {
    let dir = authority();
    let host = node(dir.path(), "host");
    let liar = node(dir.path(), "liar");
    let connect = async || {
        let connecting = liar.peers().0.endpoint.connect(host.peers().address(), ANY_NODE).unwrap();
        connecting.await.unwrap()
    };
    let connection = connect().await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let life = NodeLife { node: "friend".parse().unwrap(), epoch: 1 };
    wire::write(&mut send, &Hello { life, ..liar.peers().0.me.clone() }).await.unwrap();
    let Answer::Refused(reason) = wire::read(&mut receive).await.unwrap() else { panic!("a liar is welcome") };
    assert!(reason.contains("it says that it is friend"), "{reason}");
    let garbage: [&[u8]; 4] = [b"", b"\xff\xff\xff\xffrest", b"\0\0\0\x02{}", b"\0\0\0\x05hello"];
    for bytes in garbage {
        let connection = connect().await;
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let answer = tokio::time::timeout(PATIENCE, receive.read_to_end(1000)).await.expect("an end");
        assert!(answer.is_err() || answer.unwrap().is_empty(), "{bytes:?}");
    }
    assert!(host.peers().connected().is_empty());
    // A real peer that sends nonsense on further streams stays one.
    liar.look_for(&[&host]);
    host.until("the liar by its own name", |peers| names(peers) == ["liar"]).await;
    liar.until("the host", |peers| names(peers) == ["host"]).await;
    let connection = liar.peers().connection(&"host".parse().unwrap()).unwrap();
    for bytes in [&b"\x09what"[..], b"\x02", b"\0"] {
        let (mut send, _) = connection.open_bi().await.unwrap();
        let _ = send.write_all(bytes).await;
        let mut send = connection.open_uni().await.unwrap();
        let _ = send.write_all(bytes).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(names(&host.peers().connected()), ["liar"]);
}
