use futures::TryStreamExt;

use super::*;
use crate::domain::asset::Extent;
use crate::domain::ports::Archive;
use crate::storage::conformance::{Made, conformance_tests};

fn local() -> Made<Arc<dyn BlobStore>> {
    let dir = tempfile::tempdir().unwrap();
    Made { port: Arc::new(Blobs::local(dir.path()).unwrap()), _keep: Box::new(dir) }
}

fn in_memory() -> Made<Arc<dyn BlobStore>> {
    Made { port: Arc::new(Blobs::in_buckets(vec![area("")])), _keep: Box::new(()) }
}

fn area(name: &'static str) -> Area {
    Area { name, store: Arc::new(object_store::memory::InMemory::new()) }
}

conformance_tests!(blobs, local();
    what_is_put_is_read, ranges_outside_are_not_found, streams_are_the_range_in_order, deleting_is_repeatable,
    lists_hold_what_is_below_a_prefix, a_finished_file_is_adopted, keys_name_nothing_outside);

/// The way every bucket takes.
mod remote {
    use super::*;

    conformance_tests!(blobs, in_memory();
        what_is_put_is_read, ranges_outside_are_not_found, streams_are_the_range_in_order, deleting_is_repeatable,
        lists_hold_what_is_below_a_prefix, a_finished_file_is_adopted, keys_name_nothing_outside);
}

#[tokio::test]
async fn deleting_the_last_blob_removes_its_directories() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(dir.path()).unwrap();
    let key = BlobKey::new("vod-abr/vid_x/1/asset");
    blobs.put(&key, Bytes::from_static(b"x")).await.unwrap();
    blobs.delete(&key).await.unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(dir.path().exists());
}

#[tokio::test]
async fn adopting_across_file_systems_copies() {
    // Shared memory is a file system of its own on Linux; elsewhere this is the rename once more.
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(dir.path()).unwrap();
    let file = elsewhere.path().join("made");
    std::fs::write(&file, vec![3; 100_000]).unwrap();
    let key = BlobKey::new("vod-abr/vid_x/1/span0");
    assert_eq!(blobs.adopt(&key, &file).await.unwrap(), 100_000);
    assert!(!file.exists());
    assert_eq!(blobs.read_all(&key).await.unwrap(), vec![3; 100_000]);
    let listed: Vec<BlobMeta> = blobs.list("vod-abr").try_collect().await.unwrap();
    assert_eq!(listed.len(), 1, "nothing staged is left: {listed:?}");
}

#[tokio::test]
async fn files_in_the_making_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(dir.path()).unwrap();
    blobs.put(&BlobKey::new("vod-abr/asset"), Bytes::from_static(b"x")).await.unwrap();
    std::fs::write(dir.path().join("vod-abr/.adopting-x1"), b"half").unwrap();
    std::fs::write(dir.path().join("vod-abr/asset#1"), b"half").unwrap();
    let listed: Vec<BlobMeta> = blobs.list("vod-abr").try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|meta| meta.key.as_str()).collect::<Vec<_>>(), ["vod-abr/asset"]);
}

#[tokio::test]
async fn areas_lie_in_stores_of_their_own() {
    let (raw, vod) = (area("raw-uploads"), area("vod-abr"));
    let stores = [Arc::clone(&raw.store), Arc::clone(&vod.store)];
    let blobs = Blobs::in_buckets(vec![raw, vod]);
    for key in ["raw-uploads/upl_x/0", "vod-abr/vid_x/1/asset"] {
        blobs.put(&BlobKey::new(key), Bytes::from_static(b"x")).await.unwrap();
    }
    let paths = |store: &Arc<dyn ObjectStore>| store.list(None).map_ok(|meta| meta.location.to_string()).try_collect();
    let (raw, vod): (Vec<String>, Vec<String>) = (paths(&stores[0]).await.unwrap(), paths(&stores[1]).await.unwrap());
    assert_eq!((raw.as_slice(), vod.as_slice()), (&["upl_x/0".to_owned()][..], &["vid_x/1/asset".to_owned()][..]));
    let listed: Vec<BlobMeta> = blobs.list("raw-uploads").try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|meta| meta.key.as_str()).collect::<Vec<_>>(), ["raw-uploads/upl_x/0"]);
    let elsewhere = BlobKey::new("vod-abrx/vid_x");
    assert_eq!(blobs.put(&elsewhere, Bytes::new()).await, Err(BlobError::NotFound(elsewhere)));
}

