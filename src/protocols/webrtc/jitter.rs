//! Packets of one source in order: those that come out of it wait for those before them, which are asked for again, but not for
//! longer than is worth it.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::peer::RtpPacket;

/// Packets held at most.
const HELD_MAX: usize = 4096;
/// A source that goes on this far from where it was, packets, has begun anew.
const JUMP: i64 = 2048;
/// What is out of order by less than this is not lost, and not asked for.
const PATIENCE: Duration = Duration::from_millis(10);
/// Shortest time after which a packet is asked for once more.
const AGAIN_MIN: Duration = Duration::from_millis(20);
/// Packets asked for at once at most.
const ASKED_MAX: usize = 64;

/// What comes next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// This packet, which came at that time; its timestamp does not wrap.
    Packet(RtpPacket, Instant),
    /// So many packets that never came.
    Lost(u64),
}

/// How it does, as counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JitterStats {
    /// Packets that came.
    pub packets: u64,
    /// Packets that came after they had been asked for.
    pub recovered: u64,
    /// Packets that did not come in time.
    pub lost: u64,
    /// Packets that came when nobody waited for them any more, for the second time, or when too many were held.
    pub late: u64,
    /// Times that packets were asked for.
    pub asked: u64,
}

/// A packet that others wait for.
#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    asked: Option<Instant>,
}

/// The packets of one source.
#[derive(Debug)]
pub struct Jitter {
    latency: Duration,
    held: BTreeMap<i64, (RtpPacket, Instant)>,
    missing: BTreeMap<i64, Missing>,
    /// Number of the packet that comes next, counted without wrapping.
    next: Option<i64>,
    highest: i64,
    round_trip: Option<Duration>,
    stats: JitterStats,
}

impl Jitter {
    /// Nothing has come; what is missing is waited for as long as `latency`.
    pub fn new(latency: Duration) -> Self {
        let (held, missing) = (BTreeMap::new(), BTreeMap::new());
        Self { latency, held, missing, next: None, highest: 0, round_trip: None, stats: JitterStats::default() }
    }

    /// For another source on the same way.
    pub fn anew(&self) -> Self {
        Self { round_trip: self.round_trip, ..Self::new(self.latency) }
    }

