//! Whoever holds something may die: the node that has an upload, a publisher, the ladder of a broadcast, a video's job, most of its chunks
//! or viewers' sessions is looked for, and killed, one after the other in an order drawn by the seed, while all of these go on.
use std::sync::Arc;

use bytes::Bytes;
use playhouse::cli::client::Client;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    ANSWER_WITHIN, Chaos, Doors, PATIENCE, Seen, Stretch, doors_of, follow, offset, open, publish, rounds,
    waited_no_longer,
};
use crate::buckets::append;
use crate::live::{ask, end, in_state, make, text};
use crate::support::clips::{half_minute_720p, standard};
use crate::support::tools::{ffmpeg_complaints, sha256, until};
use crate::uploads::{VERDICT_WITHIN, manifest_url, playable, upload};

/// Viewers who tell of themselves.
const VIEWERS: usize = 9;
/// Time between their beacons.
const BEACON_EVERY: Duration = Duration::from_millis(500);
/// An upload is sent in pieces of so many bytes, so often: it takes longer than everything else.
const PIECE_BYTES: usize = 16 << 10;
const PIECE_EVERY: Duration = Duration::from_millis(250);
/// In such pieces it is sent to its end.
const LAST_PIECES_BYTES: usize = 1 << 20;

/// An encoder is absent for so much longer, and a node later, on a machine on which three nodes encode.
const BUSY_FOR: Duration = Duration::from_secs(2);

const SETTINGS: [(&str, &str); 5] = [
    ("transcode.rungs", "[144, 90]"),
    // Many chunks.
    ("transcode.chunk_duration", "4s"),
    ("live.rungs", "[90]"),
    // However far behind a busy machine is, the rung is not given up.
    ("live.rung_lag_max", "2m"),
    ("live.reconnect_grace", "60s"),
];

/// What a node can have that others have not.
#[derive(Debug, Clone, Copy)]
enum Holding {
    Upload,
    Publisher,
    Rungs,
    Job,
    Chunks,
    Sessions,
}

impl Holding {
    const ALL: [Self; 6] = [Self::Upload, Self::Publisher, Self::Rungs, Self::Job, Self::Chunks, Self::Sessions];
}

/// What publisher, uploader and viewers need to know.
#[derive(Clone)]
struct Outside {
    doors: Doors,
    token: String,
    stop: CancellationToken,
}

impl Outside {
    /// One that asks any node that runs.
    fn client(&self, draw: &mut StdRng) -> Client {
        let nodes = open(&self.doors);
        Client::new(&nodes[draw.random_range(0..nodes.len())].1).expect("a client").with_token(&self.token)
    }

    /// Sends a file in pieces to any node, and goes on where the cluster says after whatever fails; when all else is over, to its end.
    async fn send(self, id: String, bytes: Bytes, seed: u64) {
        let (mut draw, mut acknowledged) = (StdRng::seed_from_u64(seed), 0);
        while acknowledged < bytes.len() {
            let length = if self.stop.is_cancelled() { LAST_PIECES_BYTES } else { PIECE_BYTES };
            let piece = bytes.slice(acknowledged..(acknowledged + length).min(bytes.len()));
            let client = self.client(&mut draw);
            let sent = timeout(ANSWER_WITHIN, append(&client, &id, acknowledged as u64, piece, bytes.len())).await;
            let told = sent.ok().and_then(|sent| sent.ok()?["bytes_uploaded"].as_u64());
            let found = match told {
                Some(told) => told,
                None => offset(|| self.client(&mut draw), &id).await,
            };
            assert!(found >= acknowledged as u64, "{found} of {acknowledged} acknowledged bytes are there");
            acknowledged = found as usize;
            let _ = timeout(PIECE_EVERY, self.stop.cancelled()).await;
        }
    }

    /// Begins to watch; the session, once it is told of.
    async fn sit_down(&self, video: &str, viewer: usize) -> Session {
        let url = format!("/api/v1/videos/{video}/playback");
        let client = self.client(&mut StdRng::seed_from_u64(viewer as u64));
        let opened = ask(&client, client.request(Method::POST, &url)).await;
        let session = Session { video: video.to_owned(), name: text(&opened, "/session").to_owned(), viewer };
        self.tell(&session, 1).await;
        session
    }

