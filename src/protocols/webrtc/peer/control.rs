//! What the other side tells about media (RTCP), as far as somebody wants to know.
use super::{Arc, Instant, Mutex, PoisonError, Protocol, VecDeque};
use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::shared::error::Error;

/// Words that wait to be asked for at most; the oldest go first.
const WAITING_MAX: usize = 64;

/// Something that was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// When a source's media were taken: its clock and that of the whole (RFC 3550, section 6.4.1).
    Clock {
        /// The source.
        ssrc: u32,
        /// Seconds since 1900, with 32 bits of fraction.
        ntp: u64,
        /// The same instant by the clock of the source's packets.
        rtp: u32,
    },
    /// A source that this side sends is to send a key frame.
    KeyFrameWanted {
        /// The source.
        ssrc: u32,
    },
    /// Packets of a source that this side sends are missing; they are sent again.
    Missing {
        /// How many.
        packets: u64,
    },
    /// How much the path carries, as far as one can tell.
    Estimate {
        /// Bits a second.
        bits_per_sec: f64,
    },
    /// How a source that this side sends is received (RFC 3550, section 6.4.1).
    Received {
        /// The source.
        ssrc: u32,
        /// Of 256 packets lately so many were lost.
        lost_of_256: u8,
        /// When the last report of this side was sent, in the middle bits of its clock, and how long ago it came, 1/65536 s.
        last_report: (u32, u32),
        /// When it was told.
        at: Instant,
    },
}

/// What was told, and has not been asked for yet.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<VecDeque<Control>>>);

/// Listens on what is told, in the chain of everything that packets pass.
pub(super) struct Listening {
    heard: Heard,
    inward: VecDeque<TaggedPacket>,
    outward: VecDeque<TaggedPacket>,
}

impl Heard {
    /// Somebody who listens.
    pub(super) fn listening(&self) -> Listening {
        Listening { heard: self.clone(), inward: VecDeque::new(), outward: VecDeque::new() }
    }

    /// What was heard next.
    pub(super) fn next(&self) -> Option<Control> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn note(&self, control: Control) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= WAITING_MAX {
            heard.pop_front();
        }
        heard.push_back(control);
    }

    fn hear(&self, packet: &dyn rtc::rtcp::Packet, at: Instant) {
        let told = packet.as_any();
        let note = |control| self.note(control);
        if let Some(report) = told.downcast_ref::<SenderReport>() {
            note(Control::Clock { ssrc: report.ssrc, ntp: report.ntp_time, rtp: report.rtp_time });
        } else if let Some(report) = told.downcast_ref::<ReceiverReport>() {
            for report in &report.reports {
                let (ssrc, lost_of_256) = (report.ssrc, report.fraction_lost);
                let last_report = (report.last_sender_report, report.delay);
                note(Control::Received { ssrc, lost_of_256, last_report, at });
            }
        } else if let Some(wanted) = told.downcast_ref::<PictureLossIndication>() {
            note(Control::KeyFrameWanted { ssrc: wanted.media_ssrc });
        } else if let Some(wanted) = told.downcast_ref::<FullIntraRequest>() {
            wanted.fir.iter().for_each(|entry| note(Control::KeyFrameWanted { ssrc: entry.ssrc }));
        } else if let Some(missing) = told.downcast_ref::<TransportLayerNack>() {
            let packets = missing.nacks.iter().map(|pair| 1 + u64::from(pair.lost_packets.count_ones())).sum();
            note(Control::Missing { packets });
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Listening {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(told) = &packet.message.packet {
            told.iter().for_each(|told| self.heard.hear(told.as_ref(), packet.now));
        }
        for attribute in &packet.message.attributes {
            if let Attribute::TargetBitrateChanged { bits_per_second } = attribute {
                self.heard.note(Control::Estimate { bits_per_sec: *bits_per_second });
            }
        }
        self.inward.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inward.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.outward.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outward.pop_front()
    }
}

impl Interceptor for Listening {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