    /// How it does.
    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    /// How long it lately took from asking for a packet until it came.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What is held, from the oldest to the newest.
    pub fn held_for(&self, now: Instant) -> Duration {
        self.held.values().next().map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at))
    }

    /// Takes a packet.
    pub fn push(&mut self, packet: RtpPacket, at: Instant) {
        self.stats.packets += 1;
        let sequence = packet.header.sequence_number;
        let number = match self.next {
            None => i64::from(sequence),
            Some(_) => self.highest + i64::from(sequence.wrapping_sub(self.highest as u16).cast_signed()),
        };
        if self.next.is_some() && (number - self.highest).abs() >= JUMP {
            self.begin_anew();
        }
        let next = *self.next.get_or_insert(number);
        if number < next || self.held.contains_key(&number) || self.held.len() >= HELD_MAX {
            self.stats.late += 1;
            return;
        }
        if let Some(Missing { asked: Some(asked), .. }) = self.missing.remove(&number) {
            self.stats.recovered += 1;
            self.note_round_trip(at.saturating_duration_since(asked));
        }
        let known = if self.held.is_empty() && self.missing.is_empty() { next } else { (self.highest + 1).max(next) };
        for number in known..number {
            self.missing.insert(number, Missing { since: at, asked: None });
        }
        self.highest = if self.held.is_empty() && self.missing.is_empty() { number } else { self.highest.max(number) };
        self.held.insert(number, (packet, at));
    }

    fn note_round_trip(&mut self, took: Duration) {
        self.round_trip = Some(self.round_trip.map_or(took, |before| (before * 7 + took) / 8));
    }

    /// What was waited for will not come: the source counts from elsewhere now.
    fn begin_anew(&mut self) {
        self.stats.lost += self.missing.len() as u64;
        self.held.clear();
        self.missing.clear();
        self.next = None;
    }

    /// What comes next, if it is there or not worth waiting for.
    pub fn pop(&mut self, now: Instant) -> Option<Next> {
        let next = self.next?;
        if let Some((packet, at)) = self.held.remove(&next) {
            self.next = Some(next + 1);
            return Some(Next::Packet(packet, at));
        }
        let first = *self.held.keys().next()?;
        let is_over = self.missing.values().next().is_none_or(|one| now >= one.since + self.latency);
        if !is_over && self.held.len() < HELD_MAX {
            return None;
        }
        let lost = u64::try_from(first - next).unwrap_or(0);
        self.missing = self.missing.split_off(&first);
        self.next = Some(first);
        self.stats.lost += lost;
        Some(Next::Lost(lost))
    }

    /// Numbers of packets that are to be asked for now.
    pub fn to_ask(&mut self, now: Instant) -> Vec<u16> {
        let again = self.round_trip.map_or(AGAIN_MIN * 2, |took| (took * 3 / 2).max(AGAIN_MIN));
        let is_due = |one: &Missing| match one.asked {
            None => now >= one.since + PATIENCE,
            Some(asked) => now >= asked + again,
        };
        let due = self.missing.iter_mut().filter(|(_, one)| is_due(one)).take(ASKED_MAX);
        let numbers: Vec<u16> = due
            .map(|(number, one)| {
                one.asked = Some(now);
                *number as u16
            })
            .collect();
        self.stats.asked += u64::from(!numbers.is_empty());
        numbers
    }

    /// When something is to be done next though nothing comes.
    pub fn next_timer(&self, now: Instant) -> Option<Instant> {
        let first = self.missing.values().next()?;
        let ask = if first.asked.is_none() { first.since + PATIENCE } else { now + AGAIN_MIN };
        Some(ask.min(first.since + self.latency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(300);

    fn packet(sequence: u16) -> RtpPacket {
        let mut packet = RtpPacket::default();
        packet.header.sequence_number = sequence;
        packet
    }

    fn popped(jitter: &mut Jitter, now: Instant) -> Vec<Result<u16, u64>> {
        std::iter::from_fn(|| jitter.pop(now))
            .map(|next| match next {
                Next::Packet(packet, _) => Ok(packet.header.sequence_number),
                Next::Lost(count) => Err(count),
            })
            .collect()
    }

    #[test]
    fn packets_leave_in_order_whatever_they_come_in() {
        let (mut jitter, now) = (Jitter::new(LATENCY), Instant::now());
        for sequence in [65_533, 65_535, 65_534, 1, 0, 65_534, 2] {
            jitter.push(packet(sequence), now);
        }
        assert_eq!(popped(&mut jitter, now), [65_533, 65_534, 65_535, 0, 1, 2].map(Ok));
        assert_eq!((jitter.stats().lost, jitter.stats().late, jitter.to_ask(now)), (0, 1, vec![]));
        jitter.push(packet(1), now);
        assert_eq!((popped(&mut jitter, now), jitter.stats().late), (vec![], 2));
    }

    #[test]
    fn lost_packets_are_asked_for_and_not_waited_for_too_long() {
        let (mut jitter, start) = (Jitter::new(LATENCY), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        for sequence in [10, 13, 14] {
            jitter.push(packet(sequence), at(0));
        }
        assert_eq!(popped(&mut jitter, at(0)), [Ok(10)]);
        assert_eq!((jitter.to_ask(at(5)), jitter.next_timer(at(5))), (vec![], Some(at(10))));
        assert_eq!((jitter.to_ask(at(10)), jitter.to_ask(at(20))), (vec![11, 12], vec![]));
        jitter.push(packet(11), at(40));
        assert_eq!((popped(&mut jitter, at(40)), jitter.round_trip()), (vec![Ok(11)], Some(Duration::from_millis(30))));
        assert_eq!(jitter.to_ask(at(60)), [12], "once more");
        assert_eq!(popped(&mut jitter, at(299)), []);
        assert_eq!(popped(&mut jitter, at(300)), [Err(1), Ok(13), Ok(14)]);
        assert_eq!((jitter.next_timer(at(300)), jitter.to_ask(at(900))), (None, vec![]));
        let JitterStats { packets, recovered, lost, asked, .. } = jitter.stats();
        assert_eq!((packets, recovered, lost, asked), (4, 1, 1, 2));
        jitter.push(packet(12), at(400));
        assert_eq!(popped(&mut jitter, at(400)), []);
    }

    #[test]
    fn sources_that_begin_anew_are_followed_and_nothing_is_hoarded() {
        let (mut jitter, now) = (Jitter::new(LATENCY), Instant::now());
        jitter.push(packet(5), now);
        jitter.push(packet(30_000), now);
        assert_eq!(popped(&mut jitter, now), [Ok(30_000)]);
        let mut left = Vec::new();
        for sequence in 0..60_000u16 {
            jitter.push(packet(30_002u16.wrapping_add(sequence)), now);
            assert!(jitter.held.len() <= HELD_MAX && jitter.missing.len() <= JUMP as usize);
            left.extend(popped(&mut jitter, now));
        }
        assert_eq!(left.first(), Some(&Err(1)), "it gave up waiting");
        assert_eq!((left.len(), jitter.held.len()), (60_001, 0));
    }
}
