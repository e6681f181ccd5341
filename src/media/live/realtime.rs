//! What is made of a stream for viewers who see it at once (WebRTC), where their players cannot take what comes: sound as Opus,
//! pictures as H.264 in the order in which they are shown. It exists while somebody needs it: viewers say what they need here,
//! whoever encodes is told, and what comes of it is read here like the stream's own frames.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use super::stream::LiveStream;
use super::tap::{Cursor, Tap, Tapped};
use crate::media::frames::{Frame, TrackConfig};

/// Why pictures cannot be sent as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// They come in another order than they are shown in.
    #[error("the source has B-frames")]
    Reordered,
    /// Browsers decode no such ones.
    #[error("the source is H.264 in a form that browsers do not decode: {0}")]
    Form(&'static str),
    /// They are to be turned.
    #[error("the source's pictures are rotated")]
    Rotated,
    /// Some viewers do not decode this codec.
    #[error("the source is {0}, which not every viewer's browser takes")]
    Codec(&'static str),
    /// Viewers at other nodes say so.
    #[error("viewers at other nodes cannot be sent the source as it is")]
    Elsewhere,
}

/// What a viewer needs to be encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Pictures, and why.
    pub pictures: Option<Unfit>,
    /// Sound.
    pub sound: bool,
}

/// What all viewers need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Viewers that there are.
    pub viewers: usize,
    /// Those that need encoded pictures, and why the last of them does.
    pub pictures: usize,
    /// The reason of the last of these.
    pub reason: Option<Unfit>,
    /// Those that need encoded sound.
    pub sound: usize,
}

/// How a stream is shown to viewers who see it at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RealtimeStats {
    /// How many there are.
    pub viewers: usize,
    /// Whether some of them are sent pictures that are encoded for them.
    pub encoded: bool,
    /// Why that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether sound is encoded for them.
    pub sound_encoded: bool,
}

/// What is made, each on a tap with one track.
#[derive(Debug, Default)]
struct Made {
    pictures: Tap,
    sound: Tap,
    /// Rungs of the ladder, by their names.
    rungs: Vec<(String, Tap)>,
    /// Counts how often pictures began anew.
    begun: u64,
}

/// The place where viewers and who encodes for them meet.
#[derive(Debug, Default)]
pub struct Realtime {
    made: Mutex<Made>,
    moved: watch::Sender<u64>,
    wanted: watch::Sender<Wanted>,
    keys: watch::Sender<u64>,
}

/// A reader's places.
#[derive(Debug)]
pub struct RealtimeCursor {
    pictures: Cursor,
    sound: Cursor,
    rungs: HashMap<String, Cursor>,
    begun: u64,
}

/// What has been made.
#[derive(Debug)]
pub struct RealtimeRead {
    /// It began anew: pictures of before are of no use any more.
    pub is_anew: bool,
    /// Frames of both tracks.
    pub frames: Vec<Tapped>,
    /// Frames of rungs.
    pub rungs: Vec<(String, Vec<Tapped>)>,
}

impl Realtime {
    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What viewers need; moves when that changes.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// Somebody cannot go on without a key frame.
    pub fn ask_for_key_frame(&self) {
        self.keys.send_modify(|asked| *asked += 1);
    }

    /// Moves when a key frame is asked for.
    pub fn keys_asked(&self) -> watch::Receiver<u64> {
        self.keys.subscribe()
    }

    /// How it does; nothing while nobody watches this way.
    pub fn stats(&self) -> Option<RealtimeStats> {
        let Wanted { viewers, pictures, reason, sound } = *self.wanted.borrow();
        let reason = reason.filter(|_| pictures > 0).map(|reason| reason.to_string());
        (viewers > 0).then_some(RealtimeStats { viewers, encoded: pictures > 0, reason, sound_encoded: sound > 0 })
    }

    /// Encoded pictures that come from now on are of this configuration.
    pub fn begin_pictures(&self, epoch: u32, config: TrackConfig) {
        self.end_pictures();
        self.made().pictures.begin(epoch, vec![config]);
    }

