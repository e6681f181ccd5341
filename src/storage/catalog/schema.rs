//! The tables, as an ordered list of migrations. A database is brought up to date when it is opened. One that a newer program has brought
//! further is used as it is, as long as its tables suit this program, too; otherwise it is refused.
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior};

/// One step of the tables' history. Never edited once released: a change is a new step.
pub(super) struct Migration {
    pub(super) version: i64,
    /// The oldest version that a program must know to work with the tables behind this step. One that only adds what programs may leave
    /// alone has that of the step before it, or a still older one; one that takes something away has its own, or that of the first
    /// release that does without.
    pub(super) needs: i64,
    pub(super) name: &'static str,
    pub(super) sqlite: &'static str,
    /// Where PostgreSQL needs more than other words.
    pub(super) postgres: Option<&'static str>,
}

/// The same tables in both databases, for programs that know this step; `Migration { needs, ..alike(…) }` for older ones, too.
const fn alike(version: i64, name: &'static str, sqlite: &'static str) -> Migration {
    Migration { version, needs: version, name, sqlite, postgres: None }
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
        needs: 13,
        name: "partitions",
        sqlite: "",
        postgres: Some(include_str!("migrations/0013_partitions.postgres.sql")),
    },
    alike(14, "cluster", include_str!("migrations/0014_cluster.sqlite.sql")),
    Migration {
        version: 15,
        needs: 15,
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
/// What the first releases did not say of their steps; they leave it out.
pub(super) const ADD_NEEDS: &str = "ALTER TABLE schema_migrations ADD COLUMN needs INTEGER";
/// Where the tables are; a step of which it is not said what it needs needs itself to be known.
pub(super) const SELECT_STANDING: &str =
    "SELECT COALESCE(MAX(version), 0), COALESCE(MAX(COALESCE(needs, version)), 0) FROM schema_migrations";

/// The tables cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer program has changed this database in a way that this one cannot live with.
    #[error(
        "the catalog has schema version {found} and needs a program that knows version {needs}, this one knows up to {known}: \
        run the newer program, or restore a backup"
    )]
    Newer {
        /// Version found.
        found: i64,
        /// Oldest version that a program must know.
        needs: i64,
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

/// Where tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Their version.
    pub(super) found: i64,
    /// The oldest version that a program must know to work with them.
    pub(super) needs: i64,
}

/// Steps of the tables' history, those that a program knows.
#[derive(Clone, Copy)]
pub(super) struct Steps(&'static [Migration]);

impl Steps {
    /// All that this program knows.
    pub(super) const ALL: Self = Self(MIGRATIONS);

    /// The version of the tables that the program knows.
    pub(super) fn newest(self) -> i64 {
        self.0.last().map_or(0, |migration| migration.version)
    }

    /// Refuses tables that are no longer for a program with these steps.
    pub(super) fn check(self, Standing { found, needs }: Standing) -> Result<(), SchemaError> {
        let known = self.newest();
        if needs > known { Err(SchemaError::Newer { found, needs, known }) } else { Ok(()) }
    }

    /// The step that such tables are to take next.
    pub(super) fn next_after(self, standing: Standing) -> Result<Option<&'static Migration>, SchemaError> {
        self.check(standing)?;
        Ok(self.0.iter().find(|migration| migration.version > standing.found))
    }

    /// Says so when tables are further than the program.
    pub(super) fn tell_of_newer(self, Standing { found, needs }: Standing) {
        let known = self.newest();
        if found > known {
            tracing::warn!(
                found,
                needs,
                known,
                "the catalog is used with tables of a newer program, which suit this one"
            );
        }
    }
}

/// Applies each migration that is missing, each in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    migrate_by(Steps::ALL, connection)
}

fn migrate_by(steps: Steps, connection: &mut Connection) -> Result<(), SchemaError> {
    let unreadable = |error: rusqlite::Error| SchemaError::Unreadable(error.to_string());
    begin_history(connection).map_err(unreadable)?;
    loop {
        let standing = standing(connection).map_err(unreadable)?;
        let Some(migration) = steps.next_after(standing)? else {
            steps.tell_of_newer(standing);
            return Ok(());
        };
        let version = migration.version;
        apply(connection, migration).map_err(|error| SchemaError::Failed { version, reason: error.to_string() })?;
        tracing::info!(version, name = migration.name, "catalog migrated");
    }
}

fn begin_history(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(CREATE_HISTORY, [])?;
    let columns = "SELECT COUNT(*) FROM pragma_table_info('schema_migrations') WHERE name = 'needs'";
    let has_needs: i64 = connection.query_row(columns, [], |row| row.get(0))?;
    if has_needs == 0 {
        connection.execute(ADD_NEEDS, [])?;
    }
    Ok(())
}

fn standing(connection: &Connection) -> rusqlite::Result<Standing> {
    connection.query_row(SELECT_STANDING, [], |row| Ok(Standing { found: row.get(0)?, needs: row.get(1)? }))
}

fn apply(connection: &mut Connection, migration: &Migration) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration.sqlite)?;
    let applied_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    transaction.execute(
        "INSERT INTO schema_migrations (version, name, applied_at, needs) VALUES (?1, ?2, ?3, ?4)",
        (migration.version, migration.name, i64::try_from(applied_at).unwrap_or(i64::MAX), migration.needs),
    )?;
    transaction.commit()
}

#[cfg(test)]
pub(super) mod tests;
