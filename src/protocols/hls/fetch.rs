//! Live streams fetched by HLS (RFC 8216) from other servers, the best of their variants: whole segments, as transport streams or
//! fragmented MP4, from a target duration or more behind the live edge.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use url::Url;

use self::ingest::{HlsIngest, Segment, Unusable};
use self::playlist::{Chosen, Reader};
use self::web::{Web, WebError};
use crate::domain::asset::TrackKind;
use crate::domain::live::machine::Refusal;
use crate::domain::ports::Clock;
use crate::media::live::gate::{Counted, Feed, NotTaken};

pub mod ingest;
pub mod playlist;
mod web;

/// What it is called in metrics.
const PROTOCOL: &str = "hls";
/// Segments that wait to be taken apart.
const SEGMENTS_MAX: usize = 2;
/// A playlist that does not grow for so many target durations is silent.
const TARGETS_SILENT: u32 = 4;

/// Why text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HlsUrlError {
    /// No server.
    #[error("names no host, or no port that there is")]
    Host,
}

/// The URL of a playlist: `https://user:password@host:port/path`.
#[derive(Clone, PartialEq, Eq)]
pub struct HlsUrl(Url);

impl std::fmt::Debug for HlsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HlsUrl").field(&self.origin()).finish()
    }
}

/// Why a stream is not fetched, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum HlsError {
    /// The server gives no answer, or a refusal.
    #[error(transparent)]
    Web(#[from] WebError),
    /// What it answers is no playlist.
    #[error("the server answers no playlist of HLS (what it gives by WHEP is fetched by whep:// or wheps://)")]
    NoPlaylist,
    /// Nobody but its players has the key.
    #[error("the stream is encrypted")]
    Encrypted,
    /// Its segments cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// Nothing came.
    #[error("nothing came for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The playlist has its end.
    #[error("the stream has ended: what is recorded can be uploaded instead")]
    Over,
    /// What came cannot be taken.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// Somebody else feeds the stream.
    #[error(transparent)]
    Fenced(Refusal),
}

impl From<Unusable> for HlsError {
    fn from(unusable: Unusable) -> Self {
        Self::Unusable(unusable.to_string())
    }
}

impl HlsUrl {
    /// Reads a URL that begins with `http://` or `https://`.
    pub fn parse(url: &str) -> Result<Self, HlsUrlError> {
        let url = Url::parse(url).map_err(|_| HlsUrlError::Host)?;
        let is_fit = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
        if is_fit { Ok(Self(url)) } else { Err(HlsUrlError::Host) }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// What is nobody's business: a password and a query.
    pub fn secrets(&self) -> [Option<&str>; 2] {
        [self.0.password(), self.0.query()]
    }
}

/// Playlists whose first segments have come.
pub struct Fetch {
    readers: Vec<Reader>,
    ingest: HlsIngest,
}

impl Fetch {
    /// Asks for the playlists and their first segments; connects to addresses of the public internet alone where that is wanted.
    pub async fn open(HlsUrl(url): &HlsUrl, is_public_only: bool) -> Result<Self, HlsError> {
        let Chosen { pictures, sound } = Chosen::find(&mut Web::new(is_public_only), url).await?;
        // Of a variant that has its sound elsewhere, pictures alone are taken.
        let wanted = match sound {
            Some(_) => vec![Some(TrackKind::Video), Some(TrackKind::Audio)],
            None => vec![None],
        };
        let mut ingest = HlsIngest::new(wanted.into_iter());
        let mut readers: Vec<_> = [Some(pictures), sound]
            .into_iter()
            .flatten()
            .map(|url| Reader::new(Web::new(is_public_only), url))
            .collect();
        for (index, reader) in readers.iter_mut().enumerate() {
            ingest.take(index, &reader.next().await?)?;
        }
        Ok(Self { readers, ingest })
    }

    /// Feeds a stream with what comes, until it ends or `stop` does.
    pub async fn run(
        self,
        (mut feed, clock): (Feed, Arc<dyn Clock>),
        silence_max: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<(), HlsError> {
        tokio::pin!(stop);
        let Self { readers, mut ingest } = self;
        let (_counted, started) = (Counted::new(PROTOCOL), Instant::now());
        let (mut fed, mut heard, mut is_over) = (Vec::new(), started, false);
        // Nothing is to be expected sooner than playlists promise.
        let target = readers.iter().map(Reader::target).max().unwrap_or_default();
        let silence_max = silence_max.max(target * TARGETS_SILENT);
        let (segments, mut came) = mpsc::channel(SEGMENTS_MAX);
        // Ends the readers when it is dropped.
        let mut reading = JoinSet::new();
        for (index, reader) in readers.into_iter().enumerate() {
            reading.spawn(read(index, reader, segments.clone()));
        }
        loop {
            let now = started.elapsed();
            ingest.give(now, &mut fed);
            let wall = clock.now();
            fed.drain(..).try_for_each(|fed| feed.give(fed, wall))?;
            let silent = heard + silence_max;
            let due = ingest.due(now).map(|due| started + due);
            if is_over && due.is_none() {
                return Err(HlsError::Over);
            }
            tokio::select! {
                came = came.recv(), if !is_over => {
                    let (index, segment) = match came {
                        Some((index, Ok(segment))) => (index, segment),
                        // What has come is passed on before.
                        Some((_, Err(HlsError::Over))) | None => {
                            is_over = true;
                            continue;
                        }
                        Some((_, Err(error))) => return Err(error),
                    };
                    metrics::counter!("playhouse_live_ingest_bytes_total", "protocol" => PROTOCOL)
                        .increment(segment.bytes.len() as u64);
                    heard = Instant::now();
                    ingest.take(index, &segment)?;
                }
                () = sleep_until(due.unwrap_or(silent).min(silent)) => {
                    if Instant::now() >= silent && !is_over {
                        return Err(HlsError::Silent(silence_max));
                    }
                }
                refusal = feed.fenced() => return Err(HlsError::Fenced(refusal)),
                () = &mut stop => return Ok(()),
            }
        }
    }
}

/// Reads segments until there are none any more.
async fn read(index: usize, mut reader: Reader, segments: mpsc::Sender<(usize, Result<Segment, HlsError>)>) {
    loop {
        let segment = reader.next().await;
        let is_over = segment.is_err();
        if segments.send((index, segment)).await.is_err() || is_over {
            return;
        }
    }
}
