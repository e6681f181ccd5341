//! The side of relays that listens: a stream is kept like the one of whoever has it.
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::branch::DEPTH_MAX;
use super::speech::{Piece, Request, Said, TREES_SINCE, WATCHED_MAX, Wants};
use super::{LOOK_EVERY, STALL_MAX};
use crate::actors::live_picture::Picture;
use crate::actors::lives::{Lives, Viewers, Watched, lease_key};
use crate::actors::nodes::PeerStream;
use crate::actors::peer_frames::{self, in_time};
use crate::domain::cluster::NodeName;
use crate::domain::live::{Live, LiveState};
use crate::media::live::broadcast::Broadcast;
use crate::media::live::frame_relay::{FrameTaker, ToldFrame};
use crate::media::live::realtime::Wanted;
use crate::media::live::stream::LiveStream;
use crate::storage::codec::{self, Versioned};

/// How long frames are told of that nobody reads any more: viewers come back, and the next is served at once.
const LINGER: Duration = Duration::from_secs(10);
/// How often it is told who watches here: well within the time for which somebody is remembered who has fetched something.
const WATCHED_EVERY: Duration = Duration::from_secs(3);

/// A stream, and what it is to be like.
pub(super) struct Relayed {
    pub(super) live: Live,
    pub(super) context: Arc<Lives>,
    pub(super) stream: Arc<LiveStream>,
}

/// Why a node tells no more.
enum Silence {
    /// It names another one that is to be asked.
    Ask(NodeName),
    /// Any other reason; and whether it has told anything.
    Lost(String, bool),
}

