//! Single pictures through single elements: into files, and out of them.
use avif_serialize::Aviffy;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::{element, internal};
use crate::domain::video::Failure;
use crate::media::live::slate::FRAMES_PER_SEC;
use crate::media::work::PictureFormat;

/// How long to wait for a picture before looking whether the pipeline has broken.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// Quality of WebP, percent.
const WEBP_QUALITY: f32 = 80.0;
/// libaom's quantizer for AVIF, of 63.
const AVIF_QUANTIZER: u32 = 26;
/// libaom's speed: a picture of full HD in a second.
const AVIF_SPEED: i32 = 7;
/// Frames of a clip: as many as the longest live segment has.
const CLIP_FRAMES: u32 = FRAMES_PER_SEC * 10;
/// x264's quantizer for clips, of 51.
const CLIP_QUANTIZER: u32 = 20;
/// Type and length of an AV1 temporal delimiter, which AVIF leaves out.
const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0];

/// Pushes one buffer through elements; returns the first that comes out, or `None` when there is none.
pub(super) fn through(sample: &gst::Sample, elements: &[gst::Element]) -> Result<Option<gst::Sample>, Failure> {
    let mut buffer = sample.buffer_owned().ok_or_else(|| internal("a picture without content"))?;
    buffer.make_mut().set_pts(gst::ClockTime::ZERO);
    let caps = sample.caps_owned().ok_or_else(|| internal("a picture without a format"))?;
    run(&caps, [buffer], elements, first_of)
}

/// Pushes buffers through elements, and takes what comes out.
fn run<T>(
    caps: &gst::Caps,
    buffers: impl IntoIterator<Item = gst::Buffer>,
    elements: &[gst::Element],
    take: impl Fn(&gst::Pipeline, &gst_app::AppSink) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let pipeline = gst::Pipeline::new();
    let source = gst_app::AppSrc::builder().format(gst::Format::Time).build();
    let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
    source.set_caps(Some(caps));
    source.set_max_bytes(u64::MAX);
    let ends: [&gst::Element; 2] = [source.upcast_ref(), sink.upcast_ref()];
    let chain: Vec<&gst::Element> = ends.into_iter().take(1).chain(elements).chain(ends.into_iter().skip(1)).collect();
    pipeline.add_many(&chain).map_err(internal)?;
    gst::Element::link_many(&chain).map_err(internal)?;
    pipeline.set_state(gst::State::Playing).map_err(internal)?;
    let pushed = buffers.into_iter().try_for_each(|buffer| source.push_buffer(buffer).map(drop));
    let pushed = pushed.and_then(|()| source.end_of_stream());
    let out = pushed.ok().and_then(|_| take(&pipeline, &sink));
    let _ = pipeline.set_state(gst::State::Null);
    Ok(out)
}

fn first_of(pipeline: &gst::Pipeline, sink: &gst_app::AppSink) -> Option<gst::Sample> {
    let bus = pipeline.bus()?;
    loop {
        if let Some(sample) = sink.try_pull_sample(PATIENCE) {
            return Some(sample);
        }
        if sink.is_eos() || bus.pop_filtered(&[gst::MessageType::Error]).is_some() {
            return None;
        }
    }
}

/// The bytes of all that comes.
fn all_of(pipeline: &gst::Pipeline, sink: &gst_app::AppSink) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(sample) = first_of(pipeline, sink) {
        all.extend_from_slice(&sample.buffer()?.map_readable().ok()?);
    }
    Some(all)
}

/// The bytes of a picture as a file of this format.
pub(super) fn encode(sample: &gst::Sample, format: PictureFormat) -> Result<Vec<u8>, Failure> {
    match format {
        PictureFormat::Jpeg => jpeg(sample, 82),
        PictureFormat::Webp => {
            let encoder = element("webpenc")?;
            encoder.set_property("quality", WEBP_QUALITY);
            bytes_of(through(sample, &[element("videoconvert")?, encoder])?)
        }
        PictureFormat::Avif => avif(sample),
        PictureFormat::Clip => clip(sample),
    }
}

