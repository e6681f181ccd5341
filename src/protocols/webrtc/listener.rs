//! WebRTC as a whole: the UDP port, and the sessions on it. What asks for sessions (HTTP) has a [`WebrtcHandle`].
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mux::Mux;
use super::peer::{Flow, Peer, Unanswerable};
use super::publishing::{PublishContext, Publisher, knock, serve};
use super::sessions::{Opening, Patched, Refused, Sessions};
use super::wire::fragment::Fragment;
use super::wire::offer::{Choice, Codec, Direction, InvalidOffer, Media, Offer};
use crate::domain::ports::Entropy;
use crate::media::live::gate::TurnedAway;

/// How long sessions have to be told goodbye when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Codecs of pictures that can be published, the one that every player takes first.
const PICTURES: &[Codec] = &[Codec::H264, Codec::Av1, Codec::Vp9, Codec::Hevc];
/// The same of sound.
const SOUND: &[Codec] = &[Codec::Opus];

/// Why an offer is not answered.
#[derive(Debug, thiserror::Error)]
pub enum NotAnswered {
    /// The stream cannot be had.
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
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
    publish: PublishContext,
    entropy: Arc<dyn Entropy>,
    sessions_max: usize,
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
        publish: PublishContext,
        entropy: Arc<dyn Entropy>,
        sessions_max: usize,
    ) -> io::Result<Self> {
        let mux = Mux::bind(address, advertised).await?;
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let publishers = Sessions::default();
        let (port, stopped) = (mux.clone(), stopping.clone());
        tasks.spawn(async move {
            stopped.run_until_cancelled(port.run()).await;
        });
        let shared = Shared { mux, publishers, publish, entropy, sessions_max, stopping, tasks };
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
        shared.publish.gate.check(&publication.key).await?;
        let offer = Offer::read(offer)?;
        let choices = choose(&offer)?;
        if shared.mux.sessions() >= shared.sessions_max {
            return Err(NotAnswered::Full);
        }
        let (route, client) = (shared.mux.open(), offer.credentials().name().to_owned());
        let (peer, answer) = Peer::answer(offer, (choices, Flow::Receive), shared.mux.advertised(), Instant::now())?;
        if !route.add_name(&answer.name) {
            return Err(NotAnswered::Full);
        }
        let Publication { key, is_bearer, address, agent } = publication;
        let (subject, shown) = (key.clone(), is_bearer.then(|| key.clone()));
        let opening = Opening { key: shown, subject, client, name: answer.name.clone() };
        let place = shared.publishers.open(opening, &*shared.entropy);
        let begun = Begun { id: place.id().to_owned(), tag: answer.name.clone(), description: answer.description };
        let publisher = Publisher { peer, route, place, name: answer.name, knock: knock(key, address, agent) };
        self.spawn(serve(publisher, shared.publish.clone(), shared.stopping.clone()));
        Ok(begun)
    }

    /// Takes a fragment for a publisher's session.
    pub async fn patch(
        &self,
        session: (&str, Option<&str>),
        tag: Option<&str>,
        fragment: Fragment,
    ) -> Result<Patched, Refused> {
        self.0.publishers.patch(session, tag, fragment).await
    }

    /// Ends a publisher's session.
    pub fn end(&self, id: &str, key: Option<&str>) -> Result<(), Refused> {
        self.0.publishers.end(id, key)
    }
}

/// What is taken of a publisher's offer: all of it, or nothing (RFC 9725, section 4.4.3).
fn choose(offer: &Offer) -> Result<Vec<Choice>, InvalidOffer> {
    let refuse = |reason: String| Err(InvalidOffer::Unacceptable(reason));
    for media in [Media::Audio, Media::Video] {
        if offer.sections.iter().filter(|section| section.media == media).count() > 1 {
            return refuse("one track of pictures and one of sound can be published".into());
        }
    }
    let mut choices = Vec::new();
    for section in &offer.sections {
        if !matches!(section.direction, Direction::Send | Direction::Both) {
            return refuse("a publisher has to send: a=sendonly".into());
        }
        if !section.names_sources && offer.sections.len() > 1 {
            return refuse("the offer does not say which sources its media have: a=ssrc".into());
        }
        let (wanted, names) = match section.media {
            Media::Audio => (SOUND, "Opus"),
            Media::Video => (PICTURES, "H.264, AV1, VP9 or HEVC"),
        };
        match section.choose(wanted) {
            Some(choice) => choices.push(choice),
            None => return refuse(format!("{} cannot be published here: send {names}", section.codec_names())),
        }
    }
    Ok(choices)
}
