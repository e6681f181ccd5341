//! From the frame that closes a part, as it leaves the publisher, until a viewer who waits for the part has all of it: on an
//! idle server, and while a ladder for an uploaded video takes all cores. Publisher and viewer run in this process.
#[path = "support/live.rs"]
#[allow(dead_code, reason = "other benches use the rest of it")]
mod live;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/e2e/uploads.rs"]
mod uploads;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use live::{CLIP, make, text};
use mp4_atom::{Atom, Decode, Header, Moof};
use playhouse::cli::bench::clip::LoopedClip;
use playhouse::protocols::dial::Dialer;
use playhouse::protocols::rtmp::client::Link;
use playhouse::protocols::rtmp::session::{ClientUrl, MediaMessage, Medium, Purpose};
use reqwest::Url;
use serde_json::json;
use support::clips::ten_minutes_720p;
use support::server::ServerOptions;
use support::tools::until;

/// Parts measured in each state.
const PARTS: usize = 300;
/// Longest for 99 % of the parts of an idle server.
const IDLE_P99_MAX_MS: f64 = 20.0;
/// Pictures of the clip, 30 a second, that fill a part of a quarter second.
const FULL_PART: usize = 7;
/// A part that takes longer than this, its own target, is late.
const LATE_MS: f64 = 250.0;
const PATIENCE: Duration = Duration::from_secs(240);

/// When each picture was there to be sent.
type Sent = Arc<Mutex<Vec<Instant>>>;

#[tokio::main]
async fn main() {
    // Made before anything is measured: it takes a while the first time.
    let clip = ten_minutes_720p();
    let server = ServerOptions::new().start();
    let client = server.account("creator").await;
    let live = make(&client, &json!({ "title": "Measured" })).await;
    let sent = Sent::default();
    let publisher = tokio::spawn(publish(text(&live, "/ingest/rtmp").to_owned(), Arc::clone(&sent)));
    let multivariant = Url::parse(text(&live, "/playback/hls")).expect("a URL");
    let media = multivariant.join("v0/media.m3u8").expect("a URL");
    println!("live parts: from the frame that closes a part to the viewer who waits for it, {PARTS} parts each");
    let mut viewer = Viewer::start(media, sent).await;
    report("idle", &viewer.follow(PARTS).await, IDLE_P99_MAX_MS);
    let encoding = async {
        let video = uploads::upload(&client, &clip).await;
        until("encoding to begin", PATIENCE, || async {
            let record = client.video(&video).await.expect("the video's record");
            (record["progress"].as_f64() > Some(1.0)).then_some(())
        })
        .await;
        video
    };
    let video = viewer.follow_until(encoding).await;
    let delays = viewer.follow(PARTS).await;
    let record = client.video(&video).await.expect("the video's record");
    assert_ne!(record["status"], "ready", "the ladder was made before the measurement ended");
    report(&format!("with a ladder on all cores ({} % made)", record["progress"]), &delays, LATE_MS);
    publisher.abort();
}

