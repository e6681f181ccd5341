//! A ladder of four rungs of a minute of 720p: worker processes, one a core, against one `ffmpeg` command with the same
//! encoder, preset and rates. Wall time of both in turns, then bits and likeness (PSNR, SSIM) of every rung.
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/support/all.rs"]
mod support;
#[path = "support/worker.rs"]
mod worker;
#[allow(dead_code, reason = "other benches use the rest of it")]
#[path = "support/wrk.rs"]
mod wrk;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use playhouse::domain::asset::BlobKey;
use playhouse::domain::ids::{PlaybackId, VideoId};
use playhouse::domain::ladder::{Encoder, PictureTreatment, Reading, Rung, RungCodec};
use playhouse::media::work::{Answer, EncodedRung, MediaLimits, Output, PictureTask, SourceFile, Survey, Task};
use support::clips::half_minute_720p;
use worker::Worker;
use wrk::median;

/// Turns of both.
const ROUNDS: usize = 3;
/// Length of the clip.
const SECONDS: &str = "60";
/// Segments of a chunk, as the server has them by default.
const CHUNK: usize = 2;
const PRESET: &str = "veryfast";
const QUALITY: u8 = 23;
const BUFFER_MS: u32 = 1000;
/// Short side, width, highest rate in kbit/s.
const LADDER: [(u32, u32, u32); 4] = [(720, 1280, 3200), (480, 854, 1600), (360, 640, 900), (144, 256, 200)];

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let clip = clip(dir.path());
    let tasks = tasks(&clip, dir.path());
    println!("ladder: 720/480/360/144 of {SECONDS} s, x264 {PRESET}, {} chunks", tasks.len());
    let (mut ours, mut theirs, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(ffmpeg(&clip, dir.path(), QUALITY));
        let started = Instant::now();
        answers = encode_all(&tasks);
        ours.push(started.elapsed().as_secs_f64());
    }
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    println!("  wall time: ours {ours:.1?} s, ffmpeg {theirs:.1?} s");
    println!("  ratio to one ffmpeg command (target 1.0): {:.2}, median of {ROUNDS}", median(ratios));
    let seconds = |index: usize| answers.iter().filter_map(|(_, seconds)| seconds.get(index)).sum::<f64>();
    let each: Vec<String> = (0..=LADDER.len()).map(|index| format!("{:.1}", seconds(index))).collect();
    println!("  processor seconds of the rungs and of the rest: {}", each.join(", "));
    // Bits are never quite the same: a second encoding with fewer shows what these would have looked like with as many.
    ffmpeg(&clip, dir.path(), QUALITY + 1);
    for (index, (side, ..)) in LADDER.iter().enumerate() {
        let made = joined(&answers, index, dir.path());
        let theirs = [QUALITY, QUALITY + 1].map(|quality| dir.path().join(format!("ffmpeg-{side}-{quality}.mp4")));
        compare(*side, Likeness::of(&made, &clip), theirs.map(|file| Likeness::of(&file, &clip)));
    }
}

/// A minute of 720p, without sound.
fn clip(dir: &Path) -> PathBuf {
    let path = dir.join("clip.mp4");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-i"]).arg(half_minute_720p());
    support::tools::run(command.args(["-t", SECONDS, "-an", "-c", "copy"]).arg(&path));
    path
}

fn tasks(clip: &Path, dir: &Path) -> VecDeque<PictureTask> {
    let bytes = std::fs::metadata(clip).expect("the clip").len();
    let source = vec![SourceFile::local(clip, 0, bytes)];
    let output = Output {
        dir: dir.to_owned(),
        key_prefix: BlobKey::new("bench"),
        video_id: VideoId::parse("vid_aaaaaaaaaaaaaaaaaaaaaa").expect("an id"),
        playback_id: PlaybackId::parse("plb_aaaaaaaaaaaaaaaaaaaaaa").expect("an id"),
        generation: 1,
    };
    let survey = survey(&source, &output);
    let task = |first: usize| PictureTask {
        source: source.clone(),
        output: output.clone(),
        treatment: PictureTreatment {
            track: 0,
            rotation: 0,
            deinterlace: false,
            dynamic_range: "sdr".into(),
            frame_rate_max: 60,
            reading: Reading::Sought,
        },
        start_ns: survey.start_ns,
        timescale: survey.timescale,
        cuts: survey.cuts[first..(first + CHUNK + 1).min(survey.cuts.len())].to_vec(),
        first_segment: first as u32,
        rungs: LADDER.iter().map(rung).collect(),
        tiles: None,
    };
    (0..survey.cuts.len() - 1).step_by(CHUNK).map(task).collect()
}

fn survey(source: &[SourceFile], output: &Output) -> Survey {
    let limits = MediaLimits {
        segment_duration: Duration::from_secs(4),
        gop_duration_max: Duration::from_secs(10),
        bit_rate_max: 50_000_000,
        moov_bytes_max: 64 << 20,
    };
    let mut worker = Worker::start();
    let task = Task::Inspect { source: source.to_vec(), output: output.clone(), limits: limits.clone() };
    let Answer::Inspected { media, .. } = worker.run(task) else { panic!("not inspected") };
    let Answer::Surveyed(survey) = worker.run(Task::Survey { source: source.to_vec(), limits, media }) else {
        panic!("not surveyed")
    };
    survey
}

