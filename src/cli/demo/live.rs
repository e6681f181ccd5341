//! `playhouse demo --live`: a picture with a clock, broadcast over RTMP as any encoder would.
use std::future::pending;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::client::Client;
use crate::media::pipelines::synthetic::{ClipSpec, LiveClip, LiveUnit};
use crate::protocols::dial::{Dialer, TlsChoice};
use crate::protocols::rtmp::client::{Ended, Link};
use crate::protocols::rtmp::session::{ClientUrl, MediaMessage, Medium, Purpose};
use crate::protocols::rtmp::wire::flv::audio::AudioCodec;
use crate::protocols::rtmp::wire::flv::emit::{AudioTrackWriter, VideoTrackWriter};
use crate::protocols::rtmp::wire::flv::video::VideoCodec;
use crate::system::SystemClock;

/// What is sent: a key frame every two seconds, as streaming services ask for.
const CLIP: ClipSpec = ClipSpec {
    duration: Duration::ZERO,
    width: 1280,
    height: 720,
    frames_per_sec: 30,
    kilobits_per_sec: 1500,
    frames_per_key: 60,
};
/// Pause before a lost connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Makes a stream and publishes to it until interrupted, or for this long; then ends the broadcast.
pub(super) async fn broadcast(client: &Client, duration: Option<Duration>) -> anyhow::Result<()> {
    let request = client.request(Method::POST, "/api/v1/live").json(&json!({ "title": "Demo" }));
    let live: Value = client.send(request).await?.json().await?;
    let id = live["id"].as_str().context("the answer has no id")?;
    let ingest = live["ingest"]["rtmp"].as_str().context("the answer has no ingest.rtmp")?;
    let key = live["stream_key"].as_str().unwrap_or_default();
    introduce(client, &live, (ingest, key));
    let stopped = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => pending().await,
        }
    };
    let published = tokio::select! {
        published = publish(ingest) => published,
        _ = tokio::signal::ctrl_c() => Ok(()),
        () = stopped => Ok(()),
    };
    let end = client.request(Method::POST, &format!("/api/v1/live/{id}/end"));
    client.send(end).await.context("the broadcast was not ended")?;
    println!("The broadcast has ended.");
    published
}

fn introduce(client: &Client, live: &Value, (ingest, key): (&str, &str)) {
    let server = ingest.strip_suffix(key).unwrap_or(ingest).trim_end_matches('/');
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    println!("Watch it:     {}/live/{}", client.base(), text("/id"));
    println!("HLS manifest: {}", super::absolute(client.base(), &text("/playback/hls")));
    println!("The strip at the bottom says the time in milliseconds since 1970, modulo 2^24, to machines.");
    println!("To take over with OBS: Settings, Stream, Service Custom, Server {server}, Stream Key {key}");
    println!("Ctrl-C ends the broadcast.");
}

/// Publishes for ever, over as many connections as it takes, until another publisher takes over.
async fn publish(ingest: &str) -> anyhow::Result<()> {
    let url = ClientUrl::parse(ingest)?;
    let tls = url.is_tls.then_some(TlsChoice { insecure: false, protocols: &[] });
    let dialer = Dialer::new(&url.host, url.port, tls)?;
    loop {
        match send(&dialer, &url).await? {
            Ended::Refused(rejection) => bail!("the server says: {}", rejection.description),
            Ended::Lost(error) => eprintln!("The connection to {}:{} was lost: {error}", url.host, url.port),
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// Publishes over one connection; why it ended. An error when nothing can be encoded here.
async fn send(dialer: &Dialer, url: &ClientUrl) -> anyhow::Result<Ended> {
    let mut link = match Link::open(dialer, url, Purpose::Publish).await {
        Ok(link) => link,
        Err(ended) => return Ok(ended),
    };
    let started = tokio::task::spawn_blocking(|| LiveClip::start(&CLIP, SystemClock)).await?;
    let mut clip = started.context("`playhouse doctor` says what this machine lacks")?;
    loop {
        // The server is heard each time there is something to tell it.
        let unit = clip.next().await.context("the encoder has ended; `playhouse doctor` says what is missing")?;
        if let Err(ended) = pass_on(&mut link, &unit).await {
            return Ok(ended);
        }
    }
}

async fn pass_on(link: &mut Link, unit: &LiveUnit) -> Result<(), Ended> {
    let Some(message) = message_of(unit) else { return Ok(()) };
    link.send(message)?;
    link.flush().await?;
    link.listen_until(Instant::now()).await
}

/// The unit as a message; every codec named here has a code.
fn message_of(unit: &LiveUnit) -> Option<MediaMessage> {
    let video = VideoTrackWriter::new(VideoCodec::Avc, 0)?;
    let audio = AudioTrackWriter::new(AudioCodec::Aac, 0)?;
    let (medium, at_ms, payload) = match unit {
        LiveUnit::VideoConfiguration(record) => (Medium::Video, 0, video.sequence_start(record)),
        LiveUnit::AudioConfiguration(record) => (Medium::Audio, 0, audio.sequence_start(record)),
        LiveUnit::Picture { at_ms, is_key, data } => (Medium::Video, *at_ms, video.frame(*is_key, 0, data)),
        LiveUnit::Sound { at_ms, data } => (Medium::Audio, *at_ms, audio.frame(data)),
    };
    // Times wrap as those of every publisher do, after 49 days.
    Some(MediaMessage { medium, timestamp_ms: at_ms as u32, payload })
}
