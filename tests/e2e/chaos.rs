//! Three nodes, and whatever can happen to them and to what they store into, at times drawn by a seed.
#[path = "chaos/holders.rs"]
mod holders;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::buckets::append;
use crate::kill::from_environment;
use crate::live::{Publisher, ask, end, in_state, make, text};
use crate::support::clips::{half_minute_720p, two_minutes_720p};
use crate::support::cluster::{Cluster, Wiring};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{ffmpeg_complaints, sha256, until};
use crate::uploads::{VERDICT_WITHIN, create, manifest_url};
use playhouse::cli::client::Client;

/// Longest wait for a cluster that has lost something to answer again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// An encoder that was cut off comes back after this.
const COMES_BACK_AFTER: Duration = Duration::from_secs(1);
/// One that ends sooner was turned away.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(3);
/// A node that is cut off is missed, and has let go of its broadcasts, after this: three seconds of silence, a term, and the time that
/// the machine takes.
const NOTICED_WITHIN: Duration = Duration::from_secs(9);
/// After its publisher is back, a broadcast goes on within this: a group of pictures, and two seconds.
const GOES_ON_WITHIN: Duration = Duration::from_secs(4);

/// Rounds, and the seed of the first one.
fn rounds() -> std::ops::Range<u64> {
    let rounds = from_environment("SOAK_ROUNDS", 1);
    let seed = from_environment("SOAK_SEED", 1);
    eprintln!("{rounds} rounds from seed {seed} (SOAK_ROUNDS, SOAK_SEED)");
    seed..seed + rounds
}

/// From one moment to another.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: Instant,
    until: Instant,
}

impl Stretch {
    fn length(&self) -> Duration {
        self.until - self.from
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.from < other.until && other.from < self.until
    }
}

/// How long viewers may have waited at some time: as long as the publisher was absent meanwhile and a broadcast takes to go on, and, only
/// where nodes were cut off from one another, as long as it takes to notice that.
fn allowed(wait: &Stretch, absences: &[Stretch], parted: &[Stretch]) -> Duration {
    let absent: Duration = absences.iter().filter(|absence| absence.overlaps(wait)).map(Stretch::length).sum();
    let noticed = if parted.iter().any(|parted| parted.overlaps(wait)) { NOTICED_WITHIN } else { Duration::ZERO };
    absent + GOES_ON_WITHIN + noticed
}

/// A cluster to which things happen.
struct Chaos {
    cluster: Cluster,
    draw: StdRng,
    token: String,
    killed: Option<usize>,
    is_cut: bool,
    /// Since when a node is cut off from the others.
    parted_since: Option<Instant>,
    /// When nodes were cut off from one another, and for how long that could be seen.
    parted: Vec<Stretch>,
}

impl Chaos {
    async fn start(seed: u64, rungs: &str) -> Self {
        Self::start_with(seed, &[("transcode.rungs", rungs)]).await
    }

    async fn start_with(seed: u64, settings: &[(&str, &str)]) -> Self {
        eprintln!("seed {seed}");
        let options = |options: ServerOptions| {
            let usual = [("janitor.interval", "1s"), ("blobs.retry_timeout", "2s"), ("blobs.stall_timeout", "2s")];
            usual.iter().chain(settings).fold(options, |options, (key, value)| options.set(key, value))
        };
        let cluster = Cluster::start_over(3, Wiring { can_be_cut: true, ..Wiring::default() }, options).await;
        let creator = cluster.nodes[0].account("creator").await;
        let token = creator.token().expect("a token").to_owned();
        let draw = StdRng::seed_from_u64(seed);
        Self { cluster, draw, token, killed: None, is_cut: false, parted_since: None, parted: Vec::new() }
    }

    /// One of the nodes that run.
    fn any(&mut self) -> &Server {
        let running: Vec<usize> = (0..3).filter(|index| self.cluster.nodes[*index].is_running()).collect();
        let drawn = running[self.draw.random_range(0..running.len())];
        &self.cluster.nodes[drawn]
    }

