//! Handshakes of callers: the first packet is answered without anything being kept, the second one brings what they want.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use srt_protocol::connection::Connection;
use srt_protocol::listener::AccessControlResponse;
use srt_protocol::options::{KeySize, Passphrase as ProtocolPassphrase, SocketOptions};
use srt_protocol::packet::{
    CipherType, ControlPacket, ControlTypes, CoreRejectReason, HandshakeControlInfo, HandshakeVsInfo, HsV5Info, Packet,
    RejectReason, ShakeType, SocketId, SrtControlPacket, TimeStamp,
};
use srt_protocol::protocol::pending_connection::listen::Listen;
use srt_protocol::protocol::pending_connection::{ConnectionReject, ConnectionResult};
use srt_protocol::settings::{ConnInitSettings, KeySettings};

use super::wire::LISTENER;
use crate::domain::live::Passphrase;

/// Reason of rejections over a way of encryption that is not known here (`SRT_REJ_CRYPTO`).
const CRYPTO: RejectReason = RejectReason::CoreUnrecognized(1017);

/// A datagram of this packet.
pub(super) fn datagram(packet: &Packet) -> Bytes {
    let mut out = BytesMut::new();
    packet.serialize(&mut out);
    out.freeze()
}

fn read(mut datagram: Bytes, address: SocketAddr) -> Option<(ControlPacket, HandshakeControlInfo)> {
    let Packet::Control(control) = Packet::parse(&mut datagram, address.is_ipv6()).ok()? else { return None };
    let shake = control.handshake()?.clone();
    Some((control, shake))
}

/// The answer to a caller's first packet: it is to show this cookie.
pub(super) fn induction_reply(first: Bytes, address: SocketAddr, cookie: u32) -> Option<Bytes> {
    let (control, shake) = read(first, address)?;
    let answer = HandshakeControlInfo {
        syn_cookie: cookie.cast_signed(),
        socket_id: SocketId(LISTENER),
        info: HandshakeVsInfo::V5(HsV5Info::default()),
        ..shake.clone()
    };
    let control_type = ControlTypes::Handshake(answer);
    Some(datagram(&ControlPacket { dest_sockid: shake.socket_id, control_type, ..control }.into()))
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// Its media are not encrypted and have to be.
    #[error("the stream has a passphrase, and the caller does not encrypt")]
    Unencrypted,
    /// The other way round.
    #[error("the caller encrypts, and the stream has no passphrase")]
    Encrypted,
    /// It has another passphrase.
    #[error("the caller has another passphrase than the stream")]
    WrongPassphrase,
    /// It does not encrypt by AES-CTR.
    #[error("the caller encrypts in a way that is not known here")]
    UnknownCipher,
    /// It speaks in a way that is not understood.
    #[error("the caller's handshake cannot be used")]
    Malformed,
}

impl Unfit {
    pub(super) fn reason(self) -> RejectReason {
        match self {
            Self::Unencrypted | Self::Encrypted => CoreRejectReason::Unsecure.into(),
            Self::WrongPassphrase => CoreRejectReason::BadSecret.into(),
            Self::UnknownCipher => CRYPTO,
            Self::Malformed => CoreRejectReason::Rogue.into(),
        }
    }
}

/// A caller's second packet.
pub(super) struct Conclusion {
    control: ControlPacket,
    shake: HandshakeControlInfo,
    info: HsV5Info,
    address: SocketAddr,
    local: u32,
}

impl Conclusion {
    /// `None` when it is none. `local` is the connection's number.
    pub(super) fn read(second: Bytes, address: SocketAddr, local: u32) -> Option<Self> {
        let (control, shake) = read(second, address)?;
        let HandshakeVsInfo::V5(info) = shake.info.clone() else { return None };
        Some(Self { control, shake, info, address, local })
    }

    /// What the caller wants; empty when it does not say.
    pub(super) fn stream_id(&self) -> &str {
        self.info.sid.as_deref().unwrap_or_default().trim_end_matches('\0')
    }

    /// The time on the caller's clock when it sent this.
    pub(super) fn sent_at(&self) -> TimeStamp {
        self.control.timestamp
    }

    /// Its program, as far as it says.
    pub(super) fn agent(&self) -> String {
        match &self.info.ext_hs {
            Some(SrtControlPacket::HandshakeRequest(hello)) => format!("SRT {}", hello.version),
            _ => String::new(),
        }
    }

    /// The datagram that tells the caller why it is not let in.
    pub(super) fn rejection(&self, reason: RejectReason) -> Bytes {
        self.answer(HandshakeControlInfo { shake_type: ShakeType::Rejection(reason), ..self.shake.clone() })
    }

