//! A video's metadata under load, against the cheapest answer the same server gives (`/healthz`) in the same run.
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

use support::server::Server;
use wrk::{CONNECTIONS, Load, load, median};

/// Rounds of each, taken in turn.
const ROUNDS: usize = 3;

/// Length of one round.
const ROUND_SECONDS: u32 = 4;

#[tokio::main]
async fn main() {
    let server = Server::start();
    let client = server.account("creator").await;
    let video = uploads::playable(&client, &support::clips::standard()).await;
    viewing::ready(&client, video["id"].as_str().expect("an id"), uploads::VERDICT_WITHIN).await;
    let metadata = [format!("/api/v1/videos/{}", video["id"].as_str().expect("an id"))];
    let floor = ["/healthz".to_owned()];
    let scratch = tempfile::tempdir().expect("a directory");
    let (mut metadata_loads, mut floor_loads) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor_loads.push(load(&server.url(), &floor, ROUND_SECONDS, scratch.path()));
        metadata_loads.push(load(&server.url(), &metadata, ROUND_SECONDS, scratch.path()));
    }
    let of = |loads: &[Load], value: fn(&Load) -> f64| median(loads.iter().map(value).collect());
    let rate = |loads: &[Load]| of(loads, |load| load.requests_per_sec);
    let p50 = of(&metadata_loads, |load| load.p50.as_secs_f64() * 1e3);
    let p99 = of(&metadata_loads, |load| load.p99.as_secs_f64() * 1e3);
    println!("metadata: GET of one video, {CONNECTIONS} connections, medians of {ROUNDS} rounds of {ROUND_SECONDS} s");
    println!("  {:.0} requests/s, p50 {p50:.2} ms, p99 {p99:.2} ms", rate(&metadata_loads));
    println!(
        "  ratio to /healthz in the same run ({:.0} requests/s): {:.2}",
        rate(&floor_loads),
        rate(&metadata_loads) / rate(&floor_loads)
    );
}