    /// Tells that somebody watches: what one node does not take is told to the next.
    async fn tell(&self, session: &Session, beat: usize) {
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().expect("a client");
        let (Session { video, name, viewer }, begun) = (session, Instant::now());
        let events = if beat == 1 { vec![json!({"type": "play"})] } else { Vec::new() };
        let progress = (beat as f64 * BEACON_EVERY.as_secs_f64()).min(9.0);
        let body = json!({"session": name, "seq": beat, "progress_sec": progress, "events": events});
        for turn in viewer + beat.. {
            let nodes = open(&self.doors);
            let url = format!("{}/api/v1/videos/{video}/heartbeat", nodes[turn % nodes.len()].1);
            match client.post(url).json(&body).send().await.map(|answer| answer.status()) {
                Ok(StatusCode::NO_CONTENT) => return,
                // Its node has just died.
                Err(_) | Ok(StatusCode::SERVICE_UNAVAILABLE) => {}
                Ok(refused) => panic!("beacon {beat} of viewer {viewer}: {refused}"),
            }
            assert!(begun.elapsed() < PATIENCE, "beacon {beat} of viewer {viewer} is taken by nobody");
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn watch(self, session: Session) {
        for beat in 2.. {
            if timeout(BEACON_EVERY, self.stop.cancelled()).await.is_ok() {
                return;
            }
            self.tell(&session, beat).await;
        }
    }
}

/// Somebody who watches a video.
struct Session {
    video: String,
    name: String,
    viewer: usize,
}

/// All actors of a kind.
fn of_kind<'a>(described: &'a Value, kind: &str) -> Vec<&'a Value> {
    let below: Vec<&Value> = match described {
        Value::Object(fields) if fields.get("kind").is_some_and(|of| of == kind) => return vec![described],
        Value::Object(fields) => fields.values().collect(),
        Value::Array(all) => all.iter().collect(),
        _ => Vec::new(),
    };
    below.into_iter().flat_map(|below| of_kind(below, kind)).collect()
}

/// What goes on.
struct World {
    chaos: Chaos,
    outside: Outside,
    live: Value,
    /// Segments of the broadcast that were seen: as it came, and of its rung.
    seen: [Seen; 2],
    upload: String,
    /// Videos that are encoded.
    encoded: Vec<String>,
}

impl World {
    /// How much of something a node has that describes itself so.
    fn amount(&self, holding: Holding, described: &Value) -> u64 {
        let keyed = |kind: &str, key: &str| {
            let found = of_kind(described, kind).into_iter().find(|actor| actor["key"] == key);
            found.map(|actor| actor["state"].clone())
        };
        let job = || keyed("transcode_job", self.encoded.last().expect("a video"));
        let ingest = || keyed("live_ingest", text(&self.live, "/id")).filter(|state| state["feeding"].is_u64());
        match holding {
            Holding::Upload => u64::from(keyed("upload_session", &self.upload).is_some()),
            Holding::Publisher => u64::from(ingest().is_some()),
            Holding::Rungs => {
                u64::from(ingest().is_some_and(|state| state["stats"]["ladder"]["added_latency_ms"].is_i64()))
            }
            Holding::Job => job().and_then(|state| state["units"]["running"].as_u64()).unwrap_or(0),
            // The one that has the job dies for itself.
            Holding::Chunks if job().is_some() => 0,
            Holding::Chunks => keyed("workers", "pool").and_then(|state| state["running"].as_u64()).unwrap_or(0),
            Holding::Sessions => of_kind(described, "playback_session").len() as u64,
        }
    }

    /// How much of something each node has.
    async fn amounts(&self, holding: Holding) -> Vec<u64> {
        let told = self.chaos.cluster.nodes.iter().map(|node| async {
            let described = if node.is_running() { self.chaos.cluster.actors(node).await } else { None };
            described.map_or(0, |described| self.amount(holding, &described))
        });
        futures::future::join_all(told).await
    }

    /// The node that has the most of something.
    async fn holder(&self, holding: Holding) -> usize {
        until(&format!("a node to have {holding:?}"), VERDICT_WITHIN, || async {
            let amounts = self.amounts(holding).await;
            (0..amounts.len()).max_by_key(|node| amounts[*node]).filter(|node| amounts[*node] > 0)
        })
        .await
    }

