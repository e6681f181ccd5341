//! Videos: steps, lists, deletion, orphans.
use std::sync::Arc;

use super::{at, created, details, events, new_upload, partial, processing, raw, registered};
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::VideoId;
use crate::domain::ports::{Catalog, CatalogError, Freshness, PageRequest, VideoFilter, VideoStep};
use crate::domain::time::Timestamp;
use crate::domain::trim::Trim;
use crate::domain::upload::{Concatenation, Upload};
use crate::domain::video::{
    Failure, MediaInfo, NonStandard, Privacy, Rendition, RenditionState, Storyboard, StoryboardSheet, Thumbnail,
    ThumbnailMoment, Video, VideoDetails, VideoInfo, VideoStatus,
};

fn rendition(name: &str, state: RenditionState) -> Rendition {
    Rendition {
        name: name.into(),
        kind: "video".into(),
        codec: "avc1.64001f".into(),
        rung: "source".into(),
        width: 1280,
        height: 720,
        frame_rate_milli: 29_970,
        bandwidth: 3_000_000,
        average_bandwidth: 2_500_000,
        state,
    }
}

fn blob(id: &VideoId, generation: u32, name: &str) -> Extent {
    Extent { key: BlobKey(format!("vod-abr/{id}/{generation}/{name}")), bytes: 77 }
}

fn published(id: &VideoId, generation: u32, renditions: Vec<Rendition>) -> VideoStep {
    VideoStep::Published { generation, renditions, blobs: vec![blob(id, generation, "asset")] }
}

fn first_published(id: &VideoId) -> VideoStep {
    published(id, 1, vec![rendition("v0-1", RenditionState::Ready)])
}

/// A video that can be watched.
async fn playable(catalog: &dyn Catalog, user: &crate::domain::ids::UserId, title: &str, secs: i64) -> Video {
    let id = processing(catalog, user, title, at(secs)).await;
    catalog.step_video(&id, first_published(&id), at(secs)).await.unwrap()
}

pub(in super::super) async fn a_video_goes_its_way(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let upload = Upload { expected_digest: Some("md5:00".into()), ..new_upload(&user.id, Some(10)) };
    let upload = created(&**catalog, upload).await;
    let id = upload.video_id.clone().unwrap();
    let early = catalog.step_video(&id, VideoStep::Verified, at(2)).await;
    assert_eq!(early, Err(CatalogError::Stale), "its bytes are still arriving");
    catalog.complete_upload(&upload.id, raw(&upload, 10), at(2)).await.unwrap();
    let early = catalog.step_video(&id, first_published(&id), at(3)).await;
    assert_eq!(early, Err(CatalogError::Stale), "not verified yet");

    let verified = catalog.step_video(&id, VideoStep::Verified, at(3)).await.unwrap();
    assert_eq!(verified.status, VideoStatus::Processing);
    assert_eq!(catalog.step_video(&id, VideoStep::Verified, at(4)).await.unwrap(), verified, "repeats do nothing");
    let media = MediaInfo {
        container: "mp4".into(),
        duration_ms: 5000,
        bit_rate: 1_000_000,
        video: vec![VideoInfo { codec: "h264".into(), width: 1280, height: 720, ..VideoInfo::default() }],
        audio: Vec::new(),
    };
    let non_standard = vec![NonStandard { code: "gop_length".into(), message: "12 s".into() }];
    let step = VideoStep::Inspected { media: media.clone(), non_standard: non_standard.clone() };
    let inspected = catalog.step_video(&id, step, at(4)).await.unwrap();
    assert_eq!((&inspected.media, &inspected.non_standard), (&Some(media), &non_standard));
    let progressed =
        catalog.step_video(&id, VideoStep::Progress { percent: 40, ready_at: Some(at(9)) }, at(5)).await.unwrap();
    assert_eq!((progressed.progress_percent, progressed.revision), (40, inspected.revision + 1));
    let playable = catalog.step_video(&id, first_published(&id), at(6)).await.unwrap();
    assert_eq!((playable.status, playable.published_at), (VideoStatus::Playable, Some(at(6))));
    let early =
        catalog.step_video(&id, VideoStep::Failed(Failure { code: "x".into(), message: "y".into() }), at(7)).await;
    assert_eq!(early, Err(CatalogError::Stale), "what can be watched does not fail");
    let ready = catalog.step_video(&id, VideoStep::Finished, at(8)).await.unwrap();
    assert_eq!((ready.status, ready.progress_percent), (VideoStatus::Ready, 100));
    assert_eq!(catalog.video(&id).await.unwrap(), Some(ready));
    let kinds: Vec<_> = catalog.events_after(0, 100).await.unwrap().into_iter().map(|event| event.kind).collect();
    let expected = [
        "user.registered",
        "upload.completed",
        "video.verified",
        "video.inspected",
        "transcode.progress",
        "video.playable",
        "transcode.rendition_ready",
        "video.ready",
    ];
    assert_eq!(kinds, expected);
}

