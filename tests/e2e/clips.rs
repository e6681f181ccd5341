//! Every kind of file either plays as it came, or is refused with the reason.
use std::path::Path;

use serde_json::Value;

use crate::playback::compare_with_source;
use crate::support::clips::{Recipe, real};
use crate::support::server::Server;
use crate::uploads::{manifest_url, playable, upload, verdict};

/// Files that must play, whatever their container.
const PLAYABLE: &[Recipe] = &[
    Recipe { name: "standard.mp4", args: "{pictures} {sound} {h264} {aac}" },
    Recipe { name: "index-first.mp4", args: "{pictures} {sound} {h264} {aac} -movflags +faststart" },
    Recipe { name: "standard.mov", args: "{pictures} {sound} {h264} {aac}" },
    Recipe { name: "matroska.mkv", args: "{pictures} {sound} {h264} {aac}" },
    Recipe { name: "transport.ts", args: "{pictures} {sound} {h264} {aac}" },
    Recipe { name: "flash.flv", args: "{pictures} {sound} {h264} {aac}" },
    Recipe {
        name: "portrait.mp4",
        args: "-f lavfi -i testsrc2=size=360x640:rate=30:duration=6 {sound} {h264} {aac} -t 6",
    },
    Recipe { name: "silent.mp4", args: "{pictures} {h264}" },
    Recipe { name: "sound-only.m4a", args: "-f lavfi -i sine=440:d=10 {aac}" },
    Recipe { name: "one-frame.mp4", args: "{pictures} {h264} -frames:v 1" },
    Recipe { name: "late-sound.mp4", args: "{pictures} -itsoffset 0.5 {sound} {h264} {aac}" },
    Recipe {
        name: "cinema.mp4",
        args: "-f lavfi -i testsrc2=size=640x360:rate=24000/1001:duration=8 {sound} {h264} {aac} -t 8",
    },
    Recipe { name: "mono.mp4", args: "{pictures} {sound} {h264} {aac} -ac 1 -ar 44100" },
    Recipe { name: "fragmented.mp4", args: "{pictures} {sound} {h264} {aac} -movflags +frag_keyframe+empty_moov" },
];

/// Files that are video, but not as it can be delivered unchanged, with the condition that says so.
const NON_STANDARD: &[(Recipe, &str)] = &[
    (Recipe { name: "mpeg4.avi", args: "{pictures} {sound} -c:v mpeg4 -c:a mp3" }, "video_codec"),
    (
        Recipe { name: "vp9.webm", args: "{pictures} -t 2 -c:v libvpx-vp9 -deadline realtime -cpu-used 8" },
        "video_codec",
    ),
    (
        Recipe {
            name: "long-gop.mp4",
            args: "-f lavfi -i testsrc2=size=160x90:rate=25:duration=14 -c:v libx264 -pix_fmt yuv420p -g 400 -sc_threshold 0",
        },
        "gop_length",
    ),
    (
        Recipe {
            name: "ten-bit.mp4",
            args: "{pictures} -t 2 -c:v libx264 -preset veryfast -pix_fmt yuv420p10le -g 50",
        },
        "bit_depth",
    ),
    (
        Recipe {
            name: "full-colour.mp4",
            args: "{pictures} -t 2 -c:v libx264 -preset veryfast -pix_fmt yuv444p -g 50",
        },
        "chroma",
    ),
];

async fn plays_like_its_source(server: &Server, path: &Path) {
    let client = server.account("creator").await;
    let video = playable(&client, path).await;
    compare_with_source(path, &manifest_url(&client, &video));
    assert_eq!(video["non_standard"].as_array().map(Vec::len), Some(0), "{video}");
    assert!(video["file_size"].as_u64() == Some(std::fs::metadata(path).expect("the file").len()), "{video}");
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_clips_play_like_their_source() {
    for recipe in PLAYABLE {
        eprintln!("{}", recipe.name);
        plays_like_its_source(&Server::start(), &recipe.make()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clips_play_like_their_source() {
    let clips = real();
    if clips.is_empty() {
        eprintln!("no real clips at hand: set PLAYHOUSE_TEST_CLIPS to a directory with MP4 files");
    }
    for clip in clips {
        eprintln!("{}", clip.display());
        plays_like_its_source(&Server::start(), &clip).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_clip_says_so_and_plays() {
    // Copied with a display matrix: phones store pictures like this.
    let upright = Recipe { name: "upright.mp4", args: "{pictures} {sound} {h264} {aac} -t 4" }.make();
    let args = format!("-i {} -c copy -metadata:s:v:0 rotate=270", upright.display());
    let rotated = Recipe { name: "rotated.mp4", args: Box::leak(args.into_boxed_str()) }.make();
    let server = Server::start();
    let client = server.account("creator").await;
    let video = playable(&client, &rotated).await;
    assert_eq!(video["resolution"].as_str(), Some("360x640"), "{video}");
    compare_with_source(&rotated, &manifest_url(&client, &video));
}

fn codes(video: &Value) -> Vec<&str> {
    video["non_standard"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn non_standard_clips_say_which_condition_they_miss_and_are_converted() {
    let server = Server::start();
    let client = server.account("creator").await;
    for (recipe, condition) in NON_STANDARD {
        eprintln!("{}", recipe.name);
        let video = verdict(&client, &upload(&client, &recipe.make()).await).await;
        assert_ne!(video["status"], "failed", "{video}");
        assert!(video["video_urls"]["hls"].is_string(), "{video}");
        assert!(codes(&video).contains(condition), "{}: {:?}", recipe.name, codes(&video));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_video_fail_with_a_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let standard = std::fs::read(PLAYABLE[1].make()).expect("a clip");
    let cut_at = |share: f64| standard[..(standard.len() as f64 * share) as usize].to_vec();
    let noise: Vec<u8> = (0..200_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut no_samples = standard.clone();
    let mdat = no_samples.windows(4).position(|window| window == b"mdat").expect("an mdat box");
    no_samples.truncate(mdat + 4);
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("empty.mp4", Vec::new()),
        ("text.mp4", b"This is not a video.\n".repeat(100)),
        ("noise.mp4", noise),
        ("cut-index.mp4", cut_at(0.01)),
        ("no-samples.mp4", no_samples),
    ];
    let server = Server::start();
    let client = server.account("creator").await;
    for (name, bytes) in files {
        eprintln!("{name}");
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        let video = verdict(&client, &upload(&client, &path).await).await;
        assert_eq!(video["status"], "failed", "{name}: {video}");
        let message = video["failure"]["message"].as_str().unwrap_or_default();
        assert!(message.len() > 10 && message.contains(' '), "{name}: not a sentence: {message}");
    }
    client.check_ready().await.expect("a server that is still well");
}
