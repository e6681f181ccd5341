//! One viewer by WHEP, from the answer to its offer to the end. What it is sent is the stream's one programme; of its own it has
//! places in that, heads of packets, and the encryption. It begins with the newest key frame: what came since is sent at once, as
//! if it were shown within moments, so that the viewer sees a picture immediately and is live with the next one.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::mux::Arrived;
use super::peer::{Control, PeerEvent};
use super::programme::{Lane, OtherPictures, RtpProgramme, Source};
use super::sessions::Command;
use super::wire::offer::{Codec, Media};
use crate::domain::ports::Clock;
use crate::media::codecs::opus::packet_samples;
use crate::media::live::gate::{Audience, Counted, LinkStats, NotAdmitted, Pass};
use crate::media::live::realtime::{Attendance, Needs, Unfit};

mod outgoing;
mod switching;

pub(super) use outgoing::Outgoing;
use outgoing::{Anchor, Passed};
use switching::Switching;

/// How this protocol is called, and how it is when this side calls.
pub(super) const PROTOCOL: &str = "whep";
const PUSH_PROTOCOL: &str = "whip";
/// How long a client has until media can flow: checks and handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is looked at whether it may still watch, clocks are reported, and the link's figures told.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// After these times clocks are reported besides: players bring sound and pictures in step when they have heard them twice.
const REPORTED_AT: [Duration; 3] = [Duration::ZERO, Duration::from_millis(150), Duration::from_millis(400)];
/// Datagrams taken at once at most before what is due is done.
const BATCH: usize = 64;
/// Shortest wait for what is due, so that much of it is done at once.
const PAUSE: Duration = Duration::from_millis(1);
/// Who cannot decode is sent all since the newest key frame again, but not more often than this.
const AGAIN_EVERY: Duration = Duration::from_secs(2);
/// What is lost is sent again, and what is lost of that once more: players find out after a tenth of a second, as long as nobody
/// tells them how far away this side is. Once packets are lost, they hold pictures for so long, and for trips besides.
const HOLD: Duration = Duration::from_millis(150);
const HOLD_TRIPS: f64 = 3.0;
/// Longest time for which they hold them.
const HOLD_MAX: Duration = Duration::from_millis(500);
/// After so long without a loss they hold them no more.
const HELD_FOR: Duration = Duration::from_secs(60);
/// There is no sound to wait for when none has come for this long.
const SOUND_RECENT: Duration = Duration::from_millis(500);
/// Units of NTP in a second, in the middle bits that receivers repeat.
const MIDDLE_PER_SEC: f64 = 65_536.0;

/// What every viewer needs who comes by itself.
#[derive(Clone)]
pub struct WatchContext {
    /// Who decides.
    pub audience: Arc<dyn Audience>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The other side says so.
    #[error("the viewer has left")]
    Left,
    /// Checks or the handshake do not get through.
    #[error(
        "the viewer cannot be reached, or cannot reach this server: UDP, or the addresses that are told, may be blocked"
    )]
    NotConnected,
    /// All was sent.
    #[error("the stream is over")]
    Over,
    /// It may not watch any more.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// It has to begin anew.
    #[error("the stream has pictures now that were not agreed upon: a new session gets them")]
    OtherCodec,
    /// Nobody wants it any more.
    #[error("the server stops")]
    Stopping,
}

/// Who is sent the stream.
pub(super) enum Watcher {
    /// Somebody who has come, and is asked for a ticket again and again.
    Guest(Pass),
    /// A server that this side has called; it is told how many bytes were sent, once media can flow.
    Called(Box<dyn FnMut(u64) + Send>),
}

/// A viewer with whom it is agreed what is sent.
pub(super) struct Viewer {
    pub(super) line: Line,
    pub(super) programme: Arc<RtpProgramme>,
    pub(super) attendance: Attendance,
    pub(super) watcher: Watcher,
    pub(super) clock: Arc<dyn Clock>,
    /// What is sent in each section.
    pub(super) outgoing: Vec<Outgoing>,
}

impl Watcher {
    fn protocol(&self) -> &'static str {
        match self {
            Self::Guest(_) => PROTOCOL,
            Self::Called(_) => PUSH_PROTOCOL,
        }
    }
}

