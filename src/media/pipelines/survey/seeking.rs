//! Whether one can start in the middle of a source: whether seeking to a key frame leads to that key frame.
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::track::{Picture, Track};
use crate::domain::video::{Failure, MediaInfo};
use crate::media::pipelines::parse::{Parsing, attach, discard};
use crate::media::pipelines::times::SourceTimes;
use crate::media::pipelines::worker::Reporter;
use crate::media::source::ExtentReader;

/// Containers with an index. Demuxers of the others guess where a time may lie.
const INDEXED: [&str; 5] = ["mp4", "mov", "matroska", "webm", "avi"];
/// Bytes read after which a seek is taken to have failed, in parts of the source: one that reads all of it is no use.
const READ_PARTS: u64 = 2;
/// Looks in a row (a hundredth of a second apart) that find nothing read: the seek led to the end. Long enough for a machine
/// that does much else.
const IDLE_LOOKS_MAX: u32 = 1500;
/// What rounding makes of a time on its way through a demuxer.
const TOLERANCE_NS: i64 = 1_000_000;

/// Tries it: seeks to some of the key frames, as who decodes a chunk does, and looks where that leads.
pub(super) fn is_exact(
    make_reader: &dyn Fn() -> ExtentReader,
    media: &MediaInfo,
    pictures: &Track,
    times: SourceTimes,
    reporter: &Arc<Reporter>,
) -> Result<bool, Failure> {
    if !INDEXED.contains(&media.container.as_str()) {
        return Ok(false);
    }
    let keys: Vec<i64> = pictures.shown().iter().filter(|picture| picture.is_key).map(|key| key.at_ns).collect();
    // The first key frame is the start. One in the middle and the last one stand for the others.
    let mut wanted: Vec<i64> = [keys.len() / 2, keys.len().saturating_sub(1)]
        .into_iter()
        .filter(|index| *index > 0)
        .filter_map(|index| keys.get(index).copied())
        .collect();
    wanted.dedup();
    for key in wanted {
        if !leads_to(make_reader(), key, pictures.shown(), times, reporter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn leads_to(
    reader: ExtentReader,
    key: i64,
    shown: &[Picture],
    times: SourceTimes,
    reporter: &Arc<Reporter>,
) -> Result<bool, Failure> {
    let bytes_max = reader.length_bytes() / READ_PARTS + (4 << 20);
    let landed = Arc::new(Landed::default());
    let seen = Arc::clone(&landed);
    let parsing = Parsing::start(reader, reporter, move |pipeline, pad| watch_pad(pipeline, pad, times, &seen))?;
    let all_shown = parsing.all_shown();
    let _ = parsing.watch(|| all_shown.load(Ordering::Acquire) && landed.has_picture());
    let target = gst::ClockTime::from_nseconds(u64::try_from(key).unwrap_or(0));
    landed.expect();
    if !parsing.seek(target) {
        return Ok(false);
    }
    let read_before = parsing.bytes_read();
    let (mut seen, mut idle) = (read_before, 0);
    let _ = parsing.watch(|| {
        let read = parsing.bytes_read();
        idle = if read == seen { idle + 1 } else { 0 };
        seen = read;
        landed.has_picture() || read - read_before > bytes_max || idle > IDLE_LOOKS_MAX
    });
    drop(parsing);
    let Some(found) = landed.landing().first else { return Ok(false) };
    let is_key = shown.iter().any(|picture| picture.is_key && (picture.at_ns - found).abs() <= TOLERANCE_NS);
    Ok(is_key && found <= key + TOLERANCE_NS)
}

/// Where a seek has led.
#[derive(Default)]
struct Landed(Mutex<Landing>);

#[derive(Default)]
struct Landing {
    /// When the first picture behind it is shown; `None` while none has come.
    first: Option<i64>,
    segment: Option<gst::Segment>,
    /// Set while the flush of a seek has not passed.
    is_stale: bool,
}

impl Landed {
    fn landing(&self) -> MutexGuard<'_, Landing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_picture(&self) -> bool {
        self.landing().first.is_some()
    }

    /// Forgets what came, until a flush has passed. A picture that is on its way now is forgotten too.
    fn expect(&self) {
        let mut landing = self.landing();
        (landing.is_stale, landing.first) = (true, None);
    }

    fn see(&self, info: &gst::PadProbeInfo, times: SourceTimes) {
        let mut landing = self.landing();
        match &info.data {
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::FlushStop(_) => landing.is_stale = false,
                gst::EventView::Segment(segment) => landing.segment = Some(segment.segment().clone()),
                _ => {}
            },
            Some(gst::PadProbeData::Buffer(buffer)) if !landing.is_stale && landing.first.is_none() => {
                landing.first = buffer.pts().and_then(|at| times.instant(at, landing.segment.as_ref()));
            }
            _ => {}
        }
    }
}

/// Watches the first stream of pictures.
fn watch_pad(pipeline: &gst::Pipeline, pad: &gst::Pad, times: SourceTimes, landed: &Arc<Landed>) {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
    let Some(sink) = discard() else { return };
    let is_pictures = name.starts_with("video/") || name.starts_with("image/");
    if let (true, Some(target)) = (is_pictures, sink.static_pad("sink")) {
        let landed = Arc::clone(landed);
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        target.add_probe(kinds, move |_, info| {
            landed.see(info, times);
            gst::PadProbeReturn::Ok
        });
    }
    attach(pipeline, pad, &[&sink]);
}
