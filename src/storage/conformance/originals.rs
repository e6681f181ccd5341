//! Where originals are, and for how long.
use std::sync::Arc;

use super::ladders::new_ladder;
use super::{at, events, processing, registered};
use crate::domain::asset::BlobKey;
use crate::domain::ids::VideoId;
use crate::domain::ladder::{LadderEnding, LadderState};
use crate::domain::ports::{AgedOriginal, Catalog, CatalogError, VideoStep};
use crate::domain::time::Timestamp;
use crate::domain::video::OriginalState::{Archived, Deleted, Moving, Stored};

/// A video of which all is made.
async fn ready(catalog: &Arc<dyn Catalog>, created_at: Timestamp) -> VideoId {
    let user = match catalog.user_by_name("alice").await.unwrap() {
        Some(user) => user,
        None => registered(&**catalog, "alice").await,
    };
    let id = processing(&**catalog, &user.id, "clip", created_at).await;
    let published = VideoStep::Published { generation: 1, renditions: Vec::new(), blobs: Vec::new() };
    catalog.step_video(&id, published, created_at).await.unwrap();
    catalog.step_video(&id, VideoStep::Finished, created_at).await.unwrap();
    id
}

async fn original(catalog: &Arc<dyn Catalog>, id: &VideoId) -> AgedOriginal {
    let video = catalog.video(id).await.unwrap().unwrap();
    AgedOriginal { video_id: id.clone(), asset_generation: video.asset_generation, extents: video.source }
}

fn keys(original: &AgedOriginal) -> Vec<BlobKey> {
    original.extents.iter().map(|extent| extent.key.clone()).collect()
}

pub(in super::super) async fn originals_grow_old(catalog: &Arc<dyn Catalog>) {
    let (old, young) = (ready(catalog, at(1)).await, ready(catalog, at(50)).await);
    let user = catalog.user_by_name("alice").await.unwrap().unwrap();
    processing(&**catalog, &user.id, "in work", at(1)).await;
    let aged = async |secs| catalog.aged_originals(Stored, at(secs), 10).await.unwrap();
    assert_eq!((aged(0).await, aged(1).await), (vec![], vec![original(catalog, &old).await]));
    assert_eq!(aged(50).await, [original(catalog, &old).await, original(catalog, &young).await]);
    assert_eq!(catalog.aged_originals(Stored, at(50), 1).await.unwrap().len(), 1);
    // What stays is looked at again after as long.
    let before = catalog.video(&old).await.unwrap();
    catalog.move_original(&old, (Stored, Stored), at(20)).await.unwrap();
    assert_eq!(catalog.video(&old).await.unwrap(), before);
    assert_eq!((aged(19).await, aged(20).await), (vec![], vec![original(catalog, &old).await]));
    assert_eq!(events(&**catalog, "video.original_moved").await.len(), 0);
    // What is about to be read is left alone.
    catalog.start_ladder(new_ladder(&young, 2), at(60)).await.unwrap();
    assert_eq!(aged(100).await, [original(catalog, &old).await]);
    assert_eq!(catalog.move_original(&young, (Stored, Deleted), at(100)).await, Err(CatalogError::Stale));
    catalog.end_ladder((&young, 2), LadderEnding::of(LadderState::Done), at(100)).await.unwrap();
    assert_eq!(aged(100).await.len(), 2);
    catalog.delete_video(&old, at(100)).await.unwrap();
    assert_eq!(aged(100).await.len(), 1);
    assert_eq!(catalog.move_original(&old, (Stored, Moving), at(100)).await, Err(CatalogError::Stale));
}

pub(in super::super) async fn an_original_is_moved_step_by_step(catalog: &Arc<dyn Catalog>) {
    let id = ready(catalog, at(1)).await;
    let known = original(catalog, &id).await;
    let movers = (0..4).map(|_| catalog.move_original(&id, (Stored, Moving), at(5)));
    let outcomes = futures::future::join_all(movers).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(catalog.aged_originals(Stored, at(9), 10).await.unwrap(), []);
    assert_eq!(catalog.aged_originals(Moving, at(9), 10).await.unwrap(), std::slice::from_ref(&known));
    catalog.move_original(&id, (Moving, Archived), at(6)).await.unwrap();
    assert_eq!(catalog.aged_originals(Archived, at(5), 10).await.unwrap(), []);
    assert_eq!(catalog.aged_originals(Archived, at(6), 10).await.unwrap(), std::slice::from_ref(&known));
    let video = catalog.video(&id).await.unwrap().unwrap();
    assert_eq!((video.original, video.source), (Archived, known.extents.clone()));
    assert_eq!(events(&**catalog, "video.original_moved").await.len(), 2);
    assert_eq!(catalog.orphans(keys(&known)).await.unwrap(), []);
    catalog.delete_video(&id, at(7)).await.unwrap();
    assert_eq!(catalog.deleted_videos(10).await.unwrap(), [(id, keys(&known))], "its bytes go with the video");
}

pub(in super::super) async fn a_deleted_original_is_nobodys(catalog: &Arc<dyn Catalog>) {
    let id = ready(catalog, at(1)).await;
    let known = original(catalog, &id).await;
    catalog.move_original(&id, (Stored, Deleted), at(5)).await.unwrap();
    let video = catalog.video(&id).await.unwrap().unwrap();
    assert_eq!((video.original, video.source, video.file_size), (Deleted, vec![], 10));
    assert_eq!(catalog.orphans(keys(&known)).await.unwrap(), keys(&known));
    for state in [Stored, Moving, Archived] {
        assert_eq!(catalog.aged_originals(state, at(9), 10).await.unwrap(), []);
        assert_eq!(catalog.move_original(&id, (state, Deleted), at(9)).await, Err(CatalogError::Stale));
    }
    catalog.delete_video(&id, at(9)).await.unwrap();
    assert_eq!(catalog.deleted_videos(10).await.unwrap(), [(id, vec![])]);
}
