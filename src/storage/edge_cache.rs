//! What an edge keeps on its disk of what it has read: files below one directory, bounded in bytes and age. Which of them stay when
//! there is no more room is decided by how often they are asked for (W-TinyLFU). The index is in memory and made again at start.
//!
//! A file is its digest and the bytes. One that a power cut has left damaged is no worse than one that is not there.
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::domain::ports::{RangeCache, RangeKey};

/// What begins so is in the making.
const DRAFT: &str = ".draft-";

/// The cache. Clones share it.
#[derive(Clone)]
pub struct DiskCache {
    root: PathBuf,
    /// Sizes of files, by owner and name.
    index: Cache<(String, String), u32>,
}

impl DiskCache {
    /// In a directory that is made when it is missing; what is there is taken up. Blocks.
    pub fn open(root: &Path, bytes_max: u64, age_max: Duration) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let dir = root.to_owned();
        let remove = move |key: std::sync::Arc<(String, String)>, _, cause: RemovalCause| {
            if cause != RemovalCause::Replaced {
                // Whatever stays is found at the next start.
                let _ = std::fs::remove_file(dir.join(&key.0).join(&key.1));
            }
        };
        let index = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &(String, String), bytes: &u32| *bytes)
            .time_to_live(age_max)
            .eviction_listener(remove)
            .build();
        let cache = Self { root: root.to_owned(), index };
        cache.take_up(age_max)?;
        Ok(cache)
    }

    /// Notes the files that are there, the newest last.
    fn take_up(&self, age_max: Duration) -> io::Result<()> {
        let mut found = Vec::new();
        for owner in std::fs::read_dir(&self.root)? {
            let owner = owner?;
            // What else lies there is not ours.
            let Ok(files) = std::fs::read_dir(owner.path()) else { continue };
            for file in files {
                let file = file?;
                let (owner, name) = (owner.file_name(), file.file_name());
                let (Some(owner), Some(name)) = (owner.to_str(), name.to_str()) else { continue };
                let about = file.metadata()?;
                let written = about.modified()?;
                let is_old = SystemTime::now().duration_since(written).is_ok_and(|age| age > age_max);
                match u32::try_from(about.len()) {
                    Ok(bytes) if !is_old && !name.starts_with(DRAFT) => {
                        found.push((written, (owner.to_owned(), name.to_owned()), bytes));
                    }
                    _ => std::fs::remove_file(file.path())?,
                }
            }
            // One that is empty by now goes; others stay.
            let _ = std::fs::remove_dir(owner.path());
        }
        found.sort();
        for (_, key, bytes) in found {
            self.index.insert(key, bytes);
        }
        self.index.run_pending_tasks();
        Ok(())
    }

    fn path(&self, (owner, name): &(String, String)) -> PathBuf {
        self.root.join(owner).join(name)
    }

    fn write(&self, key: &(String, String), bytes: &[u8]) -> io::Result<u32> {
        let (path, (owner, name)) = (self.path(key), key);
        let draft = self.root.join(owner).join(format!("{DRAFT}{name}"));
        std::fs::create_dir_all(self.root.join(owner))?;
        let mut file = digest(&SHA256, bytes).as_ref().to_vec();
        file.extend_from_slice(bytes);
        let written = std::fs::write(&draft, &file).and_then(|()| std::fs::rename(&draft, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&draft);
            return Err(error);
        }
        u32::try_from(file.len()).map_err(io::Error::other)
    }

    /// `None` for a file that is not whole.
    fn read(&self, key: &(String, String)) -> io::Result<Option<Bytes>> {
        let mut file = Bytes::from(std::fs::read(self.path(key))?);
        if file.len() < SHA256_OUTPUT_LEN {
            return Ok(None);
        }
        let bytes = file.split_off(SHA256_OUTPUT_LEN);
        Ok((digest(&SHA256, &bytes).as_ref() == &*file).then_some(bytes))
    }
}

/// Owner and name of the file of this range.
fn key_of(wanted: &RangeKey) -> (String, String) {
    let range = wanted.range.as_ref().map_or_else(String::new, |range| format!("{}-{}", range.start, range.end));
    let digest = digest(&SHA256, format!("{}\n{range}", wanted.key).as_bytes());
    (wanted.owner().to_owned(), bs58::encode(digest.as_ref()).into_string())
}

