//! One reader of a live stream. What it is sent is the stream's one programme; of its own it has a place in that, and the
//! encryption. A reader that does not keep up misses what is gone and goes on with a key frame; one that acknowledges nothing
//! is hung up on.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use srt_protocol::connection::{Connection, ConnectionSettings};
use srt_protocol::packet::{ControlTypes, Packet, SrtControlPacket, TimeStamp};
use tokio::sync::watch;

use super::sender::{Sender, Sent};
use super::server::{BATCH, Caller, Ended, GONE_AFTER, PAUSE, PROTOCOL, TOLD_EVERY};
use super::wire::{FromReader, Head};
use crate::media::live::gate::Counted;
use crate::media::live::programme::{Chunk, Programme};
use crate::media::live::stream::LiveStream;
use crate::media::live::tape::Found;

/// Longest time without a packet to a reader: it takes a silent peer for gone.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// What a reader was let in for.
pub(super) struct Reading {
    pub(super) programme: Arc<Programme>,
    /// Told once a second what was sent; it may say that that is enough.
    pub(super) watch: Watch,
    /// Its clock when it was accepted, and when that was.
    pub(super) clock: TimeStamp,
    pub(super) accepted: Instant,
}

/// Looks after a reader: the stream as it is now, when that has moved.
pub(super) type Watch = Box<dyn FnMut(Sent) -> Result<Option<Arc<LiveStream>>, Ended> + Send>;

/// A reader.
pub(super) struct Reader {
    caller: Caller,
    settings: ConnectionSettings,
    /// What the caller was answered, if anything: it asks again when that was lost.
    reply: Option<Bytes>,
    sender: Sender,
    programme: Arc<Programme>,
    moved: watch::Receiver<u64>,
    watch: Watch,
    /// When anything came last, and when something was acknowledged.
    heard: Instant,
    acknowledged: Instant,
    /// When anything was sent last, and media.
    said: Instant,
    sent: Instant,
    /// When it was looked at last whether it may still watch.
    checked: Instant,
    counted: Sent,
    _counted: Counted,
}

