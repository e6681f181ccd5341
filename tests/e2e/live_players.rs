//! Players of live streams at low latency go on without a pause. Runs alone: what a machine that is busy with other tests does to
//! a player says nothing of the stream.
use serde_json::json;

use crate::live::{Publisher, in_state, make, text};
use crate::support::clients::client;
use crate::support::server::Server;

/// Seconds that each player is watched, unless `SOAK_PLAYERS_SECS` says otherwise.
const WATCHED_SECS: u64 = 20;
/// The players, and the manifest each of them takes.
const PLAYERS: [(&str, &str); 3] =
    [("hls.js", "/playback/hls"), ("shaka", "/playback/dash"), ("dash.js", "/playback/dash")];

#[tokio::test(flavor = "multi_thread")]
async fn every_player_goes_on_without_a_stall() {
    let seconds = std::env::var("SOAK_PLAYERS_SECS").map_or(WATCHED_SECS, |text| text.parse().expect("seconds"));
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match"})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    for (player, manifest) in PLAYERS {
        let flags = ["--player", player, "--seconds", &seconds.to_string(), "--smooth"];
        let played = client("play-live.mjs", &[&[&server.url(), text(&live, manifest)][..], &flags].concat());
        eprintln!("{player}: {played}");
    }
}
