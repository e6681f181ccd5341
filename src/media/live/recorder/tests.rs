use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::domain::asset::{Asset, SegmentBytes};
use crate::media::frames::{CodecConfig, TrackConfig};
use crate::media::live::broadcast::BroadcastSettings;
use crate::media::live::recovery::recover;
use crate::media::live::testing::{Publisher, at, audio, slate, video, visit};
use crate::media::testing::{blobs_in, empty_asset};
use crate::storage::blobs::Blobs;

/// A broadcast and its recording, with nothing between them.
struct Show {
    dir: TempDir,
    blobs: Arc<Blobs>,
    broadcast: Broadcast,
    recorder: Recorder,
}

fn place(dir: &TempDir) -> RecordingPlace {
    let open = dir.path().join("open");
    std::fs::create_dir_all(&open).unwrap();
    RecordingPlace { dir: open, prefix: BlobKey::new("vod-abr/vid_testtesttest/1") }
}

impl Show {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("blobs")).unwrap();
        let blobs = blobs_in(&dir.path().join("blobs"));
        let settings = BroadcastSettings::new(Duration::from_secs(600), 1);
        let recorder = Recorder::new(Arc::new(Recorded::new(place(&dir), Recording::default())));
        Self { dir, blobs, broadcast: Broadcast::new(settings), recorder }
    }

    fn keep(&mut self, cuts: &[Cut]) {
        self.recorder.keep(&mut self.broadcast, cuts);
    }

    fn visit(&mut self, tracks: usize, from: i64, to: i64) {
        self.visit_of([video(), audio()].into_iter().take(tracks).collect(), from, to);
    }

    fn visit_of(&mut self, tracks: Vec<TrackConfig>, from: i64, to: i64) {
        let (cuts, with_sound) = (&mut Vec::new(), tracks.len() == 2);
        self.broadcast.begin_visit(visit(tracks), at(from), cuts).unwrap();
        Publisher { base: 0, with_sound }.publish(&mut self.broadcast, from, to, cuts);
        self.keep(cuts);
    }

    fn end(&mut self) {
        let cuts = &mut Vec::new();
        self.broadcast.end(cuts);
        self.keep(cuts);
    }

    async fn asset(&self) -> Asset {
        self.recorder.shared.settle(&*self.blobs).await.unwrap();
        let empty = empty_asset();
        let recording = self.recorder.shared.look(Recording::clone);
        recording.asset(empty.video_id, empty.playback_id).unwrap().expect("something recorded")
    }
}

/// Spans that are being written.
fn open_spans(dir: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place(dir).dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "mp4")).collect()
}

/// Segments of an asset: `m` media, `-` gap.
fn pattern(asset: &Asset) -> Vec<String> {
    let sign = |segment: &crate::domain::asset::Segment| if segment.is_gap() { '-' } else { 'm' };
    asset.tracks.iter().map(|track| track.segments.iter().map(sign).collect()).collect()
}

#[tokio::test]
async fn a_broadcast_is_a_video_over_the_bytes_that_were_delivered() {
    let mut show = Show::new();
    show.visit(2, 0, 70_000);
    show.end();
    let asset = show.asset().await;
    assert_eq!(pattern(&asset), ["m".repeat(35), "m".repeat(35)]);
    assert!(asset.epochs.is_empty());
    for (track, rendition) in asset.tracks.iter().zip(show.broadcast.renditions()) {
        assert_eq!(track.spans.len(), 3, "two of thirty seconds and the rest");
        for (segment, live) in track.segments.iter().zip(rendition.ring.segments()) {
            let SegmentBytes::Span { span, offset, bytes } = segment.source else { panic!("{segment:?}") };
            let key = &track.spans[span as usize];
            let read = show.blobs.read(key, offset..offset + u64::from(bytes)).await.unwrap();
            assert_eq!((read, segment.start), (live.bytes(), live.beginning.start.value));
        }
        let init = show.blobs.read(&track.spans[0], 0..track.init.len() as u64).await.unwrap();
        assert_eq!(init, track.init, "a span begins with it");
    }
    assert!(open_spans(&show.dir).is_empty(), "all spans are blobs");
    assert_eq!(asset.chronicle.date_at(asset.tracks[0].segments[1].start * 100 / 9), Some(at(2000)));
    let media = show.recorder.shared.look(|recording| recording.media(&asset));
    assert_eq!((media.duration_ms / 100, media.video.len(), media.audio.len()), (700, 1, 1), "{media:?}");
}

