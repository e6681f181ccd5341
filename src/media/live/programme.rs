//! A live stream as a transport stream: multiplexed once for all who read it, whoever of them comes first, and only while
//! somebody does. What was made is kept for a while, so that readers can send again what was lost.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::broadcast::Broadcast;
use super::ring::MICROS;
use super::stream::LiveStream;
use super::tap::{Cursor, Tapped, Tracks};
use super::tape::{Found, Piece, Tape};
use crate::media::mpegts::mux::{Muxer, NotCarried};

/// Bytes of a chunk at most: seven packets, which fit into an Ethernet frame.
pub const CHUNK_BYTES_MAX: usize = 7 * 188;
/// Some packets of a transport stream.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// When its first frame came; never before that of the chunk before it.
    pub made: Instant,
    /// Whole packets.
    pub bytes: Bytes,
}

impl Piece for Chunk {
    fn made(&self) -> Instant {
        self.made
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A live stream as a transport stream.
pub struct Programme {
    stream: Arc<LiveStream>,
    made: Mutex<Made>,
}

struct Made {
    cursor: Cursor,
    tracks: Option<Arc<Tracks>>,
    muxer: Muxer,
    refusal: Option<NotCarried>,
    tape: Tape<Chunk>,
}

impl Programme {
    /// What comes of this stream: one for all that read it.
    pub fn of(stream: &Arc<LiveStream>) -> Arc<Self> {
        stream.shared(Self::new)
    }

    fn new(stream: Arc<LiveStream>) -> Self {
        let made = Made {
            cursor: stream.look(|broadcast| broadcast.tap().join()),
            tracks: None,
            muxer: Muxer::default(),
            refusal: None,
            tape: Tape::default(),
        };
        Self { stream, made: Mutex::new(made) }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves when there may be more, and at the end.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.stream.tapped()
    }

    /// Whether nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.stream.look(Broadcast::has_ended)
    }

    /// Takes in what has come since. Which codec it is, when what comes now cannot be carried.
    pub fn pull(&self, now: Instant) -> Result<(), NotCarried> {
        let mut made = self.made();
        let tapped: Vec<Tapped> = self.stream.look(|broadcast| broadcast.tap().read(&mut made.cursor).collect());
        made.take(&tapped, now);
        made.refusal.clone().map_or(Ok(()), Err)
    }

    /// Where to begin: with the newest key frame, once there is one.
    pub fn start(&self) -> Option<u64> {
        self.made().tape.start()
    }

    /// What there is from this chunk on, so many of them at most.
    pub fn chunks(&self, from: u64, most: usize) -> Found<Chunk> {
        self.made().tape.from(from, most)
    }
}

impl Made {
    fn take(&mut self, tapped: &[Tapped], now: Instant) {
        let Some(newest) = tapped.last().map(|last| last.dts(MICROS)) else { return };
        let mut pending = BytesMut::new();
        let mut came = now;
        for one in tapped {
            if self.tracks.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &one.tracks)) {
                self.tracks = Some(Arc::clone(&one.tracks));
                self.refusal = self.muxer.begin(&one.tracks.configs).err();
            }
            if self.refusal.is_some() {
                continue;
            }
            let behind = Duration::from_micros(u64::try_from(newest - one.dts(MICROS)).unwrap_or(0));
            if one.is_start() {
                self.add(&mut pending, came);
                self.tape.begin();
            }
            if pending.is_empty() {
                came = now.checked_sub(behind).unwrap_or(now);
            }
            self.muxer.push(one.track, &one.frame, &mut pending);
            while pending.len() >= CHUNK_BYTES_MAX {
                let whole = pending.split_to(CHUNK_BYTES_MAX);
                self.add_one(whole.freeze(), came);
            }
        }
        self.add(&mut pending, came);
        self.tape.trim(now);
    }

    /// What is left of a chunk.
    fn add(&mut self, pending: &mut BytesMut, came: Instant) {
        if !pending.is_empty() {
            self.add_one(pending.split().freeze(), came);
        }
    }

    fn add_one(&mut self, bytes: Bytes, came: Instant) {
        let made = self.tape.newest().map_or(came, |last| last.made.max(came));
        self.tape.push(Chunk { made, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::media::frames::{CodecConfig, TrackConfig};
    use crate::media::live::broadcast::BroadcastSettings;
    use crate::media::live::stream::Forgetful;
    use crate::media::live::testing::{at, audio, video, visit};
    use crate::media::live::timeline::Stamp;

    fn stream(tracks: Vec<TrackConfig>) -> Arc<LiveStream> {
        let settings = BroadcastSettings::new(Duration::from_secs(60), 0);
        let stream = Arc::new(LiveStream::new(settings, Box::new(Forgetful)));
        stream.begin_visit(1, visit(tracks), at(0)).unwrap();
        stream
    }

    /// Ten pictures a second, a key frame each second.
    fn play(stream: &LiveStream, tenths: std::ops::Range<i64>) {
        for tenth in tenths {
            let arrival = Duration::from_millis(tenth as u64 * 100);
            let stamp = Stamp { dts: tenth * 100, composition: 0, keyframe: tenth % 10 == 0, arrival };
            let payload = Bytes::from_static(&[0, 0, 0, 4, 0x41, 1, 2, 3]);
            stream.push(1, (0, stamp), payload, Timestamp::from_millis(tenth * 100)).unwrap();
        }
    }

    fn found(programme: &Programme, from: u64) -> Vec<Chunk> {
        match programme.chunks(from, usize::MAX) {
            Found::Pieces(chunks) => chunks,
            Found::Gone(start) => panic!("gone, goes on at {start:?}"),
        }
    }

    #[tokio::test]
    async fn it_is_made_once_for_all_and_only_while_somebody_reads() {
        let stream = stream(vec![video(), audio()]);
        play(&stream, 0..15);
        let (one, other) = (Programme::of(&stream), Programme::of(&stream));
        assert!(Arc::ptr_eq(&one, &other));
        let now = Instant::now();
        one.pull(now).unwrap();
        let start = one.start().expect("a key frame");
        let chunks = found(&other, start);
        assert!(!chunks.is_empty() && chunks.iter().all(|chunk| chunk.bytes.len() % 188 == 0));
        assert_eq!(now.duration_since(chunks[0].made).as_millis() / 100, 4, "what has come before is as old as it is");
        let mut moved = one.moved();
        play(&stream, 15..25);
        moved.changed().await.unwrap();
        other.pull(now + Duration::from_secs(1)).unwrap();
        assert!(one.start().expect("another") > start);
        drop((one, other));
        assert!(!stream.look(|broadcast| broadcast.tap().is_read()));
    }

    #[test]
    fn who_is_too_late_is_told_where_to_go_on() {
        let stream = stream(vec![video()]);
        let programme = Programme::of(&stream);
        let now = Instant::now();
        for second in 0..20 {
            play(&stream, second * 10..second * 10 + 10);
            programme.pull(now + Duration::from_secs(second as u64)).unwrap();
        }
        let Found::Gone(Some(start)) = programme.chunks(0, 1) else { panic!("all of it is kept") };
        assert_eq!(Some(start), programme.start());
        assert!(!found(&programme, start).is_empty());
        assert!(found(&programme, start + 1000).is_empty(), "nothing yet");
    }

    #[test]
    fn what_cannot_be_carried_is_told() {
        let av1c = Bytes::from_static(&[0x81, 0, 0, 0]);
        let av1 = TrackConfig::new(CodecConfig::Av1 { av1c }, 90_000);
        let mut muxer = Muxer::default();
        assert_eq!(muxer.begin(&[av1]), Err(NotCarried("AV1")));
    }
}
