//! The receiving side of a connection: what comes by it becomes the frames of a stream.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use srt_protocol::connection::{Connection, ConnectionSettings, DuplexConnection};
use srt_protocol::packet::{Acknowledgement, ControlTypes, Packet};

use super::handshake::datagram;
use super::server::{BATCH, Caller, Ended, GONE_AFTER, PAUSE, PROTOCOL, TOLD_EVERY};
use super::wire::{Head, is_publishers};
use crate::domain::ports::Clock;
use crate::media::live::gate::{Counted, Feed, LinkStats};
use crate::media::mpegts::ingest::TsIngest;

/// Where what comes goes to.
pub(super) struct Receiving {
    pub(super) feed: Feed,
    pub(super) clock: Arc<dyn Clock>,
    /// A sender that sends no media for this long is hung up on.
    pub(super) silence_max: Duration,
}

/// A connection by which a stream comes.
pub(super) struct Receiver {
    caller: Caller,
    connection: DuplexConnection,
    /// What the caller was answered; it asks again when that was lost.
    reply: Option<Bytes>,
    receiving: Receiving,
    ingest: TsIngest,
    started: Instant,
    /// When anything came last.
    heard: Instant,
    /// When media came last.
    fed: Instant,
    /// When the link's figures were told last.
    told: Instant,
    link: LinkStats,
    _counted: Counted,
}

impl Receiver {
    pub(super) fn new(caller: Caller, (link, reply): (Connection, Option<Bytes>), receiving: Receiving) -> Self {
        let now = Instant::now();
        Self {
            caller,
            connection: DuplexConnection::new(link),
            reply,
            receiving,
            ingest: TsIngest::default(),
            started: now,
            heard: now,
            fed: now,
            told: now,
            link: LinkStats::default(),
            _counted: Counted::new(PROTOCOL),
        }
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn settings(&self) -> &ConnectionSettings {
        self.connection.settings()
    }

    pub(super) async fn run(&mut self) -> Ended {
        loop {
            let now = Instant::now();
            self.connection.check_timers(now);
            while let Some((packet, address)) = self.connection.next_packet(now) {
                self.note_sent(&packet);
                let _ = self.caller.socket.send_to(&datagram(&packet), address).await;
            }
            if let Err(ended) = self.feed(now) {
                return ended;
            }
            if !self.connection.is_open() {
                return Ended::Left;
            }
            if now.duration_since(self.told) >= TOLD_EVERY {
                self.tell(now);
            }
            if now.duration_since(self.heard) >= GONE_AFTER {
                return Ended::Gone(GONE_AFTER);
            }
            if now.duration_since(self.fed) >= self.receiving.silence_max {
                return Ended::Silent(self.receiving.silence_max);
            }
            if let Some(ended) = self.wait(now).await {
                return ended;
            }
        }
    }

    /// What is due goes into the stream.
    fn feed(&mut self, now: Instant) -> Result<(), Ended> {
        let mut fed = Vec::new();
        while let Some((_, bytes)) = self.connection.next_data(now) {
            self.fed = now;
            metrics::counter!("playhouse_live_ingest_bytes_total", "protocol" => PROTOCOL)
                .increment(bytes.len() as u64);
            self.ingest.take(&bytes, now.duration_since(self.started), &mut fed);
        }
        let wall = self.receiving.clock.now();
        for fed in fed {
            self.receiving.feed.give(fed, wall).map_err(|refused| Ended::Refused(refused.to_string()))?;
        }
        match self.ingest.refusal() {
            Some(reason) => Err(Ended::Refused(reason.to_owned())),
            None => Ok(()),
        }
    }

    async fn wait(&mut self, now: Instant) -> Option<Ended> {
        let due = self.connection.next_timer(now).min(self.told + TOLD_EVERY).max(now + PAUSE);
        tokio::select! {
            datagram = self.caller.datagrams.recv() => {
                let Some(datagram) = datagram else { return Some(Ended::Stopping) };
                self.take(datagram).await;
                for _ in 1..BATCH {
                    let Ok(datagram) = self.caller.datagrams.try_recv() else { break };
                    self.take(datagram).await;
                }
                None
            }
            refusal = self.receiving.feed.fenced() => Some(Ended::Fenced(refusal)),
            () = tokio::time::sleep_until(due.into()) => None,
        }
    }

    async fn take(&mut self, mut datagram: Bytes) {
        if !matches!(Head::read(&datagram), Some(Head::Connected(_))) {
            if let Some(reply) = &self.reply {
                let _ = self.caller.socket.send_to(reply, self.caller.address).await;
            }
            return;
        }
        if !is_publishers(&datagram) {
            return;
        }
        let address = self.caller.address;
        if let Ok(packet) = Packet::parse(&mut datagram, address.is_ipv6()) {
            let now = Instant::now();
            self.heard = now;
            self.connection.handle_packet_input(now, Ok((packet, address)));
        }
    }

    /// Acknowledgements tell the round-trip time and how full the buffer is.
    fn note_sent(&mut self, packet: &Packet) {
        let Some(control) = packet.control() else { return };
        match &control.control_type {
            ControlTypes::Ack(Acknowledgement::Full(_, figures, _)) => {
                self.link.rtt_ms = f64::from(figures.rtt.mean().as_micros()) / 1000.0;
                self.link.buffer_packets_free = u64::from(figures.buffer_available);
            }
            ControlTypes::Nak(_) => self.link.loss_reports += 1,
            _ => {}
        }
    }

    /// Tells how the link does.
    fn tell(&mut self, now: Instant) {
        self.told = now;
        self.connection.update_statistics(now);
        let before = self.link;
        let latency = self.connection.settings().recv_tsbpd_latency;
        let unusable = self.ingest.unusable();
        let figures = self.connection.statistics();
        self.link = LinkStats {
            latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
            packets: figures.rx_unique_data + figures.rx_retransmit_data,
            packets_recovered: figures.rx_retransmit_data,
            packets_dropped: figures.rx_dropped_data,
            packets_undecrypted: figures.rx_decrypt_errors,
            buffered_ms: u64::try_from(figures.rx_acknowledged_time.as_millis()).unwrap_or(u64::MAX),
            media_gaps: unusable.gaps,
            media_damaged: unusable.damaged,
            ..self.link
        };
        self.link.count_since(&before, PROTOCOL);
        self.receiving.feed.note_link(self.link);
    }
}
