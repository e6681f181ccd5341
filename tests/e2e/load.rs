//! The commands that put load on a server, and the live demonstration.
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::live::{ask, in_state, make, text};
use crate::support::clips::{Recipe, standard};
use crate::support::server::Server;
use crate::support::tools::{output, until};

fn playhouse(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_playhouse"));
    command.args(args);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The number before a word of what was said.
fn number_before(said: &str, word: &str) -> f64 {
    let before = said.split(word).next().unwrap_or_default();
    let number = before.split_whitespace().next_back().unwrap_or_default();
    number.trim_start_matches('(').parse().unwrap_or_else(|_| panic!("no number before {word}: {said}"))
}

/// A load generator in the background, ended by its process id.
struct Running(Child);

impl Running {
    fn start(args: &[&str]) -> Self {
        Self(playhouse(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the playhouse binary"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two streams, and the server to publish them to.
async fn streams(server: &Server, creator: &Client) -> ([Value; 2], String) {
    let first = make(creator, json!({"title": "One"})).await;
    let second = make(creator, json!({"title": "Two"})).await;
    ([first, second], format!("rtmp://127.0.0.1:{}/live", server.port_of("rtmp")))
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_send_a_clip_again_and_again_and_viewers_get_every_part() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let ([first, second], url) = streams(&server, &creator).await;
    let clip = Recipe { name: "loop.flv", args: "{pictures} {sound} {h264} {aac} -t 4 -f flv" }.make();
    let clip = clip.to_str().expect("a path");
    let (key, other) = (text(&first, "/stream_key"), text(&second, "/stream_key"));
    let rounds = ["bench", "publishers", "--url", &url, "--key", key, "--key", other, "--clip", clip];
    let publishing = Running::start(&[&rounds[..], &["--duration", "120s"]].concat());
    for live in [&first, &second] {
        in_state(&creator, live, "live").await;
    }
    // Into the third round of the clip.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let shown = ask(&creator, creator.request(Method::GET, &format!("/api/v1/live/{}", text(&first, "/id")))).await;
    let repairs = shown["ingest_stats"]["repairs"].as_object().expect("repairs").values();
    assert_eq!(repairs.filter_map(Value::as_u64).sum::<u64>(), 0, "times go on over the loop: {shown}");
    let hls = text(&first, "/playback/hls");
    let secure = hls.replace(&server.url(), &server.https_url());
    for flags in [&["--url", hls][..], &["--url", hls, "--http2"], &["--url", &secure, "--http2", "--insecure"]] {
        let viewers = ["bench", "viewers", "--count", "5", "--ramp", "1s", "--duration", "6s"];
        let watched = output(&mut playhouse(&[&viewers[..], flags].concat()));
        let said = said(&watched);
        assert!(watched.status.success() && said.contains("0 parts lost"), "{flags:?}\n{said}");
        // Five viewers, two tracks, four parts a second, for four seconds at least.
        assert!(number_before(&said, " parts (") > 100.0 && number_before(&said, " by hints") > 50.0, "{said}");
    }
    drop(publishing);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_what_is_not_there_and_publishers_without_a_key_say_so() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let url = format!("rtmp://127.0.0.1:{}/live", server.port_of("rtmp"));
    let clip = standard();
    let publishers = ["bench", "publishers", "--url", &url, "--key", "wrong", "--duration", "30s", "--clip"];
    let refused = output(&mut playhouse(&[&publishers[..], &[clip.to_str().expect("a path")]].concat()));
    let text_of = said(&refused);
    assert!(!refused.status.success() && text_of.contains("1 publishers refused"), "{text_of}");
    let live = make(&creator, json!({"title": "Nothing yet"})).await;
    let viewers = ["bench", "viewers", "--duration", "2s", "--url", text(&live, "/playback/hls")];
    let watched = output(&mut playhouse(&viewers));
    assert!(!watched.status.success(), "{}", said(&watched));
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_make_their_own_streams_and_clip() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let token = creator.token().expect("a token").to_owned();
    let url = server.url();
    let made = ["--count", "2", "--fps", "25", "--gop", "50", "--bitrate", "300", "--duration", "5s"];
    let args = [&["bench", "publishers", "--api", &url, "--token", &token][..], &made].concat();
    let published = output(&mut playhouse(&args));
    let said = said(&published);
    assert!(published.status.success() && said.contains("2 of 2 connected"), "{said}");
    let listed = ask(&creator, creator.request(Method::GET, "/api/v1/live")).await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_goes_live_and_ends_with_a_recording() {
    let server = Server::start();
    let url = server.url();
    let demo = tokio::task::spawn_blocking({
        let url = url.clone();
        move || output(&mut playhouse(&["demo", "--live", "--duration", "12s", "--url", &url]))
    });
    let live = until("a broadcast", Duration::from_secs(60), || async {
        let listed: Value = reqwest::get(format!("{url}/api/v1/live")).await.ok()?.json().await.ok()?;
        let live = listed["data"].get(0)?.clone();
        (live["state"] == "live").then_some(live)
    })
    .await;
    // Its picture is 720p, with sound.
    let multivariant = until("its playlist", Duration::from_secs(30), || async {
        let answer = reqwest::get(text(&live, "/playback/hls")).await.ok()?.error_for_status().ok()?;
        answer.text().await.ok()
    })
    .await;
    assert!(multivariant.contains("RESOLUTION=1280x720") && multivariant.contains("mp4a.40.2"), "{multivariant}");
    let demo = demo.await.expect("the demonstration");
    let said = said(&demo);
    assert!(demo.status.success() && said.contains(&format!("/live/{}", text(&live, "/id"))), "{said}");
    assert!(said.contains("Stream Key") && said.contains("rtmp://127.0.0.1"), "{said}");
    let shown = until("the end", Duration::from_secs(30), || async {
        let answer = reqwest::get(format!("{url}/api/v1/live/{}", text(&live, "/id"))).await.ok()?;
        answer.json().await.ok().filter(|shown: &Value| shown["state"] == "ended")
    })
    .await;
    let recorded = format!("{url}/api/v1/videos/{}", text(&shown, "/video_id"));
    let video: Value = reqwest::get(recorded).await.unwrap().json().await.unwrap();
    assert!(video["duration"].as_f64().is_some_and(|secs| secs > 3.0), "{video}");
}
