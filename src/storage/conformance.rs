//! What every implementation of the storage ports must do, as functions over the port. One suite runs on every
//! database and every store.
pub(super) mod accounts;
pub(super) mod blobs;
pub(super) mod extents;
pub(super) mod ladders;
pub(super) mod leases;
pub(super) mod lives;
pub(super) mod originals;
pub(super) mod upload_store;
pub(super) mod uploads;
pub(super) mod videos;
pub(super) mod watch;
pub(super) mod work;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::account::{Email, Login, NewUser, Role, User, Username};
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::events::Event;
use crate::domain::ids::{ChannelId, LoginId, PlaybackId, UploadId, UserId, VideoId};
use crate::domain::ports::{Catalog, Entropy, UploadQuota};
use crate::domain::time::Timestamp;
use crate::domain::upload::{Concatenation, Upload, UploadProtocol, UploadState};
use crate::domain::video::{Privacy, VideoDetails};

/// Makes a test of each function for one implementation: `conformance_tests!(module, make; a, b, c)`.
macro_rules! conformance_tests {
    ($suite:ident, $make:expr; $($name:ident),+ $(,)?) => {
        mod $suite {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let made = $make;
                $crate::storage::conformance::$suite::$name(&made.port).await;
            })+
        }
    };
}
pub(super) use conformance_tests;

/// Every function that a catalog must pass, suite by suite, handed to a macro: `every_catalog_suite!(macro, further)`.
macro_rules! every_catalog_suite {
    ($with:ident, $($further:tt)*) => {
        $with!(accounts, $($further)*;
            registering_stores_account_channel_and_event, taken_names_conflict_without_case,
            of_two_racing_registrations_one_wins, profiles_are_edited_by_revision, a_refresh_token_is_good_once,
            any_spent_token_ends_the_family, of_two_racing_refreshes_one_is_reuse, expired_families_are_refused_and_dropped,
            sign_ins_are_listed_and_revoked, a_sign_in_needs_its_account, a_secret_is_made_once, the_feed_is_in_commit_order);
        $with!(uploads, $($further)*;
            an_upload_makes_its_video, quotas_hold_also_in_a_race, a_deferred_length_counts_when_declared,
            a_digest_may_follow_until_completion, completing_repeats_without_effect, an_expected_digest_is_verified_first,
            ending_frees_the_quota_and_drops_the_video, concatenation_takes_its_parts,
            strangers_and_whole_uploads_are_no_parts, unfinished_uploads_expire);
        $with!(videos, $($further)*;
            a_video_goes_its_way, higher_generations_replace_lower_ones, thumbnails_are_replaced_by_moment,
            a_trim_is_kept_and_taken_back, a_storyboard_is_replaced_as_a_whole, failures_say_why,
            racing_steps_and_edits_all_count, details_are_edited_by_revision, lists_show_what_may_be_seen,
            a_restart_finds_what_was_in_work, deleting_takes_every_byte, deleting_while_uploading_ends_the_upload,
            orphans_are_what_nothing_needs, timestamps_and_sizes_keep_their_full_range);
        $with!(originals, $($further)*;
            originals_grow_old, an_original_is_moved_step_by_step, a_deleted_original_is_nobodys);
        $with!(work, $($further)*;
            attempts_are_counted_by_their_end, attempts_need_a_living_video);
        $with!(ladders, $($further)*;
            a_plan_is_stored_with_its_units, a_unit_is_leased_once_and_finished_by_its_holder,
            attempts_at_units_are_counted_by_their_end, what_units_made_is_kept_until_they_are_abandoned,
            progress_and_failed_renditions_are_told);
        $with!(lives, $($further)*;
            a_slate_keeps_its_files, a_live_stream_goes_its_way, lives_are_found_by_all_their_names,
            everything_that_is_live_is_found, what_is_fetched_from_elsewhere_is_found, leases_count_up_until_the_end,
            owners_edit_by_revision, lists_show_what_is_live, only_what_is_not_live_is_deleted);
        $with!(watch, $($further)*;
            positions_move_with_time_only, a_session_is_one_view, a_session_is_recorded_once);
        $with!(extents, $($further)*;
            extents_are_added_by_one_writer_at_a_time, completed_uploads_need_no_extents);
        $with!(leases, $($further)*;
            a_lease_has_one_holder, silent_nodes_lose_their_leases, later_lives_take_over, racing_takers_agree,
            nothing_is_changed_without_the_lease);
    };
}
pub(super) use every_catalog_suite;

