//! Whoever publishes by whatever protocol is seen and heard by everybody, in step: a stream of a flash and a beep a second is watched
//! by all kinds of viewers.
use std::process::Command;

use playhouse::cli::client::Client;
use serde_json::{Value, json};

use crate::kill::from_environment;
use crate::live::{H264, PATIENCE, Publisher, in_state, kill_ladder, make, playlist, show, text};
use crate::srt::transmitter;
use crate::support::clients::{Checking, node};
use crate::support::machine::{Came, undisturbed};
use crate::support::server::Server;
use crate::support::tools::{output, until};
use crate::whep::{SKEW_MAX, Viewer, flash, has_encoder, plays, quiet, whep};
use crate::whip::aiortc;

/// How long each viewer watches, seconds; browsers by WebRTC take so much longer at most until sound and pictures are in step.
const WATCHED: &str = "6";
const SETTLED: &str = "40";
/// Beeps that are heard in that time at least.
const BEEPS_MIN: usize = 4;
const AAC: &str = "-c:a aac -b:a 96k";

/// What a viewer saw and heard.
#[derive(Debug)]
struct Seen {
    viewer: &'static str,
    beeps: usize,
    /// How much later than a flash its beep is, milliseconds.
    skew_ms: Option<f64>,
    /// What went wrong, where anything did.
    trouble: Option<String>,
}

impl Seen {
    fn by_script(viewer: &'static str, told: &Value) -> Self {
        let is_well = told["ok"] == true || told["status"] == 201;
        let beeps = told["skew"]["beeps"].as_u64().unwrap_or(0) as usize;
        Self {
            viewer,
            beeps,
            skew_ms: told["skew"]["median_ms"].as_f64(),
            trouble: (!is_well).then(|| told.to_string()),
        }
    }

    /// By what ffmpeg says of brightness and silence.
    fn by_ffmpeg(viewer: &'static str, said: &str) -> Self {
        let number = |text: &str| text.split([' ', ']']).find(|word| !word.is_empty())?.parse::<f64>().ok();
        let after = |line: &str, name: &str| line.split_once(name).and_then(|(_, rest)| number(rest));
        let pictures =
            said.lines().filter_map(|line| Some((after(line, "pts_time:")?, after(line, "mean:[")? > 128.0)));
        let pictures: Vec<_> = pictures.collect();
        let flashes = pictures.windows(2).filter(|pair| !pair[0].1 && pair[1].1).map(|pair| pair[1].0);
        let flashes: Vec<f64> = flashes.collect();
        let beeps = said.lines().filter_map(|line| after(line, "silence_end: "));
        let nearest = |beep: f64| flashes.iter().map(|flash| beep - flash).min_by(|a, b| a.abs().total_cmp(&b.abs()));
        let mut apart: Vec<f64> = beeps.filter_map(nearest).filter(|skew| skew.abs() < 0.5).collect();
        apart.sort_by(f64::total_cmp);
        let skew_ms = apart.get(apart.len() / 2).map(|skew| skew * 1000.0);
        Self { viewer, beeps: apart.len(), skew_ms, trouble: None }
    }

    fn is_in_step(&self) -> bool {
        self.trouble.is_none() && self.beeps >= BEEPS_MIN && self.skew_ms.is_some_and(|skew| skew.abs() < SKEW_MAX)
    }
}

/// ffmpeg, decoding what a URL gives: pictures, and the first sound, or the one of this number.
async fn decoded(viewer: &'static str, url: &str) -> Seen {
    decoded_with(viewer, url, 0).await
}

async fn decoded_with(viewer: &'static str, url: &str, sound: usize) -> Seen {
    let (mut ffmpeg, sound) = (Command::new("ffmpeg"), format!("0:a:{sound}"));
    ffmpeg.args(["-nostdin", "-v", "info", "-nostats", "-i", url, "-map", "0:v:0", "-map", &sound, "-t", WATCHED]);
    ffmpeg.args(["-vf", "scale=16:16,showinfo", "-af", "silencedetect=noise=-30dB:d=0.2", "-f", "null", "-"]);
    let run = tokio::task::spawn_blocking(move || output(&mut ffmpeg)).await.expect("ffmpeg");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{viewer}: {said}");
    Seen::by_ffmpeg(viewer, &said)
}