pub(in super::super) async fn higher_generations_replace_lower_ones(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let first = playable(&**catalog, &user.id, "clip", 1).await;
    let again = catalog.step_video(&first.id, first_published(&first.id), at(2)).await.unwrap();
    assert_eq!(again, first, "repeating a publication changes nothing");
    let both = vec![rendition("v0-1", RenditionState::Ready), rendition("v1-3", RenditionState::Ready)];
    let second = catalog.step_video(&first.id, published(&first.id, 3, both.clone()), at(9)).await.unwrap();
    assert_eq!((second.asset_generation, &second.renditions), (3, &both));
    assert_eq!(second.published_at, first.published_at, "the first publication counts");
    let late = catalog.step_video(&first.id, published(&first.id, 2, both), at(10)).await;
    assert_eq!(late, Err(CatalogError::Stale), "a lower generation is fenced off");
    assert_eq!(events(&**catalog, "video.playable").await.len(), 1);
    let ready = events(&**catalog, "transcode.rendition_ready").await;
    let names: Vec<_> = ready.iter().map(|event| event.payload["rendition"]["name"].clone()).collect();
    assert_eq!(names, ["v0-1", "v1-3"]);
}

fn still(id: &VideoId, generation: u32, moment: ThumbnailMoment) -> (Thumbnail, Extent) {
    let blob = blob(id, generation, &format!("{moment}.jpg"));
    let thumbnail = Thumbnail {
        name: Thumbnail::name_of(&blob.key),
        moment,
        at_ms: u64::from(generation) * 1000,
        key: blob.key.clone(),
        content_type: "image/jpeg".into(),
        width: 1280,
        height: 720,
    };
    (thumbnail, blob)
}

fn illustrated(id: &VideoId, generation: u32, moments: &[ThumbnailMoment]) -> VideoStep {
    let (thumbnails, blobs) = moments.iter().map(|moment| still(id, generation, *moment)).unzip();
    VideoStep::Illustrated { thumbnails, blobs }
}

