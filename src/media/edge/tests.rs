use futures::stream::TryStreamExt;
use tempfile::TempDir;

use super::*;
use crate::media::testing::blobs_in;
use crate::storage::edge_cache::DiskCache;

/// What a shield gives: its pieces, and whether it breaks off behind them.
struct Given(Vec<&'static str>, bool);

#[async_trait]
impl Shield for Given {
    async fn fetch(&self, _: &RangeKey) -> Option<BoxStream<'static, Result<Bytes, BlobError>>> {
        let pieces = self.0.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let broken = self.1.then_some(Err(BlobError::Full));
        Some(stream::iter(pieces.chain(broken).collect::<Vec<_>>()).boxed())
    }
}

/// A store with a blob of ten bytes, an edge before it, and what that keeps.
async fn edge(shield: Option<Given>) -> (TempDir, Arc<dyn BlobStore>, EdgeBlobs, Arc<DiskCache>) {
    let dir = tempfile::tempdir().unwrap();
    let store = blobs_in(dir.path());
    store.put(&key(), Bytes::from_static(b"0123456789")).await.unwrap();
    let kept =
        Arc::new(DiskCache::open(&dir.path().join("edge"), 1 << 20, std::time::Duration::from_secs(60)).unwrap());
    let edge = EdgeBlobs::new(store.clone(), Some(kept.clone()));
    if let Some(shield) = shield {
        edge.connect(Arc::new(shield));
    }
    (dir, store, edge, kept)
}

fn key() -> BlobKey {
    BlobKey::new("vod-abr/vid_1/blob")
}

#[tokio::test]
async fn what_was_read_once_is_kept() {
    let (_dir, store, edge, _) = edge(None).await;
    assert_eq!(edge.read(&key(), 2..5).await.unwrap(), "234");
    assert_eq!(edge.read_all(&key()).await.unwrap(), "0123456789");
    let kept = |range| RangeKey { key: key(), range };
    // What is kept is kept behind the backs of those who wait.
    while !(edge.is_near(&kept(Some(2..5))) && edge.is_near(&kept(None))) {
        tokio::task::yield_now().await;
    }
    store.delete(&key()).await.unwrap();
    assert_eq!(edge.read(&key(), 2..5).await.unwrap(), "234");
    assert_eq!(edge.stream(&key(), 2..5).try_collect::<Vec<_>>().await.unwrap().concat(), b"234");
    assert_eq!(edge.read(&key(), 2..6).await, Err(BlobError::NotFound(key())));
    edge.forget("vid_1").await;
    assert_eq!(edge.read_all(&key()).await, Err(BlobError::NotFound(key())));
}

#[tokio::test]
async fn a_shield_gives_what_it_can_and_the_store_the_rest() {
    for (given, broken) in [(vec!["01", "234"], false), (vec!["01"], true), (vec![], true), (vec!["01", "234"], true)] {
        let (_dir, store, edge, _) = edge(Some(Given(given.clone(), broken))).await;
        if !broken {
            store.delete(&key()).await.unwrap();
        }
        assert_eq!(edge.read(&key(), 0..5).await.unwrap(), "01234", "{given:?}");
    }
    let (_dir, store, edge, _) = edge(Some(Given(vec!["0123"], true))).await;
    assert_eq!(edge.read_all(&key()).await.unwrap(), "0123456789");
    store.delete(&key()).await.unwrap();
    assert_eq!(
        edge.for_peer(RangeKey { key: key(), range: Some(1..2) }).try_collect::<Vec<_>>().await,
        Err(BlobError::NotFound(key())),
        "a shield asks no shield"
    );
}
