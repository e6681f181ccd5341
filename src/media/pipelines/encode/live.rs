//! The ladder of a live stream: its pictures are decoded once as they come, and encoded in every rung. What does not keep up
//! is for the server to see: it stops taking, and the server stops sending. Sound is made Opus beside, if that is asked for.
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::decoding::{accept_strides, link_track, use_one_thread};
use super::element::{Coded, encode_live};
use super::picture::Studio;
use super::rung::{QUEUE, RungJob, Shot};
use super::scale::Scaler;
use crate::domain::ladder::Rung;
use crate::domain::video::Failure;
use crate::media::frames::CodecConfig;
use crate::media::live::broadcast::RungPicture;
use crate::media::pipelines::sound::live::LiveSound;
use crate::media::pipelines::{element, internal};
use crate::media::work::live::{FromLadder, HEAD_BYTES, LadderTask, ToLadder, head};

/// Bytes waiting for the decoder before no more are taken from the server.
const WAITING_BYTES_MAX: u64 = 128 << 10;
/// Decoded pictures waiting to be scaled.
const DECODED_MAX: u32 = 2;
/// How far a picture may be before a cut and still be the one that it means: this part of a second.
const TOLERANCE: i64 = 1000;

/// Works until the server hangs up. What fails ends the process: the server starts another one.
pub(in crate::media::pipelines) fn run(mut from: impl Read, to: UnixStream) -> Result<(), Failure> {
    let server = Arc::new(Mutex::new(to));
    let mut session: Option<Session> = None;
    let mut sound: Option<LiveSound> = None;
    loop {
        let mut bytes = [0; HEAD_BYTES];
        if from.read_exact(&mut bytes).is_err() {
            return Ok(());
        }
        let (kind, length) = head(bytes).map_err(internal)?;
        let mut body = vec![0; length];
        from.read_exact(&mut body).map_err(internal)?;
        match ToLadder::decode(kind, Bytes::from(body)).map_err(internal)? {
            ToLadder::Begin(task) => {
                drop(session.take());
                session = Some(Session::start(&task, &server)?);
            }
            ToLadder::BeginSound(task) => {
                drop(sound.take());
                let (server, epoch) = (Arc::clone(&server), task.epoch);
                let take = move |packet| say(&server, &FromLadder::Sound { epoch, packet });
                sound = Some(LiveSound::start(&task, take)?);
            }
            ToLadder::Sound(packet) => sound.as_ref().map_or(Ok(()), |sound| sound.push(packet))?,
            message => session.as_ref().map_or(Ok(()), |session| session.take(message))?,
        }
    }
}

/// Says something; a server that hears nothing is gone.
fn say(server: &Mutex<UnixStream>, message: &FromLadder) {
    let mut socket = server.lock().unwrap_or_else(PoisonError::into_inner);
    if socket.write_all(&message.encode()).is_err() {
        std::process::exit(0);
    }
}

/// The decoder and the encoders of one epoch.
struct Session {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    shared: Arc<Shared>,
}