/// Which lane of pictures a viewer of this codec is sent, and why it has to be encoded for it, if so. `None`: neither will do.
pub(super) fn lane(source: &Source, codec: Codec) -> Option<(Lane, Option<Unfit>)> {
    let Some(pictures) = source.pictures else { return Some((Lane::Pictures, None)) };
    let other = (pictures.codec != codec).then_some(Unfit::Codec(name(pictures.codec)));
    match pictures.unfit.or(other) {
        None => Some((Lane::Pictures, None)),
        Some(unfit) if codec == Codec::H264 => Some((Lane::Encoded, Some(unfit))),
        Some(_) => None,
    }
}

/// What has to be encoded for a viewer of these sections.
pub(super) fn needs(source: &Source, outgoing: &[Outgoing]) -> Needs {
    let of = |media| outgoing.iter().find(|one| one.codec().media() == media);
    let pictures = of(Media::Video).and_then(|one| lane(source, one.codec())?.1);
    Needs { pictures, sound: source.sound_unfit && of(Media::Audio).is_some() }
}

/// Until when there is sound, in ticks of pictures; nothing while none comes.
fn heard_until(programme: &RtpProgramme, now: Instant) -> Option<i64> {
    let newest = programme.newest(Lane::Sound)?;
    let ends = newest.time + i64::from(packet_samples(newest.payloads.first()?).unwrap_or(0));
    let is_recent = now.saturating_duration_since(newest.made) < SOUND_RECENT;
    is_recent.then(|| ends * i64::from(Lane::Pictures.rate()) / i64::from(Lane::Sound.rate()))
}

fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "H.264",
        Codec::Hevc => "HEVC",
        other => other.name(),
    }
}

/// Serves a viewer who has come until it ends.
pub(super) async fn serve(viewer: Viewer, address: IpAddr, stopping: CancellationToken) {
    let id = viewer.line.place.id().to_owned();
    let ended = watch(viewer, &stopping).await;
    tracing::info!(session.id = id, %address, reason = %ended, "whep session ended");
}

/// Sends a viewer the stream until it ends.
pub(super) async fn watch(viewer: Viewer, stopping: &CancellationToken) -> Ended {
    let now = Instant::now();
    let moved = (viewer.programme.moved(), viewer.programme.stream().realtime().moved());
    let mut session = Session {
        stage: Stage::Connecting { until: now + CONNECT_TIMEOUT },
        told: now,
        again: None,
        lost: None,
        link: LinkStats::default(),
        counted: LinkStats::default(),
        bytes: 0,
        moved,
        switching: Switching::default(),
        chosen: None,
        viewer,
    };
    let ended = tokio::select! {
        ended = session.run() => ended,
        () = stopping.cancelled() => Ended::Stopping,
    };
    session.count();
    session.viewer.line.close();
    ended
}

/// How far a session is.
enum Stage {
    Connecting { until: Instant },
    Watching { anchor: Anchor, reported: usize, _counted: Counted },
}

struct Session {
    viewer: Viewer,
    stage: Stage,
    /// When it was looked at last how it does.
    told: Instant,
    /// When all since the newest key frame was sent again last.
    again: Option<Instant>,
    /// When packets were missing last, while pictures are held for that.
    lost: Option<Instant>,
    link: LinkStats,
    /// What of it is in the metrics, and the bytes that are not.
    counted: LinkStats,
    bytes: u64,
    moved: (watch::Receiver<u64>, watch::Receiver<u64>),
    switching: Switching,
    /// Pictures that are sent instead of the largest, as the line does not carry those.
    chosen: Option<Lane>,
}

impl Session {
    async fn run(&mut self) -> Ended {
        loop {
            let now = Instant::now();
            if self.viewer.line.peer.next_timer().is_some_and(|due| due <= now) {
                self.viewer.line.peer.on_timer(now);
            }
            let due = match self.go_on(now) {
                Ok(due) => due,
                Err(ended) => return ended,
            };
            if let Some(ended) = self.wait(now, due).await {
                return ended;
            }
        }
    }

    /// What has come is taken in, and what is due is sent. When the next is due, if anything is.
    fn go_on(&mut self, now: Instant) -> Result<Option<Instant>, Ended> {
        while let Some(event) = self.viewer.line.peer.next_event() {
            match event {
                PeerEvent::Connected => self.enter(now),
                PeerEvent::Gone => return Err(Ended::Left),
                PeerEvent::Control(control) => self.take_control(control, now),
                PeerEvent::Rtp(..) => {}
            }
        }
        if now.duration_since(self.told) >= TOLD_EVERY {
            self.told = now;
            // Of a stream that is over the rest is sent.
            if !self.viewer.programme.has_ended() {
                self.check(now)?;
            }
            self.hold(now);
            self.choose(now);
            self.count();
        }
        let due = match self.stage {
            Stage::Connecting { until } if now >= until => return Err(Ended::NotConnected),
            Stage::Connecting { until } => Some(until),
            Stage::Watching { .. } => self.send_due(now)?,
        };
        self.flush();
        Ok(due)
    }

