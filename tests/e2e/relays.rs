//! Frames of live streams at other nodes than the publisher's: viewers by WHEP and readers by SRT are served wherever they come to, and
//! stay there when what they watch moves.
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::signed_in;
use crate::live::{PATIENCE, Publisher, ask, end, in_state, make, show, text};
use crate::srt_play::Recorder;
use crate::support::cluster::Cluster;
use crate::support::server::Server;
use crate::support::tools::until;
use crate::whep::{Viewer, number, plays};

struct Stage {
    cluster: Cluster,
    clients: Vec<Client>,
    live: Value,
    publisher: Publisher,
}

/// Three nodes, each of which tells no more than one other; something is live at the second one, and watched at all.
async fn stage(title: &str, is_recorded: bool) -> Stage {
    let set = |options: crate::support::server::ServerOptions| {
        options.set("cluster.relay_fan_out", "1").set("live.reconnect_grace", "60s")
    };
    let cluster = Cluster::start(3, set).await;
    let mut clients = vec![cluster.nodes[0].account("creator").await];
    for node in &cluster.nodes[1..] {
        clients.push(signed_in(node).await);
    }
    let live = make(&clients[0], json!({"title": title, "archive": is_recorded})).await;
    let publisher = publish(&cluster.nodes[1], &live);
    for client in &clients {
        in_state(client, &live, "live").await;
    }
    let stage = Stage { cluster, clients, live, publisher };
    for node in 0..3 {
        let url = stage.url(node, "master.m3u8");
        until("the stream on every node", PATIENCE, || async {
            reqwest::get(&url).await.ok()?.status().is_success().then_some(())
        })
        .await;
    }
    stage
}

fn publish(node: &Server, live: &Value) -> Publisher {
    Publisher::standard(&format!("rtmp://127.0.0.1:{}/live/{}", node.port_of("rtmp"), text(live, "/stream_key")))
}

impl Stage {
    fn url(&self, node: usize, file: &str) -> String {
        let path = text(&self.live, "/playback/hls").rsplit_once("/v/").expect("a path").1;
        format!("{}/v/{}", self.cluster.nodes[node].url(), path.replace("master.m3u8", file))
    }

    fn viewer(&self, node: usize, seconds: &str) -> Viewer {
        Viewer::start(&self.url(node, "whep"), &["--seconds", seconds])
    }

    /// A reader by SRT at this node.
    async fn reader(&self, node: usize) -> Recorder {
        let shown = show(&self.clients[node], &self.live).await;
        let (_, behind) = text(&shown, "/playback/srt").split_once('?').expect("a stream id");
        Recorder::start(&format!("srt://127.0.0.1:{}?{behind}", self.cluster.nodes[node].port_of("srt")))
    }

    /// The relay of this node, as administrators are told of it.
    async fn relay(&self, node: usize) -> Option<Value> {
        let admin = self.cluster.nodes[0].admin_of(&self.cluster.nodes[node]).await.ok()?;
        let answer = admin.send(admin.request(Method::GET, "/api/v1/admin/actors")).await.ok()?;
        of_kind(&answer.json().await.ok()?, "live_relay")
    }

    async fn above(&self, node: usize) -> Option<Vec<String>> {
        let names = self.relay(node).await?["state"]["above"].as_array()?.clone();
        Some(names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect())
    }
}

/// The first actor of a kind.
fn of_kind(described: &Value, kind: &str) -> Option<Value> {
    match described {
        Value::Object(fields) if fields.get("kind").is_some_and(|of| of == kind) => Some(described.clone()),
        Value::Object(fields) => fields.values().find_map(|value| of_kind(value, kind)),
        Value::Array(all) => all.iter().find_map(|value| of_kind(value, kind)),
        _ => None,
    }
}

