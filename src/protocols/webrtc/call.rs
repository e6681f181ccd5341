//! Calls to servers elsewhere: a stream is sent to one by WHIP, or taken from one by WHEP. Each call has a port of its own: many
//! streams may come from one address, and nothing in their packets tells them apart there.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::endpoint::{EndpointError, EndpointUrl, Reach};
use super::line::Line;
use super::listener::{ENCODED_PROFILE, NotAnswered, first_media, random_source};
use super::mux::Mux;
use super::peer::{Call, Flow, PeerEvent, Unanswerable};
use super::programme::{RtpProgramme, Source};
use super::publishing::{self, PublishContext, Publisher, receive};
use super::sessions::{Opening, Sessions};
use super::watching::{self, Outgoing, Viewer, Watcher, lane, needs, watch};
use super::wire::offer::{Choice, Codec, Format, Media};
use crate::domain::ports::{Clock, Entropy};
use crate::media::live::gate::Knock;
use crate::media::live::realtime::Attendance;
use crate::media::live::stream::LiveStream;
use crate::protocols::dial::{is_public, resolve};

/// How what comes by a call is called.
const PULL_PROTOCOL: &str = "whep";
/// `profile_idc` of H.264, and what descriptions call them with their constraints, level 3.1.
const PROFILES: [(u8, &str); 3] = [(66, "42e01f"), (77, "4d001f"), (ENCODED_PROFILE, "64001f")];
/// Payload types of H.264 begin here, two for each profile; those of others.
const FIRST_H264: u8 = 102;
const OPUS: u8 = 111;
const VP9: u8 = 98;
const AV1: u8 = 45;

