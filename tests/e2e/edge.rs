//! Edges: what is delivered is read from the store once, for the whole cluster.
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Method;
use reqwest::header::RANGE;
use serde_json::Value;

use crate::live::text;
use crate::support::clients::client;
use crate::support::clips::{standard, two_minutes_720p};
use crate::support::cluster::{Cluster, Wiring, free_port};
use crate::support::proxy::{Line, Proxy};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::until;
use crate::uploads::{VERDICT_WITHIN, create};
use playhouse::cli::client::Client;

const PATIENCE: Duration = Duration::from_secs(30);
/// A store that is some way off.
const FAR: Line = Line { bits_per_sec: 10_000_000_000, round_trip: Duration::from_millis(100) };
const AT_ONCE: usize = 1000;

/// A video with rungs, and paths of the segments of its tracks of pictures, the least rung last.
async fn ready(client: &Client, (node, clip): (&Server, &Path)) -> (Value, Vec<Vec<String>>) {
    let upload = create(client, clip).await;
    client.append(&upload.url, 0, std::fs::read(clip).expect("a clip").into()).await.expect("an append");
    let video = until("all its rungs", VERDICT_WITHIN, || async {
        client.video(&upload.video_id).await.ok().filter(|video| video["status"] == "ready")
    })
    .await;
    let base = text(&video, "/video_urls/hls").rsplit_once('/').expect("a path").0;
    let base = base.split_once("/v/").map(|(_, path)| format!("/v/{path}")).expect("public media");
    let mut tracks = Vec::new();
    let master = get(&node.url(), &format!("{base}/master.m3u8")).await.1;
    for media in master.lines().filter(|line| line.ends_with("media.m3u8") && line.starts_with('v')) {
        let track = media.split('/').next().expect("a track");
        let list = get(&node.url(), &format!("{base}/{media}")).await.1;
        let segments = list.lines().filter(|line| line.ends_with(".m4s"));
        tracks.push(segments.map(|segment| format!("{base}/{track}/{segment}")).collect());
    }
    (video, tracks)
}

