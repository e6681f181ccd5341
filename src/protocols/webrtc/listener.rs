//! WebRTC as a whole: the port, and the sessions on it. What asks for sessions (HTTP) has a [`WebrtcHandle`].
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::line::Line;
use super::mux::Mux;
use super::peer::{Answer, Flow, Peer, Source as Ssrc, Unanswerable};
use super::programme::{RtpProgramme, Source};
use super::publishing::{PublishContext, Publisher, knock, serve};
use super::sessions::{Opening, Sessions};
use super::watching::{Outgoing, Viewer, WatchContext, Watcher, lane, needs, serve as serve_viewer};
use super::wire::offer::{Choice, Codec, Direction, InvalidOffer, Media, Offer};
use crate::domain::ports::Entropy;
use crate::media::live::gate::{NotAdmitted, Pass, Ticket, TurnedAway, admit_anywhere};
use crate::media::live::realtime::Attendance;

/// How long sessions have to be told goodbye when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a viewer of a stream that has just begun waits for its first frame.
const FIRST_MEDIA: Duration = Duration::from_secs(5);
/// Bytes of randomness for what is counted from anywhere: sources, timestamps and sequence numbers.
const RANDOM_BYTES: usize = 14;
/// `profile_idc` of what is encoded for viewers: High.
pub(super) const ENCODED_PROFILE: u8 = 100;
/// Codecs of pictures that can be published, the one that every player takes first.
const PICTURES: &[Codec] = &[Codec::H264, Codec::Av1, Codec::Vp9, Codec::Vp8, Codec::Hevc];
/// The same of sound.
const SOUND: &[Codec] = &[Codec::Opus];

/// Why an offer is not answered.
#[derive(Debug, thiserror::Error)]
pub enum NotAnswered {
    /// The stream cannot be had.
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
    /// It may not be watched, or there is nothing to watch.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// Nothing of the stream has come yet.
    #[error("the stream has not begun, try again")]
    NotBegun,
    /// It is none, or asks for what cannot be.
    #[error(transparent)]
    Offer(#[from] InvalidOffer),
    /// There are as many sessions as there may be.
    #[error("there are too many sessions, try again later")]
    Full,
}

impl From<Unanswerable> for NotAnswered {
    fn from(unanswerable: Unanswerable) -> Self {
        InvalidOffer::Unacceptable(unanswerable.to_string()).into()
    }
}

/// A client that wants to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The stream's key.
    pub key: String,
    /// Whether the key came as a bearer token, and has to come with every further request.
    pub is_bearer: bool,
    /// Where the client is.
    pub address: SocketAddr,
    /// The program, as it calls itself.
    pub agent: String,
}

/// A client that wants to watch.
#[derive(Debug, Clone)]
pub struct Viewing {
    /// Which stream, and what is shown for it.
    pub ticket: Ticket,
    /// What came as a bearer token, and has to come with every further request.
    pub key: Option<String>,
}

/// What WebRTC serves.
pub struct WebrtcContexts {
    /// Publishers.
    pub publish: PublishContext,
    /// Viewers.
    pub watch: WatchContext,
    /// Most sessions of publishers at once, and of viewers.
    pub sessions_max: (usize, usize),
}

/// A session that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Its id.
    pub id: String,
    /// Names its ICE session.
    pub tag: String,
    /// The answer.
    pub description: String,
}

struct Shared {
    mux: Mux,
    publishers: Sessions,
    viewers: Sessions,
    contexts: WebrtcContexts,
    entropy: Arc<dyn Entropy>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// The way to sessions; clones are the same one.
#[derive(Clone)]
pub struct WebrtcHandle(Arc<Shared>);

/// A listener under way.
pub struct WebrtcListener(WebrtcHandle);

impl WebrtcListener {
    /// Opens the port; clients are told that they reach it at `advertised`, or else at the addresses of this machine.
    pub async fn bind(
        (address, advertised): (SocketAddr, &[IpAddr]),
        contexts: WebrtcContexts,
        entropy: Arc<dyn Entropy>,
    ) -> io::Result<Self> {
        let mux = Mux::listen(address, advertised).await?;
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (publishers, viewers) = (Sessions::default(), Sessions::default());
        let (port, stopped) = (mux.clone(), stopping.clone());
        tasks.spawn(async move {
            stopped.run_until_cancelled(port.run()).await;
        });
        let shared = Shared { mux, publishers, viewers, contexts, entropy, stopping, tasks };
        Ok(Self(WebrtcHandle(Arc::new(shared))))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.0.mux.address()
    }

