//! A blob that is not on this machine, read through the node's door in blocks, the last of which are kept: containers are read in
//! several places at once.
use std::collections::VecDeque;
use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::domain::asset::BlobKey;
use crate::media::door::{DoorClient, RANGE_BYTES_MAX};

/// Bytes of a block.
const BLOCK_BYTES: u64 = 256 * 1024;
/// Blocks kept.
const BLOCKS_MAX: usize = 32;

const _: () = assert!(BLOCK_BYTES <= RANGE_BYTES_MAX as u64);

/// A blob up to where it counts.
#[derive(Debug)]
pub(super) struct RemoteFile {
    door: DoorClient,
    key: BlobKey,
    end: u64,
    position: u64,
    /// Those used last come last.
    blocks: VecDeque<(u64, Bytes)>,
}

impl RemoteFile {
    /// Goes to the door; asks nothing yet.
    pub(super) fn open(door: &Path, key: BlobKey, end: u64) -> io::Result<Self> {
        Ok(Self { door: DoorClient::connect(door)?, key, end, position: 0, blocks: VecDeque::new() })
    }

    pub(super) fn seek_to(&mut self, position: u64) {
        self.position = position;
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.end {
            return Ok(0);
        }
        let (number, inside) = (self.position / BLOCK_BYTES, self.position % BLOCK_BYTES);
        let block = self.block(number)?;
        let there = block.get(usize::try_from(inside).unwrap_or(usize::MAX)..).unwrap_or_default();
        let read = there.len().min(buffer.len());
        buffer.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
        self.position += read as u64;
        Ok(read)
    }

    fn block(&mut self, number: u64) -> io::Result<Bytes> {
        if let Some(known) = self.blocks.iter().position(|(kept, _)| *kept == number)
            && let Some(block) = self.blocks.remove(known)
        {
            self.blocks.push_back(block.clone());
            return Ok(block.1);
        }
        let first = number * BLOCK_BYTES;
        let length = u32::try_from(BLOCK_BYTES.min(self.end - first)).unwrap_or(RANGE_BYTES_MAX);
        let block = self.door.read(&self.key, first, length, self.end)?;
        if self.blocks.len() >= BLOCKS_MAX {
            self.blocks.pop_front();
        }
        self.blocks.push_back((number, block.clone()));
        Ok(block)
    }
}
