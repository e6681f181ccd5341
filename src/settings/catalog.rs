//! Where the catalog is.
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HumanDuration, SettingsError};

section!(
    /// The catalog: accounts, videos and all else but media.
    CatalogSettings {
        /// Where it is in PostgreSQL; empty: in a file of the data directory.
        postgres: String = String::new(),
        /// Connections to PostgreSQL at most; to each of the replicas as many.
        postgres_connections: usize = 16,
        /// Servers that follow it by streaming, of which lists are read.
        postgres_replicas: Vec<String> = Vec::new(),
        /// How far behind they may be.
        replica_lag_max: HumanDuration = HumanDuration::secs(5),
    }
);

/// What `catalog.replica_lag_max` may be: shorter, a replica is late between two looks at it; longer, it is not remembered
/// where the primary was.
const REPLICA_LAG: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(300);

impl CatalogSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let refuse = |key, message: &str| Err(SettingsError::OutOfRange { key, message: message.to_owned() });
        if self.postgres.is_empty() && !self.postgres_replicas.is_empty() {
            return refuse("catalog.postgres_replicas", "needs catalog.postgres: replicas follow that server");
        }
        if !REPLICA_LAG.contains(&self.replica_lag_max.0) {
            return refuse("catalog.replica_lag_max", "must be 500ms to 5m");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: &CatalogSettings) -> Option<&'static str> {
        match settings.validate() {
            Err(SettingsError::OutOfRange { key, .. }) => Some(key),
            _ => None,
        }
    }

    #[test]
    fn replicas_follow_a_server_and_may_be_late_within_reason() {
        let lag = |millis| HumanDuration(Duration::from_millis(millis));
        let alone = CatalogSettings::default();
        assert_eq!(refused(&alone), None);
        let orphan = CatalogSettings { postgres_replicas: vec!["host=b".into()], ..alone.clone() };
        assert_eq!(refused(&orphan), Some("catalog.postgres_replicas"));
        assert_eq!(refused(&CatalogSettings { postgres: "host=a".into(), ..orphan }), None);
        for (millis, is_refused) in [(499, true), (500, false), (300_000, false), (300_001, true), (0, true)] {
            let settings = CatalogSettings { replica_lag_max: lag(millis), ..alone.clone() };
            assert_eq!(refused(&settings).is_some(), is_refused, "{millis} ms");
        }
    }
}
