use futures::TryStreamExt;

use super::*;
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
