//! Replicas that lists may be read from: standby servers that follow the primary by streaming.
//!
//! One task notes where the primary's log is, another for each replica asks how far that is; both several times in the lag that
//! is allowed. A replica that cannot be reached, was promoted or is late is out of use until it is fresh again. That
//! decides where one asks; whether the answer may be used is decided by itself: before each read the replica says what it has replayed,
//! and with less than the primary had written as long ago as the lag that is allowed, the primary is read. So a server that was
//! started again, or replaced, between two looks shows nothing that is older than that.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::Object;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::types::PgLsn;
use tokio_util::task::AbortOnDropHandle;

use super::super::executor::{CommitError, Executor, Row};
use super::super::statement::{Statement, Transaction};
use super::connections::{Connections, add_option, config_of};
use super::tls::Tls;
use super::{Failure, PostgresOpenError, in_full, schema};
use crate::domain::ports::CatalogError;

mod examination;
mod history;

pub use examination::{Examined, examine};
use history::{History, Position};

/// A replica that has not answered in this time is left alone, and the primary is read.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How often, in the lag that is allowed, one looks where everybody is.
const LOOKS: u32 = 5;
/// Longest time between looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// Where a server listens unless its address says otherwise.
const PORT: u16 = 5432;

/// Where the primary is; fails at one that is none.
const POSITION: &str = "SELECT pg_current_wal_lsn(), system_identifier, current_database() FROM pg_control_system()";
/// What a replica is, and how far.
const STANDING: &str = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), system_identifier, current_database() \
    FROM pg_control_system()";
/// The same, as much of it as changes without a new connection.
const REPLAYED: &str = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()";

/// Servers that follow the primary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaOptions {
    /// Where each is.
    pub addresses: Vec<String>,
    /// How far behind the primary they may be.
    pub lag_max: Duration,
}

/// All of them; they are watched for as long as this lives.
pub(super) struct Replicas {
    all: Vec<Arc<Replica>>,
    next: AtomicUsize,
    _watching: Vec<AbortOnDropHandle<()>>,
}

impl Replicas {
    /// Begins to watch them. None of them has to be there yet.
    pub(super) fn watch(
        options: &ReplicaOptions,
        (primary, tls): (Config, Tls),
        connections: usize,
    ) -> Result<Self, PostgresOpenError> {
        let (mut all, mut watching) = (Vec::new(), Vec::new());
        let history = Arc::new(Mutex::new(History::default()));
        let every = (options.lag_max / LOOKS).min(LOOK_EVERY_MAX);
        for (index, address) in options.addresses.iter().enumerate() {
            let refused = |reason| PostgresOpenError::Replica { number: index + 1, reason };
            let (name, config) = named(address).map_err(refused)?;
            let connect = |count| Connections::new((config.clone(), tls.clone()), count).map_err(refused);
            let (readers, watcher) = (connect(connections)?, connect(1)?);
            let (history, standing) = (Arc::clone(&history), Mutex::new(Standing::Unknown));
            let replica = Replica { name, readers, history, lag_max: options.lag_max, standing };
            let replica = Arc::new(replica);
            watching.push(watch(Arc::clone(&replica), watcher, every));
            all.push(replica);
        }
        if !all.is_empty() {
            let connections = Connections::new((primary, tls), 1).map_err(PostgresOpenError::Unavailable)?;
            watching.push(AbortOnDropHandle::new(tokio::spawn(follow(connections, history, every))));
        }
        Ok(Self { all, next: AtomicUsize::new(0), _watching: watching })
    }

    /// One that is in use, each in turn.
    pub(super) fn pick(&self) -> Option<Arc<Replica>> {
        if self.all.is_empty() {
            return None;
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let (behind, before) = self.all.split_at(first);
        let found = before.iter().chain(behind).find(|replica| replica.is_used()).map(Arc::clone);
        if found.is_none() {
            count_fallback("none");
        }
        found
    }
}

/// How a replica is called in logs and metrics, which tell no secrets, and how it is spoken to.
fn named(address: &str) -> Result<(String, Config), String> {
    let mut config = config_of(address).map_err(|error| format!("cannot be read: {error}"))?;
    let [host] = config.get_hosts() else {
        return Err("must name one server: each has an address of its own".into());
    };
    let port = config.get_ports().first().unwrap_or(&PORT);
    let name = match host {
        Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
        Host::Tcp(host) => format!("{host}:{port}"),
        Host::Unix(directory) => format!("{}:{port}", directory.display()),
    };
    add_option(&mut config, &format!("-c statement_timeout={}", ANSWER_WAIT.as_millis()));
    Ok((name, config))
}

fn count_fallback(reason: &'static str) {
    metrics::counter!("playhouse_catalog_replica_fallbacks_total", "reason" => reason).increment(1);
}

/// Notes where the primary is.
async fn follow(primary: Connections, history: Arc<Mutex<History>>, every: Duration) {
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // What was committed before the question is in the answer.
        let asked = Instant::now();
        match timeout(ANSWER_WAIT, position(&primary)).await {
            Ok(Ok(position)) => locked(&history).note(asked, position),
            Ok(Err(reason)) => tracing::debug!(reason, "the primary of the catalog does not say where it is"),
            Err(_) => tracing::debug!("the primary of the catalog does not answer"),
        }
    }
}

