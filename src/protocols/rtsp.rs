//! Streams fetched from cameras and servers by RTSP (RFC 2326), their packets within its connection, so that one way through
//! firewalls is enough and nothing is lost.
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use percent_encoding::percent_decode_str;
use retina::client::{
    Credentials, Demuxed, Described, InitialTimestampPolicy, PlayOptions, Session, SessionGroup, SessionOptions,
    SetupOptions, TeardownPolicy, Transport,
};
use retina::codec::{CodecItem, FrameFormat, ParameterSetInsertion, ParametersRef, aac, h26x};
use tokio::time::{Instant, timeout};
use url::Url;

use self::ingest::RtspIngest;
use super::dial::resolve;
use crate::domain::live::machine::Refusal;
use crate::domain::ports::Clock;
use crate::media::live::gate::{Feed, NotTaken};
use crate::media::live::lineup::Fed;

mod ingest;

/// Port of the scheme.
const PORT: u16 = 554;
/// Longest wait for what is to be fetched to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// A clock that leaps further than this is another one.
const LEAP_MAX_SECS: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// What is read; the configuration of pictures comes with key frames, that of sound beforehand.
const FORMAT: FrameFormat = FrameFormat {
    h26x_framing: h26x::Framing::AnnexB,
    parameter_set_insertion: ParameterSetInsertion::EachKeyFrame,
    aac_framing: aac::Framing::Raw,
};

/// Why text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtspUrlError {
    /// No server.
    #[error("names no host, or no port that there is")]
    Host,
}

/// The URL of a stream: `rtsp://user:password@host:port/path`.
#[derive(Clone, PartialEq, Eq)]
pub struct RtspUrl {
    /// Without the user.
    url: Url,
    user: Option<(String, String)>,
}

impl std::fmt::Debug for RtspUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtspUrl").field("authority", &self.authority()).finish_non_exhaustive()
    }
}

/// Why a stream is not fetched, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum RtspError {
    /// No address to connect to.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// The server refuses, or says what cannot be understood.
    #[error("{0}")]
    Session(#[from] retina::Error),
    /// It took too long.
    #[error("no answer in {} s", ANSWER_TIMEOUT.as_secs())]
    TooLate,
    /// Nothing in it can be used.
    #[error("the stream has no pictures in H.264 or HEVC and no sound in AAC{0}")]
    Unfit(String),
    /// Nothing came.
    #[error("nothing came for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The server has sent everything.
    #[error("the server has ended the stream")]
    Over,
    /// What came cannot be taken.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// Somebody else feeds the stream.
    #[error(transparent)]
    Fenced(Refusal),
}

impl RtspUrl {
    /// Reads a URL that begins with `rtsp://`.
    pub fn parse(url: &str) -> Result<Self, RtspUrlError> {
        let mut url = Url::parse(url).map_err(|_| RtspUrlError::Host)?;
        if url.scheme() != "rtsp" || url.host_str().is_none_or(str::is_empty) {
            return Err(RtspUrlError::Host);
        }
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user =
            (!url.username().is_empty()).then(|| (plain(url.username()), plain(url.password().unwrap_or_default())));
        let without = url.set_username("").and_then(|()| url.set_password(None));
        without.map_err(|()| RtspUrlError::Host)?;
        Ok(Self { url, user })
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.port())
    }

    fn port(&self) -> u16 {
        self.url.port().unwrap_or(PORT)
    }

    /// What is nobody's business: a password, and the last part of the path, which may be a key.
    pub fn secrets(&self) -> [Option<&str>; 2] {
        [self.user.as_ref().map(|(_, password)| password.as_str()), self.url.path().rsplit('/').next()]
    }

    /// The same with an address instead of the name, so that what was looked at is what is connected to.
    async fn resolved(&self, is_public_only: bool) -> Result<Url, RtspError> {
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let addresses = resolve((host, self.port()), is_public_only).await?;
        let address = addresses.first().ok_or_else(|| std::io::Error::other("the host has no address"))?;
        let mut url = self.url.clone();
        let _ = url.set_ip_host(address.ip());
        Ok(url)
    }
}

/// A server that is about to play a stream.
pub struct Fetch {
    playing: Demuxed,
    group: Arc<SessionGroup>,
    ingest: RtspIngest,
}

impl Fetch {
    /// Asks for the stream; connects to addresses of the public internet alone where that is wanted.
    pub async fn open(url: &RtspUrl, is_public_only: bool) -> Result<Self, RtspError> {
        let opened = Self::opened(url, is_public_only);
        timeout(ANSWER_TIMEOUT, opened).await.unwrap_or(Err(RtspError::TooLate))
    }

