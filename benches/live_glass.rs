//! Glass to glass: from the instant in a picture of `playhouse demo --live` until Chromium shows it, with each player. Encoder,
//! server and browser share this machine.
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/live.rs"]
mod live;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use live::Running;
use support::clients::client;
use support::server::ServerOptions;
use support::tools::until;

/// Players, their manifests, and what is asked of them.
const PLAYERS: [(&str, &str, &str); 4] = [
    ("hls.js", "master.m3u8", "LL-HLS, target 1.5 s"),
    ("shaka", "master.m3u8", "LL-HLS, target 1.5 s"),
    ("shaka", "manifest.mpd", "LL-DASH"),
    ("dash.js", "manifest.mpd", "LL-DASH"),
];

#[tokio::main]
async fn main() {
    let server = ServerOptions::new().start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_playhouse"));
    command.args(["demo", "--live", "--url", &server.url()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut demo = Running(command.spawn().expect("the demonstration"));
    let said = BufReader::new(demo.0.stdout.take().expect("what it says")).lines().map_while(Result::ok);
    let manifest = said.into_iter().find_map(|line| line.strip_prefix("HLS manifest: ").map(str::to_owned));
    let manifest = manifest.expect("the manifest's address");
    until("the stream to be listed", Duration::from_secs(60), || async {
        reqwest::get(&manifest).await.ok()?.error_for_status().ok()
    })
    .await;
    println!("live, glass to glass: 720p at 30 pictures a second, 20 s with each player");
    for (player, name, what) in PLAYERS {
        let url = manifest.replace("master.m3u8", name);
        let seen = client("watch-clock.mjs", &[&server.url(), &url, "--player", player]);
        println!(
            "  {player} ({what}): median {} s, p95 {} s, {} stalls, {} pictures",
            seen["median_s"], seen["p95_s"], seen["stalls"], seen["pictures"]
        );
    }
    let whep = manifest.replace("master.m3u8", "whep");
    let seen = client("whep-chromium.mjs", &[&server.url(), &whep, "--clock", "--settle", "5", "--seconds", "20"]);
    let clock = &seen["clock"];
    println!(
        "  Chromium (WHEP, target 250 ms): median {} ms, p95 {} ms, {} pictures, first one after {} ms",
        clock["median_ms"], clock["p95_ms"], clock["pictures"], seen["first_picture_ms"]
    );
}
