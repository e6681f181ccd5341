//! The generated picture and its beep as they happen: encoded in step with the clock, one frame at a time.
use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app::{AppSink, AppSinkCallbacks, AppSrc};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ClipError, ClipSpec, SAMPLE_RATE, picture};
use crate::domain::ports::Clock;

/// Frames encoded and not taken yet: two seconds. When nobody takes them, the encoders wait.
const UNITS_WAITING: usize = 160;
/// Samples of an AAC frame.
const SAMPLES_PER_FRAME: u64 = 1024;

/// Something of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveUnit {
    /// The pictures' configuration (`avcC`), before the first of them.
    VideoConfiguration(Bytes),
    /// The sound's configuration (`AudioSpecificConfig`), before the first of it.
    AudioConfiguration(Bytes),
    /// A picture.
    Picture {
        /// When it is shown, from the beginning.
        at_ms: u64,
        /// Whether one can begin with it.
        is_key: bool,
        /// H.264, NAL units behind their lengths.
        data: Bytes,
    },
    /// A frame of sound.
    Sound {
        /// When it is heard, from the beginning.
        at_ms: u64,
        /// AAC.
        data: Bytes,
    },
}

/// A stream under way; dropping it ends it.
pub struct LiveClip {
    pipeline: gst::Pipeline,
    units: mpsc::Receiver<LiveUnit>,
    _painting: DropGuard,
}

impl LiveClip {
    /// Begins to paint and encode. The pictures' clock and strip show the time of `clock`, in milliseconds since 1970.
    pub fn start(spec: &ClipSpec, clock: impl Clock + 'static) -> Result<Self, ClipError> {
        gst::init().map_err(|error| ClipError::Start(error.to_string()))?;
        let launched = gst::parse::launch(&description(spec))?;
        let pipeline =
            launched.downcast::<gst::Pipeline>().map_err(|_| ClipError::Start("not a pipeline".to_owned()))?;
        let (sender, units) = mpsc::channel(UNITS_WAITING);
        for (name, read) in [("video", read_picture as Reader), ("audio", read_sound as Reader)] {
            let sink = pipeline.by_name(name).and_then(|sink| sink.downcast::<AppSink>().ok());
            let sink = sink.ok_or_else(|| ClipError::Start(format!("no sink {name}")))?;
            collect(&sink, read, sender.clone());
        }
        let source = pipeline.by_name("pictures").and_then(|source| source.downcast::<AppSrc>().ok());
        let source = source.ok_or_else(|| ClipError::Start("no source of pictures".to_owned()))?;
        pipeline.set_state(gst::State::Playing).map_err(|error| ClipError::Start(error.to_string()))?;
        let stop = CancellationToken::new();
        let (painted, spec, stopped) = (pipeline.clone(), spec.clone(), stop.clone());
        std::thread::spawn(move || paint_for_ever(&painted, &source, (&spec, &clock), &stopped));
        Ok(Self { pipeline, units, _painting: stop.drop_guard() })
    }

    /// The next frame; `None` when the pipeline failed.
    pub async fn next(&mut self) -> Option<LiveUnit> {
        self.units.recv().await
    }
}

impl Drop for LiveClip {
    fn drop(&mut self) {
        // Sinks that wait for room are let go, or the pipeline would not stop.
        self.units.close();
        // A pipeline that does not stop cannot be helped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn description(spec: &ClipSpec) -> String {
    let ClipSpec { width, height, frames_per_sec, kilobits_per_sec, frames_per_key, .. } = spec;
    format!(
        "appsrc name=pictures format=time is-live=true max-buffers=2 block=true \
         caps=video/x-raw,format=I420,width={width},height={height},framerate={frames_per_sec}/1 \
         ! x264enc tune=zerolatency speed-preset=veryfast bitrate={kilobits_per_sec} key-int-max={frames_per_key} \
         option-string=scenecut=0 ! video/x-h264,profile=high ! h264parse \
         ! video/x-h264,stream-format=avc,alignment=au ! appsink name=video sync=false async=false \
         audiotestsrc is-live=true wave=ticks freq=880 sine-periods-per-tick=88 volume=0.4 \
         samplesperbuffer={SAMPLES_PER_FRAME} ! audio/x-raw,rate={SAMPLE_RATE},channels=2 ! audioconvert \
         ! avenc_aac ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw ! appsink name=audio sync=false async=false"
    )
}

/// Paints each picture when its time has come by the pipeline's clock.
fn paint_for_ever(
    pipeline: &gst::Pipeline,
    source: &AppSrc,
    (spec, clock): (&ClipSpec, &dyn Clock),
    stop: &CancellationToken,
) {
    let rate = u64::from(spec.frames_per_sec.max(1));
    let at = |number: u64| gst::ClockTime::from_nseconds(number * 1_000_000_000 / rate);
    for number in 0.. {
        if let Some(early) = at(number).checked_sub(pipeline.current_running_time().unwrap_or_default()) {
            std::thread::sleep(early.into());
        }
        let millis = u64::try_from(clock.now().as_millis()).unwrap_or(0);
        let mut buffer = gst::Buffer::from_slice(picture::paint(spec, millis));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(at(number));
            buffer.set_duration(at(number + 1) - at(number));
        }
        if stop.is_cancelled() || source.push_buffer(buffer).is_err() {
            return;
        }
    }
}

