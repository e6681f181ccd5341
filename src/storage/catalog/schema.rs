//! The tables, as an ordered list of migrations. A database is brought up to date when it is opened; one that a newer
//! program has touched is refused.
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior};

/// One step of the tables' history. Never edited once released: a change is a new step.
struct Migration {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "foundation", sqlite: include_str!("migrations/0001_foundation.sqlite.sql") },
    Migration { version: 2, name: "attempts", sqlite: include_str!("migrations/0002_attempts.sqlite.sql") },
    Migration { version: 3, name: "ladders", sqlite: include_str!("migrations/0003_ladders.sqlite.sql") },
    Migration { version: 4, name: "pictures", sqlite: include_str!("migrations/0004_pictures.sqlite.sql") },
    Migration { version: 5, name: "live", sqlite: include_str!("migrations/0005_live.sqlite.sql") },
    Migration { version: 6, name: "no_staging", sqlite: include_str!("migrations/0006_no_staging.sqlite.sql") },
    Migration { version: 7, name: "recordings", sqlite: include_str!("migrations/0007_recordings.sqlite.sql") },
    Migration { version: 8, name: "trim", sqlite: include_str!("migrations/0008_trim.sqlite.sql") },
    Migration { version: 9, name: "slate", sqlite: include_str!("migrations/0009_slate.sqlite.sql") },
    Migration { version: 10, name: "passphrases", sqlite: include_str!("migrations/0010_passphrases.sqlite.sql") },
    Migration { version: 11, name: "pushes", sqlite: include_str!("migrations/0011_pushes.sqlite.sql") },
    Migration { version: 12, name: "pulls", sqlite: include_str!("migrations/0012_pulls.sqlite.sql") },
];

const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
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
    #[error("migration {version} failed: {source}")]
    Failed {
        /// Which one.
        version: i64,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The history cannot be read.
    #[error("cannot read the catalog's schema version: {0}")]
    Unreadable(rusqlite::Error),
}

/// Applies each migration that is missing, each in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    let found = version(connection).map_err(SchemaError::Unreadable)?;
    let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
    if found > known {
        return Err(SchemaError::Newer { found, known });
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > found) {
        apply(connection, migration).map_err(|source| SchemaError::Failed { version: migration.version, source })?;
        tracing::info!(version = migration.version, name = migration.name, "catalog migrated");
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
