//! From the last uploaded byte to the first manifest and the first segment, for a short file and a hundred times longer
//! one: what is standard input is playable without being copied, so its length must not matter.
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/e2e/uploads.rs"]
mod uploads;
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/wrk.rs"]
mod wrk;

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use playhouse::cli::client::Client;
use support::clips::standard_of_bytes;
use support::server::Server;
use wrk::median;

/// Bytes kept back for the last request.
const LAST_BYTES: u64 = 64 << 10;

/// Bytes of the requests before it.
const PIECE_BYTES: u64 = 32 << 20;

/// Times from the last byte on, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    manifest: f64,
    segment: f64,
}

#[tokio::main]
async fn main() {
    let server = Server::start();
    let client = server.account("creator").await;
    println!("playable: last uploaded byte to first manifest and first segment");
    let short = measure(&server, &client, "10 MB", 10_000_000, 5).await;
    let long = measure(&server, &client, "1 GB", 1_000_000_000, 3).await;
    println!(
        "  ratio 1 GB/10 MB: manifest {:.2}, segment {:.2}",
        long.manifest / short.manifest,
        long.segment / short.segment
    );
    println!("  ratio to the target of 1 s: {:.2} and {:.2}", short.segment / 1e3, long.segment / 1e3);
}

async fn measure(server: &Server, client: &Client, name: &str, bytes: u64, rounds: usize) -> Times {
    let clip = standard_of_bytes(bytes);
    let mut times = Vec::new();
    for _ in 0..rounds {
        times.push(once(server, client, &clip).await);
    }
    let of = |value: fn(&Times) -> f64| median(times.iter().map(value).collect());
    let times = Times { manifest: of(|times| times.manifest), segment: of(|times| times.segment) };
    let size = std::fs::metadata(&clip).expect("the clip").len() as f64 / 1e6;
    println!(
        "  {name} ({size:.0} MB): manifest {:.0} ms, segment {:.0} ms, medians of {rounds}",
        times.manifest, times.segment
    );
    times
}

async fn once(server: &Server, client: &Client, clip: &Path) -> Times {
    let upload = uploads::create(client, clip).await;
    let length = std::fs::metadata(clip).expect("the clip").len();
    let mut file = std::fs::File::open(clip).expect("the clip");
    let mut offset = 0;
    while offset < length - LAST_BYTES {
        let bytes = read(&mut file, offset, PIECE_BYTES.min(length - LAST_BYTES - offset));
        offset = client.append(&upload.url, offset, bytes.into()).await.expect("an append");
    }
    let last = read(&mut file, offset, LAST_BYTES);
    let started = Instant::now();
    client.append(&upload.url, offset, last.into()).await.expect("the last bytes");
    let video = client.wait_until_playable(&upload.video_id, Duration::from_secs(120)).await.expect("a playable video");
    let first = first_uri(&uploads::manifest_url(client, &video)).await;
    let media = first_uri(&first).await;
    let manifest = started.elapsed();
    let segment = reqwest::get(&media).await.expect("a segment").error_for_status().expect("a segment");
    assert!(!segment.bytes().await.expect("its bytes").is_empty());
    let segment = started.elapsed();
    let request =
        client.request(reqwest::Method::DELETE, &format!("{}/api/v1/videos/{}", server.url(), upload.video_id));
    client.send(request).await.expect("a deletion");
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Times { manifest: millis(manifest), segment: millis(segment) }
}

fn read(file: &mut std::fs::File, offset: u64, bytes: u64) -> Vec<u8> {
    file.seek(SeekFrom::Start(offset)).expect("a seek");
    let mut piece = vec![0; bytes.try_into().expect("a piece that fits memory")];
    file.read_exact(&mut piece).expect("the clip's bytes");
    piece
}

async fn first_uri(playlist: &str) -> String {
    let response = reqwest::get(playlist).await.expect("a playlist");
    let base = response.url().clone();
    let text = response.error_for_status().expect("a playlist").text().await.expect("text");
    let line = text.lines().find(|line| !line.is_empty() && !line.starts_with('#')).expect("a URI");
    base.join(line).expect("a URL").into()
}
