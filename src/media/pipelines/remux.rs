//! Putting a source's streams as they are into spans: `appsrc ! parsebin ! h264parse | aacparse ! appsink`.
//!
//! Runs on the demuxer's one thread: a frame is in a span before the next one is read.
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use self::collect::{Collector, StreamKind};
use super::parse::{End, Parsing, attach, discard};
use super::worker::Reporter;
use super::{element, internal};
use crate::domain::video::{Failure, MediaInfo};
use crate::media::source::ExtentReader;
use crate::media::spans::{Remuxed, SpanError};
use crate::media::work::{Answer, MediaLimits, Output, OutputFile, Packaged, Verdict};

mod collect;
mod order;

/// Containers whose told length is that of their content, so that a shorter content means a file that was cut off.
const TELL_LENGTH: [&str; 4] = ["matroska", "webm", "flv", "avi"];

/// What a remux needs to know besides its source.
pub(super) struct Request<'a> {
    pub(super) output: &'a Output,
    pub(super) limits: &'a MediaLimits,
    pub(super) media: MediaInfo,
}

/// Remuxes a source that inspection found to be standard but for its container.
pub(super) fn remux(reader: ExtentReader, request: Request, reporter: &Arc<Reporter>) -> Result<Answer, Failure> {
    let source_bytes = reader.length_bytes();
    let collector = Arc::new(Mutex::new(Collector::new(&request, source_bytes)));
    let of_streams = Arc::clone(&collector);
    let parsing = Parsing::start(reader, reporter, move |pipeline, pad| take_stream(pipeline, pad, &of_streams))?;
    let all_shown = parsing.all_shown();
    locked(&collector).wait_for(all_shown);
    let end = parsing.watch(|| locked(&collector).has_failed());
    drop(parsing);
    let (start_ms, made) = {
        let mut collector = locked(&collector);
        let made = collector.finish();
        (collector.start_ms(), made)
    };
    let Request { output, mut media, .. } = request;
    let verdict = match made {
        Err(SpanError::NonStandard(reason)) => Verdict::NonStandard(vec![reason]),
        Err(error) => return Err(internal(error)),
        Ok(made) if made.tracks.is_empty() => return Err(nothing_came_out(end)),
        Ok(made) => {
            let told_ms = media.duration_ms;
            correct(&mut media, &made, source_bytes);
            check_length(&media, start_ms, told_ms, &end)?;
            Verdict::Playable(package(made, &output.dir)?)
        }
    };
    Ok(Answer::Remuxed { media, verdict })
}

fn locked(collector: &Mutex<Collector>) -> std::sync::MutexGuard<'_, Collector> {
    collector.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn nothing_came_out(end: End) -> Failure {
    let why = if let End::Broken(error) = end { format!(": {error}") } else { String::new() };
    Failure { code: "damaged".into(), message: format!("No picture or sound could be read from the file{why}.") }
}

/// What every frame has told is better known than what a header said.
fn correct(media: &mut MediaInfo, made: &Remuxed, source_bytes: u64) {
    let ms = |track: &crate::domain::asset::AssetTrack| {
        u64::try_from(track.duration_ticks().saturating_mul(1000) / i64::from(track.timescale.max(1))).unwrap_or(0)
    };
    media.duration_ms = made.tracks.iter().map(ms).max().unwrap_or(0);
    let bits = u128::from(source_bytes) * 8000 / u128::from(media.duration_ms.max(1));
    media.bit_rate = u64::try_from(bits).unwrap_or(u64::MAX);
    let counted = made.tracks.iter().find_map(|track| track.video.as_ref());
    if let (Some(video), Some(counted)) = (media.video.first_mut(), counted) {
        (video.width, video.height) = (counted.width, counted.height);
        if video.frame_rate.0 == 0 {
            video.frame_rate = counted.frame_rate;
        }
    }
}

/// Refuses a file that was cut off: one that breaks before its end, or whose content ends long before it says.
pub(super) fn check_length(media: &MediaInfo, start_ms: u64, told_ms: u64, end: &End) -> Result<(), Failure> {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let end_ms = start_ms.saturating_add(media.duration_ms);
    let is_short = told_ms.saturating_sub(end_ms) > (told_ms / 10).max(1000);
    if TELL_LENGTH.contains(&media.container.as_str()) && is_short {
        let (found, told) = (seconds(end_ms), seconds(told_ms));
        let message =
            format!("The file ends after {found:.1} s of {told:.1} s: it was cut off or is still being written.");
        return Err(Failure { code: "truncated".into(), message });
    }
    if let End::Broken(error) = end {
        let message = format!("The file is damaged after {:.1} s: {error}", seconds(end_ms));
        return Err(Failure { code: "damaged".into(), message });
    }
    Ok(())
}

pub(super) fn package(made: Remuxed, dir: &Path) -> Result<Packaged, Failure> {
    let mut files: Vec<OutputFile> =
        made.spans.into_iter().map(|span| OutputFile { key: span.key, path: span.path }).collect();
    for (number, table) in made.tables.into_iter().enumerate() {
        let path = dir.join(format!("table-{number}"));
        std::fs::write(&path, &table.bytes).map_err(internal)?;
        files.push(OutputFile { key: table.key, path });
    }
    Ok(Packaged { tracks: made.tracks, files })
}

/// Links a stream that is played to a parser and a sink of its own, any other to nowhere.
fn take_stream(pipeline: &gst::Pipeline, pad: &gst::Pad, collector: &Arc<Mutex<Collector>>) {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let kind = StreamKind::of(&caps);
    let number = kind.and_then(|kind| locked(collector).add_stream(kind));
    let built = kind.zip(number).and_then(|(kind, number)| build_chain(kind, number, collector).ok());
    match built {
        Some([parser, filter, sink]) => attach(pipeline, pad, &[&parser, &filter, &sink]),
        None => {
            if let Some(sink) = discard() {
                attach(pipeline, pad, &[&sink]);
            }
        }
    }
}

fn build_chain(
    kind: StreamKind,
    number: usize,
    collector: &Arc<Mutex<Collector>>,
) -> Result<[gst::Element; 3], Failure> {
    let (parser, caps) = match kind {
        StreamKind::H264 => (
            "h264parse",
            gst::Caps::builder("video/x-h264").field("stream-format", "avc").field("alignment", "au").build(),
        ),
        StreamKind::Aac => {
            ("aacparse", gst::Caps::builder("audio/mpeg").field("mpegversion", 4).field("stream-format", "raw").build())
        }
    };
    let (parser, filter) = (element(parser)?, element("capsfilter")?);
    filter.set_property("caps", &caps);
    let (of_samples, of_events) = (Arc::clone(collector), Arc::clone(collector));
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if locked(&of_samples).take(number, &sample) { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Eos) }
        })
        .new_event(move |sink| {
            let event = sink.pull_object().ok().and_then(|object| object.downcast::<gst::Event>().ok());
            if let Some(gst::EventView::Tag(tags)) = event.as_ref().map(|event| event.view()) {
                locked(&of_events).take_tags(number, tags.tag());
            }
            false
        })
        .build();
    let sink = gst_app::AppSink::builder().sync(false).async_(false).callbacks(callbacks).build();
    Ok([parser, filter, sink.upcast()])
}
