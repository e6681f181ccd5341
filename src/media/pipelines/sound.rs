//! Sound, encoded from its start to its end in one pass, as long as the pictures beside it at least: decoded, put on a
//! continuous timeline, mixed, resampled, encoded to AAC, cut where pictures are.
use std::sync::Arc;

use self::decoder::{Decoder, Samples};
use self::encoder::{Encoder, EncoderSettings};
use self::mix::Mix;
use self::timeline::{SECOND_NS, Timeline};
use super::remux::package;
use super::worker::Reporter;
use crate::domain::asset::{TIMELINE_ORIGIN_SECS, Ticks};
use crate::domain::video::Failure;
use crate::media::grid::GridSettings;
use crate::media::source::ExtentReader;
use crate::media::spans::SpanSettings;
use crate::media::work::{Answer, Packaged, SoundTask};

mod decoder;
mod encoder;
pub(super) mod live;
mod mix;
mod timeline;

/// Media time of a span.
const SPAN_MS: u32 = 60_000;

/// Encodes a track of sound. Without any that can be decoded, the answer has no track.
pub(super) fn encode_sound(
    reader: ExtentReader,
    task: &SoundTask,
    reporter: &Arc<Reporter>,
) -> Result<Answer, Failure> {
    let decoder = Decoder::start(reader, task.rung.track, reporter)?;
    let Some(first) = first_heard(&decoder, task) else {
        return Ok(Answer::EncodedSound(Packaged { tracks: Vec::new(), files: Vec::new() }));
    };
    // What starts late starts with silence, so that its segments are those of the pictures.
    let first_ns = first.at_ns.unwrap_or(task.start_ns).min(task.start_ns);
    let settings = settings(task, output_rate(first.rate), first_ns - task.start_ns);
    let mut encoder = Encoder::start(settings, reporter)?;
    let wanted = usize::from(task.rung.channels);
    let end_ns = pictures_end(task);
    let mut timeline = Timeline::new(first_ns, first.rate, wanted, end_ns);
    let mut mixing: Option<((usize, u64), Mix)> = None;
    let mut next = Some(first);
    while let Some(heard) = next.filter(|_| !encoder.has_broken()) {
        let shape = (heard.channels, heard.mask);
        let mix = match &mut mixing {
            Some((of, mix)) if *of == shape => mix,
            other => &mut other.insert((shape, Mix::new(heard.channels, heard.mask, wanted))).1,
        };
        timeline.push(heard.at_ns, mix.apply(&heard.samples), heard.rate, &mut encoder);
        next = decoder.next();
    }
    drop(decoder);
    timeline.fill(end_ns, &mut encoder);
    let made = package(encoder.finish()?, &task.output.dir)?;
    Ok(Answer::EncodedSound(made))
}

/// The first samples that are heard. Beside pictures, nothing is heard before the first of them.
fn first_heard(decoder: &Decoder, task: &SoundTask) -> Option<Samples> {
    loop {
        let samples = decoder.next()?;
        let Some(at) = samples.at_ns.filter(|at| !task.cuts.is_empty() && *at < task.start_ns) else {
            return Some(samples);
        };
        if let Some(rest) = samples.without_first(task.start_ns - at) {
            return Some(rest);
        }
    }
}

/// CD rate stays what it is; everything else becomes what video has.
fn output_rate(rate: u32) -> u32 {
    if rate == 44_100 { rate } else { 48_000 }
}

/// When the last picture ends, on the source's timeline.
fn pictures_end(task: &SoundTask) -> i64 {
    let Some(last) = task.cuts.last() else { return i64::MIN };
    let end = Ticks { value: *last, timescale: task.timescale }.rescale(1_000_000_000);
    end - i64::from(TIMELINE_ORIGIN_SECS) * SECOND_NS + task.start_ns
}

fn settings(task: &SoundTask, rate: u32, first_ns: i64) -> EncoderSettings<'_> {
    let millis = |duration: std::time::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    let spans = SpanSettings {
        dir: task.output.dir.clone(),
        prefix: task.output.key_prefix.clone(),
        generation: task.output.generation,
        start: Ticks { value: 0, timescale: 1 },
        grid: GridSettings {
            target_ms: millis(task.limits.segment_duration),
            longest_ms: millis(task.limits.gop_duration_max),
        },
        span_ms: SPAN_MS,
        // What the encoder makes is what was asked for.
        bits_per_sec_max: u64::MAX,
    };
    let timescale = task.timescale;
    // The first cut is the start.
    let cuts = task.cuts.iter().skip(1).map(|value| Ticks { value: *value, timescale }).collect();
    EncoderSettings { rung: &task.rung, rate, first_ns, cuts, spans }
}

#[cfg(test)]
mod tests;
