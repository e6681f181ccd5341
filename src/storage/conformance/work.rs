//! Attempts at work on videos.
use std::sync::Arc;

use super::{at, processing, registered};
use crate::domain::ports::{Catalog, CatalogError};
use crate::domain::transcode::{AttemptEnd, Attempts, WorkKind};

pub(in super::super) async fn attempts_are_counted_by_their_end(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let id = processing(&**catalog, &user.id, "a clip", at(1)).await;
    let begin = || catalog.begin_attempt(&id, WorkKind::Inspect, at(2));
    let end = |how| catalog.end_attempt(&id, WorkKind::Inspect, how, at(3));
    assert_eq!(begin().await.unwrap(), Attempts::default());
    end(AttemptEnd::Crashed).await.unwrap();
    end(AttemptEnd::Crashed).await.unwrap();
    assert_eq!(begin().await.unwrap(), Attempts { crashed: 1, interrupted: 0 });
    // The server was killed here, twice.
    assert_eq!(begin().await.unwrap(), Attempts { crashed: 1, interrupted: 1 });
    assert_eq!(begin().await.unwrap(), Attempts { crashed: 1, interrupted: 2 });
    for how in [AttemptEnd::Withdrawn, AttemptEnd::Answered] {
        end(how).await.unwrap();
        assert_eq!(begin().await.unwrap(), Attempts { crashed: 1, interrupted: 2 });
    }
    let other = catalog.begin_attempt(&id, WorkKind::Illustrate, at(4)).await.unwrap();
    assert_eq!(other, Attempts::default());
}

pub(in super::super) async fn attempts_need_a_living_video(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let id = processing(&**catalog, &user.id, "a clip", at(1)).await;
    catalog.begin_attempt(&id, WorkKind::Remux, at(2)).await.unwrap();
    catalog.delete_video(&id, at(3)).await.unwrap();
    assert_eq!(catalog.begin_attempt(&id, WorkKind::Remux, at(4)).await, Err(CatalogError::NotFound));
    catalog.end_attempt(&id, WorkKind::Remux, AttemptEnd::Answered, at(5)).await.unwrap();
    catalog.purge_video(&id).await.unwrap();
}
