//! Finding out what is in a file without decoding it: counters on what comes out when it is taken apart.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::parse::{End, Parsing, attach, discard};
use super::worker::Reporter;
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;

/// Packets of a picture track after which its frame rate is known well enough.
const FRAMES_WANTED: u64 = 150;
/// Bytes read after which tracks that have not shown themselves are no longer waited for.
const BYTES_WANTED: u64 = 64 << 20;

/// One elementary stream as seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    /// Its format, once known.
    pub(super) caps: Option<gst::Caps>,
    /// What is said of it.
    pub(super) tags: Option<gst::TagList>,
    /// Packets seen.
    pub(super) num_packets: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// First and last time of presentation seen.
    pub(super) range: Option<(gst::ClockTime, gst::ClockTime)>,
    /// End of the last packet seen.
    pub(super) end: Option<gst::ClockTime>,
}

impl Stream {
    fn name(&self) -> &str {
        self.caps.as_ref().and_then(|caps| caps.structure(0)).map_or("", |structure| structure.name().as_str())
    }

    /// Pictures; coded stills only count within a container, which is all that gets here.
    pub(super) fn is_video(&self) -> bool {
        self.name().starts_with("video/") || self.name().starts_with("image/")
    }

    /// Sound.
    pub(super) fn is_audio(&self) -> bool {
        self.name().starts_with("audio/")
    }

    fn count(&mut self, buffer: &gst::BufferRef) {
        self.num_packets += 1;
        self.bytes += buffer.size() as u64;
        let Some(at) = buffer.pts().or(buffer.dts()) else { return };
        let (first, last) = self.range.unwrap_or((at, at));
        self.range = Some((first.min(at), last.max(at)));
        let end = at + buffer.duration().unwrap_or_default();
        self.end = Some(self.end.map_or(end, |known| known.max(end)));
    }

    fn see(&mut self, info: &gst::PadProbeInfo) {
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => self.count(buffer),
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Caps(caps) => self.caps = Some(caps.caps_owned()),
                gst::EventView::Tag(tags) => self.take_tags(tags.tag()),
                _ => {}
            },
            _ => {}
        }
    }

    fn take_tags(&mut self, tags: &gst::TagListRef) {
        let merged = self.tags.get_or_insert_with(gst::TagList::new);
        merged.make_mut().insert(tags, gst::TagMergeMode::Replace);
    }
}

/// What probing found.
#[derive(Debug)]
pub(super) struct Found {
    /// Name of the container's caps, e.g. `video/x-matroska`.
    pub(super) container: String,
    /// Length, as the container tells or as counted to the end.
    pub(super) duration: Option<gst::ClockTime>,
    /// Streams in the order in which they appeared.
    pub(super) streams: Vec<Stream>,
}

type Streams = Arc<Mutex<BTreeMap<u32, Stream>>>;

fn locked(streams: &Streams) -> MutexGuard<'_, BTreeMap<u32, Stream>> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads as much as it takes to know every track (all of it when the container does not tell its length).
pub(super) fn probe(reader: ExtentReader, reporter: &Arc<Reporter>) -> Result<Found, Failure> {
    let streams = Streams::default();
    let counted = Arc::clone(&streams);
    let parsing = Parsing::start(reader, reporter, move |pipeline, pad| count_pad(pipeline, pad, &counted))?;
    let end = parsing.watch(|| knows_enough(&streams, parsing.bytes_read()) && parsing.duration().is_some());
    let (container, told) = (parsing.container(), parsing.duration());
    drop(parsing);
    let streams: Vec<Stream> = locked(&streams).values().cloned().collect();
    if !streams.iter().any(|stream| stream.num_packets > 0 && (stream.is_video() || stream.is_audio())) {
        let error = if let End::Broken(error) = end { Some(error) } else { None };
        return Err(nothing_found(container.as_deref(), error));
    }
    let lengths = streams.iter().filter_map(|stream| Some(stream.end?.saturating_sub(stream.range?.0)));
    let duration = told.or(lengths.max().filter(|_| !matches!(end, End::Enough)));
    Ok(Found { container: container.unwrap_or_default(), duration, streams })
}

/// Why there is nothing to see, for a person.
fn nothing_found(container: Option<&str>, error: Option<gst::glib::Error>) -> Failure {
    let is_unknown = error.as_ref().is_some_and(|error| {
        error.matches(gst::StreamError::TypeNotFound) || error.matches(gst::StreamError::WrongType)
    });
    let failure = |code: &str, message: String| Failure { code: code.into(), message };
    match (container, error) {
        (Some(container), _) if container.starts_with("image/") => super::sniff::not_a_video("a picture"),
        (Some(container), _) if container.starts_with("text/") => super::sniff::not_a_video("a text file"),
        (None, _) => failure("not_a_video", "This is no kind of video that is known here.".into()),
        (Some(_), Some(_)) if is_unknown => {
            failure("not_a_video", "This is no kind of video that is known here.".into())
        }
        (Some(container), Some(error)) => {
            let kind = container_name(container);
            let message = format!("The file starts like {kind}, but it is damaged or was cut off: {error}");
            failure("damaged", message)
        }
        (Some(container), None) => {
            let kind = container_name(container);
            failure("damaged", format!("The file starts like {kind}, but no picture or sound could be found in it."))
        }
    }
}

/// A container's short name by its caps.
pub(super) fn container_name(caps: &str) -> &str {
    match caps {
        "video/x-matroska" | "audio/x-matroska" => "matroska",
        "video/webm" | "audio/webm" => "webm",
        "video/x-msvideo" => "avi",
        "video/mpegts" => "mpegts",
        "video/mpeg" => "mpegps",
        "video/x-flv" => "flv",
        "video/quicktime" | "application/x-3gp" | "audio/x-m4a" => "mp4",
        "application/ogg" | "video/ogg" | "audio/ogg" => "ogg",
        "audio/x-wav" => "wav",
        other => other.rsplit('/').next().unwrap_or(other).trim_start_matches("x-"),
    }
}

fn knows_enough(streams: &Streams, bytes_read: u64) -> bool {
    let streams = locked(streams);
    let is_counted = |stream: &Stream| stream.num_packets >= FRAMES_WANTED;
    let has_video = streams.values().any(Stream::is_video);
    let main = |stream: &&Stream| if has_video { stream.is_video() } else { stream.is_audio() };
    let main_counted = streams.values().filter(main).any(is_counted);
    let all_seen = streams.values().filter(|stream| stream.is_audio()).all(|stream| stream.num_packets > 0);
    main_counted && (all_seen || bytes_read > BYTES_WANTED)
}

fn count_pad(pipeline: &gst::Pipeline, pad: &gst::Pad, streams: &Streams) {
    let Some(sink) = discard() else { return };
    let Some(target) = sink.static_pad("sink") else { return };
    let number = {
        let mut streams = locked(streams);
        let number = u32::try_from(streams.len()).unwrap_or(u32::MAX);
        streams.insert(number, Stream::default());
        number
    };
    let streams = Arc::clone(streams);
    target.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(stream) = locked(&streams).get_mut(&number) {
            stream.see(info);
        }
        gst::PadProbeReturn::Ok
    });
    attach(pipeline, pad, &[&sink]);
}
