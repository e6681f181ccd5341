use std::sync::Arc;

use futures::StreamExt;
use serde_json::json;

use super::super::CatalogStore;
use super::*;
use crate::domain::events::NewEvent;
use crate::domain::ports::{AccountCatalog, Catalog, ChangeFeed};
use crate::storage::conformance::{self, at, events, every_catalog_suite, registered};

#[path = "../../../../tests/support/postgres.rs"]
mod server;

use server::Postgres;

/// Longest wait for what takes moments.
const PATIENCE: Duration = Duration::from_secs(30);

fn alone(address: String, connections: usize) -> PostgresOptions {
    PostgresOptions { address, connections, is_shared: false }
}

/// A database with the tables and nothing in them, of which others are copies.
async fn template(server: &Postgres) -> &'static str {
    PostgresExecutor::open(&alone(server.address("postgres"), 1)).await.unwrap();
    "postgres"
}

/// Asks for each statement's plan before it: with no choice but an index, none may walk through a table.
struct Explaining(PostgresExecutor);

impl Explaining {
    async fn check(&self, statements: &[Statement]) {
        for statement in statements {
            let explained = Statement { sql: format!("EXPLAIN {}", statement.sql).into(), ..statement.clone() };
            let plan = self.0.read(vec![explained]).await.unwrap().remove(0);
            let walk = plan.iter().map(|row| row.string("QUERY PLAN").unwrap()).find(|step| step.contains("Seq Scan"));
            assert_eq!(walk, None, "{}", statement.sql);
        }
    }
}

#[async_trait]
impl Executor for Explaining {
    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError> {
        self.check(&queries).await;
        self.0.read(queries).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Vec<u64>, CommitError> {
        self.check(&transaction.statements).await;
        self.0.commit(transaction).await
    }
}

/// One server for all of them: it takes longer to start than they do.
#[tokio::test(flavor = "multi_thread")]
async fn every_suite_passes() {
    let server = Postgres::start();
    let template = template(&server).await;
    let mut count = 0;
    macro_rules! run {
        ($suite:ident, ; $($name:ident),+ $(,)?) => {
            $({
                eprintln!(concat!(stringify!($suite), "::", stringify!($name)));
                let database = format!("of_{}", stringify!($name));
                let database = database.get(..60).unwrap_or(&database);
                let address = format!("{} options='-c enable_seqscan=off'", server.create(database, template));
                let executor = PostgresExecutor::open(&alone(address, 6)).await.unwrap();
                let catalog: Arc<dyn Catalog> = Arc::new(CatalogStore::new(Arc::new(Explaining(executor))));
                conformance::$suite::$name(&catalog).await;
                count += 1;
            })+
        };
    }
    every_catalog_suite!(run,);
    assert!(count > 50, "{count}");
}

async fn store(server: &Postgres, database: &str) -> CatalogStore {
    CatalogStore::new(Arc::new(PostgresExecutor::open(&alone(server.address(database), 12)).await.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_used_by_one_server_at_a_time() {
    let server = Postgres::start();
    let first = store(&server, "postgres").await;
    let second = PostgresExecutor::open(&alone(server.address("postgres"), 1)).await;
    assert!(matches!(second, Err(PostgresOpenError::InUse)));
    drop(first);
    let begun = std::time::Instant::now();
    while PostgresExecutor::open(&alone(server.address("postgres"), 1)).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "it is not let go of");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let nowhere = PostgresExecutor::open(&alone("host=/nowhere user=nobody".into(), 1)).await;
    assert!(matches!(nowhere, Err(PostgresOpenError::Unavailable(_))));
    let unreadable = PostgresExecutor::open(&alone("what=is this".into(), 1)).await;
    assert!(matches!(unreadable, Err(PostgresOpenError::Address(_))));
    let shared = PostgresOptions { is_shared: true, ..alone(server.address("postgres"), 1) };
    let nodes = [PostgresExecutor::open(&shared).await.unwrap(), PostgresExecutor::open(&shared).await.unwrap()];
    let stranger = PostgresExecutor::open(&alone(server.address("postgres"), 1)).await;
    assert!(matches!(stranger, Err(PostgresOpenError::InUse)), "a server that is alone, among nodes");
    drop(nodes);
}

/// Writers at the same time, and a reader that asks again and again for what comes after the last event it has seen.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_the_feed_miss_nothing() {
    let server = Postgres::start();
    let store = store(&server, "postgres").await;
    let write = |writer: i64| {
        let store = store.clone();
        async move {
            for number in 0..25 {
                let event = NewEvent::new("test.written", writer, json!({ "number": number }));
                store.record_event(event, at(0)).await.unwrap();
            }
        }
    };
    let writing = tokio::spawn(futures::future::join_all((0..8).map(write)));
    let (mut seen, mut last) = (Vec::new(), 0);
    let begun = std::time::Instant::now();
    while seen.len() < 200 {
        assert!(begun.elapsed() < PATIENCE, "{} events were seen", seen.len());
        for event in store.events_after(last, 100).await.unwrap() {
            last = event.sequence;
            seen.push((event.key, event.payload));
        }
    }
    writing.await.unwrap();
    for writer in 0..8 {
        let of_it = seen.iter().filter(|(key, _)| *key == writer.to_string());
        let numbers: Vec<_> = of_it.filter_map(|(_, payload)| payload["number"].as_i64()).collect();
        assert_eq!(numbers, (0..25).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_back_is_used_again() {
    let mut server = Postgres::start();
    let store = store(&server, "postgres").await;
    let user = registered(&store, "ann").await;
    let mut told = store.told();
    server.stop();
    assert!(matches!(store.user(&user.id).await, Err(CatalogError::Unavailable(_))));
    let refused = store.register(conformance::new_user("bob"), at(0)).await;
    assert!(matches!(refused, Err(CatalogError::Unavailable(_))));
    server.resume();
    let begun = std::time::Instant::now();
    while store.user(&user.id).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "it is not used again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    registered(&store, "bob").await;
    assert_eq!(events(&store, "user.registered").await.len(), 2);
    // What others commit is heard again, too, once the session is there.
    let elsewhere = tokio_postgres::connect(&server.address("postgres"), tokio_postgres::NoTls).await;
    let (client, connection) = elsewhere.unwrap();
    let running = tokio::spawn(connection);
    let mut hears = async || tokio::time::timeout(Duration::from_millis(500), told.next()).await.is_ok();
    while !hears().await {
        assert!(begun.elapsed() < PATIENCE, "the session does not come back");
    }
    while hears().await {}
    client.batch_execute(session::TELL).await.unwrap();
    assert!(hears().await, "events of others are not heard");
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_always_a_month_to_come() {
    let server = Postgres::start();
    drop(store(&server, "postgres").await);
    let begun = std::time::Instant::now();
    let executor = loop {
        // Once more: what is there already is left alone.
        match PostgresExecutor::open(&alone(server.address("postgres"), 2)).await {
            Ok(executor) => break executor,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    let query =
        "SELECT COUNT(*) AS total FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = :name";
    for table in ["comments", "watch_events"] {
        let rows = executor.read(vec![Statement::new(query).bind("name", table)]).await.unwrap();
        assert_eq!(rows[0][0].integer("total").unwrap(), 14, "a year and a month, and what was before");
    }
}
