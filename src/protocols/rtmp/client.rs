//! A publisher's connection by RTMP or RTMPS, as encoders make them.
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::session::{ClientConfig, ClientEvent, ClientSession, ClientUrl, MediaMessage, Purpose, Rejection};
use crate::protocols::dial::{Dialer, Stream};

/// A server that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once: a server says little.
const READ_BYTES: usize = 4096;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It broke, or never came about.
    #[error("the connection was lost")]
    Lost,
    /// The server does not want this publisher.
    #[error("{}", .0.description)]
    Refused(Rejection),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self::Lost
    }
}

/// A connection on which a stream may be sent.
pub struct Link {
    stream: Box<dyn Stream>,
    session: ClientSession,
    input: BytesMut,
}

impl Link {
    /// Connects, and goes through handshake and commands until the stream may be sent.
    pub async fn open(dialer: &Dialer, url: &ClientUrl) -> Result<Self, Ended> {
        let stream = dialer.dial().await?;
        let config = ClientConfig::new(url.clone(), Purpose::Publish);
        let session = ClientSession::new(config, rand::rng().random(), std::time::Instant::now());
        let mut link = Self { stream, session, input: BytesMut::new() };
        loop {
            let is_started = link.take_events()?;
            link.flush().await?;
            if is_started {
                return Ok(link);
            }
            let deadline = link.session.deadline().map_or(Instant::now() + WRITE_TIMEOUT, Instant::from_std);
            link.read_until(deadline).await?;
        }
    }

    /// Queues a message.
    pub fn send(&mut self, message: MediaMessage) -> Result<(), Ended> {
        self.session.send(message).map_err(|_| Ended::Lost)
    }

    /// Bytes that are queued.
    pub fn queued_bytes(&mut self) -> usize {
        self.session.output().remaining()
    }

    /// Sends what is queued; how many bytes that were.
    pub async fn flush(&mut self) -> Result<u64, Ended> {
        let mut sent = 0;
        while self.session.output().has_remaining() {
            let written = timeout(WRITE_TIMEOUT, self.stream.write_buf(self.session.output())).await;
            sent += written.map_err(|_| Ended::Lost)?? as u64;
        }
        timeout(WRITE_TIMEOUT, self.stream.flush()).await.map_err(|_| Ended::Lost)??;
        Ok(sent)
    }

    /// Hears the server out until it is time for the next message.
    pub async fn listen_until(&mut self, due: Instant) -> Result<(), Ended> {
        while self.read_until(due).await? {
            self.take_events()?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Whether something came before this moment.
    async fn read_until(&mut self, at: Instant) -> Result<bool, Ended> {
        self.input.reserve(READ_BYTES);
        tokio::select! {
            read = self.stream.read_buf(&mut self.input) => match read? {
                0 => Err(Ended::Lost),
                _ => Ok(true),
            },
            () = sleep_until(at) => Ok(false),
        }
    }

    /// Whether the stream may be sent from now on.
    fn take_events(&mut self) -> Result<bool, Ended> {
        let mut is_started = false;
        let mut next = || self.session.next(&mut self.input, std::time::Instant::now()).map_err(|_| Ended::Lost);
        while let Some(event) = next()? {
            match event {
                ClientEvent::Started { .. } => is_started = true,
                ClientEvent::Rejected(rejection) => return Err(Ended::Refused(rejection)),
                ClientEvent::ReconnectRequested { .. } | ClientEvent::Ended => return Err(Ended::Lost),
                ClientEvent::Media(_) => {}
            }
        }
        Ok(is_started)
    }
}
