//! Uploads: quotas, completion, concatenation, ending.
use std::sync::Arc;

use super::{Counting, ROOMY, at, created, events, new_upload, new_user, partial, raw, registered};
use crate::domain::asset::Extent;
use crate::domain::ids::{PlaybackId, UploadId};
use crate::domain::ports::{Catalog, CatalogError, UploadQuota};
use crate::domain::upload::{Concatenation, Upload, UploadState};
use crate::domain::video::VideoStatus;

fn final_of(parts: &[&Upload]) -> Upload {
    let length = parts.iter().map(|part| part.length.unwrap_or(0)).sum();
    let ids = parts.iter().map(|part| part.id.clone()).collect();
    Upload { concatenation: Concatenation::Final(ids), ..new_upload(&parts[0].user_id, Some(length)) }
}

/// How many bytes the quota still lets in.
async fn fits(catalog: &dyn Catalog, upload: Upload, quota_bytes: u64) -> Result<(), CatalogError> {
    let playback = upload.video_id.as_ref().map(|_| PlaybackId::random(&Counting));
    let quota = UploadQuota { bytes: quota_bytes, open_uploads: 100 };
    catalog.create_upload(upload, playback, quota).await.map(drop)
}

pub(in super::super) async fn an_upload_makes_its_video(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = created(&**catalog, new_upload(&user.id, Some(1000))).await;
    assert_eq!(catalog.upload(&upload.id).await.unwrap(), Some(upload.clone()));
    let video = catalog.video(upload.video_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!((video.status, video.file_size), (VideoStatus::Uploading, 1000));
    assert_eq!((video.details(), &video.channel_id), (upload.details.clone(), &user.channel.id));
    assert_eq!(catalog.video_by_playback(&video.playback_id).await.unwrap(), Some(video));
    let stranger = new_upload(&new_user("nobody").id, Some(1));
    let refused = catalog.create_upload(stranger, Some(PlaybackId::random(&Counting)), ROOMY).await;
    assert_eq!(refused, Err(CatalogError::NotFound));
    assert_eq!(catalog.upload(&UploadId::random(&Counting)).await.unwrap(), None);
}

pub(in super::super) async fn quotas_hold_also_in_a_race(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let race = (0..10).map(|_| fits(&**catalog, new_upload(&user.id, Some(100)), 450));
    let outcomes = futures::future::join_all(race).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    let refused = CatalogError::QuotaExceeded { used: 400, limit: 450 };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(refused.clone())).count(), 6, "{outcomes:?}");
    let huge = fits(&**catalog, new_upload(&user.id, Some(u64::MAX)), 450).await;
    assert_eq!(huge, Err(refused));
    let few = UploadQuota { bytes: 1000, open_uploads: 4 };
    let playback = PlaybackId::random(&Counting);
    let refused = catalog.create_upload(new_upload(&user.id, Some(1)), Some(playback), few).await;
    assert_eq!(refused, Err(CatalogError::QuotaExceeded { used: 4, limit: 4 }));
}

