//! `playhouse bench publishers`: publishers by RTMP or RTMPS, each sending a clip again and again at its own pace.
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::clip::LoopedClip;
use super::{allow_many_files, rate};
use crate::cli::PublishersArgs;
use crate::cli::client::Client;
use crate::media::pipelines::synthetic::{ClipSpec, make_clip};
use crate::protocols::dial::{Dialer, TlsChoice};
use crate::protocols::rtmp::client::{Ended, Link};
use crate::protocols::rtmp::session::{ClientUrl, MediaMessage, Purpose};

/// A message sent this long after it was due is late.
const LATE_AFTER: Duration = Duration::from_millis(100);
/// Bytes queued at once by a publisher that is behind.
const BEHIND_BYTES: usize = 256 << 10;
/// Pause before a lost connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// Length of a clip that is made here.
const CLIP_SECS: u64 = 10;

/// What all publishers count together.
#[derive(Debug, Default)]
struct Totals {
    connected: AtomicU64,
    bytes: AtomicU64,
    frames: AtomicU64,
    late: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Runs publishers for the time asked for. Fails when one was refused or none ever sent.
pub async fn run(args: &PublishersArgs) -> anyhow::Result<ExitCode> {
    allow_many_files()?;
    let urls = targets(args).await?;
    let clip = Arc::new(load_clip(args).await?);
    println!("{} publishers, each sending {} kb/s", urls.len(), clip.bit_rate() / 1000);
    let (totals, mut tasks) = (Arc::new(Totals::default()), JoinSet::new());
    let (began, count) = (Instant::now(), urls.len());
    for (number, url) in urls.into_iter().enumerate() {
        let publisher = Publisher::new(&url, args.insecure, (Arc::clone(&clip), Arc::clone(&totals)))?;
        let starts = began + args.ramp.mul_f64(number as f64 / count as f64);
        tasks.spawn(async move {
            sleep_until(starts).await;
            publisher.publish().await;
        });
    }
    let reporting = report(&totals, count);
    tokio::select! {
        () = tokio::time::sleep(args.duration) => {}
        () = reporting => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tasks.shutdown().await;
    Ok(conclude(&totals, began.elapsed()))
}

fn conclude(totals: &Totals, time: Duration) -> ExitCode {
    let (bytes, frames, refused) = (read(&totals.bytes), read(&totals.frames), read(&totals.refused));
    println!(
        "in all: {} in {:.0} s, {}; {frames} messages, {} late; {} connections lost, {refused} publishers refused",
        bytesize::ByteSize::b(bytes),
        time.as_secs_f64(),
        rate(bytes, time),
        read(&totals.late),
        read(&totals.lost),
    );
    if refused > 0 || frames == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says each second how things are, until all publishers were refused.
async fn report(totals: &Totals, count: usize) {
    let (began, mut before) = (Instant::now(), (Instant::now(), 0));
    while read(&totals.refused) < count as u64 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (now, bytes) = (Instant::now(), read(&totals.bytes));
        println!(
            "{:4.0} s  {:5} of {count} connected  {:>12}  {} late  {} lost  {} refused",
            began.elapsed().as_secs_f64(),
            read(&totals.connected),
            rate(bytes - before.1, now - before.0),
            read(&totals.late),
            read(&totals.lost),
            read(&totals.refused),
        );
        before = (now, bytes);
    }
}

/// Where each publisher sends to: keys behind a URL, or streams made for the occasion.
async fn targets(args: &PublishersArgs) -> anyhow::Result<Vec<String>> {
    if let (Some(api), Some(token)) = (&args.api, &args.token) {
        return make_streams(&Client::new(api)?.with_token(token), args.count.unwrap_or(1)).await;
    }
    let Some(url) = &args.url else { bail!("say where to publish: --url with --key or --keys, or --api with --token") };
    let mut keys = args.key.clone();
    if let Some(file) = &args.keys {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        keys.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let count = args.count.unwrap_or(keys.len());
    ensure!(count > 0 && count <= keys.len(), "{count} publishers need as many keys, there are {}", keys.len());
    Ok(keys.iter().take(count).map(|key| format!("{}/{key}", url.trim_end_matches('/'))).collect())
}

async fn make_streams(client: &Client, count: usize) -> anyhow::Result<Vec<String>> {
    let mut urls = Vec::new();
    for number in 1..=count {
        let wanted = json!({ "title": format!("Load {number}"), "privacy": "public" });
        let request = client.request(reqwest::Method::POST, "/api/v1/live").json(&wanted);
        let live: serde_json::Value = client.send(request).await?.json().await?;
        let hls = live["playback"]["hls"].as_str().unwrap_or_default();
        println!("stream {number}: {hls}");
        urls.push(live["ingest"]["rtmp"].as_str().context("the answer has no ingest.rtmp")?.to_owned());
    }
    Ok(urls)
}

async fn load_clip(args: &PublishersArgs) -> anyhow::Result<LoopedClip> {
    let (file, spec) = (args.clip.clone(), clip_spec(args));
    let loading = tokio::task::spawn_blocking(move || match file {
        Some(file) => Ok(LoopedClip::read(&file)?),
        None => {
            let scratch = tempfile::tempdir()?;
            let made = scratch.path().join("clip.mp4");
            make_clip(&spec, &made).context("`playhouse doctor` says what is missing; --clip FILE sends a file")?;
            Ok(LoopedClip::read(&made)?)
        }
    });
    loading.await?
}

fn clip_spec(args: &PublishersArgs) -> ClipSpec {
    ClipSpec {
        duration: Duration::from_secs(CLIP_SECS),
        width: 1280,
        height: 720,
        frames_per_sec: args.fps.max(1),
        kilobits_per_sec: args.bitrate,
        frames_per_key: args.gop.max(1),
    }
}

/// One publisher.
struct Publisher {
    url: ClientUrl,
    dialer: Dialer,
    clip: Arc<LoopedClip>,
    totals: Arc<Totals>,
}

impl Publisher {
    fn new(url: &str, insecure: bool, (clip, totals): (Arc<LoopedClip>, Arc<Totals>)) -> anyhow::Result<Self> {
        let url = ClientUrl::parse(url)?;
        let tls = url.is_tls.then_some(TlsChoice { insecure, protocols: &[] });
        let dialer = Dialer::new(&url.host, url.port, tls)?;
        Ok(Self { url, dialer, clip, totals })
    }

    /// Publishes until it is refused, over as many connections as it takes.
    async fn publish(self) {
        loop {
            match self.connect_and_send().await {
                Ended::Refused(rejection) => {
                    eprintln!("refused: {}", rejection.description);
                    return add(&self.totals.refused, 1);
                }
                Ended::Lost(_) => add(&self.totals.lost, 1),
            }
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    async fn connect_and_send(&self) -> Ended {
        let mut link = match Link::open(&self.dialer, &self.url, Purpose::Publish).await {
            Ok(link) => link,
            Err(ended) => return ended,
        };
        add(&self.totals.connected, 1);
        let ended = self.send_for_ever(&mut link).await;
        self.totals.connected.fetch_sub(1, Ordering::Relaxed);
        match ended {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn send_for_ever(&self, link: &mut Link) -> Result<std::convert::Infallible, Ended> {
        for (medium, payload) in &self.clip.headers {
            link.send(MediaMessage { medium: *medium, timestamp_ms: 0, payload: payload.clone() })?;
        }
        let (began, mut sent) = (Instant::now(), vec![0; self.clip.tracks.len()]);
        loop {
            // A clip has at least one track, and tracks go on for ever.
            let Some((track, due_us, message)) = self.clip.next(&sent) else {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            };
            let due = began + Duration::from_micros(due_us);
            if due > Instant::now() || link.queued_bytes() > BEHIND_BYTES {
                add(&self.totals.bytes, link.flush().await?);
                link.listen_until(due).await?;
            }
            add(&self.totals.frames, 1);
            add(&self.totals.late, u64::from(due.elapsed() > LATE_AFTER));
            // Times wrap as those of every publisher do, after 49 days.
            let (medium, timestamp_ms) = (self.clip.tracks[track].medium, (due_us / 1000) as u32);
            link.send(MediaMessage { medium, timestamp_ms, payload: message.payload.clone() })?;
            sent[track] += 1;
        }
    }
}
