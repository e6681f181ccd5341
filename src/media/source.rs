//! The original of a video as one seekable stream, whatever number of files it lies in, and wherever they are.
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use self::remote::RemoteFile;
use super::work::SourceFile;

mod remote;

/// Reads an ordered list of files as one stream of exactly the declared length. Files are opened when first
/// needed, one at a time; a missing file is `NotFound`, a shorter one `UnexpectedEof`, both naming the file.
#[derive(Debug)]
pub struct ExtentReader {
    extents: Vec<SourceFile>,
    bytes: u64,
    position: u64,
    open: Option<OpenExtent>,
}

#[derive(Debug)]
struct OpenExtent {
    index: usize,
    file: Opened,
    file_position: u64,
}

#[derive(Debug)]
enum Opened {
    Local(File),
    Remote(RemoteFile),
}

impl Opened {
    fn open(file: &SourceFile) -> io::Result<Self> {
        Ok(match &file.key {
            None => Self::Local(File::open(&file.path)?),
            Some(key) => Self::Remote(RemoteFile::open(&file.path, key.clone(), file.first + file.bytes)?),
        })
    }

    fn seek_to(&mut self, position: u64) -> io::Result<()> {
        match self {
            Self::Local(file) => file.seek(SeekFrom::Start(position)).map(drop),
            Self::Remote(file) => {
                file.seek_to(position);
                Ok(())
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Remote(file) => file.read(buffer),
        }
    }
}

/// What a file is called in what is said of it.
fn name_of(file: &SourceFile) -> String {
    file.key.as_ref().map_or_else(|| file.path.display().to_string(), ToString::to_string)
}

impl ExtentReader {
    /// A reader at the start. Opens nothing yet.
    pub fn new(extents: Vec<SourceFile>) -> Self {
        let bytes = extents.iter().fold(0u64, |sum, extent| sum.saturating_add(extent.bytes));
        Self { extents, bytes, position: 0, open: None }
    }

    /// Length of the whole in bytes.
    pub fn length_bytes(&self) -> u64 {
        self.bytes
    }

    /// Index of the extent that holds the current position, and the position inside it.
    fn locate(&self) -> Option<(usize, u64)> {
        let mut start = 0u64;
        for (index, extent) in self.extents.iter().enumerate() {
            let inside = self.position - start;
            if inside < extent.bytes {
                return Some((index, inside));
            }
            start += extent.bytes;
        }
        None
    }

    fn open_at(&mut self, index: usize, inside: u64) -> io::Result<&mut OpenExtent> {
        let extent = self.extents.get(index).ok_or_else(|| io::Error::other("no such extent"))?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", name_of(extent)));
        if self.open.as_ref().is_none_or(|open| open.index != index) {
            self.open = Some(OpenExtent { index, file: Opened::open(extent).map_err(named)?, file_position: 0 });
        }
        let inside = inside.saturating_add(extent.first);
        let open = self.open.as_mut().ok_or_else(|| io::Error::other("no open extent"))?;
        if open.file_position != inside {
            open.file.seek_to(inside).map_err(named)?;
            open.file_position = inside;
        }
        Ok(open)
    }
}

impl Read for ExtentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((index, inside)) = self.locate() else { return Ok(0) };
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = self.extents.get(index).map_or(0, |extent| extent.bytes - inside);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let open = self.open_at(index, inside)?;
        let read = open.file.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        open.file_position += read as u64;
        if read == 0 {
            let name = self.extents.get(index).map(name_of).unwrap_or_default();
            let message = format!("{name}: ends {left} bytes before its declared length");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for ExtentReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the start"))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(parts: &[&[u8]]) -> (tempfile::TempDir, Vec<SourceFile>) {
        let dir = tempfile::tempdir().unwrap();
        let write = |(index, part): (usize, &&[u8])| {
            let path = dir.path().join(index.to_string());
            std::fs::write(&path, part).unwrap();
            SourceFile::local(path, 0, part.len() as u64)
        };
        let list = parts.iter().enumerate().map(write).collect();
        (dir, list)
    }

    #[test]
    fn several_files_read_as_one() {
        let (_dir, list) = extents(&[b"abc", b"", b"defg", b"h"]);
        let mut reader = ExtentReader::new(list);
        assert_eq!(reader.length_bytes(), 8);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "abcdefgh");
        for (at, expected) in [(2, "cd"), (6, "gh"), (0, "ab"), (3, "de")] {
            reader.seek(SeekFrom::Start(at)).unwrap();
            let mut two = [0u8; 2];
            reader.read_exact(&mut two).unwrap();
            assert_eq!(two, expected.as_bytes());
        }
        assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 7);
        assert!(reader.seek(SeekFrom::Current(-8)).is_err());
        assert_eq!(reader.seek(SeekFrom::Start(99)).unwrap(), 99);
        assert_eq!(reader.read(&mut [0u8; 4]).unwrap(), 0);
    }

    #[test]
    fn never_reads_past_the_declared_length() {
        let (_dir, mut list) = extents(&[b"abcdef", b"gh"]);
        (list[0].first, list[0].bytes) = (1, 3);
        let mut all = String::new();
        ExtentReader::new(list).read_to_string(&mut all).unwrap();
        assert_eq!(all, "bcdgh");
    }

    #[test]
    fn a_short_or_missing_file_is_named() {
        let (dir, mut list) = extents(&[b"abc"]);
        list[0].bytes = 5;
        let error = ExtentReader::new(list.clone()).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("ends 2 bytes before"), "{error}");
        list[0].path = dir.path().join("gone");
        let error = ExtentReader::new(list).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("gone"), "{error}");
    }
}