/// `Cache-Status`, and the text of what is there.
async fn get(node: &str, path: &str) -> (String, String) {
    let (status, bytes) = fetch(node, path).await;
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

async fn fetch(node: &str, path: &str) -> (String, Vec<u8>) {
    let answer = reqwest::get(format!("{node}{path}")).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{node}{path}");
    let status = answer.headers().get("cache-status").map(|status| status.to_str().expect("text").to_owned());
    let length = answer.content_length();
    let bytes = answer.bytes().await.expect("a body");
    assert_eq!(length.unwrap_or(bytes.len() as u64), bytes.len() as u64);
    (status.unwrap_or_default(), bytes.to_vec())
}

/// Reads of what is made of videos.
fn reads(line: &Proxy) -> usize {
    line.asked().iter().filter(|line| line.starts_with("GET ") && line.contains("/made/")).count()
}

fn far(cluster: &Cluster) -> &Proxy {
    cluster.line.as_ref().expect("a line")
}

async fn start(shield_timeout: &str) -> (Cluster, Client) {
    // What is fetched ahead would be counted, too.
    let options = |options: ServerOptions| {
        let options = options.set("transcode.rungs", "[144, 90]").set("edge.look_ahead", "0");
        options.set("edge.shield_timeout", shield_timeout)
    };
    let cluster = Cluster::start_over(3, Wiring { buckets: Some(FAR), ..Wiring::default() }, options).await;
    let creator = cluster.nodes[0].account("creator").await;
    (cluster, creator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_segment_is_read_once_however_many_want_it_wherever_they_are() {
    let (mut cluster, creator) = start("30s").await;
    let (video, tracks) = ready(&creator, (&cluster.nodes[0], &standard())).await;
    let [cold, other, ..] = &tracks.last().expect("a rung")[1..] else { panic!("{tracks:?}") };
    let urls: Vec<String> = cluster.nodes.iter().map(Server::url).collect();
    for url in &urls {
        // Whatever else of the video it takes to answer.
        fetch(url, &tracks[0][0]).await;
    }
    let before = reads(far(&cluster));
    let asked = (0..AT_ONCE).map(|number| fetch(&urls[number % 3], cold));
    let answers = futures::future::join_all(asked).await;
    let asked = far(&cluster).asked();
    assert_eq!(reads(far(&cluster)) - before, 1, "{:?}", &asked[asked.len().saturating_sub(8)..]);
    assert!(answers.iter().all(|(_, bytes)| *bytes == answers[0].1 && !bytes.is_empty()));
    let mut results = HashMap::<&str, usize>::new();
    answers
        .iter()
        .for_each(|(status, _)| *results.entry(status.split_once("; ").expect("a result").1).or_default() += 1);
    // At most one for each node: the one that reads it for all may have it before anybody asks there.
    let fetched = results.get("fwd=uri-miss; stored").copied().unwrap_or(0);
    assert!((1..=3).contains(&fetched), "{results:?}");
    assert_eq!(fetch(&urls[1], cold).await, ("node-2; hit".to_owned(), answers[0].1.clone()));

    // Parts of it are cut from the whole, also of what is not there yet.
    let client = reqwest::Client::new();
    let part = client.get(format!("{}{other}", urls[1])).header(RANGE, "bytes=10-19").send().await.expect("an answer");
    assert_eq!(part.status(), 206);
    let part = part.bytes().await.expect("a part");
    let whole = fetch(&urls[1], other).await.1;
    assert_eq!(part, &whole[10..20]);

    // A node that starts again has it on its disk; without a store, what is there is delivered all the same.
    cluster.nodes[1].kill9();
    cluster.nodes[1].restart();
    cluster.until_all_know(3).await;
    let restarted = cluster.nodes[1].url();
    // The index of the video is in the store, too.
    fetch(&restarted, &tracks[0][0]).await;
    let before = reads(far(&cluster));
    assert_eq!(fetch(&restarted, cold).await, ("node-2; hit".to_owned(), answers[0].1.clone()));
    assert_eq!(reads(far(&cluster)), before);
    cluster.buckets.stop();
    for node in &cluster.nodes {
        assert_eq!(fetch(&node.url(), cold).await.1, answers[0].1);
    }
    cluster.buckets.resume();

    let path = format!("/api/v1/videos/{}", text(&video, "/id"));
    assert!(creator.send(creator.request(Method::DELETE, &path)).await.expect("an answer").status().is_success());
    let mark = format!("edge/{}", text(&video, "/id"));
    for node in &cluster.nodes {
        until("what is kept of a deleted video to go", PATIENCE, || async {
            (!node.data().join(&mark).exists()).then_some(())
        })
        .await;
        let gone = reqwest::get(format!("{}{cold}", node.url())).await.expect("an answer");
        assert_eq!(gone.status(), 404);
    }
}

/// A shield that stands still costs its time-out once; the store has everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_shield_that_is_gone_is_gone_around() {
    let (cluster, creator) = start("2s").await;
    let (_, tracks) = ready(&creator, (&cluster.nodes[0], &standard())).await;
    cluster.nodes[1].signal(Signal::SIGSTOP);
    // Before the others miss it, and after.
    for segment in tracks.iter().flatten() {
        fetch(&cluster.nodes[0].url(), segment).await;
    }
    cluster.nodes[1].signal(Signal::SIGCONT);
    cluster.until_all_know(3).await;
}

/// Players that know content steering are sent to nodes that deliver, past the one that answered them.
#[tokio::test(flavor = "multi_thread")]
async fn players_are_steered_to_nodes_that_deliver() {
    // Sites of one port each at an address of its own, as hosts are: players change the host alone.
    let (site, next) = (free_port(), AtomicUsize::new(1));
    let options = |options: ServerOptions| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let options = options
            .set("transcode.rungs", "[144]")
            .set("server.public_url", &format!("http://127.0.0.1:{site}"))
            .set("cluster.public_url", &format!("http://127.0.0.{number}:{site}"));
        match number {
            1 => options.set("cluster.roles", "[\"ingest\", \"transcode\", \"api\"]"),
            _ => options,
        }
    };
    let cluster = Cluster::start(3, options).await;
    let creator = cluster.nodes[0].account("creator").await;
    let at_once = Line { round_trip: Duration::ZERO, ..FAR };
    let mut sites = Vec::new();
    for (number, node) in (1u8..).zip(&cluster.nodes) {
        sites.push(Proxy::start_at(([127, 0, 0, number], site).into(), node.port(), at_once).await);
    }
    // Longer than a player loads ahead before it knows.
    let dir = tempfile::tempdir().expect("a directory");
    let clip = two_minutes_720p(dir.path());
    let (video, _) = ready(&creator, (&cluster.nodes[0], &clip)).await;
    let manifest = text(&video, "/video_urls/hls").to_owned();
    let told = get("", &manifest.replace("master.m3u8", "steering.json")).await.1;
    let told: Value = serde_json::from_str(&told).expect("a steering manifest");
    let mut sent: Vec<&str> =
        told["PATHWAY-PRIORITY"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    assert_eq!(sent.pop(), Some("."));
    sent.sort_unstable();
    assert_eq!(sent, ["node-2", "node-3"]);
    let (base, url) = (cluster.nodes[0].url(), manifest.clone());
    let played = tokio::task::spawn_blocking(move || client("play-hls.mjs", &[&base, &url])).await.expect("a player");
    assert_eq!(played["errors"].as_array().map(Vec::is_empty), Some(true), "{played}");
    let mut delivered = Vec::new();
    for node in &cluster.nodes {
        let metrics = get(&node.url(), "/metrics").await.1;
        let line = "playhouse_delivery_bytes_total{kind=\"segment\"} ";
        let bytes = metrics.lines().find_map(|text| text.strip_prefix(line)?.parse::<u64>().ok()).unwrap_or(0);
        delivered.push(bytes);
    }
    assert!(delivered[1] + delivered[2] > 0, "{delivered:?}");
}

/// With a CDN, media are at its address, and it is told what is out of date.
#[tokio::test(flavor = "multi_thread")]
async fn a_cdn_is_in_all_urls_of_media_and_told_of_changes() {
    let told = Arc::<Mutex<Vec<(String, Value)>>>::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let noted = Arc::clone(&told);
    let hook = move |headers: http::HeaderMap, axum::Json(body): axum::Json<Value>| {
        let mut told = noted.lock().expect("no panic while locked");
        let token = headers["authorization"].to_str().expect("a token").to_owned();
        told.push((token, body));
        // The first call gets no good answer: it comes again.
        let status = if told.len() == 1 { http::StatusCode::BAD_GATEWAY } else { http::StatusCode::NO_CONTENT };
        std::future::ready(status)
    };
    let serving = tokio::spawn(async move {
        axum::serve(listener, axum::Router::new().route("/purge", axum::routing::post(hook))).await
    });
    let server = ServerOptions::new()
        .set("cdn.base_url", "https://cdn.example.org/")
        .set("cdn.purge_url", &format!("http://{address}/purge"))
        .set("cdn.purge_token", "not a secret")
        .start();
    let creator = server.account("creator").await;
    let video = crate::uploads::playable(&creator, &standard()).await;
    for pointer in ["/video_urls/hls", "/video_urls/dash"] {
        assert!(text(&video, pointer).starts_with("https://cdn.example.org/v/"), "{pointer}: {video}");
    }
    let page = reqwest::Client::new().get(server.url()).header("accept", "text/html").send().await.expect("a page");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("connect-src 'self' https://cdn.example.org;"), "{policy}");
    let path = format!("/api/v1/videos/{}", text(&video, "/id"));
    assert!(creator.send(creator.request(Method::DELETE, &path)).await.expect("an answer").status().is_success());
    let base =
        text(&video, "/video_urls/hls").split("/v/").nth(1).and_then(|path| path.split('/').next()).expect("a name");
    until("the CDN to be told", PATIENCE, || async {
        let told = told.lock().expect("no panic while locked");
        let is_it = |(token, body): &(String, Value)| {
            token == "Bearer not a secret"
                && body["reason"] == "video.deleted"
                && body["playback_id"] == base
                && body["prefixes"][0] == format!("/v/{base}/")
        };
        told.iter().any(is_it).then_some(())
    })
    .await;
    serving.abort();
}
