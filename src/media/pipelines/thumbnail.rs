//! One representative picture: near a tenth of the length, not black if that can be avoided, as it is to be shown.
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::worker::Reporter;
use super::{element, internal, source};
use crate::domain::asset::BlobKey;
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;
use crate::media::work::{Answer, Output, OutputFile};

/// Widest picture made.
const WIDTH_MAX: i32 = 1280;
/// Pictures looked at before the best so far is taken: about two seconds.
const PICTURES_MAX: usize = 60;
/// A picture whose samples vary more than this (standard deviation of luma) shows something.
const DEVIATION_WANTED: f64 = 24.0;
/// How long to wait for a picture before looking whether the pipeline has broken.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Quality of the JPEG, percent.
const QUALITY: i32 = 82;

/// Makes the picture of a video of so many milliseconds, turned clockwise by `rotation` degrees.
pub(super) fn thumbnail(
    reader: ExtentReader,
    duration_ms: u64,
    rotation: u16,
    output: &Output,
    reporter: &Arc<Reporter>,
) -> Result<Answer, Failure> {
    let decoding = Decoding::start(reader, rotation, reporter)?;
    let sample = decoding.best_picture(gst::ClockTime::from_mseconds(duration_ms / 10), reporter)?;
    drop(decoding);
    let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
    let (width, height) = info.map(|info| (info.width(), info.height())).ok_or_else(no_picture)?;
    let jpeg = to_jpeg(&sample)?;
    let name = format!("thumbnail-{}.jpg", output.generation);
    let path = output.dir.join(&name);
    std::fs::write(&path, &jpeg).map_err(internal)?;
    let file = OutputFile { key: BlobKey::new(format!("{}/{name}", output.key_prefix)), path };
    Ok(Answer::Illustrated { file, content_type: "image/jpeg".into(), width, height })
}

fn no_picture() -> Failure {
    Failure { code: "no_picture".into(), message: "No picture could be decoded.".into() }
}

struct Decoding {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
}

impl Drop for Decoding {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Decoding {
    /// `appsrc ! parsebin ! decodebin ! videoconvert ! videoflip ! videoscale ! appsink`, paused.
    fn start(reader: ExtentReader, rotation: u16, reporter: &Arc<Reporter>) -> Result<Self, Failure> {
        let source: gst::Element = source::random_access(reader, reporter).0.upcast();
        let names = ["parsebin", "decodebin", "videoconvert", "videoflip", "videoscale"];
        let [parser, decoder, convert, flip, scale] = names.map(element);
        let (parser, decoder, convert, flip, scale) = (parser?, decoder?, convert?, flip?, scale?);
        flip.set_property_from_str("method", flip_method(rotation));
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", gst::IntRange::new(1, WIDTH_MAX))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        let sink = gst_app::AppSink::builder().caps(&caps).sync(false).max_buffers(1).build();
        let pipeline = gst::Pipeline::new();
        let end: &gst::Element = sink.upcast_ref();
        pipeline.add_many([&source, &parser, &decoder, &convert, &flip, &scale, end]).map_err(internal)?;
        source.link(&parser).map_err(internal)?;
        gst::Element::link_many([&convert, &flip, &scale, end]).map_err(internal)?;
        link_pictures(&parser, &decoder);
        link_pictures(&decoder, &convert);
        pipeline.set_state(gst::State::Paused).map_err(internal)?;
        Ok(Self { pipeline, sink })
    }

    /// The first picture after `at` that shows something, or the one that shows most.
    fn best_picture(&self, at: gst::ClockTime, reporter: &Reporter) -> Result<gst::Sample, Failure> {
        let mut first = self.next(gst_app::AppSink::try_pull_preroll)?.ok_or_else(no_picture)?;
        // A file that cannot be sought in shows its start.
        if self.pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT, at).is_ok() {
            first = self.next(gst_app::AppSink::try_pull_preroll).ok().flatten().unwrap_or(first);
        }
        let mut best = (deviation(&first), first);
        self.pipeline.set_state(gst::State::Playing).map_err(internal)?;
        for number in 0..PICTURES_MAX {
            if best.0 >= DEVIATION_WANTED {
                break;
            }
            reporter.progress(number as u64, PICTURES_MAX as u64);
            let Ok(Some(sample)) = self.next(gst_app::AppSink::try_pull_sample) else { break };
            let shown = deviation(&sample);
            if shown > best.0 {
                best = (shown, sample);
            }
        }
        Ok(best.1)
    }