    /// A new segment of the broadcast is seen, of its rung if that is wanted.
    async fn is_seen_on(&self, of_rung: bool) {
        let seen = &self.seen[usize::from(of_rung)];
        let newest = || seen.lock().expect("no panic while locked").keys().max().copied();
        let before = newest();
        until("a new segment", PATIENCE, || async { (newest() > before).then_some(()) }).await;
    }

    /// What the dead node had goes on at others.
    async fn goes_on(&self, holding: Holding) {
        match holding {
            Holding::Upload => drop(self.holder(holding).await),
            Holding::Publisher | Holding::Rungs => {
                self.holder(holding).await;
                self.is_seen_on(matches!(holding, Holding::Rungs)).await;
            }
            Holding::Job | Holding::Chunks => {
                let client = self.outside.client(&mut StdRng::seed_from_u64(0));
                let video = self.encoded.last().expect("a video");
                until("the video's job to go on", VERDICT_WITHIN, || async {
                    let works = self.amounts(Holding::Job).await.into_iter().any(|running| running > 0);
                    (works || client.video(video).await.ok()?["status"] == "ready").then_some(())
                })
                .await;
            }
            Holding::Sessions => {
                until("all sessions to be elsewhere", PATIENCE, || async {
                    (self.amounts(holding).await.into_iter().sum::<u64>() >= VIEWERS as u64).then_some(())
                })
                .await;
            }
        }
    }

    fn note_doors(&self) {
        *self.outside.doors.lock().expect("no panic while locked") = doors_of(&self.chaos.cluster);
    }

    /// The node that has something dies, and comes back once that goes on elsewhere.
    async fn strike(&mut self, holding: Holding) {
        self.is_seen_on(true).await;
        if matches!(holding, Holding::Job | Holding::Chunks) {
            self.encoded.push(upload(&self.chaos.client(), &half_minute_720p()).await);
        }
        let node = self.holder(holding).await;
        self.chaos.cluster.nodes[node].kill9();
        self.note_doors();
        let died = Instant::now();
        eprintln!("node {} has {holding:?} and dies", node + 1);
        self.goes_on(holding).await;
        eprintln!("{holding:?} goes on {:?} later", died.elapsed());
        self.chaos.cluster.nodes[node].restart();
        self.chaos.cluster.until_all_know(3).await;
        self.note_doors();
    }
}

/// Those who go on with it.
struct Crowd {
    publisher: JoinHandle<Vec<Stretch>>,
    followers: [Vec<JoinHandle<Vec<Stretch>>>; 2],
    uploader: JoinHandle<()>,
    viewers: Vec<JoinHandle<()>>,
}

impl World {
    /// Three nodes with a broadcast that has a ladder, an upload under way, and a video that is encoded.
    async fn begin(seed: u64, bytes: usize, digest: String) -> Self {
        let mut chaos = Chaos::start_with(seed, &SETTINGS).await;
        let client = chaos.client();
        let live = make(&client, json!({"title": "Through it all", "ladder": "full"})).await;
        let body = json!({"title": "a clip", "file_size": bytes, "file_type": "video/mp4", "digest": digest});
        let made = ask(&client, client.request(Method::POST, "/api/v1/videos/upload/initiate").json(&body)).await;
        let token = chaos.token.clone();
        let outside = Outside { doors: Doors::default(), token, stop: CancellationToken::new() };
        let upload = text(&made, "/upload_id").to_owned();
        let world = Self { chaos, outside, live, seen: Default::default(), upload, encoded: Vec::new() };
        world.note_doors();
        world
    }

