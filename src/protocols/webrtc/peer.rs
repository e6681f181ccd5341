//! One WebRTC connection as a machine without sockets, tasks or a clock: it answers an offer, receives media or sends them, and is
//! driven by whoever has its datagrams and knows the time. This side is ICE-lite (RFC 8445, section 2.5): it answers checks at the
//! addresses it tells, and sends to where they come from, so that nothing of what a client tells of its own addresses is used.
//!
//! After each call that takes something ([`Peer::take`], [`Peer::on_timer`], what is sent), [`Peer::next_datagram`] and
//! [`Peer::next_event`] are to be asked until they have nothing more.
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::interceptor::{
    CongestionControlBuilder, Gcc, NackResponderBuilder, ReceiverReportBuilder, Registry, Slot, TwccReceiverBuilder,
    TwccSenderBuilder,
};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::{SettingEngine, SettingEngineBuilder};
use rtc::peer_connection::event::{RTCPeerConnectionEvent, RTCTrackEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{
    CandidateConfig, CandidateHostConfig, RTCDtlsRole, RTCIceCandidate, RTCIceCandidateInit,
};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtc::rtp::extension::playout_delay_extension::{PLAYOUT_DELAY_MAX_VALUE, PlayoutDelayExtension};
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::marshal::Marshal;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

mod call;
mod control;
mod resending;

pub use call::Call;
pub use control::Control;
use control::Heard;
use resending::Resending;
pub use rtc::rtp::Packet as RtpPacket;

use super::mux::Arrived;
use super::wire::candidates::reached_by_tcp;
use super::wire::offer::{Choice, Codec, Credentials, Media, Offer, Section};
use super::wire::{Path, is_good_check};

/// A client of which nothing good comes for this long is gone: no check, no media (RFC 7675, section 5.1).
const GONE_AFTER: Duration = Duration::from_secs(30);
/// How often receivers are told what came (RFC 3550 has 5 s; browsers adapt faster with more).
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Bits a second that a path is believed to carry at first, at least and at most: more than streams have, until it shows that it does
/// not.
const ESTIMATE: (f64, f64, f64) = (2e7, 1e5, 5e7);
/// What this side calls itself in feedback: it has no source of its own when it receives.
const OWN_SOURCE: u32 = 1;
/// Names all that one client is sent: it plays sources of one name in step. A name of five letters ends at a word of 32 bits: the
/// machine fills up others with a count where there have to be zeros (RFC 3550, section 6.5), and strict receivers then take none
/// of the reports beside it.
const STREAM: &str = "house";
const _: () = assert!((4 + 2 + STREAM.len() + 1).is_multiple_of(4));
/// Extensions of RTP's head that are understood.
const TRANSPORT_SEQUENCE: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// In which delays are told by that.
const DELAY_UNIT: Duration = Duration::from_millis(10);
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const LAYER: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";

/// Why an offer cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the offer cannot be answered: {0}")]
pub struct Unanswerable(String);

impl From<rtc::shared::error::Error> for Unanswerable {
    fn from(error: rtc::shared::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// What happens with a connection.
#[derive(Debug)]
pub enum PeerEvent {
    /// Media can flow.
    Connected,
    /// It is over: the other side has left, or has not been heard of for long.
    Gone,
    /// A packet of the one of [`Peer::incoming`] with this number; what was sent again looks like what had been lost.
    Rtp(usize, RtpPacket, Instant),
    /// The other side tells something about media.
    Control(Control),
}

/// What comes: a section's media, or one layer of them.
struct Incoming {
    section: usize,
    /// Its name.
    layer: Option<String>,
    /// Source of the layer's packets, once some have come: only the first ones name the layer.
    ssrc: Option<u32>,
}

impl Incoming {
    fn of(offer: &Offer) -> Vec<Self> {
        let of_section = |(section, it): (usize, &Section)| {
            let layers: Vec<_> = it.layers.iter().cloned().map(Some).collect();
            let layers = if layers.is_empty() { vec![None] } else { layers };
            layers.into_iter().map(move |layer| Self { section, layer, ssrc: None })
        };
        offer.sections.iter().enumerate().flat_map(of_section).collect()
    }
}

/// A source of media that this side sends: one section's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// SSRC of its packets.
    pub ssrc: u32,
    /// SSRC of those sent again, used when the other side knows such ones.
    pub repair_ssrc: u32,
}

/// What is told of a source that this side sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// SSRC of its packets.
    pub ssrc: u32,
    /// Seconds since 1900, with 32 bits of fraction.
    pub ntp: u64,
    /// The same instant by the clock of its packets.
    pub rtp: u32,
    /// Packets that it has sent.
    pub packets: u32,
    /// Bytes of their payloads.
    pub bytes: u32,
}

/// What the media do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// They come from the client.
    Receive,
    /// They go to it, from these sources, one for each section.
    Send(Vec<Source>),
}

