//! A connection that this side asks for: its offer, until that is answered. This side has the whole of ICE then (RFC 9725, section
//! 4.2), and checks the addresses that the answer tells.
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use super::*;
use crate::protocols::webrtc::wire::candidates::Reached;

/// A connection that is asked for.
pub struct Call {
    machine: RTCPeerConnection,
    heard: Heard,
    senders: Vec<RTCRtpSenderId>,
    /// What is offered in each section.
    offered: Vec<Vec<Choice>>,
    local: SocketAddr,
    offer: Answer,
}

impl Call {
    /// Offers these formats, one of which is to be chosen in each section; this side is reached at `local`.
    pub fn new(offered: Vec<Vec<Choice>>, flow: &Flow, local: SocketAddr, now: Instant) -> Result<Self, Unanswerable> {
        let heard = Heard::default();
        let settings = SettingEngineBuilder::new()
            .with_include_loopback_candidate(true)
            // Who is gone is judged by [`Peer`].
            .with_ice_timeouts(Some(Duration::ZERO), Some(Duration::ZERO), None)
            .build();
        let mut machine = machine(&offered.concat(), settings, registry(&heard, flow), now)?;
        let mut senders = Vec::new();
        for (number, first) in offered.iter().filter_map(|formats| formats.first()).enumerate() {
            let source = if let Flow::Send(sources) = flow { sources.get(number) } else { None };
            let direction = match source {
                Some(_) => RTCRtpTransceiverDirection::Sendonly,
                None => RTCRtpTransceiverDirection::Recvonly,
            };
            let wanted = Some(RTCRtpTransceiverInit { direction, ..Default::default() });
            match source {
                Some(source) => {
                    let id = machine.add_transceiver_from_track(track(number, first, *source), wanted)?;
                    senders.push(id.into());
                }
                None => drop(machine.add_transceiver_from_kind(kind(first.codec), wanted)?),
            }
        }
        let offer = machine.create_offer(None)?;
        machine.set_local_description(now, offer)?;
        machine.add_local_candidate(host_candidate(local)?)?;
        machine.add_local_candidate(RTCIceCandidateInit::default())?;
        let offer = machine.local_description().ok_or_else(|| Unanswerable("there is no offer".into()))?.sdp;
        Ok(Self { machine, heard, senders, offered, local, offer: read_answer(offer)? })
    }

    /// The offer, and what this side calls itself in it.
    pub fn offer(&self) -> &Answer {
        &self.offer
    }

    /// The other side has answered. Of the addresses that it tells, those are spoken to that may be.
    pub fn answered(
        mut self,
        answer: &[u8],
        may_reach: impl Fn(SocketAddr) -> bool,
        now: Instant,
    ) -> Result<Peer, Unanswerable> {
        let told = |error: &dyn std::fmt::Display| Unanswerable(format!("the answer is of no use: {error}"));
        let read = Offer::read(answer).map_err(|error| told(&error))?;
        let text = String::from_utf8_lossy(answer);
        if read.sections.len() != self.offered.len() || refuses_a_section(&text) {
            return Err(told(&"it does not take all that was offered"));
        }
        let mut choices = Vec::new();
        for (section, offered) in read.sections.iter().zip(&self.offered) {
            let has = |payload_type: u8| section.formats.iter().any(|format| format.payload_type == payload_type);
            let chosen = section
                .formats
                .iter()
                .find_map(|format| offered.iter().find(|choice| choice.format.payload_type == format.payload_type));
            let chosen = chosen.ok_or_else(|| told(&"it has none of the formats that were offered"))?;
            choices.push(Choice { repair: chosen.repair.filter(|repair| has(*repair)), ..chosen.clone() });
        }
        let reached = Reached::read(&text);
        let ways: Vec<SocketAddr> = reached.addresses.into_iter().filter(|address| may_reach(*address)).collect();
        if ways.is_empty() {
            return Err(told(&"it names no address that can be reached by UDP"));
        }
        let description = Reached { is_lite: reached.is_lite, addresses: ways }.told_in(read.narrowed(&choices));
        self.machine.set_remote_description(now, RTCSessionDescription::answer(description)?)?;
        Ok(Peer {
            machine: self.machine,
            incoming: Incoming::of(&read),
            offer: read,
            choices,
            advertised: vec![self.local],
            senders: self.senders,
            hold: (number_of_extension(&text, PLAYOUT_DELAY), None),
            heard: self.heard,
            path: Path::default(),
            now,
            good: now,
            is_gone: false,
            told_connected: false,
        })
    }
}
