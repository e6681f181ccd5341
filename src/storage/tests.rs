use super::*;
use crate::domain::ports::JournalBatch;
use crate::storage::conformance::{created, new_upload, registered};

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Embedded::open(dir.path(), EmbeddedOptions::default()).await.unwrap();
    let user = registered(&*storage.catalog, "alice").await;
    let upload = created(&*storage.catalog, new_upload(&user.id, Some(5))).await;
    storage.uploads.create(&upload.id).await.unwrap();
    let mut writer = storage.uploads.append(&upload.id, false).await.unwrap();
    writer.write("hello".into()).await.unwrap();
    writer.finish().await.unwrap();
    let batch = JournalBatch { puts: vec![("test", b"key".into(), b"value".into())], removes: Vec::new() };
    storage.journal.write(batch).await.unwrap();
    drop(storage);

    let storage = Embedded::open(dir.path(), EmbeddedOptions::default()).await.unwrap();
    assert_eq!(storage.catalog.user(&user.id).await.unwrap(), Some(user));
    assert_eq!(storage.catalog.upload(&upload.id).await.unwrap(), Some(upload.clone()));
    assert_eq!(storage.uploads.offset(&upload.id).await.unwrap(), 5);
    assert_eq!(storage.journal.scan("test").await.unwrap(), [(b"key".to_vec(), b"value".to_vec())]);
    let extents = storage.uploads.seal(&upload.id).await.unwrap();
    assert_eq!(storage.blobs.read_all(&extents[0].key).await.unwrap(), "hello");
    let names: std::collections::BTreeSet<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["catalog.sqlite", "blobs", "journal", "work", "lock"] {
        assert!(names.contains(name), "{name} is missing of {names:?}");
    }
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { lock_wait: Duration::ZERO, ..EmbeddedOptions::default() };
    let _first = Embedded::open(dir.path(), options.clone()).await.unwrap();
    let second = Embedded::open(dir.path(), options).await;
    assert!(matches!(second, Err(OpenError::DataDir(DataDirError::InUse { .. }))));
}