/// What a viewer saw until its own end, and that it saw it to then.
fn saw_it_through(told: &Value, (seconds, share): (f64, f64)) {
    plays(told);
    assert_eq!(told["deleted"], 200, "it was not ended by the server: {told}");
    for (kind, per_sec) in [("video", 30.0), ("audio", 50.0)] {
        let (frames, idle) = (number(told, &format!("/{kind}/frames")), number(told, &format!("/{kind}/idle")));
        assert!(
            frames > seconds * per_sec * share && idle < 2.0,
            "{frames} of {kind}, the last one {idle} s before the end"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_read_at_every_node_and_told_from_node_to_node() {
    let mut stage = stage("Everywhere at once", true).await;
    let told = until("a tree of nodes", PATIENCE, || async {
        let (first, third) = (stage.above(0).await?, stage.above(2).await?);
        ([first.len(), third.len()].iter().sum::<usize>() == 3).then_some([first, third])
    })
    .await;
    let (near, far) = if told[0].len() == 1 { (0, 2) } else { (2, 0) };
    assert_eq!(stage.above(near).await.expect("a relay"), ["node-2"]);
    assert_eq!(stage.above(far).await.expect("a relay"), ["node-2".to_owned(), format!("node-{}", near + 1)]);
    let viewers = [0, 1, 2].map(|node| stage.viewer(node, "4"));
    let readers = [stage.reader(0).await, stage.reader(2).await];
    for (node, viewer) in viewers.into_iter().enumerate() {
        let told = viewer.told().await;
        saw_it_through(&told, (4.0, 0.6));
        let place = format!("/whep/sessions/node-{}.", node + 1);
        assert!(text(&told, "/location").contains(&place), "{told}");
    }
    for reader in &readers {
        reader.grows(200_000).await;
    }
    // A reader at each of two nodes and a player that fetches from all are three, once those who have gone are forgotten.
    until("viewers of all nodes to be counted", PATIENCE, || async {
        for node in 0..3 {
            reqwest::get(stage.url(node, "master.m3u8")).await.ok()?;
        }
        let viewers = show(&stage.clients[1], &stage.live).await["viewers"].as_u64()?;
        (viewers == 3).then_some(())
    })
    .await;
    let relay = stage.relay(far).await.expect("a relay");
    assert_eq!(relay["state"]["has_frames"], true, "{relay}");
    // The node between dies: who is behind it goes on by another way.
    let viewer = stage.viewer(far, "15");
    tokio::time::sleep(Duration::from_secs(5)).await;
    stage.cluster.nodes[near].kill9();
    saw_it_through(&viewer.told().await, (15.0, 0.5));
    assert_eq!(stage.above(far).await.expect("a relay"), ["node-2"]);
    let change = stage.clients[1].request(Method::PATCH, &format!("/api/v1/live/{}", text(&stage.live, "/id")));
    ask(&stage.clients[1], change.json(&json!({"privacy": "private"}))).await;
    let refused = stage.viewer(far, "4").told().await;
    assert_eq!(refused["status"], 404, "{refused}");
    end(&stage.clients[1], &stage.live).await;
    drop(stage.publisher);
}

/// Viewers stay when the publisher comes to another node, and when that one is gone, for which they miss this share at most.
async fn viewers_stay(leaves: impl AsyncFnOnce(&mut Server), share: f64) {
    let mut stage = stage("On the move", false).await;
    let viewers = [0, 1].map(|node| stage.viewer(node, "24"));
    let readers = [stage.reader(0).await, stage.reader(1).await];
    for reader in &readers {
        reader.grows(100_000).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    stage.publisher = publish(&stage.cluster.nodes[2], &stage.live);
    tokio::time::sleep(Duration::from_secs(6)).await;
    leaves(&mut stage.cluster.nodes[2]).await;
    stage.publisher.ended().await;
    stage.publisher = until("another node to take the publisher", PATIENCE, || async {
        let mut publisher = publish(&stage.cluster.nodes[0], &stage.live);
        let ended = tokio::time::timeout(Duration::from_secs(2), publisher.until_end()).await;
        ended.is_err().then_some(publisher)
    })
    .await;
    for viewer in viewers {
        saw_it_through(&viewer.told().await, (24.0, share));
    }
    for reader in &readers {
        reader.grows(100_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_stay_when_the_publisher_moves_and_its_node_stops() {
    let stop = async |node: &mut Server| {
        node.stop();
    };
    viewers_stay(stop, 0.7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_stay_when_the_publisher_moves_and_its_node_dies() {
    viewers_stay(async |node| node.kill9(), 0.5).await;
}
