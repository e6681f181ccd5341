//! Players of live streams at low latency go on without a pause. Runs alone: what a machine that is busy with other tests does to
//! a player says nothing of the stream.
use std::time::Duration;

use serde_json::json;

use crate::live::{H264, PATIENCE, Publisher, in_state, kill_ladder, make, show, text};
use crate::support::clients::Checking;
use crate::support::machine::{Came, undisturbed};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::until;

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
    let (url, seconds) = (server.url(), seconds.to_string());
    for (player, manifest) in PLAYERS {
        let flags = ["--player", player, "--seconds", &seconds, "--smooth"];
        let arguments = [&[url.as_str(), text(&live, manifest)][..], &flags].concat();
        let played = undisturbed(player, async || {
            let played = Checking::start("play-live.mjs", &arguments).summary();
            let reason = played["reason"].as_str().unwrap_or_default().to_owned();
            let is_rough = reason.starts_with("it stood still") || reason.ends_with("behind the publisher");
            assert!(played["ok"] == true || is_rough, "{played}");
            if is_rough { Came::Rough(played, reason) } else { Came::Good(played) }
        });
        eprintln!("{player}: {}", played.await);
    }
}

/// Seconds that players are watched while all of it happens.
const ORDEAL_SECS: &str = "56";

#[tokio::test(flavor = "multi_thread")]
async fn players_survive_whatever_happens_to_the_stream() {
    let server = ServerOptions::new().set("live.rungs", "[90]").set("live.rung_lag_max", "2m").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match", "ladder": "full"})).await;
    let url = text(&live, "/ingest/rtmp");
    let publisher = Publisher::standard(url);
    until("the rung", PATIENCE, || async {
        let shown = show(&creator, &live).await;
        shown["ingest_stats"]["ladder"]["added_latency_ms"].is_i64().then_some(())
    })
    .await;
    let watching = PLAYERS.map(|(player, manifest)| {
        let flags = ["--player", player, "--seconds", ORDEAL_SECS, "--ladder", "--survive", "--latency-max", "25"];
        (player, Checking::start("play-live.mjs", &[&[&server.url(), text(&live, manifest)][..], &flags].concat()))
    });
    let wait = async |secs| tokio::time::sleep(Duration::from_secs(secs)).await;
    wait(10).await;
    assert!(kill_ladder(&server), "there is a worker of the stream's own");
    wait(8).await;
    // Killed, as dropping it does, and back in ten seconds.
    drop(publisher);
    wait(10).await;
    let publisher = Publisher::standard(url);
    wait(8).await;
    // A second one takes over, with pictures and sound of another size.
    let second = Publisher::start(url, &format!("{H264} -vf scale=256:144 -c:a aac -ar 44100"));
    wait(2).await;
    drop(publisher);
    for (player, checking) in watching {
        let played = checking.summary();
        assert_eq!(played["ok"], json!(true), "{player}: {played}");
        eprintln!("{player}: {played}");
    }
    drop(second);
}
