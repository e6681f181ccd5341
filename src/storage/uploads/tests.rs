use bytes::Bytes;

use super::*;
use crate::domain::ports::BlobStore;
use crate::storage::blobs::Blobs;
use crate::storage::conformance::upload_store::UploadStores;
use crate::storage::conformance::{Made, conformance_tests};

fn local() -> Made<UploadStores> {
    let dir = tempfile::tempdir().unwrap();
    let blobs: Arc<dyn BlobStore> = Arc::new(Blobs::local(dir.path()).unwrap());
    Made { port: UploadStores { uploads: Arc::new(LocalUploads::new(dir.path())), blobs }, _keep: Box::new(dir) }
}

conformance_tests!(upload_store, local();
    appends_follow_one_another, large_appends_keep_their_order, a_dropped_writer_leaves_what_it_wrote,
    a_dropped_checked_append_never_was, a_discarded_append_never_was, a_newer_writer_fences_an_older_one,
    the_offset_of_a_living_writer_moves_on,
    removing_is_repeatable, creating_again_keeps_the_bytes, an_empty_upload_is_an_empty_blob);

/// In an object store, listed in a catalog.
mod bucket {
    use super::*;
    use std::time::Duration;

    use object_store::{ObjectStore, ObjectStoreExt};

    use crate::domain::ports::{ExtentCatalog, PartError, PartStore};
    use crate::domain::upload::direct::PartPlan;
    use crate::storage::blobs::Area;
    use crate::storage::blobs::buckets::{BucketOptions, UploadBucket};
    use crate::storage::catalog::CatalogStore;
    use crate::storage::catalog::sqlite::SqliteExecutor;
    use crate::storage::conformance::Counting;

    fn stores() -> Made<UploadStores> {
        let dir = tempfile::tempdir().unwrap();
        let executor = SqliteExecutor::open(&dir.path().join("catalog"), 2).unwrap();
        let catalog = Arc::new(CatalogStore::new(Arc::new(executor)));
        let blobs: Arc<dyn BlobStore> = Arc::new(Blobs::in_buckets(vec![Area {
            name: "raw-uploads",
            store: Arc::new(object_store::memory::InMemory::new()),
        }]));
        let uploads = Arc::new(BucketUploads::new(Arc::clone(&blobs), catalog));
        Made { port: UploadStores { uploads, blobs }, _keep: Box::new(dir) }
    }

    conformance_tests!(upload_store, stores();
        appends_follow_one_another, large_appends_keep_their_order, a_dropped_writer_leaves_what_it_wrote,
        a_dropped_checked_append_never_was, a_discarded_append_never_was, a_newer_writer_fences_an_older_one,
        the_offset_of_a_living_writer_moves_on, many_short_appends_stay_a_short_list,
        removing_is_repeatable, creating_again_keeps_the_bytes, an_empty_upload_is_an_empty_blob);

    /// Parts that clients store, in memory; URLs are signed as for a server of S3.
    fn parts(catalog: Arc<CatalogStore>) -> (BucketParts, Arc<dyn ObjectStore>) {
        let options = BucketOptions {
            areas: Vec::new(),
            s3_endpoint: Some("http://127.0.0.1:1".into()),
            s3_region: "us-east-1".into(),
            s3_credentials: Some(("id".into(), "secret".into())),
            s3_public_endpoint: Some("https://s3.example.org".into()),
            s3_path_style: true,
            gcs_service_account: None,
            stall_timeout: Duration::from_secs(1),
            retry_timeout: Duration::from_secs(1),
        };
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let bucket = UploadBucket { store: Arc::clone(&store), ..options.upload_bucket("s3://bucket/raw").unwrap() };
        (BucketParts::new(bucket, catalog), store)
    }