    /// Waits for the next picture; `None` at the end of the file.
    fn next(
        &self,
        pull: impl Fn(&gst_app::AppSink, gst::ClockTime) -> Option<gst::Sample>,
    ) -> Result<Option<gst::Sample>, Failure> {
        let bus = self.pipeline.bus().ok_or_else(no_picture)?;
        loop {
            if let Some(sample) = pull(&self.sink, PATIENCE) {
                return Ok(Some(sample));
            }
            if self.sink.is_eos() {
                return Ok(None);
            }
            let message = bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Eos]);
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Error(error)) => return Err(cannot_decode(&error.error())),
                Some(_) => return Ok(None),
                None => {}
            }
        }
    }
}

fn cannot_decode(error: &gst::glib::Error) -> Failure {
    Failure { code: "no_picture".into(), message: format!("No picture could be decoded: {error}.") }
}

fn flip_method(rotation: u16) -> &'static str {
    match rotation {
        90 => "clockwise",
        180 => "rotate-180",
        270 => "counterclockwise",
        _ => "none",
    }
}

/// Links the first pad with pictures that `from` shows to `to`.
fn link_pictures(from: &gst::Element, to: &gst::Element) {
    let to = to.downgrade();
    from.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
        let target = to.upgrade().and_then(|to| to.static_pad("sink")).filter(|target| !target.is_linked());
        if let (true, Some(target)) = (name.starts_with("video/") || name.starts_with("image/"), target) {
            let _ = pad.link(&target);
        }
    });
}

/// Standard deviation of the luma samples: 0 for a picture of one shade.
fn deviation(sample: &gst::Sample) -> f64 {
    let measure = || {
        let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer()?, &info).ok()?;
        let luma = frame.plane_data(0).ok()?;
        // Every seventh byte: enough to tell, and not in step with usual strides.
        let (mut count, mut sum, mut squares) = (0u64, 0u64, 0u64);
        for value in luma.iter().step_by(7).map(|value| u64::from(*value)) {
            (count, sum, squares) = (count + 1, sum + value, squares + value * value);
        }
        let mean = sum as f64 / count.max(1) as f64;
        Some((squares as f64 / count.max(1) as f64 - mean * mean).max(0.0).sqrt())
    };
    measure().unwrap_or(0.0)
}

fn to_jpeg(sample: &gst::Sample) -> Result<Vec<u8>, Failure> {
    let [source, encoder, sink] = ["appsrc", "jpegenc", "appsink"].map(element);
    let (source, encoder, sink) = (source?, encoder?, sink?);
    encoder.set_property("quality", QUALITY);
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &encoder, &sink]).map_err(internal)?;
    gst::Element::link_many([&source, &encoder, &sink]).map_err(internal)?;
    let (Ok(source), Ok(sink)) = (source.downcast::<gst_app::AppSrc>(), sink.downcast::<gst_app::AppSink>()) else {
        return Err(internal("appsrc is no appsrc"));
    };
    sink.set_sync(false);
    source.set_format(gst::Format::Time);
    source.set_caps(sample.caps_owned().as_ref());
    pipeline.set_state(gst::State::Playing).map_err(internal)?;
    let picture = sample.buffer_owned().ok_or_else(no_picture)?;
    let encoded = source.push_buffer(picture).and_then(|_| source.end_of_stream()).map_err(internal);
    let encoded = encoded.and_then(|_| sink.pull_sample().map_err(internal));
    let _ = pipeline.set_state(gst::State::Null);
    let encoded = encoded?.buffer_owned().ok_or_else(no_picture)?;
    Ok(encoded.map_readable().map_err(internal)?.as_slice().to_vec())
}
