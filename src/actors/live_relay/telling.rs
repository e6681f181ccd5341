//! The side of relays that tells: other nodes are told of what is here.
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::STALL_MAX;
use super::branch::Branch;
use super::speech::{Piece, REQUEST_BYTES_MAX, Request, Said, TREES_SINCE, Wants};
use crate::actors::live_picture::{NewestPicture, Picture};
use crate::actors::lives::{Lives, Streams, Viewers, Watched};
use crate::actors::nodes::PeerStream;
use crate::actors::peer_frames::{self, in_time};
use crate::domain::cluster::NodeName;
use crate::domain::ids::PlaybackId;
use crate::media::live::broadcast::{Broadcast, Listener};
use crate::media::live::frame_relay::FrameListener;
use crate::media::live::realtime::{Attendance, Needs, Unfit};
use crate::media::live::stream::LiveStream;
use crate::storage::codec::{self, Versioned};

/// What is new is looked for at least so often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Tells a node of a stream, until that is over or nobody wants to hear of it.
pub(super) async fn tell_peer(context: &Lives, from: &NodeName, stream: PeerStream) -> Result<(), String> {
    let PeerStream { mut send, mut receive } = stream;
    let request = in_time(STALL_MAX, peer_frames::read(&mut receive, REQUEST_BYTES_MAX)).await?;
    let Request { playback, wants } = Request::parse(&request).ok_or("what it asks for makes no sense")?;
    let watched = context.streams.find(&playback).ok_or("there is no such stream here")?;
    let told = OneTold { playback, streams: &context.streams, stream: &watched.stream };
    if wants == Wants::Frames {
        return tokio::select! {
            ended = told.tell_frames(&mut send) => ended,
            ended = hear_needs(&watched.stream, &mut receive) => ended,
        };
    }
    let Watched { branch, picture, .. } = &watched;
    if context.nodes.is_older(from, TREES_SINCE) {
        return told.tell((picture, None), &mut send).await;
    }
    let insists = wants == Wants::StreamHere;
    match branch.enter((from, insists), context.relay_fan_out, &context.nodes.members()) {
        Ok(_place) => tokio::select! {
            ended = told.tell((picture, Some((branch, &context.nodes.me().node))), &mut send) => ended,
            ended = hear_watched(&watched.viewers, &mut receive) => ended,
        },
        Err(other) => {
            send_piece(&mut send, &Piece::Ask(other)).await?;
            in_time(STALL_MAX, send.shutdown()).await
        }
    }
}

/// A stream that somebody is told of.
struct OneTold<'a> {
    playback: PlaybackId,
    streams: &'a Streams,
    stream: &'a Arc<LiveStream>,
}

impl OneTold<'_> {
    /// Whether there is nothing more to be told: it may have been a relay's, of a stream that goes on here by now.
    fn is_over(&self) -> bool {
        let is_current = self.streams.find(&self.playback).is_some_and(|now| Arc::ptr_eq(&now.stream, self.stream));
        self.stream.look(Broadcast::has_ended) || self.stream.is_retired() || !is_current
    }

    async fn tell(
        &self,
        (picture, branch): (&NewestPicture, Option<(&Branch, &NodeName)>),
        send: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), String> {
        let (mut listener, mut moved) = (Listener::default(), self.stream.moved());
        let (mut shown, mut path) = (None, Vec::new());
        loop {
            moved.mark_unchanged();
            let now = branch.map(|(branch, me)| branch.path(me)).unwrap_or_default();
            if now != path {
                path.clone_from(&now);
                send_piece(send, &Piece::Path(now)).await?;
            }
            for told in self.stream.tell(&mut listener) {
                send_piece(send, &Piece::Told(told)).await?;
            }
            if let Some(Picture { body, segment }) = newer(picture, &mut shown) {
                send_piece(send, &Piece::Picture { body, segment }).await?;
            }
            if self.is_over() {
                return in_time(STALL_MAX, send.shutdown()).await;
            }
            // Whatever else changes is seen by looking.
            let _ = tokio::time::timeout(TELL_EVERY, moved.changed()).await;
        }
    }

    async fn tell_frames(&self, send: &mut (impl AsyncWrite + Unpin)) -> Result<(), String> {
        let mut listener = FrameListener::new(self.stream);
        let (mut came, mut made) = (self.stream.tapped(), self.stream.realtime().moved());
        loop {
            came.mark_unchanged();
            made.mark_unchanged();
            for told in listener.hear(self.stream) {
                send_piece(send, &told).await?;
            }
            if self.is_over() {
                return in_time(STALL_MAX, send.shutdown()).await;
            }
            tokio::select! {
                // The senders live as long as the stream.
                Ok(()) = came.changed() => {}
                Ok(()) = made.changed() => {}
                () = tokio::time::sleep(TELL_EVERY) => {}
            }
        }
    }
}

/// What viewers of another node need is needed here.
async fn hear_needs(stream: &Arc<LiveStream>, receive: &mut (impl AsyncRead + Unpin)) -> Result<(), String> {
    let mut attendance = Attendance::new(Arc::clone(stream));
    let mut asked = 0;
    loop {
        let Said::Needs { viewers, pictures, sound, keys } = hear(receive).await? else { continue };
        attendance.count(viewers as usize);
        attendance.need(Needs { pictures: pictures.then_some(Unfit::Elsewhere), sound });
        if keys > std::mem::replace(&mut asked, keys) {
            stream.realtime().ask_for_key_frame();
        }
    }
}

/// Who watches at another node watches this stream, too.
async fn hear_watched(viewers: &Viewers, receive: &mut (impl AsyncRead + Unpin)) -> Result<(), String> {
    loop {
        if let Said::Watched(fingerprints) = hear(receive).await? {
            fingerprints.into_iter().for_each(|fingerprint| viewers.note(fingerprint));
        }
    }
}

async fn hear(receive: &mut (impl AsyncRead + Unpin)) -> Result<Said, String> {
    let bytes = peer_frames::read(receive, Said::BYTES_MAX).await?;
    codec::decode(&bytes).map_err(|error| error.to_string())
}

fn newer(picture: &NewestPicture, shown: &mut Option<u64>) -> Option<Picture> {
    let now = picture.get().filter(|picture| Some(picture.segment) != *shown)?;
    *shown = Some(now.segment);
    Some(now)
}

async fn send_piece<T: Versioned>(send: &mut (impl AsyncWrite + Unpin), piece: &T) -> Result<(), String> {
    let bytes = codec::encode(piece).map_err(|error| error.to_string())?;
    in_time(STALL_MAX, peer_frames::write(send, &bytes)).await
}