    /// Has all of them begin.
    async fn gather(&mut self, seed: u64, bytes: Bytes, watched: &str) -> Crowd {
        let Outside { doors, stop, .. } = self.outside.clone();
        let key = text(&self.live, "/stream_key").to_owned();
        let publisher = tokio::spawn(publish(key, Arc::clone(&doors), stop.clone(), seed));
        in_state(&self.chaos.client(), &self.live, "live").await;
        self.holder(Holding::Rungs).await;
        let master = text(&self.live, "/playback/hls").rsplit_once("/v/").map(|(_, path)| format!("/v/{path}"));
        let master = master.expect("a path");
        let all_follow = |(track, seen): (&str, &Seen)| {
            let path = master.replace("master.m3u8", &format!("{track}/media.m3u8"));
            let one =
                |home| tokio::spawn(follow(path.clone(), (Arc::clone(&doors), home), stop.clone(), Arc::clone(seen)));
            (0..3).map(one).collect::<Vec<_>>()
        };
        let followers = [all_follow(("v0", &self.seen[0])), all_follow(("r90", &self.seen[1]))];
        let uploader = tokio::spawn(self.outside.clone().send(self.upload.clone(), bytes, seed));
        let mut viewers = Vec::new();
        for viewer in 0..VIEWERS {
            let session = self.outside.sit_down(watched, viewer).await;
            viewers.push(tokio::spawn(self.outside.clone().watch(session)));
        }
        self.encoded.push(upload(&self.chaos.client(), &half_minute_720p()).await);
        Crowd { publisher, followers, uploader, viewers }
    }

    /// The broadcast was on but for its publisher's absences, with its rung; its recording decodes.
    async fn was_broadcast(
        &mut self,
        publisher: JoinHandle<Vec<Stretch>>,
        followers: [Vec<JoinHandle<Vec<Stretch>>>; 2],
    ) {
        let [of_source, of_rung] = followers;
        let mut absences = publisher.await.expect("the publisher");
        absences.iter_mut().for_each(|absence| absence.until += BUSY_FOR);
        waited_no_longer(of_source, &absences, &[]).await;
        for follower in of_rung {
            follower.await.expect("a viewer of the rung");
        }
        let client = self.chaos.client();
        end(&client, &self.live).await;
        let ended = in_state(&client, &self.live, "ended").await;
        let video = client.wait_until_playable(text(&ended, "/video_id"), VERDICT_WITHIN).await.expect("the recording");
        assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
    }

    /// All videos are encoded, in all their rungs.
    async fn were_encoded(&mut self) {
        let client = self.chaos.client();
        for id in &self.encoded {
            let video: Value = until("all its rungs", VERDICT_WITHIN, || async {
                client.video(id).await.ok().filter(|video| video["status"] == "ready")
            })
            .await;
            let renditions = video["renditions"].as_array().expect("renditions");
            assert!(renditions.len() >= 3 && renditions.iter().all(|it| it["state"] == "ready"), "{renditions:?}");
            assert_eq!(ffmpeg_complaints(&manifest_url(&client, &video)), "");
        }
    }
}

async fn all_holders(seed: u64) {
    let clip = half_minute_720p();
    let bytes = Bytes::from(std::fs::read(&clip).expect("the file"));
    let mut world = World::begin(seed, bytes.len(), format!("sha256:{}", sha256(&clip))).await;
    let watched = playable(&world.chaos.client(), &standard()).await;
    let watched = text(&watched, "/id");
    let Crowd { publisher, followers, uploader, viewers } = world.gather(seed, bytes, watched).await;
    let mut strikes = Holding::ALL;
    strikes.shuffle(&mut world.chaos.draw);
    for holding in strikes {
        world.strike(holding).await;
    }
    for of_rung in [false, true] {
        world.is_seen_on(of_rung).await;
    }
    world.outside.stop.cancel();
    world.was_broadcast(publisher, followers).await;
    uploader.await.expect("the uploader");
    let client = world.chaos.client();
    let complete = client.request(Method::POST, &format!("/api/v1/videos/upload/{}/complete", world.upload));
    let uploaded = text(&ask(&client, complete.json(&json!({}))).await, "/video_id").to_owned();
    // Its digest is the right one, or it would have failed.
    client.wait_until_playable(&uploaded, VERDICT_WITHIN).await.expect("a video");
    world.encoded.push(uploaded);
    world.were_encoded().await;
    for viewer in viewers {
        viewer.await.expect("a viewer");
    }
    until("one view of each", PATIENCE, || async {
        (client.video(watched).await.ok()?["view_count"] == VIEWERS).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_something_may_die() {
    for seed in rounds() {
        all_holders(seed).await;
    }
}