/// A connection.
pub struct Peer {
    machine: RTCPeerConnection,
    offer: Offer,
    choices: Vec<Choice>,
    incoming: Vec<Incoming>,
    advertised: Vec<SocketAddr>,
    senders: Vec<RTCRtpSenderId>,
    /// Number of the extension by which receivers are told how long to hold pictures, if they take it, and what they are told.
    hold: (Option<u8>, Option<Bytes>),
    heard: Heard,
    path: Path,
    /// The newest time that it was told, and when anything good came last.
    now: Instant,
    good: Instant,
    is_gone: bool,
    told_connected: bool,
}

/// What clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The description.
    pub description: String,
    /// What this side calls itself: the first half of the user name in the client's checks.
    pub name: String,
    /// What their checks are signed with.
    pub password: String,
}

impl Peer {
    /// Answers an offer with these choices, one for each section; this side is reached at `advertised`.
    pub fn answer(
        offer: Offer,
        (choices, flow): (Vec<Choice>, Flow),
        advertised: &[SocketAddr],
        now: Instant,
    ) -> Result<(Self, Answer), Unanswerable> {
        if choices.len() != offer.sections.len() {
            return Err(Unanswerable("not every section has a format that is known here".into()));
        }
        let heard = Heard::default();
        let settings = SettingEngineBuilder::new()
            .with_lite(true)
            .with_include_loopback_candidate(true)
            // The client's hello comes when its checks have passed.
            .with_answering_dtls_role(RTCDtlsRole::Server)
            // Who is gone is judged here: the machine looks at the first path alone, and clients move.
            .with_ice_timeouts(Some(Duration::ZERO), Some(Duration::ZERO), None)
            .build();
        let machine = machine(&choices, settings, registry(&heard, &flow), now)?;
        let advertised = advertised.to_vec();
        let mut peer = Self {
            machine,
            incoming: Incoming::of(&offer),
            offer,
            choices,
            advertised,
            senders: Vec::new(),
            hold: (None, None),
            heard,
            path: Path::default(),
            now,
            good: now,
            is_gone: false,
            told_connected: false,
        };
        let answer = peer.negotiate(&flow, now)?;
        Ok((peer, answer))
    }

    /// The client starts ICE anew with these credentials. Media go on meanwhile.
    pub fn restart(&mut self, credentials: Credentials, now: Instant) -> Result<Answer, Unanswerable> {
        self.offer = self.offer.clone().restarted(credentials);
        self.negotiate(&Flow::Receive, now)
    }

    /// Under which words the client's checks come now.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// What was chosen for each section.
    pub fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// What was chosen for each of what comes: for a section's media, or for each of the layers that they come in.
    pub fn incoming(&self) -> Vec<Choice> {
        self.incoming.iter().filter_map(|one| self.choices.get(one.section)).cloned().collect()
    }

    /// What a packet is of. Each section has a payload type of its own: the client has one transport for all of them.
    fn incoming_of(&self, packet: &RtpPacket) -> Option<usize> {
        let kind = packet.header.payload_type;
        let section = self.choices.iter().position(|choice| choice.format.payload_type == kind)?;
        let is_it =
            |one: &Incoming| one.section == section && (one.layer.is_none() || one.ssrc == Some(packet.header.ssrc));
        self.incoming.iter().position(is_it)
    }

