//! Calls to listeners elsewhere, which are sent a stream as readers here are.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use rand::RngExt;
use srt_protocol::connection::Connection;
use srt_protocol::options::{KeySize, Passphrase as ProtocolPassphrase, SocketOptions};
use srt_protocol::packet::{ControlPacket, Packet, RejectReason, SeqNumber, SocketId, TimeStamp};
use srt_protocol::protocol::pending_connection::connect::Connect;
use srt_protocol::protocol::pending_connection::{ConnectionReject, ConnectionResult};
use srt_protocol::settings::{ConnInitSettings, KeySettings};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::handshake::datagram;
use super::reader::{Reader, Reading};
use super::receiver::{Receiver, Receiving};
use super::server::{BATCH, Caller, Ended, say_goodbye};
use super::wire::LISTENER;
use crate::domain::live::Passphrase;
use crate::domain::ports::Clock;
use crate::media::live::gate::Feed;
use crate::media::live::programme::Programme;
use crate::media::live::stream::LiveStream;
use crate::protocols::dial::resolve;

/// How long a listener may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Time after which what was not answered is said again (as libsrt has it).
const AGAIN_EVERY: Duration = Duration::from_millis(250);
/// Longest datagram.
const DATAGRAM_BYTES_MAX: usize = 1500;

/// Why text is no URL of a listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallUrlError {
    /// Another scheme.
    #[error("not an srt:// URL")]
    Scheme,
    /// No host, or a port that is no number.
    #[error("no host and port")]
    Host,
    /// It wants to be called.
    #[error("the mode has to be caller")]
    Mode,
    /// What the protocol does not take.
    #[error("the passphrase must be 10 to 79 characters")]
    Passphrase,
    /// Keys of another length than AES has.
    #[error("pbkeylen must be 16, 24 or 32")]
    KeyLength,
}

/// A listener: `srt://host:port?streamid=…&passphrase=…&pbkeylen=…`, as ffmpeg and OBS take it.
#[derive(Clone, PartialEq, Eq)]
pub struct CallUrl {
    /// Host name or address, without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// What the listener is told that is wanted.
    pub stream_id: Option<String>,
    passphrase: Option<Passphrase>,
    key_size: KeySize,
}

impl std::fmt::Debug for CallUrl {
    /// Without the parts that may be a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallUrl").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl CallUrl {
    /// Reads a URL. Parameters that do not matter to a caller who sends are left out; the latency is this server's, or the
    /// listener's where that is longer.
    pub fn parse(url: &str) -> Result<Self, CallUrlError> {
        let rest = url.strip_prefix("srt://").ok_or(CallUrlError::Scheme)?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, port) = authority.trim_end_matches('/').rsplit_once(':').ok_or(CallUrlError::Host)?;
        let port = port.parse().map_err(|_| CallUrlError::Host)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(CallUrlError::Host);
        }
        let mut found = Self { host, port, stream_id: None, passphrase: None, key_size: KeySize::AES128 };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode_str(value).decode_utf8_lossy();
            match name {
                "mode" if value != "caller" => return Err(CallUrlError::Mode),
                "streamid" | "srt_streamid" => found.stream_id = Some(value.into_owned()),
                "passphrase" => {
                    found.passphrase = Some(Passphrase::parse(value).map_err(|_| CallUrlError::Passphrase)?);
                }
                "pbkeylen" => {
                    let length = value.parse::<u16>().ok().filter(|length| *length > 0);
                    let length = length.and_then(|length| KeySize::try_from(length).ok());
                    found.key_size = length.ok_or(CallUrlError::KeyLength)?;
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn settings(&self, latency: Duration) -> Result<ConnInitSettings, CallError> {
        let mut options = SocketOptions::default();
        (options.receiver.latency, options.sender.peer_latency) = (latency, latency);
        let key_settings = match &self.passphrase {
            Some(passphrase) => {
                let passphrase = ProtocolPassphrase::try_from(passphrase.as_str().to_owned());
                Some(KeySettings { key_size: self.key_size, passphrase: passphrase.map_err(|_| CallError::Malformed)? })
            }
            None => None,
        };
        // Numbers up to the port's own mean the port itself.
        let number = rand::rng().random_range(LISTENER + 1..1 << 30);
        Ok(ConnInitSettings { local_sockid: SocketId(number), key_settings, ..ConnInitSettings::from(options) })
    }
}

/// Why a call ended.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The network does not take it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nobody is there, or nobody who speaks SRT.
    #[error("nothing answered within {} s", ANSWER_WITHIN.as_secs())]
    NoAnswer,
    /// The listener says no.
    #[error("the server refuses: {0}")]
    Rejected(RejectReason),
    /// The listener answers in a way that cannot be used.
    #[error("the server's answer cannot be used")]
    Malformed,
    /// It did not go on.
    #[error("{0}")]
    Ended(String),
}