pub(in super::super) async fn thumbnails_are_replaced_by_moment(catalog: &Arc<dyn Catalog>) {
    use ThumbnailMoment::{C1, C2, Custom, Early};
    let user = registered(&**catalog, "alice").await;
    let id = playable(&**catalog, &user.id, "clip", 1).await.id;
    catalog.step_video(&id, VideoStep::Finished, at(2)).await.unwrap();
    let steps = [(1, vec![Early]), (2, vec![C1, C2]), (3, vec![Custom]), (4, vec![C1]), (5, vec![Early])];
    for (generation, moments) in &steps {
        let after = catalog.step_video(&id, illustrated(&id, *generation, moments), at(2)).await.unwrap();
        assert_eq!(catalog.video(&id).await.unwrap(), Some(after));
    }
    let left = [(5, Early), (4, C1), (3, Custom)].map(|(generation, moment)| still(&id, generation, moment));
    let video = catalog.video(&id).await.unwrap().unwrap();
    assert_eq!(video.thumbnails, left.clone().map(|(thumbnail, _)| thumbnail));
    assert_eq!(video.chosen_moment, Some(Custom), "an own picture is chosen by being there");
    let all = steps.iter().flat_map(|(n, moments)| moments.iter().map(|moment| still(&id, *n, *moment).1.key));
    let gone = [(1, Early), (2, C1), (2, C2)].map(|(generation, moment)| still(&id, generation, moment).1.key);
    assert_eq!(catalog.orphans(all.collect()).await.unwrap(), gone);

    let chosen = catalog.step_video(&id, VideoStep::ThumbnailChosen(C1), at(3)).await.unwrap();
    assert_eq!(chosen.shown_thumbnails().map(|picture| picture.moment).collect::<Vec<_>>(), [C1]);
    assert_eq!(catalog.video(&id).await.unwrap(), Some(chosen.clone()));
    assert_eq!(catalog.step_video(&id, VideoStep::ThumbnailChosen(C1), at(4)).await.unwrap(), chosen);
    let missing = catalog.step_video(&id, VideoStep::ThumbnailChosen(C2), at(4)).await;
    assert_eq!(missing, Err(CatalogError::NotFound), "there is no picture of it");
    assert_eq!(events(&**catalog, "video.illustrated").await.len(), steps.len() + 1);
}

pub(in super::super) async fn a_trim_is_kept_and_taken_back(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let whole = playable(&**catalog, &user.id, "clip", 1).await;
    let trim = Trim { start_ms: 1000, end_ms: 3500 };
    let trimmed = catalog.step_video(&whole.id, VideoStep::Trimmed(Some(trim)), at(2)).await.unwrap();
    assert_eq!((trimmed.trim, trimmed.duration_ms()), (Some(trim), Some(2500)));
    assert_eq!(catalog.video(&whole.id).await.unwrap().as_ref(), Some(&trimmed));
    let again = catalog.step_video(&whole.id, VideoStep::Trimmed(Some(trim)), at(3)).await.unwrap();
    assert_eq!(again.revision, trimmed.revision, "nothing has changed");
    let back = catalog.step_video(&whole.id, VideoStep::Trimmed(None), at(4)).await.unwrap();
    assert_eq!((back.trim, back.duration_ms()), (None, whole.duration_ms()));
    assert_eq!(events(&**catalog, "video.trimmed").await.len(), 2);
}

pub(in super::super) async fn a_storyboard_is_replaced_as_a_whole(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let id = playable(&**catalog, &user.id, "clip", 1).await.id;
    catalog.step_video(&id, illustrated(&id, 1, &[ThumbnailMoment::Early]), at(2)).await.unwrap();
    catalog.step_video(&id, VideoStep::Finished, at(2)).await.unwrap();
    let sheets = |generation: u32| [0, 1].map(|sheet| blob(&id, generation, &format!("storyboard-{sheet}.jpg")));
    for generation in [1, 2] {
        let sheet = |blob: &Extent| StoryboardSheet { name: Thumbnail::name_of(&blob.key), key: blob.key.clone() };
        let storyboard = Storyboard {
            sheets: sheets(generation).iter().map(sheet).collect(),
            width: 160,
            height: 90,
            columns: 10,
            rows: 10,
            interval_ms: 2000,
            num_tiles: 117,
        };
        let blobs = sheets(generation).to_vec();
        let step = VideoStep::StoryboardMade { storyboard: storyboard.clone(), blobs };
        catalog.step_video(&id, step, at(3)).await.unwrap();
        assert_eq!(catalog.video(&id).await.unwrap().unwrap().storyboard, Some(storyboard));
    }
    let mut keys: Vec<_> = sheets(1).into_iter().chain(sheets(2)).map(|sheet| sheet.key).collect();
    assert_eq!(catalog.orphans(keys.clone()).await.unwrap(), keys[..2]);
    let video = catalog.video(&id).await.unwrap().unwrap();
    assert_eq!(video.thumbnails.len(), 1, "still pictures stay");
    catalog.delete_video(&id, at(5)).await.unwrap();
    keys.extend([video.source[0].key.clone(), blob(&id, 1, "asset").key, video.thumbnails[0].key.clone()]);
    let mut keys = keys.split_off(2);
    keys.sort();
    assert_eq!(catalog.deleted_videos(10).await.unwrap(), [(id, keys)]);
}