#[tokio::test]
async fn what_somebody_gave_up_settling_is_settled_by_the_next() {
    let mut show = Show::new();
    show.visit(2, 0, 70_000);
    show.end();
    let shared = Arc::clone(&show.recorder.shared);
    for polls in 1..20 {
        // Given up after so many steps.
        let mut settling = Box::pin(shared.settle(&*show.blobs));
        for _ in 0..polls {
            let _ = futures::poll!(&mut settling);
            tokio::task::yield_now().await;
        }
    }
    let asset = show.asset().await;
    for span in asset.tracks.iter().flat_map(|track| &track.spans) {
        assert!(show.blobs.read_all(span).await.is_ok(), "{span}");
    }
}

#[tokio::test]
async fn holes_and_missing_tracks_are_gaps_of_the_video() {
    let mut show = Show::new();
    show.visit(2, 0, 6000);
    let cuts = &mut Vec::new();
    show.broadcast.end_visit(cuts);
    (6000..20_000).step_by(100).for_each(|ms| show.broadcast.tick(at(ms), cuts));
    show.keep(cuts);
    show.visit(1, 20_000, 24_000);
    show.visit(2, 24_000, 28_000);
    show.end();
    let asset = show.asset().await;
    assert_eq!(pattern(&asset), ["mmm-mmmm", "mmm---mm"], "all of the absence is one gap");
    let firsts: Vec<u32> = asset.epochs.iter().map(|epoch| epoch.first_segment).collect();
    assert_eq!(firsts, [4, 6]);
    assert_eq!(asset.runs(), [0..3, 4..6, 6..8]);
    assert!(asset.epochs.iter().all(|epoch| epoch.inits.is_empty()), "the publisher sends what it sent before");
}

#[tokio::test]
async fn the_slate_is_not_part_of_the_video() {
    let mut show = Show::new();
    show.broadcast.set_slate(Some(slate()));
    show.visit(2, 0, 6000);
    let cuts = &mut Vec::new();
    show.broadcast.end_visit(cuts);
    (6000..12_000).step_by(100).for_each(|ms| show.broadcast.tick(at(ms), cuts));
    assert!(cuts.iter().any(|cut| matches!(cut, Cut::Part { .. })));
    show.keep(cuts);
    show.visit(2, 12_000, 16_000);
    show.end();
    let asset = show.asset().await;
    assert_eq!(pattern(&asset), ["mmm-mm", "mmm-mm"]);
    assert_eq!((asset.epochs.len(), asset.chronicle.anchors.len()), (1, 2));
    assert!(open_spans(&show.dir).is_empty());
}

#[tokio::test]
async fn a_visit_that_broke_off_ends_with_what_all_tracks_have() {
    let surround = CodecConfig::Aac { config: Bytes::from_static(&[0x11, 0xb0]) };
    // There is silence to go with the pictures, or none.
    let silent = (audio(), ["mmmm-mm", "mmmm-mm"]);
    for (sound, expected) in [silent, (TrackConfig::new(surround, 48_000), ["mmm-mm", "mmm-mm"])] {
        let mut show = Show::new();
        show.visit_of(vec![video(), sound.clone()], 0, 6000);
        // Pictures of another segment, and nothing more.
        let cuts = &mut Vec::new();
        Publisher { base: 0, with_sound: false }.publish(&mut show.broadcast, 6000, 6700, cuts);
        show.keep(cuts);
        show.visit_of(vec![video(), sound], 8000, 12_000);
        show.end();
        assert_eq!(pattern(&show.asset().await), expected);
    }
}

#[tokio::test]
async fn what_was_recorded_is_found_again_after_a_crash() {
    let mut show = Show::new();
    show.visit(2, 0, 45_000);
    show.recorder.shared.settle(&*show.blobs).await.unwrap();
    let known = show.recorder.shared.look(Recording::clone);
    // The node dies: spans are open, and one of them ends in the middle of a part.
    let open = open_spans(&show.dir);
    assert_eq!(open.len(), 2, "{open:?}");
    let torn = std::fs::OpenOptions::new().append(true).open(&open[0]).unwrap();
    (&torn).write_all(b"\0\0\x01\0moof and then nothing").unwrap();
    let found = recover(&place(&show.dir), &*show.blobs).await.unwrap();
    assert!(open_spans(&show.dir).is_empty());
    assert_eq!((&found.chronicle, found.chronicle.anchors.len()), (&known.chronicle, 1));
    for (found, known) in found.tracks.iter().zip(&known.tracks) {
        assert_eq!((&found.name, found.kind, &found.spans), (&known.name, known.kind, &known.spans));
        assert_eq!(found.epochs, known.epochs);
        assert_eq!(found.segments[..known.segments.len()], known.segments, "what was whole");
        assert!(found.segments.len() <= known.segments.len() + 1, "and what was listed of the open one");
    }
    assert_eq!(found.tracks[0].frame_rate.0 / found.tracks[0].frame_rate.1, 30);
    // The broadcast goes on in another life.
    let start_micros = found.end_micros().unwrap();
    let settings = BroadcastSettings { start_micros, ..BroadcastSettings::new(Duration::from_secs(600), 2) };
    show.broadcast = Broadcast::new(settings);
    show.recorder = Recorder::new(Arc::new(Recorded::new(place(&show.dir), found)));
    show.visit(2, 60_000, 70_000);
    show.end();
    let asset = show.asset().await;
    assert_eq!((asset.epochs.len(), asset.runs().len()), (1, 2), "{:?}", pattern(&asset));
    let starts: Vec<i64> = asset.tracks[0].segments.iter().map(|segment| segment.start).collect();
    assert!(starts.is_sorted(), "{starts:?}");
}