/// What the server says, and the decoder's thread reads.
#[derive(Default)]
struct Shared {
    cuts: Mutex<VecDeque<i64>>,
    rungs: Mutex<Vec<Option<SyncSender<Shot>>>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Session {
    fn start(task: &LadderTask, server: &Arc<Mutex<UnixStream>>) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        let rungs = (0u8..).zip(&task.rungs).map(|(index, rung)| encoder(task, (index, rung), server));
        *locked(&shared.rungs) = rungs.map(|rung| rung.map(Some)).collect::<Result<_, _>>()?;
        let source = gst_app::AppSrc::builder()
            .format(gst::Format::Bytes)
            .stream_type(gst_app::AppStreamType::Stream)
            .max_bytes(WAITING_BYTES_MAX)
            .block(true)
            .build();
        let caps = gst::Caps::builder("video/x-raw").build();
        let sink = gst_app::AppSink::builder().caps(&caps).sync(false).max_buffers(DECODED_MAX).build();
        accept_strides(sink.upcast_ref());
        let mut stage = Stage::new(task, Arc::clone(&shared))?;
        let on_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            stage.shoot(&sample.copy()).unwrap_or_else(|failure| ended(&failure));
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(on_sample).build());
        let (parser, decoder) = (element("parsebin")?, element("decodebin")?);
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([source.upcast_ref(), &parser, &decoder, sink.upcast_ref()]).map_err(internal)?;
        source.link(&parser).map_err(internal)?;
        link_track(&parser, &decoder, 0);
        link_track(&decoder, sink.upcast_ref(), 0);
        use_one_thread(&decoder);
        pipeline.set_state(gst::State::Playing).map_err(internal)?;
        Ok(Self { pipeline, source, shared })
    }

    fn take(&self, message: ToLadder) -> Result<(), Failure> {
        match message {
            ToLadder::Cut(at) => locked(&self.shared.cuts).push_back(at),
            ToLadder::Drop(rung) => drop(locked(&self.shared.rungs).get_mut(usize::from(rung)).map(Option::take)),
            ToLadder::Media(bytes) => {
                self.source.push_buffer(gst::Buffer::from_slice(bytes)).map_err(internal)?;
                let message = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
                if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|message| message.view()) {
                    return Err(internal(error.error()));
                }
            }
            ToLadder::Begin(_) | ToLadder::BeginSound(_) | ToLadder::Sound(_) => {}
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process of which a thread has failed is of no more use.
fn ended(failure: &Failure) -> ! {
    eprintln!("{}", failure.message);
    std::process::exit(1)
}

/// Starts a rung's encoder, on a thread of its own.
fn encoder(
    task: &LadderTask,
    (index, rung): (u8, &Rung),
    server: &Arc<Mutex<UnixStream>>,
) -> Result<SyncSender<Shot>, Failure> {
    let (shots, receiver) = sync_channel(QUEUE);
    let (server, epoch, job) = (Arc::clone(server), task.epoch, RungJob::live(rung, task));
    let take = move |coded| match coded {
        Coded::Config(config) => {
            let CodecConfig::H264 { avcc } = config.codec else { return };
            say(&server, &FromLadder::Config { epoch, rung: index, avcc });
        }
        Coded::Picture(frame) => {
            let picture = RungPicture { pts: frame.pts, keyframe: frame.keyframe, payload: frame.payload };
            say(&server, &FromLadder::Picture { epoch, rung: index, picture });
        }
    };
    let run = move || {
        if let Err(failure) = encode_live(&job, &receiver, Box::new(take)) {
            ended(&failure);
        }
    };
    std::thread::Builder::new().name("rung".into()).spawn(run).map_err(internal)?;
    Ok(shots)
}

/// From a decoded picture to all rungs.
struct Stage {
    studio: Studio,
    scaler: Scaler,
    order: Vec<usize>,
    made_until: Vec<Option<i64>>,
    timescale: i64,
    shared: Arc<Shared>,
}

impl Stage {
    fn new(task: &LadderTask, shared: Arc<Shared>) -> Result<Self, Failure> {
        let (sizes, order) = super::sizes_of(&task.rungs);
        let (studio, scaler) = (Studio::new(&task.treatment), Scaler::new(&sizes)?);
        let (made_until, timescale) = (task.made_until.clone(), i64::from(task.timescale.max(1)));
        Ok(Self { studio, scaler, order, made_until, timescale, shared })
    }

    fn shoot(&mut self, sample: &gst::Sample) -> Result<(), Failure> {
        let Some(at) = sample.buffer().and_then(|buffer| buffer.pts()) else { return Ok(()) };
        let nanos = i128::from(at.nseconds()) * i128::from(self.timescale);
        let pts = i64::try_from((nanos + 500_000_000) / 1_000_000_000).map_err(internal)?;
        let is_key = self.passes_cut(pts);
        let picture = self.studio.take(sample)?;
        let scaled = self.scaler.scale(&picture)?;
        let rungs = locked(&self.shared.rungs).clone();
        for (number, (rung, index)) in rungs.iter().zip(&self.order).enumerate() {
            let (Some(rung), Some(picture)) = (rung, scaled.get(*index).cloned()) else { continue };
            if self.made_until.get(number).copied().flatten().is_some_and(|until| pts < until) {
                continue;
            }
            // One that was dropped meanwhile takes nothing.
            let _ = rung.send(Shot { picture, pts, is_key });
        }
        Ok(())
    }

    /// Whether a segment starts with this picture.
    fn passes_cut(&self, pts: i64) -> bool {
        let mut cuts = locked(&self.shared.cuts);
        let mut passed = false;
        while cuts.front().is_some_and(|cut| *cut <= pts + self.timescale / TOLERANCE) {
            cuts.pop_front();
            passed = true;
        }
        passed
    }
}