    fn negotiate(&mut self, flow: &Flow, now: Instant) -> Result<Answer, Unanswerable> {
        let narrowed = self.offer.narrowed(&self.choices);
        self.machine.set_remote_description(now, RTCSessionDescription::offer(narrowed)?)?;
        if let Flow::Send(sources) = flow {
            for (number, (choice, source)) in self.choices.iter().zip(sources).enumerate() {
                self.senders.push(self.machine.add_track(track(number, choice, *source))?);
            }
        }
        for address in &self.advertised {
            self.machine.add_local_candidate(host_candidate(*address)?)?;
        }
        self.machine.add_local_candidate(RTCIceCandidateInit::default())?;
        let answer = self.machine.create_answer(None)?;
        self.machine.set_local_description(now, answer)?;
        self.machine.add_local_candidate(RTCIceCandidateInit::default())?;
        let description =
            self.machine.local_description().ok_or_else(|| Unanswerable("there is no answer".into()))?.sdp;
        self.hold.0 = number_of_extension(&description, PLAYOUT_DELAY);
        read_answer(reached_by_tcp(&description, &self.advertised))
    }

    /// Takes a datagram.
    pub fn take(&mut self, arrived: Arrived) {
        let local = self.advertised.iter().find(|own| own.is_ipv4() == arrived.from.is_ipv4());
        let Some(local_addr) = local.or(self.advertised.first()).copied() else { return };
        let transport = TransportContext {
            local_addr,
            peer_addr: arrived.from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        self.now = self.now.max(arrived.at);
        if is_good_check(&arrived.bytes) {
            self.good = self.now;
        }
        self.path.note(&arrived.bytes, arrived.from);
        let message = BytesMut::from(arrived.bytes);
        if let Err(error) = self.machine.handle_read(TaggedBytesMut { now: arrived.at, transport, message }) {
            tracing::debug!(%error, "a datagram cannot be used");
        }
    }

    /// Tells it the time, when [`Peer::next_timer`] has passed.
    pub fn on_timer(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if let Err(error) = self.machine.handle_timeout(now) {
            tracing::debug!(%error, "nothing is done in time");
        }
    }

    /// When it has to be told the time next.
    pub fn next_timer(&mut self) -> Option<Instant> {
        let gone = (!self.is_gone).then(|| self.good + GONE_AFTER);
        [self.machine.poll_timeout(), gone].into_iter().flatten().min()
    }

    /// The next datagram to send, and where to.
    pub fn next_datagram(&mut self) -> Option<(BytesMut, SocketAddr)> {
        let datagram = self.machine.poll_write()?;
        if is_good_check(&datagram.message) {
            self.good = self.now;
        }
        let to = self.path.way(&datagram.message, datagram.transport.peer_addr);
        Some((datagram.message, to))
    }

    /// What has happened next.
    pub fn next_event(&mut self) -> Option<PeerEvent> {
        let event = self.next_of_machine();
        if matches!(event, Some(PeerEvent::Rtp(..) | PeerEvent::Control(_))) {
            self.good = self.now;
        } else if event.is_none() && !self.is_gone && self.now >= self.good + GONE_AFTER {
            self.is_gone = true;
            return Some(PeerEvent::Gone);
        }
        event
    }

    fn next_of_machine(&mut self) -> Option<PeerEvent> {
        while let Some(event) = self.machine.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                    RTCPeerConnectionState::Connected if !self.told_connected => {
                        self.told_connected = true;
                        return Some(PeerEvent::Connected);
                    }
                    RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => return Some(PeerEvent::Gone),
                    _ => {}
                },
                RTCPeerConnectionEvent::OnTrack(RTCTrackEvent::OnOpen(opened)) => {
                    let layer = self.incoming.iter_mut().find(|one| one.layer.is_some() && one.layer == opened.rid);
                    if let Some(layer) = layer {
                        layer.ssrc = Some(opened.ssrc);
                    }
                }
                _ => {}
            }
        }
        if let Some(control) = self.heard.next() {
            return Some(PeerEvent::Control(control));
        }
        while let Some(TaggedRTCMessage { now, message }) = self.machine.poll_read() {
            let RTCMessage::RtpPacket(_, packet) = message else { continue };
            if let Some(number) = self.incoming_of(&packet) {
                return Some(PeerEvent::Rtp(number, packet, now));
            }
        }
        None
    }

    /// Sends a packet of the section with this number; its payload type and source are set here. `false` when it cannot be.
    pub fn send(&mut self, (section, ssrc): (usize, u32), mut packet: RtpPacket, now: Instant) -> bool {
        let (Some(choice), Some(sender)) = (self.choices.get(section), self.senders.get(section)) else { return false };
        packet.header.payload_type = choice.format.payload_type;
        packet.header.ssrc = ssrc;
        if let (Some(number), Some(told)) = &self.hold
            && choice.codec.media() == Media::Video
        {
            // A number that was agreed upon, and three bytes.
            let _ = packet.header.set_extension(*number, told.clone());
        }
        let Some(mut sender) = self.machine.rtp_sender(*sender) else { return false };
        sender.write_rtp(now, packet).is_ok()
    }

    /// Has the receiver hold pictures, and the sound that belongs to them, for so long at least before they are played, if it
    /// takes that: what is lost meanwhile can be sent again. Told with the pictures from now on.
    pub fn hold(&mut self, delay: Duration) {
        let units = u16::try_from(delay.as_millis() / DELAY_UNIT.as_millis()).unwrap_or(PLAYOUT_DELAY_MAX_VALUE);
        let min_delay = units.min(PLAYOUT_DELAY_MAX_VALUE);
        self.hold.1 =
            PlayoutDelayExtension { min_delay, max_delay: PLAYOUT_DELAY_MAX_VALUE }.marshal().ok().map(Into::into);
    }

    /// Tells what the clock of a source that this side sends says at an instant: receivers bring all sources to one clock by that.
    /// All of them are one person's, by the name that the answer told.
    pub fn report(&mut self, told: Told, now: Instant) {
        let Told { ssrc, ntp: ntp_time, rtp: rtp_time, packets: packet_count, bytes: octet_count } = told;
        let report = SenderReport { ssrc, ntp_time, rtp_time, packet_count, octet_count, ..Default::default() };
        let items = vec![SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: STREAM.into() }];
        let description = SourceDescription { chunks: vec![SourceDescriptionChunk { source: ssrc, items }] };
        self.tell(vec![Box::new(report), Box::new(description)], now);
    }

    /// Asks the sender of this source for a key frame.
    pub fn ask_for_key_frame(&mut self, ssrc: u32, now: Instant) {
        self.tell(vec![Box::new(PictureLossIndication { sender_ssrc: OWN_SOURCE, media_ssrc: ssrc })], now);
    }

    /// Asks the sender of this source for packets that have not come.
    pub fn ask_again(&mut self, ssrc: u32, sequence_numbers: &[u16], now: Instant) {
        let nacks = nack_pairs_from_sequence_numbers(sequence_numbers);
        self.tell(vec![Box::new(TransportLayerNack { sender_ssrc: OWN_SOURCE, media_ssrc: ssrc, nacks })], now);
    }

    fn tell(&mut self, control: Vec<Box<dyn rtc::rtcp::Packet>>, now: Instant) {
        // Which track it is said to be of makes no difference.
        let message = RTCMessage::RtcpPacket(String::new(), control);
        if let Err(error) = self.machine.handle_write(TaggedRTCMessage { now, message }) {
            tracing::debug!(%error, "no feedback");
        }
    }

    /// Ends it; what is to be sent for that is ready then.
    pub fn close(&mut self) {
        if let Err(error) = self.machine.close() {
            tracing::debug!(%error, "a connection does not end well");
        }
    }
}

