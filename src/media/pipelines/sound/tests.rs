use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::domain::ladder::SoundRung;
use crate::media::pipelines::survey::survey;
use crate::media::pipelines::testing::{limits, media_of, output, reader, reporter};
use crate::media::testing::make_clip;
use crate::media::work::Survey;

/// A tenth of a second of tone in the middle of each second.
const CLICKS: &str =
    "-f lavfi -i aevalsrc=exprs=if(between(mod(t\\,1)\\,0.5\\,0.6)\\,0.5*sin(2*PI*1000*t)\\,0):s=48000:d=6";
const PICTURES: &str = "-f lavfi -i testsrc2=size=64x36:rate=25:duration=6";
const H264: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50";
/// An AAC packet at 48 kHz, in seconds.
const PACKET: f64 = 1024.0 / 48_000.0;

fn rung(channels: u16) -> SoundRung {
    SoundRung {
        name: "a0-1".into(),
        track: 0,
        channels,
        bits_per_sec: 64_000 * u32::from(channels),
        language: "de".into(),
        default: true,
    }
}

fn survey_of(path: &Path) -> Survey {
    match survey(&|| reader(path), &limits(), &media_of(path), &reporter()) {
        Ok(Answer::Surveyed(survey)) => survey,
        other => panic!("{}: {other:?}", path.display()),
    }
}

fn encode(path: &Path, dir: &Path, rung: SoundRung) -> (Survey, Packaged) {
    let survey = survey_of(path);
    let task = SoundTask {
        source: Vec::new(),
        output: output(dir),
        rung,
        start_ns: survey.start_ns,
        cuts: survey.cuts.clone(),
        timescale: survey.timescale,
        limits: limits(),
    };
    match encode_sound(reader(path), &task, &reporter()) {
        Ok(Answer::EncodedSound(made)) => (survey, made),
        other => panic!("{}: {other:?}", path.display()),
    }
}

/// The encoded sound as another decoder hears it.
struct Heard {
    /// When the first sample is heard, seconds on the output timeline.
    start: f64,
    rate: f64,
    channels: usize,
    samples: Vec<f32>,
}

impl Heard {
    fn of(made: &Packaged, dir: &Path) -> Self {
        let track = &made.tracks[0];
        let whole: PathBuf = dir.join("heard.mp4");
        let bytes: Vec<u8> = made.files.iter().flat_map(|file| std::fs::read(&file.path).unwrap()).collect();
        std::fs::write(&whole, bytes).unwrap();
        let audio = track.audio.as_ref().unwrap();
        let output = Command::new("ffmpeg")
            .args(["-v", "warning", "-i", whole.to_str().unwrap(), "-f", "f32le", "-"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let samples = output.stdout.as_chunks::<4>().0.iter().map(|sample| f32::from_le_bytes(*sample)).collect();
        let rate = f64::from(audio.sample_rate);
        let start = track.segments[0].start as f64 / f64::from(track.timescale);
        Self { start, rate, channels: usize::from(audio.channels), samples }
    }

    fn end(&self) -> f64 {
        self.start + (self.samples.len() / self.channels) as f64 / self.rate
    }

    /// Starts of tones in a channel, seconds from the origin.
    fn clicks(&self, channel: usize, level: f32) -> Vec<f64> {
        let (mut clicks, mut last) = (Vec::new(), -1.0);
        for (index, frame) in self.samples.chunks_exact(self.channels).enumerate() {
            let at = self.start - 1.0 + index as f64 / self.rate;
            if frame[channel].abs() > level {
                if at - last > 0.2 {
                    clicks.push(at);
                }
                last = at;
            }
        }
        clicks
    }
}

fn assert_clicks(clicks: &[f64], expected: &[f64], tolerance: f64, name: &str) {
    let is_near = clicks.len() == expected.len()
        && clicks.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= tolerance);
    assert!(is_near, "{name}: {clicks:?} instead of {expected:?}");
}

const EACH_SECOND: [f64; 6] = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5];

