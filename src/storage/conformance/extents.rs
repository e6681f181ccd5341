//! Bytes of uploads under way in an object store.
use std::sync::Arc;

use super::{Counting, at, created, new_upload, registered};
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::UploadId;
use crate::domain::ports::{Catalog, CatalogError};

fn extent(name: u32, bytes: u64) -> Extent {
    Extent { key: BlobKey::new(format!("raw-uploads/x/{name}")), bytes }
}

pub(in super::super) async fn extents_are_added_by_one_writer_at_a_time(catalog: &Arc<dyn Catalog>) {
    let id = UploadId::random(&Counting);
    assert_eq!(catalog.extents(&id).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.begin_extents(&id).await, Err(CatalogError::NotFound));
    catalog.open_extents(&id).await.unwrap();
    let first = catalog.begin_extents(&id).await.unwrap();
    catalog.replace_extents(&id, first.writer, 0, &[extent(1, 5), extent(2, 6)]).await.unwrap();
    catalog.open_extents(&id).await.unwrap();
    let second = catalog.begin_extents(&id).await.unwrap();
    assert!(second.writer > first.writer);
    assert_eq!(second.extents, [extent(1, 5), extent(2, 6)]);
    let late = catalog.replace_extents(&id, first.writer, 2, &[extent(3, 7)]).await;
    assert_eq!(late, Err(CatalogError::Stale));
    catalog.replace_extents(&id, second.writer, 1, &[extent(4, 13), extent(5, 1)]).await.unwrap();
    assert_eq!(catalog.extents(&id).await.unwrap().extents, [extent(1, 5), extent(4, 13), extent(5, 1)]);
    catalog.drop_extents(&id).await.unwrap();
    catalog.drop_extents(&id).await.unwrap();
    assert_eq!(catalog.extents(&id).await, Err(CatalogError::NotFound));
    let late = catalog.replace_extents(&id, second.writer, 3, &[extent(6, 1)]).await;
    assert_eq!(late, Err(CatalogError::Stale));
}

pub(in super::super) async fn completed_uploads_need_no_extents(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = created(&**catalog, new_upload(&user.id, Some(5))).await;
    catalog.open_extents(&upload.id).await.unwrap();
    let begun = catalog.begin_extents(&upload.id).await.unwrap();
    catalog.replace_extents(&upload.id, begun.writer, 0, &[extent(1, 5)]).await.unwrap();
    let stored = catalog.extents(&upload.id).await.unwrap().extents;
    catalog.complete_upload(&upload.id, stored.clone(), at(2)).await.unwrap();
    assert_eq!(catalog.extents(&upload.id).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.video(&upload.video_id.unwrap()).await.unwrap().unwrap().source, stored);
}