    fn answer(&self, shake: HandshakeControlInfo) -> Bytes {
        let shake = HandshakeControlInfo { socket_id: SocketId(self.local), ..shake };
        let (dest_sockid, control_type) = (self.shake.socket_id, ControlTypes::Handshake(shake));
        datagram(&ControlPacket { dest_sockid, control_type, ..self.control.clone() }.into())
    }

    /// What the caller's media are encrypted with, if they are and may be.
    fn key_settings(&mut self, passphrase: Option<&Passphrase>) -> Result<Option<KeySettings>, Unfit> {
        let material = match (&self.info.ext_km, passphrase) {
            (None, None) => {
                let is_said = self.info.key_size != KeySize::Unspecified;
                return if is_said { Err(Unfit::Encrypted) } else { Ok(None) };
            }
            (Some(_), None) => return Err(Unfit::Encrypted),
            (None, Some(_)) => return Err(Unfit::Unencrypted),
            (Some(SrtControlPacket::KeyRefreshRequest(material)), Some(_)) => material,
            (Some(_), Some(_)) => return Err(Unfit::Malformed),
        };
        if material.cipher != CipherType::Ctr {
            return Err(Unfit::UnknownCipher);
        }
        if self.info.key_size == KeySize::Unspecified {
            // One key, behind eight bytes.
            let told = u16::try_from(material.wrapped_keys.len().saturating_sub(8)).unwrap_or(0);
            self.info.key_size = KeySize::try_from(told).map_err(|_| Unfit::Malformed)?;
        }
        let text = passphrase.map(|passphrase| passphrase.as_str().to_owned()).unwrap_or_default();
        let passphrase = ProtocolPassphrase::try_from(text).map_err(|_| Unfit::WrongPassphrase)?;
        Ok(Some(KeySettings { key_size: self.info.key_size, passphrase }))
    }

    /// Latencies of what the caller sends and of what it receives: at least this one, or longer if it wants that. It is told what
    /// was agreed on, since it goes by that.
    fn latencies(&self, least: Duration) -> (Duration, Duration) {
        match &self.info.ext_hs {
            Some(SrtControlPacket::HandshakeRequest(wanted)) => {
                (least.max(wanted.send_latency), least.max(wanted.recv_latency))
            }
            _ => (least, least),
        }
    }

    /// Accepts the caller, who then has at least this latency: the connection, and the datagram that tells it.
    pub(super) fn accept(
        &mut self,
        passphrase: Option<&Passphrase>,
        latency: Duration,
        now: Instant,
    ) -> Result<(Connection, Bytes), Unfit> {
        let key_settings = self.key_settings(passphrase)?;
        let mut options = SocketOptions::default();
        (options.receiver.latency, options.sender.peer_latency) = self.latencies(latency);
        let settings = ConnInitSettings { local_sockid: SocketId(self.local), ..ConnInitSettings::from(options) };
        let mut listen = Listen::new(settings, true);
        // The machine wants to have seen the first packet, and makes a cookie of its own.
        let first = HandshakeControlInfo { shake_type: ShakeType::Induction, ..self.shake.clone() };
        let cookie = match listen.handle_packet(now, Ok((self.packet(first), self.address))) {
            ConnectionResult::SendPacket((Packet::Control(reply), _)) => {
                reply.handshake().map(|shake| shake.syn_cookie)
            }
            _ => None,
        };
        let info = HandshakeVsInfo::V5(self.info.clone());
        let syn_cookie = cookie.ok_or(Unfit::Malformed)?;
        let second = HandshakeControlInfo { syn_cookie, info, ..self.shake.clone() };
        let asked = listen.handle_packet(now, Ok((self.packet(second), self.address)));
        if !matches!(asked, ConnectionResult::RequestAccess(_)) {
            return Err(Unfit::Malformed);
        }
        match listen.handle_access_control_response(now, AccessControlResponse::Accepted(key_settings)) {
            ConnectionResult::Connected(Some((reply, _)), connection) => Ok((connection, datagram(&reply))),
            ConnectionResult::Reject(_, ConnectionReject::Rejecting(reason)) => Err(unfit_of(reason)),
            _ => Err(Unfit::Malformed),
        }
    }

    fn packet(&self, shake: HandshakeControlInfo) -> Packet {
        ControlPacket { control_type: ControlTypes::Handshake(shake), ..self.control.clone() }.into()
    }
}

fn unfit_of(reason: RejectReason) -> Unfit {
    match reason {
        RejectReason::Core(CoreRejectReason::BadSecret) => Unfit::WrongPassphrase,
        RejectReason::Core(CoreRejectReason::Unsecure) => Unfit::Unencrypted,
        _ => Unfit::Malformed,
    }
}
