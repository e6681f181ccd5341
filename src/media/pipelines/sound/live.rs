//! Sound of a live stream for players that do not know what it comes in: decoded and encoded as it comes, packet by packet.
use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::domain::video::Failure;
use crate::media::pipelines::{element, internal};
use crate::media::work::live::{LiveSoundTask, MadeSound, SoundPacket};

/// Bytes that wait for the decoder: seconds of it.
const WAITING_BYTES_MAX: u64 = 256 << 10;
/// Bits a second of what is made.
const BITS_PER_SEC: i32 = 128_000;
/// Channels of what is made, and samples a second.
const CHANNELS: i32 = 2;
const RATE: i32 = 48_000;
const NANOS_PER_MICRO: u64 = 1000;

/// A decoder and an encoder; end with their owner.
pub(in crate::media::pipelines) struct LiveSound {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
}

impl Drop for LiveSound {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn caps(task: &LiveSoundTask) -> Result<gst::Caps, Failure> {
    let sound = |name: &str| {
        let rate = i32::try_from(task.sample_rate).unwrap_or(RATE);
        gst::Caps::builder(name).field("rate", rate).field("channels", i32::from(task.channels)).field("framed", true)
    };
    Ok(match task.codec.as_str() {
        "AAC" => {
            let data = gst::Buffer::from_slice(task.config.clone());
            let aac = sound("audio/mpeg").field("mpegversion", 4).field("stream-format", "raw");
            aac.field("codec_data", data).build()
        }
        "Opus" => sound("audio/x-opus").field("channel-mapping-family", 0).build(),
        "MP3" => sound("audio/mpeg").field("mpegversion", 1).field("layer", 3).field("parsed", true).build(),
        "AC-3" => sound("audio/x-ac3").field("alignment", "frame").build(),
        "E-AC-3" => sound("audio/x-eac3").field("alignment", "frame").build(),
        other => return Err(internal(format!("{other} is not decoded live"))),
    })
}

impl LiveSound {
    /// Starts; `take` gets each packet as it is made.
    pub(in crate::media::pipelines) fn start(
        task: &LiveSoundTask,
        mut take: impl FnMut(SoundPacket) + Send + 'static,
    ) -> Result<Self, Failure> {
        let source = gst_app::AppSrc::builder()
            .caps(&caps(task)?)
            .format(gst::Format::Time)
            .stream_type(gst_app::AppStreamType::Stream)
            .max_bytes(WAITING_BYTES_MAX)
            .block(true)
            .build();
        let encoder = match task.make {
            MadeSound::Opus => "opusenc",
            MadeSound::Aac => "avenc_aac",
        };
        let names = ["decodebin", "audioconvert", "audioresample", "capsfilter", encoder];
        let [decoder, convert, resample, filter, encoder] = names.map(element);
        let (decoder, convert, resample) = (decoder?, convert?, resample?);
        let (filter, encoder) = (filter?, encoder?);
        let raw = gst::Caps::builder("audio/x-raw").field("rate", RATE).field("channels", CHANNELS).build();
        filter.set_property("caps", raw);
        encoder.set_property("bitrate", BITS_PER_SEC);
        let on_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
            let (Some(pts), Ok(payload)) = (buffer.pts(), buffer.map_readable()) else {
                return Ok(gst::FlowSuccess::Ok);
            };
            let pts_micros = i64::try_from(pts.nseconds() / NANOS_PER_MICRO).unwrap_or(i64::MAX);
            take(SoundPacket { pts_micros, payload: Bytes::copy_from_slice(&payload) });
            Ok(gst::FlowSuccess::Ok)
        };
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(on_sample).build();
        let sink = gst_app::AppSink::builder().sync(false).callbacks(callbacks).build();
        let pipeline = gst::Pipeline::new();
        let behind = [&convert, &resample, &filter, &encoder, sink.upcast_ref()];
        pipeline.add_many([source.upcast_ref(), &decoder]).map_err(internal)?;
        pipeline.add_many(behind).map_err(internal)?;
        source.link(&decoder).map_err(internal)?;
        gst::Element::link_many(behind).map_err(internal)?;
        let entry = convert.static_pad("sink").ok_or_else(|| internal("no pad for samples"))?;
        decoder.connect_pad_added(move |_, pad| {
            // Another one than the first finds it taken.
            let _ = pad.link(&entry);
        });
        pipeline.set_state(gst::State::Playing).map_err(internal)?;
        Ok(Self { pipeline, source })
    }

    /// Takes the next packet.
    pub(in crate::media::pipelines) fn push(&self, packet: SoundPacket) -> Result<(), Failure> {
        let mut buffer = gst::Buffer::from_slice(packet.payload);
        if let Some(buffer) = buffer.get_mut() {
            let micros = u64::try_from(packet.pts_micros).unwrap_or(0);
            buffer.set_pts(gst::ClockTime::from_nseconds(micros.saturating_mul(NANOS_PER_MICRO)));
        }
        self.source.push_buffer(buffer).map_err(internal)?;
        let message = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(internal(error.error())),
            _ => Ok(()),
        }
    }
}