fn rung((side, width, kbits): &(u32, u32, u32)) -> Rung {
    Rung {
        name: format!("v{side}-1"),
        codec: RungCodec::H264,
        width: *width,
        height: *side,
        bits_per_sec_max: kbits * 1000,
        buffer_ms: BUFFER_MS,
        quality: QUALITY,
        preset: PRESET.into(),
        encoder: Encoder { name: "x264enc".into(), version: "any".into() },
    }
}

type Chunks = Vec<(Vec<EncodedRung>, Vec<f64>)>;

/// Encodes all chunks by as many workers as there are cores; the answers in order of chunks.
fn encode_all(tasks: &VecDeque<PictureTask>) -> Chunks {
    let queue = Mutex::new(tasks.clone());
    let answers = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut worker = Worker::start();
                while let Some(task) = { queue.lock().expect("the queue").pop_front() } {
                    let first = task.first_segment;
                    let answer = worker.run(Task::EncodePictures(Box::new(task)));
                    let Answer::EncodedPictures { rungs, seconds, .. } = answer else { panic!("not encoded") };
                    answers.lock().expect("the answers").push((first, rungs, seconds));
                }
            });
        }
    });
    let mut answers = answers.into_inner().expect("the answers");
    answers.sort_by_key(|(first, ..)| *first);
    answers.into_iter().map(|(_, rungs, seconds)| (rungs, seconds)).collect()
}

fn ffmpeg(clip: &Path, dir: &Path, quality: u8) -> f64 {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(clip);
    let scaled = "[0:v]split=4[v720][b][c][d];[b]scale=854:480[v480];[c]scale=640:360[v360];[d]scale=256:144[v144]";
    command.args(["-filter_complex", scaled]);
    for (side, _, kbits) in LADDER {
        let buffer = kbits * BUFFER_MS / 1000;
        let settings = format!(
            "-map [v{side}] -an -c:v libx264 -preset {PRESET} -crf {quality} -maxrate {kbits}k -bufsize {buffer}k -g 100"
        );
        command.args(settings.split(' ')).arg(dir.join(format!("ffmpeg-{side}-{quality}.mp4")));
    }
    let started = Instant::now();
    support::tools::run(&mut command);
    started.elapsed().as_secs_f64()
}

fn joined(answers: &Chunks, index: usize, dir: &Path) -> PathBuf {
    let mut bytes = answers[0].0[index].init.to_vec();
    for (rungs, _) in answers {
        let rung = &rungs[index];
        let span = std::fs::read(&rung.span.path).expect("the span");
        bytes.extend_from_slice(&span[rung.init.len()..]);
    }
    let path = dir.join(format!("ours-{index}.mp4"));
    std::fs::write(&path, bytes).expect("the joined rung");
    path
}

/// What an encoding has in bits, and how like the clip it is, at the clip's size.
#[derive(Clone, Copy)]
struct Likeness {
    kbits: f64,
    psnr: f64,
    ssim: f64,
}

/// Prints ours, and theirs with as many bits, by two encodings of theirs.
fn compare(side: u32, ours: Likeness, [theirs, fewer]: [Likeness; 2]) {
    let share = (ours.kbits / theirs.kbits).ln() / (fewer.kbits / theirs.kbits).ln();
    let between = |of: fn(&Likeness) -> f64| of(&theirs) + (of(&fewer) - of(&theirs)) * share;
    let (psnr, ssim) = (between(|likeness| likeness.psnr), between(|likeness| likeness.ssim));
    println!(
        "  {side}p: {:.0} kbit/s (ffmpeg {:.0}), PSNR {:.2} dB, {:+.2} to ffmpeg with as many bits (target -0.20), \
         SSIM {:.4}, {:+.4} (target -0.0020)",
        ours.kbits,
        theirs.kbits,
        ours.psnr,
        ours.psnr - psnr,
        ours.ssim,
        ours.ssim - ssim
    );
}

impl Likeness {
    fn of(file: &Path, clip: &Path) -> Self {
        let graph = "[0:v]settb=1/1000,setpts=N,scale=1280:720:flags=bicubic,split[a][b];\
                     [1:v]settb=1/1000,setpts=N,split[c][d];[a][c]psnr;[b][d]ssim";
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-i"]).arg(file).arg("-i").arg(clip).args(["-lavfi", graph, "-f", "null", "-"]);
        let output = support::tools::output(&mut ffmpeg);
        let said = String::from_utf8_lossy(&output.stderr);
        let number = |line: &str, name: &str| {
            let line = said.lines().rev().find(|text| text.contains(line)).unwrap_or_else(|| panic!("{said}"));
            let rest = line.split_once(name).expect("a number").1;
            rest.split([' ', '(']).next().expect("a number").parse::<f64>().expect("a number")
        };
        let kbits =
            std::fs::metadata(file).expect("a rung").len() as f64 * 8e-3 / SECONDS.parse::<f64>().expect("seconds");
        Self { kbits, psnr: number("PSNR", "average:"), ssim: number("SSIM", "All:") }
    }
}