    /// Whether who has come may still watch; it goes on with the stream where that is now.
    fn check(&mut self, now: Instant) -> Result<(), Ended> {
        let Viewer { programme, attendance, watcher, outgoing, .. } = &mut self.viewer;
        let Watcher::Guest(pass) = watcher else { return Ok(()) };
        if let Some(stream) = pass.check(now)? {
            *programme = RtpProgramme::of(&stream);
            self.moved = (programme.moved(), stream.realtime().moved());
            *attendance = Attendance::new(stream);
            self.chosen = None;
            outgoing.iter_mut().for_each(Outgoing::move_on);
        }
        Ok(())
    }

    /// Viewers on a line that loses packets see pictures a little later.
    fn hold(&mut self, now: Instant) {
        let Some(lost) = self.lost else { return };
        let is_over = now.duration_since(lost) > HELD_FOR;
        let trips = Duration::from_secs_f64(self.link.rtt_ms * HOLD_TRIPS / 1000.0);
        self.viewer.line.peer.hold(if is_over { Duration::ZERO } else { (HOLD + trips).min(HOLD_MAX) });
        self.lost = self.lost.filter(|_| !is_over);
    }

    /// Chooses the pictures that the viewer's line carries.
    fn choose(&mut self, now: Instant) {
        let Viewer { programme, outgoing, .. } = &mut self.viewer;
        let codec = outgoing.iter().map(Outgoing::codec).find(|codec| codec.media() == Media::Video);
        let base = codec.and_then(|codec| Some((codec, lane(&programme.source()?, codec)?.0)));
        let Some((codec, base)) = base else { return };
        let Some(most) = programme.bits_per_sec(base) else { return };
        let mut others = programme.others(now);
        others.retain(|other| other.codec == codec && other.bits_per_sec < most);
        let rates: Vec<f64> = [most].into_iter().chain(others.iter().map(|other| other.bits_per_sec)).collect();
        let is_chosen = |other: &OtherPictures| Some(other.lane) == self.chosen;
        let current = others.iter().position(is_chosen).map_or(0, |index| index + 1);
        let next = self.switching.choose(&rates, current, now);
        let other = next.checked_sub(1).and_then(|index| others.get(index));
        self.chosen = other.map(|other| other.lane);
        let late = other.map_or(Duration::ZERO, |other| other.late);
        outgoing.iter_mut().for_each(|one| one.wait_for(late, next > current));
        if next != current {
            let (direction, id) = (if next > current { "down" } else { "up" }, self.viewer.line.place.id());
            metrics::counter!("playhouse_whep_switches_total", "direction" => direction).increment(1);
            tracing::debug!(
                session.id = id,
                direction,
                bits_per_sec = rates.get(next),
                "a viewer is sent other pictures"
            );
        }
    }

    /// Media can flow.
    fn enter(&mut self, now: Instant) {
        self.viewer.line.place.settle();
        let anchor = Anchor::new(now, self.viewer.clock.now());
        let counted = Counted::reader(self.viewer.watcher.protocol());
        self.stage = Stage::Watching { anchor, reported: 0, _counted: counted };
        if let Watcher::Called(tell) = &mut self.viewer.watcher {
            tell(0);
        }
    }

    fn take_control(&mut self, control: Control, now: Instant) {
        match control {
            Control::KeyFrameWanted { ssrc } => {
                self.link.key_frame_requests += 1;
                self.viewer.programme.stream().realtime().ask_for_key_frame();
                if self.again.is_none_or(|again| now.duration_since(again) >= AGAIN_EVERY) {
                    self.again = Some(now);
                    self.viewer.outgoing.iter_mut().filter(|one| one.ssrc() == ssrc).for_each(Outgoing::start_anew);
                }
            }
            Control::Missing { packets } => {
                self.link.loss_reports += 1;
                self.link.packets_recovered += packets;
                self.lost = Some(now);
            }
            Control::Estimate { bits_per_sec } => {
                let protocol = self.viewer.watcher.protocol();
                metrics::histogram!("playhouse_link_estimated_bits_per_second", "protocol" => protocol)
                    .record(bits_per_sec);
                self.switching.note(bits_per_sec);
            }
            Control::Received { ssrc, lost_of_256, last_report: (report, held), at } => {
                if self.viewer.outgoing.iter().any(|one| one.ssrc() == ssrc && one.codec().media() == Media::Video) {
                    self.switching.note_lost(f64::from(lost_of_256) / 256.0);
                }
                let Stage::Watching { anchor, .. } = &self.stage else { return };
                let middle = (anchor.ntp(at) >> 16) as u32;
                let trip = f64::from(middle.wrapping_sub(report).wrapping_sub(held)) / MIDDLE_PER_SEC;
                // A report that was never sent, or a clock that runs backwards, makes it hours.
                if report != 0 && trip < CONNECT_TIMEOUT.as_secs_f64() {
                    self.link.rtt_ms = trip * 1000.0;
                }
            }
            Control::Clock { .. } => {}
        }
    }

