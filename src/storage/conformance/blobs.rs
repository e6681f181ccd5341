//! Blob stores.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::domain::asset::BlobKey;
use crate::domain::ports::{BlobError, BlobStore};

fn key(text: &str) -> BlobKey {
    BlobKey::new(text)
}

fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|index| (index * 7 % 251) as u8).collect()
}

async fn listed(blobs: &dyn BlobStore, prefix: &str) -> BTreeMap<String, u64> {
    blobs.list(prefix).map_ok(|meta| (meta.key.0, meta.bytes)).try_collect().await.unwrap()
}

pub(in super::super) async fn what_is_put_is_read(blobs: &Arc<dyn BlobStore>) {
    let bytes = pattern(100_000);
    let key = key("vod-abr/vid_x/1/asset");
    blobs.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(blobs.read_all(&key).await.unwrap(), bytes);
    assert_eq!(blobs.read(&key, 10..99_990).await.unwrap(), bytes.slice(10..99_990));
    assert_eq!(blobs.read(&key, 0..100_000).await.unwrap(), bytes);
    assert_eq!(blobs.read(&key, 5..5).await.unwrap(), Bytes::new());
    blobs.put(&key, Bytes::from_static(b"other")).await.unwrap();
    assert_eq!(blobs.read_all(&key).await.unwrap(), "other");
    blobs.put(&self::key("empty"), Bytes::new()).await.unwrap();
    assert_eq!(blobs.read_all(&self::key("empty")).await.unwrap(), Bytes::new());
}

pub(in super::super) async fn ranges_outside_are_not_found(blobs: &Arc<dyn BlobStore>) {
    let key = key("vod-abr/vid_x/1/asset");
    let missing = Err(BlobError::NotFound(key.clone()));
    assert_eq!(blobs.read(&key, 0..1).await, missing);
    assert_eq!(blobs.read_all(&key).await, missing);
    assert_eq!(
        blobs.stream(&key, 0..1).try_collect::<Vec<_>>().await.map(|_| ()),
        Err(BlobError::NotFound(key.clone()))
    );
    blobs.put(&key, pattern(10)).await.unwrap();
    assert_eq!(blobs.read(&key, 0..11).await, missing);
    assert_eq!(blobs.read(&key, 10..11).await, missing);
    assert_eq!(blobs.read(&key, 1..u64::MAX).await, missing);
    let streamed = blobs.stream(&key, 5..11).try_collect::<Vec<_>>().await;
    assert_eq!(streamed.map(|_| ()), Err(BlobError::NotFound(key)));
}

pub(in super::super) async fn streams_are_the_range_in_order(blobs: &Arc<dyn BlobStore>) {
    let bytes = pattern(3_000_000);
    let key = key("raw-uploads/upl_x/0");
    blobs.put(&key, bytes.clone()).await.unwrap();
    for range in [0..3_000_000, 1..2_999_999, 262_144..262_145, 7..7] {
        let pieces: Vec<Bytes> = blobs.stream(&key, range.clone()).try_collect().await.unwrap();
        assert_eq!(pieces.concat(), bytes.slice(range.start as usize..range.end as usize), "{range:?}");
    }
}

pub(in super::super) async fn deleting_is_repeatable(blobs: &Arc<dyn BlobStore>) {
    let (gone, kept) = (key("vod-abr/vid_x/1/asset"), key("vod-abr/vid_y/1/asset"));
    blobs.put(&gone, pattern(10)).await.unwrap();
    blobs.put(&kept, pattern(10)).await.unwrap();
    blobs.delete(&gone).await.unwrap();
    blobs.delete(&gone).await.unwrap();
    assert_eq!(blobs.read_all(&gone).await, Err(BlobError::NotFound(gone)));
    assert_eq!(blobs.read_all(&kept).await.unwrap(), pattern(10));
}

pub(in super::super) async fn lists_hold_what_is_below_a_prefix(blobs: &Arc<dyn BlobStore>) {
    for (name, bytes) in [("vod-abr/vid_x/1/asset", 1), ("vod-abr/vid_x/2/asset", 2), ("vod-abr/vid_xy/1/asset", 3)] {
        blobs.put(&key(name), pattern(bytes)).await.unwrap();
    }
    let below = listed(&**blobs, "vod-abr/vid_x").await;
    assert_eq!(below, BTreeMap::from([("vod-abr/vid_x/1/asset".into(), 1), ("vod-abr/vid_x/2/asset".into(), 2)]));
    assert_eq!(listed(&**blobs, "vod-abr").await.len(), 3);
    assert_eq!(listed(&**blobs, "nothing").await.len(), 0);
}

pub(in super::super) async fn a_finished_file_is_adopted(blobs: &Arc<dyn BlobStore>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made");
    std::fs::write(&file, pattern(5000)).unwrap();
    let place = key("vod-abr/vid_x/1/span0");
    assert_eq!(blobs.adopt(&place, &file).await.unwrap(), 5000);
    assert!(!file.exists());
    assert_eq!(blobs.read_all(&place).await.unwrap(), pattern(5000));
    if let Some(path) = blobs.local_path(&place) {
        assert_eq!(std::fs::read(path).unwrap(), pattern(5000));
        assert!(blobs.free_bytes().await.unwrap().unwrap() > 0);
    }
    assert_eq!(blobs.adopt(&place, &file).await, Err(BlobError::NotFound(place)), "there is no such file any more");
    let large = key("vod-abr/vid_x/1/span1");
    std::fs::write(&file, pattern(40_000_001)).unwrap();
    assert_eq!(blobs.adopt(&large, &file).await.unwrap(), 40_000_001);
    assert!(!file.exists() && blobs.read_all(&large).await.unwrap() == pattern(40_000_001));
}

pub(in super::super) async fn keys_name_nothing_outside(blobs: &Arc<dyn BlobStore>) {
    let hostile = [
        "../escape",
        "vod-abr/../../escape",
        "/etc/passwd",
        "vod-abr//x",
        "",
        ".",
        "..",
        "vod-abr/.hidden",
        "a/./b",
        "a/b/",
        "a\0b",
        "a%2fb",
        "a\\b",
        "vod-abr/#1",
        &"a".repeat(5000),
    ];
    for text in hostile {
        let key = key(text);
        let refused = Err(BlobError::NotFound(key.clone()));
        assert_eq!(blobs.put(&key, pattern(1)).await, refused, "{text}");
        assert_eq!(blobs.read_all(&key).await.map(|_| ()), refused, "{text}");
        assert_eq!(blobs.delete(&key).await, Ok(()), "{text}: nothing there");
        assert_eq!(blobs.local_path(&key), None, "{text}");
        assert_eq!(blobs.list(text).try_collect::<Vec<_>>().await.map(|_| ()), refused, "{text}");
    }
}