impl From<Ended> for CallError {
    fn from(ended: Ended) -> Self {
        Self::Ended(match ended {
            Ended::Left => "the server hung up".to_owned(),
            Ended::Stopping => "the socket was closed".to_owned(),
            other => other.to_string(),
        })
    }
}

/// A listener that has taken the call.
struct Taken {
    connection: Connection,
    /// What the listener takes for our clock, and since when.
    clock: (TimeStamp, Instant),
    caller: Caller,
    receiving: AbortOnDropHandle<()>,
}

impl Taken {
    async fn by(url: &CallUrl, (latency, is_public_only): (Duration, bool)) -> Result<Self, CallError> {
        let addresses = resolve((&url.host, url.port), is_public_only).await?;
        let address = *addresses.first().ok_or(CallError::NoAnswer)?;
        let unspecified = match address {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind((unspecified, 0)).await?;
        socket.connect(address).await?;
        let handshake = shake_hands(&socket, address, url, latency);
        let answered = tokio::time::timeout(ANSWER_WITHIN, handshake).await;
        let (connection, clock, accepted) = answered.map_err(|_| CallError::NoAnswer)??;
        let socket = Arc::new(socket);
        let (datagrams, receiver) = mpsc::channel(BATCH * 4);
        let receiving = AbortOnDropHandle::new(tokio::spawn(receive(Arc::clone(&socket), datagrams)));
        let number = connection.settings.local_sockid.0;
        let caller = Caller { socket, address, number, datagrams: receiver };
        Ok(Self { connection, clock: (clock, accepted), caller, receiving })
    }
}

/// A listener that is sent a stream.
pub struct Call {
    reader: Reader,
    _receiving: AbortOnDropHandle<()>,
}

impl Call {
    /// Calls, to send this stream; `tell` hears once a second how many bytes were sent.
    pub async fn open(
        url: &CallUrl,
        conditions: (Duration, bool),
        stream: &Arc<LiveStream>,
        mut tell: impl FnMut(u64) + Send + 'static,
    ) -> Result<Self, CallError> {
        let programme = Programme::of(stream);
        programme.pull(Instant::now()).map_err(|not_carried| CallError::Ended(not_carried.to_string()))?;
        let Taken { connection, clock: (clock, accepted), caller, receiving } = Taken::by(url, conditions).await?;
        let watch = Box::new(move |sent: super::sender::Sent| {
            tell(sent.bytes);
            Ok(None)
        });
        let reading = Reading { programme, watch, clock, accepted };
        Ok(Self { reader: Reader::new(caller, (connection, None), reading), _receiving: receiving })
    }

    /// Sends until the stream is over.
    pub async fn run(&mut self) -> Result<(), CallError> {
        match self.reader.run().await {
            Ended::Over => Ok(()),
            ended => Err(ended.into()),
        }
    }

    /// Tells the listener that nothing more comes.
    pub async fn close(self) {
        say_goodbye(self.reader.caller(), self.reader.settings()).await;
    }
}

/// A listener that sends a stream.
pub struct Fetch {
    taken: Taken,
}

impl Fetch {
    /// Calls, to be sent what the URL names; with at least this latency, and the public internet alone if so.
    pub async fn open(url: &CallUrl, conditions: (Duration, bool)) -> Result<Self, CallError> {
        Ok(Self { taken: Taken::by(url, conditions).await? })
    }

