//! Recording: what was cut is written to spans before anybody sees it. A span is an append-only file of one rendition and one
//! epoch, an initialisation segment and segments, that becomes a blob once it is long enough. All that a [`Recording`] says
//! can be read from the files again after a crash.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::broadcast::{Broadcast, Cut};
use super::chronicle::{self, Entry};
use super::part::Part;
use super::recording::{Place, RecordedSegment, RecordedTrack, Recording};
use super::ring::{Beginning, MICROS, Stored};
use super::stream::Keeper;
use crate::domain::asset::{BlobKey, TrackKind};
use crate::domain::cues::Anchor;
use crate::domain::ports::{BlobError, BlobStore};

/// Length from which a span is closed at the next segment that decodes by itself.
const SPAN_MICROS: i64 = 30_000_000;
/// What names of spans end with.
pub(super) const SPAN_SUFFIX: &str = ".mp4";
/// Pause before a span that the blob store did not take is offered again.
const SETTLE_RETRY: Duration = Duration::from_secs(1);

/// Time between two looks at how much room there is, about.
const SPACE_LOOKS: Duration = Duration::from_secs(2);

/// Where a recording lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingPlace {
    /// Directory of spans that are being written; on the same file system as a local blob store.
    pub dir: PathBuf,
    /// What keys of its blobs begin with, without a slash at the end.
    pub prefix: BlobKey,
}

impl RecordingPlace {
    pub(super) fn key(&self, name: &str) -> BlobKey {
        BlobKey::new(format!("{}/{name}", self.prefix))
    }
}

/// The name of a span: rendition, epoch, first segment.
pub(super) fn span_name(track: &str, epoch: u32, first: u64) -> String {
    format!("{track}-{epoch}-{first}{SPAN_SUFFIX}")
}

/// A file that is to be made durable, and a blob when it is complete.
#[derive(Debug, Clone)]
struct Unsettled {
    name: String,
    file: Arc<File>,
    is_complete: bool,
}

