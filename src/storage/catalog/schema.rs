//! The tables, as an ordered list of migrations. A database is brought up to date when it is opened; one that a newer
//! program has touched is refused.
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior};

/// One step of the tables' history. Never edited once released: a change is a new step.
pub(super) struct Migration {
    pub(super) version: i64,
    pub(super) name: &'static str,
    pub(super) sqlite: &'static str,
    /// Where PostgreSQL needs more than other words.
    pub(super) postgres: Option<&'static str>,
}

/// The same tables in both databases.
const fn alike(version: i64, name: &'static str, sqlite: &'static str) -> Migration {
    Migration { version, name, sqlite, postgres: None }
}

const MIGRATIONS: &[Migration] = &[
    alike(1, "foundation", include_str!("migrations/0001_foundation.sqlite.sql")),
    alike(2, "attempts", include_str!("migrations/0002_attempts.sqlite.sql")),
    alike(3, "ladders", include_str!("migrations/0003_ladders.sqlite.sql")),
    alike(4, "pictures", include_str!("migrations/0004_pictures.sqlite.sql")),
    alike(5, "live", include_str!("migrations/0005_live.sqlite.sql")),
    alike(6, "no_staging", include_str!("migrations/0006_no_staging.sqlite.sql")),
    alike(7, "recordings", include_str!("migrations/0007_recordings.sqlite.sql")),
    alike(8, "trim", include_str!("migrations/0008_trim.sqlite.sql")),
    alike(9, "slate", include_str!("migrations/0009_slate.sqlite.sql")),
    alike(10, "passphrases", include_str!("migrations/0010_passphrases.sqlite.sql")),
    alike(11, "pushes", include_str!("migrations/0011_pushes.sqlite.sql")),
    alike(12, "pulls", include_str!("migrations/0012_pulls.sqlite.sql")),
    Migration {
        version: 13,
        name: "partitions",
        sqlite: "",
        postgres: Some(include_str!("migrations/0013_partitions.postgres.sql")),
    },
    alike(14, "cluster", include_str!("migrations/0014_cluster.sqlite.sql")),
    Migration {
        version: 15,
        name: "clock",
        sqlite: "",
        postgres: Some(include_str!("migrations/0015_clock.postgres.sql")),
    },
    alike(16, "reach", include_str!("migrations/0016_reach.sqlite.sql")),
    alike(17, "direct_uploads", include_str!("migrations/0017_direct_uploads.sqlite.sql")),
    alike(18, "originals", include_str!("migrations/0018_originals.sqlite.sql")),
];

pub(super) const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT";

/// The tables cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer program has written this database.
    #[error(
        "the catalog has schema version {found}, this program knows up to {known}: run the newer program, or restore a backup"
    )]
    Newer {
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// A migration failed; the database is as before it.
    #[error("migration {version} failed: {reason}")]
    Failed {
        /// Which one.
        version: i64,
        /// What the database says.
        reason: String,
    },
    /// The history cannot be read.
    #[error("cannot read the catalog's schema version: {0}")]
    Unreadable(String),
}

/// The version of the tables that this program knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// The migration that comes after this version.
pub(super) fn next_after(found: i64) -> Result<Option<&'static Migration>, SchemaError> {
    let known = newest();
    if found > known {
        return Err(SchemaError::Newer { found, known });
    }
    Ok(MIGRATIONS.iter().find(|migration| migration.version > found))
}

/// Applies each migration that is missing, each in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    let mut found = version(connection).map_err(|error| SchemaError::Unreadable(error.to_string()))?;
    while let Some(migration) = next_after(found)? {
        let version = migration.version;
        apply(connection, migration).map_err(|error| SchemaError::Failed { version, reason: error.to_string() })?;
        tracing::info!(version, name = migration.name, "catalog migrated");
        found = version;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.execute(CREATE_HISTORY, [])?;
    connection.query_row("SELECT COALESCE(MAX(version), 0) FROM schema_migrations", [], |row| row.get(0))
}

fn apply(connection: &mut Connection, migration: &Migration) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration.sqlite)?;
    let applied_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    transaction.execute(
        "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?1, ?2, ?3)",
        (migration.version, migration.name, i64::try_from(applied_at).unwrap_or(i64::MAX)),
    )?;
    transaction.commit()
}

#[cfg(test)]
mod tests;