impl Reader {
    pub(super) fn new(caller: Caller, (link, reply): (Connection, Option<Bytes>), reading: Reading) -> Self {
        let Reading { programme, watch, clock, accepted } = reading;
        let now = Instant::now();
        Self {
            caller,
            sender: Sender::new(&link.settings, clock, accepted),
            settings: link.settings,
            reply,
            moved: programme.moved(),
            programme,
            watch,
            heard: now,
            acknowledged: now,
            said: now,
            sent: now,
            checked: now,
            counted: Sent::default(),
            _counted: Counted::reader(PROTOCOL),
        }
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    pub(super) async fn run(&mut self) -> Ended {
        loop {
            let now = Instant::now();
            self.moved.mark_unchanged();
            if let Err(not_carried) = self.programme.pull(now) {
                return not_carried.into();
            }
            let due = self.send_due(now).await;
            if due.is_none() && self.programme.has_ended() {
                return Ended::Over;
            }
            if let Err(ended) = self.check(now).await {
                return ended;
            }
            if let Some(ended) = self.wait(now, due).await {
                return ended;
            }
        }
    }

    /// Sends what is due, and says when the next chunk is, if there is one.
    async fn send_due(&mut self, now: Instant) -> Option<Instant> {
        let Some(next) = self.sender.next_chunk() else { return self.begin(now) };
        let chunks = match self.programme.chunks(next, BATCH) {
            Found::Pieces(chunks) => chunks,
            Found::Gone(_) => {
                metrics::counter!("playhouse_srt_readers_skips_total").increment(1);
                return self.begin(now);
            }
        };
        for chunk in &chunks {
            let due = self.sender.due(chunk).unwrap_or(now);
            if due > now {
                return Some(due);
            }
            let mut packets = Vec::new();
            self.sender.send(chunk, &mut packets);
            self.put(packets, now).await;
            self.sent = now;
        }
        // There may be more.
        (chunks.len() == BATCH).then_some(now)
    }

    /// With the newest key frame, if there is one.
    fn begin(&mut self, now: Instant) -> Option<Instant> {
        let start = self.programme.start()?;
        let Found::Pieces(chunks) = self.programme.chunks(start, 1) else { return None };
        self.sender.begin(start, chunks.first()?.made, now);
        Some(now)
    }

    async fn put(&mut self, packets: Vec<Bytes>, now: Instant) {
        for packet in packets {
            // What the network does not take is lost like anything else.
            let _ = self.caller.socket.send_to(&packet, self.caller.address).await;
            self.said = now;
        }
    }

    async fn check(&mut self, now: Instant) -> Result<(), Ended> {
        if now.duration_since(self.said) >= ALIVE_EVERY {
            let alive = self.sender.control(ControlTypes::KeepAlive, now);
            self.put(vec![alive], now).await;
        }
        // Who is sent nothing has nothing to acknowledge.
        let unanswered = self.sent.saturating_duration_since(self.acknowledged);
        if now.duration_since(self.heard) >= GONE_AFTER || unanswered >= GONE_AFTER {
            return Err(Ended::Gone(GONE_AFTER));
        }
        if now.duration_since(self.checked) >= TOLD_EVERY {
            self.checked = now;
            self.sender.tick(now);
            self.count();
            if let Some(stream) = (self.watch)(self.counted)? {
                self.programme = Programme::of(&stream);
                self.moved = self.programme.moved();
                self.sender.move_on();
            }
        }
        Ok(())
    }

    fn count(&mut self) {
        let (now, before) = (self.sender.sent(), std::mem::replace(&mut self.counted, self.sender.sent()));
        let counts = [
            ("playhouse_srt_readers_packets_total", now.packets - before.packets),
            ("playhouse_srt_readers_bytes_total", now.bytes - before.bytes),
            ("playhouse_srt_readers_packets_again_total", now.again - before.again),
            ("playhouse_srt_readers_packets_lost_total", now.lost - before.lost),
        ];
        for (name, count) in counts {
            metrics::counter!(name).increment(count);
        }
    }

    async fn wait(&mut self, now: Instant, due: Option<Instant>) -> Option<Ended> {
        let due = due.unwrap_or(now + TOLD_EVERY).min(now + TOLD_EVERY).max(now + PAUSE);
        tokio::select! {
            datagram = self.caller.datagrams.recv() => {
                let Some(datagram) = datagram else { return Some(Ended::Stopping) };
                let mut ended = self.take(datagram).await;
                for _ in 1..BATCH {
                    let Some(datagram) = self.caller.datagrams.try_recv().ok().filter(|_| ended.is_none()) else { break };
                    ended = self.take(datagram).await;
                }
                ended
            }
            // The stream lives as long as this reader.
            Ok(()) = self.moved.changed() => None,
            () = tokio::time::sleep_until(due.into()) => None,
        }
    }

    async fn take(&mut self, datagram: Bytes) -> Option<Ended> {
        if !matches!(Head::read(&datagram), Some(Head::Connected(_))) {
            if let Some(reply) = &self.reply {
                let _ = self.caller.socket.send_to(reply, self.caller.address).await;
            }
            return None;
        }
        let now = Instant::now();
        let told = FromReader::read(&datagram)?;
        self.heard = now;
        match told {
            FromReader::Alive => {}
            FromReader::Goodbye => return Some(Ended::Left),
            FromReader::Acknowledged { number, rtt_micros } => {
                self.acknowledged = now;
                let answer = self.sender.acknowledged((number, rtt_micros), now);
                self.put(answer.into_iter().collect(), now).await;
            }
            FromReader::Lost(ranges) => {
                for range in ranges {
                    self.send_again(range, now).await;
                }
            }
            FromReader::Keys => self.take_keys(datagram),
        }
        None
    }

    async fn send_again(&mut self, range: (u32, u32), now: Instant) {
        let mut packets = Vec::new();
        for (place, number) in self.sender.missed(range, now) {
            let found = match self.programme.chunks(place, 1) {
                Found::Pieces(chunks) => chunks.into_iter().next(),
                Found::Gone(_) => None,
            };
            match found as Option<Chunk> {
                Some(chunk) => self.sender.send_again(number, &chunk, &mut packets),
                None => self.sender.note_lost(),
            }
        }
        self.put(packets, now).await;
    }

    fn take_keys(&mut self, mut datagram: Bytes) {
        let Ok(Packet::Control(control)) = Packet::parse(&mut datagram, self.caller.address.is_ipv6()) else { return };
        if let ControlTypes::Srt(SrtControlPacket::KeyRefreshResponse(keys)) = control.control_type {
            self.sender.keys_answered(keys);
        }
    }
}
