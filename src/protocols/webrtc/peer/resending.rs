//! How much is sent again of what receivers miss: less than what is new. Who watches over a line that is too narrow misses most of
//! what it is sent, and would be sent that again and again, so that the line would never be free.
use std::collections::HashMap;

use super::{Instant, Protocol, VecDeque, nack_pairs_from_sequence_numbers};
use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::shared::error::Error;

/// So much of what is new may be sent again.
const SHARE: f64 = 0.5;
/// Bytes that may be sent again at once.
const BURST: f64 = 65_536.0;
/// How much a packet counts in the mean of its source's sizes.
const WEIGHT: f64 = 1.0 / 16.0;

/// Passes on what is asked for as far as it is to be sent again, in the chain of everything that packets pass: on their way in this
/// comes before who sends again, on their way out behind.
pub(super) struct Resending {
    /// Bytes that may be sent again now.
    left: f64,
    /// Bytes of each source's packets, in the mean.
    sizes: HashMap<u32, f64>,
    inward: VecDeque<TaggedPacket>,
    outward: VecDeque<TaggedPacket>,
}

impl Resending {
    pub(super) fn new() -> Self {
        Self { left: BURST, sizes: HashMap::new(), inward: VecDeque::new(), outward: VecDeque::new() }
    }

    /// Something new was sent.
    fn note(&mut self, ssrc: u32, bytes: usize) {
        let bytes = bytes as f64;
        let size = self.sizes.entry(ssrc).or_insert(bytes);
        *size += (bytes - *size) * WEIGHT;
        self.left = (self.left + bytes * SHARE).min(BURST);
    }

    /// How many packets of a source may be sent again, when so many are asked for. Of a source that has sent nothing there are none.
    fn grant(&mut self, ssrc: u32, wanted: usize) -> usize {
        let Some(size) = self.sizes.get(&ssrc).map(|size| size.max(1.0)) else { return 0 };
        let granted = wanted.min((self.left / size) as usize);
        self.left -= granted as f64 * size;
        granted
    }

    /// The same of what was told; `None` when nothing is left of that.
    fn narrowed(&mut self, told: Box<dyn rtc::rtcp::Packet>) -> Option<Box<dyn rtc::rtcp::Packet>> {
        let Some(missing) = told.as_any().downcast_ref::<TransportLayerNack>() else { return Some(told) };
        let wanted: Vec<u16> = missing.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        let granted =
            wanted.get(..self.grant(missing.media_ssrc, wanted.len())).filter(|granted| !granted.is_empty())?;
        let nacks = nack_pairs_from_sequence_numbers(granted);
        Some(Box::new(TransportLayerNack { nacks, ..missing.clone() }))
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Resending {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(told) = &mut packet.message.packet {
            *told = std::mem::take(told).into_iter().filter_map(|told| self.narrowed(told)).collect();
            // Nothing at all means something else in this chain: what is told besides.
            if told.is_empty() && packet.message.attributes.is_empty() {
                return Ok(());
            }
        }
        self.inward.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inward.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(rtp) = &packet.message.packet
            && !packet.message.has(&Attribute::Retransmission)
        {
            self.note(rtp.header.ssrc, rtp.payload.len());
        }
        self.outward.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outward.pop_front()
    }
}

impl Interceptor for Resending {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSRC: u32 = 7;

    fn missing(packets: u16) -> Box<dyn rtc::rtcp::Packet> {
        let numbers: Vec<u16> = (0..packets).map(|number| number.wrapping_add(u16::MAX - 3)).collect();
        let nacks = nack_pairs_from_sequence_numbers(&numbers);
        Box::new(TransportLayerNack { sender_ssrc: 1, media_ssrc: SSRC, nacks })
    }

    fn granted(resending: &mut Resending, packets: u16) -> usize {
        let told = resending.narrowed(missing(packets));
        let count = |told: &TransportLayerNack| told.nacks.iter().map(|pair| pair.packet_list().len()).sum();
        told.map_or(0, |told| told.as_any().downcast_ref().map_or(0, count))
    }

    #[test]
    fn a_few_losses_are_sent_again_and_most_of_everything_is_not() {
        let mut resending = Resending::new();
        assert_eq!(granted(&mut resending, 3), 0, "nothing was sent");
        resending.note(SSRC, 1024);
        assert_eq!(granted(&mut resending, 3), 3);
        let (mut sent, mut again) = (0, 0);
        for _ in 0..1000 {
            (0..10).for_each(|_| resending.note(SSRC, 1024));
            sent += 10;
            again += granted(&mut resending, 40);
        }
        assert!((sent / 2..sent / 2 + 70).contains(&again), "{again} of {sent}");
        (0..1000).for_each(|_| resending.note(SSRC, 1024));
        assert_eq!(granted(&mut resending, 500), 64, "what was not used is not saved up for ever");
    }

    #[test]
    fn what_else_is_told_passes() {
        let mut resending = Resending::new();
        let other = rtc::rtcp::receiver_report::ReceiverReport::default();
        assert!(resending.narrowed(Box::new(other)).is_some());
    }
}
