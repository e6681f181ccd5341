//! Where everything is kept, as settings say.
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::actors::janitor::OriginalsPolicy;
use crate::actors::uploads::direct::DirectUploads;
use crate::domain::ports::Clock;
use crate::domain::video::OriginalState;
use crate::settings::{BlobSettings, HumanDuration, OriginalsThen, Settings};
use crate::storage::blobs::buckets::BucketOptions;
use crate::storage::catalog::postgres::{PostgresOptions, ReplicaOptions};
use crate::storage::{Embedded, EmbeddedOptions, Storage};
use crate::system::SystemClock;

pub(super) async fn open_storage(settings: &Settings) -> Result<Storage> {
    let catalog = &settings.catalog;
    let options = EmbeddedOptions {
        asset_cache_bytes: settings.media.asset_cache.as_u64(),
        postgres: (!catalog.postgres.is_empty()).then(|| PostgresOptions {
            address: catalog.postgres.clone(),
            connections: catalog.postgres_connections,
            is_shared: settings.cluster.name().is_some(),
            replicas: ReplicaOptions {
                addresses: catalog.postgres_replicas.clone(),
                lag_max: catalog.replica_lag_max.0,
            },
        }),
        direct_uploads: settings.blobs.presigned_uploads.then(|| settings.blobs.raw_uploads.clone()),
        archive_dir: settings.blobs.archive_dir(),
        buckets: settings.blobs.is_remote().then(|| bucket_options(&settings.blobs)),
        ..EmbeddedOptions::default()
    };
    let data_dir = &settings.server.data_dir;
    let opened = Embedded::open(data_dir, options).await;
    let storage = opened.with_context(|| format!("cannot open the data in {}", data_dir.display()))?;
    if storage.archive.is_none() && has_archived(&storage).await? {
        tracing::error!("originals are in an archive and cannot be read: blobs.archive does not say where it is");
    }
    Ok(storage)
}

async fn has_archived(storage: &Storage) -> Result<bool> {
    let archived = storage.catalog.aged_originals(OriginalState::Archived, SystemClock.now(), 1).await;
    Ok(!archived.context("cannot look for archived originals")?.is_empty())
}

/// What becomes of originals.
pub(super) fn originals_policy(blobs: &BlobSettings, storage: &Storage) -> OriginalsPolicy {
    let kept = |time: HumanDuration| Some(time.0).filter(|time| !time.is_zero());
    OriginalsPolicy {
        archive: storage.archive.clone(),
        assets: Arc::clone(&storage.assets),
        retention: kept(blobs.originals_retention),
        deletes: blobs.originals_then == OriginalsThen::Delete,
        archive_retention: kept(blobs.archive_retention),
    }
}

/// How clients store parts of uploads by themselves, where they may.
pub(super) fn direct_uploads(blobs: &BlobSettings, storage: &Storage) -> Option<DirectUploads> {
    let store = Arc::clone(storage.parts.as_ref()?);
    Some(DirectUploads {
        store,
        part_bytes: blobs.presigned_part_size.as_u64(),
        url_ttl: blobs.presigned_ttl.0,
        answer_within: blobs.presigned_answer_within.0,
    })
}

fn bucket_options(blobs: &BlobSettings) -> BucketOptions {
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let areas = [
        ("raw-uploads", blobs.raw_uploads.clone()),
        ("vod-abr", blobs.vod_abr.clone()),
        ("archive", blobs.archive.clone()),
    ];
    BucketOptions {
        areas: areas.into_iter().filter(|(_, place)| !place.is_empty()).collect(),
        s3_endpoint: given(&blobs.s3_endpoint),
        s3_public_endpoint: given(&blobs.s3_public_endpoint),
        s3_region: blobs.s3_region.clone(),
        s3_credentials: given(&blobs.s3_access_key_id).zip(given(&blobs.s3_secret_access_key)),
        s3_path_style: blobs.s3_path_style,
        gcs_service_account: Some(blobs.gcs_service_account.clone()).filter(|path| !path.as_os_str().is_empty()),
        stall_timeout: blobs.stall_timeout.0,
        retry_timeout: blobs.retry_timeout.0,
    }
}