/// A machine that knows these formats.
fn machine(
    formats: &[Choice],
    settings: SettingEngine,
    registry: Registry,
    now: Instant,
) -> Result<RTCPeerConnection, Unanswerable> {
    let machine = RTCPeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(media_engine(formats)?)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry);
    Ok(machine.build(now)?)
}

/// Where this side is reached.
fn host_candidate(address: SocketAddr) -> Result<RTCIceCandidateInit, Unanswerable> {
    let base_config = CandidateConfig {
        network: "udp".into(),
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..Default::default()
    };
    let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host()?;
    Ok(RTCIceCandidate::from(&candidate).to_json()?)
}

/// The formats that are known, and nothing else.
fn media_engine(choices: &[Choice]) -> Result<MediaEngine, Unanswerable> {
    let mut engine = MediaEngine::default();
    for choice in choices {
        let kind = kind(choice.codec);
        engine.register_codec(
            RTCRtpCodecParameters { rtp_codec: codec(choice), payload_type: choice.format.payload_type },
            kind,
        )?;
        if let Some(repair) = choice.repair {
            let rtp_codec = RTCRtpCodec {
                mime_type: "video/rtx".into(),
                clock_rate: choice.format.clock_rate,
                channels: 0,
                sdp_fmtp_line: format!("apt={}", choice.format.payload_type),
                rtcp_feedback: Vec::new(),
            };
            engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type: repair }, kind)?;
        }
    }
    for (kind, feedback) in [
        (RtpCodecKind::Video, ("nack", "")),
        (RtpCodecKind::Video, ("nack", "pli")),
        (RtpCodecKind::Audio, ("nack", "")),
        (RtpCodecKind::Video, ("transport-cc", "")),
        (RtpCodecKind::Audio, ("transport-cc", "")),
    ] {
        let (typ, parameter) = (feedback.0.to_owned(), feedback.1.to_owned());
        engine.register_feedback(RTCPFeedback { typ, parameter }, kind);
    }
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        for uri in [TRANSPORT_SEQUENCE, MID] {
            engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri: uri.into() }, kind, None)?;
        }
    }
    for uri in [PLAYOUT_DELAY, LAYER] {
        engine.register_header_extension(
            RTCRtpHeaderExtensionCapability { uri: uri.into() },
            RtpCodecKind::Video,
            None,
        )?;
    }
    Ok(engine)
}