impl Relayed {
    /// Listens until the stream has ended.
    pub(super) async fn listen_always(&self) {
        let Self { live, context, stream } = self;
        let mut taker = FrameTaker::default();
        loop {
            match context.nodes.holder(&lease_key(&live.id)).await.ok().flatten() {
                Some(node) => self.climb(node, &mut taker).await,
                None if self.is_over().await => {
                    stream.end();
                    return;
                }
                None => {}
            }
            if stream.look(Broadcast::has_ended) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// As viewers see it, unless another one is seen under its id by now.
    fn watched(&self) -> Option<Watched> {
        let watched = self.context.streams.find(&self.live.playback_id)?;
        Arc::ptr_eq(&watched.stream, &self.stream).then_some(watched)
    }

    async fn is_over(&self) -> bool {
        let found = self.context.catalog.live(&self.live.id).await;
        found.is_ok_and(|live| live.is_none_or(|live| live.state != LiveState::Live))
    }

    /// Listens to the node that has the stream, or to whom that names.
    async fn climb(&self, holder: NodeName, taker: &mut FrameTaker) {
        let (mut node, mut wants) = (holder.clone(), Wants::Stream);
        for _ in 0..=DEPTH_MAX {
            match self.listen((&node, wants), taker).await {
                Silence::Ask(other) => node = other,
                Silence::Lost(reason, false) if node != holder => {
                    tracing::debug!(live.id = %self.live.id, %node, reason, "a node that was named tells of no stream");
                    (node, wants) = (holder.clone(), Wants::StreamHere);
                }
                Silence::Lost(reason, _) => {
                    tracing::debug!(live.id = %self.live.id, %node, reason, "a stream is not relayed now");
                    return;
                }
            }
        }
        // All are told by others, one after the other.
        self.listen((&holder, Wants::StreamHere), taker).await;
    }

    async fn listen(&self, (node, wants): (&NodeName, Wants), taker: &mut FrameTaker) -> Silence {
        let mut is_told = false;
        let has_trees = !self.context.nodes.is_older(node, TREES_SINCE);
        if let Some(watched) = self.watched() {
            watched.branch.hang((vec![node.clone()], !has_trees));
        }
        let wants = if has_trees { wants } else { Wants::Stream };
        let lost = tokio::select! {
            ended = self.take_stream((node, wants), has_trees, &mut is_told) => match ended {
                Ok(other) => return Silence::Ask(other),
                Err(reason) => reason,
            },
            never = self.take_frames_always(node, has_trees, taker) => match never {},
        };
        Silence::Lost(lost, is_told)
    }

    async fn open(&self, node: &NodeName, wants: Wants) -> Result<PeerStream, String> {
        let mut opened = in_time(STALL_MAX, self.context.nodes.open_relay(node)).await?;
        let request = Request { playback: self.live.playback_id.clone(), wants }.text();
        in_time(STALL_MAX, peer_frames::write(&mut opened.send, request.as_bytes())).await?;
        Ok(opened)
    }

    /// Takes what a node tells of the stream; the node that it names instead, if it does.
    async fn take_stream(
        &self,
        (node, wants): (&NodeName, Wants),
        has_trees: bool,
        is_told: &mut bool,
    ) -> Result<NodeName, String> {
        let PeerStream { mut send, mut receive } = self.open(node, wants).await?;
        let known = self.watched().ok_or("nobody watches it")?;
        tokio::select! {
            ended = self.take_pieces(&known, &mut receive, is_told) => ended,
            Err(reason) = tell_watched(&known.viewers, &mut send), if has_trees => Err(reason),
        }
    }

    async fn take_pieces(
        &self,
        known: &Watched,
        receive: &mut (impl AsyncRead + Unpin),
        is_told: &mut bool,
    ) -> Result<NodeName, String> {
        let me = &self.context.nodes.me().node;
        loop {
            match hear::<Piece>(receive, STALL_MAX).await? {
                Piece::Told(told) => self.stream.take_told(vec![told]).map_err(|error| error.to_string())?,
                Piece::Picture { body, segment } => known.picture.set(Picture { body, segment }),
                Piece::Ask(other) if other != *me => return Ok(other),
                Piece::Ask(_) => return Err("it names this node".into()),
                Piece::Path(path) if path.contains(me) || path.len() >= DEPTH_MAX => {
                    return Err("it is told of it by this node".into());
                }
                Piece::Path(path) => known.branch.hang((path, false)),
            }
            *is_told = true;
        }
    }

    /// Has the node tell of frames for as long as somebody here reads them.
    async fn take_frames_always(&self, node: &NodeName, can_tell: bool, taker: &mut FrameTaker) -> Infallible {
        if !can_tell {
            return std::future::pending().await;
        }
        let mut joined = self.stream.joined();
        loop {
            joined.mark_unchanged();
            if self.is_read() {
                let ended = tokio::select! {
                    ended = self.take_frames(node, taker) => Some(ended),
                    () = self.until_unread() => None,
                };
                if let Some(ended) = ended {
                    tracing::debug!(live.id = %self.live.id, %node, ?ended, "frames of a stream are not told of now");
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
            }
            if taker.has_taken() {
                taker.forget(&self.stream);
            }
            // Some begin to read without a word.
            let _ = tokio::time::timeout(LOOK_EVERY, joined.changed()).await;
        }
    }

    fn is_read(&self) -> bool {
        self.stream.look(|broadcast| broadcast.tap().is_read())
    }

    async fn until_unread(&self) {
        let mut read = Instant::now();
        while read.elapsed() < LINGER {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.is_read() {
                read = Instant::now();
            }
        }
    }

    async fn take_frames(&self, node: &NodeName, taker: &mut FrameTaker) -> Result<(), String> {
        let PeerStream { mut send, mut receive } = self.open(node, Wants::Frames).await?;
        metrics::counter!("playhouse_live_relay_frames_opened_total").increment(1);
        let taking = async {
            loop {
                // A stream that nobody publishes to has no frames: that the node is gone is seen by what else it tells.
                taker.take(hear::<ToldFrame>(&mut receive, Duration::MAX).await?, &self.stream);
            }
        };
        tokio::select! {
            ended = taking => ended,
            ended = self.tell_needs(&mut send) => ended,
        }
    }

    /// Tells what viewers here need.
    async fn tell_needs(&self, send: &mut (impl AsyncWrite + Unpin)) -> Result<(), String> {
        let (mut wanted, mut keys) = (self.stream.realtime().wanted(), self.stream.realtime().keys_asked());
        loop {
            let Wanted { viewers, pictures, sound, .. } = *wanted.borrow_and_update();
            let needs = Said::Needs {
                viewers: u32::try_from(viewers).unwrap_or(u32::MAX),
                pictures: pictures > 0,
                sound: sound > 0,
                keys: *keys.borrow_and_update(),
            };
            say(send, &needs).await?;
            // The senders live as long as the stream.
            tokio::select! {
                Ok(()) = wanted.changed() => {}
                Ok(()) = keys.changed() => {}
            }
        }
    }
}

/// Tells who watches here.
async fn tell_watched(viewers: &Viewers, send: &mut (impl AsyncWrite + Unpin)) -> Result<(), String> {
    let _forgets = Forgets(viewers);
    loop {
        let fresh: Vec<u64> = viewers.take_fresh().into_iter().collect();
        for some in fresh.chunks(WATCHED_MAX) {
            say(send, &Said::Watched(some.to_vec())).await?;
        }
        tokio::time::sleep(WATCHED_EVERY).await;
    }
}

/// Nobody tells any more.
struct Forgets<'a>(&'a Viewers);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.0.forget_fresh();
    }
}

async fn say(send: &mut (impl AsyncWrite + Unpin), said: &Said) -> Result<(), String> {
    let bytes = codec::encode(said).map_err(|error| error.to_string())?;
    in_time(STALL_MAX, peer_frames::write(send, &bytes)).await
}

/// The next that is told.
async fn hear<T: Versioned>(receive: &mut (impl AsyncRead + Unpin), limit: Duration) -> Result<T, String> {
    let bytes = in_time(limit, peer_frames::read(receive, T::BYTES_MAX)).await?;
    metrics::counter!("playhouse_live_relay_bytes_total").increment(bytes.len() as u64);
    codec::decode(&bytes).map_err(|error| error.to_string())
}
