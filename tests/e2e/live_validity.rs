//! Live sessions against the letter of what they claim to follow, by a validator that shares no code with the server.
use std::time::Duration;

use playhouse::cli::client::Client;
use serde_json::{Value, json};

use crate::live::{H264, Publisher, in_state, kill_ladder, make, text};
use crate::support::clients::{Checking, client};
use crate::support::server::ServerOptions;

/// How long a session is watched, seconds; `SOAK_LIVE_SECS` says otherwise.
const WATCHED_SECS: u64 = 30;
/// One publisher is killed, comes back, and is taken over in this time.
const ROUND: Duration = Duration::from_secs(30);
/// How long a publisher is away: longer than a target duration, so that there are gaps.
const ABSENCE: Duration = Duration::from_secs(4);
/// Sizes of the publisher that takes over, round by round: the second is too small for there to be the rung as well.
const SIZES: [&str; 2] = ["256:144", "160:90"];
/// What is due may come this late on a machine that runs the whole suite.
const LATE_MS: &str = "2000";

/// What has to have been looked at when publishers come and go, beyond what any session has.
const SEEN_IN_BREAKS: &[&str] =
    &["media.gap", "time.new-initialisation", "align.discontinuity", "time.discontinuity-sequence"];

/// What any session has.
const SEEN_ALWAYS: &[&str] = &[
    "align.time",
    "delta.merge",
    "hint.bytes",
    "media.concatenation",
    "media.decode-time",
    "media.independent",
    "multivariant.codecs",
    "part.duration-min",
    "reload.beyond-last-part",
    "reload.early",
    "report.fresh",
    "time.part-cadence",
];

pub(crate) fn judge(summary: &Value, seen: &[&str]) {
    let broken = summary["broken"].as_object().expect("what is broken");
    assert!(broken.is_empty(), "{broken:?}: {:#}\n{}", summary["violations"], summary["own"]);
    for rule in SEEN_ALWAYS.iter().chain(seen) {
        assert!(summary["checked"][*rule].as_u64() > Some(0), "{rule} was never looked at: {}", summary["checked"]);
    }
    eprintln!("{} {} {}", summary["renditions"], summary["measured"], summary["broken"]);
}

async fn broadcast(creator: &Client, title: &str, ladder: &str) -> (Value, Publisher) {
    let live = make(creator, json!({"title": title, "dvr_window": 30, "ladder": ladder})).await;
    let publisher = Publisher::standard(text(&live, "/ingest/rtmp"));
    in_state(creator, &live, "live").await;
    (live, publisher)
}

/// A round of publishers: the one that is there is killed and comes back, then another one takes over with pictures of this
/// size and other sound. Returns that one.
async fn come_and_go(url: &str, publisher: Publisher, size: &str) -> Publisher {
    tokio::time::sleep(ROUND / 4).await;
    // Killed, as dropping it does: nobody says good-bye.
    drop(publisher);
    tokio::time::sleep(ABSENCE).await;
    let former = Publisher::standard(url);
    tokio::time::sleep(ROUND / 4).await;
    let newest = Publisher::start(url, &format!("{H264} -vf scale={size} -c:a aac -ar 44100"));
    tokio::time::sleep(ROUND / 6).await;
    drop(former);
    newest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_holds_through_restarts_and_changes_of_size() {
    let soak = std::env::var("SOAK_LIVE_SECS").ok().map(|text| text.parse().expect("seconds"));
    let seconds: u64 = soak.unwrap_or(WATCHED_SECS);
    let server = ServerOptions::new().set("live.rungs", "[90]").start();
    let creator = server.account("creator").await;
    // A machine that runs the whole suite may encode too late, which renditions must not be.
    let ladder = if soak.is_some() { "full" } else { "source" };
    let (live, mut publisher) = broadcast(&creator, "Festival", ladder).await;
    let arguments = [text(&live, "/playback/hls"), "--seconds", &seconds.to_string(), "--late-ms", LATE_MS];
    let checking = Checking::start("validate-live.mjs", &arguments);
    let mut killed = 0;
    let rounds = (seconds / ROUND.as_secs()).max(1) as usize;
    for size in SIZES.iter().cycle().take(rounds) {
        killed += u32::from(kill_ladder(&server));
        publisher = come_and_go(text(&live, "/ingest/rtmp"), publisher, size).await;
    }
    let summary = checking.summary();
    drop(publisher);
    judge(&summary, SEEN_IN_BREAKS);
    assert!(soak.is_none() || killed > 0, "no ladder was interrupted");
}

#[test]
fn the_validator_notices_every_rule_that_is_broken() {
    let proved = client("validate-live-selftest.mjs", &[]);
    assert_eq!(proved["missed"], json!([]), "{proved}");
}
