//! Bytes on their way to the peer: small ones gathered, large ones shared.
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Below this, copying is cheaper than one more piece in a vectored write.
const COPY_BYTES_MAX: usize = 1024;

/// A queue of bytes. It is a [`Buf`]: write it with `write_buf` and friends, vectored where the socket can.
/// Whoever fills it bounds it.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Output {
    /// Copies bytes to the end.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Appends bytes without copying them, unless they are few.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_BYTES_MAX {
            return self.put(&bytes);
        }
        self.seal();
        self.bytes += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Number of bytes waiting.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Drops all of it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail[..], |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let all = self.pieces.iter().map(|piece| &piece[..]).chain(std::iter::once(&self.tail[..]));
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(all.filter(|piece| !piece.is_empty())) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, count: usize) {
        let mut left = count.min(self.bytes);
        self.bytes -= left;
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else {
                self.tail.advance(left.min(self.tail.len()));
                return;
            };
            let step = left.min(front.len());
            front.advance(step);
            left -= step;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_whatever_is_shared_and_however_it_is_taken() {
        let mut output = Output::default();
        let large = Bytes::from(vec![7; COPY_BYTES_MAX + 1]);
        let mut expected = vec![1, 2];
        output.put(&[1, 2]);
        output.push(large.clone());
        output.push(large.clone());
        output.push(Bytes::from_static(&[3]));
        for _ in 0..2 {
            expected.extend_from_slice(&large);
        }
        expected.push(3);
        assert_eq!(output.len(), expected.len());
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(output.chunks_vectored(&mut slices), 4);
        assert_eq!(slices[1].as_ptr(), large.as_ptr(), "large payloads are not copied");
        let mut taken = Vec::new();
        while output.has_remaining() {
            let step = output.chunk().len().min(3);
            taken.extend_from_slice(&output.chunk()[..step]);
            output.advance(step);
        }
        assert_eq!(taken, expected);
    }
}