/// A recording, shared by whoever writes it and whoever ends it.
#[derive(Debug)]
pub struct Recorded {
    place: RecordingPlace,
    recording: Mutex<Recording>,
    /// Each span at most once: bounded by how many are open and how many the store has not taken yet.
    unsettled: Mutex<Vec<Unsettled>>,
    /// Held by whoever settles.
    turn: tokio::sync::Mutex<()>,
    moved: Notify,
    failed: AtomicBool,
    is_full: AtomicBool,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorded {
    /// A recording that lies there, as far as it is known.
    pub fn new(place: RecordingPlace, recording: Recording) -> Self {
        Self {
            place,
            recording: Mutex::new(recording),
            unsettled: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            moved: Notify::new(),
            failed: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        }
    }

    /// What is recorded.
    pub fn look<T>(&self, look: impl FnOnce(&Recording) -> T) -> T {
        look(&locked(&self.recording))
    }

    /// Directory of spans that are being written.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Whether the newest media are not kept: the disk is full or broken.
    pub fn is_failing(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.is_full.load(Ordering::Relaxed)
    }

    fn offer(&self, unsettled: Unsettled) {
        let mut all = locked(&self.unsettled);
        match all.iter_mut().find(|known| known.name == unsettled.name) {
            Some(known) => known.is_complete |= unsettled.is_complete,
            None => all.push(unsettled),
        }
        drop(all);
        self.moved.notify_one();
    }

    /// Makes what is written durable, and complete spans blobs, as they come; never ends by itself. While the store has less
    /// than `disk_reserve` bytes left, nothing more is recorded.
    pub async fn settle_for_ever(&self, blobs: &dyn BlobStore, disk_reserve: u64) {
        let mut looked = None::<Instant>;
        loop {
            if looked.is_none_or(|looked| looked.elapsed() >= SPACE_LOOKS) {
                looked = Some(Instant::now());
                let free = blobs.free_bytes().await.ok().flatten();
                let is_full = free.is_some_and(|free| free < disk_reserve);
                if is_full != self.is_full.swap(is_full, Ordering::Relaxed) {
                    tracing::warn!(is_full, free, disk_reserve, "the disk that live streams are recorded to");
                }
            }
            let _ = tokio::time::timeout(SPACE_LOOKS, self.moved.notified()).await;
            while let Err(error) = self.settle(blobs).await {
                tracing::warn!(%error, "a live recording's span is not stored yet");
                tokio::time::sleep(SETTLE_RETRY).await;
            }
        }
    }

    /// Makes what is written until now durable, and complete spans blobs. Who calls it while somebody else does waits for
    /// both; giving it up leaves what is not settled for the next.
    pub async fn settle(&self, blobs: &dyn BlobStore) -> Result<(), BlobError> {
        let _turn = self.turn.lock().await;
        loop {
            let Some(one) = locked(&self.unsettled).first().cloned() else { return Ok(()) };
            self.settle_one(&one, blobs).await?;
            // One that was completed meanwhile is not settled yet.
            let is_settled = |known: &Unsettled| known.name == one.name && known.is_complete == one.is_complete;
            locked(&self.unsettled).retain(|known| !is_settled(known));
        }
    }

    /// Has the store keep all that there is, so that another node can go on with it.
    pub async fn hand_over(&self, blobs: &dyn BlobStore) -> Result<(), BlobError> {
        self.settle(blobs).await?;
        let text = tokio::fs::read(chronicle::path_in(&self.place.dir)).await.unwrap_or_default();
        blobs.put(&self.place.key(chronicle::FILE), text.into()).await
    }

    async fn settle_one(&self, one: &Unsettled, blobs: &dyn BlobStore) -> Result<(), BlobError> {
        let unavailable = |error: io::Error| BlobError::Unavailable(error.to_string());
        let path = self.place.dir.join(&one.name);
        if one.is_complete && !path.exists() {
            // Taken before.
            return Ok(());
        }
        let file = Arc::clone(&one.file);
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        synced.map_err(|_| BlobError::Unavailable("a sync panicked".into()))?.map_err(unavailable)?;
        if !one.is_complete {
            return Ok(());
        }
        match blobs.adopt(&self.place.key(&one.name), &path).await {
            // What was given up has gone on by itself, and was faster.
            Err(BlobError::NotFound(_)) if !path.exists() => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// Writes one broadcast.
pub struct Recorder {
    shared: Arc<Recorded>,
    open: Vec<Writer>,
    /// Number of the segment at which pictures went on in a new span last.
    rolled_at: u64,
}

/// What is being written of a rendition.
#[derive(Default)]
struct Writer {
    span: Option<OpenSpan>,
    segment: Option<OpenSegment>,
}

struct OpenSpan {
    file: Arc<File>,
    name: String,
    /// Index of the span.
    index: u32,
    epoch: u32,
    bytes: u64,
    first: u64,
    /// Where it starts on the timeline, microseconds.
    start: i64,
}

struct OpenSegment {
    beginning: Beginning,
    offset: u64,
    duration: u32,
    has_failed: bool,
}

impl Recorder {
    /// Goes on with a recording.
    pub fn new(shared: Arc<Recorded>) -> Self {
        Self { shared, open: Vec::new(), rolled_at: 0 }
    }

    fn begin(&mut self, broadcast: &Broadcast, index: usize, beginning: Beginning) {
        let is_leader = index == broadcast.leading().unwrap_or(0);
        let rolled_at = self.rolled_at;
        self.open.resize_with(self.open.len().max(index + 1), Writer::default);
        let Some(writer) = self.open.get_mut(index) else { return };
        let is_over = writer.span.as_ref().is_some_and(|span| {
            let is_long = beginning.start.rescale(MICROS) - span.start >= SPAN_MICROS;
            span.epoch != beginning.epoch
                || if is_leader { is_long && beginning.independent } else { span.first < rolled_at }
        });
        if is_over {
            close(&self.shared, writer);
        }
        if is_leader && writer.span.is_none() {
            self.rolled_at = beginning.number;
        }
        let is_left_out = is_slate(broadcast, beginning.epoch) || self.shared.is_full.load(Ordering::Relaxed);
        let opened = if is_left_out || writer.span.is_some() {
            Ok(None)
        } else {
            open(&self.shared, broadcast, (index, &beginning))
        };
        let has_failed = is_left_out || opened.is_err();
        match opened {
            Ok(opened) => writer.span = writer.span.take().or(opened),
            Err(error) => note_failure(&self.shared, &error),
        }
        let offset = writer.span.as_ref().map_or(0, |span| span.bytes);
        writer.segment = Some(OpenSegment { beginning, offset, duration: 0, has_failed });
    }

    /// An epoch begins; each is told once.
    fn note_epoch(&self, broadcast: &Broadcast, number: u32) {
        if let Some(epoch) = broadcast.epochs().find(|epoch| epoch.number == number && !epoch.is_slate) {
            let anchor = Anchor { start_micros: epoch.start.rescale(MICROS), date: epoch.date };
            self.note_entry(Entry::Anchor(anchor));
        }
    }

    fn note_entry(&self, entry: Entry) {
        if !chronicle::note(&mut locked(&self.shared.recording).chronicle, entry.clone()) {
            return;
        }
        if let Err(error) = chronicle::append(&self.shared.place.dir, &entry) {
            note_failure(&self.shared, &error);
        }
    }

    fn write(&mut self, index: usize, part: &Part) {
        let Some(Writer { span: Some(span), segment: Some(segment) }) = self.open.get_mut(index) else { return };
        segment.duration = segment.duration.saturating_add(part.duration);
        if segment.has_failed {
            return;
        }
        match (&*span.file).write_all(&part.bytes) {
            Ok(()) => span.bytes += part.bytes.len() as u64,
            // What could not be written is a gap in the recording, and the broadcast goes on.
            Err(error) => {
                segment.has_failed = true;
                note_failure(&self.shared, &error);
            }
        }
    }

    fn end(&mut self, broadcast: &mut Broadcast, index: usize) {
        let Some(writer) = self.open.get_mut(index) else { return };
        let Some(OpenSegment { beginning, offset, duration, has_failed }) = writer.segment.take() else { return };
        let Some(span) = writer.span.as_ref().filter(|_| !has_failed) else {
            // What was written of it is behind the end of what counts.
            close(&self.shared, writer);
            return self.note(broadcast, index, (beginning, duration, None));
        };
        self.shared.failed.store(false, Ordering::Relaxed);
        let bytes = u32::try_from(span.bytes - offset).unwrap_or(u32::MAX);
        let place = Place { span: span.index, offset, bytes };
        let stored = Stored { key: self.shared.place.key(&span.name), range: offset..span.bytes };
        let unsettled = Unsettled { name: span.name.clone(), file: Arc::clone(&span.file), is_complete: false };
        self.shared.offer(unsettled);
        broadcast.note_stored(index, beginning.number, stored);
        self.note(broadcast, index, (beginning, duration, Some(place)));
    }

    fn note(&self, broadcast: &Broadcast, index: usize, (beginning, duration, place): (Beginning, u32, Option<Place>)) {
        let Some(rendition) = broadcast.renditions().get(index) else { return };
        let Beginning { number, start, epoch, independent, .. } = beginning;
        let mut recording = locked(&self.shared.recording);
        let track = track_of(&mut recording, &rendition.name, rendition.kind);
        track.frame_rate = broadcast.frame_rate_of(index).unwrap_or(track.frame_rate);
        track.segments.push(RecordedSegment { number, epoch, start, duration, independent, place });
    }
}

/// Nobody wants to see afterwards that there was nothing to be seen.
fn is_slate(broadcast: &Broadcast, epoch: u32) -> bool {
    broadcast.epochs().any(|known| known.number == epoch && known.is_slate)
}

fn track_of<'a>(recording: &'a mut Recording, name: &str, kind: TrackKind) -> &'a mut RecordedTrack {
    let known = recording.tracks.iter().position(|track| track.name == name);
    let index = known.unwrap_or_else(|| {
        recording.tracks.push(RecordedTrack::new(name, kind));
        recording.tracks.len() - 1
    });
    &mut recording.tracks[index]
}

/// A new span that begins with this segment; `None` for a rendition that its epoch does not have.
fn open(
    shared: &Recorded,
    broadcast: &Broadcast,
    (index, beginning): (usize, &Beginning),
) -> io::Result<Option<OpenSpan>> {
    let Beginning { number: first, epoch, start, .. } = *beginning;
    let configured = broadcast.epochs().find(|known| known.number == epoch).and_then(|known| known.tracks.get(index));
    let (Some(Some((config, init))), Some(rendition)) = (configured, broadcast.renditions().get(index)) else {
        return Ok(None);
    };
    let name = span_name(&rendition.name, epoch, first);
    let file = Arc::new(create(&shared.place.dir, &name, init)?);
    let mut recording = locked(&shared.recording);
    let track = track_of(&mut recording, &rendition.name, rendition.kind);
    if track.epochs.last().is_none_or(|(number, ..)| *number != epoch) {
        track.epochs.push((epoch, config.clone(), init.clone()));
    }
    let index = u32::try_from(track.spans.len()).unwrap_or(u32::MAX);
    track.spans.push(shared.place.key(&name));
    Ok(Some(OpenSpan { file, name, index, epoch, bytes: init.len() as u64, first, start: start.rescale(MICROS) }))
}

fn create(dir: &Path, name: &str, init: &[u8]) -> io::Result<File> {
    std::fs::create_dir_all(dir)?;
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(dir.join(name))?;
    file.write_all(init)?;
    Ok(file)
}

fn note_failure(shared: &Recorded, error: &io::Error) {
    if !shared.failed.swap(true, Ordering::Relaxed) {
        tracing::error!(%error, dir = %shared.place.dir.display(), "a live stream cannot be recorded");
    }
    metrics::counter!("playhouse_live_recording_failures_total").increment(1);
}

/// Nothing more is written to a span.
fn close(shared: &Recorded, writer: &mut Writer) {
    if let Some(OpenSpan { file, name, .. }) = writer.span.take() {
        shared.offer(Unsettled { name, file, is_complete: true });
    }
}

impl Keeper for Recorder {
    fn keep(&mut self, broadcast: &mut Broadcast, cuts: &[Cut]) {
        for cut in cuts {
            match cut {
                Cut::Begin { rendition, beginning } => {
                    self.begin(broadcast, *rendition, *beginning);
                    self.note_epoch(broadcast, beginning.epoch);
                }
                Cut::Cue(cue) => self.note_entry(Entry::Cue(cue.clone())),
                Cut::Part { rendition, part } => self.write(*rendition, part),
                Cut::End { rendition } => self.end(broadcast, *rendition),
                Cut::Gap { rendition, beginning, duration } => {
                    if let Some(writer) = self.open.get_mut(*rendition) {
                        close(&self.shared, writer);
                    }
                    self.note(broadcast, *rendition, (*beginning, *duration, None));
                }
            }
        }
        if broadcast.has_ended() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        self.open.iter_mut().for_each(|writer| close(&self.shared, writer));
    }
}

#[cfg(test)]
mod tests;
