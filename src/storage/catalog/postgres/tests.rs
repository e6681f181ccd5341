use std::sync::Arc;

use futures::StreamExt;
use serde_json::json;

use super::super::CatalogStore;
use super::super::schema::Steps;
use super::super::schema::tests::steps_of_a_later_release;
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
    PostgresOptions { address, connections, is_shared: false, replicas: ReplicaOptions::default() }
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

async fn count_users(executor: &dyn Executor) -> Result<i64, CatalogError> {
    let rows = executor.read(vec![Statement::new("SELECT COUNT(*) AS total FROM users")]).await?;
    rows[0][0].integer("total")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_waits_for_no_connection() {
    let server = Postgres::start();
    let executor = PostgresExecutor::open(&alone(server.address("postgres"), 1)).await.unwrap();
    let slow = executor.read(vec![Statement::new("SELECT 1 AS one FROM pg_sleep(3)")]);
    let urgent = async {
        // By then the only connection is taken.
        tokio::time::sleep(Duration::from_millis(300)).await;
        executor.read(vec![Statement::new("SELECT 1 AS one").urgent()]).await
    };
    tokio::select! {
        biased;
        _ = slow => panic!("it waited for the only connection"),
        read = urgent => assert_eq!(read.unwrap()[0][0].integer("one").unwrap(), 1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_believed_for_as_long_as_it_may_lag() {
    const LAG_MAX: Duration = Duration::from_secs(1);
    let primary = Postgres::start();
    drop(store(&primary, "postgres").await);
    let standby = primary.standby();
    let replicas = ReplicaOptions { addresses: vec![standby.address("postgres")], lag_max: LAG_MAX };
    let options = PostgresOptions { replicas, is_shared: true, ..alone(primary.address("postgres"), 4) };
    let executor = Arc::new(PostgresExecutor::open(&options).await.unwrap());
    let begun = std::time::Instant::now();
    let replica = loop {
        match executor.replica() {
            Some(replica) => break replica,
            None => assert!(begun.elapsed() < PATIENCE, "it is not used"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let refused = replica.commit(Transaction::new()).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "a replica changes nothing");
    // It stands still, and is asked whatever the looks at it have found.
    standby.ask("SELECT pg_wal_replay_pause()");
    while standby.ask("SELECT pg_get_wal_replay_pause_state()") != "paused" {
        assert!(begun.elapsed() < PATIENCE, "it does not stand still");
    }
    registered(&CatalogStore::new(executor.clone()), "ann").await;
    let committed = std::time::Instant::now();
    let mut believed = 0;
    loop {
        let asked = committed.elapsed();
        match count_users(&*replica).await {
            Ok(users) => assert!((users, asked < LAG_MAX) == (0, true), "{users} users, after {asked:?}"),
            Err(CatalogError::Unavailable(_)) => break,
            Err(error) => panic!("{error}"),
        }
        believed += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(believed > 0, "it was never read");
    assert_eq!(count_users(&*executor).await, Ok(1));
    standby.ask("SELECT pg_wal_replay_resume()");
    while count_users(&*replica).await != Ok(1) {
        assert!(begun.elapsed() < PATIENCE, "it is not believed again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_examined_before_they_are_used() {
    let mut primary = Postgres::start();
    let standby = primary.standby();
    let addresses = vec![
        standby.address("postgres"),
        standby.address("template1"),
        primary.address("postgres"),
        "host=/nowhere user=nobody password=secret".into(),
        "host=a,b".into(),
    ];
    let replicas = ReplicaOptions { addresses, lag_max: PATIENCE };
    let found = examine(&primary.address("postgres"), &replicas).await;
    let faults: Vec<Option<&str>> = found.iter().map(|found| found.fault.as_deref()).collect();
    assert_eq!(faults[..2], [None, None], "the primary and its replica");
    let has = |index: usize, text: &str| faults[index].is_some_and(|fault: &str| fault.contains(text));
    assert!(has(2, "another database") && has(3, "no replica") && has(4, "connecting"), "{faults:?}");
    assert!(has(5, "one server"), "{faults:?}");
    let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["primary", &standby.name(), &standby.name(), &primary.name(), "/nowhere:5432", "number 5"]);
    primary.stop();
    let found = examine(&primary.address("postgres"), &ReplicaOptions::default()).await;
    assert!(matches!(found.as_slice(), [Examined { fault: Some(_), .. }]), "{found:?}");
    let several = ReplicaOptions { addresses: vec![standby.address("postgres"), "host=a,b".into()], lag_max: PATIENCE };
    primary.resume();
    let options = PostgresOptions { replicas: several, ..alone(primary.address("postgres"), 1) };
    let refused = PostgresExecutor::open(&options).await;
    assert!(matches!(refused, Err(PostgresOpenError::Replica { number: 2, .. })));
}

/// Nodes of a release go on, and are started again, behind one of the next, until that takes something away.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_program_are_used_until_something_is_taken_away() {
    let server = Postgres::start();
    // As an earlier release has left them, which did not say what its steps need.
    drop(store(&server, "postgres").await);
    server.ask("ALTER TABLE schema_migrations DROP COLUMN needs");
    let shared = PostgresOptions { is_shared: true, ..alone(server.address("postgres"), 4) };
    let open = || PostgresExecutor::open(&shared);
    let begun = std::time::Instant::now();
    let running = loop {
        // Whoever was alone may not be gone yet.
        match open().await {
            Ok(executor) => break executor,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    assert_eq!(server.ask("SELECT COUNT(*) FROM schema_migrations WHERE needs IS NOT NULL"), "0");
    let running = CatalogStore::new(Arc::new(running));
    registered(&running, "before").await;
    let config = config_of(&server.address("postgres")).unwrap();
    let connections = Connections::new((config, Tls::new().unwrap()), 1).unwrap();
    let mut connection = connections.get().await.unwrap();
    schema::migrate_by(steps_of_a_later_release(2), &mut connection).await.unwrap();
    registered(&running, "running").await;
    let again = CatalogStore::new(Arc::new(open().await.expect("tables that suit this program, too")));
    registered(&again, "again").await;
    server.ask("DROP INDEX videos_by_original");
    schema::migrate_by(steps_of_a_later_release(3), &mut connection).await.unwrap();
    let refused = open().await.err().expect("tables that are not for this program any more");
    let newer = SchemaError::Newer { found: 1003, needs: 1003, known: Steps::ALL.newest() };
    assert_eq!(refused.to_string(), newer.to_string());
    assert_eq!(events(&running, "user.registered").await.len(), 3);
}
