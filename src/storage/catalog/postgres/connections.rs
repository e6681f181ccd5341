//! Connections to one server of PostgreSQL that are kept, and what is read by them.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{GenericClient, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, IsolationLevel};

use super::super::executor::Row;
use super::super::statement::Statement;
use super::tls::Tls;
use super::{Failure, Numbered, in_full, row_of, to_parameters};

/// How long one waits for a connection of the pool, and for a new one.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// A peer that acknowledges nothing for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Texts kept numbered: above the number of different ones in the catalog.
const TEXTS_MAX: usize = 1024;

/// How a server is spoken to, by its address.
pub(super) fn config_of(address: &str) -> Result<Config, tokio_postgres::Error> {
    let mut config: Config = address.parse()?;
    config.connect_timeout(CONNECTION_WAIT).tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX);
    config.application_name("playhouse");
    // What is there already is no news.
    add_option(&mut config, "-c client_min_messages=warning");
    if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
        // A socket of this machine has no name that a certificate could be for.
        config.ssl_mode(SslMode::Disable);
    }
    Ok(config)
}

/// Adds an option to those that every session begins with.
pub(super) fn add_option(config: &mut Config, option: &str) {
    let options = format!("{} {option}", config.get_options().unwrap_or_default());
    config.options(options.trim_start());
}

/// The connections.
pub(super) struct Connections {
    pool: Pool,
    texts: Mutex<HashMap<String, Arc<Numbered>>>,
}

impl Connections {
    /// At most so many; each is made when it is needed.
    pub(super) fn new((config, tls): (Config, Tls), count: usize) -> Result<Self, String> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, tls, recycling))
            .max_size(count.max(1))
            .wait_timeout(Some(CONNECTION_WAIT))
            .create_timeout(Some(CONNECTION_WAIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| in_full(&error))?;
        Ok(Self { pool, texts: Mutex::default() })
    }

    pub(super) async fn get(&self) -> Result<Object, String> {
        self.pool.get().await.map_err(|error| in_full(&error))
    }

    pub(super) fn numbered(&self, sql: &str) -> Arc<Numbered> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = texts.get(sql) {
            return Arc::clone(known);
        }
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        let numbered = Arc::new(Numbered::of(sql));
        texts.insert(sql.to_owned(), Arc::clone(&numbered));
        numbered
    }

    async fn rows(&self, client: &impl GenericClient, query: &Statement) -> Result<Vec<Row>, Failure> {
        let numbered = self.numbered(&query.sql);
        let prepared = client.prepare_cached(&numbered.sql).await?;
        let columns: Arc<[String]> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let parameters = to_parameters(&numbered, query)?;
        let rows = client.query(&prepared, &parameters).await?;
        rows.iter().map(|row| row_of(&columns, row)).collect()
    }

    /// Runs queries in one snapshot.
    pub(super) async fn read(&self, queries: &[Statement]) -> Result<Vec<Vec<Row>>, Failure> {
        let mut connection = self.get().await.map_err(Failure::Other)?;
        self.read_by(&mut connection, queries).await
    }

    /// The same by a connection that one has; the snapshot is not older than the call.
    pub(super) async fn read_by(
        &self,
        connection: &mut Object,
        queries: &[Statement],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        if let [query] = queries {
            // One has a snapshot of its own.
            return Ok(vec![self.rows(&*connection, query).await?]);
        }
        let snapshot = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let snapshot = snapshot.start().await?;
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(self.rows(&snapshot, query).await?);
        }
        snapshot.commit().await?;
        Ok(answers)
    }
}
