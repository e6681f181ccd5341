//! `playhouse bench whep`: viewers of a live stream by WebRTC, hundreds in one process. They decrypt what they get, and decode nothing.
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::histogram::Histogram;
use super::{allow_many_files, rate, read, report};
use crate::cli::WhepArgs;
use crate::protocols::webrtc::call::{CallConditions, Called};
use crate::protocols::webrtc::endpoint::{EndpointUrl, Reach};
use crate::protocols::webrtc::peer::{PeerEvent, RtpPacket};
use crate::system::{SystemClock, SystemEntropy};

/// The section of pictures in what viewers offer.
const PICTURES: usize = 1;
/// Bytes of a packet's head, of its encryption, and of UDP and IP.
const HEAD_BYTES: u64 = 12 + 16 + 28;
/// Longest wait for the sessions to be ended.
const GOODBYE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Totals {
    watching: AtomicU64,
    gave_up: AtomicU64,
    bytes: AtomicU64,
    packets: AtomicU64,
    lost: AtomicU64,
    /// From the offer to the first picture.
    starts: Histogram,
    /// Between two pictures.
    pauses: Histogram,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Runs viewers for the time asked for. Fails when one gave up, or none ever saw anything.
pub async fn run(args: &WhepArgs) -> anyhow::Result<ExitCode> {
    allow_many_files()?;
    let url = EndpointUrl::parse(&args.url, &["http", "https", "whep", "wheps"]).context("--url")?;
    let conditions = CallConditions {
        reach: Reach { is_public_only: false, insecure: args.insecure },
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let (totals, stop, began) = (Arc::new(Totals::default()), CancellationToken::new(), Instant::now());
    let mut tasks = JoinSet::new();
    for number in 0..args.count {
        let viewer = Viewer { url: url.clone(), totals: Arc::clone(&totals), next: None, shown: None };
        let (conditions, stop) = (conditions.clone(), stop.clone());
        let starts = began + args.ramp.mul_f64(number as f64 / args.count as f64);
        tasks.spawn(async move {
            tokio::select! {
                () = sleep_until(starts) => viewer.watch(&conditions, &stop).await,
                () = stop.cancelled() => {}
            }
        });
    }
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    let further = || format!("{} packets lost", read(&totals.lost));
    tokio::select! {
        () = tokio::time::sleep(args.duration) => {}
        () = report(args.count, (&totals.watching, &totals.bytes), further) => {}
        () = all_ended => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    let time = began.elapsed();
    stop.cancel();
    let _ = tokio::time::timeout(GOODBYE, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(conclude(&totals, time))
}

/// One viewer.
struct Viewer {
    url: EndpointUrl,
    totals: Arc<Totals>,
    /// The number that the next packet of pictures has.
    next: Option<u16>,
    /// Timestamp of the newest picture, and when it came.
    shown: Option<(u32, Instant)>,
}

impl Viewer {
    async fn watch(mut self, conditions: &CallConditions, stop: &CancellationToken) {
        let began = Instant::now();
        let mut called = match Called::watch(&self.url, conditions).await {
            Ok(called) => called,
            Err(error) => {
                tracing::warn!(%error, "a viewer does not get in");
                return add(&self.totals.gave_up, 1);
            }
        };
        let totals = Arc::clone(&self.totals);
        add(&totals.watching, 1);
        loop {
            let event = tokio::select! {
                event = called.next() => event,
                () = stop.cancelled() => break,
            };
            match event {
                Some(PeerEvent::Rtp(section, packet, _)) => self.take(section, &packet, began),
                Some(PeerEvent::Connected | PeerEvent::Control(_)) => {}
                Some(PeerEvent::Gone) | None => {
                    add(&totals.gave_up, 1);
                    break;
                }
            }
        }
        totals.watching.fetch_sub(1, Ordering::Relaxed);
        called.end().await;
    }

    fn take(&mut self, section: usize, packet: &RtpPacket, began: Instant) {
        let totals = &self.totals;
        add(&totals.bytes, packet.payload.len() as u64 + HEAD_BYTES);
        add(&totals.packets, 1);
        if section != PICTURES {
            return;
        }
        let (number, timestamp) = (packet.header.sequence_number, packet.header.timestamp);
        let ahead = self.next.map_or(0, |next| number.wrapping_sub(next));
        // What comes later than the next one was lost, or is late.
        if ahead < u16::MAX / 2 {
            add(&totals.lost, u64::from(ahead));
            self.next = Some(number.wrapping_add(1));
        }
        let now = Instant::now();
        match self.shown {
            Some((shown, _)) if shown == timestamp => return,
            Some((_, at)) => totals.pauses.record(now - at),
            None => totals.starts.record(now - began),
        }
        self.shown = Some((timestamp, now));
    }
}

fn conclude(totals: &Totals, time: Duration) -> ExitCode {
    let millis = |times: &Histogram, share| times.quantile(share).as_secs_f64() * 1000.0;
    let (packets, gave_up) = (read(&totals.packets), read(&totals.gave_up));
    println!(
        "in all: {packets} packets in {:.0} s, {}, {}; {} lost, {gave_up} viewers gave up",
        time.as_secs_f64(),
        bytesize::ByteSize::b(read(&totals.bytes)),
        rate(read(&totals.bytes), time),
        read(&totals.lost),
    );
    for (what, times) in [("first picture after the offer", &totals.starts), ("between pictures", &totals.pauses)] {
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|share| millis(times, share));
        println!("{what}: p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms");
    }
    if gave_up > 0 || packets == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
