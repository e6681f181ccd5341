//! Live streams: records, leases, steps.
use std::sync::Arc;

use super::{Counting, at, events, registered};
use crate::domain::account::User;
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::{LiveId, PlaybackId};
use crate::domain::live::pull::Pull;
use crate::domain::live::push::SealedText;
use crate::domain::live::{Live, LiveChoices, LivePatch, LiveState, LiveStep, Slate, StoredKey};
use crate::domain::ports::{Catalog, CatalogError, Freshness, PageRequest};
use crate::domain::video::{Privacy, VideoDetails};

fn key(name: &str) -> StoredKey {
    StoredKey { hash: format!("hash of {name}"), sealed: name.as_bytes().to_vec() }
}

fn new_live(user: &User, name: &str, secs: i64) -> Live {
    let details = VideoDetails {
        title: name.into(),
        description: "said of it".into(),
        category: Some("music".into()),
        tags: vec!["one".into(), "two".into()],
        privacy: Privacy::Public,
    };
    Live {
        id: LiveId::random(&Counting),
        playback_id: PlaybackId::random(&Counting),
        user_id: user.id.clone(),
        channel_id: user.channel.id.clone(),
        details,
        choices: LiveChoices::default(),
        key: key(name),
        passphrase: None,
        slate: None,
        pushes: Vec::new(),
        pull: None,
        state: LiveState::Idle,
        generation: 0,
        video_id: None,
        recording: None,
        started_at: None,
        ended_at: None,
        revision: 1,
        created_at: at(secs),
        updated_at: at(secs),
    }
}

async fn created(catalog: &Arc<dyn Catalog>, user: &User, name: &str, secs: i64) -> Live {
    let live = new_live(user, name, secs);
    catalog.create_live(live.clone()).await.unwrap();
    live
}

pub(in crate::storage) async fn a_slate_keeps_its_files(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "ann").await;
    let live = created(catalog, &user, "mine", 1).await;
    let blob = |name: &str| Extent { key: BlobKey::new(format!("vod-abr/{}/{name}", live.id)), bytes: 9 };
    let slate = |name: &str| Slate { clip: blob(&format!("{name}/clip")), picture: blob(&format!("{name}/picture")) };
    let patched = |slate| LivePatch { slate: Some(slate), ..LivePatch::default() };
    let all: Vec<BlobKey> =
        [slate("one"), slate("two")].into_iter().flat_map(|slate| [slate.clip.key, slate.picture.key]).collect();
    assert_eq!(catalog.orphans(all.clone()).await.unwrap(), all);
    let first = catalog.update_live(&live.id, patched(Some(slate("one"))), None, at(2)).await.unwrap();
    assert_eq!(catalog.live(&live.id).await.unwrap().unwrap().slate, first.slate);
    assert_eq!(catalog.orphans(all.clone()).await.unwrap(), all[2..]);
    catalog.update_live(&live.id, patched(Some(slate("two"))), None, at(3)).await.unwrap();
    assert_eq!(catalog.orphans(all.clone()).await.unwrap(), all[..2]);
    let none = catalog.update_live(&live.id, patched(None), None, at(4)).await.unwrap();
    assert_eq!((none.slate, catalog.orphans(all.clone()).await.unwrap()), (None, all));
}

