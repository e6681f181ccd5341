//! What encoders may send: each kind of stream follows the letter of what it is delivered by, and decodes.
use std::process::Command;
use std::time::Duration;

use playhouse::cli::client::Client;
use serde_json::{Value, json};

use crate::live::{Publisher, complaints, in_state, make, text};
use crate::support::clients::Checking;
use crate::support::server::Server;
use crate::support::tools::{output, until};

/// How long each stream is watched, seconds.
const WATCHED: &str = "12";
/// What is due may come this late on a machine that runs the whole suite.
const LATE_MS: &str = "3000";
/// Streams at a time.
const AT_ONCE: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

const SMALL: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -b:v 200k -vf scale=160:90";

/// A kind of stream: its name, and ffmpeg's output options.
struct Format(&'static str, &'static str);

const FORMATS: [Format; 9] = [
    Format("sound only, mono, 44.1 kHz", "-vn -c:a aac -ac 1 -ar 44100"),
    Format("pictures only, with B-frames, 25 fps", "{small} -preset veryfast -bf 2 -g 50 -r 25 -an"),
    Format("groups of ten seconds", "{small} -g 300 -keyint_min 300 -sc_threshold 0 -c:a aac"),
    Format("one key frame and no more", "{small} -g 100000 -keyint_min 100000 -sc_threshold 0 -c:a aac"),
    Format("10 fps", "{small} -r 10 -g 20 -c:a aac"),
    Format("120 fps", "{small} -r 120 -g 240 -c:a aac"),
    Format("24000/1001 fps, 5.1", "{small} -r 24000/1001 -g 48 -c:a aac -ac 6"),
    Format("portrait, of an odd shape", "{small} -vf scale=98:174 -g 60 -c:a aac -ar 44100"),
    Format("a key frame every half second, with B-frames", "{small} -preset veryfast -bf 3 -g 15 -c:a aac"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_stream_follows_the_letter_and_decodes() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let mut faults = Vec::new();
    for formats in FORMATS.chunks(AT_ONCE) {
        let starting = formats.iter().map(|format| Watched::start(&creator, format));
        for stream in futures::future::join_all(starting).await {
            faults.extend(stream.faults());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A stream that is published and watched by a validator.
struct Watched {
    name: &'static str,
    hls: String,
    publisher: Publisher,
    checking: Checking,
}

impl Watched {
    async fn start(creator: &Client, Format(name, options): &Format) -> Self {
        let live = make(creator, json!({"title": name, "dvr_window": 60})).await;
        let publisher = Publisher::start(text(&live, "/ingest/rtmp"), &options.replace("{small}", SMALL));
        in_state(creator, &live, "live").await;
        let hls = text(&live, "/playback/hls").to_owned();
        until(&format!("a segment of {name}"), PATIENCE, || async {
            let answer = reqwest::get(&hls).await.expect("an answer");
            answer.status().is_success().then_some(())
        })
        .await;
        let checking = Checking::start("validate-live.mjs", &[&hls, "--seconds", WATCHED, "--late-ms", LATE_MS]);
        Self { name, hls, publisher, checking }
    }

    fn faults(self) -> Vec<String> {
        let Self { name, hls, publisher, checking } = self;
        let summary = checking.summary();
        let broken = summary["broken"].as_object().is_some_and(|broken| !broken.is_empty());
        let judged = broken.then(|| format!("{name}: {:#}", summary["violations"]));
        let unseen = (summary["checked"] == Value::Null).then(|| format!("{name}: nothing was checked: {summary}"));
        let decoded = output(Command::new("ffmpeg").args(["-v", "warning", "-i", &hls, "-t", "3", "-f", "null", "-"]));
        drop(publisher);
        let said = String::from_utf8_lossy(&decoded.stderr).into_owned();
        let is_clean = decoded.status.success() && complaints(&said).is_empty();
        let complained = (!is_clean).then(|| format!("{name}: ffmpeg says {said}"));
        judged.into_iter().chain(unseen).chain(complained).collect()
    }
}
