//! The boxes at the top of a file: where the index is, and whether the file is whole.
use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;

use super::fields::{Fields, FourCc};
use super::{MovieError, MovieLimits};

/// Most top-level boxes looked at; a fragmented file has two per fragment, and we stop at its first.
const TOP_LEVEL_MAX: usize = 10_000;
/// What a movie file may start with: anything else is not a movie.
const FIRST_BOXES: [&FourCc; 11] =
    [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp", b"sidx", b"junk"];

/// What the top level of a file holds.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Major brand `qt  ` or no brand at all.
    pub(crate) quicktime: bool,
    /// Body of the `moov` box.
    pub(crate) moov: Bytes,
    /// Length of the file.
    pub(crate) file_bytes: u64,
}

struct Header {
    kind: FourCc,
    start: u64,
    header: u64,
    /// Whole size; `None` when it extends to the end of the file.
    size: Option<u64>,
}

/// Finds and reads the index, wherever it lies. Reads nothing else but box headers.
pub(crate) fn read_layout<R: Read + Seek>(reader: &mut R, limits: &MovieLimits) -> Result<Layout, MovieError> {
    let file_bytes = reader.seek(SeekFrom::End(0))?;
    if file_bytes == 0 {
        return Err(MovieError::Empty);
    }
    let mut quicktime = true;
    let mut position = 0;
    for number in 0..TOP_LEVEL_MAX {
        let Some(header) = read_header(reader, position, file_bytes)? else { break };
        if number == 0 && !FIRST_BOXES.contains(&&header.kind) {
            return Err(MovieError::NotAMovie);
        }
        let end = header.size.map_or(file_bytes, |size| position.saturating_add(size));
        match &header.kind {
            b"ftyp" => quicktime = read_brand(reader, &header)? == *b"qt  ",
            b"moov" if end > file_bytes => return Err(MovieError::truncated("inside its index")),
            b"moov" => {
                let moov = read_moov(reader, &header, end, limits)?;
                return Ok(Layout { quicktime, moov, file_bytes });
            }
            _ => {}
        }
        if end >= file_bytes {
            break;
        }
        position = end;
    }
    Err(MovieError::truncated("before its index"))
}

fn read_header<R: Read + Seek>(reader: &mut R, start: u64, end: u64) -> Result<Option<Header>, MovieError> {
    if end - start < 8 {
        return if start == 0 { Err(MovieError::NotAMovie) } else { Ok(None) };
    }
    reader.seek(SeekFrom::Start(start))?;
    let mut bytes = [0u8; 16];
    let at_hand = if end - start < 16 { 8 } else { 16 };
    reader.read_exact(bytes.get_mut(..at_hand).unwrap_or_default())?;
    let mut fields = Fields::new(&bytes);
    let (short, kind, long) = (fields.u32().unwrap_or(0), fields.code().unwrap_or_default(), fields.u64().unwrap_or(0));
    let (header, size) = match short {
        0 => (8, None),
        1 => (16, Some(long)),
        size => (8, Some(u64::from(size))),
    };
    if size.is_some_and(|size| size < header) {
        return Err(if start == 0 {
            MovieError::NotAMovie
        } else {
            MovieError::damaged("a box is shorter than its header")
        });
    }
    Ok(Some(Header { kind, start, header, size }))
}

fn read_brand<R: Read + Seek>(reader: &mut R, header: &Header) -> Result<FourCc, MovieError> {
    let mut brand = [0u8; 4];
    reader.seek(SeekFrom::Start(header.start + header.header))?;
    match reader.read_exact(&mut brand) {
        Ok(()) => Ok(brand),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(MovieError::truncated("inside its first box"))
        }
        Err(error) => Err(error.into()),
    }
}

fn read_moov<R: Read + Seek>(
    reader: &mut R,
    header: &Header,
    end: u64,
    limits: &MovieLimits,
) -> Result<Bytes, MovieError> {
    let start = header.start + header.header;
    let bytes = end.saturating_sub(start);
    if bytes > limits.moov_bytes_max {
        return Err(MovieError::TooLarge { what: "index", found: bytes, limit: limits.moov_bytes_max });
    }
    reader.seek(SeekFrom::Start(start))?;
    let mut moov = Vec::new();
    let read = reader.take(bytes).read_to_end(&mut moov)?;
    if read as u64 != bytes {
        return Err(MovieError::truncated("inside its index"));
    }
    Ok(moov.into())
}