/// An implementation under test, and what it needs while it is.
pub(super) struct Made<P> {
    pub(super) port: P,
    pub(super) _keep: Box<dyn std::any::Any + Send>,
}

/// Randomness that differs in every draw and needs no luck.
pub(super) struct Counting;

static DRAWS: AtomicU64 = AtomicU64::new(1);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let draw = DRAWS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        bytes.iter_mut().zip(draw.iter().cycle()).for_each(|(byte, draw)| *byte = *draw);
    }
}

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + secs * 1000)
}

pub(super) const ROOMY: UploadQuota = UploadQuota { bytes: 1 << 40, open_uploads: 100 };

pub(super) fn new_user(name: &str) -> NewUser {
    NewUser {
        id: UserId::random(&Counting),
        channel_id: ChannelId::random(&Counting),
        username: Username::parse(name).unwrap(),
        email: Email::parse(&format!("{name}@example.org")).unwrap(),
        password_hash: "$argon2id$test".into(),
        role: Role::Creator,
    }
}

pub(super) async fn registered(catalog: &dyn Catalog, name: &str) -> User {
    catalog.register(new_user(name), at(0)).await.unwrap()
}

pub(super) fn new_login(user: &UserId, refresh_hash: &str) -> Login {
    Login {
        id: LoginId::random(&Counting),
        user_id: user.clone(),
        refresh_hash: refresh_hash.into(),
        previous_hash: None,
        is_browser: true,
        user_agent: "test".into(),
        address: "192.0.2.1".into(),
        created_at: at(0),
        used_at: at(0),
        expires_at: at(1000),
        revoked_at: None,
    }
}

pub(super) fn details(title: &str) -> VideoDetails {
    VideoDetails {
        title: title.into(),
        description: "described".into(),
        category: Some("Music".into()),
        tags: vec!["one".into(), "two".into()],
        privacy: Privacy::Public,
    }
}

pub(super) fn new_upload(user: &UserId, length: Option<u64>) -> Upload {
    Upload {
        id: UploadId::random(&Counting),
        user_id: user.clone(),
        video_id: Some(VideoId::random(&Counting)),
        protocol: UploadProtocol::Tus,
        state: UploadState::Open,
        length,
        concatenation: Concatenation::None,
        details: details("a clip"),
        file_name: Some("clip.mp4".into()),
        file_type: Some("video/mp4".into()),
        expected_digest: None,
        raw_metadata: Some("filename Y2xpcC5tcDQ=".into()),
        part_bytes: None,
        extents: Vec::new(),
        created_at: at(1),
        expires_at: at(100),
    }
}

pub(super) fn partial(user: &UserId, length: u64) -> Upload {
    Upload { video_id: None, concatenation: Concatenation::Partial, ..new_upload(user, Some(length)) }
}

pub(super) async fn created(catalog: &dyn Catalog, upload: Upload) -> Upload {
    let playback = upload.video_id.as_ref().map(|_| PlaybackId::random(&Counting));
    catalog.create_upload(upload, playback, ROOMY).await.unwrap()
}

pub(super) fn raw(upload: &Upload, bytes: u64) -> Vec<Extent> {
    vec![Extent { key: BlobKey(format!("raw-uploads/{}/0", upload.id)), bytes }]
}

/// A video whose bytes are here and that is being inspected.
pub(super) async fn processing(catalog: &dyn Catalog, user: &UserId, title: &str, created_at: Timestamp) -> VideoId {
    let mut upload = new_upload(user, Some(10));
    upload.details = details(title);
    upload.created_at = created_at;
    let upload = created(catalog, upload).await;
    catalog.complete_upload(&upload.id, raw(&upload, 10), created_at).await.unwrap();
    upload.video_id.unwrap()
}

pub(super) async fn events(catalog: &dyn Catalog, kind: &str) -> Vec<Event> {
    let all = catalog.events_after(0, 1000).await.unwrap();
    all.into_iter().filter(|event| event.kind == kind).collect()
}