pub(in super::super) async fn failures_say_why(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let id = processing(&**catalog, &user.id, "clip", at(1)).await;
    let failure = Failure { code: "not_a_video".into(), message: "This is a text file.".into() };
    let failed = catalog.step_video(&id, VideoStep::Failed(failure.clone()), at(2)).await.unwrap();
    assert_eq!((failed.status, failed.failure.as_ref()), (VideoStatus::Failed, Some(&failure)));
    assert_eq!(catalog.step_video(&id, VideoStep::Failed(failure), at(3)).await.unwrap(), failed);
    assert_eq!(catalog.step_video(&id, first_published(&id), at(3)).await, Err(CatalogError::Stale));
    let told = events(&**catalog, "video.failed").await;
    assert_eq!((told.len(), &told[0].payload["failure"]["code"]), (1, &"not_a_video".into()));
    assert_eq!(catalog.videos_in(VideoStatus::Failed, 10).await.unwrap(), [failed]);
}

pub(in super::super) async fn racing_steps_and_edits_all_count(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let id = processing(&**catalog, &user.id, "clip", at(1)).await;
    let before = catalog.video(&id).await.unwrap().unwrap().revision;
    let steps = (1..=4).map(|percent| catalog.step_video(&id, VideoStep::Progress { percent, ready_at: None }, at(2)));
    let edits = (0..4).map(|n| catalog.update_video(&id, details(&format!("title {n}")), None, at(2)));
    let (steps, edits) = tokio::join!(futures::future::join_all(steps), futures::future::join_all(edits));
    assert!(steps.iter().chain(&edits).all(Result::is_ok), "{steps:?} {edits:?}");
    let after = catalog.video(&id).await.unwrap().unwrap();
    assert_eq!(after.revision, before + 8);
    assert!(after.title.starts_with("title ") && after.progress_percent > 0);
}

pub(in super::super) async fn details_are_edited_by_revision(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let video = playable(&**catalog, &user.id, "clip", 1).await;
    let private = VideoDetails {
        title: "other".into(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        privacy: Privacy::Private,
    };
    let stale = catalog.update_video(&video.id, private.clone(), Some(video.revision - 1), at(5)).await;
    assert_eq!(stale, Err(CatalogError::Stale));
    let edited = catalog.update_video(&video.id, private.clone(), Some(video.revision), at(5)).await.unwrap();
    assert_eq!((edited.details(), edited.revision, edited.updated_at), (private, video.revision + 1, at(5)));
    assert_eq!(catalog.video(&video.id).await.unwrap(), Some(edited));
    assert_eq!(events(&**catalog, "video.updated").await.len(), 1);
    let listed = list(&**catalog, VideoFilter::default()).await;
    assert_eq!(listed, Vec::<String>::new(), "private now");
}

async fn list(catalog: &dyn Catalog, filter: VideoFilter) -> Vec<String> {
    let mut titles = Vec::new();
    let mut cursor = None;
    loop {
        let page =
            catalog.list_videos(filter.clone(), PageRequest { limit: 1, cursor }, Freshness::Latest).await.unwrap();
        assert!(page.items.len() <= 1);
        titles.extend(page.items.into_iter().map(|video| video.title));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return titles;
        }
    }
}

