//! From opening the watch page in a fresh Chromium to the first picture, over a line of 10 Mb/s and 50 ms there and back.
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/e2e/uploads.rs"]
mod uploads;
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/viewing.rs"]
mod viewing;
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/wrk.rs"]
mod wrk;

use std::time::Duration;

use support::clients::client;
use support::clips::standard;
use support::proxy::{Line, Proxy};
use support::server::Server;
use wrk::median;

/// Page loads measured, each with an empty cache.
const ROUNDS: usize = 5;

/// What a viewer should wait at most, milliseconds.
const TARGET_MS: f64 = 2000.0;

#[tokio::main]
async fn main() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let video = uploads::playable(&creator, &standard()).await;
    let line = Line { bits_per_sec: 10_000_000, round_trip: Duration::from_millis(50) };
    let proxy = Proxy::start(server.port(), line).await;
    let id = video["id"].as_str().expect("an id");
    viewing::ready(&creator, id, uploads::VERDICT_WITHIN).await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let played = tokio::task::block_in_place(|| client("play-page.mjs", &[&proxy.url(), id]));
        times.push(played["first_frame_ms"].as_f64().expect("a time"));
    }
    let middle = median(times);
    println!("first frame: watch page in Chromium over 10 Mb/s and 50 ms, empty cache, median of {ROUNDS}");
    println!("  {middle:.0} ms, ratio to the target of {TARGET_MS:.0} ms: {:.2}", middle / TARGET_MS);
}