    /// The way to its sessions.
    pub fn handle(&self) -> WebrtcHandle {
        self.0.clone()
    }

    /// Ends all sessions, and waits a little for that.
    pub async fn stop(self) {
        let shared = &self.0.0;
        shared.stopping.cancel();
        shared.tasks.close();
        let _ = tokio::time::timeout(STOP_TIMEOUT, shared.tasks.wait()).await;
    }
}

impl WebrtcHandle {
    /// The port.
    pub fn mux(&self) -> &Mux {
        &self.0.mux
    }

    /// Sessions of publishers.
    pub fn publishers(&self) -> &Sessions {
        &self.0.publishers
    }

    /// Sessions of viewers.
    pub fn viewers(&self) -> &Sessions {
        &self.0.viewers
    }

    /// Runs a session's task until it ends or the listener stops.
    pub fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(session);
    }

    /// Cancelled when the listener stops.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Answers a publisher's offer. The stream is not taken from whoever feeds it before media can flow.
    pub async fn publish(&self, publication: Publication, offer: &[u8]) -> Result<Begun, NotAnswered> {
        let shared = &self.0;
        shared.contexts.publish.gate.check(&publication.key).await?;
        let offer = Offer::read(offer)?;
        let choices = choose(&offer)?;
        let Publication { key, is_bearer, address, agent } = publication;
        let (subject, shown) = (key.clone(), is_bearer.then(|| key.clone()));
        let most = shared.contexts.sessions_max.0;
        let (line, begun) =
            self.open((&shared.publishers, most), offer, (choices, Flow::Receive), (shown, Some(subject)))?;
        let publisher = Publisher { line, knock: knock(key, address, agent) };
        self.spawn(serve(publisher, shared.contexts.publish.clone(), shared.stopping.clone()));
        Ok(begun)
    }

    /// Answers a viewer's offer, when it may watch.
    pub async fn watch(&self, viewing: Viewing, offer: &[u8]) -> Result<Begun, NotAnswered> {
        let shared = &self.0;
        let seat = admit_anywhere(&*shared.contexts.watch.audience, &viewing.ticket).await?;
        let offer = Offer::read(offer)?.to_receive();
        let programme = RtpProgramme::of(&seat.stream);
        let source = first_media(&programme).await?;
        let choices = choose_to_send(&offer, &source)?;
        let mut outgoing = Vec::new();
        let mut sources = Vec::new();
        for (section, choice) in choices.iter().enumerate() {
            let (source, counts) = random_source(&*shared.entropy);
            sources.push(source);
            outgoing.push(Outgoing::new((section, choice.codec), source, counts));
        }
        let most = shared.contexts.sessions_max.1;
        let (line, begun) =
            self.open((&shared.viewers, most), offer, (choices, Flow::Send(sources)), (viewing.key, None))?;
        let stream = seat.stream;
        let mut attendance = Attendance::new(Arc::clone(&stream));
        // Whoever encodes begins while the viewer still connects.
        attendance.need(needs(&source, &outgoing));
        let WatchContext { audience, clock } = shared.contexts.watch.clone();
        let (address, watcher) =
            (viewing.ticket.address.ip(), Watcher::Guest(Pass::new(viewing.ticket, audience, stream)));
        let viewer = Viewer { line, programme, attendance, watcher, clock, outgoing };
        self.spawn(serve_viewer(viewer, address, shared.stopping.clone()));
        Ok(begun)
    }

    /// A session with its answer. Those on the same subject that have not got anywhere yet end.
    fn open(
        &self,
        (sessions, most): (&Sessions, usize),
        offer: Offer,
        media: (Vec<Choice>, Flow),
        (key, subject): (Option<String>, Option<String>),
    ) -> Result<(Line, Begun), NotAnswered> {
        let shared = &self.0;
        if sessions.count() >= most {
            return Err(NotAnswered::Full);
        }
        let (route, client) = (shared.mux.open(), offer.credentials().name().to_owned());
        let (peer, answer) = Peer::answer(offer, media, shared.mux.advertised(), Instant::now())?;
        let Answer { name, description, .. } = answer;
        if !route.add_name(&name) {
            return Err(NotAnswered::Full);
        }
        let subject = subject.unwrap_or_else(|| name.clone());
        let place = sessions.open(Opening { key, subject, client, name: name.clone() }, &*shared.entropy);
        let begun = Begun { id: place.id().to_owned(), tag: name.clone(), description };
        Ok((Line::new((peer, route, place), name), begun))
    }
}