fn report(what: &str, delays: &[f64], p99_max: f64) {
    let mut sorted = delays.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let late = sorted.iter().filter(|delay| **delay > LATE_MS).count();
    println!(
        "  {what}: p50 {:.1} ms, p99 {:.1} ms (target {p99_max:.0}), max {:.1} ms, {late} late",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Publishes the pictures of the clip again and again, and notes when each was sent.
async fn publish(url: String, sent: Sent) {
    let clip = LoopedClip::read(&CLIP.make()).expect("a clip");
    let track = clip.tracks.iter().find(|track| track.medium == Medium::Video).expect("pictures");
    let url = ClientUrl::parse(&url).expect("a URL");
    let dialer = Dialer::new(&url.host, url.port, None).expect("a dialer");
    let mut link = Link::open(&dialer, &url, Purpose::Publish).await.expect("a connection");
    for (medium, payload) in clip.headers.iter().filter(|(medium, _)| *medium == Medium::Video) {
        link.send(MediaMessage { medium: *medium, timestamp_ms: 0, payload: payload.clone() }).expect("room");
    }
    let began = tokio::time::Instant::now();
    for number in 0.. {
        let (due_us, message) = track.message(number);
        link.listen_until(began + Duration::from_micros(due_us)).await.expect("a connection");
        let timestamp_ms = (due_us / 1000) as u32;
        sent.lock().expect("nobody panics").push(Instant::now());
        link.send(MediaMessage { medium: Medium::Video, timestamp_ms, payload: message.payload.clone() })
            .expect("room");
        link.flush().await.expect("a connection");
    }
}

/// Waits for one part after the other by its name, as preload hints tell it.
struct Viewer {
    media: Url,
    sent: Sent,
    http: reqwest::Client,
    /// Pictures in the parts so far.
    pictures: usize,
    /// Name of the part that is waited for.
    next: Option<String>,
}

impl Viewer {
    /// One that knows how many pictures came before those it will see.
    async fn start(media: Url, sent: Sent) -> Self {
        let mut viewer = Self { media, sent, http: reqwest::Client::new(), pictures: 0, next: None };
        let text = until("parts", PATIENCE, || async {
            viewer.playlist().await.filter(|text| text.contains("#EXT-X-PRELOAD-HINT"))
        })
        .await;
        let first = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse::<u64>().ok());
        // Each broadcast of a stream has a range of numbers of its own.
        assert!(first.is_some_and(|first| first % (1 << 24) == 0), "nothing has left the window:\n{text}");
        for name in attributes(&text, "#EXT-X-PART:") {
            let bytes = viewer.fetch(&name).await;
            viewer.pictures += pictures_in(&bytes);
        }
        viewer.next = attributes(&text, "#EXT-X-PRELOAD-HINT:").pop();
        viewer
    }

    async fn playlist(&self) -> Option<String> {
        let response = self.http.get(self.media.clone()).send().await.ok()?.error_for_status().ok()?;
        response.text().await.ok()
    }

    async fn fetch(&self, name: &str) -> Vec<u8> {
        let url = self.media.join(name).expect("a URL");
        let response = self.http.get(url).send().await.expect("an answer").error_for_status().expect("a part");
        response.bytes().await.expect("its bytes").to_vec()
    }

    /// Delays of the next parts, milliseconds.
    async fn follow(&mut self, parts: usize) -> Vec<f64> {
        let mut delays = Vec::new();
        while delays.len() < parts {
            delays.push(self.take_next().await);
        }
        delays
    }

    /// Goes on while something else happens.
    async fn follow_until<T>(&mut self, other: impl Future<Output = T>) -> T {
        tokio::pin!(other);
        loop {
            tokio::select! {
                happened = &mut other => return happened,
                _ = self.take_next() => {}
            }
        }
    }

    /// The next part's delay, milliseconds. Given up before its end, it will be asked for again.
    async fn take_next(&mut self) -> f64 {
        let name = self.next.clone().expect("a hint");
        let bytes = self.fetch(&name).await;
        let came = Instant::now();
        let text = self.playlist().await.expect("a playlist");
        self.next = attributes(&text, "#EXT-X-PRELOAD-HINT:").pop();
        let pictures = pictures_in(&bytes);
        self.pictures += pictures;
        // A part with room left ends where the next key frame comes: that one closes it.
        let closing = if pictures < FULL_PART { self.pictures } else { self.pictures - 1 };
        let closed = self.sent.lock().expect("nobody panics")[closing];
        came.saturating_duration_since(closed).as_secs_f64() * 1e3
    }
}

/// `URI` of the tags of a kind, in order.
fn attributes(playlist: &str, tag: &str) -> Vec<String> {
    let tags = playlist.lines().filter(|line| line.starts_with(tag));
    tags.filter_map(|line| Some(line.split("URI=\"").nth(1)?.split('"').next()?.to_owned())).collect()
}

fn pictures_in(part: &[u8]) -> usize {
    let mut rest = part;
    let mut pictures = 0;
    while let Ok(header) = Header::decode(&mut rest) {
        let size = header.size.unwrap_or(rest.len());
        let (body, behind) = rest.split_at(size.min(rest.len()));
        if header.kind == Moof::KIND {
            let moof = Moof::decode_body(&mut &*body).expect("a movie fragment");
            pictures += moof.traf.iter().flat_map(|traf| &traf.trun).map(|trun| trun.samples.len()).sum::<usize>();
        }
        rest = behind;
    }
    pictures
}
