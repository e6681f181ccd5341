use std::sync::Arc;

use super::super::CatalogStore;
use super::*;
use crate::domain::ports::Catalog;
use crate::storage::conformance::{Made, conformance_tests};

/// Runs the suite with every statement's plan looked at first: none may walk through a whole table.
struct Explaining {
    inner: SqliteExecutor,
    explainer: Mutex<Connection>,
}

/// Plans that walk an index from its start on purpose, because they stop at the first row.
const WALKS_ALLOWED: &[&str] = &["SELECT id FROM users ORDER BY id LIMIT 1"];

impl Explaining {
    fn check(&self, statements: &[Statement]) {
        let connection = self.explainer.lock().unwrap();
        for statement in statements.iter().filter(|statement| !WALKS_ALLOWED.contains(&&*statement.sql)) {
            let mut prepared = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
            bind(&mut prepared, statement).unwrap();
            let mut plan = prepared.raw_query();
            while let Some(step) = plan.next().unwrap() {
                let step: String = step.get("detail").unwrap();
                let is_walk = step.starts_with("SCAN ") && step != "SCAN CONSTANT ROW" && step != "SCAN bounded";
                assert!(!is_walk, "{step}: {}", statement.sql);
            }
        }
    }
}

#[async_trait]
impl Executor for Explaining {
    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError> {
        self.check(&queries);
        self.inner.read(queries).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Vec<u64>, CommitError> {
        self.check(&transaction.statements);
        self.inner.commit(transaction).await
    }
}

fn catalog() -> Made<Arc<dyn Catalog>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let inner = SqliteExecutor::open(&path, 2).unwrap();
    let explainer = Mutex::new(connect_reader(&path).unwrap());
    Made { port: Arc::new(CatalogStore::new(Arc::new(Explaining { inner, explainer }))), _keep: Box::new(dir) }
}

conformance_tests!(accounts, catalog();
    registering_stores_account_channel_and_event, taken_names_conflict_without_case, of_two_racing_registrations_one_wins,
    profiles_are_edited_by_revision, a_refresh_token_is_good_once, any_spent_token_ends_the_family,
    of_two_racing_refreshes_one_is_reuse, expired_families_are_refused_and_dropped, sign_ins_are_listed_and_revoked,
    a_sign_in_needs_its_account, a_secret_is_made_once, the_feed_is_in_commit_order);
conformance_tests!(uploads, catalog();
    an_upload_makes_its_video, quotas_hold_also_in_a_race, a_deferred_length_counts_when_declared,
    a_digest_may_follow_until_completion,
    completing_repeats_without_effect, an_expected_digest_is_verified_first, ending_frees_the_quota_and_drops_the_video,
    concatenation_takes_its_parts, strangers_and_whole_uploads_are_no_parts, unfinished_uploads_expire);
conformance_tests!(videos, catalog();
    a_video_goes_its_way, higher_generations_replace_lower_ones, thumbnails_are_replaced, failures_say_why,
    racing_steps_and_edits_all_count, details_are_edited_by_revision, lists_show_what_may_be_seen,
    a_restart_finds_what_was_in_work, deleting_takes_every_byte, deleting_while_uploading_ends_the_upload,
    orphans_are_what_nothing_needs, timestamps_and_sizes_keep_their_full_range);
conformance_tests!(watch, catalog();
    positions_move_with_time_only, a_session_is_one_view, a_session_is_recorded_once);
