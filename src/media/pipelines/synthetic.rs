//! A clip made here: a moving picture with a clock, and a beep once a second. Standard input: H.264 and AAC in MP4, a key
//! frame every second unless asked otherwise. What `playhouse demo` uploads and, endless and as it happens, broadcasts.
use std::path::{Path, PathBuf};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app::{AppSrc, AppSrcCallbacks};

mod live;
mod picture;

pub use live::{LiveClip, LiveUnit};

/// The clip asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipSpec {
    /// Length.
    pub duration: Duration,
    /// Picture width in pixels, even.
    pub width: u32,
    /// Picture height in pixels, even.
    pub height: u32,
    /// Frames per second.
    pub frames_per_sec: u32,
    /// Bits of the pictures per second, in thousands.
    pub kilobits_per_sec: u32,
    /// Frames from one key frame to the next.
    pub frames_per_key: u32,
}

/// Why no clip came out.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// An element is missing or refused a property; `playhouse doctor` says which package to install.
    #[error("the clip's pipeline cannot be built: {0}")]
    Pipeline(#[from] gst::glib::Error),
    /// GStreamer cannot be used.
    #[error("GStreamer does not start: {0}")]
    Start(String),
    /// The pipeline failed while running.
    #[error("making the clip failed in {element}: {message}")]
    Run {
        /// The element that failed.
        element: String,
        /// What it said.
        message: String,
    },
    /// No end within [`MAKING_TIME_MAX`].
    #[error("making the clip took too long")]
    TooSlow(PathBuf),
}

/// Longest time one clip may take to make. Ten seconds of 720p take about two on one old core.
pub const MAKING_TIME_MAX: Duration = Duration::from_secs(120);

/// Samples per buffer of the sound source, chosen so that whole buffers fill a second at 48 kHz.
const SAMPLES_PER_BUFFER: u64 = 1000;
const SAMPLE_RATE: u64 = 48_000;

/// Writes the clip to `path`, blocking until it is complete.
pub fn make_clip(spec: &ClipSpec, path: &Path) -> Result<(), ClipError> {
    gst::init().map_err(|error| ClipError::Start(error.to_string()))?;
    let launched = gst::parse::launch(&description(spec))?;
    let pipeline = launched.downcast::<gst::Pipeline>().map_err(|_| ClipError::Start("not a pipeline".to_owned()))?;
    if let Some(sink) = pipeline.by_name("file") {
        sink.set_property("location", path.to_string_lossy().as_ref());
    }
    if let Some(source) = pipeline.by_name("pictures").and_then(|source| source.downcast::<AppSrc>().ok()) {
        feed(&source, spec.clone());
    }
    let outcome = run(&pipeline, path);
    // A pipeline that does not stop cannot be helped, and its outcome is known already.
    let _ = pipeline.set_state(gst::State::Null);
    outcome
}

impl ClipSpec {
    fn frames(&self) -> u64 {
        millis(self.duration).saturating_mul(u64::from(self.frames_per_sec)) / 1000
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn description(spec: &ClipSpec) -> String {
    let ClipSpec { width, height, frames_per_sec, kilobits_per_sec, frames_per_key, .. } = spec;
    let buffers = millis(spec.duration).saturating_mul(SAMPLE_RATE) / 1000 / SAMPLES_PER_BUFFER;
    format!(
        "mp4mux name=mux ! filesink name=file \
         appsrc name=pictures format=time \
         caps=video/x-raw,format=I420,width={width},height={height},framerate={frames_per_sec}/1 \
         ! x264enc speed-preset=veryfast bitrate={kilobits_per_sec} key-int-max={frames_per_key} option-string=scenecut=0 \
         ! video/x-h264,profile=high ! h264parse ! queue ! mux. \
         audiotestsrc wave=ticks freq=880 sine-periods-per-tick=88 volume=0.4 \
         samplesperbuffer={SAMPLES_PER_BUFFER} num-buffers={buffers} \
         ! audio/x-raw,rate={SAMPLE_RATE},channels=2 ! audioconvert ! avenc_aac ! aacparse ! queue ! mux."
    )
}

/// Paints pictures as the encoder asks for them, so that no more than the source's own queue waits.
fn feed(source: &AppSrc, spec: ClipSpec) {
    let mut number = 0;
    let need_data = move |source: &AppSrc, _: u32| {
        // An error of the source is the pipeline's, which reports it on its bus.
        if number >= spec.frames() {
            let _ = source.end_of_stream();
            return;
        }
        let at = |number: u64| gst::ClockTime::from_mseconds(number * 1000 / u64::from(spec.frames_per_sec.max(1)));
        let millis = number * 1000 / u64::from(spec.frames_per_sec.max(1));
        let mut buffer = gst::Buffer::from_slice(picture::paint(&spec, millis));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(at(number));
            buffer.set_duration(at(number + 1) - at(number));
        }
        number += 1;
        let _ = source.push_buffer(buffer);
    };
    source.set_callbacks(AppSrcCallbacks::builder().need_data(need_data).build());
}

fn run(pipeline: &gst::Pipeline, path: &Path) -> Result<(), ClipError> {
    let failed = |element: String, message: String| Err(ClipError::Run { element, message });
    let Some(bus) = pipeline.bus() else { return failed("the pipeline".to_owned(), "it has no bus".to_owned()) };
    // An element that refuses to start has said why on the bus.
    let started = pipeline.set_state(gst::State::Playing).is_ok();
    let limit = gst::ClockTime::from_seconds(if started { MAKING_TIME_MAX.as_secs() } else { 1 });
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let Some(message) = bus.timed_pop_filtered(limit, &wanted) else {
        return Err(ClipError::TooSlow(path.to_owned()));
    };
    match message.view() {
        gst::MessageView::Error(error) => {
            let element = error.src().map(|source| source.name().to_string()).unwrap_or_default();
            failed(element, error.error().to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ClipSpec = ClipSpec {
        duration: Duration::from_secs(2),
        width: 320,
        height: 180,
        frames_per_sec: 25,
        kilobits_per_sec: 500,
        frames_per_key: 25,
    };

    #[test]
    fn a_clip_is_an_mp4_of_the_asked_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.mp4");
        make_clip(&SPEC, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[4..8], b"ftyp");
        let mvhd = bytes.windows(4).position(|window| window == b"mvhd").unwrap();
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        // Version 0: type, flags, creation, modification, timescale, duration.
        let (timescale, duration) = (word(mvhd + 16), word(mvhd + 20));
        let millis = u64::from(duration) * 1000 / u64::from(timescale);
        assert!((1950..=2100).contains(&millis), "{millis} ms");
    }

    #[test]
    fn an_unwritable_place_is_an_error_that_names_it() {
        let error = make_clip(&SPEC, Path::new("/nonexistent/clip.mp4")).unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}
