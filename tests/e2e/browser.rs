//! Real clients, unmodified: Chromium with the web page, plain hls.js, tus-js-client. The scripts are in tests/clients.
use std::time::Duration;

use crate::support::clients::client;
use crate::support::clips::{standard, standard_of_bytes};
use crate::support::proxy::{Line, Proxy};
use crate::support::server::Server;
use crate::support::tools::sha256;
use crate::uploads::{VERDICT_WITHIN, manifest_url, playable};

/// Slow enough that an upload can be paused half way.
const UPLINK: Line = Line { bits_per_sec: 40_000_000, round_trip: Duration::from_millis(10) };

#[tokio::test(flavor = "multi_thread")]
async fn chromium_plays_through_the_page_also_on_a_slow_line() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let video = playable(&creator, &standard()).await;
    let line = Line { bits_per_sec: 10_000_000, round_trip: Duration::from_millis(50) };
    let proxy = Proxy::start(server.port(), line).await;
    let id = video["id"].as_str().expect("an id");
    let played = client("play-page.mjs", &[&proxy.url(), id]);
    eprintln!("first frame after {} ms", played["first_frame_ms"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_registers_uploads_and_watches_by_the_page_alone() {
    let server = Server::start();
    let clip = standard_of_bytes(24 << 20);
    let file = clip.to_str().expect("a path of text");
    let proxy = Proxy::start(server.port(), UPLINK).await;
    client("register-upload-page.mjs", &[&proxy.url(), file, "--pause", "--reload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_hls_js_on_another_origin_plays() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let video = playable(&creator, &standard()).await;
    client("play-hls.mjs", &[&server.url(), &manifest_url(&creator, &video)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tus_js_client_uploads_in_every_mode() {
    const MODES: &[&[&str]] = &[
        &[],
        &["--chunk", "1000000"],
        &["--chunk", "3000000", "--pause-at", "6000000"],
        &["--pause-at", "6000000"],
        &["--data-in-creation"],
        &["--chunk", "4000000", "--defer-length"],
        &["--parallel", "3"],
        &["--protocol", "ietf-draft-03"],
        &["--protocol", "ietf-draft-03", "--pause-at", "6000000"],
        &["--protocol", "ietf-draft-05"],
        &["--protocol", "ietf-draft-05", "--pause-at", "6000000"],
    ];
    let server = Server::start();
    let creator = server.account("creator").await;
    let clip = standard_of_bytes(24 << 20);
    let (file, expected) = (clip.to_str().expect("a path of text"), sha256(&clip));
    let proxy = Proxy::start(server.port(), UPLINK).await;
    for mode in MODES {
        eprintln!("{mode:?}");
        let token = creator.token().expect("a signed-in account");
        let base = if mode.contains(&"--pause-at") { proxy.url() } else { server.url() };
        let sent = client("tus-upload.mjs", &[&[&base, token, file], *mode].concat());
        let id = sent["video_id"].as_str().unwrap_or_else(|| panic!("no video id in {sent}"));
        let playable = creator.wait_until_playable(id, VERDICT_WITHIN).await;
        playable.unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        if !mode.contains(&"--parallel") {
            let upload = sent["url"].as_str().and_then(|url| url.rsplit('/').next()).expect("an upload id");
            assert_eq!(sha256(&server.data().join("blobs/raw-uploads").join(upload).join("0")), expected, "{mode:?}");
        }
    }
}