/// A script that watches.
async fn watched(viewer: &'static str, script: &str, arguments: &[&str]) -> Seen {
    let script = Checking::start(script, arguments);
    let told = tokio::task::spawn_blocking(move || script.summary()).await.expect("a viewer");
    Seen::by_script(viewer, &told)
}

async fn aiortc_watches(url: &str) -> Seen {
    Seen::by_script("aiortc by WHEP", &Viewer::start(url, &["--seconds", WATCHED]).told().await)
}

async fn everybody(server: &Server, live: &Value) -> [Seen; 6] {
    let base = server.url();
    let [hls, dash, srt] = ["hls", "dash", "srt"].map(|name| text(live, &format!("/playback/{name}")));
    // On a busy machine hls.js forgets the last part of a segment now and then (see `web/src/player/engine.ts`), hence whole ones.
    let play = |manifest, player| {
        [base.as_str(), manifest, "--player", player, "--whole", "--skew", "--seconds", WATCHED, "--latency-max", "20"]
    };
    let (by_hls, by_dash) = (play(hls, "hls.js"), play(dash, "shaka"));
    let by_whep = [&base, whep(live), "--skew", "--settle", SETTLED, "--seconds", WATCHED];
    let (one, two, three) =
        tokio::join!(decoded("ffmpeg over HLS", hls), decoded("ffmpeg by SRT", srt), aiortc_watches(whep(live)),);
    let (four, five) = tokio::join!(
        watched("hls.js", "play-live.mjs", &by_hls),
        watched("shaka over DASH", "play-live.mjs", &by_dash),
    );
    // A busy machine plays sound late.
    let six = watched("Chromium by WHEP", "whep-chromium.mjs", &by_whep).await;
    [one, two, three, four, five, six]
}

/// Everybody sees and hears what the publisher, who is begun here, sends.
async fn reaches_everybody(begin: impl FnOnce(&Server, &Value) -> Vec<Publisher>) {
    reaches(json!({}), begin).await;
}

async fn reaches(options: Value, begin: impl FnOnce(&Server, &Value) -> Vec<Publisher>) {
    let server = quiet().start();
    let creator = server.account("creator").await;
    let mut wanted = json!({"title": "Metronome", "ladder": "source"});
    wanted.as_object_mut().expect("fields").extend(options.as_object().cloned().unwrap_or_default());
    let live = make(&creator, wanted).await;
    let _publishers = begin(&server, &live);
    let live = listed(&creator, &live).await;
    undisturbed("whoever watches", async || {
        let seen = everybody(&server, &live).await;
        for Seen { viewer, beeps, skew_ms, .. } in &seen {
            eprintln!("{viewer}: {beeps} beeps, {:.0} ms late", skew_ms.unwrap_or(f64::NAN));
        }
        let is_good = seen.iter().all(|seen| seen.is_in_step());
        if is_good { Came::Good(()) } else { Came::Rough((), format!("{seen:?}")) }
    })
    .await;
}