    /// Feeds a stream with what comes, until it ends or `stop` does.
    pub async fn run(
        self,
        (feed, clock): (Feed, Arc<dyn Clock>),
        silence_max: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<(), CallError> {
        let Taken { connection, caller, receiving: _receiving, .. } = self.taken;
        let mut receiver = Receiver::new(caller, (connection, None), Receiving { feed, clock, silence_max });
        let ended = tokio::select! {
            ended = receiver.run() => Err(ended.into()),
            () = stop => Ok(()),
        };
        say_goodbye(receiver.caller(), receiver.settings()).await;
        ended
    }
}

/// The connection, what the listener takes for our clock, and since when.
async fn shake_hands(
    socket: &UdpSocket,
    address: SocketAddr,
    url: &CallUrl,
    latency: Duration,
) -> Result<(Connection, TimeStamp, Instant), CallError> {
    let (settings, first) = (url.settings(latency)?, SeqNumber::new_truncate(rand::rng().random()));
    let local = socket.local_addr()?.ip();
    let mut connect = Connect::new(address, local, settings, url.stream_id.clone(), first);
    let mut result = connect.handle_tick(Instant::now());
    let mut said = (TimeStamp::from_micros(0), Instant::now());
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match result {
            ConnectionResult::SendPacket((packet, _)) => {
                if let Packet::Control(ControlPacket { timestamp, .. }) = &packet {
                    said = (*timestamp, Instant::now());
                }
                socket.send(&datagram(&packet)).await?;
            }
            ConnectionResult::Connected(_, connection) => return Ok((connection, said.0, said.1)),
            ConnectionResult::Reject(_, ConnectionReject::Rejected(reason) | ConnectionReject::Rejecting(reason)) => {
                return Err(CallError::Rejected(reason));
            }
            ConnectionResult::Failure(error) => return Err(error.into()),
            ConnectionResult::NotHandled(_) | ConnectionResult::NoAction | ConnectionResult::RequestAccess(_) => {}
        }
        result = tokio::select! {
            received = socket.recv(&mut bytes) => {
                let mut answer = Bytes::copy_from_slice(bytes.get(..received?).unwrap_or_default());
                match Packet::parse(&mut answer, address.is_ipv6()) {
                    Ok(packet @ Packet::Control(_)) => connect.handle_packet(Ok((packet, address)), Instant::now()),
                    _ => ConnectionResult::NoAction,
                }
            }
            () = tokio::time::sleep(AGAIN_EVERY) => connect.handle_tick(Instant::now()),
        };
    }
}

/// What comes from the listener.
async fn receive(socket: Arc<UdpSocket>, datagrams: mpsc::Sender<Bytes>) {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv(&mut bytes).await {
            Ok(length) => {
                let datagram = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
                if datagrams.send(datagram).await.is_err() {
                    return;
                }
            }
            // Nobody listens any more; whether that lasts, the silence tells.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => tokio::time::sleep(AGAIN_EVERY).await,
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url =
            CallUrl::parse("srt://[::1]:9000?mode=caller&streamid=%23!::r=live/key,m=publish&latency=200000").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 9000));
        assert_eq!(url.stream_id.as_deref(), Some("#!::r=live/key,m=publish"));
        let url = CallUrl::parse("srt://host:1/?streamid=publish:key&passphrase=correct-horse&pbkeylen=32").unwrap();
        assert_eq!((url.stream_id.as_deref(), url.key_size), (Some("publish:key"), KeySize::AES256));
        assert!(url.passphrase.is_some() && !format!("{url:?}").contains("key"));
        for (text, error) in [
            ("rtmp://host:1/a", CallUrlError::Scheme),
            ("srt://host", CallUrlError::Host),
            ("srt://:9000", CallUrlError::Host),
            ("srt://host:x", CallUrlError::Host),
            ("srt://host:1?mode=listener", CallUrlError::Mode),
            ("srt://host:1?passphrase=short", CallUrlError::Passphrase),
            ("srt://host:1?pbkeylen=17", CallUrlError::KeyLength),
        ] {
            assert_eq!(CallUrl::parse(text), Err(error), "{text}");
        }
    }
}