/// A source, and where its timestamps and sequence numbers begin.
pub(super) fn random_source(entropy: &dyn Entropy) -> (Ssrc, (u32, u16)) {
    let mut bytes = [0; RANDOM_BYTES];
    entropy.fill(&mut bytes);
    let word = |at: usize| bytes.iter().skip(at).take(4).fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    (Ssrc { ssrc: word(0), repair_ssrc: word(4) }, (word(8), word(10) as u16))
}

/// What a stream has, once something of it has come.
pub(super) async fn first_media(programme: &RtpProgramme) -> Result<Source, NotAnswered> {
    let mut moved = programme.moved();
    let source = tokio::time::timeout(FIRST_MEDIA, async {
        loop {
            moved.mark_unchanged();
            programme.pull(Instant::now());
            if let Some(source) = programme.source() {
                return Some(source);
            }
            // The stream lives as long as its programme.
            moved.changed().await.ok()?;
        }
    });
    source.await.ok().flatten().ok_or(NotAnswered::NotBegun)
}

fn at_most_one_of_each(offer: &Offer, what: &str) -> Result<(), InvalidOffer> {
    for media in [Media::Audio, Media::Video] {
        if offer.sections.iter().filter(|section| section.media == media).count() > 1 {
            let reason = format!("one track of pictures and one of sound can be {what}");
            return Err(InvalidOffer::Unacceptable(reason));
        }
    }
    Ok(())
}

/// What is sent in each section: pictures as they come where the viewer takes those, and H.264 otherwise.
fn choose_to_send(offer: &Offer, source: &Source) -> Result<Vec<Choice>, InvalidOffer> {
    at_most_one_of_each(offer, "watched")?;
    let refuse = |reason: String| Err(InvalidOffer::Unacceptable(reason));
    let mut choices = Vec::new();
    for section in &offer.sections {
        if section.direction != Direction::Receive {
            return refuse("a viewer has to receive: a=recvonly".into());
        }
        let choice = match (section.media, source.pictures) {
            (Media::Audio, _) => section.choose(SOUND),
            (Media::Video, pictures) => {
                let as_it_comes =
                    pictures.filter(|told| lane(source, told.codec).is_some_and(|(_, unfit)| unfit.is_none()));
                let as_it_comes = as_it_comes.and_then(|told| section.choose_to_send(told.codec, told.profile));
                as_it_comes.or_else(|| section.choose_to_send(Codec::H264, ENCODED_PROFILE))
            }
        };
        match choice {
            Some(choice) => choices.push(choice),
            None => {
                let wanted = if section.media == Media::Audio { "Opus" } else { "H.264 with packetization-mode=1" };
                return refuse(format!("this stream is not sent in {}: offer {wanted}", section.codec_names()));
            }
        }
    }
    Ok(choices)
}

/// What is taken of a publisher's offer: all of it, or nothing (RFC 9725, section 4.4.3).
fn choose(offer: &Offer) -> Result<Vec<Choice>, InvalidOffer> {
    at_most_one_of_each(offer, "published")?;
    let refuse = |reason: String| Err(InvalidOffer::Unacceptable(reason));
    let mut choices = Vec::new();
    for section in &offer.sections {
        if !matches!(section.direction, Direction::Send | Direction::Both) {
            return refuse("a publisher has to send: a=sendonly".into());
        }
        if !section.names_sources && section.layers.is_empty() && offer.sections.len() > 1 {
            return refuse("the offer does not say which sources its media have: a=ssrc".into());
        }
        let (wanted, names) = match section.media {
            Media::Audio => (SOUND, "Opus"),
            Media::Video => (PICTURES, "H.264, AV1, VP9, VP8 or HEVC"),
        };
        match section.choose(wanted) {
            Some(Choice { codec: Codec::Vp8, .. }) if !section.layers.is_empty() => {
                return refuse("VP8 is encoded anew here, in one size alone: send it without simulcast".into());
            }
            Some(choice) => choices.push(choice),
            None => return refuse(format!("{} cannot be published here: send {names}", section.codec_names())),
        }
    }
    Ok(choices)
}
