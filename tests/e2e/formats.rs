//! Files as people have them, each through the whole server: what can be decoded becomes a ladder with all its pictures
//! and its sound, and what cannot says why.
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use playhouse::cli::client::Client;
use serde_json::Value;

use crate::support::clips::Recipe;
use crate::support::server::ServerOptions;
use crate::support::tools::{self, ffmpeg_complaints, ffprobe, until};
use crate::uploads::{manifest_url, upload};

/// Longest time for all of them on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// Pictures of the usual clip.
const PICTURES: u64 = 50;

/// A clip: what makes it, its pictures, and whether it has sound. `{p}` stands for the usual pictures, `{s}` for sound.
struct Format {
    recipe: Recipe,
    pictures: u64,
    has_sound: bool,
}

const fn format(name: &'static str, args: &'static str) -> Format {
    Format { recipe: Recipe { name, args }, pictures: PICTURES, has_sound: true }
}

const fn silent(name: &'static str, args: &'static str) -> Format {
    Format { has_sound: false, ..format(name, args) }
}

const X264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25";

const FORMATS: [Format; 29] = [
    format("baseline.mp4", "{p} {s} {x264} -profile:v baseline -c:a aac"),
    format("high10-mp3.mkv", "{p} {s} -c:v libx264 -preset ultrafast -pix_fmt yuv420p10le -g 25 -c:a libmp3lame"),
    format("high422-pcm.mov", "{p} {s} -c:v libx264 -preset ultrafast -pix_fmt yuv422p -g 25 -c:a pcm_s24le"),
    format("interlaced.mp4", "{p} {s} {x264} -flags +ilme+ildct -x264opts interlaced=1 -c:a aac"),
    format(
        "hevc-ac3.mp4",
        "{p} {s} -c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25 -tag:v hvc1 -c:a ac3",
    ),
    format(
        "hevc10-flac.mkv",
        "{p} {s} -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=none -c:a flac",
    ),
    format("vp8-vorbis.webm", "{p} {s} -c:v libvpx -deadline realtime -cpu-used 8 -g 25 -c:a libvorbis"),
    format("vp9-opus.webm", "{p} {s} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -c:a libopus"),
    format("av1-opus.mp4", "{p} {s} -c:v libsvtav1 -preset 12 -g 25 -c:a libopus"),
    format("mpeg2-mp2.ts", "{p} {s} -c:v mpeg2video -bf 2 -g 15 -flags +ilme+ildct -c:a mp2"),
    format("mpeg2-ac3.mpg", "{p} {s} -c:v mpeg2video -bf 2 -g 15 -c:a ac3"),
    format("mpeg4-mp3.avi", "{p} {s} -c:v mpeg4 -bf 2 -g 25 -c:a libmp3lame"),
    format("mpeg4-aac.mp4", "{p} {s} -c:v mpeg4 -g 25 -c:a aac"),
    format("prores-pcm.mov", "{p} {s} -c:v prores_ks -profile:v 1 -c:a pcm_s16le"),
    format("mjpeg-pcm.avi", "{p} {s} -c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le"),
    format("h264-mp3.flv", "{p} {s} {x264} -c:a libmp3lame -ar 44100"),
    format("wmv.asf", "{p} {s} -c:v wmv2 -g 25 -c:a wmav2"),
    format("theora.ogv", "{p} {s} -c:v libtheora -q:v 5 -g 25 -c:a libvorbis"),
    format(
        "surround.mp4",
        "{p} -f lavfi -i anoisesrc=d=2:c=pink:r=48000:a=0.1 -af pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0 {x264} -c:a aac",
    ),
    format("mono-44100.mp4", "{p} {s} {x264} -ac 1 -ar 44100 -c:a aac"),
    silent("portrait.mp4", "{p} -vf transpose=1 -c:v libx265 -preset ultrafast -x265-params log-level=none"),
    silent("odd.mkv", "{p} -vf scale=131:97 -c:v libx264 -preset ultrafast -pix_fmt yuv444p -g 25"),
    silent("silent.ts", "{p} {x264} -bf 2"),
    format(
        "edited.mp4",
        "-f lavfi -i testsrc2=size=128x96:rate=25:duration=3 -f lavfi -i sine=r=48000:d=3 {x264} -bf 2 -c:a aac -ss 1",
    ),
    format("late.mkv", "-itsoffset 1 {p} -itsoffset 1 {s} {x264} -c:a libopus"),
    Format { pictures: 30, ..silent("gap.mkv", "{p} -vf select='lt(n,15)+gte(n,35)' -vsync vfr -c:v mpeg4 -g 25") },
    Format { pictures: 0, ..format("sound.mp3", "{s} -c:a libmp3lame") },
    Format { pictures: 0, ..format("sound.wav", "{s} -c:a pcm_s16le") },
    Format { pictures: 0, ..format("sound.flac", "{s} -c:a flac") },
];

