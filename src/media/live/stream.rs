//! A broadcast that is fed on one side and read on the other: readers wait without polling, and see a part only after it was
//! handed to whoever keeps it.
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::broadcast::{Broadcast, BroadcastSettings, Cut, Listener, Nonsense, RungPicture, Told, ToldCue, Visit};
use super::realtime::Realtime;
use super::slate::SlateClip;
use super::timeline::Stamp;
use crate::domain::time::Timestamp;
use crate::media::frames::{Frame, InvalidConfig, TrackConfig};

/// Who keeps what was cut. Called with the broadcast as it will be seen, before anyone sees it; must not block for long.
pub trait Keeper: Send {
    /// Takes what was cut, in order, and says of the broadcast's segments where they lie.
    fn keep(&mut self, broadcast: &mut Broadcast, cuts: &[Cut]);
    /// Nothing more will come, though the broadcast goes on elsewhere.
    fn let_go(&mut self) {}
}

/// Keeps nothing: what leaves the window is gone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forgetful;

impl Keeper for Forgetful {
    fn keep(&mut self, _: &mut Broadcast, _: &[Cut]) {}
}

/// A visit that was fenced off by a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another publisher has taken over")]
pub struct TakenOver;

struct Fed {
    broadcast: Broadcast,
    keeper: Box<dyn Keeper>,
    /// Generation of the publishing lease that may feed.
    generation: u64,
    /// Visits so far.
    visits: u64,
}

/// A publisher's visit among those of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitNumber(u64);

/// A live stream's media, shared by its publisher and its viewers.
pub struct LiveStream {
    fed: Mutex<Fed>,
    moved: watch::Sender<u64>,
    tapped: watch::Sender<u64>,
    joined: watch::Sender<u64>,
    /// Whether the broadcast goes on elsewhere.
    is_retired: AtomicBool,
    shared: Mutex<HashMap<TypeId, Weak<dyn Any + Send + Sync>>>,
    realtime: Realtime,
}

impl LiveStream {
    /// A stream that nobody has published to.
    pub fn new(settings: BroadcastSettings, keeper: Box<dyn Keeper>) -> Self {
        let fed = Fed { broadcast: Broadcast::new(settings), keeper, generation: 0, visits: 0 };
        Self {
            fed: Mutex::new(fed),
            moved: watch::Sender::new(0),
            tapped: watch::Sender::new(0),
            joined: watch::Sender::new(0),
            is_retired: AtomicBool::new(false),
            shared: Mutex::default(),
            realtime: Realtime::default(),
        }
    }

    fn fed(&self) -> MutexGuard<'_, Fed> {
        self.fed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the broadcast, hands over what was cut, and wakes readers if anything was.
    fn change<T>(&self, change: impl FnOnce(&mut Fed, &mut Vec<Cut>) -> T) -> T {
        let mut cuts = Vec::new();
        let mut fed = self.fed();
        let had_ended = fed.broadcast.has_ended();
        let result = change(&mut fed, &mut cuts);
        let Fed { broadcast, keeper, .. } = &mut *fed;
        let moved = !cuts.is_empty() || broadcast.has_ended() != had_ended;
        let reached = if broadcast.has_ended() { u64::MAX } else { broadcast.tap().end() };
        if moved {
            keeper.keep(broadcast, &cuts);
            // While nobody can look: whoever has seen what is new finds nothing older under the version.
            self.moved.send_modify(|version| *version += 1);
        }
        // Who begins to wait from now on has to look first, and sees all of this.
        if self.tapped.receiver_count() > 0 {
            self.tapped.send_if_modified(|known| std::mem::replace(known, reached) != reached);
        }
        result
    }

    /// A publisher begins under a lease of this generation; older ones can feed no more.
    pub fn begin_visit(&self, generation: u64, visit: Visit, now: Timestamp) -> Result<VisitNumber, BeginError> {
        self.change(|fed, cuts| {
            if generation < fed.generation {
                return Err(TakenOver.into());
            }
            fed.generation = generation;
            fed.broadcast.begin_visit(visit, now, cuts)?;
            fed.visits += 1;
            Ok(VisitNumber(fed.visits))
        })
    }

    /// Takes a frame that was made of others of this visit; when that is over, it is of no use any more.
    pub fn push_made(
        &self,
        visit: VisitNumber,
        (track, stamp): (usize, Stamp),
        payload: Bytes,
        now: Timestamp,
    ) -> Result<(), TakenOver> {
        self.change(|fed, cuts| {
            if visit.0 != fed.visits {
                return Err(TakenOver);
            }
            if fed.broadcast.is_fed() {
                fed.broadcast.push(track, stamp, payload, now, cuts);
            }
            Ok(())
        })
    }

