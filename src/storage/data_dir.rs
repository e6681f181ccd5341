//! The data directory: its layout, and the lock that keeps a second process out.
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::create_dir_durable;

/// How often a taken lock is asked for again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It or something in it cannot be made or opened.
    #[error("cannot use {path}: {source}", path = path.display())]
    Io {
        /// What cannot be used.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process works on it.
    #[error("{path} is in use by process {holder}: stop it first (kill {holder}), or choose another --data directory", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, as it wrote itself down.
        holder: String,
    },
}

/// A locked data directory. The lock is let go when the last clone is dropped, or by the kernel when the process dies.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
    _lock: Arc<File>,
}

impl DataDir {
    /// Makes the directories that are missing and takes the lock, waiting `lock_wait` for a dying process to let it go.
    /// Blocks.
    pub fn open(root: &Path, lock_wait: Duration) -> Result<Self, DataDirError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        let root = std::path::absolute(root).map_err(failed(root))?;
        create_dir_durable(&root).map_err(failed(&root))?;
        let root = root.canonicalize().map_err(failed(&root))?;
        let lock_path = root.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        take_lock(&mut lock, &root, lock_wait)?;
        write_holder(&mut lock).map_err(failed(&lock_path))?;
        let dir = Self { root, _lock: Arc::new(lock) };
        for path in [dir.blobs(), dir.work(), dir.recordings()] {
            create_dir_durable(&path).map_err(failed(&path))?;
        }
        Ok(dir)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The embedded catalog's file.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.sqlite")
    }

    /// Where blobs and uploads lie.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The journal's directory.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Files in the making, on the same file system as the blobs. What is left there at start may be deleted.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Certificates of this server's own and their keys. Made when there is one to keep.
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// What is kept near of blobs that are elsewhere; may be deleted while nobody works here. Made when it is used.
    pub fn edge(&self) -> PathBuf {
        self.root.join("edge")
    }

    /// Recordings of live streams, as far as they are not blobs yet: outlives the process.
    pub fn recordings(&self) -> PathBuf {
        self.root.join("recordings")
    }
}

fn take_lock(lock: &mut File, root: &Path, wait: Duration) -> Result<(), DataDirError> {
    let until = Instant::now() + wait;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is only for the message.
                let _ = lock.read_to_string(&mut holder);
                return Err(DataDirError::InUse { path: root.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(DataDirError::Io { path: root.join("lock"), source }),
        }
    }
}

fn write_holder(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_whom_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), Duration::ZERO).unwrap();
        let refused = DataDir::open(dir.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(first.blobs().is_dir() && first.work().is_dir());
        drop(first);
        DataDir::open(dir.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn missing_parents_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b/data");
        assert!(DataDir::open(&root, Duration::ZERO).unwrap().blobs().starts_with(root.canonicalize().unwrap()));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = DataDir::open(&file.path().join("data"), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains(&*file.path().to_string_lossy()), "{refused}");
    }
}
