//! Watch positions, views, sessions.
use std::sync::Arc;

use super::{Counting, at, processing, registered};
use crate::domain::ids::{PlaybackSessionId, VideoId};
use crate::domain::playback::{SessionSummary, WatchPosition};
use crate::domain::ports::{Catalog, CatalogError};

pub(in super::super) async fn positions_move_with_time_only(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let video_id = processing(&**catalog, &user.id, "clip", at(1)).await;
    assert_eq!(catalog.watch_position(&user.id, &video_id).await.unwrap(), None);
    let position = |position_ms, updated_at| WatchPosition {
        user_id: user.id.clone(),
        video_id: video_id.clone(),
        position_ms,
        watched_per_myriad: 5000,
        completed: false,
        updated_at,
    };
    catalog.record_position(position(1000, at(10))).await.unwrap();
    catalog.record_position(position(3000, at(12))).await.unwrap();
    catalog.record_position(position(2000, at(11))).await.unwrap();
    assert_eq!(catalog.watch_position(&user.id, &video_id).await.unwrap(), Some(position(3000, at(12))));
    catalog.record_position(position(500, at(13))).await.unwrap();
    assert_eq!(catalog.watch_position(&user.id, &video_id).await.unwrap(), Some(position(500, at(13))));
    let absent = WatchPosition { video_id: VideoId::random(&Counting), ..position(1, at(14)) };
    assert_eq!(catalog.record_position(absent).await, Err(CatalogError::NotFound));
}

async fn views(catalog: &dyn Catalog, video: &VideoId) -> u64 {
    catalog.video(video).await.unwrap().unwrap().view_count
}

pub(in super::super) async fn a_session_is_one_view(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let video = processing(&**catalog, &user.id, "clip", at(1)).await;
    let revision = catalog.video(&video).await.unwrap().unwrap().revision;
    let sessions: Vec<_> = (0..3).map(|_| PlaybackSessionId::random(&Counting)).collect();
    let race = (0..12).map(|n| catalog.count_view(&sessions[n % 3], &video, at(2)));
    futures::future::join_all(race).await.into_iter().for_each(|outcome| outcome.unwrap());
    assert_eq!(views(&**catalog, &video).await, 3);
    assert_eq!(catalog.video(&video).await.unwrap().unwrap().revision, revision, "views do not spoil ETags");
    let absent = catalog.count_view(&sessions[0], &VideoId::random(&Counting), at(2)).await;
    let strange = catalog.count_view(&PlaybackSessionId::random(&Counting), &VideoId::random(&Counting), at(2)).await;
    assert_eq!(strange, Err(CatalogError::NotFound));
    assert_eq!(absent, Ok(()), "counted already");
}

pub(in super::super) async fn a_session_is_recorded_once(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let video_id = processing(&**catalog, &user.id, "clip", at(1)).await;
    let summary = SessionSummary {
        id: PlaybackSessionId::random(&Counting),
        video_id: video_id.clone(),
        user_id: Some(user.id.clone()),
        opened_at: at(2),
        ended_at: at(9),
        viewed: true,
        startup_ms: Some(321),
        watch_ms: 7000,
        rebuffer_count: 1,
        rebuffer_ms: 40,
        average_bit_rate: 1_000_000,
        seek_count: 2,
        position_ms: 6500,
    };
    catalog.count_view(&summary.id, &video_id, at(3)).await.unwrap();
    for _ in 0..3 {
        catalog.record_session(summary.clone()).await.unwrap();
    }
    assert_eq!(views(&**catalog, &video_id).await, 1, "the view was counted before");
    let unseen = SessionSummary { id: PlaybackSessionId::random(&Counting), viewed: false, ..summary.clone() };
    catalog.record_session(unseen).await.unwrap();
    assert_eq!(views(&**catalog, &video_id).await, 1);
    let lost = SessionSummary { id: PlaybackSessionId::random(&Counting), ..summary };
    catalog.record_session(lost).await.unwrap();
    assert_eq!(views(&**catalog, &video_id).await, 2, "a view that was not counted while it ran is counted at its end");
}
