//! The handshake (RTMP 1.0 section 5.2), simple and with digests as Flash Player 9 and its servers do it. Incremental: each
//! side takes what has arrived and says what to send. 3073 bytes pass each way, and no more than that are looked at.
mod digest;

use bytes::{Buf, BytesMut};

use super::output::Output;
use digest::{CLIENT_KEY, PACKET_BYTES, Packet, SERVER_KEY, Scheme};

/// The only version in use.
const VERSION: u8 = 3;
/// Version of our client in its first packet: Flash Player 9.0.124.2, the first bytes that servers take for a digest's.
const CLIENT_VERSION: u32 = 0x0900_7c02;
/// Version of our server in its first packet.
const SERVER_VERSION: u32 = 0x0500_0b01;

/// Why a peer's first bytes are no handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A TLS client hello on the clear-text port.
    #[error("the peer speaks TLS, and this port is clear text: use rtmps:// and its port")]
    Tls,
    /// An HTTP request; RTMPT, tunnelling over HTTP, is not offered.
    #[error("the peer speaks HTTP")]
    Http,
    /// RTMPE, whose encryption nobody else uses, or something unknown.
    #[error("version {0} of RTMP is not supported")]
    Version(u8),
}

/// Which kind of handshake was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeKind {
    /// Times and echoes.
    Simple,
    /// Signed with the keys of the Flash Player and its server.
    Digest,
}

/// The server's side.
#[derive(Debug)]
pub struct ServerHandshake {
    random: Random,
    state: ServerState,
}

#[derive(Debug, Clone, Copy)]
enum ServerState {
    First,
    Second(HandshakeKind),
}

impl ServerHandshake {
    /// A handshake that fills its packets from `seed`; they are no secrets.
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), state: ServerState::First }
    }

    /// Takes what has arrived and appends what is to be sent. The kind once it is done; what then is left of `input` are
    /// the first chunks.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut Output,
    ) -> Result<Option<HandshakeKind>, HandshakeError> {
        if let ServerState::First = self.state {
            let Some(packet) = first_packet(input)? else { return Ok(None) };
            self.state = ServerState::Second(self.answer(&packet, output));
        }
        let ServerState::Second(kind) = self.state else { return Ok(None) };
        // The echo is consumed unchecked: encoders are known that send anything.
        if input.len() < PACKET_BYTES {
            return Ok(None);
        }
        input.advance(PACKET_BYTES);
        Ok(Some(kind))
    }

    fn answer(&mut self, client: &Packet, output: &mut Output) -> HandshakeKind {
        output.put(&[VERSION]);
        let mut first = self.random.packet();
        let Some((scheme, client_digest)) = digest::find(client, CLIENT_KEY) else {
            first.set_times(0, 0);
            output.put(first.bytes());
            output.put(client.bytes());
            return HandshakeKind::Simple;
        };
        first.set_times(0, SERVER_VERSION);
        digest::sign(&mut first, scheme, SERVER_KEY);
        let mut second = self.random.packet();
        digest::sign_answer(&mut second, SERVER_KEY, &client_digest);
        output.put(first.bytes());
        output.put(second.bytes());
        HandshakeKind::Digest
    }
}

/// The client's side.
#[derive(Debug)]
pub struct ClientHandshake {
    random: Random,
    state: ClientState,
}

#[derive(Debug, Clone, Copy)]
enum ClientState {
    Unsent,
    First,
    Second(HandshakeKind),
}

impl ClientHandshake {
    /// A handshake that fills its packets from `seed`; they are no secrets.
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), state: ClientState::Unsent }
    }

    /// Takes what has arrived and appends what is to be sent: the first call starts the handshake. The kind once it is done.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut Output,
    ) -> Result<Option<HandshakeKind>, HandshakeError> {
        if let ClientState::Unsent = self.state {
            let mut first = self.random.packet();
            first.set_times(0, CLIENT_VERSION);
            digest::sign(&mut first, Scheme::Late, CLIENT_KEY);
            output.put(&[VERSION]);
            output.put(first.bytes());
            self.state = ClientState::First;
        }
        if let ClientState::First = self.state {
            let Some(packet) = first_packet(input)? else { return Ok(None) };
            self.state = ClientState::Second(self.answer(&packet, output));
        }
        let ClientState::Second(kind) = self.state else { return Ok(None) };
        if input.len() < PACKET_BYTES {
            return Ok(None);
        }
        input.advance(PACKET_BYTES);
        Ok(Some(kind))
    }

    fn answer(&mut self, server: &Packet, output: &mut Output) -> HandshakeKind {
        let Some((_, server_digest)) = digest::find(server, SERVER_KEY) else {
            output.put(server.bytes());
            return HandshakeKind::Simple;
        };
        let mut second = self.random.packet();
        digest::sign_answer(&mut second, CLIENT_KEY, &server_digest);
        output.put(second.bytes());
        HandshakeKind::Digest
    }
}

/// The version and the packet after it, once they are there. What is no handshake is refused at its first byte.
fn first_packet(input: &mut BytesMut) -> Result<Option<Packet>, HandshakeError> {
    match input.first() {
        None => return Ok(None),
        Some(&VERSION) => {}
        Some(0x16) => return Err(HandshakeError::Tls),
        Some(b'A'..=b'Z') => return Err(HandshakeError::Http),
        Some(&version) => return Err(HandshakeError::Version(version)),
    }
    let Some(packet) = input.get(1..).and_then(Packet::read) else { return Ok(None) };
    input.advance(1 + PACKET_BYTES);
    Ok(Some(packet))
}

/// Filler for packets: splitmix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn packet(&mut self) -> Packet {
        let mut packet = Packet::zeros();
        packet.fill(|| self.next());
        packet
    }
}

#[cfg(test)]
mod tests;
