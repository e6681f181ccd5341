//! Upload stores.
use std::sync::Arc;

use bytes::Bytes;

use super::Counting;
use crate::domain::ids::UploadId;
use crate::domain::ports::{BlobError, BlobStore, UploadStore, UploadWriter};

/// The store under test, and the blob store its uploads become blobs of.
pub(in super::super) struct UploadStores {
    pub(in super::super) uploads: Arc<dyn UploadStore>,
    pub(in super::super) blobs: Arc<dyn BlobStore>,
}

async fn created(stores: &UploadStores) -> UploadId {
    let id = UploadId::random(&Counting);
    stores.uploads.create(&id).await.unwrap();
    id
}

async fn appended(writer: &mut Box<dyn UploadWriter>, bytes: &'static [u8]) {
    writer.write(Bytes::from_static(bytes)).await.unwrap();
}

/// The bytes stored so far.
async fn content(stores: &UploadStores, id: &UploadId) -> Vec<u8> {
    let mut bytes = Vec::new();
    for extent in stores.uploads.seal(id).await.unwrap() {
        let read = stores.blobs.read_all(&extent.key).await.unwrap();
        assert_eq!(read.len() as u64, extent.bytes);
        bytes.extend_from_slice(&read);
    }
    bytes
}

pub(in super::super) async fn appends_follow_one_another(stores: &UploadStores) {
    let id = created(stores).await;
    assert_eq!(stores.uploads.offset(&id).await.unwrap(), 0);
    for (before, after, bytes) in [(0, 5, b"hello" as &[u8]), (5, 12, b" world!")] {
        let mut writer = stores.uploads.append(&id, false).await.unwrap();
        assert_eq!(writer.offset(), before);
        appended(&mut writer, bytes).await;
        assert_eq!(writer.offset(), after);
        assert_eq!(writer.finish().await.unwrap(), after);
        assert_eq!(stores.uploads.offset(&id).await.unwrap(), after);
    }
    assert_eq!(content(stores, &id).await, b"hello world!");
    assert_eq!(content(stores, &id).await, b"hello world!", "sealing repeats");
}

pub(in super::super) async fn large_appends_keep_their_order(stores: &UploadStores) {
    let id = created(stores).await;
    let mut writer = stores.uploads.append(&id, false).await.unwrap();
    let mut expected = Vec::new();
    for index in 0..300u32 {
        let piece: Vec<u8> = (0..70_000 + index).map(|n| (n ^ index) as u8).collect();
        expected.extend_from_slice(&piece);
        writer.write(piece.into()).await.unwrap();
        assert_eq!(writer.offset(), expected.len() as u64);
    }
    assert_eq!(writer.finish().await.unwrap(), expected.len() as u64);
    assert!(content(stores, &id).await == expected);
}

pub(in super::super) async fn a_dropped_writer_leaves_what_it_wrote(stores: &UploadStores) {
    let id = created(stores).await;
    let mut writer = stores.uploads.append(&id, false).await.unwrap();
    appended(&mut writer, b"kept").await;
    drop(writer);
    assert_eq!(stores.uploads.offset(&id).await.unwrap(), 4);
    let mut writer = stores.uploads.append(&id, false).await.unwrap();
    appended(&mut writer, b" on").await;
    drop(writer);
    let writer = stores.uploads.append(&id, false).await.unwrap();
    assert_eq!(writer.offset(), 7, "the next writer goes on behind the last byte of the one before");
    drop(writer);
    assert_eq!(content(stores, &id).await, b"kept on");
}

pub(in super::super) async fn a_dropped_checked_append_never_was(stores: &UploadStores) {
    let id = created(stores).await;
    let mut writer = stores.uploads.append(&id, true).await.unwrap();
    appended(&mut writer, b"good").await;
    assert_eq!(stores.uploads.offset(&id).await.unwrap(), 0, "nothing counts before the end");
    assert_eq!(writer.finish().await.unwrap(), 4);
    let mut writer = stores.uploads.append(&id, true).await.unwrap();
    writer.write(vec![0; 3_000_000].into()).await.unwrap();
    drop(writer);
    assert_eq!(stores.uploads.offset(&id).await.unwrap(), 4);
    assert_eq!(content(stores, &id).await, b"good");
}