async fn position(primary: &Connections) -> Result<Position, String> {
    let connection = primary.get().await?;
    let read = async {
        let row = connection.query_one(&connection.prepare_cached(POSITION).await?, &[]).await?;
        Ok(Position { written: row.try_get(0)?, system: row.try_get(1)?, database: row.try_get(2)? })
    };
    read.await.map_err(|error: tokio_postgres::Error| in_full(&error))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is thought of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unknown,
    Used,
    Unused,
}

/// One that may be read. Nothing can be changed by it.
pub(super) struct Replica {
    name: String,
    readers: Connections,
    history: Arc<Mutex<History>>,
    lag_max: Duration,
    standing: Mutex<Standing>,
}

/// Why a replica was not read.
enum Trouble {
    /// It is not fresh enough.
    Late(String),
    Failed(Failure),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Replica {
    fn is_used(&self) -> bool {
        *locked(&self.standing) == Standing::Used
    }

    /// Takes it into use or out of it, and says so when that is new.
    fn judge(&self, verdict: Result<(), &str>) {
        let standing = if verdict.is_ok() { Standing::Used } else { Standing::Unused };
        let before = std::mem::replace(&mut *locked(&self.standing), standing);
        let is_used = if verdict.is_ok() { 1.0 } else { 0.0 };
        metrics::gauge!("playhouse_catalog_replica_used", "replica" => self.name.clone()).set(is_used);
        match verdict {
            _ if before == standing => {}
            Ok(()) => tracing::info!(replica = self.name, "lists are read from a replica of the catalog"),
            Err(reason) => tracing::warn!(replica = self.name, reason, "a replica of the catalog is not read from"),
        }
    }

    /// Reads rows as they were when the call began, or as long before as they may be old.
    async fn try_read(&self, queries: &[Statement]) -> Result<Vec<Vec<Row>>, Trouble> {
        let mut connection = self.readers.get().await.map_err(|reason| Trouble::Failed(Failure::Other(reason)))?;
        // First: what is replayed by now, a snapshot made hereafter shows.
        self.check(&connection).await?;
        self.readers.read_by(&mut connection, queries).await.map_err(Trouble::Failed)
    }

    async fn check(&self, connection: &Object) -> Result<(), Trouble> {
        let row = connection.query_one(&connection.prepare_cached(REPLAYED).await?, &[]).await?;
        let (is_replica, replayed): (bool, Option<PgLsn>) = (row.try_get(0)?, row.try_get(1)?);
        let since = Instant::now().checked_sub(self.lag_max);
        let required = since.and_then(|since| locked(&self.history).required(since));
        match (required, replayed) {
            _ if !is_replica => Err(Trouble::Late(PROMOTED.into())),
            (Some(required), Some(replayed)) if replayed >= required => Ok(()),
            _ => Err(Trouble::Late(self.lateness())),
        }
    }

    /// Why it is not known to be fresh.
    fn lateness(&self) -> String {
        let since = Instant::now().checked_sub(self.lag_max);
        match since.and_then(|since| locked(&self.history).required(since)) {
            Some(_) => format!("it is more than {:?} behind", self.lag_max),
            None => format!("the primary has not said for {:?} where it is", self.lag_max),
        }
    }

    /// Whether it is a replica of that primary, with the tables that this program knows, and when the primary was where it is,
    /// as far as that is remembered.
    async fn look(&self, watcher: &Connections) -> Result<Option<Instant>, String> {
        let Seen { is_replica, replayed, system, database } = seen(watcher).await?;
        if !is_replica {
            return Err(PROMOTED.into());
        }
        match locked(&self.history).is_copy(system, &database) {
            Some(true) => {}
            Some(false) => return Err(STRANGER.into()),
            None => return Ok(None),
        }
        schema::expect_suitable(&watcher.get().await?).await?;
        Ok(replayed.and_then(|replayed| locked(&self.history).reached(replayed)))
    }
}

/// What a server says of itself that may be a replica.
struct Seen {
    is_replica: bool,
    replayed: Option<PgLsn>,
    system: i64,
    database: String,
}

async fn seen(server: &Connections) -> Result<Seen, String> {
    let connection = server.get().await?;
    let read = async {
        let row = connection.query_one(&connection.prepare_cached(STANDING).await?, &[]).await?;
        let (is_replica, replayed) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Seen { is_replica, replayed, system: row.try_get(2)?, database: row.try_get(3)? })
    };
    read.await.map_err(|error: tokio_postgres::Error| in_full(&error))
}