/// With an archive: in a directory of its own, and in a bucket of its own.
fn with_archive() -> [(Blobs, [tempfile::TempDir; 2]); 2] {
    let dirs = || [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let local = dirs();
    let on_disk = Blobs::local_with_archive(local[0].path(), local[1].path()).unwrap();
    let in_buckets = Blobs::in_buckets(vec![area("raw-uploads"), area("vod-abr"), area("archive")]);
    [(on_disk, local), (in_buckets, dirs())]
}

async fn names(blobs: &Blobs, area: &str) -> Vec<String> {
    let mut found: Vec<String> = blobs.list(area).map_ok(|meta| meta.key.0).try_collect().await.unwrap();
    found.sort();
    found
}

#[tokio::test]
async fn originals_are_read_where_they_are() {
    // More than one part of what is copied.
    let bytes: Bytes = (0..20_000_000u32).map(|index| (index * 7 % 251) as u8).collect();
    for (blobs, _dirs) in with_archive() {
        let blob = Extent { key: BlobKey::new("raw-uploads/upl_x/1-1"), bytes: bytes.len() as u64 };
        blobs.put(&blob.key, bytes.clone()).await.unwrap();
        assert!(blobs.release(&blob).await.is_err(), "there is no copy");
        assert_eq!(blobs.read_all(&blob.key).await.unwrap(), bytes);
        for _ in 0..2 {
            blobs.store(&blob).await.unwrap();
            assert_eq!(names(&blobs, "raw-uploads").await, ["raw-uploads/upl_x/1-1"]);
            assert_eq!(names(&blobs, "archive").await, ["archive/upl_x/1-1"]);
        }
        for _ in 0..2 {
            blobs.release(&blob).await.unwrap();
        }
        assert_eq!(names(&blobs, "raw-uploads").await, Vec::<String>::new());
        assert_eq!(blobs.read_all(&blob.key).await.unwrap(), bytes);
        assert_eq!(blobs.read(&blob.key, 5..19_000_000).await.unwrap(), bytes.slice(5..19_000_000));
        let streamed: Vec<Bytes> = blobs.stream(&blob.key, 7..blob.bytes).try_collect().await.unwrap();
        assert_eq!(streamed.concat(), bytes.slice(7..));
        if let Some(path) = blobs.local_path(&blob.key) {
            assert_eq!(std::fs::read(path).unwrap(), bytes);
        }
        assert!(blobs.store(&blob).await.is_err(), "there is nothing to copy any more");
        assert_eq!(blobs.read_all(&blob.key).await.unwrap(), bytes, "and what was copied stays");
        blobs.delete(&blob.key).await.unwrap();
        assert_eq!(names(&blobs, "archive").await, Vec::<String>::new());
        assert!(matches!(blobs.read_all(&blob.key).await, Err(BlobError::NotFound(_))));
        let streamed: Result<Vec<Bytes>, _> = blobs.stream(&blob.key, 0..1).try_collect().await;
        assert!(matches!(streamed, Err(BlobError::NotFound(_))), "{streamed:?}");
    }
}

#[tokio::test]
async fn what_is_not_whole_is_not_archived() {
    for (blobs, _dirs) in with_archive() {
        let key = BlobKey::new("raw-uploads/upl_x/0");
        blobs.put(&key, Bytes::from_static(b"half")).await.unwrap();
        assert!(blobs.store(&Extent { key: key.clone(), bytes: 8 }).await.is_err());
        blobs.put(&BlobKey::new("archive/upl_x/0"), Bytes::from_static(b"hal")).await.unwrap();
        assert!(blobs.release(&Extent { key: key.clone(), bytes: 4 }).await.is_err(), "the copy is shorter");
        assert_eq!(blobs.read_all(&key).await.unwrap(), "half");
        let made = BlobKey::new("vod-abr/vid_x/1/asset");
        blobs.put(&made, Bytes::from_static(b"made")).await.unwrap();
        assert_eq!(blobs.store(&Extent { key: made.clone(), bytes: 4 }).await, Err(BlobError::NotFound(made)));
    }
}