    /// Asks one of them.
    fn client(&mut self) -> Client {
        let token = self.token.clone();
        self.any().client().with_token(&token)
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.draw.random_range(millis))).await;
    }

    /// A node dies, or one that had died comes back.
    async fn kill_or_restart(&mut self) {
        self.heal();
        match self.killed.take() {
            Some(index) => {
                eprintln!("node {} starts again", index + 1);
                self.cluster.nodes[index].restart();
                self.cluster.until_all_know(3).await;
            }
            None => {
                let index = self.draw.random_range(0..3);
                eprintln!("node {} dies", index + 1);
                self.cluster.nodes[index].kill9();
                self.killed = Some(index);
            }
        }
    }

    /// The database or the buckets go away for a while.
    async fn restart_a_store(&mut self) {
        if self.draw.random_range(0..2) == 0 {
            eprintln!("the database restarts");
            self.cluster.database.stop();
            self.pause(100..1500).await;
            self.cluster.database.resume();
        } else {
            eprintln!("the buckets restart");
            self.cluster.buckets.stop();
            self.pause(100..1500).await;
            self.cluster.buckets.resume();
        }
    }

    /// A node is cut off from the others or from the database, or all reach one another again.
    fn cut_or_heal(&mut self) {
        if self.is_cut {
            return self.heal();
        }
        let (index, links) = (self.draw.random_range(0..3), self.cluster.links());
        if self.draw.random_range(0..2) == 0 {
            eprintln!("node {} is cut off from the others", index + 1);
            links.cut_from_peers(index);
            self.parted_since = Some(Instant::now());
        } else {
            eprintln!("node {} is cut off from the database", index + 1);
            links.cut_from_database(index);
        }
        self.is_cut = true;
    }

    fn heal(&mut self) {
        if std::mem::take(&mut self.is_cut) {
            eprintln!("all reach one another again");
            self.cluster.links().heal();
        }
        if let Some(from) = self.parted_since.take() {
            // What it has set off may come after it.
            self.parted.push(Stretch { from, until: Instant::now() + NOTICED_WITHIN });
        }
    }

    /// Something happens.
    async fn strike(&mut self) {
        match self.draw.random_range(0..3) {
            0 => self.kill_or_restart().await,
            1 => self.restart_a_store().await,
            _ => self.cut_or_heal(),
        }
    }

    async fn all_run(&mut self) {
        self.heal();
        if self.killed.is_some() {
            self.kill_or_restart().await;
        }
    }
}

