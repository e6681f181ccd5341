use std::sync::Arc;

use super::super::CatalogStore;
use super::*;
use crate::domain::ports::{Catalog, UploadCatalog, VideoCatalog};
use crate::storage::conformance::{Made, conformance_tests, every_catalog_suite};

/// Runs the suite with every statement's plan looked at first: none may walk through a table that grows.
struct Explaining {
    inner: SqliteExecutor,
    explainer: Mutex<Connection>,
}

/// Walks an index from its start on purpose: it stops at the first row.
const WALKS_ALLOWED: &[&str] = &["SELECT id FROM users ORDER BY id LIMIT 1"];
/// Columns of few different values: an index searched by one of them alone finds half the table.
const WEAK_SEARCHES: &[&str] = &["(is_listed=?)", "(status=?)", "(may_expire=?)", "(owner_kind=?)", "(state=?)"];

/// What is wrong with a step of a statement's plan.
fn objection(step: &str, sql: &str) -> Option<&'static str> {
    let is_limited = sql.contains("LIMIT");
    if WALKS_ALLOWED.contains(&sql) || matches!(step, "SCAN CONSTANT ROW" | "SCAN bounded") {
        return None;
    }
    if step.starts_with("SCAN ") {
        return Some("walks through a table");
    }
    if step.starts_with("USE TEMP B-TREE FOR ORDER BY") {
        return Some("sorts what an index should have in order");
    }
    let is_weak = WEAK_SEARCHES.iter().any(|weak| step.ends_with(weak));
    (is_weak && !is_limited).then_some("finds too much by its index")
}

