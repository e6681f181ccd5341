//! Several nodes as one.
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{Publisher, ask, complaints, end, in_state, make, playlist, text};
use crate::pull::{pull_from, pull_in};
use crate::support::clips::{half_minute_720p, standard, two_minutes_720p};
use crate::support::cluster::Cluster;
use crate::support::server::{PASSWORD, Server};
use crate::support::tools::{ffmpeg_complaints, output, until};
use crate::uploads::{VERDICT_WITHIN, create, manifest_url, playable};
use playhouse::cli::client::Client;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn signed_in(node: &Server) -> Client {
    let mut client = node.client();
    client.login("creator", PASSWORD).await.expect("a sign-in");
    client
}

/// The same path at another node.
pub(crate) fn at(node: &Server, url: &str) -> String {
    let path = url.split_once("/api/").map(|(_, path)| path).expect("an API path");
    format!("{}/api/{path}", node.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_and_one_that_dies_is_missed_soon() {
    let mut cluster = Cluster::start(3, |options| options.set("transcode.rungs", "[90]")).await;
    let first = cluster.nodes[0].account("creator").await;
    let mut clients = vec![first];
    for node in &cluster.nodes[1..] {
        clients.push(signed_in(node).await);
    }
    // Each chunk of an upload by another node.
    let bytes = Bytes::from(std::fs::read(half_minute_720p()).expect("a clip"));
    let upload = create(&clients[0], &half_minute_720p()).await;
    let mut offset = 0;
    for round in 0.. {
        let (client, node) = (&clients[round % 3], &cluster.nodes[round % 3]);
        let url = at(node, &upload.url);
        assert_eq!(client.upload_offset(&url).await.expect("an offset"), offset as u64, "round {round}");
        let end = (offset + 1_000_000).min(bytes.len());
        offset = client.append(&url, offset as u64, bytes.slice(offset..end)).await.expect("an append") as usize;
        if offset == bytes.len() {
            break;
        }
    }
    for (client, node) in clients.iter().zip(&cluster.nodes) {
        let video = client.wait_until_playable(&upload.video_id, VERDICT_WITHIN).await.expect("a video");
        assert_eq!(ffmpeg_complaints(&manifest_url(client, &video)), "", "{}", node.url());
    }
    watch_through_all(&clients).await;
    // What one changes, the others know within a second.
    let path = format!("/api/v1/videos/{}", upload.video_id);
    let video = clients[1].video(&upload.video_id).await.expect("the video");
    let manifests: Vec<String> = clients.iter().map(|client| manifest_url(client, &video)).collect();
    let is_closed = async |url: &String| reqwest::get(url).await.expect("an answer").status() == 404;
    let change = clients[2].request(Method::PATCH, &path).json(&json!({"privacy": "private"}));
    ask(&clients[2], change).await;
    let closed = Instant::now();
    for url in &manifests {
        until("a private video to be closed", PATIENCE, || async { is_closed(url).await.then_some(()) }).await;
    }
    assert!(closed.elapsed() < Duration::from_secs(1), "{:?}", closed.elapsed());

    let killed = Instant::now();
    cluster.nodes[2].kill9();
    cluster.until_all_know(2).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    playable(&clients[0], &standard()).await;
    cluster.nodes[2].restart();
    cluster.until_all_know(3).await;
    let videos = ask(&clients[1], clients[1].request(Method::GET, "/api/v1/videos?owner=me")).await;
    assert_eq!(videos["data"].as_array().map(Vec::len), Some(3));
    let stopped = cluster.nodes[1].stop();
    assert!(stopped.success(), "{stopped}");
    cluster.until_all_know(2).await;
}

/// One viewer whose beacons come to every node is one session, and one view.
async fn watch_through_all(clients: &[Client]) {
    let video = playable(&clients[1], &standard()).await;
    let video_id = text(&video, "/id");
    let path = format!("/api/v1/videos/{video_id}");
    let opened = ask(&clients[0], clients[0].request(Method::POST, &format!("{path}/playback"))).await;
    for (beat, client) in clients.iter().cycle().take(6).enumerate() {
        let events = if beat == 0 { vec![json!({"type": "play"})] } else { Vec::new() };
        let body = json!({
            "session": opened["session"], "seq": beat + 1, "progress_sec": beat as f64 * 2.0, "events": events,
        });
        let sent = client.send(client.request(Method::POST, &format!("{path}/heartbeat")).json(&body)).await;
        assert_eq!(sent.expect("a beacon").status(), 204, "beacon {beat}");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    for client in clients {
        until("one view", PATIENCE, || async { (client.video(video_id).await.ok()?["view_count"] == 1).then_some(()) })
            .await;
    }
}

/// Viewers' sessions outlive the nodes that have them: each node is killed or restarted in turn, beacons come to those that are there,
/// and none is refused.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_their_nodes_and_count_one_view_each() {
    const VIEWERS: usize = 12;
    let mut cluster = Cluster::start(3, |options| options.set("transcode.rungs", "[90]")).await;
    let creator = cluster.nodes[0].account("creator").await;
    let video = playable(&creator, &standard()).await;
    let path = format!("/api/v1/videos/{}", text(&video, "/id"));
    let mut sessions = Vec::new();
    for viewer in 0..VIEWERS {
        let url = format!("{}{path}/playback", cluster.nodes[viewer % 3].url());
        let opened = reqwest::Client::new().post(url).send().await.expect("an answer").json::<Value>().await;
        sessions.push(text(&opened.expect("a session"), "/session").to_owned());
    }
    let mut beat = 0;
    let mut everybody = async |nodes: Vec<String>| {
        beat += 1;
        for (viewer, session) in sessions.iter().enumerate() {
            let events = if beat == 1 { vec![json!({"type": "play"})] } else { Vec::new() };
            let body = json!({"session": session, "seq": beat, "progress_sec": beat as f64 * 2.0, "events": events});
            let url = format!("{}{path}/heartbeat", nodes[(viewer + beat) % nodes.len()]);
            let sent = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer");
            assert_eq!(sent.status(), 204, "beacon {beat} of viewer {viewer}");
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    };
    let urls = |cluster: &Cluster| cluster.nodes.iter().filter(|node| node.is_running()).map(Server::url).collect();
    for node in 0..3 {
        everybody(urls(&cluster)).await;
        match node {
            1 => drop(cluster.nodes[node].stop()),
            _ => cluster.nodes[node].kill9(),
        }
        cluster.until_all_know(2).await;
        everybody(urls(&cluster)).await;
        cluster.nodes[node].restart();
        cluster.until_all_know(3).await;
        everybody(urls(&cluster)).await;
    }
    let told = reqwest::get(format!("{}{path}", cluster.nodes[0].url())).await.expect("an answer");
    assert_eq!(told.json::<Value>().await.expect("the video")["view_count"], VIEWERS);
}

/// A player that tells nothing of itself is one viewer, though a balancer spreads what it fetches over all nodes.
#[tokio::test(flavor = "multi_thread")]
async fn players_that_fetch_from_all_nodes_are_one_viewer_each() {
    const PLAYERS: usize = 6;
    // Much longer than what any node alone delivers to a player.
    let cluster =
        Cluster::start(3, |options| options.set("transcode.rungs", "[90]").set("playback.view_after", "20s")).await;
    let creator = cluster.nodes[0].account("creator").await;
    let video = playable(&creator, &half_minute_720p()).await;
    let manifest = manifest_url(&creator, &video);
    let path = manifest.rsplit_once("/v/").map(|(_, path)| path.replace("/master.m3u8", "")).expect("a path");
    let fetch = async |player: usize, node: usize, file: &str| -> String {
        let url = format!("{}/v/{path}/{file}", cluster.nodes[node % 3].url());
        let request = reqwest::Client::new().get(&url).header("user-agent", format!("player {player}"));
        let answer = request.send().await.expect("an answer").error_for_status().expect("media");
        String::from_utf8_lossy(&answer.bytes().await.expect("a body")).into_owned()
    };
    let listed = |playlist: String| -> Vec<String> {
        playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    for player in 0..PLAYERS {
        let renditions = listed(fetch(player, player, "master.m3u8").await);
        let media = renditions.first().expect("a rendition");
        let base = media.split_once('/').expect("a playlist in a folder").0;
        let segments = listed(fetch(player, player + 1, media).await);
        assert!(segments.len() > 5, "{segments:?}");
        for (number, segment) in segments.iter().enumerate() {
            fetch(player, player + number, &format!("{base}/{segment}")).await;
        }
    }
    let views = async || {
        let url = format!("{}/api/v1/videos/{}", cluster.nodes[1].url(), text(&video, "/id"));
        reqwest::get(url).await.ok()?.json::<Value>().await.ok()?["view_count"].as_u64()
    };
    until("all views", PATIENCE, || async { views().await.filter(|views| *views >= PLAYERS as u64) }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(views().await, Some(PLAYERS as u64));
}

/// The node that works on a video dies: another one takes the video up.
#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_elsewhere_when_its_node_dies() {
    let mut cluster =
        Cluster::start(3, |options| options.set("transcode.rungs", "[240, 144]").set("janitor.interval", "1s")).await;
    let creator = cluster.nodes[0].account("creator").await;
    let upload = create(&creator, &half_minute_720p()).await;
    let bytes = Bytes::from(std::fs::read(half_minute_720p()).expect("a clip"));
    creator.append(&upload.url, 0, bytes).await.expect("an append");
    let works =
        |node: &Server| node.log_text().contains(&format!("attempt at unit ended video.id={}", upload.video_id));
    let busy = until("a node to work", VERDICT_WITHIN, || async { cluster.nodes.iter().position(&works) }).await;
    cluster.nodes[busy].kill9();
    let other = cluster.nodes.iter().position(Server::is_running).expect("another node");
    let client = signed_in(&cluster.nodes[other]).await;
    let video: Value = until("all its rungs", VERDICT_WITHIN, || async {
        client.video(&upload.video_id).await.ok().filter(|video| video["status"] == "ready")
    })
    .await;
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
}

/// Chunks of one video are made by all nodes; one that dies over some of them costs no more than their time.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_one_video_are_made_on_all_nodes() {
    let mut cluster = Cluster::start(3, |options| options.set("transcode.rungs", "[144, 90]")).await;
    let creator = cluster.nodes[0].account("creator").await;
    let dir = tempfile::tempdir().expect("a directory");
    let clip = two_minutes_720p(dir.path());
    let upload = create(&creator, &clip).await;
    let bytes = Bytes::from(std::fs::read(&clip).expect("a clip"));
    creator.append(&upload.url, 0, bytes).await.expect("an append");
    let has_job = |node: &Server| node.log_text().contains("attempt at unit ended");
    let job =
        until("a node to have the job", VERDICT_WITHIN, || async { cluster.nodes.iter().position(&has_job) }).await;
    let helps = |node: &Server| node.log_text().contains("made a unit for another node");
    let all_help = || cluster.nodes.iter().enumerate().all(|(index, node)| index == job || helps(node));
    until("the others to help", VERDICT_WITHIN, || async { all_help().then_some(()) }).await;
    cluster.nodes[(job + 1) % 3].kill9();
    let client = signed_in(&cluster.nodes[job]).await;
    let video: Value = until("all its rungs", VERDICT_WITHIN, || async {
        client.video(&upload.video_id).await.ok().filter(|video| video["status"] == "ready")
    })
    .await;
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
    let states: Vec<&Value> =
        video["renditions"].as_array().expect("renditions").iter().map(|it| &it["state"]).collect();
    assert!(states.iter().all(|state| *state == "ready"), "{states:?}");
}

/// Numbers of the segments that a media playlist lists, and how many of its parts.
pub(crate) fn listed(playlist: &str) -> (u64, usize, usize) {
    let sequence = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    let count = |tag: &str| playlist.lines().filter(|line| line.starts_with(tag)).count();
    (sequence.and_then(|text| text.parse().ok()).expect("a number"), count("#EXTINF"), count("#EXT-X-PART:"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_watched_on_every_node() {
    let cluster = Cluster::start(3, |options| options).await;
    let creator = cluster.nodes[0].account("creator").await;
    let mut clients = vec![creator];
    for node in &cluster.nodes[1..] {
        clients.push(signed_in(node).await);
    }
    let live = make(&clients[0], json!({"title": "Everywhere"})).await;
    let key = text(&live, "/stream_key");
    let url = format!("rtmp://127.0.0.1:{}/live/{key}", cluster.nodes[1].port_of("rtmp"));
    let publisher = Publisher::standard(&url);
    for client in &clients {
        in_state(client, &live, "live").await;
    }
    let path = text(&live, "/playback/hls").rsplit_once("/v/").map(|(_, path)| path.to_owned()).expect("a path");
    let of_node = |node: &Server| format!("{}/v/{path}", node.url());
    let media = |node: &Server| of_node(node).replace("master.m3u8", "v0/media.m3u8");
    for node in &cluster.nodes {
        until("the stream on every node", PATIENCE, || async {
            reqwest::get(of_node(node)).await.ok()?.status().is_success().then_some(())
        })
        .await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    // A request that waits for the same part is answered alike, and soon, everywhere.
    let newest = playlist(&media(&cluster.nodes[1])).await;
    let (first, segments, _) = listed(&newest);
    let next = first + segments as u64 + 1;
    let asked = Instant::now();
    let waited = cluster.nodes.iter().map(|node| {
        let url = format!("{}?_HLS_msn={next}&_HLS_part=0", media(node));
        async move { (playlist(&url).await, asked.elapsed()) }
    });
    let answers = futures::future::join_all(waited).await;
    let newest_segment = |text: &str| {
        let (first, segments, _) = listed(text);
        first + segments as u64
    };
    for (answer, _) in &answers {
        assert!(newest_segment(answer) >= next, "{answer}");
    }
    let delays: Vec<Duration> = answers.iter().map(|(_, at)| *at).collect();
    let spread = *delays.iter().max().expect("some") - *delays.iter().min().expect("some");
    assert!(spread < Duration::from_millis(400), "{delays:?}");
    for node in &cluster.nodes {
        let arguments = ["-v", "warning", "-i", &of_node(node), "-t", "4", "-f", "null", "-"];
        let watched = output(Command::new("ffmpeg").args(arguments));
        let said = String::from_utf8_lossy(&watched.stderr).into_owned();
        assert!(watched.status.success() && complaints(&said).is_empty(), "through {}: {said}", node.url());
    }
    let change = clients[2].request(Method::PATCH, &format!("/api/v1/live/{}", text(&live, "/id")));
    ask(&clients[2], change.json(&json!({"privacy": "private"}))).await;
    let closed = Instant::now();
    for node in &cluster.nodes {
        let url = of_node(node);
        until("a private stream to be closed", PATIENCE, || async {
            (reqwest::get(&url).await.ok()?.status() == 404).then_some(())
        })
        .await;
    }
    assert!(closed.elapsed() < Duration::from_secs(1), "{:?}", closed.elapsed());
    end(&clients[2], &live).await;
    for client in &clients {
        in_state(client, &live, "ended").await;
    }
    drop(publisher);
}

/// The newest publisher wins on whatever node, and so does one that comes back after its node has died: viewers keep their URLs.
#[tokio::test(flavor = "multi_thread")]
async fn publishers_may_come_back_to_any_node() {
    let mut cluster = Cluster::start(3, |options| options.set("live.reconnect_grace", "60s")).await;
    let mut clients = vec![cluster.nodes[0].account("creator").await];
    for node in &cluster.nodes[1..] {
        clients.push(signed_in(node).await);
    }
    let live = make(&clients[0], json!({"title": "On the move"})).await;
    let key = text(&live, "/stream_key").to_owned();
    let publish = |node: &Server| Publisher::standard(&format!("rtmp://127.0.0.1:{}/live/{key}", node.port_of("rtmp")));
    let path = text(&live, "/playback/hls").rsplit_once("/v/").map(|(_, path)| path.to_owned()).expect("a path");
    let media = |node: &Server| format!("{}/v/{}", node.url(), path.replace("master.m3u8", "v0/media.m3u8"));
    let newest = async |node: &Server| -> Option<u64> {
        let answer = reqwest::get(media(node)).await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let (first, segments, _) = listed(&answer.text().await.ok()?);
        Some(first + segments as u64)
    };
    let goes_on = async |node: &Server, beyond: u64| -> u64 {
        until("the stream to go on", PATIENCE, || async { newest(node).await.filter(|number| *number > beyond) }).await
    };
    let mut first = publish(&cluster.nodes[0]);
    let mut seen = 0;
    for node in &cluster.nodes {
        seen = goes_on(node, 2).await.max(seen);
    }
    let second = publish(&cluster.nodes[1]);
    let moved = Instant::now();
    for node in &cluster.nodes {
        // Numbers of another generation are far higher.
        goes_on(node, seen + 1000).await;
    }
    eprintln!("on another node after {:?}", moved.elapsed());
    assert!(moved.elapsed() < Duration::from_secs(10), "{:?}", moved.elapsed());
    tokio::time::timeout(PATIENCE, first.ended()).await.expect("the older publisher to be cut off");
    let mut seen = 0;
    for node in &cluster.nodes {
        seen = newest(node).await.unwrap_or(0).max(seen);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.nodes[1].kill9();
    drop(second);
    let died = Instant::now();
    let third = until("another node to take the publisher", PATIENCE, || async {
        let mut publisher = publish(&cluster.nodes[2]);
        let ended = tokio::time::timeout(Duration::from_secs(2), publisher.ended()).await;
        ended.is_err().then_some(publisher)
    })
    .await;
    for node in [&cluster.nodes[0], &cluster.nodes[2]] {
        goes_on(node, seen + 1000).await;
    }
    eprintln!("another publisher is seen {:?} after its node's death", died.elapsed());
    tokio::time::sleep(Duration::from_secs(4)).await;
    end(&clients[0], &live).await;
    drop(third);
    let ended = in_state(&clients[0], &live, "ended").await;
    let video = clients[2].wait_until_playable(text(&ended, "/video_id"), VERDICT_WITHIN).await.expect("the recording");
    assert_eq!(ffmpeg_complaints(&manifest_url(&clients[2], &video)), "");
}

/// One node fetches a stream, whichever is asked for it, and another one when it dies; who has the key comes first at any node.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_fetched_by_one_node_and_by_another_when_it_dies() {
    let mut cluster = Cluster::start(3, |options| options.set("live.pull_from_private", "true")).await;
    let (there, mut clients) = (Server::start(), vec![cluster.nodes[0].account("creator").await]);
    let other = there.account("other").await;
    for node in &cluster.nodes[1..] {
        clients.push(signed_in(node).await);
    }
    let origin = make(&other, json!({"title": "Origin"})).await;
    let _publisher = Publisher::standard(text(&origin, "/ingest/rtmp"));
    in_state(&other, &origin, "live").await;
    let live = make(&clients[0], json!({"title": "Fetched"})).await;
    pull_from(&clients[1], &live, json!({"url": text(&origin, "/playback/srt")})).await;
    for client in &clients {
        pull_in(client, &live, "receiving").await;
    }
    let pulls = |node: &Server| node.log_text().matches("pulling live.id").count();
    let fetches: Vec<usize> = (0..3).filter(|index| pulls(&cluster.nodes[*index]) > 0).collect();
    assert_eq!(fetches.len(), 1, "one node fetches");
    let holder = fetches[0];
    // Who comes with the key to another node goes first, as long as they are there.
    let key = text(&live, "/stream_key");
    let own_at = &cluster.nodes[(holder + 1) % 3];
    let own = Publisher::standard(&format!("rtmp://127.0.0.1:{}/live/{key}", own_at.port_of("rtmp")));
    pull_in(&clients[(holder + 2) % 3], &live, "waiting").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    pull_in(&clients[holder], &live, "waiting").await;
    drop(own);
    pull_in(&clients[(holder + 2) % 3], &live, "receiving").await;
    cluster.nodes[holder].kill9();
    let next = until("another node to fetch it", PATIENCE, || async {
        (0..3).find(|index| *index != holder && pulls(&cluster.nodes[*index]) > 0)
    })
    .await;
    pull_in(&clients[next], &live, "receiving").await;
    let gone = clients[next].request(Method::DELETE, &format!("/api/v1/live/{}/pull", text(&live, "/id")));
    assert_eq!(clients[next].send(gone).await.expect("its deletion").status(), 204);
}

/// What is limited is counted by all nodes together.
#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_all_nodes_together() {
    const LIMIT: usize = 5;
    let limit = LIMIT.to_string();
    let cluster = Cluster::start(3, |options| options.set("rates.login_per_minute_per_account", &limit)).await;
    cluster.nodes[0].account("somebody").await;
    let mut allowed = 0;
    for attempt in 0..LIMIT * 3 {
        let body = json!({"username": "somebody", "password": "not this one"});
        let url = format!("{}/api/v1/auth/login", cluster.nodes[attempt % 3].url());
        let status = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer").status();
        assert!(status == 401 || status == 429, "{status}");
        allowed += usize::from(status == 401);
        // Nodes tell one another twice a second.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    // A bucket of five fills up by one each twelve seconds meanwhile.
    assert!((LIMIT..=LIMIT + 2).contains(&allowed), "{allowed} attempts");
}