fn assert_in_time(name: &str, arguments: &str) {
    let dir = tempfile::tempdir().unwrap();
    let clip = make_clip(dir.path(), name, &format!("{PICTURES} {CLICKS} {H264} {arguments}"));
    let (survey, made) = encode(&clip, dir.path(), rung(2));
    let heard = Heard::of(&made, dir.path());
    // Opus and DTS decoders do not make up for all of their filters' delay.
    assert_clicks(&heard.clicks(0, 0.15), &EACH_SECOND, 0.012, name);
    assert!((heard.end() - 7.0).abs() <= 2.5 * PACKET, "{name}: {}", heard.end());
    let track = &made.tracks[0];
    assert_eq!((track.name.as_str(), track.codec.as_str()), ("a0-1", "mp4a.40.2"), "{name}");
    assert_eq!(track.audio.as_ref().unwrap().language, "de");
    let starts: Vec<f64> =
        track.segments.iter().map(|segment| segment.start as f64 / f64::from(track.timescale)).collect();
    let cuts: Vec<f64> = survey.cuts.iter().map(|cut| *cut as f64 / f64::from(survey.timescale)).collect();
    assert_eq!(starts.len() + 1, cuts.len(), "{name}: {starts:?} beside {cuts:?}");
    assert!(
        starts.iter().zip(&cuts).all(|(start, cut)| (start - cut).abs() <= 1025.0 / heard.rate),
        "{name}: {starts:?}"
    );
}

#[test]
fn codecs_that_compress_are_heard_in_time() {
    assert_in_time("aac.mp4", "-c:a aac");
    assert_in_time("aac.mkv", "-c:a aac");
    assert_in_time("aac.ts", "-c:a aac");
    assert_in_time("mp3.mkv", "-c:a libmp3lame");
    assert_in_time("mp3.mp4", "-c:a libmp3lame");
    assert_in_time("mp2.ts", "-c:a mp2");
    assert_in_time("opus.mkv", "-c:a libopus");
    assert_in_time("opus.mp4", "-c:a libopus");
    assert_in_time("vorbis.mkv", "-c:a libvorbis");
}

#[test]
fn codecs_of_films_and_studios_are_heard_in_time() {
    assert_in_time("flac.mkv", "-c:a flac");
    assert_in_time("alac.mov", "-c:a alac");
    assert_in_time("pcm.mov", "-c:a pcm_s24le");
    assert_in_time("float.mkv", "-c:a pcm_f32le");
    assert_in_time("pcm.avi", "-c:a pcm_s16le");
    assert_in_time("ac3.mkv", "-c:a ac3");
    assert_in_time("eac3.mp4", "-c:a eac3");
    assert_in_time("dts.mkv", "-c:a dca -strict -2");
    assert_in_time("mp3.flv", "-c:a libmp3lame -ar 44100");
}

#[test]
fn rates_and_channels_of_all_kinds_come_out_even() {
    let dir = tempfile::tempdir().unwrap();
    for (name, arguments, rate) in [
        ("8.mov", "-c:a pcm_s16le -ar 8000 -ac 1", 48_000),
        ("22.mp4", "-c:a aac -ar 22050", 48_000),
        ("44.mp4", "-c:a aac -ar 44100", 44_100),
        ("96.mkv", "-c:a flac -ar 96000", 48_000),
        ("192.mkv", "-c:a pcm_s24le -ar 192000", 48_000),
        ("71.mkv", "-c:a flac -ac 8", 48_000),
    ] {
        let clip = make_clip(dir.path(), name, &format!("{PICTURES} {CLICKS} {H264} {arguments}"));
        let (_, made) = encode(&clip, dir.path(), rung(2));
        assert_eq!(
            made.tracks[0].audio.as_ref().map(|audio| (audio.sample_rate, audio.channels)),
            Some((rate, 2)),
            "{name}"
        );
        assert_clicks(&Heard::of(&made, dir.path()).clicks(0, 0.1), &EACH_SECOND, 0.005, name);
    }
    let (_, mono) = encode(&dir.path().join("8.mov"), dir.path(), rung(1));
    assert_eq!(mono.tracks[0].audio.as_ref().unwrap().channels, 1);
    // Six tones, one a channel, a second after each other.
    let tone = |second: u32| format!("if(between(t\\,{second}\\,{second}+0.5)\\,0.5*sin(2*PI*80*t)\\,0)");
    let exprs: Vec<String> = (0..6).map(tone).collect();
    let layout = format!("-f lavfi -i aevalsrc=exprs={}:c=5.1:s=48000:d=6", exprs.join("|"));
    let clip = make_clip(dir.path(), "51.mkv", &format!("{layout} -c:a flac"));
    let (_, made) = encode(&clip, dir.path(), rung(6));
    let heard = Heard::of(&made, dir.path());
    for channel in 0..6 {
        assert_clicks(&heard.clicks(channel, 0.2), &[channel as f64], 0.01, "5.1");
    }
    let (_, stereo) = encode(&clip, dir.path(), rung(2));
    let heard = Heard::of(&stereo, dir.path());
    assert_clicks(&heard.clicks(0, 0.13), &[0.0, 2.0, 4.0], 0.01, "left");
    assert_clicks(&heard.clicks(1, 0.13), &[1.0, 2.0, 5.0], 0.01, "right");
}

