//! A client's connection by RTMP or RTMPS, as encoders and players make them.
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout};

use super::session::{
    Capabilities, ClientConfig, ClientEvent, ClientSession, ClientUrl, MediaMessage, Purpose, Rejection, SessionError,
};
use crate::protocols::dial::{Dialer, Stream};

/// A server that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once: little of what a server says, or much of what it sends.
const READ_BYTES: usize = 16 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It broke, or never came about.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// The server does not want this publisher.
    #[error("the server refuses: {}", .0.description)]
    Refused(Rejection),
}

impl From<SessionError> for Ended {
    fn from(error: SessionError) -> Self {
        Self::Lost(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl From<Elapsed> for Ended {
    fn from(_: Elapsed) -> Self {
        Self::Lost(io::Error::new(io::ErrorKind::TimedOut, "the server takes nothing"))
    }
}

fn closed(why: &str) -> Ended {
    Ended::Lost(io::Error::new(io::ErrorKind::ConnectionAborted, why))
}

/// A connection on which a stream may be sent.
pub struct Link {
    stream: Box<dyn Stream>,
    session: ClientSession,
    /// What the server says it can do.
    server: Capabilities,
    input: BytesMut,
    purpose: Purpose,
    /// What has come of a stream that is played.
    media: Vec<MediaMessage>,
}

impl Link {
    /// Connects, and goes through handshake and commands until the stream may be sent, or is about to come.
    pub async fn open(dialer: &Dialer, url: &ClientUrl, purpose: Purpose) -> Result<Self, Ended> {
        let stream = dialer.dial().await?;
        let config = ClientConfig::new(url.clone(), purpose);
        let session = ClientSession::new(config, rand::rng().random(), std::time::Instant::now());
        let (server, input, media) = (Capabilities::none(), BytesMut::new(), Vec::new());
        let mut link = Self { stream, session, server, input, purpose, media };
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

    /// What the server says it can do beyond RTMP 1.0.
    pub fn server(&self) -> &Capabilities {
        &self.server
    }

    /// Queues a message.
    pub fn send(&mut self, message: MediaMessage) -> Result<(), Ended> {
        self.session.send(message).map_err(|error| closed(&error.to_string()))
    }

    /// What has come of the stream that is played.
    pub fn media(&mut self) -> impl Iterator<Item = MediaMessage> {
        self.media.drain(..)
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
            sent += written?? as u64;
        }
        timeout(WRITE_TIMEOUT, self.stream.flush()).await??;
        Ok(sent)
    }

    /// Ends the stream as encoders do.
    pub async fn close(mut self) {
        self.session.close();
        // Whoever has gone already needs no farewell.
        let _ = self.flush().await;
        let _ = timeout(WRITE_TIMEOUT, self.stream.shutdown()).await;
    }

    /// Hears the server out once, as soon as it says something.
    pub async fn hear(&mut self) -> Result<(), Ended> {
        self.read().await?;
        self.take_events()?;
        self.flush().await?;
        Ok(())
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
        tokio::select! {
            read = self.read() => read.map(|()| true),
            () = sleep_until(at) => Ok(false),
        }
    }

    async fn read(&mut self) -> Result<(), Ended> {
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(closed("the server closed the connection")),
            _ => Ok(()),
        }
    }

    /// Whether the stream may be sent from now on.
    fn take_events(&mut self) -> Result<bool, Ended> {
        let mut is_started = false;
        while let Some(event) = self.session.next(&mut self.input, std::time::Instant::now())? {
            match event {
                ClientEvent::Started { server } => {
                    self.server = server;
                    is_started = true;
                }
                ClientEvent::Rejected(rejection) => return Err(Ended::Refused(rejection)),
                ClientEvent::ReconnectRequested { .. } => return Err(closed("the server asks to connect anew")),
                ClientEvent::Ended => return Err(closed("the server ended the stream")),
                ClientEvent::Media(message) if self.purpose == Purpose::Play => self.media.push(message),
                ClientEvent::Media(_) => {}
            }
        }
        Ok(is_started)
    }
}