pub(in crate::storage) async fn a_live_stream_goes_its_way(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "ann").await;
    let live = created(catalog, &user, "mine", 1).await;
    assert_eq!(catalog.live(&live.id).await.unwrap(), Some(live.clone()));
    let opened = catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(5)).await.unwrap();
    assert_eq!((opened.state, opened.started_at, opened.revision), (LiveState::Live, Some(at(5)), 2));
    assert_eq!(
        catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(6)).await.unwrap(),
        opened,
        "it is open already"
    );
    let closed = catalog.step_live(&live.id, LiveStep::Closed { archive: None }, at(9)).await.unwrap();
    assert_eq!((closed.state, closed.ended_at), (LiveState::Ended, Some(at(9))));
    assert_eq!(catalog.live(&live.id).await.unwrap(), Some(closed.clone()));
    assert_eq!(
        catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(10)).await.unwrap(),
        closed,
        "it is over"
    );
    for kind in ["live.created", "live.started", "live.ended"] {
        assert_eq!(events(&**catalog, kind).await.len(), 1, "{kind}");
    }

    let choices = LiveChoices { permanent: true, ..LiveChoices::default() };
    let again = Live { choices, ..new_live(&user, "again", 20) };
    catalog.create_live(again.clone()).await.unwrap();
    for round in 0..2 {
        catalog.step_live(&again.id, LiveStep::Opened { recording: None }, at(21 + round)).await.unwrap();
        let closed = catalog.step_live(&again.id, LiveStep::Closed { archive: None }, at(22 + round)).await.unwrap();
        assert_eq!(closed.state, LiveState::Idle, "a permanent stream waits for the next broadcast");
    }
}

pub(in crate::storage) async fn lives_are_found_by_all_their_names(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "bob").await;
    let live = created(catalog, &user, "found", 1).await;
    assert_eq!(catalog.live_by_playback(&live.playback_id).await.unwrap(), Some(live.clone()));
    assert_eq!(catalog.live_by_key(&live.key.hash).await.unwrap(), Some(live.clone()));
    assert_eq!(catalog.live_by_key("found").await.unwrap(), None);
    let patch = LivePatch { key: Some(key("other")), ..LivePatch::default() };
    let changed = catalog.update_live(&live.id, patch, None, at(2)).await.unwrap();
    assert_eq!(catalog.live_by_key(&live.key.hash).await.unwrap(), None, "the old key leads nowhere");
    assert_eq!(catalog.live_by_key("hash of other").await.unwrap(), Some(changed));
    catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(3)).await.unwrap();
    let found = catalog.lives_in(LiveState::Live, 10).await.unwrap();
    assert_eq!(found.iter().map(|found| &found.id).collect::<Vec<_>>(), [&live.id]);
}

/// A restarted node takes up all broadcasts, not a page of them.
pub(in crate::storage) async fn everything_that_is_live_is_found(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "dot").await;
    let creating = (0..250).map(|number| {
        let (catalog, user) = (Arc::clone(catalog), user.clone());
        async move {
            let live = created(&catalog, &user, &format!("live {number}"), number).await;
            catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(1000)).await.unwrap();
        }
    });
    futures::future::join_all(creating).await;
    assert_eq!(catalog.lives_in(LiveState::Live, 1000).await.unwrap().len(), 250);
    assert_eq!(catalog.lives_in(LiveState::Live, 10).await.unwrap().len(), 10);
}

pub(in crate::storage) async fn what_is_fetched_from_elsewhere_is_found(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "fay").await;
    let pull = |text: &str| Pull { url: SealedText(text.into()), shown: "rtmp://…".into(), enabled: true };
    for (number, name) in (1..).zip(["first", "none", "ended"]) {
        let live = created(catalog, &user, name, number).await;
        let patch = LivePatch { pull: (name != "none").then(|| Some(pull(name))), ..LivePatch::default() };
        let changed = catalog.update_live(&live.id, patch, None, at(10)).await.unwrap();
        assert_eq!(changed.pull, (name != "none").then(|| pull(name)));
        if name == "ended" {
            catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(11)).await.unwrap();
            catalog.step_live(&live.id, LiveStep::Closed { archive: None }, at(12)).await.unwrap();
        }
    }
    let found = catalog.lives_pulled(10).await.unwrap();
    assert_eq!(found.iter().map(|live| live.details.title.as_str()).collect::<Vec<_>>(), ["first"]);
    let none = LivePatch { pull: Some(None), ..LivePatch::default() };
    assert_eq!(catalog.update_live(&found[0].id, none, None, at(13)).await.unwrap().pull, None);
    assert_eq!(catalog.lives_pulled(10).await.unwrap(), []);
}

