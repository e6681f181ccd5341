//! A look at the servers of the catalog before a server of ours uses them.
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::super::connections::{Connections, config_of};
use super::super::in_full;
use super::super::tls::Tls;
use super::{PROMOTED, Position, ReplicaOptions, STRANGER, named, position, seen, silence};

/// Longest wait for a server to say where it is.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Pause before a replica that is behind is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// What was found of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// How it is called, without what may be a secret.
    pub name: String,
    /// What is wrong with it, if anything.
    pub fault: Option<String>,
}

/// Looks whether the catalog's server answers, and whether the others follow it closely enough. The first finding is its own.
pub async fn examine(address: &str, replicas: &ReplicaOptions) -> Vec<Examined> {
    let found = primary(address).await;
    let mut all = vec![Examined { name: "primary".into(), fault: found.as_ref().err().cloned() }];
    for (index, address) in replicas.addresses.iter().enumerate() {
        let name = named(address).map_or_else(|_| format!("number {}", index + 1), |(name, _)| name);
        // Without a primary there is nothing to compare with.
        let looked = replica(address, (found.as_ref().ok(), replicas.lag_max)).await;
        all.push(Examined { name, fault: looked.err() });
    }
    all
}

async fn connections(config: Result<tokio_postgres::Config, String>) -> Result<Connections, String> {
    let tls = Tls::new().map_err(|error| in_full(&error))?;
    Connections::new((config?, tls), 1)
}

async fn primary(address: &str) -> Result<Position, String> {
    let config = config_of(address).map_err(|error| format!("the address cannot be read: {error}"));
    let connections = connections(config).await?;
    timeout(ANSWER_WAIT, position(&connections)).await.unwrap_or_else(|_| Err(silence(ANSWER_WAIT)))
}

async fn replica(address: &str, (primary, lag_max): (Option<&Position>, Duration)) -> Result<(), String> {
    let connections = connections(named(address).map(|(_, config)| config)).await?;
    let begun = Instant::now();
    loop {
        let seen = timeout(ANSWER_WAIT, seen(&connections)).await.unwrap_or_else(|_| Err(silence(ANSWER_WAIT)))?;
        if !seen.is_replica {
            return Err(PROMOTED.into());
        }
        let Some(primary) = primary else { return Ok(()) };
        if (seen.system, &seen.database) != (primary.system, &primary.database) {
            return Err(STRANGER.into());
        }
        if seen.replayed.is_some_and(|replayed| replayed >= primary.written) {
            return Ok(());
        }
        if begun.elapsed() > lag_max {
            return Err(format!("it is more than {lag_max:?} behind"));
        }
        sleep(PAUSE).await;
    }
}
