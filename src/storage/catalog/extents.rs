//! Bytes of uploads under way in an object store: a numbered list of extents, added to by one writer at a time.
use async_trait::async_trait;

use super::executor::CommitError;
use super::statement::{Statement, Transaction};
use super::{CatalogStore, EDIT_ATTEMPTS_MAX, contended};
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::ids::UploadId;
use crate::domain::ports::{CatalogError, ExtentCatalog, StoredExtents};

/// What forgets an upload's extents.
pub(super) fn forget(id: &UploadId) -> Statement {
    Statement::new("DELETE FROM upload_bytes WHERE upload_id = :upload").bind("upload", id)
}

fn replace(id: &UploadId, writer: u64, from: usize, extents: &[Extent]) -> Transaction {
    let hold = "UPDATE upload_bytes SET writer = writer WHERE upload_id = :upload AND writer = :writer";
    let hold = Statement::new(hold).bind("upload", id).bind("writer", writer).one_row("writer");
    let drop = "DELETE FROM upload_extents WHERE upload_id = :upload AND position >= :first";
    let drop = Statement::new(drop).bind("upload", id).bind("first", from);
    let insert = "INSERT INTO upload_extents (upload_id, position, blob_key, bytes) \
        VALUES (:upload, :position, :key, :bytes)";
    let added = extents.iter().enumerate().map(|(index, extent)| {
        let place = Statement::new(insert).bind("upload", id).bind("position", from + index);
        place.bind("key", &extent.key).bind("bytes", extent.bytes)
    });
    Transaction::new().then(hold).then(drop).then_all(added)
}

#[async_trait]
impl ExtentCatalog for CatalogStore {
    async fn open_extents(&self, id: &UploadId) -> Result<(), CatalogError> {
        let insert =
            "INSERT INTO upload_bytes (upload_id, writer) VALUES (:upload, 0) ON CONFLICT (upload_id) DO NOTHING";
        self.commit(Transaction::new().then(Statement::new(insert).bind("upload", id))).await?;
        Ok(())
    }

    async fn extents(&self, id: &UploadId) -> Result<StoredExtents, CatalogError> {
        let writer = Statement::new("SELECT writer FROM upload_bytes WHERE upload_id = :upload").bind("upload", id);
        let list = "SELECT blob_key, bytes FROM upload_extents WHERE upload_id = :upload ORDER BY position";
        let mut answers = self.executor.read(vec![writer, Statement::new(list).bind("upload", id)]).await?.into_iter();
        let writer = answers.next().unwrap_or_default();
        let writer = writer.first().ok_or(CatalogError::NotFound)?.number("writer")?;
        let extents = answers.next().unwrap_or_default();
        let extents =
            extents.iter().map(|row| Ok(Extent { key: BlobKey(row.string("blob_key")?), bytes: row.number("bytes")? }));
        Ok(StoredExtents { writer, extents: extents.collect::<Result<_, CatalogError>>()? })
    }

    async fn begin_extents(&self, id: &UploadId) -> Result<StoredExtents, CatalogError> {
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let stored = self.extents(id).await?;
            let next = "UPDATE upload_bytes SET writer = :next WHERE upload_id = :upload AND writer = :writer";
            let next = Statement::new(next).bind("next", stored.writer + 1).bind("upload", id);
            let next = next.bind("writer", stored.writer).one_row("writer");
            // Extents are added by the writer that was read alone: with it they are still the same.
            match self.commit(Transaction::new().then(next)).await {
                Ok(_) => {
                    let now = self.extents(id).await?;
                    return Ok(StoredExtents { writer: stored.writer + 1, ..now });
                }
                Err(CommitError::Unmet(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    async fn replace_extents(
        &self,
        id: &UploadId,
        writer: u64,
        from: usize,
        extents: &[Extent],
    ) -> Result<(), CatalogError> {
        self.commit(replace(id, writer, from, extents)).await?;
        Ok(())
    }

    async fn drop_extents(&self, id: &UploadId) -> Result<(), CatalogError> {
        self.commit(Transaction::new().then(forget(id))).await?;
        Ok(())
    }
}