impl Explaining {
    fn check(&self, statements: &[Statement]) {
        let connection = self.explainer.lock().unwrap();
        for statement in statements {
            let mut prepared = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
            bind(&mut prepared, statement).unwrap();
            let mut plan = prepared.raw_query();
            while let Some(step) = plan.next().unwrap() {
                let step: String = step.get("detail").unwrap();
                let objection = objection(&step, &statement.sql);
                assert_eq!(objection, None, "{step}: {}", statement.sql);
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
    let explainer = Mutex::new(connect_reader(&path, system_millis).unwrap());
    Made { port: Arc::new(CatalogStore::new(Arc::new(Explaining { inner, explainer }))), _keep: Box::new(dir) }
}

every_catalog_suite!(conformance_tests, catalog());

#[test]
fn bad_plans_are_objected_to() {
    assert!(objection("SCAN videos", "SELECT id FROM videos").is_some());
    assert!(objection("SCAN videos USING COVERING INDEX videos_listed", "SELECT id FROM videos").is_some());
    assert!(objection("USE TEMP B-TREE FOR ORDER BY", "SELECT id FROM videos ORDER BY title LIMIT 1").is_some());
    assert!(objection("SEARCH videos USING INDEX videos_listed (is_listed=?)", "SELECT id FROM videos").is_some());
    assert!(objection("SEARCH videos USING INDEX videos_by_user (user_id=?)", "SELECT id FROM videos").is_none());
}

fn executor() -> Made<SqliteExecutor> {
    let dir = tempfile::tempdir().unwrap();
    Made { port: SqliteExecutor::open(&dir.path().join("catalog.sqlite"), 2).unwrap(), _keep: Box::new(dir) }
}

fn insert_secret(name: &str) -> Statement {
    Statement::new("INSERT INTO secrets (name, secret) VALUES (:name, :secret)")
        .bind("name", name)
        .bind("secret", vec![1])
}

fn count_secrets() -> Statement {
    Statement::new("SELECT COUNT(*) AS total FROM secrets")
}

async fn secrets(executor: &SqliteExecutor) -> i64 {
    executor.read(vec![count_secrets()]).await.unwrap()[0][0].integer("total").unwrap()
}

#[tokio::test]
async fn a_transaction_holds_whole_or_not_at_all() {
    let made = executor();
    let delete = Statement::new("DELETE FROM secrets WHERE name = :name").bind("name", "absent").one_row("there");
    let refused = made.port.commit(Transaction::new().then(insert_secret("a")).then(delete)).await;
    assert_eq!(refused, Err(CommitError::Unmet("there")));
    assert_eq!(secrets(&made.port).await, 0);
    let done = made.port.commit(Transaction::new().then(insert_secret("a")).then(insert_secret("b"))).await;
    assert_eq!(done, Ok(vec![1, 1]));
    assert_eq!(secrets(&made.port).await, 2);
}

/// Most of these share a group commit, each in a savepoint of its own.
#[tokio::test]
async fn a_refused_transaction_leaves_its_group_alone() {
    let made = executor();
    let commits = (0..200).map(|n| {
        let transaction = Transaction::new().then(insert_secret(&n.to_string()));
        let bad = n % 3 == 0;
        made.port.commit(if bad { transaction.then(insert_secret(&n.to_string())) } else { transaction })
    });
    let outcomes = futures::future::join_all(commits).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(matches!(outcome, Err(CommitError::Unique(_))), n % 3 == 0, "{n}: {outcome:?}");
    }
    assert_eq!(secrets(&made.port).await, 133);
}

#[tokio::test]
async fn parameters_must_match_the_text() {
    let made = executor();
    let missing = Statement::new("SELECT :a AS a, :b AS b").bind("a", 1u32);
    let wrong = Statement::new("SELECT :a AS a").bind("b", 1u32);
    let surplus = Statement::new("SELECT :a AS a").bind("a", 1u32).bind("b", 1u32);
    for query in [missing, wrong, surplus] {
        let refused = made.port.read(vec![query]).await;
        assert!(matches!(refused, Err(CatalogError::Unavailable(_))), "{refused:?}");
    }
    assert_eq!(secrets(&made.port).await, 0, "the reader is still good");
}

#[tokio::test]
async fn readers_cannot_write() {
    let made = executor();
    let refused = made.port.read(vec![insert_secret("x")]).await;
    assert!(matches!(refused, Err(CatalogError::Unavailable(_))), "{refused:?}");
}

/// A full disk ends the whole group: nobody is told that something holds which does not, and the next commit works.
#[tokio::test]
async fn a_full_database_refuses_and_recovers() {
    let made = executor();
    let limit = |pages: u32| Statement::new(format!("PRAGMA max_page_count = {pages}"));
    made.port.commit(Transaction::new().then(insert_secret("before"))).await.unwrap();
    let answer = made.port.commit(Transaction::new().then(limit(1))).await;
    assert!(answer.is_err(), "the pragma answers with a row, yet takes effect: {answer:?}");
    let large = Statement::new("INSERT INTO secrets (name, secret) VALUES (:name, :secret)")
        .bind("name", "large")
        .bind("secret", vec![7; 3_000_000]);
    let refused = made.port.commit(Transaction::new().then(large.clone())).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    assert_eq!(secrets(&made.port).await, 1);
    let _ = made.port.commit(Transaction::new().then(limit(1_000_000))).await;
    made.port.commit(Transaction::new().then(large)).await.unwrap();
    assert_eq!(secrets(&made.port).await, 2);
}

#[tokio::test]
async fn commits_are_synchronous_and_in_a_write_ahead_log() {
    let dir = tempfile::tempdir().unwrap();
    let connection = connect(&dir.path().join("catalog.sqlite"), system_millis).unwrap();
    let pragma =
        |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode").unwrap(), rusqlite::types::Value::Text("wal".into()));
    assert_eq!(pragma("synchronous").unwrap(), rusqlite::types::Value::Integer(2));
    assert_eq!(pragma("foreign_keys").unwrap(), rusqlite::types::Value::Integer(1));
}

#[test]
fn dropping_commits_what_was_queued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let executor = SqliteExecutor::open(&path, 1).unwrap();
    let (reply, _answer) = oneshot::channel();
    let job = writer::Job { transaction: Transaction::new().then(insert_secret("queued")), reply };
    executor.writer.as_ref().unwrap().try_send(job).ok().unwrap();
    drop(executor);
    assert_eq!(runtime.block_on(secrets(&SqliteExecutor::open(&path, 1).unwrap())), 1);
}

/// What an account is said to store is what its uploads reserve and its videos hold, whatever happens to them.
#[tokio::test]
async fn stored_bytes_are_the_sum_of_their_parts() {
    use crate::domain::upload::{Concatenation, Upload};
    use crate::storage::conformance::{at, created, new_upload, partial, raw, registered};

    let dir = tempfile::tempdir().unwrap();
    let executor = Arc::new(SqliteExecutor::open(&dir.path().join("catalog.sqlite"), 1).unwrap());
    let catalog = CatalogStore::new(executor.clone());
    let user = registered(&catalog, "alice").await;
    let mut uploads: Vec<Upload> = Vec::new();
    let mut draw = 7u64;
    for step in 0..300 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = (draw >> 33) as usize;
        let chosen = uploads.get(pick % uploads.len().max(1)).cloned();
        // Refusals are as good as changes here: both must leave the books in order.
        match (pick % 7, chosen) {
            (0, _) | (_, None) => {
                let length = (!pick.is_multiple_of(3)).then_some(100);
                uploads.push(created(&catalog, new_upload(&user.id, length)).await);
            }
            (1, _) => uploads.push(created(&catalog, partial(&user.id, 10)).await),
            (2, Some(part)) => {
                let whole = Upload { concatenation: Concatenation::Final(vec![part.id]), ..new_upload(&user.id, None) };
                let playback = crate::domain::ids::PlaybackId::random(&crate::storage::conformance::Counting);
                let made = catalog.create_upload(whole, Some(playback), crate::storage::conformance::ROOMY).await;
                uploads.extend(made.ok());
            }
            (3 | 4, Some(upload)) => {
                let bytes = (pick % 50) as u64;
                let _ = catalog.complete_upload(&upload.id, raw(&upload, bytes), at(step)).await;
            }
            (5, Some(upload)) => drop(catalog.terminate_upload(&upload.id, "test", at(step)).await),
            (_, Some(upload)) => {
                if let Some(video) = &upload.video_id
                    && catalog.delete_video(video, at(step)).await.is_ok()
                    && pick.is_multiple_of(2)
                {
                    catalog.purge_video(video).await.unwrap();
                }
            }
        }
        let books = "SELECT stored_bytes, open_uploads, (SELECT COALESCE(SUM(reserved_bytes), 0) FROM uploads) + \
            (SELECT COALESCE(SUM(file_size), 0) FROM videos WHERE status <> 'uploading' AND deleted_at IS NULL) AS bytes, \
            (SELECT COUNT(*) FROM uploads WHERE state = 'open') AS open FROM users";
        let rows = executor.read(vec![Statement::new(books)]).await.unwrap();
        let number = |column| rows[0][0].integer(column).unwrap();
        assert_eq!(number("stored_bytes"), number("bytes"), "step {step}");
        assert_eq!(number("open_uploads"), number("open"), "step {step}");
    }
    assert!(uploads.len() > 50);
}