impl Format {
    fn make(&self) -> PathBuf {
        let args = self.recipe.args.replace("{p}", "-f lavfi -i testsrc2=size=128x96:rate=25:duration=2");
        let args = args.replace("{s}", "-f lavfi -i sine=r=48000:d=2").replace("{x264}", X264);
        Recipe { name: self.recipe.name, args: args.leak() }.make()
    }

    /// What is wrong with what became of it.
    fn faults(&self, client: &Client, video: &Value) -> Vec<String> {
        if video["status"] != "ready" {
            return vec![format!("{video}")];
        }
        let hls = manifest_url(client, video);
        let dash = hls.replace("master.m3u8", "manifest.mpd");
        let mut faults: Vec<String> = [&hls, &dash].map(|url| ffmpeg_complaints(url)).into();
        faults.retain(|said| !said.is_empty());
        for rendition in video["renditions"].as_array().into_iter().flatten() {
            faults.extend(self.fault_of(&hls, rendition));
        }
        let sounds = video["renditions"].as_array().into_iter().flatten().filter(|one| one["kind"] == "audio").count();
        if (sounds > 0) != self.has_sound {
            faults.push(format!("{sounds} renditions of sound"));
        }
        faults
    }

    fn fault_of(&self, hls: &str, rendition: &Value) -> Option<String> {
        let name = rendition["name"].as_str().unwrap_or_default();
        let url = hls.replace("master.m3u8", &format!("{name}/media.m3u8"));
        let counted = ffprobe(&url, &["-count_frames", "-show_entries", "stream=nb_read_frames,sample_rate"]);
        let frames: u64 = counted["streams"][0]["nb_read_frames"].as_str().and_then(|text| text.parse().ok())?;
        if rendition["kind"] == "video" {
            return (frames != self.pictures).then(|| format!("{name} has {frames} pictures of {}", self.pictures));
        }
        let rate = counted["streams"][0]["sample_rate"].as_str().and_then(|text| text.parse().ok()).unwrap_or(1.0);
        let seconds = frames as f64 * 1024.0 / rate;
        (!(1.9..2.2).contains(&seconds)).then(|| format!("{name} lasts {seconds} s"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_format_become_ladders() {
    let server = ServerOptions::new().set("transcode.preset", "ultrafast").set("workers.nice", "0").start();
    let creator = server.account("creator").await;
    let mut faults = Vec::new();
    let mut videos = Vec::new();
    for format in &FORMATS {
        videos.push((format, upload(&creator, &format.make()).await));
    }
    for (format, id) in videos {
        let video = until(format.recipe.name, READY_WITHIN, || async {
            let video = creator.video(&id).await.expect("the video");
            ["ready", "failed"].contains(&video["status"].as_str()?).then_some(video)
        })
        .await;
        let found = format.faults(&creator, &video);
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", format.recipe.name)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_files_say_what_is_wrong_with_them() {
    let server = ServerOptions::new().set("transcode.preset", "ultrafast").set("workers.nice", "0").start();
    let creator = server.account("creator").await;
    let dir = tempfile::tempdir().expect("a directory");
    let whole = std::fs::read(
        format("hevc.mkv", "{p} {s} -c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25 -c:a libopus")
            .make(),
    )
    .expect("a clip");
    let noise: Vec<u8> = whole.iter().rev().copied().collect();
    let subtitles = dir.path().join("lines.srt");
    std::fs::write(&subtitles, "1\n00:00:00,000 --> 00:00:01,000\nwords\n").expect("a file");
    let text = dir.path().join("text.mkv");
    tools::run(Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-i"]).arg(&subtitles).arg(&text));
    let half = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
    let files = [("noise.mkv", noise), ("text.mkv", std::fs::read(text).expect("a file")), ("half.mkv", half)];
    let mut ends = Vec::new();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        let id = upload(&creator, &path).await;
        let video = until(name, READY_WITHIN, || async {
            let video = creator.video(&id).await.expect("the video");
            ["ready", "failed"].contains(&video["status"].as_str()?).then_some(video)
        })
        .await;
        ends.push(video);
    }
    let [noise, text, half] = &ends[..] else { panic!("{ends:?}") };
    for (video, code) in [(noise, "not_a_video"), (text, "damaged"), (half, "truncated")] {
        assert_eq!((&video["status"], &video["failure"]["code"]), (&"failed".into(), &code.into()), "{video}");
        assert!(video["failure"]["message"].as_str().is_some_and(|text| text.len() > 20), "{video}");
    }
}
