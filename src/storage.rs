//! Where everything is kept: the catalog, blobs, uploads under way, asset indexes and the node's journal. Implements the
//! ports of [`crate::domain::ports`]; [`Embedded::open`] puts all of it below one data directory.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::assets::Assets;
use self::blobs::Blobs;
use self::blobs::buckets::{BucketOptions, InvalidBucket};
use self::catalog::CatalogStore;
use self::catalog::executor::Executor;
use self::catalog::postgres::{PostgresExecutor, PostgresOpenError, PostgresOptions};
use self::catalog::sqlite::{SqliteExecutor, SqliteOpenError};
use self::data_dir::{DataDir, DataDirError};
use self::journal::{JournalOptions, SledJournal};
use self::uploads::{BucketParts, BucketUploads, LocalUploads};
use crate::domain::ports::{
    Archive, AssetStore, BlobError, BlobStore, Catalog, Journal, JournalError, PartStore, UploadStore,
};

pub mod assets;
pub mod blobs;
pub mod catalog;
pub mod codec;
pub mod data_dir;
pub mod edge_cache;
mod files;
pub mod journal;
pub mod uploads;

/// Everything a node keeps, behind its ports.
#[derive(Clone)]
pub struct Storage {
    /// Accounts, uploads, videos, watching, events.
    pub catalog: Arc<dyn Catalog>,
    /// Immutable bytes.
    pub blobs: Arc<dyn BlobStore>,
    /// Where originals are moved to, if anywhere.
    pub archive: Option<Arc<dyn Archive>>,
    /// Bytes of uploads under way.
    pub uploads: Arc<dyn UploadStore>,
    /// Parts of uploads that clients store by themselves, where they may.
    pub parts: Option<Arc<dyn PartStore>>,
    /// Asset indexes.
    pub assets: Arc<dyn AssetStore>,
    /// The node's journal.
    pub journal: Arc<dyn Journal>,
    /// Keeps the data directory locked: hold it for as long as any of the others is used.
    pub data_dir: DataDir,
}

/// How the embedded storage is kept; each is a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Connections that read the catalog.
    pub catalog_readers: usize,
    /// The catalog in PostgreSQL; otherwise it is a file.
    pub postgres: Option<PostgresOptions>,
    /// Where blobs are, unless below the data directory.
    pub buckets: Option<BucketOptions>,
    /// The directory that originals are moved to, when they are below the data directory; made when it is missing.
    pub archive_dir: Option<PathBuf>,
    /// Where clients store parts of uploads by themselves, if they may: a bucket of S3, as `s3://bucket/prefix`.
    pub direct_uploads: Option<String>,
    /// Memory for decoded asset indexes, bytes.
    pub asset_cache_bytes: u64,
    /// The journal's.
    pub journal: JournalOptions,
    /// How long to wait for a dying process to let go of the data directory.
    pub lock_wait: Duration,
}

impl Default for EmbeddedOptions {
    /// Four readers, 64 MiB of asset indexes, and 2 s for another process to die.
    fn default() -> Self {
        Self {
            catalog_readers: 4,
            postgres: None,
            buckets: None,
            archive_dir: None,
            direct_uploads: None,
            asset_cache_bytes: 64 * 1024 * 1024,
            journal: JournalOptions::default(),
            lock_wait: Duration::from_secs(2),
        }
    }
}

/// The storage cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The catalog.
    #[error("cannot open the catalog: {0}")]
    Catalog(#[from] SqliteOpenError),
    /// The catalog in PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] PostgresOpenError),
    /// The blob store.
    #[error("cannot open the blob store: {0}")]
    Blobs(#[from] BlobError),
    /// A bucket.
    #[error("cannot keep blobs in {0}")]
    Bucket(#[from] InvalidBucket),
    /// The journal.
    #[error("cannot open the journal: {0}")]
    Journal(#[from] JournalError),
    /// The thread that was opening it ended.
    #[error("opening the storage was interrupted: {0}")]
    Interrupted(String),
}

/// Storage with nothing to install: SQLite, local disk and sled below one directory; the catalog may be in PostgreSQL instead, and
/// blobs and uploads in buckets.
pub struct Embedded;

impl Embedded {
    /// Opens or creates everything below `root`, and locks it against other processes.
    pub async fn open(root: &Path, options: EmbeddedOptions) -> Result<Storage, OpenError> {
        let root = root.to_owned();
        let executor: Option<Arc<dyn Executor>> = match &options.postgres {
            Some(options) => Some(Arc::new(PostgresExecutor::open(options).await?)),
            None => None,
        };
        let opened = tokio::task::spawn_blocking(move || open_embedded(&root, &options, executor)).await;
        opened.unwrap_or_else(|error| Err(OpenError::Interrupted(error.to_string())))
    }
}

fn open_embedded(
    root: &Path,
    options: &EmbeddedOptions,
    executor: Option<Arc<dyn Executor>>,
) -> Result<Storage, OpenError> {
    let data_dir = DataDir::open(root, options.lock_wait)?;
    let executor = match executor {
        Some(executor) => executor,
        None => Arc::new(SqliteExecutor::open(&data_dir.catalog(), options.catalog_readers)?),
    };
    let catalog = Arc::new(CatalogStore::new(executor));
    let stored = Arc::new(open_blobs(&data_dir, options)?);
    let archive = stored.has_archive().then(|| Arc::clone(&stored) as Arc<dyn Archive>);
    let blobs: Arc<dyn BlobStore> = stored;
    let uploads: Arc<dyn UploadStore> = match options.buckets {
        Some(_) => Arc::new(BucketUploads::new(Arc::clone(&blobs), catalog.clone())),
        None => Arc::new(LocalUploads::new(&data_dir.blobs())),
    };
    let parts: Option<Arc<dyn PartStore>> = match options.buckets.as_ref().zip(options.direct_uploads.as_ref()) {
        Some((buckets, place)) => Some(Arc::new(BucketParts::new(buckets.upload_bucket(place)?, catalog.clone()))),
        None => None,
    };
    Ok(Storage {
        archive,
        parts,
        catalog,
        uploads,
        assets: Arc::new(Assets::new(blobs.clone(), options.asset_cache_bytes)),
        journal: Arc::new(SledJournal::open(&data_dir.journal(), &options.journal)?),
        blobs,
        data_dir,
    })
}

fn open_blobs(data_dir: &DataDir, options: &EmbeddedOptions) -> Result<Blobs, OpenError> {
    if let Some(buckets) = &options.buckets {
        return Ok(buckets.open()?);
    }
    let Some(archive) = &options.archive_dir else { return Ok(Blobs::local(&data_dir.blobs())?) };
    let failed = |error: std::io::Error| BlobError::Unavailable(format!("{}: {error}", archive.display()));
    std::fs::create_dir_all(archive).map_err(failed)?;
    Ok(Blobs::local_with_archive(&data_dir.blobs(), archive)?)
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