fn kind(codec: Codec) -> RtpCodecKind {
    match codec.media() {
        Media::Audio => RtpCodecKind::Audio,
        Media::Video => RtpCodecKind::Video,
    }
}

fn codec(choice: &Choice) -> RTCRtpCodec {
    let media = if choice.codec.media() == Media::Audio { "audio" } else { "video" };
    RTCRtpCodec {
        mime_type: format!("{media}/{}", choice.codec.name()),
        clock_rate: choice.format.clock_rate,
        channels: if choice.codec.media() == Media::Audio { choice.format.channels } else { 0 },
        sdp_fmtp_line: choice.parameters(),
        rtcp_feedback: Vec::new(),
    }
}

fn track(number: usize, choice: &Choice, source: Source) -> MediaStreamTrack {
    let rtp_coding_parameters = RTCRtpCodingParameters {
        ssrc: Some(source.ssrc),
        rtx: choice.repair.map(|_| RTCRtpRtxParameters { ssrc: source.repair_ssrc }),
        ..Default::default()
    };
    let coding = RTCRtpEncodingParameters { rtp_coding_parameters, codec: codec(choice), ..Default::default() };
    MediaStreamTrack::new(STREAM.into(), format!("track{number}"), String::new(), kind(choice.codec), vec![coding])
}

/// What happens to packets on their way: they are counted, told of, and (when this side sends) sent again, and what comes back of
/// them tells how much the path carries. Lost packets are asked for by whoever receives, who knows how long it can wait for them;
/// who sends knows what its sources' clocks say, and reports it.
fn registry(heard: &Heard, flow: &Flow) -> Registry {
    let registry = Registry::new()
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().with_interval(REPORT_EVERY).build())
        .with(Slot::from(11_500), heard.listening());
    match flow {
        Flow::Receive => registry.with(Slot::TwccReceiver, TwccReceiverBuilder::new().build()),
        Flow::Send(_) => {
            let (first, least, most) = ESTIMATE;
            let estimate = CongestionControlBuilder::new(Gcc::new(first, least, most)).build();
            registry
                .with(Slot::from(3_500), Resending::new())
                .with(Slot::NackResponder, NackResponderBuilder::new().build())
                .with(Slot::TwccSender, TwccSenderBuilder::new().build())
                .with(Slot::CongestionControl, estimate)
        }
    }
}

/// The number by which an extension of RTP's head goes (RFC 8285), if both sides know it.
fn number_of_extension(description: &str, uri: &str) -> Option<u8> {
    let mut known = description.lines().filter_map(|line| line.strip_prefix("a=extmap:")?.split_once(' '));
    let (number, _) = known.find(|(_, told)| *told == uri)?;
    number.split('/').next()?.parse().ok()
}

fn read_answer(description: String) -> Result<Answer, Unanswerable> {
    let find = |name: &str| description.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let credentials = find("a=ice-ufrag:").zip(find("a=ice-pwd:"));
    let (name, password) = credentials.ok_or_else(|| Unanswerable("the answer has no credentials".into()))?;
    if refuses_a_section(&description) {
        return Err(Unanswerable("not every section can be answered".into()));
    }
    Ok(Answer { description, name, password })
}

/// Whether a section of an answer has no port (RFC 9429, section 5.3.1).
fn refuses_a_section(description: &str) -> bool {
    description.lines().any(|line| line.starts_with("m=") && line.split(' ').nth(1) == Some("0"))
}

#[cfg(test)]
mod tests;