    #[tokio::test]
    async fn parts_are_taken_whole_and_as_often_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let executor = SqliteExecutor::open(&dir.path().join("catalog"), 2).unwrap();
        let catalog = Arc::new(CatalogStore::new(Arc::new(executor)));
        let (parts, store) = parts(Arc::clone(&catalog));
        let (id, plan) = (UploadId::random(&Counting), PartPlan::new(10, 4));
        catalog.open_extents(&id).await.unwrap();
        let url = parts.part_url(&id, 2, Duration::from_secs(60)).await.unwrap();
        assert!(url.starts_with(&format!("https://s3.example.org/bucket/raw/{id}/part-00002?")), "{url}");
        assert!(url.contains("X-Amz-Expires=60&") && url.contains("X-Amz-Signature="), "{url}");
        let put = async |part: u32, bytes: &'static [u8]| {
            let path = object_store::path::Path::from(format!("{id}/part-{part:05}"));
            store.put(&path, Bytes::from_static(bytes).into()).await.unwrap();
        };
        assert_eq!(parts.take_parts(&id, plan).await, Err(PartError::Missing { part: 1 }));
        put(3, b"ij").await;
        put(1, b"abcd").await;
        put(2, b"efghi").await;
        let too_long = PartError::Size { part: 2, expected: 4, found: 5 };
        assert_eq!(parts.take_parts(&id, plan).await, Err(too_long));
        assert_eq!(parts.stored_parts(&id).await.unwrap(), [(1, 4), (3, 2)].into());
        put(2, b"efgh").await;
        for round in 1..=2 {
            parts.take_parts(&id, plan).await.unwrap();
            let listed = catalog.extents(&id).await.unwrap().extents;
            assert_eq!(listed.iter().map(|extent| extent.bytes).collect::<Vec<_>>(), [4, 4, 2], "round {round}");
            // What is put afterwards changes nothing of what was taken.
            put(1, b"ABCD").await;
            let mut content = Vec::new();
            for extent in listed {
                let path = extent.key.as_str().strip_prefix("raw-uploads/").unwrap().into();
                content.extend(store.get(&path).await.unwrap().bytes().await.unwrap());
            }
            assert_eq!(content, if round == 1 { b"abcdefghij" } else { b"ABCDefghij" });
        }
        parts.drop_parts(&id).await.unwrap();
        assert_eq!(parts.stored_parts(&id).await.unwrap(), [].into());
        assert_eq!(catalog.extents(&id).await.unwrap().extents.len(), 3);
        assert_eq!(parts.take_parts(&id, plan).await, Err(PartError::Missing { part: 1 }));
    }
}

/// The files as a killed process leaves them: its writer is neither dropped nor finished.
async fn killed_while_appending(dir: &Path, id: &UploadId, checked: bool, bytes: usize) {
    let uploads = LocalUploads::new(dir);
    let mut writer = uploads.append(id, checked).await.unwrap();
    let before = writer.offset();
    writer.write(vec![7; bytes].into()).await.unwrap();
    assert_eq!(writer.offset(), before + bytes as u64);
    // A dead process writes no more: wait for the piece that is on its way.
    let file = dir.join(key_of(id).as_str());
    while file.metadata().unwrap().len() < before + bytes as u64 {
        tokio::task::yield_now().await;
    }
    std::mem::forget(writer);
}

async fn store_with(bytes: &'static [u8]) -> (tempfile::TempDir, UploadId) {
    let dir = tempfile::tempdir().unwrap();
    let id = UploadId::random(&crate::storage::conformance::Counting);
    let uploads = LocalUploads::new(dir.path());
    uploads.create(&id).await.unwrap();
    let mut writer = uploads.append(&id, false).await.unwrap();
    writer.write(Bytes::from_static(bytes)).await.unwrap();
    writer.finish().await.unwrap();
    (dir, id)
}