/// What a server is that does not follow another.
const PROMOTED: &str = "it is no replica: it does not follow another server";
const STRANGER: &str = "it is a replica of another database";

fn silence(wait: Duration) -> String {
    format!("it does not answer within {wait:?}")
}

/// Looks at a replica again and again.
fn watch(replica: Arc<Replica>, watcher: Connections, every: Duration) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut looks = interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When the primary was last where this one is, as far as that is known.
        let mut reached = None;
        loop {
            looks.tick().await;
            let looked = timeout(ANSWER_WAIT, replica.look(&watcher)).await;
            let looked = looked.unwrap_or_else(|_| Err(silence(ANSWER_WAIT)));
            if let Ok(Some(known)) = &looked {
                reached = Some(*known);
            }
            // One that was never nearer is farther behind than is remembered.
            let Some(remembered) = locked(&replica.history).length(Instant::now()) else { continue };
            let lag = reached.map_or(remembered, |reached: Instant| reached.elapsed());
            let gauge = metrics::gauge!("playhouse_catalog_replica_lag_seconds", "replica" => replica.name.clone());
            gauge.set(lag.as_secs_f64());
            match looked {
                Err(reason) => replica.judge(Err(&reason)),
                Ok(_) if lag > replica.lag_max => replica.judge(Err(&replica.lateness())),
                Ok(Some(_)) => replica.judge(Ok(())),
                // Not enough is remembered to tell how far behind it is.
                Ok(None) => {}
            }
        }
    }))
}

#[async_trait]
impl Executor for Replica {
    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError> {
        let trouble = match timeout(ANSWER_WAIT, self.try_read(&queries)).await {
            Ok(Ok(answers)) => return Ok(answers),
            Ok(Err(trouble)) => trouble,
            Err(_) => {
                count_fallback("timeout");
                let reason = silence(ANSWER_WAIT);
                self.judge(Err(&reason));
                return Err(CatalogError::Unavailable(reason));
            }
        };
        match trouble {
            Trouble::Late(reason) => {
                count_fallback("lagging");
                self.judge(Err(&reason));
                Err(CatalogError::Unavailable(reason))
            }
            Trouble::Failed(failure) => {
                count_fallback("failed");
                let is_gone = failure.is_of_connection() || matches!(failure, Failure::Other(_));
                let error = CatalogError::from(failure);
                if is_gone {
                    self.judge(Err(&error.to_string()));
                }
                Err(error)
            }
        }
    }

    async fn commit(&self, _: Transaction) -> Result<Vec<u64>, CommitError> {
        Err(CommitError::Unavailable("a replica is only read".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(address: &str) -> Arc<Replica> {
        let (name, config) = named(address).unwrap();
        let readers = Connections::new((config, Tls::new().unwrap()), 1).unwrap();
        let (history, standing) = (Arc::default(), Mutex::new(Standing::Unknown));
        Arc::new(Replica { name, readers, history, lag_max: Duration::from_secs(1), standing })
    }

    #[tokio::test]
    async fn those_in_use_are_read_in_turn() {
        let all: Vec<_> = ["host=a", "host=b", "host=c"].map(replica).into();
        let replicas = Replicas { all: all.clone(), next: AtomicUsize::new(0), _watching: Vec::new() };
        let picked = |count: usize| -> Vec<String> {
            (0..count).filter_map(|_| replicas.pick()).map(|replica| replica.name.clone()).collect()
        };
        assert_eq!(picked(3), Vec::<String>::new(), "nothing is known of them yet");
        all.iter().for_each(|replica| replica.judge(Ok(())));
        assert_eq!(picked(6), ["a:5432", "b:5432", "c:5432", "a:5432", "b:5432", "c:5432"]);
        all[1].judge(Err("gone"));
        assert!(picked(9).iter().all(|name| name != "b:5432"));
        assert_eq!(picked(9).len(), 9);
        all[1].judge(Ok(()));
        assert!(picked(3).contains(&"b:5432".to_owned()), "it is back");
    }

    #[test]
    fn they_are_called_by_their_place_alone() {
        for (address, name) in [
            ("postgresql://playhouse:secret@db-2.example.org:5433/playhouse", "db-2.example.org:5433"),
            ("host=/run/postgresql user=playhouse password=secret", "/run/postgresql:5432"),
            ("postgresql://playhouse:secret@[2001:db8::1]/playhouse", "[2001:db8::1]:5432"),
        ] {
            assert_eq!(named(address).unwrap().0, name);
        }
        for bad in ["what=is this", "host=a,b", "user=playhouse"] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }
}