/// The stream, once it can be watched.
async fn listed(creator: &Client, live: &Value) -> Value {
    in_state(creator, live, "live").await;
    until("its playlist", PATIENCE, || async {
        let answer = reqwest::get(text(live, "/playback/hls")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    show(creator, live).await
}

/// A flash and a beep a second in this format, on the standard output.
fn piped_flash(format: &str) -> Command {
    flash(&format!("{H264} {AAC}"), (format, "-"))
}

fn gstreamer(pipeline: &str, further: &[String]) -> Command {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "fdsrc", "!"]).args(pipeline.split_whitespace()).args(further);
    command
}

/// How many programs of each protocol publish.
fn programs() -> usize {
    from_environment("SOAK_PROGRAMS", 1) as usize
}

type Begin = fn(&Server, &Value) -> Vec<Publisher>;

/// So many of them reach everybody, each with a server of its own.
async fn programs_reach_everybody(all: [Begin; 2]) {
    for begin in all.into_iter().take(programs()) {
        reaches_everybody(begin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_by_rtmp_reach_everybody() {
    // Not from a transport stream: `tsdemux` hands on half a second at a time of what has no clock of its own.
    const PIPELINE: &str = "flvdemux name=in in.video ! queue ! h264parse ! flvmux name=mux streamable=true \
        in.audio ! queue ! aacparse ! mux. mux. ! rtmp2sink";
    let ffmpeg: Begin =
        |_, live| vec![Publisher::run(flash(&format!("{H264} {AAC}"), ("flv", text(live, "/ingest/rtmp"))))];
    let gstreamer: Begin = |_, live| {
        let to = format!("location={}", text(live, "/ingest/rtmp"));
        Publisher::piped(piped_flash("flv"), gstreamer(PIPELINE, &[to])).into()
    };
    programs_reach_everybody([ffmpeg, gstreamer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_by_srt_reach_everybody() {
    let relayed: Begin = |_, live| {
        let (to, transmitter) = transmitter(text(live, "/ingest/srt"));
        vec![Publisher::run(flash(&format!("{H264} {AAC}"), ("mpegts", &to))), transmitter]
    };
    let ffmpeg: Begin =
        |_, live| vec![Publisher::run(flash(&format!("{H264} {AAC}"), ("mpegts", text(live, "/ingest/srt"))))];
    programs_reach_everybody([relayed, ffmpeg]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gstreamer_by_srt_with_a_passphrase_reaches_everybody() {
    let passphrase = "sesame-open-wide";
    let publish = |_: &Server, live: &Value| {
        let to = text(live, "/ingest/srt").split('?').next().unwrap_or_default().to_owned();
        let id = format!("streamid=publish:{}", text(live, "/stream_key"));
        let secret = format!("passphrase={passphrase}");
        let sink = "tsparse ! srtsink wait-for-connection=false pbkeylen=16";
        Publisher::piped(piped_flash("mpegts"), gstreamer(sink, &[format!("uri={to}?mode=caller"), id, secret])).into()
    };
    reaches(json!({"srt_passphrase": passphrase}), publish).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_by_whip_reach_everybody() {
    let chromium: Begin = |server, live| {
        let to = [&server.url(), text(live, "/ingest/whip"), "--flash", "--width", "320", "--height", "180"];
        vec![Publisher::run(node("whip-chromium.mjs", &to))]
    };
    let by_aiortc: Begin = |_, live| vec![Publisher::run(aiortc(text(live, "/ingest/whip"), &["--flash"]))];
    programs_reach_everybody([chromium, by_aiortc]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_of_browsers_is_there_as_aac_as_well() {
    // Nothing but that is made.
    let server = quiet().set("live.rungs", "[]").start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Metronome", "ladder": "full"})).await;
    let _publisher = Publisher::run(aiortc(text(&live, "/ingest/whip"), &["--flash"]));
    let live = listed(&creator, &live).await;
    let hls = text(&live, "/playback/hls");
    let variants = playlist(hls).await;
    assert!(variants.contains(",mp4a.40.2\"") && variants.contains(",opus\""), "{variants}");
    let both = async || {
        undisturbed("sound in both codecs", async || {
            let seen = [decoded_with("one", hls, 0).await, decoded_with("the other", hls, 1).await];
            let is_good = seen.iter().all(|seen| seen.is_in_step());
            if is_good { Came::Good(()) } else { Came::Rough((), format!("{seen:?}")) }
        })
        .await;
    };
    both().await;
    assert!(kill_ladder(&server), "a worker makes it");
    until("another worker", PATIENCE, || async { has_encoder(&server).then_some(()) }).await;
    both().await;
}

/// No player of HLS takes VP8.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_in_vp8_are_h264_for_everybody() {
    let server = quiet().start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Old phone"})).await;
    let _publisher = Publisher::run(aiortc(text(&live, "/ingest/whip"), &["--flash", "--vp8"]));
    let live = listed(&creator, &live).await;
    let hls = text(&live, "/playback/hls");
    let variants = playlist(hls).await;
    assert!(variants.contains("avc1.") && variants.contains("opus"), "{variants}");
    let in_step = async || {
        undisturbed("what was encoded anew", async || {
            let seen = decoded_with("HLS", hls, 0).await;
            if seen.is_in_step() { Came::Good(()) } else { Came::Rough((), format!("{seen:?}")) }
        })
        .await;
    };
    in_step().await;
    assert!(kill_ladder(&server), "a worker makes it");
    until("another worker", PATIENCE, || async { has_encoder(&server).then_some(()) }).await;
    in_step().await;
    // What is made has no B-frames: viewers by WebRTC get it as it is.
    plays(&Viewer::start(text(&live, "/playback/whep"), &["--seconds", "4"]).told().await);
}