pub(in super::super) async fn lists_show_what_may_be_seen(catalog: &Arc<dyn Catalog>) {
    let (alice, bob) = (registered(&**catalog, "alice").await, registered(&**catalog, "bob").await);
    // Two of the same instant, to be told apart by id.
    for (title, secs) in [("a", 1), ("b", 2), ("c", 2)] {
        playable(&**catalog, &alice.id, title, secs).await;
    }
    for (owner, title, secs) in [(&alice.id, "d", 3), (&bob.id, "e", 4)] {
        let video = playable(&**catalog, owner, title, secs).await;
        let news = VideoDetails { category: Some("News".into()), ..video.details() };
        catalog.update_video(&video.id, news, None, at(5)).await.unwrap();
    }
    processing(&**catalog, &bob.id, "unfinished", at(5)).await;
    let hidden = playable(&**catalog, &bob.id, "hidden", 6).await;
    let unlisted = VideoDetails { privacy: Privacy::Unlisted, ..hidden.details() };
    catalog.update_video(&hidden.id, unlisted, None, at(6)).await.unwrap();

    let all = list(&**catalog, VideoFilter::default()).await;
    assert_eq!((&all[..2], all.last().map(String::as_str)), (&["e".into(), "d".into()][..], Some("a")));
    assert_eq!(all.len(), 5, "{all:?}");
    let of_bob = VideoFilter { owner: Some(bob.id.clone()), category: None };
    assert_eq!(list(&**catalog, of_bob.clone()).await, ["hidden", "unfinished", "e"]);
    let news = VideoFilter { owner: None, category: Some("News".into()) };
    assert_eq!(list(&**catalog, news).await, ["e", "d"]);
    let bobs_music = VideoFilter { owner: Some(bob.id.clone()), category: Some("Music".into()) };
    assert_eq!(list(&**catalog, bobs_music).await, ["hidden", "unfinished"]);

    let page = |cursor| PageRequest { limit: 2, cursor };
    let first = catalog.list_videos(VideoFilter::default(), page(None), Freshness::Latest).await.unwrap();
    assert_eq!(first.total_estimate, 5);
    assert_eq!(first.items[1].renditions.len(), 1, "lists carry whole videos");
    let foreign = catalog.list_videos(of_bob, page(first.next_cursor), Freshness::Latest).await;
    assert_eq!(foreign, Err(CatalogError::InvalidCursor));
    let garbage = catalog.list_videos(VideoFilter::default(), page(Some("garbage".into())), Freshness::Latest).await;
    assert_eq!(garbage, Err(CatalogError::InvalidCursor));
}

pub(in super::super) async fn a_restart_finds_what_was_in_work(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let late = processing(&**catalog, &user.id, "late", at(9)).await;
    let early = processing(&**catalog, &user.id, "early", at(2)).await;
    playable(&**catalog, &user.id, "done", 1).await;
    let found = |limit| catalog.videos_in(VideoStatus::Processing, limit);
    let ids: Vec<_> = found(10).await.unwrap().into_iter().map(|video| video.id).collect();
    assert_eq!(ids, [early.clone(), late]);
    let first = found(1).await.unwrap();
    assert_eq!((first.len(), &first[0].id, first[0].source.len()), (1, &early, 1));
}

pub(in super::super) async fn deleting_takes_every_byte(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let video = playable(&**catalog, &user.id, "clip", 1).await;
    catalog.delete_video(&video.id, at(5)).await.unwrap();
    assert_eq!(catalog.delete_video(&video.id, at(6)).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.video(&video.id).await.unwrap(), None);
    assert_eq!(catalog.video_by_playback(&video.playback_id).await.unwrap(), None);
    assert_eq!(catalog.step_video(&video.id, VideoStep::Finished, at(6)).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.update_video(&video.id, details("x"), None, at(6)).await, Err(CatalogError::NotFound));
    assert_eq!(list(&**catalog, VideoFilter { owner: Some(user.id.clone()), category: None }).await.len(), 0);
    assert_eq!(events(&**catalog, "video.deleted").await.len(), 1);

    let mut keys = vec![video.source[0].key.clone(), blob(&video.id, 1, "asset").key];
    keys.sort();
    assert_eq!(catalog.deleted_videos(10).await.unwrap(), [(video.id.clone(), keys.clone())]);
    assert_eq!(catalog.orphans(keys.clone()).await.unwrap(), keys, "also when the janitor finds them by themselves");
    catalog.purge_video(&video.id).await.unwrap();
    assert_eq!(catalog.deleted_videos(10).await.unwrap(), []);
    assert_eq!(catalog.purge_video(&video.id).await, Err(CatalogError::NotFound));
    let living = playable(&**catalog, &user.id, "living", 7).await;
    assert_eq!(catalog.purge_video(&living.id).await, Err(CatalogError::NotFound), "only what was deleted");
}