/// Bytes that the cluster says it has, once it says so to one of these clients.
async fn offset(mut next: impl FnMut() -> Client, id: &str) -> u64 {
    let path = format!("/api/v1/videos/upload/{id}");
    let begun = Instant::now();
    loop {
        let client = next();
        let answer = tokio::time::timeout(ANSWER_WITHIN, client.send(client.request(Method::GET, &path))).await;
        if let Ok(Ok(answer)) = answer
            && let Ok(told) = answer.json::<Value>().await
            && let Some(bytes) = told["bytes_uploaded"].as_u64()
        {
            return bytes;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody says how far the upload is");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Nothing that was acknowledged of an upload is lost, and no byte differs.
async fn an_upload(seed: u64) {
    let mut chaos = Chaos::start(seed, "[90]").await;
    let clip = half_minute_720p();
    let bytes = Bytes::from(std::fs::read(&clip).expect("the file"));
    let body = json!({
        "title": "a clip", "file_size": bytes.len(), "file_type": "video/mp4", "digest": format!("sha256:{}", sha256(&clip)),
    });
    let client = chaos.client();
    let made = ask(&client, client.request(Method::POST, "/api/v1/videos/upload/initiate").json(&body)).await;
    let id = text(&made, "/upload_id").to_owned();
    let mut acknowledged = 0;
    while acknowledged < bytes.len() as u64 {
        let chunk = chaos.draw.random_range(50_000..400_000).min(bytes.len() - acknowledged as usize);
        let piece = bytes.slice(acknowledged as usize..acknowledged as usize + chunk);
        let client = chaos.client();
        let (name, total, from) = (id.clone(), bytes.len(), acknowledged);
        let sending = tokio::spawn(async move {
            let sent = tokio::time::timeout(ANSWER_WITHIN, append(&client, &name, from, piece, total)).await;
            sent.ok()?.ok()?["bytes_uploaded"].as_u64()
        });
        if chaos.draw.random_range(0..8) < 3 {
            chaos.pause(0..40).await;
            chaos.strike().await;
        }
        let told = sending.await.expect("the sender");
        let found = match told {
            Some(told) => told,
            None => offset(|| chaos.client(), &id).await,
        };
        assert!(found >= acknowledged, "seed {seed}: {found} of {acknowledged} acknowledged bytes are there");
        acknowledged = found;
    }
    chaos.all_run().await;
    let client = chaos.client();
    let complete = client.request(Method::POST, &format!("/api/v1/videos/upload/{id}/complete")).json(&json!({}));
    let video_id = text(&ask(&client, complete).await, "/video_id").to_owned();
    // Its digest is the right one, or it would have failed.
    let video = client.wait_until_playable(&video_id, VERDICT_WITHIN).await.expect("a video");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "", "seed {seed}");
}

/// A ladder is made whole, whichever nodes die over it.
async fn a_ladder(seed: u64) {
    let mut chaos = Chaos::start(seed, "[144, 90]").await;
    let dir = tempfile::tempdir().expect("a directory");
    let clip = two_minutes_720p(dir.path());
    let client = chaos.client();
    let upload = create(&client, &clip).await;
    client.append(&upload.url, 0, std::fs::read(&clip).expect("a clip").into()).await.expect("an append");
    for _ in 0..3 {
        chaos.pause(300..5000).await;
        chaos.strike().await;
    }
    chaos.all_run().await;
    let client = chaos.client();
    let video: Value = until("all its rungs", VERDICT_WITHIN, || async {
        client.video(&upload.video_id).await.ok().filter(|video| video["status"] == "ready")
    })
    .await;
    let renditions = video["renditions"].as_array().expect("renditions");
    assert!(renditions.len() >= 3 && renditions.iter().all(|it| it["state"] == "ready"), "seed {seed}: {renditions:?}");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "", "seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_survive_whatever_happens() {
    for seed in rounds() {
        an_upload(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ladders_survive_whatever_happens() {
    for seed in rounds() {
        a_ladder(seed).await;
    }
}

/// What publisher and viewers know of the nodes: where each takes streams and where it answers, if it runs.
type Doors = Arc<Mutex<Vec<Option<(u16, String)>>>>;

fn doors_of(cluster: &Cluster) -> Vec<Option<(u16, String)>> {
    cluster.nodes.iter().map(|node| node.is_running().then(|| (node.port_of("rtmp"), node.url()))).collect()
}

fn open(doors: &Doors) -> Vec<(u16, String)> {
    doors.lock().expect("no panic while locked").iter().flatten().cloned().collect()
}

/// Publishes like an encoder that comes back whenever it was cut off, to any node; answers with its absences.
async fn publish(key: String, doors: Doors, stop: CancellationToken, seed: u64) -> Vec<Stretch> {
    let (mut draw, mut absent, mut absences) = (StdRng::seed_from_u64(seed), Instant::now(), Vec::new());
    while !stop.is_cancelled() {
        let nodes = open(&doors);
        let (port, _) = &nodes[draw.random_range(0..nodes.len())];
        let away = Stretch { from: absent, until: Instant::now() };
        let mut publisher = Publisher::standard(&format!("rtmp://127.0.0.1:{port}/live/{key}"));
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            ended = publisher.until_end() => Some(ended),
        };
        // One that was turned away was absent all the time.
        let stayed = away.until.elapsed();
        eprintln!("a publisher after {:?}, for {stayed:?} at port {port}: {ended:?}", away.length());
        if stayed > TURNED_AWAY_WITHIN {
            absences.push(away);
            absent = Instant::now();
        }
        tokio::time::sleep(COMES_BACK_AFTER).await;
    }
    absences
}

/// Follows a stream at one node, or at another while that one does not answer; answers with its waits for anything new, be it
/// a part of a segment. What is fetched under a number is the same everywhere.
async fn follow(path: String, (doors, home): (Doors, usize), stop: CancellationToken, seen: Seen) -> Vec<Stretch> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).build().expect("a client");
    let (mut newest, mut since, mut waits) = ((0, 0), None::<Instant>, Vec::new());
    while !stop.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let nodes = open(&doors);
        let at = doors.lock().expect("no panic while locked")[home].clone();
        let candidates = at.into_iter().chain(nodes);
        for (_, node) in candidates {
            let Ok(ready) = client.get(format!("{node}/readyz")).send().await else { continue };
            let Some((edge, url)) = newest_segment(&client, &format!("{node}{path}")).await else { continue };
            if !ready.status().is_success() {
                continue;
            }
            if edge > newest {
                let (until, number) = (Instant::now(), edge.0);
                waits.extend(since.map(|from| Stretch { from, until }));
                let is_new_segment = number > newest.0;
                (newest, since) = (edge, Some(until));
                if is_new_segment && let Some(digest) = digest(&client, &url).await {
                    let known = *seen.lock().expect("no panic while locked").entry(number).or_insert(digest);
                    assert_eq!(known, digest, "segment {number} is another one at {node}");
                }
            }
            break;
        }
    }
    waits
}

/// Digests of segments by number.
type Seen = Arc<Mutex<HashMap<u64, [u8; 32]>>>;

/// Number and URL of the newest whole segment, and how many parts there are behind it.
async fn newest_segment(client: &reqwest::Client, playlist: &str) -> Option<((u64, usize), String)> {
    let text = client.get(playlist).send().await.ok()?.error_for_status().ok()?.text().await.ok()?;
    let first: u64 = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"))?.parse().ok()?;
    let segments: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let url = reqwest::Url::parse(playlist).ok()?.join(segments.last()?).ok()?;
    let parts = text.rsplit("#EXTINF").next()?.matches("#EXT-X-PART:").count();
    Some(((first + segments.len() as u64 - 1, parts), url.into()))
}

async fn digest(client: &reqwest::Client, url: &str) -> Option<[u8; 32]> {
    let bytes = client.get(url).send().await.ok()?.error_for_status().ok()?.bytes().await.ok()?;
    Some(Sha256::digest(&bytes).into())
}

/// No wait of these viewers was longer than it may have been.
async fn waited_no_longer(followers: Vec<JoinHandle<Vec<Stretch>>>, absences: &[Stretch], parted: &[Stretch]) {
    for follower in followers {
        let waits = follower.await.expect("a viewer");
        let longest = waits.iter().max_by_key(|wait| wait.length()).expect("segments");
        eprintln!("a viewer waited for {:?} of {:?}", longest.length(), allowed(longest, absences, parted));
        let late: Vec<_> = waits.iter().filter(|wait| wait.length() > allowed(wait, absences, parted)).collect();
        assert!(late.is_empty(), "{late:?} are too long, with {absences:?} and {parted:?}");
    }
}

/// A broadcast goes on whatever happens: at every node the same segments, after no longer than the publisher's absence and a group of
/// pictures, and, where nodes are cut off from one another, what it takes to see that; all of it can be watched afterwards.
async fn a_broadcast(seed: u64) {
    let mut chaos = Chaos::start(seed, "[90]").await;
    let client = chaos.client();
    let live = make(&client, json!({"title": "Through it all"})).await;
    let key = text(&live, "/stream_key").to_owned();
    let path = text(&live, "/playback/hls").rsplit_once("/v/").map(|(_, path)| path.to_owned()).expect("a path");
    let path = format!("/v/{}", path.replace("master.m3u8", "v0/media.m3u8"));
    let (doors, stop, seen) = (Doors::default(), CancellationToken::new(), Seen::default());
    *doors.lock().expect("no panic while locked") = doors_of(&chaos.cluster);
    let publishing = tokio::spawn(publish(key, Arc::clone(&doors), stop.clone(), seed));
    in_state(&client, &live, "live").await;
    let followers: Vec<_> = (0..3)
        .map(|home| tokio::spawn(follow(path.clone(), (Arc::clone(&doors), home), stop.clone(), Arc::clone(&seen))))
        .collect();
    for _ in 0..4 {
        chaos.pause(4000..9000).await;
        chaos.strike().await;
        *doors.lock().expect("no panic while locked") = doors_of(&chaos.cluster);
    }
    chaos.all_run().await;
    *doors.lock().expect("no panic while locked") = doors_of(&chaos.cluster);
    let before = seen.lock().expect("no panic while locked").len();
    until("the stream to go on", PATIENCE, || async {
        (seen.lock().expect("no panic while locked").len() > before + 2).then_some(())
    })
    .await;
    stop.cancel();
    let absences = publishing.await.expect("the publisher");
    waited_no_longer(followers, &absences, &chaos.parted).await;
    let client = chaos.client();
    end(&client, &live).await;
    let ended = in_state(&client, &live, "ended").await;
    let video = client.wait_until_playable(text(&ended, "/video_id"), VERDICT_WITHIN).await.expect("the recording");
    assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "", "seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcasts_survive_whatever_happens() {
    for seed in rounds() {
        a_broadcast(seed).await;
    }
}

/// Nodes that encode with all they have are not taken for dead, by anybody.
#[tokio::test(flavor = "multi_thread")]
async fn busy_nodes_do_not_look_dead() {
    let secs = from_environment("SOAK_BUSY_SECS", 15);
    eprintln!("{secs} s of encoding (SOAK_BUSY_SECS)");
    let options = |options: ServerOptions| options.set("workers.processes", "3").set("workers.nice", "0");
    let cluster = Cluster::start(3, options).await;
    let creator = cluster.nodes[0].account("creator").await;
    let dir = tempfile::tempdir().expect("a directory");
    let clip = two_minutes_720p(dir.path());
    let bytes = Bytes::from(std::fs::read(&clip).expect("a clip"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(secs) {
        let upload = create(&creator, &clip).await;
        creator.append(&upload.url, 0, bytes.clone()).await.expect("an append");
        until("the nodes to encode it, or the time to be over", VERDICT_WITHIN, || async {
            let video = creator.video(&upload.video_id).await.ok()?;
            (video["status"] == "ready" || begun.elapsed() >= Duration::from_secs(secs)).then_some(())
        })
        .await;
    }
    for node in &cluster.nodes {
        let log = node.log_text();
        let wrong: Vec<&str> = ["no longer in the cluster", "is cut off", "is not renewed"]
            .into_iter()
            .flat_map(|sign| log.lines().filter(move |line| line.contains(sign)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    let helped = |node: &&Server| node.log_text().contains("made a unit for another node");
    assert!(secs < 60 || cluster.nodes.iter().any(|node| helped(&node)), "nobody was busy");
}
