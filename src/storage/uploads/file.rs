//! One upload's file and its marker. Everything here blocks.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::files::{create_dir_durable, remove_file, sync_dir};

/// Written bytes are handed to the disk in windows of this size while the next ones arrive, so that the last fdatasync
/// of a large append has at most two windows to wait for.
const WRITEBACK_WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// Where an upload's bytes and marker lie.
pub(super) struct Paths {
    dir: PathBuf,
    data: PathBuf,
    /// While it exists, the bytes after the offset in it do not count.
    marker: PathBuf,
}

impl Paths {
    pub(super) fn new(dir: PathBuf) -> Self {
        let (data, marker) = (dir.join("0"), dir.join("checked"));
        Self { dir, data, marker }
    }

    /// Makes the empty file, durably; one that exists is left as it is.
    pub(super) fn create(&self) -> io::Result<()> {
        create_dir_durable(&self.dir)?;
        OpenOptions::new().write(true).create(true).truncate(false).open(&self.data)?.sync_all()?;
        sync_dir(&self.dir)
    }

    /// Opens the file with all its bytes durable and counted: falls back to the marker's offset where there is one.
    pub(super) fn recover(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(&self.data)?;
        if let Some(offset) = read_marker(&self.marker)?
            && offset < file.metadata()?.len()
        {
            file.set_len(offset)?;
        }
        file.sync_data()?;
        self.clear_marker()?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Makes the marker durable, before the first byte after `offset` is written.
    pub(super) fn set_marker(&self, offset: u64) -> io::Result<()> {
        let mut marker = File::create(&self.marker)?;
        marker.write_all(&[offset.to_le_bytes(), (!offset).to_le_bytes()].concat())?;
        marker.sync_all()?;
        sync_dir(&self.dir)
    }

    /// Removes the marker durably: the bytes count from now on.
    pub(super) fn clear_marker(&self) -> io::Result<()> {
        if remove_file(&self.marker)? { sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_file(&self.data)?;
        remove_file(&self.marker)?;
        match std::fs::remove_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The offset in a marker. One that is not whole was cut off before any byte it would guard was written.
fn read_marker(path: &Path) -> io::Result<Option<u64>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((offset, check)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let offset = u64::from_le_bytes(*offset);
    Ok((check == (!offset).to_le_bytes()).then_some(offset))
}

/// A file open for appending.
pub(super) struct Appending {
    file: File,
    /// Offset before this append.
    pub(super) base: u64,
    /// Offset of the next byte.
    pub(super) written: u64,
    /// Everything before it is durable.
    pub(super) synced: u64,
    writeback_from: u64,
    /// Whether nothing counts before the end.
    pub(super) checked: bool,
}

impl Appending {
    pub(super) fn new(file: File, base: u64, checked: bool) -> Self {
        Self { file, base, written: base, synced: base, writeback_from: base, checked }
    }

    /// Writes all of `bytes` or nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.written) {
            self.fall_back(self.written);
            return Err(error);
        }
        self.written += bytes.len() as u64;
        if self.written - self.writeback_from >= WRITEBACK_WINDOW_BYTES {
            let window = self.writeback_from..self.written;
            let before = self.synced..self.writeback_from;
            writeback::advance(&self.file, before, window);
            self.writeback_from = self.written;
        }
        Ok(())
    }

    /// Makes everything written durable. When that fails, only what was durable before is kept: the kernel may have
    /// dropped the rest.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync_data() {
            self.fall_back(self.synced);
            return Err(error);
        }
        self.synced = self.written;
        Ok(())
    }

    /// Takes back all bytes of this append.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.file.set_len(self.base)?;
        self.written = self.base;
        self.synced = self.base;
        self.file.sync_data()
    }

    fn fall_back(&mut self, offset: u64) {
        self.written = offset;
        // When even that fails the bytes after the offset are whole pieces of the upload, in order: harmless.
        if let Err(error) = self.file.set_len(offset) {
            tracing::warn!(%error, offset, "upload not truncated after a failed write");
        }
    }
}

#[cfg(target_os = "linux")]
mod writeback {
    use std::fs::File;
    use std::ops::Range;
    use std::os::fd::AsRawFd;

    use nix::libc;

    fn sync_file_range(file: &File, range: &Range<u64>, flags: libc::c_uint) {
        let (Ok(offset), Ok(length)) = (i64::try_from(range.start), i64::try_from(range.end - range.start)) else {
            return;
        };
        // SAFETY: takes a descriptor that is open for the whole call and three numbers; touches no memory of ours.
        // The result is advice only: durability comes from the fdatasync at the end, which reports errors.
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, flags) };
    }

    /// Starts writing `window` to the disk and waits for `before`, so that the backlog stays bounded.
    pub(super) fn advance(file: &File, before: Range<u64>, window: Range<u64>) {
        sync_file_range(file, &window, libc::SYNC_FILE_RANGE_WRITE);
        let wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        if !before.is_empty() {
            sync_file_range(file, &before, wait);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod writeback {
    use std::fs::File;
    use std::ops::Range;

    /// No such call elsewhere: the last fdatasync does all the work.
    pub(super) fn advance(_file: &File, _before: Range<u64>, _window: Range<u64>) {}
}