/// The bytes of a picture as a JPEG file of this quality, percent.
pub(super) fn jpeg(sample: &gst::Sample, quality: i32) -> Result<Vec<u8>, Failure> {
    let encoder = element("jpegenc")?;
    encoder.set_property("quality", quality);
    // JPEG is BT.601 of full range, and says nowhere if it is not.
    let filter = element("capsfilter")?;
    let caps = gst::Caps::builder("video/x-raw").field("format", "I420").field("colorimetry", "1:4:0:0");
    filter.set_property("caps", caps.build());
    bytes_of(through(sample, &[element("videoconvert")?, filter, encoder])?)
}

fn avif(sample: &gst::Sample) -> Result<Vec<u8>, Failure> {
    let encoder = element("av1enc")?;
    encoder.set_property_from_str("end-usage", "q");
    encoder.set_property_from_str("usage-profile", "good-quality");
    encoder.set_property("cpu-used", AVIF_SPEED);
    encoder.set_property("min-quantizer", AVIF_QUANTIZER - 4);
    encoder.set_property("max-quantizer", AVIF_QUANTIZER + 4);
    let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
    let info = info.ok_or_else(|| internal("a picture without a format"))?;
    let coded = bytes_of(through(sample, &[element("videoconvert")?, encoder])?)?;
    let coded = coded.strip_prefix(&TEMPORAL_DELIMITER).unwrap_or(&coded);
    let mut file = Aviffy::new();
    file.set_seq_profile(0).set_chroma_subsampling((true, true)).set_monochrome(false).full_color_range(false);
    file.matrix_coefficients(avif_serialize::constants::MatrixCoefficients::Bt709);
    Ok(file.to_vec(coded, None, info.width(), info.height(), 8))
}

/// The picture for [`CLIP_FRAMES`], each of which says that nothing has changed since the one before it.
fn clip(sample: &gst::Sample) -> Result<Vec<u8>, Failure> {
    let encoder = element("x264enc")?;
    encoder.set_property_from_str("pass", "quant");
    encoder.set_property("quantizer", CLIP_QUANTIZER);
    encoder.set_property_from_str("tune", "stillimage");
    encoder.set_property("bframes", 0u32);
    encoder.set_property("key-int-max", CLIP_FRAMES);
    encoder.set_property("option-string", "scenecut=0");
    let profile = element("capsfilter")?;
    profile.set_property("caps", gst::Caps::builder("video/x-h264").field("profile", "high").build());
    let muxer = element("mp4mux")?;
    // The index before the media: what comes out cannot be changed any more.
    muxer.set_property("faststart", true);
    let elements = [element("videoconvert")?, encoder, profile, element("h264parse")?, muxer];
    let picture = sample.buffer_owned().ok_or_else(|| internal("a picture without content"))?;
    let mut caps = sample.caps_owned().ok_or_else(|| internal("a picture without a format"))?;
    caps.make_mut().set("framerate", gst::Fraction::new(FRAMES_PER_SEC as i32, 1));
    let length = gst::ClockTime::SECOND / u64::from(FRAMES_PER_SEC);
    let frames = (0..u64::from(CLIP_FRAMES)).map(|number| {
        let mut frame = picture.clone();
        frame.make_mut().set_pts(length * number);
        frame.make_mut().set_duration(length);
        frame
    });
    let file = run(&caps, frames, &elements, all_of)?;
    file.filter(|file| !file.is_empty()).ok_or_else(|| internal("no clip came out of its encoder"))
}

fn bytes_of(sample: Option<gst::Sample>) -> Result<Vec<u8>, Failure> {
    let buffer = sample.and_then(|sample| sample.buffer_owned());
    let buffer = buffer.ok_or_else(|| internal("no picture came out of its encoder"))?;
    Ok(buffer.map_readable().map_err(internal)?.to_vec())
}

/// Name of files in this format, and their content type.
pub(super) fn names(format: PictureFormat) -> (&'static str, &'static str) {
    match format {
        PictureFormat::Jpeg => ("jpg", "image/jpeg"),
        PictureFormat::Webp => ("webp", "image/webp"),
        PictureFormat::Avif => ("avif", "image/avif"),
        PictureFormat::Clip => ("mp4", "video/mp4"),
    }
}