    /// Takes a frame of the visit of this generation.
    pub fn push(
        &self,
        generation: u64,
        (track, stamp): (usize, Stamp),
        payload: Bytes,
        now: Timestamp,
    ) -> Result<(), TakenOver> {
        self.change(|fed, cuts| {
            if generation != fed.generation {
                return Err(TakenOver);
            }
            fed.broadcast.push(track, stamp, payload, now, cuts);
            Ok(())
        })
    }

    /// Takes what the publisher of this generation tells of its timeline.
    pub fn cue(&self, generation: u64, cue: ToldCue) {
        self.change(|fed, cuts| {
            if generation == fed.generation {
                fed.broadcast.take_cue(cue, cuts);
            }
        });
    }

    /// A rung's encoder tells what it makes in this epoch.
    pub fn begin_rung(&self, (name, epoch): (&str, u32), config: TrackConfig) -> Result<(), InvalidConfig> {
        self.change(|fed, _| fed.broadcast.begin_rung(name, epoch, config.clone()))?;
        self.realtime.begin_rung(name, epoch, config);
        Ok(())
    }

    /// Nobody encodes other rungs than these now.
    pub fn give_up_rungs_but(&self, made: &[String]) {
        self.realtime.give_up_rungs_but(made);
        self.change(|fed, cuts| fed.broadcast.give_up_rungs_but(made, cuts));
    }

    /// Takes a picture of a rung of this epoch; of another one it is of no use any more.
    pub fn push_rung(&self, rung: (&str, u32), picture: RungPicture, now: Timestamp) {
        let RungPicture { pts, keyframe, ref payload } = picture;
        let frame = Frame { dts: pts, pts, duration: 0, keyframe, payload: payload.clone() };
        self.realtime.push_rung(rung, &frame);
        self.change(|fed, cuts| fed.broadcast.push_rung(rung, picture, now, cuts));
    }

    /// The visit of this generation is over.
    pub fn end_visit(&self, generation: u64) {
        self.change(|fed, cuts| {
            if generation == fed.generation {
                fed.broadcast.end_visit(cuts);
            }
        });
    }

    /// What viewers see from now on while nobody publishes.
    pub fn set_slate(&self, slate: Option<Arc<SlateClip>>) {
        self.change(|fed, _| fed.broadcast.set_slate(slate));
    }

    /// Time passes.
    pub fn tick(&self, now: Timestamp) {
        self.change(|fed, cuts| fed.broadcast.tick(now, cuts));
    }

    /// The broadcast is about to go on elsewhere: who does not find it here any more may look for it there.
    pub fn begin_to_retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    /// The broadcast goes on elsewhere: nobody can feed it here any more, and nobody waits here for what comes.
    pub fn retire(&self) {
        self.change(|fed, cuts| {
            fed.generation = u64::MAX;
            fed.broadcast.end_visit(cuts);
        });
        self.fed().keeper.let_go();
        self.is_retired.store(true, Ordering::Release);
        self.moved.send_modify(|version| *version += 1);
    }

    /// Whether the broadcast goes on elsewhere.
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// The broadcast is over: nobody can feed it any more.
    pub fn end(&self) {
        self.change(|fed, cuts| {
            fed.generation = u64::MAX;
            fed.broadcast.end(cuts);
        });
    }

    /// Takes what was told of the stream that this one is to be like.
    pub fn take_told(&self, told: Vec<Told>) -> Result<(), Nonsense> {
        let mut fed = self.fed();
        let taken = told.into_iter().try_for_each(|told| fed.broadcast.take_told(told));
        self.moved.send_modify(|version| *version += 1);
        taken
    }

    /// What is told of from now on are frames of these tracks.
    pub(super) fn begin_frames(&self, epoch: u32, configs: Vec<TrackConfig>) {
        self.change(|fed, _| fed.broadcast.begin_told_frames(epoch, configs));
    }

    /// The next frame that was told.
    pub(super) fn push_frame(&self, track: usize, frame: &Frame) {
        self.change(|fed, _| fed.broadcast.push_told_frame(track, frame));
    }

    /// No more frames are told of.
    pub(super) fn forget_frames(&self) {
        self.change(|fed, _| fed.broadcast.forget_told_frames());
        self.realtime.forget();
    }

    /// Moves when somebody begins to read frames.
    pub fn joined(&self) -> watch::Receiver<u64> {
        self.joined.subscribe()
    }

    /// What is new to this listener.
    pub fn tell(&self, listener: &mut Listener) -> Vec<Told> {
        self.fed().broadcast.tell(listener)
    }

    /// Moves when there may be something to be told.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Counts how often it has moved: what was rendered at one count is good until the next.
    pub fn version(&self) -> u64 {
        *self.moved.borrow()
    }