    async fn opened(url: &RtspUrl, is_public_only: bool) -> Result<Self, RtspError> {
        let group = Arc::new(SessionGroup::default());
        let user = url.user.clone();
        let options = SessionOptions::default()
            .creds(user.map(|(username, password)| Credentials { username, password }))
            .user_agent(concat!("Playhouse/", env!("CARGO_PKG_VERSION")).to_owned())
            .session_group(Arc::clone(&group))
            .teardown(TeardownPolicy::Always);
        let mut session = Session::describe(url.resolved(is_public_only).await?, options).await?;
        let mut ingest = RtspIngest::default();
        for stream in chosen(&session) {
            session
                .setup(
                    stream,
                    SetupOptions::default().transport(Transport::Tcp(Default::default())).frame_format(FORMAT),
                )
                .await?;
            if let Some(told) = session.streams().get(stream) {
                ingest.add(stream, told.encoding_name(), told.framerate());
            }
        }
        if ingest.is_empty() {
            let offered: Vec<_> =
                session.streams().iter().map(|stream| stream.encoding_name().to_uppercase()).collect();
            return Err(RtspError::Unfit(if offered.is_empty() {
                String::new()
            } else {
                format!(", but {}", offered.join(", "))
            }));
        }
        let options = PlayOptions::default()
            .initial_timestamp(InitialTimestampPolicy::Permissive)
            .enforce_timestamps_with_max_jump_secs(LEAP_MAX_SECS);
        Ok(Self { playing: session.play(options).await?.demuxed()?, group, ingest })
    }

    /// Feeds a stream with what comes, until it ends or `stop` does.
    pub async fn run(
        mut self,
        (mut feed, clock): (Feed, Arc<dyn Clock>),
        silence_max: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RtspError> {
        tokio::pin!(stop);
        let (started, mut fed) = (Instant::now(), Vec::new());
        let ended = loop {
            let item = tokio::select! {
                item = timeout(silence_max, self.playing.next()) => match item {
                    Ok(Some(Ok(item))) => item,
                    Ok(Some(Err(error))) => break Err(error.into()),
                    Ok(None) => break Err(RtspError::Over),
                    Err(_) => break Err(RtspError::Silent(silence_max)),
                },
                refusal = feed.fenced() => break Err(RtspError::Fenced(refusal)),
                () = &mut stop => break Ok(()),
            };
            self.take(item, started.elapsed(), &mut fed);
            let now = clock.now();
            if let Err(error) = fed.drain(..).try_for_each(|fed| feed.give(fed, now)) {
                break Err(error.into());
            }
        };
        drop(self.playing);
        // The server is told in the background.
        let _ = timeout(FAREWELL, self.group.await_teardown()).await;
        ended
    }

    fn take(&mut self, item: CodecItem, arrival: Duration, fed: &mut Vec<Fed>) {
        match item {
            CodecItem::VideoFrame(frame) => {
                let (stream, time) = (frame.stream_id(), in_ticks(frame.timestamp()));
                self.ingest.take_picture(stream, (time, arrival), frame.into_data().into(), fed);
            }
            CodecItem::AudioFrame(frame) => {
                let (stream, time) = (frame.stream_id(), in_ticks(frame.timestamp()));
                if let Some(ParametersRef::Audio(told)) =
                    self.playing.streams().get(stream).and_then(|told| told.parameters())
                {
                    self.ingest.configure_sound(stream, told.extra_data());
                }
                self.ingest.take_sound(stream, (time, arrival), bytes::Bytes::copy_from_slice(frame.data()), fed);
            }
            _ => {}
        }
    }
}

/// The first stream of either kind that can be used.
fn chosen(session: &Session<Described>) -> impl Iterator<Item = usize> + use<> {
    let find = |media: &str, codecs: &[&str]| {
        session.streams().iter().position(|stream| stream.media() == media && codecs.contains(&stream.encoding_name()))
    };
    [find("video", &["h264", "h265"]), find("audio", &["mpeg4-generic"])].into_iter().flatten()
}

/// Ticks of 90 kHz since the stream's beginning, the same instant for all of its tracks.
fn in_ticks(time: retina::Timestamp) -> i64 {
    let rate = i128::from(time.clock_rate().get());
    i64::try_from(i128::from(time.elapsed()) * 90_000 / rate).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_keep_their_secrets() {
        let url = RtspUrl::parse("rtsp://admin:p%40ss@[::1]/cam/1?x=y").unwrap();
        assert_eq!(url.authority(), "[::1]:554");
        assert_eq!(url.user, Some(("admin".to_owned(), "p@ss".to_owned())));
        assert_eq!(url.secrets(), [Some("p@ss"), Some("1")]);
        assert_eq!(url.url.as_str(), "rtsp://[::1]/cam/1?x=y");
        assert!(!format!("{url:?}").contains("p@ss"));
        for text in ["rtsp://", "rtsp:///x", "rtsp://host:99999/x", "http://host/x", "rtsp"] {
            assert_eq!(RtspUrl::parse(text), Err(RtspUrlError::Host), "{text}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_once() {
        let url = RtspUrl::parse("rtsp://localhost:8554/cam").unwrap();
        let resolved = url.resolved(false).await.unwrap();
        assert!(["rtsp://127.0.0.1:8554/cam", "rtsp://[::1]:8554/cam"].contains(&resolved.as_str()), "{resolved}");
        assert!(url.resolved(true).await.is_err());
    }
}
