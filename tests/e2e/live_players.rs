//! Players of live streams at low latency go on without a pause. Runs alone: what a machine that is busy with other tests does to
//! a player says nothing of the stream.
use std::time::Duration;

use playhouse::cli::client::Client;
use serde_json::{Value, json};

use crate::live::{H264, PATIENCE, Publisher, in_state, kill_ladder, make, show, text};
use crate::support::clients::{Checking, watch_live};
use crate::support::machine::{Came, undisturbed};
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::until;

/// Seconds that each player is watched, unless `SOAK_PLAYERS_SECS` says otherwise.
const WATCHED_SECS: &str = "20";
/// The players, and the manifest each of them takes.
const PLAYERS: [(&str, &str); 3] =
    [("hls.js", "/playback/hls"), ("shaka", "/playback/dash"), ("dash.js", "/playback/dash")];

#[tokio::test(flavor = "multi_thread")]
async fn every_player_goes_on_without_a_stall() {
    let seconds = std::env::var("SOAK_PLAYERS_SECS").unwrap_or_else(|_| WATCHED_SECS.into());
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match"})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(&creator, &live, "live").await;
    until("low latency over DASH", PATIENCE, || async {
        (show(&creator, &live).await["playback"]["low_latency_dash"] == json!(true)).then_some(())
    })
    .await;
    for (player, manifest) in PLAYERS {
        watch_live(&server.url(), text(&live, manifest), player, &["--seconds", &seconds, "--smooth"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ladder_is_watched_close_to_the_edge() {
    let (server, creator, live) = with_ladder().await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    has_rung(&creator, &live).await;
    for (player, manifest) in PLAYERS {
        watch_live(&server.url(), text(&live, manifest), player, &["--seconds", "5", "--ladder"]).await;
    }
}

/// A server, and a broadcast that has one rung, which is not given up however far behind a busy machine is.
async fn with_ladder() -> (Server, Client, Value) {
    let server = ServerOptions::new().set("live.rungs", "[90]").set("live.rung_lag_max", "2m").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Match", "ladder": "full"})).await;
    (server, creator, live)
}

async fn has_rung(creator: &Client, live: &Value) {
    until("the rung", PATIENCE, || async {
        let shown = show(creator, live).await;
        shown["ingest_stats"]["ladder"]["added_latency_ms"].is_i64().then_some(())
    })
    .await;
}

/// Seconds that players are watched while all of it happens.
const ORDEAL_SECS: &str = "56";

/// Each of them may stand still for good at a hole that it found too late; that is its own affair unless it does so again.
#[tokio::test(flavor = "multi_thread")]
async fn players_survive_whatever_happens_to_the_stream() {
    undisturbed("players", ordeal).await;
}

async fn ordeal() -> Came<()> {
    let (server, creator, live) = with_ladder().await;
    let url = text(&live, "/ingest/rtmp");
    let publisher = Publisher::standard(url);
    has_rung(&creator, &live).await;
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
    let mut rough = String::new();
    for (player, checking) in watching {
        let played = checking.summary();
        let has_stopped = played["reason"].as_str().is_some_and(|reason| reason.contains("it stands still"));
        assert!(played["ok"] == true || has_stopped, "{player}: {played}");
        eprintln!("{player}: {played}");
        if has_stopped {
            rough = rough + player + ": " + &played.to_string() + "\n";
        }
    }
    drop(second);
    if rough.is_empty() { Came::Good(()) } else { Came::Rough((), rough) }
}