    /// Moves whenever there is more to be read of the tap, and when there never will be.
    pub fn tapped(&self) -> watch::Receiver<u64> {
        self.tapped.subscribe()
    }

    /// What readers of one kind share: made by the first of them, and there as long as any of them has it.
    pub fn shared<T: Any + Send + Sync>(self: &Arc<Self>, make: impl FnOnce(Arc<Self>) -> T) -> Arc<T> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shared.get(&TypeId::of::<T>()).and_then(Weak::upgrade);
        if let Some(Ok(known)) = known.map(Arc::downcast) {
            return known;
        }
        let made = Arc::new(make(Arc::clone(self)));
        let weak: Weak<T> = Arc::downgrade(&made);
        shared.insert(TypeId::of::<T>(), weak);
        self.joined.send_modify(|count| *count += 1);
        made
    }

    /// What is made of it for viewers who see it at once.
    pub fn realtime(&self) -> &Realtime {
        &self.realtime
    }

    /// Looks at the broadcast.
    pub fn look<T>(&self, look: impl FnOnce(&Broadcast) -> T) -> T {
        look(&self.fed().broadcast)
    }

    /// Looks at the broadcast each time it has moved, until `look` has found what it waits for; `None` when that takes
    /// longer than `timeout`.
    pub async fn wait_for<T>(&self, timeout: Duration, mut look: impl FnMut(&Broadcast) -> Option<T>) -> Option<T> {
        let mut moved = self.moved.subscribe();
        let waited = tokio::time::timeout(timeout, async {
            loop {
                moved.mark_unchanged();
                if let Some(found) = look(&self.fed().broadcast) {
                    return Some(found);
                }
                if self.is_retired() {
                    return None;
                }
                // The sender lives as long as this stream.
                moved.changed().await.ok()?;
            }
        });
        waited.await.ok().flatten()
    }
}

/// Why a visit cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// Somebody with a newer lease is here.
    #[error(transparent)]
    TakenOver(#[from] TakenOver),
    /// A track's configuration cannot be read.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frames::{CodecConfig, TrackConfig};
    use crate::media::live::timeline::IngestClock;

    fn visit() -> Visit {
        let aac = CodecConfig::Aac { config: Bytes::from_static(&[0x11, 0x90]) };
        Visit {
            clock: IngestClock::RTMP,
            tracks: vec![TrackConfig::new(aac, 48_000)],
            frame_rate: None,
            keys_on_request: false,
        }
    }

    fn push(stream: &LiveStream, generation: u64, ms: i64) -> Result<(), TakenOver> {
        let stamp = Stamp { dts: ms, composition: 0, keyframe: true, arrival: Duration::from_millis(ms as u64) };
        stream.push(generation, (0, stamp), Bytes::from_static(&[7; 10]), Timestamp::from_millis(ms))
    }

    struct Counting(Arc<Mutex<usize>>);

    impl Keeper for Counting {
        fn keep(&mut self, broadcast: &mut Broadcast, cuts: &[Cut]) {
            assert!(broadcast.renditions().len() == 1);
            *self.0.lock().unwrap() += cuts.iter().filter(|cut| matches!(cut, Cut::Part { .. })).count();
        }
    }

    #[tokio::test]
    async fn readers_wait_and_see_what_was_kept() {
        let kept = Arc::new(Mutex::new(0));
        let settings = BroadcastSettings::new(Duration::from_secs(60), 0);
        let stream = Arc::new(LiveStream::new(settings, Box::new(Counting(Arc::clone(&kept)))));
        stream.begin_visit(3, visit(), Timestamp::from_millis(0)).unwrap();
        assert_eq!(stream.begin_visit(2, visit(), Timestamp::from_millis(0)), Err(TakenOver.into()));
        let reader = {
            let (stream, kept) = (Arc::clone(&stream), Arc::clone(&kept));
            let count =
                |broadcast: &Broadcast| broadcast.renditions()[0].ring.segments().map(|one| one.parts.len()).sum();
            tokio::spawn(async move {
                let seen = stream
                    .wait_for(Duration::from_secs(60), |broadcast| Some(count(broadcast)).filter(|n: &usize| *n >= 3));
                (seen.await, *kept.lock().unwrap())
            })
        };
        for ms in (0..1200).step_by(20) {
            push(&stream, 3, ms).unwrap();
            tokio::task::yield_now().await;
        }
        let (seen, kept) = reader.await.unwrap();
        assert!(seen.is_some_and(|seen| seen <= kept), "{seen:?} of {kept}");
        assert_eq!(push(&stream, 2, 1300), Err(TakenOver));
        stream.end();
        assert_eq!(push(&stream, 3, 1320), Err(TakenOver));
        assert!(stream.look(Broadcast::has_ended));
        assert_eq!(stream.wait_for(Duration::from_millis(5), |_| None::<()>).await, None);
    }
}
