//! What is kept near of blobs in buckets.
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::actors::dispatcher::Listener;
use crate::actors::edges::Shields;
use crate::actors::nodes::NodesHandle;
use crate::domain::events::Event;
use crate::domain::ports::RangeCache;
use crate::media::edge::EdgeBlobs;
use crate::settings::Settings;
use crate::storage::Storage;
use crate::storage::edge_cache::DiskCache;

/// `None` when blobs are on this machine.
pub(super) async fn open_edge(
    settings: &Settings,
    storage: &Storage,
    nodes: &NodesHandle,
) -> Result<Option<EdgeBlobs>> {
    if !settings.blobs.is_remote() {
        return Ok(None);
    }
    let edge = &settings.edge;
    let mut kept: Option<Arc<dyn RangeCache>> = None;
    if edge.disk.as_u64() > 0 {
        let (dir, bytes_max, age_max) = (storage.data_dir.edge(), edge.disk.as_u64(), edge.ttl.0);
        let opened = tokio::task::spawn_blocking(move || DiskCache::open(&dir, bytes_max, age_max)).await?;
        kept = Some(Arc::new(opened.context("the edge's cache cannot be opened")?));
    }
    let blobs = EdgeBlobs::new(Arc::clone(&storage.blobs), kept);
    if edge.shield {
        let shields = Shields { nodes: nodes.clone(), zone: edge.shield_zone.clone(), timeout: edge.shield_timeout.0 };
        blobs.connect(Arc::new(shields));
    }
    Ok(Some(blobs))
}

/// Drops what is kept of videos that are deleted.
pub(super) fn deleted(edge: EdgeBlobs) -> Listener {
    Arc::new(move |event: Event| {
        let edge = edge.clone();
        Box::pin(async move {
            if event.kind == "video.deleted" {
                edge.forget(&event.key).await;
            }
        })
    })
}
