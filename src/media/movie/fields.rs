//! Fallible reads of big-endian fields and of the boxes inside a box.
use bytes::Bytes;

use super::MovieError;

/// A four-character code.
pub(crate) type FourCc = [u8; 4];

/// Most boxes looked at inside one container box: real files have tens.
const CHILDREN_MAX: usize = 4096;

/// Reads fields of a body in order; `None` where the body ends.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn code(&mut self) -> Option<FourCc> {
        self.array()
    }

    pub(crate) fn skip(&mut self, bytes: usize) -> Option<()> {
        let (_, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(())
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// The boxes inside a container box, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Children(Vec<(FourCc, Bytes)>);

impl Children {
    /// Splits a container's body. A zero size ends the list (QuickTime pads with zeros); fewer than 8 bytes are padding.
    pub(crate) fn split(body: &Bytes) -> Result<Self, MovieError> {
        let mut rest = body.clone();
        let mut children = Vec::new();
        while let Some((kind, header, size)) = child_header(&rest) {
            if size == 0 {
                break;
            }
            if size < header || size > rest.len() as u64 {
                return Err(MovieError::damaged(format!("box {} does not fit its parent", display(kind))));
            }
            if children.len() == CHILDREN_MAX {
                return Err(MovieError::damaged("too many boxes in one box"));
            }
            let mut child = rest.split_to(usize::try_from(size).unwrap_or(usize::MAX).min(rest.len()));
            children.push((kind, child.split_off(header as usize)));
        }
        Ok(Self(children))
    }

    /// The first box of this kind.
    pub(crate) fn first(&self, kind: &FourCc) -> Option<&Bytes> {
        self.0.iter().find(|(found, _)| found == kind).map(|(_, body)| body)
    }

    /// The first box of this kind, or damage that names it.
    pub(crate) fn required(&self, kind: &FourCc) -> Result<&Bytes, MovieError> {
        self.first(kind).ok_or_else(|| MovieError::damaged(format!("box {} is missing", display(*kind))))
    }

    /// The boxes inside the first box of this kind, or damage that names it.
    pub(crate) fn within(&self, kind: &FourCc) -> Result<Self, MovieError> {
        Self::split(self.required(kind)?)
    }

    pub(crate) fn all<'a>(&'a self, kind: &'a FourCc) -> impl Iterator<Item = &'a Bytes> {
        self.0.iter().filter(move |(found, _)| found == kind).map(|(_, body)| body)
    }
}

pub(super) fn child_header(bytes: &[u8]) -> Option<(FourCc, u64, u64)> {
    let mut fields = Fields::new(bytes);
    let size = fields.u32()?;
    let kind = fields.code()?;
    if size == 1 { Some((kind, 16, fields.u64()?)) } else { Some((kind, 8, u64::from(size))) }
}

/// A code as text, for messages.
pub(crate) fn display(kind: FourCc) -> String {
    kind.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect()
}