#[tokio::test]
async fn after_a_kill_the_length_of_the_file_is_the_offset() {
    let (dir, id) = store_with(b"kept").await;
    killed_while_appending(dir.path(), &id, false, 1 << 20).await;
    let uploads = LocalUploads::new(dir.path());
    let offset = uploads.offset(&id).await.unwrap();
    assert_eq!(offset, 4 + (1 << 20));
    let file = std::fs::read(dir.path().join(key_of(&id).as_str())).unwrap();
    assert_eq!(file.len() as u64, offset);
    assert!(file.starts_with(b"kept") && file[4..].iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn after_a_kill_an_unchecked_digest_counts_for_nothing() {
    let (dir, id) = store_with(b"kept").await;
    killed_while_appending(dir.path(), &id, true, 1 << 20).await;
    let marker = dir.path().join(format!("raw-uploads/{id}/checked"));
    assert!(marker.exists());
    let uploads = LocalUploads::new(dir.path());
    assert_eq!(uploads.offset(&id).await.unwrap(), 4);
    assert!(!marker.exists());
    assert_eq!(std::fs::read(dir.path().join(key_of(&id).as_str())).unwrap(), b"kept");
    // The same when the next thing asked for is an append or the end.
    killed_while_appending(dir.path(), &id, true, 1 << 20).await;
    let writer = LocalUploads::new(dir.path()).append(&id, true).await.unwrap();
    assert_eq!(writer.offset(), 4);
    std::mem::forget(writer);
    assert_eq!(LocalUploads::new(dir.path()).seal(&id).await.unwrap()[0].bytes, 4);
}

#[tokio::test]
async fn a_torn_marker_guards_nothing() {
    let (dir, id) = store_with(b"kept").await;
    let marker = dir.path().join(format!("raw-uploads/{id}/checked"));
    for torn in [b"" as &[u8], b"\x02\0\0", b"\x02\0\0\0\0\0\0\0garbage!"] {
        std::fs::write(&marker, torn).unwrap();
        assert_eq!(LocalUploads::new(dir.path()).offset(&id).await.unwrap(), 4);
        assert!(!marker.exists());
    }
}

#[tokio::test]
async fn a_full_disk_is_told_as_such() {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let mut appending = file::Appending::new(device, 0, false);
    let error = appending.write(b"bytes").unwrap_err();
    let id = UploadId::random(&crate::storage::conformance::Counting);
    assert_eq!(crate::storage::files::blob_error(&key_of(&id), &error), BlobError::Full);
    assert_eq!(appending.written, 0, "nothing counts as written");
}

#[tokio::test]
async fn slots_of_finished_uploads_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let uploads = LocalUploads::new(dir.path());
    for _ in 0..500 {
        let id = UploadId::random(&crate::storage::conformance::Counting);
        let _ = uploads.offset(&id).await;
    }
    assert!(uploads.slots.count() <= slots::SWEEP_MIN);
}

/// Writers dropped at any moment, in the middle of a write too, with the next one opened at once: bytes stay in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_and_reopened_writers_never_mix_their_bytes() {
    let (dir, id) = store_with(b"").await;
    let uploads = LocalUploads::new(dir.path());
    let source: Vec<u8> = (0..8_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let source = Bytes::from(source);
    for round in 0..40 {
        let mut writer = uploads.append(&id, round % 4 == 3).await.unwrap();
        let mut offset = writer.offset() as usize;
        assert_eq!(uploads.root.join(key_of(&id).as_str()).metadata().unwrap().len(), offset as u64);
        let appending = async {
            while offset < source.len() {
                let end = (offset + 150_000).min(source.len());
                writer.write(source.slice(offset..end)).await.unwrap();
                offset = end;
            }
        };
        // Cut off after some polls, wherever that is.
        let _ = tokio::time::timeout(std::time::Duration::from_micros(50 * (round % 7)), appending).await;
        drop(writer);
    }
    let mut writer = uploads.append(&id, false).await.unwrap();
    writer.write(source.slice(writer.offset() as usize..)).await.unwrap();
    writer.finish().await.unwrap();
    assert!(std::fs::read(dir.path().join(key_of(&id).as_str())).unwrap() == source);
}