    /// No more of the pictures that were encoded.
    pub fn end_pictures(&self) {
        let mut made = self.made();
        made.begun += 1;
        made.pictures.clear();
    }

    /// The same of sound.
    pub fn begin_sound(&self, epoch: u32, config: TrackConfig) {
        self.made().sound.begin(epoch, vec![config]);
    }

    /// The next encoded picture.
    pub fn push_picture(&self, frame: &Frame) {
        self.made().pictures.push(0, frame);
        self.moved.send_modify(|count| *count += 1);
    }

    /// The next encoded packet of sound.
    pub fn push_sound(&self, frame: &Frame) {
        self.made().sound.push(0, frame);
        self.moved.send_modify(|count| *count += 1);
    }

    /// Pictures of a rung that come from now on are of this configuration.
    pub(super) fn begin_rung(&self, name: &str, epoch: u32, config: TrackConfig) {
        let mut made = self.made();
        let index = made.rungs.iter().position(|(known, _)| known == name).unwrap_or(made.rungs.len());
        if index == made.rungs.len() {
            made.rungs.push((name.to_owned(), Tap::default()));
        }
        if let Some((_, tap)) = made.rungs.get_mut(index) {
            tap.clear();
            tap.begin(epoch, vec![config]);
        }
    }

    /// The next picture of a rung of this epoch.
    pub(super) fn push_rung(&self, (name, epoch): (&str, u32), frame: &Frame) {
        if let Some((_, tap)) = self.made().rungs.iter_mut().find(|(known, _)| known == name)
            && tap.epoch() == Some(epoch)
        {
            tap.push(0, frame);
        }
        if self.moved.receiver_count() > 0 {
            self.moved.send_modify(|count| *count += 1);
        }
    }

    /// The next picture of a rung that another node tells of.
    pub(super) fn push_told_rung(&self, name: &str, frame: &Frame) {
        let epoch = self.made().rungs.iter().find(|(known, _)| known == name).and_then(|(_, tap)| tap.epoch());
        if let Some(epoch) = epoch {
            self.push_rung((name, epoch), frame);
        }
    }

    /// How many rungs are made.
    pub(super) fn rungs(&self) -> usize {
        self.made().rungs.len()
    }

    /// Nothing of what was made is of use any more.
    pub(super) fn forget(&self) {
        self.end_pictures();
        let mut made = self.made();
        made.sound.clear();
        made.rungs.clear();
    }

    /// No other rungs than these are made.
    pub(super) fn give_up_rungs_but(&self, made: &[String]) {
        self.made().rungs.retain(|(name, _)| made.contains(name));
    }

    /// Begins to read.
    pub fn join(&self) -> RealtimeCursor {
        let made = self.made();
        let rungs = HashMap::new();
        RealtimeCursor { pictures: made.pictures.join(), sound: made.sound.join(), rungs, begun: made.begun }
    }

    /// What has been made since the last time.
    pub fn read(&self, cursor: &mut RealtimeCursor) -> RealtimeRead {
        let made = self.made();
        let is_anew = std::mem::replace(&mut cursor.begun, made.begun) != made.begun;
        let pictures = made.pictures.read(&mut cursor.pictures);
        cursor.rungs.retain(|name, _| made.rungs.iter().any(|(known, _)| known == name));
        let rungs = made.rungs.iter().map(|(name, tap)| {
            let place = cursor.rungs.entry(name.clone()).or_insert_with(|| tap.join());
            (name.clone(), tap.read(place).collect())
        });
        let rungs = rungs.collect();
        RealtimeRead { is_anew, frames: pictures.chain(made.sound.read(&mut cursor.sound)).collect(), rungs }
    }

    /// Moves when there is more to be read.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }
}

/// A viewer among those who see the stream at once, or those of another node, until it is dropped.
pub struct Attendance {
    stream: Arc<LiveStream>,
    viewers: usize,
    needs: Needs,
}