pub(in crate::storage) async fn leases_count_up_until_the_end(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "cat").await;
    let live = created(catalog, &user, "leased", 1).await;
    for generation in 1..4 {
        assert_eq!(catalog.lease_live(&live.id, at(2)).await.unwrap(), generation);
    }
    let kept = catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(3)).await.unwrap();
    assert_eq!((kept.generation, kept.revision), (3, 2), "leases are no edits, and edits keep them");
    catalog.step_live(&live.id, LiveStep::Closed { archive: None }, at(4)).await.unwrap();
    assert_eq!(catalog.lease_live(&live.id, at(5)).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.lease_live(&LiveId::random(&Counting), at(5)).await, Err(CatalogError::NotFound));
}

pub(in crate::storage) async fn owners_edit_by_revision(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "dan").await;
    let live = created(catalog, &user, "edited", 1).await;
    let details = VideoDetails { title: "new".into(), ..live.details.clone() };
    let patch = LivePatch { details: Some(details.clone()), ..LivePatch::default() };
    let edited = catalog.update_live(&live.id, patch.clone(), Some(1), at(2)).await.unwrap();
    assert_eq!((edited.details, edited.choices, edited.revision), (details, live.choices, 2));
    assert_eq!(catalog.update_live(&live.id, patch.clone(), Some(1), at(3)).await, Err(CatalogError::Stale));
    assert!(catalog.update_live(&LiveId::random(&Counting), patch, None, at(3)).await.is_err());
}

pub(in crate::storage) async fn lists_show_what_is_live(catalog: &Arc<dyn Catalog>) {
    let (user, other) = (registered(&**catalog, "eve").await, registered(&**catalog, "fay").await);
    let mut own = Vec::new();
    for secs in 0..5 {
        own.push(created(catalog, &user, &format!("eve {secs}"), secs).await);
    }
    let hidden = Live {
        details: VideoDetails { privacy: Privacy::Private, ..own[0].details.clone() },
        ..new_live(&other, "hidden", 6)
    };
    catalog.create_live(hidden.clone()).await.unwrap();
    for live in [&own[1], &own[3], &hidden] {
        catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(9)).await.unwrap();
    }
    let page = |cursor| PageRequest { limit: 3, cursor };
    let titles = |lives: &[Live]| lives.iter().map(|live| live.details.title.clone()).collect::<Vec<_>>();
    let public = catalog.list_lives(None, page(None), Freshness::Latest).await.unwrap();
    assert_eq!((titles(&public.items), public.total_estimate), (vec!["eve 3".to_owned(), "eve 1".to_owned()], 2));
    let first = catalog.list_lives(Some(&user.id), page(None), Freshness::Latest).await.unwrap();
    assert_eq!((titles(&first.items).len(), first.total_estimate), (3, 5));
    let rest = catalog.list_lives(Some(&user.id), page(first.next_cursor.clone()), Freshness::Latest).await.unwrap();
    assert_eq!((titles(&rest.items), rest.next_cursor), (vec!["eve 1".to_owned(), "eve 0".to_owned()], None));
    let strange = catalog.list_lives(Some(&other.id), page(first.next_cursor), Freshness::Latest).await;
    assert_eq!(strange, Err(CatalogError::InvalidCursor));
}

pub(in crate::storage) async fn only_what_is_not_live_is_deleted(catalog: &Arc<dyn Catalog>) {
    let user = registered(&**catalog, "gus").await;
    let live = created(catalog, &user, "gone", 1).await;
    catalog.step_live(&live.id, LiveStep::Opened { recording: None }, at(2)).await.unwrap();
    assert_eq!(catalog.delete_live(&live.id, at(3)).await, Err(CatalogError::Conflict("live")));
    catalog.step_live(&live.id, LiveStep::Closed { archive: None }, at(4)).await.unwrap();
    catalog.delete_live(&live.id, at(5)).await.unwrap();
    assert_eq!(catalog.live(&live.id).await.unwrap(), None);
    assert_eq!(catalog.delete_live(&live.id, at(6)).await, Err(CatalogError::NotFound));
}
