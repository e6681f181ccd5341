use super::*;
use crate::domain::asset::{BlobKey, Extent, Segment};
use crate::media::testing::{blobs_in, empty_asset, empty_track};

/// An asset of one segment of two samples whose bytes are the numbers from 0 on, at offsets 10 and 30.
async fn asset_in(blobs: &dyn BlobStore) -> Arc<Asset> {
    let source: Vec<u8> = (0..100).collect();
    blobs.put(&BlobKey::new("source"), source.into()).await.unwrap();
    let record = |offset, dts| SampleRecord { offset, bytes: 5, dts, duration: 40, composition: 0, keyframe: true };
    let mut table = Vec::new();
    record(10, 0).append_to(&mut table).unwrap();
    record(30, 40).append_to(&mut table).unwrap();
    blobs.put(&BlobKey::new("table"), table.into()).await.unwrap();
    let mut track = empty_track("v0-1");
    track.init = Bytes::from_static(b"init");
    track.sample_table = Some(BlobKey::new("table"));
    let bytes = segment_bytes(track.kind, 2, 10).unwrap();
    let segment =
        |first| Segment { start: 0, duration: 80, bytes, source: SegmentBytes::Virtual { first, samples: 2 } };
    track.segments = vec![segment(0), segment(1)];
    let source = vec![Extent { key: BlobKey::new("source"), bytes: 100 }];
    Arc::new(Asset { tracks: vec![track], source, ..empty_asset() })
}

#[tokio::test]
async fn a_segment_is_built_once_however_many_want_it() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs_in(dir.path());
    let asset = asset_in(&*blobs).await;
    let resolver = Resolver::new(blobs.clone(), 1 << 20);
    let wanted = (0..50).map(|_| resolver.resolve(&asset, "v0-1", MediaObject::Segment(0)));
    let all = futures::future::try_join_all(wanted).await.unwrap();
    assert!(all.iter().all(|bytes| bytes.as_ptr() == all[0].as_ptr()), "shared, not copied");
    let again = resolver.open(&asset, "v0-1", MediaObject::Segment(0)).await.unwrap();
    assert!(again.origin == Origin::Near && matches!(again.body, ObjectBytes::Whole(bytes) if bytes == all[0]));
    assert_eq!(&all[0][all[0].len() - 10..], [10, 11, 12, 13, 14, 30, 31, 32, 33, 34]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs_in(dir.path());
    let asset = asset_in(&*blobs).await;
    let resolver = Resolver::new(blobs.clone(), 1 << 20);
    let wrong = [("v0-1", MediaObject::Segment(2)), ("v0-1", MediaObject::KeyFrame(0)), ("v9", MediaObject::Init)];
    for (track, object) in wrong {
        assert_eq!(resolver.resolve(&asset, track, object).await, Err(ResolveError::NotFound));
    }
    assert_eq!(resolver.resolve(&asset, "v0-1", MediaObject::Init).await.unwrap(), "init");
    assert_eq!(resolver.cache.entry_count(), 0);
}

#[tokio::test]
async fn damage_and_loss_are_told_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs_in(dir.path());
    let asset = asset_in(&*blobs).await;
    let resolver = Resolver::new(blobs.clone(), 1 << 20);
    let beyond = resolver.resolve(&asset, "v0-1", MediaObject::Segment(1)).await;
    assert!(matches!(beyond, Err(ResolveError::Blob(_))), "{beyond:?}");
    blobs.delete(&BlobKey::new("source")).await.unwrap();
    let lost = resolver.resolve(&asset, "v0-1", MediaObject::Segment(0)).await;
    assert!(matches!(lost, Err(ResolveError::Blob(_))), "{lost:?}");
    let restored = asset_in(&*blobs).await;
    assert!(resolver.resolve(&restored, "v0-1", MediaObject::Segment(0)).await.is_ok());
}
