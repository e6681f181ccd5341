//! Viewers of one low-latency HLS stream of 600 kb/s, sound counted: 500 over HTTP/1.1 in clear text, the largest number that
//! holds, and the same over HTTP/2 with TLS. The viewers run on the same machine.
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/live.rs"]
mod live;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use live::{make, processor_time, publish, text};
use serde_json::{Value, json};
use support::clips::Recipe;
use support::server::ServerOptions;
use support::tools::until;

/// Viewers that must hold, and what they are raised to until they do not.
const COUNTS: [usize; 7] = [250, 500, 750, 1000, 1500, 2000, 3000];
/// Longest delivery of 99 % of the parts, after they were first there for anybody.
const P99_MAX_MS: f64 = 250.0;
/// Time over which viewers begin, and time that they watch in all.
const RAMP: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(50);

/// 500 kb/s of pictures and 96 kb/s of sound, a key frame every two seconds.
const CLIP: Recipe = Recipe {
    name: "live-600k.mp4",
    args: "-f lavfi -i testsrc2=size=640x360:rate=30:duration=10,noise=alls=8:allf=t \
           -f lavfi -i sine=440:sample_rate=48000:duration=10 -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p \
           -g 60 -sc_threshold 0 -b:v 500k -minrate 500k -maxrate 500k -bufsize 500k -c:a aac -b:a 96k",
};

/// What one round came to.
struct Watched {
    p99_ms: f64,
    lost: u64,
    bits_per_sec: f64,
    /// Cores that the server took.
    cores: f64,
    has_failed: bool,
}

impl Watched {
    fn holds(&self) -> bool {
        !self.has_failed && self.lost == 0 && self.p99_ms < P99_MAX_MS
    }

    fn print(&self, what: &str, count: usize) {
        println!(
            "  {what}, {count} viewers: p99 {:.0} ms after a part is there (target {P99_MAX_MS:.0}), {} lost, {:.2} Gb/s, \
             {:.2} Gb/s per core, {:.3} % of a core per viewer{}",
            self.p99_ms,
            self.lost,
            self.bits_per_sec / 1e9,
            self.bits_per_sec / 1e9 / self.cores,
            self.cores / count as f64 * 100.0,
            if self.holds() { "" } else { " — does not hold" }
        );
    }
}

#[tokio::main]
async fn main() {
    let scratch = tempfile::tempdir().expect("a directory");
    let server = ServerOptions::new().start();
    let client = server.account("creator").await;
    let live = make(&client, &json!({ "title": "Watched" })).await;
    let url = format!("rtmp://127.0.0.1:{}/live", server.port_of("rtmp"));
    let _publisher = publish(&url, &[text(&live, "/stream_key").to_owned()], &CLIP.make(), scratch.path());
    let shown = format!("/api/v1/live/{}", text(&live, "/id"));
    until("the stream to be live", Duration::from_secs(30), || async {
        let shown: Value = client.send(client.request(reqwest::Method::GET, &shown)).await.ok()?.json().await.ok()?;
        (shown["state"] == "live").then_some(())
    })
    .await;
    let hls = reqwest::Url::parse(text(&live, "/playback/hls")).expect("a URL");
    let (clear, tls) = (format!("{}{}", server.url(), hls.path()), format!("{}{}", server.https_url(), hls.path()));
    println!("live viewers of one stream of 600 kb/s with parts of a quarter second, {WATCH:?} each");
    raise("HTTP/1.1 in clear text", server.pid(), &["--url", &clear]).await;
    raise("HTTP/2 with TLS", server.pid(), &["--url", &tls, "--http2", "--insecure"]).await;
}

/// More and more viewers, until it does not hold.
async fn raise(what: &str, pid: u32, args: &[&str]) {
    let mut most = 0;
    for count in COUNTS {
        let watched = watch(pid, count, args).await;
        watched.print(what, count);
        if !watched.holds() {
            break;
        }
        most = count;
    }
    println!("  {what}: {most} viewers held");
}

async fn watch(pid: u32, count: usize, args: &[&str]) -> Watched {
    let mut command = tokio::process::Command::from(Command::new(env!("CARGO_BIN_EXE_playhouse")));
    let times = [format!("{}s", RAMP.as_secs()), format!("{}s", WATCH.as_secs())];
    command.args(["bench", "viewers", "--count", &count.to_string(), "--ramp", &times[0], "--duration", &times[1]]);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    let viewers = command.spawn().expect("viewers");
    tokio::time::sleep(RAMP).await;
    let before = processor_time(pid);
    let measured = WATCH - RAMP - Duration::from_secs(2);
    tokio::time::sleep(measured).await;
    let spent = processor_time(pid) - before;
    let output = viewers.wait_with_output().await.expect("their end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |before: &str, after: &str| -> f64 {
        let line = said.lines().rev().find(|line| line.contains(before) && line.contains(after));
        let found = line.and_then(|line| line.split(before).nth(1)?.split(after).next()?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {before}…{after} in\n{said}"))
    };
    Watched {
        p99_ms: number("p99 ", " ms, max"),
        lost: number("", " parts lost") as u64,
        bits_per_sec: megabits_at_the_end(&said) * 1e6,
        cores: spent.as_secs_f64() / measured.as_secs_f64(),
        has_failed: !output.status.success(),
    }
}

/// Mean of the rates of the last seconds, when all viewers were there.
fn megabits_at_the_end(said: &str) -> f64 {
    let rate = |line: &str| -> Option<f64> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let unit = words.iter().position(|word| *word == "Mb/s" || *word == "Gb/s")?;
        let number: f64 = words.get(unit.checked_sub(1)?)?.parse().ok()?;
        Some(if words[unit] == "Gb/s" { number * 1000.0 } else { number })
    };
    let rates: Vec<f64> = said.lines().filter(|line| line.contains("watching")).filter_map(rate).collect();
    let last = &rates[rates.len().saturating_sub(20)..];
    last.iter().sum::<f64>() / last.len() as f64
}
