//! A cluster is brought to the next release node by node, while everything goes on. Nodes that speak no more than the version before are
//! those that are still to be upgraded.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use playhouse::cli::client::{Client, CreatedUpload};
use playhouse::cluster::wire::VERSIONS;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{at, listed, signed_in};
use crate::live::{PATIENCE, Publisher, ask, end, in_state, make, text};
use crate::pull::pull_from;
use crate::support::clips::{half_minute_720p, standard};
use crate::support::cluster::{Cluster, free_port};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{ffmpeg_complaints, until};
use crate::uploads::{VERDICT_WITHIN, create, manifest_url, playable};

/// Wrong passwords for an account that are looked at in a minute.
const LOGINS_MAX: usize = 4;
/// An upload is sent in so many pieces at least: three at each of seven stages, and the rest.
const PIECES: usize = 24;

/// Where requests go: to nodes that are not about to stop, as a balancer sends them.
#[derive(Default)]
struct Traffic {
    nodes: Mutex<Vec<String>>,
    asked: AtomicUsize,
    failures: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Traffic {
    fn goes_to<'a>(&self, nodes: impl Iterator<Item = &'a Server>) {
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes.map(Server::url).collect();
    }

    /// Asks for these again and again, at each node in turn.
    async fn run(self: Arc<Self>, paths: Vec<String>) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
        for (round, path) in paths.iter().cycle().enumerate() {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let url = {
                let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                format!("{}{path}", nodes[round / paths.len() % nodes.len()])
            };
            let whole = async { client.get(&url).send().await?.error_for_status()?.bytes().await };
            self.asked.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = whole.await {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{url}: {error:?}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What goes on.
struct World {
    cluster: Cluster,
    /// Signed in at each node as it runs now.
    clients: Vec<Client>,
    /// Whether each node is of the new release.
    upgraded: [bool; 3],
    upload: CreatedUpload,
    bytes: Bytes,
    offset: usize,
    live: Value,
    /// Path of the broadcast's playlist, and the newest segment of it that was seen.
    master: String,
    seen: u64,
    /// The video that somebody watches, their session, and beacons so far.
    watched: (String, String, usize),
}

impl World {
    fn media(&self) -> String {
        self.master.replace("master.m3u8", "v0/media.m3u8")
    }

    async fn newest(&self, node: &Server) -> Option<u64> {
        let answer = reqwest::get(format!("{}{}", node.url(), self.media())).await.ok()?;
        let (first, segments, _) = listed(&answer.error_for_status().ok()?.text().await.ok()?);
        Some(first + segments as u64)
    }

    /// Everything works through every node, whichever versions they speak.
    async fn works_everywhere(&mut self) {
        for (index, node) in self.cluster.nodes.iter().enumerate() {
            let client = &self.clients[index];
            let url = at(node, &self.upload.url);
            let offset = client.upload_offset(&url).await.expect("an offset") as usize;
            assert_eq!(offset, self.offset, "through node {index}");
            let rest = self.bytes.slice(offset..offset + self.bytes.len() / PIECES);
            self.offset = client.append(&url, offset as u64, rest).await.expect("an append") as usize;
            let (video, session, beats) = &mut self.watched;
            *beats += 1;
            let events = if *beats == 1 { vec![json!({"type": "play"})] } else { Vec::new() };
            let body = json!({"session": session, "seq": beats, "progress_sec": *beats as f64 * 2.0, "events": events});
            let beacon = client.request(Method::POST, &format!("/api/v1/videos/{video}/heartbeat")).json(&body);
            assert_eq!(client.send(beacon).await.expect("a beacon").status(), 204, "beacon {beats}");
        }
        let mut newest = self.seen;
        for node in &self.cluster.nodes {
            let moves = async || self.newest(node).await.filter(|number| *number > self.seen);
            newest = until("the broadcast to go on at a node", PATIENCE, moves).await.max(newest);
        }
        self.seen = newest;
        self.speak_as_they_may().await;
    }

    /// Each pair of nodes speaks the newest version that both may, and nobody was asked what they do not know.
    async fn speak_as_they_may(&self) {
        for (index, node) in self.cluster.nodes.iter().enumerate() {
            let members = self.cluster.members(node).await.expect("who is there");
            let agreed: Vec<Option<u64>> = members.iter().map(|member| member["protocol"].as_u64()).collect();
            let both = |other: usize| {
                if self.upgraded[index] && self.upgraded[other] { u64::from(*VERSIONS.end()) } else { 1 }
            };
            let expected: Vec<Option<u64>> = (0..3).map(|other| (other != index).then(|| both(other))).collect();
            assert_eq!(agreed, expected, "at node {index}, of {:?}", self.upgraded);
            let metrics = reqwest::get(format!("{}/metrics", node.url())).await.expect("metrics").text().await;
            let metrics = metrics.expect("text");
            let unknown = metrics.lines().find(|line| line.starts_with("playhouse_cluster_questions_unknown_total "));
            assert!(unknown.is_none_or(|line| line.ends_with(" 0")), "at node {index}: {unknown:?}");
        }
    }

    /// Stops a node as for an upgrade, and starts it as one of the new release, or of the one before.
    async fn restart_as(&mut self, (index, is_new): (usize, bool), traffic: &Traffic) {
        let others = self.cluster.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        traffic.goes_to(others.map(|(_, node)| node));
        let node = &mut self.cluster.nodes[index];
        let stopped = node.stop();
        assert!(stopped.success(), "{stopped}");
        node.set("cluster.protocol_max", if is_new { "" } else { "1" });
        node.restart();
        self.cluster.until_all_know(3).await;
        let token = self.clients[index].token().expect("a token").to_owned();
        self.clients[index] = self.cluster.nodes[index].client().with_token(&token);
        self.upgraded[index] = is_new;
        traffic.goes_to(self.cluster.nodes.iter());
    }
}

/// Tries wrong passwords for an account at each node, one after the other; how many were looked at.
async fn guesses(cluster: &Cluster, account: &str, times: usize, pause: Duration) -> usize {
    let mut looked_at = 0;
    for attempt in 0..times {
        let body = json!({"username": account, "password": "not this one"});
        let url = format!("{}/api/v1/auth/login", cluster.nodes[attempt % 3].url());
        let status = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer").status();
        assert!(status == 401 || status == 429, "{status}");
        looked_at += usize::from(status == 401);
        tokio::time::sleep(pause).await;
    }
    looked_at
}

/// A pull is begun, changed and ended by whichever node is asked. The one that fetches is not told: it hears of it by the change feed.
async fn pulls_follow_their_records(clients: &[Client], origin: &Value) {
    let live = make(&clients[0], json!({"title": "Fetched"})).await;
    let path = format!("/api/v1/live/{}/pull", text(&live, "/id"));
    let stats = async |client: &Client| ask(client, client.request(Method::GET, &path)).await["stats"].clone();
    // Nobody is there, so that the stream is at no node, and each answers by itself.
    let nowhere = format!("rtmp://127.0.0.1:{}/live", free_port());
    pull_from(&clients[0], &live, json!({"url": nowhere, "stream_key": "nothing"})).await;
    let fetches = until("a node to try", PATIENCE, || async {
        let told = futures::future::join_all(clients.iter().map(&stats)).await;
        told.iter().position(|stats| stats["state"] == "failed")
    })
    .await;
    for other in [(fetches + 1) % 3, (fetches + 2) % 3] {
        assert_eq!(stats(&clients[other]).await, Value::Null, "a node that fetches cannot be asked");
    }
    pull_from(&clients[(fetches + 1) % 3], &live, json!({"url": text(origin, "/playback/srt")})).await;
    in_state(&clients[(fetches + 2) % 3], &live, "live").await;
    pull_from(&clients[(fetches + 2) % 3], &live, json!({"enabled": false})).await;
    until("the pull to end", PATIENCE, || async { stats(&clients[fetches]).await.is_null().then_some(()) }).await;
    end(&clients[0], &live).await;
}

impl World {
    /// Three nodes of the release before, a video that is watched, an upload, and a broadcast.
    async fn begin() -> Self {
        let settings = [
            ("cluster.protocol_max", "1"),
            ("transcode.rungs", "[90]"),
            ("live.pull_from_private", "true"),
            ("rates.login_per_minute_per_account", &LOGINS_MAX.to_string()),
        ];
        let set =
            |options| settings.iter().fold(options, |options: ServerOptions, (key, value)| options.set(key, value));
        let cluster = Cluster::start(3, set).await;
        let mut clients = vec![cluster.nodes[0].account("creator").await];
        for node in &cluster.nodes[1..] {
            clients.push(signed_in(node).await);
        }
        let video = playable(&clients[0], &standard()).await;
        let path = format!("/api/v1/videos/{}/playback", text(&video, "/id"));
        let opened = ask(&clients[1], clients[1].request(Method::POST, &path)).await;
        let live = make(&clients[2], json!({"title": "Never interrupted"})).await;
        let master = text(&live, "/playback/hls").split_once("/v/").map(|(_, path)| format!("/v/{path}"));
        Self {
            upload: create(&clients[0], &half_minute_720p()).await,
            bytes: std::fs::read(half_minute_720p()).expect("a clip").into(),
            offset: 0,
            live,
            master: master.expect("a path"),
            seen: 0,
            watched: (text(&video, "/id").to_owned(), text(&opened, "/session").to_owned(), 0),
            cluster,
            clients,
            upgraded: [false; 3],
        }
    }

    fn publish_to(&self, node: usize) -> Publisher {
        let (key, port) = (text(&self.live, "/stream_key"), self.cluster.nodes[node].port_of("rtmp"));
        Publisher::standard(&format!("rtmp://127.0.0.1:{port}/live/{key}"))
    }

    /// What was begun before, and what waited for all nodes to know it, comes to its end.
    async fn comes_to_an_end(self) {
        let Self { cluster, clients, upload, bytes, offset, live, watched: (video_id, ..), .. } = self;
        let together = guesses(&cluster, "after", LOGINS_MAX * 3, Duration::from_millis(600)).await;
        assert!((LOGINS_MAX..=LOGINS_MAX + 2).contains(&together), "{together} guesses");
        let url = at(&cluster.nodes[1], &upload.url);
        clients[1].append(&url, offset as u64, bytes.slice(offset..)).await.expect("the rest");
        let uploaded = clients[2].wait_until_playable(&upload.video_id, VERDICT_WITHIN).await.expect("a video");
        assert_eq!(ffmpeg_complaints(&manifest_url(&clients[2], &uploaded)), "");
        until("one view", PATIENCE, || async {
            (clients[0].video(&video_id).await.ok()?["view_count"] == 1).then_some(())
        })
        .await;
        end(&clients[0], &live).await;
        let ended = in_state(&clients[1], &live, "ended").await;
        let recording = clients[1].wait_until_playable(text(&ended, "/video_id"), VERDICT_WITHIN).await;
        assert_eq!(ffmpeg_complaints(&manifest_url(&clients[1], &recording.expect("the recording"))), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_upgraded_one_after_the_other_while_everything_goes_on() {
    let mut world = World::begin().await;
    let mut first = world.publish_to(2);
    in_state(&world.clients[0], &world.live, "live").await;
    world.works_everywhere().await;
    pulls_follow_their_records(&world.clients, &world.live).await;
    for account in ["before", "after"] {
        world.cluster.nodes[0].account(account).await;
    }
    let alone = guesses(&world.cluster, "before", LOGINS_MAX * 3, Duration::ZERO).await;
    assert_eq!(alone, LOGINS_MAX * 3, "each node counts for itself");

    let traffic = Arc::new(Traffic::default());
    traffic.goes_to(world.cluster.nodes.iter());
    let video = format!("/api/v1/videos/{}", world.watched.0);
    let paths = vec!["/api/v1/videos".into(), video, world.master.clone(), world.media()];
    let viewers: Vec<_> = (0..4).map(|_| tokio::spawn(Arc::clone(&traffic).run(paths.clone()))).collect();
    // One of them goes back in between.
    for change in [(0, true), (1, true), (1, false), (1, true)] {
        world.restart_as(change, &traffic).await;
        world.works_everywhere().await;
    }
    // The publisher goes before its node does, to one of the new release.
    let _second = world.publish_to(0);
    first.ended().await;
    world.works_everywhere().await;
    world.restart_as((2, true), &traffic).await;
    world.works_everywhere().await;
    traffic.is_over.store(true, Ordering::Relaxed);
    for viewer in viewers {
        viewer.await.expect("a viewer");
    }
    let failures = std::mem::take(&mut *traffic.failures.lock().unwrap_or_else(PoisonError::into_inner));
    let asked = traffic.asked.load(Ordering::Relaxed);
    println!("{} of {asked} requests failed", failures.len());
    assert!(failures.is_empty() && asked > 500, "{} of {asked} failed: {failures:#?}", failures.len());
    world.comes_to_an_end().await;
}