impl Attendance {
    /// One more, who needs nothing yet.
    pub fn new(stream: Arc<LiveStream>) -> Self {
        let mut attendance = Self { stream, viewers: 0, needs: Needs::default() };
        attendance.count(1);
        attendance
    }

    /// So many, from now on.
    pub fn count(&mut self, viewers: usize) {
        let before = std::mem::replace(&mut self.viewers, viewers);
        if before != viewers {
            self.stream.realtime().wanted.send_modify(|wanted| wanted.viewers = wanted.viewers + viewers - before);
        }
    }

    /// What it needs from now on.
    pub fn need(&mut self, needs: Needs) {
        let before = std::mem::replace(&mut self.needs, needs);
        if before == needs {
            return;
        }
        self.stream.realtime().wanted.send_modify(|wanted| {
            let change = |count: usize, was: bool, is: bool| count + usize::from(is) - usize::from(was);
            wanted.pictures = change(wanted.pictures, before.pictures.is_some(), needs.pictures.is_some());
            wanted.sound = change(wanted.sound, before.sound, needs.sound);
            wanted.reason = needs.pictures.or(wanted.reason).filter(|_| wanted.pictures > 0);
        });
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.need(Needs::default());
        self.count(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::media::live::broadcast::BroadcastSettings;
    use crate::media::live::stream::Forgetful;
    use crate::media::live::testing::{audio, video};

    fn stream() -> Arc<LiveStream> {
        let settings = BroadcastSettings::new(Duration::from_secs(60), 0);
        Arc::new(LiveStream::new(settings, Box::new(Forgetful)))
    }

    #[test]
    fn what_viewers_need_is_told_until_they_leave() {
        let stream = stream();
        let realtime = stream.realtime();
        assert_eq!(realtime.stats(), None);
        let (mut one, mut other) = (Attendance::new(stream.clone()), Attendance::new(stream.clone()));
        one.need(Needs { pictures: Some(Unfit::Reordered), sound: true });
        other.need(Needs { pictures: None, sound: true });
        let wanted = *realtime.wanted().borrow();
        assert_eq!((wanted.viewers, wanted.pictures, wanted.sound), (2, 1, 2));
        let stats = realtime.stats().unwrap();
        assert_eq!((stats.encoded, stats.reason.as_deref()), (true, Some("the source has B-frames")));
        drop(one);
        let stats = realtime.stats().unwrap();
        assert_eq!((stats.viewers, stats.encoded, stats.reason, stats.sound_encoded), (1, false, None, true));
        drop(other);
        assert_eq!(*realtime.wanted().borrow(), Wanted::default());
    }

    #[test]
    fn what_is_made_is_read_in_both_tracks() {
        let stream = stream();
        let realtime = stream.realtime();
        let mut cursor = realtime.join();
        let moved = realtime.moved();
        realtime.begin_pictures(1, video());
        realtime.begin_sound(1, audio());
        let frame = |dts, keyframe| Frame { dts, pts: dts, duration: 0, keyframe, payload: Bytes::from_static(&[1]) };
        realtime.push_sound(&frame(0, true));
        realtime.push_picture(&frame(0, false));
        realtime.push_picture(&frame(3000, true));
        let read = realtime.read(&mut cursor);
        assert!(read.is_anew);
        assert_eq!(read.frames.iter().map(|tapped| tapped.dts(90_000)).collect::<Vec<_>>(), [3000, 0]);
        let nothing = realtime.read(&mut cursor);
        assert!(moved.has_changed().unwrap() && !nothing.is_anew && nothing.frames.is_empty());
        realtime.end_pictures();
        realtime.begin_pictures(1, video());
        assert!(realtime.read(&mut realtime.join()).frames.iter().all(|tapped| tapped.tracks.leader().is_none()));
        realtime.push_picture(&frame(6000, true));
        let anew = realtime.read(&mut cursor);
        assert!(anew.is_anew && anew.frames.len() == 1, "{anew:?}");
    }
}