#[tokio::test]
async fn a_span_torn_anywhere_is_read_as_far_as_it_is_whole() {
    let mut show = Show::new();
    show.visit(2, 0, 7000);
    show.end();
    let asset = show.asset().await;
    let span = show.blobs.read_all(&asset.tracks[0].spans[0]).await.unwrap();
    let mut before = 0;
    for length in (0..span.len()).step_by(41) {
        let read = crate::media::live::recovery::segments_of(&span[..length]);
        let bytes: u64 = read.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        assert!(bytes <= length as u64 && bytes >= before, "{length}: {read:?}");
        before = bytes;
    }
    assert!(before > 0);
}

#[tokio::test]
async fn a_full_disk_ends_the_recording_until_there_is_room() {
    let mut show = Show::new();
    let (shared, blobs) = (Arc::clone(&show.recorder.shared), Arc::clone(&show.blobs));
    let full = tokio::spawn({
        let (shared, blobs) = (Arc::clone(&shared), Arc::clone(&blobs));
        async move { shared.settle_for_ever(&*blobs, u64::MAX).await }
    });
    while !shared.is_failing() {
        tokio::task::yield_now().await;
    }
    show.visit(2, 0, 4000);
    full.abort();
    let roomy = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { shared.settle_for_ever(&*blobs, 0).await }
    });
    while shared.is_failing() {
        tokio::task::yield_now().await;
    }
    show.visit(2, 4000, 8000);
    show.end();
    roomy.abort();
    assert_eq!(pattern(&show.asset().await), ["mm", "mm"], "what came while there was room");
}

#[tokio::test]
async fn groups_of_pictures_longer_than_segments_are_joined() {
    let mut show = Show::new();
    let cuts = &mut Vec::new();
    show.broadcast.begin_visit(visit(vec![video(), audio()]), at(0), cuts).unwrap();
    Publisher { base: 0, with_sound: true }.publish(&mut show.broadcast, 0, 6000, cuts);
    // From here on no key frame.
    for number in 180i64..540 {
        let at_ms = number * 1000 / 30;
        let stamp = crate::media::live::timeline::Stamp {
            dts: at_ms,
            composition: 0,
            keyframe: false,
            arrival: Duration::from_millis(at_ms as u64),
        };
        show.broadcast.push(0, stamp, bytes::Bytes::from_static(&[3; 100]), at(at_ms), cuts);
    }
    show.keep(cuts);
    show.end();
    let asset = show.asset().await;
    let lengths: Vec<u32> = asset.tracks[0].segments.iter().map(|segment| segment.duration / 90_000).collect();
    assert_eq!((lengths[0], lengths.iter().sum::<u32>()), (2, 18), "{lengths:?}");
    assert_eq!(lengths.iter().filter(|length| **length > 2).count(), 1, "{lengths:?}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_the_recording_and_not_the_broadcast() {
    let mut show = Show::new();
    let open = show.dir.path().join("open");
    std::fs::remove_dir(&open).unwrap();
    std::fs::write(&open, "in the way").unwrap();
    show.visit(2, 0, 6000);
    assert!(show.recorder.shared.is_failing());
    assert_eq!(show.broadcast.renditions()[0].ring.segments().count(), 3);
    std::fs::remove_file(&open).unwrap();
    show.visit(2, 6000, 12_000);
    assert!(!show.recorder.shared.is_failing(), "it takes again");
    show.end();
    let asset = show.asset().await;
    assert!(asset.tracks[0].segments.len() >= 3 && !asset.tracks[0].segments[0].is_gap());
}