/// How calls are made.
#[derive(Clone)]
pub struct CallConditions {
    /// With whom.
    pub reach: Reach,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Why a call ended, or came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Its host has no address, or there is no port for it.
    #[error("no connection: {0}")]
    Io(#[from] io::Error),
    /// The server gave no answer.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Its answer is of no use.
    #[error("{0}")]
    Answer(#[from] Unanswerable),
    /// There is nothing to send.
    #[error(transparent)]
    Nothing(#[from] NotAnswered),
    /// It took the stream no longer.
    #[error("{}", of_server(.0))]
    Sending(#[from] watching::Ended),
    /// It gave the stream no longer.
    #[error("{}", of_server(.0))]
    Receiving(#[from] publishing::Ended),
}

/// Viewers and publishers are servers here.
fn of_server(ended: &dyn std::fmt::Display) -> String {
    ended.to_string().replace("the viewer", "the server").replace("the publisher", "the server")
}

/// A call that was answered.
pub struct Called {
    line: Line,
    session: Option<EndpointUrl>,
    reach: Reach,
    _port: AbortOnDropHandle<()>,
}

impl Called {
    /// Offers this to the server.
    async fn open(
        url: &EndpointUrl,
        (offered, flow): (Vec<Vec<Choice>>, Flow),
        conditions: &CallConditions,
    ) -> Result<Self, CallError> {
        let reach = conditions.reach;
        let host = url.host.trim_start_matches('[').trim_end_matches(']');
        let servers = resolve((host, url.port), reach.is_public_only).await?;
        let server = servers.first().copied().ok_or(io::ErrorKind::NotFound).map_err(io::Error::from)?;
        let (mux, route) = Mux::dial(server).await?;
        let call = Call::new(offered, &flow, mux.address(), Instant::now())?;
        let port = AbortOnDropHandle::new(tokio::spawn(async move { mux.run().await }));
        let offer = call.offer();
        let (description, name) = (offer.description.clone(), offer.name.clone());
        let posted = url.post(&description, reach).await?;
        let may_reach = |address: SocketAddr| !reach.is_public_only || is_public(address.ip());
        let peer = call.answered(&posted.answer, may_reach, Instant::now())?;
        let client = peer.offer().credentials().name().to_owned();
        // Nobody asks for it by HTTP.
        let opening = Opening { key: None, subject: name.clone(), client, name: name.clone() };
        let place = Sessions::default().open(opening, &*conditions.entropy);
        let line = Line::new((peer, route, place), name);
        Ok(Self { line, session: posted.session, reach, _port: port })
    }

    /// Asks for a stream by WHEP.
    pub async fn watch(url: &EndpointUrl, conditions: &CallConditions) -> Result<Self, CallError> {
        Self::open(url, (offered_to_receive(), Flow::Receive), conditions).await
    }

    /// What happens next.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        loop {
            let now = Instant::now();
            if self.line.peer.next_timer().is_some_and(|due| due <= now) {
                self.line.peer.on_timer(now);
            }
            let event = self.line.peer.next_event();
            self.line.flush(|_| ());
            if event.is_some() {
                return event;
            }
            let due = self.line.peer.next_timer().unwrap_or(now);
            tokio::select! {
                datagram = self.line.route.next() => self.line.peer.take(datagram?),
                () = tokio::time::sleep_until(due.into()) => {}
            }
        }
    }

    /// Says goodbye on both ways.
    pub async fn end(mut self) {
        self.line.close();
        hang_up(self.session, self.reach).await;
    }
}

async fn hang_up(session: Option<EndpointUrl>, reach: Reach) {
    let Some(session) = session else { return };
    if let Err(error) = session.delete(reach).await {
        tracing::debug!(%error, "a session elsewhere is not ended");
    }
}

/// Sends a stream to a server by WHIP until it is over or `stop`; `tell` hears how many bytes were sent, once the server takes them.
pub async fn push(
    url: &EndpointUrl,
    stream: &Arc<LiveStream>,
    tell: impl FnMut(u64) + Send + 'static,
    conditions: &CallConditions,
    stop: &CancellationToken,
) -> Result<(), CallError> {
    let programme = RtpProgramme::of(stream);
    let source = first_media(&programme).await?;
    let offered = offered_to_send(&source);
    let (mut outgoing, mut sources) = (Vec::new(), Vec::new());
    for (section, choice) in offered.iter().filter_map(|formats| formats.first()).enumerate() {
        let (source, counts) = random_source(&*conditions.entropy);
        sources.push(source);
        outgoing.push(Outgoing::new((section, choice.codec), source, counts));
    }
    let mut attendance = Attendance::new(Arc::clone(stream));
    // Whoever encodes begins while the server still answers.
    attendance.need(needs(&source, &outgoing));
    let Called { line, session, reach, _port } = Called::open(url, (offered, Flow::Send(sources)), conditions).await?;
    let (watcher, clock) = (Watcher::Called(Box::new(tell)), Arc::clone(&conditions.clock));
    let ended = watch(Viewer { line, programme, attendance, watcher, clock, outgoing }, stop).await;
    hang_up(session, reach).await;
    match ended {
        watching::Ended::Over | watching::Ended::Stopping => Ok(()),
        ended => Err(ended.into()),
    }
}

/// Takes a stream from a server by WHEP until it ends or `stop`; what feeds the stream is asked for at the gate of `context`.
pub async fn pull(
    url: &EndpointUrl,
    context: PublishContext,
    conditions: &CallConditions,
    stop: &CancellationToken,
) -> Result<(), CallError> {
    let Called { line, session, reach, _port } = Called::watch(url, conditions).await?;
    let address = line.route.mux().address();
    let knock = Knock { key: String::new(), protocol: PULL_PROTOCOL, address, agent: url.authority() };
    let ended = receive(Publisher { line, knock }, context, stop).await;
    hang_up(session, reach).await;
    match ended {
        publishing::Ended::Stopping => Ok(()),
        ended => Err(ended.into()),
    }
}

fn format(payload_type: u8, codec: Codec, parameters: &str) -> Format {
    let (clock_rate, channels) = if codec.media() == Media::Audio { (48_000, 2) } else { (90_000, 1) };
    let (name, parameters) = (codec.name().to_owned(), parameters.to_owned());
    Format { payload_type, name, clock_rate, channels, parameters, feedback: Vec::new() }
}

fn sound() -> Vec<Choice> {
    let format = format(OPUS, Codec::Opus, "minptime=10;useinbandfec=1");
    vec![Choice { codec: Codec::Opus, format, repair: None }]
}

/// Pictures, with a payload type behind theirs for what is sent again.
fn pictures(payload_type: u8, codec: Codec, parameters: &str) -> Choice {
    Choice { codec, format: format(payload_type, codec, parameters), repair: Some(payload_type + 1) }
}

fn h264(number: u8, level_id: &str) -> Choice {
    let parameters = format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={level_id}");
    pictures(FIRST_H264 + 2 * number, Codec::H264, &parameters)
}

/// All that can be received.
fn offered_to_receive() -> Vec<Vec<Choice>> {
    let mut formats: Vec<Choice> = (0u8..).zip(PROFILES).map(|(number, (_, id))| h264(number, id)).collect();
    formats.extend([pictures(VP9, Codec::Vp9, "profile-id=0"), pictures(AV1, Codec::Av1, "profile=0")]);
    vec![sound(), formats]
}

/// What every server takes: H.264 as it comes, or encoded for it, and Opus.
fn offered_to_send(source: &Source) -> Vec<Vec<Choice>> {
    let mut offered = vec![sound()];
    if let Some(pictures) = source.pictures {
        let is_as_it_comes = lane(source, Codec::H264).is_some_and(|(_, unfit)| unfit.is_none());
        let profile = if is_as_it_comes { pictures.profile } else { ENCODED_PROFILE };
        let found = PROFILES.iter().position(|(known, _)| *known == profile).unwrap_or(PROFILES.len() - 1);
        offered.extend(PROFILES.get(found).map(|(_, id)| vec![h264(found as u8, id)]));
    }
    offered
}