pub(in super::super) async fn a_digest_may_follow_until_completion(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = created(&**catalog, new_upload(&user.id, Some(10))).await;
    catalog.expect_upload_digest(&upload.id, "sha256:00").await.unwrap();
    catalog.expect_upload_digest(&upload.id, "sha256:00").await.unwrap();
    let other = catalog.expect_upload_digest(&upload.id, "sha256:01").await;
    assert_eq!(other, Err(CatalogError::Conflict("digest")));
    catalog.complete_upload(&upload.id, raw(&upload, 10), at(5)).await.unwrap();
    let video = catalog.video(upload.video_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!((video.status, video.expected_digest.as_deref()), (VideoStatus::Verifying, Some("sha256:00")));
    let late = created(&**catalog, new_upload(&user.id, Some(10))).await;
    catalog.complete_upload(&late.id, raw(&late, 10), at(6)).await.unwrap();
    assert_eq!(catalog.expect_upload_digest(&late.id, "md5:00").await, Err(CatalogError::Conflict("digest")));
}

pub(in super::super) async fn a_deferred_length_counts_when_declared(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = created(&**catalog, new_upload(&user.id, None)).await;
    let quota = UploadQuota { bytes: 500, open_uploads: 1 };
    let refused = catalog.set_upload_length(&upload.id, 501, quota).await;
    assert_eq!(refused, Err(CatalogError::QuotaExceeded { used: 0, limit: 500 }));
    catalog.set_upload_length(&upload.id, 400, quota).await.unwrap();
    catalog.set_upload_length(&upload.id, 400, quota).await.unwrap();
    assert_eq!(catalog.set_upload_length(&upload.id, 401, quota).await, Err(CatalogError::Conflict("length")));
    assert_eq!(catalog.upload(&upload.id).await.unwrap().unwrap().length, Some(400));
    let video = catalog.video(upload.video_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!(video.file_size, 400);
    let used = CatalogError::QuotaExceeded { used: 400, limit: 500 };
    assert_eq!(fits(&**catalog, new_upload(&user.id, Some(101)), 500).await, Err(used));
    let unknown = catalog.set_upload_length(&UploadId::random(&Counting), 1, quota).await;
    assert_eq!(unknown, Err(CatalogError::NotFound));
}

pub(in super::super) async fn completing_repeats_without_effect(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = created(&**catalog, new_upload(&user.id, Some(1000))).await;
    let extents = raw(&upload, 1000);
    let race = (0..4).map(|_| catalog.complete_upload(&upload.id, extents.clone(), at(7)));
    let outcomes = futures::future::join_all(race).await;
    let done = outcomes[0].clone().unwrap();
    assert_eq!((done.state, &done.extents), (UploadState::Complete, &extents));
    assert!(outcomes.iter().all(|outcome| outcome.as_ref() == Ok(&done)));
    let video = catalog.video(upload.video_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!((video.status, &video.source, video.file_size), (VideoStatus::Processing, &extents, 1000));
    let told = events(&**catalog, "upload.completed").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].payload["video_id"], video.id.as_str());
    assert_eq!(catalog.terminate_upload(&upload.id, "late", at(8)).await, Err(CatalogError::Conflict("upload")));
}

pub(in super::super) async fn an_expected_digest_is_verified_first(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = Upload { expected_digest: Some("sha-256:00".into()), ..new_upload(&user.id, Some(3)) };
    let upload = created(&**catalog, upload).await;
    catalog.complete_upload(&upload.id, raw(&upload, 3), at(7)).await.unwrap();
    let video = catalog.video(upload.video_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!((video.status, video.expected_digest.as_deref()), (VideoStatus::Verifying, Some("sha-256:00")));
}

pub(in super::super) async fn ending_frees_the_quota_and_drops_the_video(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = created(&**catalog, new_upload(&user.id, Some(1000))).await;
    catalog.terminate_upload(&upload.id, "by its client", at(5)).await.unwrap();
    catalog.terminate_upload(&upload.id, "again", at(6)).await.unwrap();
    let ended = catalog.upload(&upload.id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.video_id), (UploadState::Terminated, None));
    assert_eq!(catalog.video(upload.video_id.as_ref().unwrap()).await.unwrap(), None);
    let told = events(&**catalog, "upload.terminated").await;
    assert_eq!((told.len(), &told[0].payload["reason"]), (1, &"by its client".into()));
    assert_eq!(fits(&**catalog, new_upload(&user.id, Some(1000)), 1000).await, Ok(()));
    assert_eq!(catalog.complete_upload(&upload.id, raw(&upload, 1000), at(7)).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.set_upload_expiry(&upload.id, at(9)).await, Err(CatalogError::NotFound));
}

pub(in super::super) async fn concatenation_takes_its_parts(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let (left, right) =
        (created(&**catalog, partial(&user.id, 300)).await, created(&**catalog, partial(&user.id, 200)).await);
    let whole = created(&**catalog, final_of(&[&right, &left])).await;
    assert_eq!(catalog.upload(&whole.id).await.unwrap(), Some(whole.clone()));
    assert_eq!(catalog.terminate_upload(&left.id, "no", at(2)).await, Err(CatalogError::Conflict("upload")));
    let twice = fits(&**catalog, final_of(&[&left]), 1 << 40).await;
    assert_eq!(twice, Err(CatalogError::Conflict("part")));
    catalog.complete_upload(&left.id, raw(&left, 300), at(3)).await.unwrap();
    let early = catalog.complete_upload(&whole.id, Vec::new(), at(4)).await;
    assert_eq!(early, Err(CatalogError::Conflict("part")), "the other part is still open");
    catalog.complete_upload(&right.id, raw(&right, 200), at(5)).await.unwrap();
    assert_eq!(events(&**catalog, "upload.completed").await.len(), 0, "parts are not uploads of their own");

    let done = catalog.complete_upload(&whole.id, Vec::new(), at(6)).await.unwrap();
    let extents: Vec<Extent> = [raw(&right, 200), raw(&left, 300)].concat();
    assert_eq!(done.extents, extents, "in the order of the final upload");
    let video = catalog.video(whole.video_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!((&video.source, video.file_size), (&extents, 500));
    assert_eq!(catalog.terminate_upload(&left.id, "no", at(7)).await, Err(CatalogError::Conflict("upload")));
    assert_eq!(catalog.expired_uploads(at(1_000_000), 10).await.unwrap(), [], "its parts do not expire");
    let used = CatalogError::QuotaExceeded { used: 500, limit: 600 };
    assert_eq!(fits(&**catalog, new_upload(&user.id, Some(101)), 600).await, Err(used), "bytes count once");
    let keys = extents.iter().map(|extent| extent.key.clone()).collect();
    assert_eq!(catalog.orphans(keys).await.unwrap(), []);
}

pub(in super::super) async fn strangers_and_whole_uploads_are_no_parts(catalog: &Arc<dyn Catalog>) {
    let (alice, bob) = (registered(&**catalog, "alice").await, registered(&**catalog, "bob").await);
    let whole = created(&**catalog, new_upload(&alice.id, Some(1))).await;
    let bobs = created(&**catalog, partial(&bob.id, 1)).await;
    let ended = created(&**catalog, partial(&alice.id, 1)).await;
    catalog.terminate_upload(&ended.id, "test", at(2)).await.unwrap();
    for part in [whole, bobs, ended, partial(&alice.id, 1)] {
        let attempt = Upload { user_id: alice.id.clone(), ..final_of(&[&part]) };
        assert_eq!(fits(&**catalog, attempt, 1 << 40).await, Err(CatalogError::Conflict("part")), "{part:?}");
    }
    let part = created(&**catalog, partial(&alice.id, 1)).await;
    let doubled = fits(&**catalog, final_of(&[&part, &part]), 1 << 40).await;
    assert_eq!(doubled, Err(CatalogError::Conflict("part")));
}

pub(in super::super) async fn unfinished_uploads_expire(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let (open, done) = (
        created(&**catalog, new_upload(&user.id, Some(1))).await,
        created(&**catalog, new_upload(&user.id, Some(1))).await,
    );
    catalog.complete_upload(&done.id, raw(&done, 1), at(3)).await.unwrap();
    let lone = created(&**catalog, partial(&user.id, 1)).await;
    catalog.complete_upload(&lone.id, raw(&lone, 1), at(3)).await.unwrap();
    let part = created(&**catalog, partial(&user.id, 1)).await;
    let whole = created(&**catalog, final_of(&[&part])).await;
    assert_eq!(catalog.expired_uploads(at(99), 10).await.unwrap(), []);
    catalog.set_upload_expiry(&open.id, at(300)).await.unwrap();
    catalog.set_upload_expiry(&part.id, at(200)).await.unwrap();

    let ids = |uploads: Vec<Upload>| uploads.into_iter().map(|upload| upload.id).collect::<Vec<_>>();
    assert_eq!(ids(catalog.expired_uploads(at(100), 10).await.unwrap()), std::slice::from_ref(&lone.id));
    let expired = ids(catalog.expired_uploads(at(200), 10).await.unwrap());
    assert_eq!(expired.len(), 2, "a final upload lives as long as its parts");
    assert!(expired.contains(&whole.id) && !expired.contains(&part.id));
    catalog.terminate_upload(&whole.id, "expired", at(200)).await.unwrap();
    assert!(ids(catalog.expired_uploads(at(200), 10).await.unwrap()).contains(&part.id), "released");
    assert!(ids(catalog.expired_uploads(at(300), 10).await.unwrap()).contains(&open.id));
    assert_eq!(catalog.expired_uploads(at(300), 1).await.unwrap().len(), 1);
}