pub(in super::super) async fn deleting_while_uploading_ends_the_upload(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let part = created(&**catalog, partial(&user.id, 400)).await;
    let whole =
        Upload { concatenation: Concatenation::Final(vec![part.id.clone()]), ..new_upload(&user.id, Some(400)) };
    let whole = created(&**catalog, whole).await;
    let upload = created(&**catalog, new_upload(&user.id, Some(600))).await;
    for upload in [&upload, &whole] {
        catalog.delete_video(upload.video_id.as_ref().unwrap(), at(5)).await.unwrap();
        let late = catalog.complete_upload(&upload.id, raw(upload, 1), at(6)).await;
        assert_eq!(late, Err(CatalogError::NotFound));
    }
    let keys = vec![raw(&upload, 600)[0].key.clone()];
    assert_eq!(catalog.orphans(keys.clone()).await.unwrap(), keys);
    catalog.terminate_upload(&part.id, "released", at(7)).await.unwrap();
    let quota = crate::domain::ports::UploadQuota { bytes: 1000, open_uploads: 1 };
    let playback = crate::domain::ids::PlaybackId::random(&super::Counting);
    catalog.create_upload(new_upload(&user.id, Some(1000)), Some(playback), quota).await.unwrap();
}

pub(in super::super) async fn orphans_are_what_nothing_needs(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let open = created(&**catalog, new_upload(&user.id, Some(1))).await;
    let part = created(&**catalog, partial(&user.id, 1)).await;
    catalog.complete_upload(&part.id, raw(&part, 1), at(2)).await.unwrap();
    let ended = created(&**catalog, new_upload(&user.id, Some(1))).await;
    catalog.terminate_upload(&ended.id, "test", at(2)).await.unwrap();
    let working = processing(&**catalog, &user.id, "working", at(1)).await;
    let done = playable(&**catalog, &user.id, "done", 1).await;
    catalog.step_video(&done.id, VideoStep::Finished, at(3)).await.unwrap();

    let key = |text: String| BlobKey(text);
    let needed = [
        raw(&open, 1)[0].key.clone(),
        key(format!("raw-uploads/{}/checked", open.id)),
        raw(&part, 1)[0].key.clone(),
        done.source[0].key.clone(),
        blob(&working, 1, "being-made").key,
        blob(&done.id, 1, "asset").key,
    ];
    let orphans = [
        raw(&ended, 1)[0].key.clone(),
        blob(&done.id, 1, "left-over").key,
        key("raw-uploads/upl_neverheardof/0".into()),
        key("raw-uploads/not an id/0".into()),
        key("vod-abr/stray".into()),
    ];
    let many = (0..600).map(|n| key(format!("vod-abr/vid_neverheardof/{n}/asset")));
    let asked = needed.iter().chain(&orphans).cloned().chain(many).collect();
    let mut found = catalog.orphans(asked).await.unwrap();
    assert_eq!(found.len(), orphans.len() + 600);
    found.truncate(orphans.len());
    assert_eq!(found, orphans, "in the order asked");
    assert_eq!(catalog.orphans(Vec::new()).await.unwrap(), []);
}

pub(in super::super) async fn timestamps_and_sizes_keep_their_full_range(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "alice").await;
    let far = Timestamp::from_millis(4_102_444_800_123);
    let mut upload = new_upload(&user.id, Some(1 << 39));
    upload.created_at = far;
    let upload = created(&**catalog, upload).await;
    let video = catalog.video(upload.video_id.as_ref().unwrap()).await.unwrap().unwrap();
    assert_eq!((video.created_at, video.file_size), (far, 1 << 39));
}