#[async_trait]
impl RangeCache for DiskCache {
    fn holds(&self, wanted: &RangeKey) -> bool {
        self.index.contains_key(&key_of(wanted))
    }

    async fn get(&self, wanted: &RangeKey) -> Option<Bytes> {
        let key = key_of(wanted);
        self.index.get(&key)?;
        let (cache, at) = (self.clone(), key.clone());
        match tokio::task::spawn_blocking(move || cache.read(&at)).await {
            Ok(Ok(Some(bytes))) => Some(bytes),
            outcome => {
                tracing::warn!(key = %wanted.key, ?outcome, "a file of the edge's cache cannot be used");
                self.index.invalidate(&key);
                None
            }
        }
    }

    async fn put(&self, wanted: &RangeKey, bytes: Bytes) {
        let key = key_of(wanted);
        let (cache, at) = (self.clone(), key.clone());
        match tokio::task::spawn_blocking(move || cache.write(&at, &bytes)).await {
            Ok(Ok(bytes)) => self.index.insert(key, bytes),
            outcome => {
                metrics::counter!("playhouse_edge_errors_total", "from" => "disk").increment(1);
                tracing::warn!(key = %wanted.key, ?outcome, "the edge's cache cannot keep a file");
            }
        }
    }

    async fn forget(&self, owner: &str) {
        let (cache, owner) = (self.clone(), owner.to_owned());
        let forgotten = tokio::task::spawn_blocking(move || {
            let of_owner: Vec<_> = cache.index.iter().filter(|(key, _)| key.0 == owner).collect();
            of_owner.iter().for_each(|(key, _)| cache.index.invalidate(&**key));
            match std::fs::remove_dir_all(cache.root.join(&owner)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(owner, %error, "what the edge's cache keeps cannot be removed");
                }
                _ => {}
            }
        });
        let _ = forgotten.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::BlobKey;

    fn of(key: &str, range: Option<std::ops::Range<u64>>) -> RangeKey {
        RangeKey { key: BlobKey::new(key), range }
    }

    fn open(dir: &Path, bytes_max: u64) -> DiskCache {
        DiskCache::open(dir, bytes_max, Duration::from_secs(60)).unwrap()
    }

    #[tokio::test]
    async fn what_is_kept_survives_the_process_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (of("vod-abr/vid_1/1/span", Some(3..9)), of("vod-abr/vid_2/1/asset", None));
        let cache = open(dir.path(), 1 << 20);
        assert_eq!((cache.holds(&one), cache.get(&one).await), (false, None));
        cache.put(&one, Bytes::from_static(b"abcdef")).await;
        cache.put(&other, Bytes::from_static(b"index")).await;
        assert_eq!(cache.get(&of("vod-abr/vid_1/1/span", Some(3..8))).await, None);
        drop(cache);
        let cache = open(dir.path(), 1 << 20);
        assert_eq!((cache.holds(&one), cache.get(&one).await.unwrap()), (true, Bytes::from_static(b"abcdef")));
        cache.forget("vid_1").await;
        assert_eq!((cache.holds(&one), cache.get(&one).await), (false, None));
        assert_eq!(cache.get(&other).await.unwrap(), "index");
        assert!(!dir.path().join("vid_1").exists() && dir.path().join("vid_2").exists());
    }

    #[tokio::test]
    async fn it_is_never_larger_than_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), 10_000);
        for number in 0..100 {
            cache.put(&of("vod-abr/vid_1/1/span", Some(number..number + 1)), vec![7; 1000].into()).await;
        }
        cache.index.run_pending_tasks();
        let files = || std::fs::read_dir(dir.path().join("vid_1")).unwrap().count();
        assert!((1..10).contains(&files()), "{}", files());
        assert_eq!(open(dir.path(), 10_000).index.entry_count(), files() as u64);
    }

    #[tokio::test]
    async fn damaged_files_are_not_served() {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), 1 << 20);
        let wanted = of("vod-abr/vid_1/1/span", None);
        for damage in [&b""[..], b"short", &[0; 100]] {
            cache.put(&wanted, Bytes::from_static(b"whole")).await;
            std::fs::write(cache.path(&key_of(&wanted)), damage).unwrap();
            assert_eq!(cache.get(&wanted).await, None);
            assert!(!cache.holds(&wanted));
        }
        cache.put(&wanted, Bytes::from_static(b"whole")).await;
        assert_eq!(cache.get(&wanted).await.unwrap(), "whole");
    }
}
