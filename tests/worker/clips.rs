//! Clips for tests: made by ffmpeg when first asked for, once per build directory.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const PICTURE: &str = "-f lavfi -i testsrc2=size=192x108:rate=25:duration=2.4";
const LONG: &str = "-f lavfi -i testsrc2=size=64x36:rate=5:duration=12";
const LARGE: &str = "-f lavfi -i testsrc2=size=400x300:rate=25:duration=6";
const BLACK: &str = "-f lavfi -i color=black:size=192x108:rate=25:duration=0.6";
const TALL: &str = "-f lavfi -i testsrc2=size=108x192:rate=25:duration=2.4";
const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=2.4";
const H264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25 -bf 2 -b_strategy 0";
const AAC: &str = "-c:a aac -ac 2 -b:a 96k";

fn recipe(name: &str) -> Option<String> {
    let both = |rest: &str| Some(format!("{PICTURE} {SOUND} {H264} {AAC} {rest}"));
    match name {
        "plain.mp4" | "plain.mov" | "plain.mkv" | "plain.ts" | "plain.flv" => both(""),
        "fragmented.mp4" => both("-movflags frag_keyframe+empty_moov"),
        "plain.avi" => Some(format!("{PICTURE} {SOUND} {H264} -bf 0 {AAC}")),
        "mpeg4-mp3.avi" => Some(format!("{PICTURE} {SOUND} -c:v mpeg4 -q:v 5 -c:a libmp3lame")),
        "portrait.mp4" => Some(format!("{TALL} {SOUND} {H264} {AAC}")),
        "no-audio.mkv" => Some(format!("{PICTURE} {H264}")),
        "audio-only.mkv" => Some(format!("{SOUND} {AAC}")),
        "audio-only.mp3" => Some(format!("{SOUND} -c:a libmp3lame")),
        "audio-only.m4a" | "audio-only.aac" => Some(format!("{SOUND} {AAC}")),
        "one-frame.mp4" | "one-frame.mkv" => Some(format!("{PICTURE} {H264} -frames:v 1")),
        "ten-bit.mkv" => Some(format!("{PICTURE} -c:v libx264 -preset ultrafast -pix_fmt yuv420p10le")),
        "hevc.mkv" | "hevc.mp4" => {
            Some(format!("{PICTURE} {SOUND} -c:v libx265 -preset ultrafast -x265-params log-level=none {AAC}"))
        }
        "long-gop.mkv" => {
            Some(format!("{LONG} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 999 -sc_threshold 0"))
        }
        "ladder.mp4" | "ladder.mkv" => Some(format!("{LARGE} {SOUND} {H264} {AAC}")),
        "ladder-hevc.mkv" => {
            Some(format!("{LARGE} -c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25"))
        }
        "black.mp4" => Some(format!("{BLACK} {H264}")),
        "anamorphic.mp4" => Some(format!("{PICTURE} {H264} -vf scale=96:108,setsar=2/1")),
        "black-start.mp4" => Some(format!("{BLACK} {PICTURE} -filter_complex [0][1]concat=n=2 {H264}")),
        "vp9-opus.webm" => {
            Some(format!("{PICTURE} {SOUND} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"))
        }
        "av1.mkv" => Some(format!("{PICTURE} -c:v libsvtav1 -preset 12")),
        "opus.mkv" => Some(format!("{PICTURE} {SOUND} {H264} -c:a libopus")),
        "interlaced.ts" => Some(format!("{PICTURE} {SOUND} {H264} -flags +ilme+ildct -x264opts tff=1 {AAC}")),
        "hdr.mkv" => Some(format!(
            "{PICTURE} -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params \
             log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
        )),
        "surround.mkv" => Some(format!("{PICTURE} {SOUND} {H264} -c:a aac -ac 6 -metadata:s:a:0 language=deu")),
        "delayed.mkv" => Some(format!("-itsoffset 5.4 {PICTURE} -itsoffset 5 {SOUND} {H264} {AAC} -copyts")),
        _ => None,
    }
}

fn made(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    if let Some(recipe) = recipe(name) {
        ffmpeg(&recipe, &path);
        return path;
    }
    let bytes = match name {
        "rotated.mp4" => {
            ffmpeg(&format!("-i {} -c copy -metadata:s:v:0 rotate=90", clip("plain.mp4").display()), &path);
            return path;
        }
        "picture.mp4" => {
            let picture = dir.join("picture.jpg");
            ffmpeg(&format!("{PICTURE} -frames:v 1"), &picture);
            std::fs::read(picture).unwrap()
        }
        "live.webm" => {
            // To a pipe: no length in the header, as browsers record.
            let recipe =
                format!("-v error {PICTURE} {SOUND} -c:v libvpx -deadline realtime -c:a libopus -f webm pipe:1");
            Command::new("ffmpeg").args(recipe.split_whitespace()).output().unwrap().stdout
        }
        "empty.mp4" => Vec::new(),
        "text.mp4" => b"Dear diary,\ntoday I wrote no video.\n".to_vec(),
        "cut.mp4" => first_half("plain.mp4"),
        "cut.mkv" => first_half("plain.mkv"),
        "noise.ts" => (0u32..200_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        other => panic!("no recipe for {other}"),
    };
    std::fs::write(&path, bytes).unwrap();
    path
}

fn first_half(name: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(clip(name)).unwrap();
    bytes.truncate(bytes.len() / 2);
    bytes
}

fn ffmpeg(recipe: &str, path: &Path) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(recipe.split_whitespace())
        .args(["-threads", "2"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{recipe}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The path of a clip, made if it is not there yet. Kept below the build directory for as long as this file stays as it
/// is; another process may be making the same one.
pub fn clip(name: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    include_str!("clips.rs").hash(&mut hasher);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("worker-clips-{:016x}", hasher.finish()));
    let path = dir.join(name);
    if !path.exists() {
        std::fs::create_dir_all(&dir).unwrap();
        let making = tempfile::tempdir_in(&dir).unwrap();
        std::fs::rename(made(making.path(), name), &path).unwrap();
    }
    path
}

/// A clip's SHA-256 in hexadecimal, by another program than ours.
pub fn sha256(name: &str) -> String {
    let output = Command::new("sha256sum").arg(clip(name)).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}