#[test]
fn sound_is_where_it_was_beside_the_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let late = format!("{PICTURES} -itsoffset 1.25 {CLICKS} {H264}");
    let expected: Vec<f64> = EACH_SECOND.iter().map(|click| click + 1.25).collect();
    for (name, codec) in [("late.mp4", "-c:a aac"), ("late.mkv", "-c:a libopus")] {
        let (_, made) = encode(&make_clip(dir.path(), name, &format!("{late} {codec}")), dir.path(), rung(2));
        let heard = Heard::of(&made, dir.path());
        assert_clicks(&heard.clicks(0, 0.15), &expected, 0.022, name);
        assert!((heard.start - 1.0 + PACKET).abs() < 0.001, "{name}: {}", heard.start);
    }
    let early = format!("-itsoffset 0.7 {PICTURES} {CLICKS} {H264} -c:a pcm_s16le");
    let (_, made) = encode(&make_clip(dir.path(), "early.mkv", &early), dir.path(), rung(2));
    let heard = Heard::of(&made, dir.path());
    // ffmpeg puts the first picture at 0.72 s; what comes before it is not heard.
    let expected: Vec<f64> = EACH_SECOND.iter().skip(1).map(|click| click - 0.72).collect();
    assert_clicks(&heard.clicks(0, 0.15), &expected, 0.005, "early");
    assert!((heard.start - 1.0 + PACKET).abs() < 0.001, "{}", heard.start);
}

#[test]
fn gaps_are_silent_and_short_sound_lasts_as_long_as_the_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let gap = format!("{PICTURES} {CLICKS} {H264} -c:a pcm_s16le -af aselect=not(between(t\\,2\\,4))");
    let (_, made) = encode(&make_clip(dir.path(), "gap.mkv", &gap), dir.path(), rung(2));
    let heard = Heard::of(&made, dir.path());
    assert_clicks(&heard.clicks(0, 0.15), &[0.5, 1.5, 4.5, 5.5], 0.03, "gap");
    let short = format!("{PICTURES} {CLICKS} {H264} -c:a aac -af atrim=end=2");
    let (survey, made) = encode(&make_clip(dir.path(), "short.mp4", &short), dir.path(), rung(2));
    let heard = Heard::of(&made, dir.path());
    assert_clicks(&heard.clicks(0, 0.15), &[0.5, 1.5], 0.005, "short");
    assert!((heard.end() - 7.0).abs() <= 2.5 * PACKET, "{}", heard.end());
    assert_eq!(made.tracks[0].segments.len() + 1, survey.cuts.len());
}

#[test]
fn without_pictures_sound_is_cut_evenly_and_without_sound_there_is_no_track() {
    let dir = tempfile::tempdir().unwrap();
    let sound = make_clip(dir.path(), "sound.mp3", "-f lavfi -i sine=frequency=440:sample_rate=44100:duration=30");
    let (survey, made) = encode(&sound, dir.path(), rung(2));
    assert_eq!(survey.cuts, Vec::<i64>::new());
    let seconds: Vec<i64> =
        made.tracks[0].segments.iter().map(|segment| i64::from(segment.duration) / 44_100).collect();
    assert!(seconds.len() >= 6 && seconds.iter().all(|seconds| (2..=6).contains(seconds)), "{seconds:?}");
    let heard = Heard::of(&made, dir.path());
    assert!((heard.end() - 31.0).abs() <= 0.1, "{}", heard.end());
    let silent = make_clip(dir.path(), "silent.mp4", &format!("{PICTURES} {H264}"));
    let (_, made) = encode(&silent, dir.path(), rung(2));
    assert_eq!((made.tracks.len(), made.files.len()), (0, 0));
    let second = SoundRung { track: 1, ..rung(2) };
    let one = make_clip(dir.path(), "one.mp4", &format!("{PICTURES} {CLICKS} {H264} -c:a aac"));
    assert_eq!(encode(&one, dir.path(), second).1.tracks.len(), 0);
}
