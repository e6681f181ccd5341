use bytes::Bytes;

use super::*;
use crate::domain::asset::{SegmentBytes, TrackKind, VideoProperties};
use crate::domain::cues::{Anchor, CueLength, CueValue};
use crate::domain::time::Timestamp;
use crate::storage::blobs::Blobs;
use crate::storage::conformance::Counting;

fn asset(segments: u32) -> Asset {
    let segment = |index: u32| Segment {
        start: 90_000 + i64::from(index) * 180_000,
        duration: 180_000,
        bytes: 1_000_000 + index,
        source: SegmentBytes::Virtual { first: u64::from(index) * 60, samples: 60 },
    };
    let track = AssetTrack {
        name: "v0-1".into(),
        kind: TrackKind::Video,
        codec: "avc1.64001f".into(),
        timescale: 90_000,
        video: Some(VideoProperties { width: 1280, height: 720, rotation: 90, frame_rate: (30_000, 1001) }),
        audio: None,
        init: Bytes::from_static(b"ftypmoov"),
        reorder: 0,
        sample_table: Some(BlobKey::new("vod-abr/x/1/samples")),
        spans: vec![BlobKey::new("vod-abr/x/1/span0")],
        segments: (0..segments).map(segment).collect(),
        key_frames: vec![KeyFrame {
            start: 90_000,
            duration: 180_000,
            bytes: 5,
            source: SegmentBytes::Span { span: 0, offset: 9, bytes: 5 },
        }],
    };
    Asset {
        video_id: VideoId::random(&Counting),
        playback_id: PlaybackId::random(&Counting),
        generation: 1,
        source: vec![Extent { key: BlobKey::new("raw-uploads/upl_x/0"), bytes: 1 << 40 }],
        tracks: vec![track],
        epochs: vec![AssetEpoch { first_segment: 1, inits: vec![("v0-1".into(), Bytes::from_static(b"other"))] }],
        chronicle: Chronicle {
            anchors: vec![Anchor { start_micros: 1_000_000, date: Timestamp::from_millis(7) }],
            cues: vec![Cue {
                id: "1-1".into(),
                class: Some("goal".into()),
                start_micros: 3_000_000,
                date: Timestamp::from_millis(2007),
                length: Some(CueLength::Known(5)),
                splice: None,
                values: vec![("SCORE".into(), CueValue::Number(1.0))],
            }],
        },
    }
}

fn stores(dir: &std::path::Path) -> (Arc<dyn BlobStore>, Assets) {
    let blobs: Arc<dyn BlobStore> = Arc::new(Blobs::local(dir).unwrap());
    (blobs.clone(), Assets::new(blobs, 1 << 20))
}

#[tokio::test]
async fn an_index_is_read_as_it_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, assets) = stores(dir.path());
    let asset = asset(1000);
    let extent = assets.save_asset(&asset).await.unwrap();
    assert_eq!(extent.key.as_str(), format!("vod-abr/{}/1/asset", asset.video_id));
    assert_eq!(blobs.read_all(&extent.key).await.unwrap().len() as u64, extent.bytes);
    let loaded = assets.load_asset(&asset.video_id, 1).await.unwrap();
    assert_eq!(*loaded, asset);
    let again = assets.load_asset(&asset.video_id, 1).await.unwrap();
    assert!(Arc::ptr_eq(&loaded, &again), "decoded once");
    let (_, fresh) = stores(dir.path());
    assert_eq!(*fresh.load_asset(&asset.video_id, 1).await.unwrap(), asset);
}

#[tokio::test]
async fn an_absent_index_is_looked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_, assets) = stores(dir.path());
    let asset = asset(1);
    let absent = assets.load_asset(&asset.video_id, 1).await;
    assert!(matches!(absent, Err(BlobError::NotFound(_))));
    assets.save_asset(&asset).await.unwrap();
    assert!(assets.load_asset(&asset.video_id, 1).await.is_ok());
    assert!(matches!(assets.load_asset(&asset.video_id, 2).await, Err(BlobError::NotFound(_))));
}

#[tokio::test]
async fn a_damaged_index_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, assets) = stores(dir.path());
    let asset = asset(10);
    let extent = assets.save_asset(&asset).await.unwrap();
    let bytes = blobs.read_all(&extent.key).await.unwrap();
    for damaged in [Bytes::new(), bytes.slice(..bytes.len() / 2), Bytes::from_static(b"\xffnonsense")] {
        blobs.put(&extent.key, damaged).await.unwrap();
        let (_, fresh) = stores(dir.path());
        let loaded = fresh.load_asset(&asset.video_id, 1).await;
        assert!(matches!(loaded, Err(BlobError::Unavailable(_))), "{loaded:?}");
    }
}

#[tokio::test]
async fn the_cache_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (_, assets) = stores(dir.path());
    for _ in 0..20 {
        let asset = asset(5000);
        assets.save_asset(&asset).await.unwrap();
        assets.load_asset(&asset.video_id, 1).await.unwrap();
    }
    assets.decoded.run_pending_tasks().await;
    assert!(assets.decoded.weighted_size() <= 1 << 20, "{}", assets.decoded.weighted_size());
    assert!(assets.decoded.entry_count() >= 1);
}

#[test]
fn indexes_of_earlier_forms_are_read() {
    let now = asset(3);
    let current = codec::encode(&now).unwrap();
    let older = |version: u8, tail: usize| {
        let mut bytes = current[..current.len() - tail].to_vec();
        bytes[0] = version;
        codec::decode::<Asset>(&bytes)
    };
    let without_chronicle = Asset { chronicle: Chronicle::default(), ..now.clone() };
    let without_epochs = Asset { epochs: Vec::new(), ..without_chronicle.clone() };
    let size = |asset: &Asset| codec::encode(asset).unwrap().len();
    // Empty, a chronicle takes two bytes and epochs one; they stand last.
    let (chronicle, epochs) =
        (current.len() - size(&without_chronicle), size(&without_chronicle) - size(&without_epochs));
    assert_eq!(older(2, chronicle + 2).unwrap(), without_chronicle);
    assert_eq!(older(1, chronicle + 2 + epochs + 1).unwrap(), without_epochs);
    assert!(older(0, chronicle + 2).is_err());
}