/// Makes units of a sample: its configuration, and itself.
type Reader = fn(&Bytes, Option<Bytes>, (u64, bool)) -> [Option<LiveUnit>; 2];

fn read_picture(data: &Bytes, configuration: Option<Bytes>, (at_ms, is_key): (u64, bool)) -> [Option<LiveUnit>; 2] {
    let picture = LiveUnit::Picture { at_ms, is_key, data: data.clone() };
    [configuration.map(LiveUnit::VideoConfiguration), Some(picture)]
}

fn read_sound(data: &Bytes, configuration: Option<Bytes>, (at_ms, _): (u64, bool)) -> [Option<LiveUnit>; 2] {
    [configuration.map(LiveUnit::AudioConfiguration), Some(LiveUnit::Sound { at_ms, data: data.clone() })]
}

fn collect(sink: &AppSink, read: Reader, sender: mpsc::Sender<LiveUnit>) {
    let mut is_configured = false;
    let new_sample = move |sink: &AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
        let configuration = sample.caps().filter(|_| !is_configured).and_then(codec_data);
        is_configured = true;
        // Encoders may begin at any time, and say so in their segment.
        let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
        let at = segment.and_then(|segment| segment.to_running_time(buffer.pts()));
        let at_ms = at.unwrap_or_default().mseconds();
        let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let data = Bytes::copy_from_slice(&buffer.map_readable().map_err(|_| gst::FlowError::Error)?);
        for unit in read(&data, configuration, (at_ms, is_key)).into_iter().flatten() {
            sender.blocking_send(unit).map_err(|_| gst::FlowError::Eos)?;
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(AppSinkCallbacks::builder().new_sample(new_sample).build());
}

fn codec_data(caps: &gst::CapsRef) -> Option<Bytes> {
    let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let data = data.map_readable().ok()?;
    Some(Bytes::copy_from_slice(&data))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::system::SystemClock;

    const SPEC: ClipSpec = ClipSpec {
        duration: Duration::ZERO,
        width: 160,
        height: 90,
        frames_per_sec: 25,
        kilobits_per_sec: 200,
        frames_per_key: 25,
    };

    #[tokio::test]
    async fn frames_come_in_step_with_the_clock() {
        let mut clip = LiveClip::start(&SPEC, SystemClock).unwrap();
        let (mut keys, mut sound, mut configurations, mut last) = (Vec::new(), 0, 0, None);
        while keys.len() < 3 {
            match tokio::time::timeout(Duration::from_secs(30), clip.next()).await.unwrap().unwrap() {
                LiveUnit::VideoConfiguration(_) | LiveUnit::AudioConfiguration(_) => configurations += 1,
                LiveUnit::Picture { at_ms, is_key, .. } => {
                    assert!(last.is_none_or(|last| at_ms == last + 40), "{last:?} {at_ms}");
                    last = Some(at_ms);
                    if is_key {
                        keys.push((at_ms, Instant::now()));
                    }
                }
                LiveUnit::Sound { .. } => sound += 1,
            }
        }
        assert_eq!(keys.iter().map(|(at_ms, _)| *at_ms).collect::<Vec<_>>(), [0, 1000, 2000]);
        let real = keys[2].1.duration_since(keys[1].1);
        assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&real), "{real:?}");
        assert!(configurations == 2 && sound > 60, "{configurations} {sound}");
    }
}