    fn send_due(&mut self, now: Instant) -> Result<Option<Instant>, Ended> {
        self.moved.0.mark_unchanged();
        self.moved.1.mark_unchanged();
        let Viewer { line, programme, attendance, outgoing, .. } = &mut self.viewer;
        programme.pull(now);
        let source = programme.source().unwrap_or_default();
        let Stage::Watching { anchor, reported, .. } = &mut self.stage else { return Ok(None) };
        attendance.need(needs(&source, outgoing));
        let (mut due, mut passed) = (None::<Instant>, Passed::default());
        let sound =
            outgoing.iter().any(|one| one.codec() == Codec::Opus).then(|| heard_until(programme, now)).flatten();
        for one in outgoing.iter_mut() {
            let lane = match one.codec().media() {
                Media::Audio => Lane::Sound,
                Media::Video => {
                    let largest = lane(&source, one.codec()).ok_or(Ended::OtherCodec)?.0;
                    self.chosen.unwrap_or(largest)
                }
            };
            let next = one.send_due((programme, lane), (line, anchor), (now, sound), &mut passed);
            due = [due, next].into_iter().flatten().min();
        }
        self.link.packets += passed.packets;
        self.bytes += passed.bytes;
        let elapsed = now.duration_since(anchor.begun());
        let early = REPORTED_AT.iter().filter(|after| elapsed >= **after).count();
        let reports = early + usize::try_from(elapsed.as_secs()).unwrap_or(usize::MAX);
        if *reported < reports && passed.has_begun {
            *reported = reports;
            outgoing.iter().filter_map(|one| one.told(anchor, now)).for_each(|told| line.peer.report(told, now));
        }
        if due.is_none() && programme.has_ended() {
            return Err(Ended::Over);
        }
        Ok(due)
    }

    fn flush(&mut self) {
        self.viewer.line.flush(|_| ());
    }

    fn count(&mut self) {
        let before = std::mem::replace(&mut self.counted, self.link);
        let protocol = self.viewer.watcher.protocol();
        self.link.count_since(&before, protocol);
        let bytes = std::mem::take(&mut self.bytes);
        metrics::counter!("playhouse_live_egress_bytes_total", "protocol" => protocol).increment(bytes);
        if let (Watcher::Called(tell), Stage::Watching { .. }) = (&mut self.viewer.watcher, &self.stage) {
            tell(bytes);
        }
    }

    async fn wait(&mut self, now: Instant, due: Option<Instant>) -> Option<Ended> {
        let is_watching = matches!(self.stage, Stage::Watching { .. });
        let Line { route, place, peer, .. } = &mut self.viewer.line;
        let timers = [peer.next_timer(), due, Some(self.told + TOLD_EVERY)];
        let due = timers.into_iter().flatten().min().unwrap_or(now).max(now + PAUSE);
        let (came, encoded) = &mut self.moved;
        tokio::select! {
            datagram = route.next() => {
                let Some(datagram) = datagram else { return Some(Ended::Stopping) };
                self.take(datagram);
                for _ in 1..BATCH {
                    let Some(datagram) = self.viewer.line.route.next_now() else { break };
                    self.take(datagram);
                }
                None
            }
            command = place.commands.recv() => match command {
                Some(Command::Restart { credentials, reply }) => {
                    self.viewer.line.restart(credentials, reply);
                    None
                }
                Some(Command::End) | None => Some(Ended::Left),
            },
            // The stream lives as long as this viewer.
            Ok(()) = came.changed(), if is_watching => None,
            Ok(()) = encoded.changed(), if is_watching => None,
            () = tokio::time::sleep_until(due.into()) => None,
        }
    }

    fn take(&mut self, datagram: Arrived) {
        self.viewer.line.peer.take(datagram);
    }
}
