//! Nodes and leases. Whoever changes something under a lease names it in the same transaction.
use std::time::Duration;

use async_trait::async_trait;

use super::CatalogStore;
use super::executor::{CommitError, Row};
use super::statement::{Statement, Transaction};
use crate::domain::cluster::{Lease, LeaseAnswer, NodeLife, NodeRow};
use crate::domain::ports::{CatalogError, LeaseCatalog};

/// Name of the expectation that a lease is still its holder's.
pub(super) const FENCED: &str = "fencing";
/// A holder that is nobody.
const NOBODY: &str = "";
/// How often a lease is asked for again that changes hands just now.
const ATTEMPTS_MAX: usize = 4;

/// The transaction for the holder of a lease only.
pub(super) fn fence(lease: &Lease, mut transaction: Transaction) -> Transaction {
    let hold = "UPDATE leases SET generation = generation \
        WHERE lease_key = :key AND node = :node AND epoch = :epoch AND generation = :generation";
    transaction.statements.insert(0, named(hold, lease).one_row(FENCED));
    transaction
}

fn named(sql: &'static str, lease: &Lease) -> Statement {
    held(sql, &lease.holder).bind("key", lease.key.as_str()).bind("generation", lease.generation)
}

fn held(sql: &'static str, by: &NodeLife) -> Statement {
    Statement::new(sql).bind("node", &by.node).bind("epoch", by.epoch)
}

fn take(key: &str, asker: &NodeLife, lapse: Option<Duration>) -> Transaction {
    let take = "INSERT INTO leases (lease_key, node, epoch, generation) VALUES (:key, :node, :epoch, 1) \
        ON CONFLICT (lease_key) DO UPDATE SET node = excluded.node, epoch = excluded.epoch, \
        generation = leases.generation + 1 \
        WHERE NOT (leases.node = excluded.node AND leases.epoch = excluded.epoch) \
        AND ((leases.node = excluded.node AND leases.epoch < excluded.epoch) OR NOT EXISTS (SELECT 1 FROM nodes n \
        WHERE n.name = leases.node AND n.epoch = leases.epoch AND n.renewed_at > now_ms() - :lapse))";
    let lapse = lapse.map_or(i64::MAX / 2, |lapse| i64::try_from(lapse.as_millis()).unwrap_or(i64::MAX / 2));
    Transaction::new().then(held(take, asker).bind("key", key).bind("lapse", lapse).one_row("taken"))
}

fn life_of(row: &Row, node: &str) -> Result<NodeLife, CatalogError> {
    Ok(NodeLife { node: row.id(node)?, epoch: row.integer("epoch")? })
}

fn lease_of(key: &str, row: &Row) -> Result<Option<Lease>, CatalogError> {
    if row.text("node")? == NOBODY {
        return Ok(None);
    }
    Ok(Some(Lease { key: key.to_owned(), holder: life_of(row, "node")?, generation: row.number("generation")? }))
}

#[async_trait]
impl LeaseCatalog for CatalogStore {
    async fn renew_node(&self, life: &NodeLife, reaches: u32) -> Result<(), CatalogError> {
        let renew = "INSERT INTO nodes (name, epoch, renewed_at, reaches) VALUES (:node, :epoch, now_ms(), :reaches) \
            ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, renewed_at = excluded.renewed_at, \
            reaches = excluded.reaches WHERE nodes.epoch <= excluded.epoch";
        let renew = held(renew, life).bind("reaches", reaches).one_row("later life").urgent();
        self.commit(Transaction::new().then(renew)).await?;
        Ok(())
    }

    async fn leave_node(&self, life: &NodeLife) -> Result<(), CatalogError> {
        let leave = "DELETE FROM nodes WHERE name = :node AND epoch = :epoch";
        self.commit(Transaction::new().then(held(leave, life))).await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, CatalogError> {
        let query =
            "SELECT name, epoch, now_ms() - renewed_at AS age, reaches FROM nodes WHERE name > '' ORDER BY name";
        let row = |row: &Row| {
            let age = Duration::from_millis(u64::try_from(row.integer("age")?).unwrap_or(0));
            Ok(NodeRow { life: life_of(row, "name")?, age, reaches: row.number("reaches")? })
        };
        self.rows(Statement::new(query).urgent()).await?.iter().map(row).collect()
    }

    async fn take_lease(
        &self,
        key: &str,
        asker: &NodeLife,
        lapse: Option<Duration>,
    ) -> Result<LeaseAnswer, CatalogError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(own) = self.lease(key).await?.filter(|lease| lease.holder == *asker) {
                return Ok(LeaseAnswer::Given(own));
            }
            let taken = match self.commit(take(key, asker, lapse)).await {
                Ok(_) => true,
                Err(CommitError::Unmet(_)) => false,
                Err(error) => return Err(error.into()),
            };
            match (taken, self.lease(key).await?) {
                // Given just now, or to another asker of this node meanwhile.
                (_, Some(lease)) if lease.holder == *asker => return Ok(LeaseAnswer::Given(lease)),
                (false, Some(lease)) => return Ok(LeaseAnswer::Held(lease.holder)),
                // It was given back, or went on, between the two.
                _ => {}
            }
        }
        Err(CatalogError::Unavailable(format!("the lease of {key} changes hands all the time")))
    }

    async fn lease(&self, key: &str) -> Result<Option<Lease>, CatalogError> {
        let query = "SELECT node, epoch, generation FROM leases WHERE lease_key = :key";
        let row = self.row(Statement::new(query).bind("key", key)).await?;
        row.map_or(Ok(None), |row| lease_of(key, &row))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), CatalogError> {
        let release = "UPDATE leases SET node = :nobody \
            WHERE lease_key = :key AND node = :node AND epoch = :epoch AND generation = :generation";
        self.commit(Transaction::new().then(named(release, lease).bind("nobody", NOBODY))).await?;
        Ok(())
    }

    async fn drop_lease(&self, lease: &Lease) -> Result<(), CatalogError> {
        let drop = "DELETE FROM leases \
            WHERE lease_key = :key AND node = :node AND epoch = :epoch AND generation = :generation";
        self.commit(Transaction::new().then(named(drop, lease))).await?;
        Ok(())
    }
}