pub(in super::super) async fn a_discarded_append_never_was(stores: &UploadStores) {
    let id = created(stores).await;
    for checked in [false, true] {
        let mut writer = stores.uploads.append(&id, checked).await.unwrap();
        writer.write(vec![1; 2_000_000].into()).await.unwrap();
        appended(&mut writer, b"tail").await;
        assert_eq!(writer.discard().await.unwrap(), 0, "checked: {checked}");
        assert_eq!(stores.uploads.offset(&id).await.unwrap(), 0);
    }
    let mut writer = stores.uploads.append(&id, false).await.unwrap();
    appended(&mut writer, b"new").await;
    assert_eq!(writer.finish().await.unwrap(), 3);
}

pub(in super::super) async fn a_newer_writer_fences_an_older_one(stores: &UploadStores) {
    let id = created(stores).await;
    let mut older = stores.uploads.append(&id, false).await.unwrap();
    appended(&mut older, b"first").await;
    let mut newer = stores.uploads.append(&id, false).await.unwrap();
    let base = newer.offset();
    appended(&mut newer, b"second").await;
    let late = older.write(vec![9; 2_000_000].into()).await;
    let late = match late {
        Ok(()) => older.finish().await.map(drop),
        refused => refused,
    };
    assert!(matches!(late, Err(BlobError::Unavailable(_))), "{late:?}");
    assert_eq!(newer.finish().await.unwrap(), base + 6);
    assert!(content(stores, &id).await.ends_with(b"second"));
}

pub(in super::super) async fn the_offset_of_a_living_writer_moves_on(stores: &UploadStores) {
    let id = created(stores).await;
    let mut writer = stores.uploads.append(&id, false).await.unwrap();
    writer.write(vec![1; 3_000_000].into()).await.unwrap();
    writer.write(vec![2; 3_000_000].into()).await.unwrap();
    let seen = stores.uploads.offset(&id).await.unwrap();
    assert!(seen >= 3_000_000, "{seen}");
    appended(&mut writer, b"end").await;
    assert_eq!(writer.finish().await.unwrap(), 6_000_003);
    let stored = content(stores, &id).await;
    assert!(stored.len() == 6_000_003 && stored.ends_with(b"\x02end") && stored[2_999_999..3_000_001] == [1, 2]);
}

pub(in super::super) async fn removing_is_repeatable(stores: &UploadStores) {
    let id = created(stores).await;
    let mut writer = stores.uploads.append(&id, true).await.unwrap();
    appended(&mut writer, b"bytes").await;
    stores.uploads.remove(&id).await.unwrap();
    stores.uploads.remove(&id).await.unwrap();
    assert!(writer.finish().await.is_err());
    assert!(matches!(stores.uploads.offset(&id).await, Err(BlobError::NotFound(_))));
    assert!(matches!(stores.uploads.append(&id, false).await, Err(BlobError::NotFound(_))));
    assert!(matches!(stores.uploads.seal(&id).await, Err(BlobError::NotFound(_))));
    let absent = UploadId::random(&Counting);
    stores.uploads.remove(&absent).await.unwrap();
}

pub(in super::super) async fn creating_again_keeps_the_bytes(stores: &UploadStores) {
    let id = created(stores).await;
    let mut writer = stores.uploads.append(&id, false).await.unwrap();
    appended(&mut writer, b"kept").await;
    writer.finish().await.unwrap();
    stores.uploads.create(&id).await.unwrap();
    assert_eq!(stores.uploads.offset(&id).await.unwrap(), 4);
}

pub(in super::super) async fn an_empty_upload_is_an_empty_blob(stores: &UploadStores) {
    let id = created(stores).await;
    let extents = stores.uploads.seal(&id).await.unwrap();
    assert_eq!(extents.iter().map(|extent| extent.bytes).sum::<u64>(), 0);
    assert_eq!(content(stores, &id).await, b"");
}

pub(in super::super) async fn many_short_appends_stay_a_short_list(stores: &UploadStores) {
    let id = created(stores).await;
    let mut expected = Vec::new();
    for index in 0..100u8 {
        let piece = vec![index; 300_000];
        expected.extend_from_slice(&piece);
        let mut writer = stores.uploads.append(&id, index % 3 == 0).await.unwrap();
        writer.write(piece.into()).await.unwrap();
        assert_eq!(writer.finish().await.unwrap(), expected.len() as u64);
    }
    assert!(content(stores, &id).await == expected);
    let extents = stores.uploads.seal(&id).await.unwrap();
    assert!(extents.len() <= 24, "{}", extents.len());
}
