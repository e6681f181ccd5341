//! A small server around sessions on a loopback port, and a client: just enough of a socket side to try them with others.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use playhouse::protocols::rtmp::session::{
    ClientConfig, ClientEvent, ClientSession, MediaMessage, Rejection, SendError, ServerConfig, ServerEvent,
    ServerSession, SessionError, StreamRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the rig does with requests.
#[derive(Clone, Default)]
pub(crate) struct Policy {
    /// Refuses publishers with this.
    pub(crate) rejection: Option<Rejection>,
    /// Sends this to players, then ends.
    pub(crate) recording: Arc<Vec<MediaMessage>>,
}

/// What happened on one connection.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// The last request.
    pub(crate) request: Option<StreamRequest>,
    /// What the peer called itself.
    pub(crate) agent: String,
    /// What was published.
    pub(crate) media: Vec<MediaMessage>,
    /// Whether the peer said that it ends.
    pub(crate) said_end: bool,
    /// Why the session failed.
    pub(crate) error: Option<SessionError>,
    /// All bytes as they came.
    pub(crate) raw: Vec<u8>,
}

/// A server.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    visits: mpsc::UnboundedReceiver<Visit>,
    /// A word for each media message, as soon as it comes.
    pub(crate) progress: mpsc::UnboundedReceiver<()>,
}

impl Rig {
    pub(crate) async fn start(policy: Policy) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (visited, visits) = mpsc::unbounded_channel();
        let (progressed, progress) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (policy, visited, progressed) = (policy.clone(), visited.clone(), progressed.clone());
                tokio::spawn(async move { visited.send(serve(socket, policy, progressed).await) });
            }
        });
        Self { address, visits, progress }
    }

    /// URL of a stream.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.address)
    }

    /// The next connection that has ended.
    pub(crate) async fn visit(&mut self) -> Visit {
        let visit = tokio::time::timeout(Duration::from_secs(60), self.visits.recv()).await;
        visit.expect("a connection ends").expect("the server runs")
    }
}

async fn serve(mut socket: TcpStream, policy: Policy, progress: mpsc::UnboundedSender<()>) -> Visit {
    let mut session = ServerSession::new(ServerConfig::default(), 1, Instant::now());
    let (mut visit, mut input) = (Visit::default(), BytesMut::new());
    let mut recording = None;
    loop {
        loop {
            match session.next(&mut input, Instant::now()) {
                Ok(Some(event)) => {
                    let _ = progress.send(());
                    recording = react(&mut session, event, &policy, &mut visit).or(recording);
                }
                Ok(None) => break,
                Err(error) => {
                    visit.error = Some(error);
                    return visit;
                }
            }
        }
        if let Some(rest) = &mut recording {
            send(&mut session, rest, &policy.recording);
        }
        while session.output().has_remaining() {
            if socket.write_buf(session.output()).await.is_err() {
                return visit;
            }
        }
        if session.is_closing() {
            linger(socket).await;
            return visit;
        }
        if recording.is_some() {
            continue;
        }
        let before = input.len();
        input.reserve(64 << 10);
        match socket.read_buf(&mut input).await {
            Ok(0) | Err(_) => return visit,
            Ok(_) => visit.raw.extend_from_slice(&input[before..]),
        }
    }
}

/// Closes without losing what was sent: a socket closed over unread input resets the connection.
async fn linger(mut socket: TcpStream) {
    let drained = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), drained).await;
}

/// Answers a request. The place in the recording when it is to be played.
fn react(session: &mut ServerSession, event: ServerEvent, policy: &Policy, visit: &mut Visit) -> Option<usize> {
    match event {
        ServerEvent::Connected(info) => visit.agent = info.agent,
        ServerEvent::PublishRequested(request) => {
            visit.request = Some(request);
            match &policy.rejection {
                Some(rejection) => session.reject(rejection).expect("a request"),
                None => session.accept().expect("a request"),
            }
        }
        ServerEvent::PlayRequested(request) => {
            visit.request = Some(request);
            session.accept().expect("a request");
            return Some(0);
        }
        ServerEvent::Media(media) => visit.media.push(media),
        ServerEvent::Ended => visit.said_end = true,
    }
    None
}

/// Queues what fits of the recording, and its end.
fn send(session: &mut ServerSession, next: &mut usize, recording: &[MediaMessage]) {
    while let Some(message) = recording.get(*next) {
        match session.send(message.clone()) {
            Ok(()) => *next += 1,
            Err(SendError::Full(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
    session.end(&Rejection::new("", "The end."));
}

/// Runs a client to its end: sends `media` once it may, or collects what it is sent. All of its events but media, and media.
pub(crate) async fn client(config: ClientConfig, media: &[MediaMessage]) -> (Vec<ClientEvent>, Vec<MediaMessage>) {
    let address = (config.url.host.clone(), config.url.port);
    let mut socket = connect(address).await;
    let mut session = ClientSession::new(config, 2, Instant::now());
    let (mut input, mut events, mut received) = (BytesMut::new(), Vec::new(), Vec::new());
    loop {
        while let Some(event) = session.next(&mut input, Instant::now()).expect("an orderly server") {
            let is_start = matches!(event, ClientEvent::Started { .. });
            match event {
                ClientEvent::Media(media) => received.push(media),
                other => events.push(other),
            }
            if is_start && !media.is_empty() {
                publish(&mut session, &mut socket, media).await;
            }
        }
        socket.write_all_buf(session.output()).await.expect("a server that reads");
        if session.is_closing() || socket.read_buf(&mut input).await.expect("an open connection") == 0 {
            return (events, received);
        }
    }
}

/// Connects to a server that may still be starting.
async fn connect(address: (String, u16)) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(&address).await {
            Ok(socket) => return socket,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn publish(session: &mut ClientSession, socket: &mut TcpStream, media: &[MediaMessage]) {
    for message in media {
        session.send(message.clone()).expect("room");
        socket.write_all_buf(session.output()).await.expect("a server that reads");
    }
    session.close();
}
