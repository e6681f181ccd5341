//! Loops over the samples of pictures. The crates that do them are generic, so they are compiled where they are used: here,
//! with optimisation also in debug builds.
#![warn(missing_docs, unreachable_pub, clippy::mod_module_files)]

pub mod av1;
pub mod scale;

/// One plane of a picture: `height` lines of `width` samples, each line `stride` bytes after the one before.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// All of its lines.
    pub samples: &'a [u8],
    /// Bytes from line to line.
    pub stride: u32,
    /// Samples of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
}

/// A plane to be painted.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// All of its lines.
    pub samples: &'a mut [u8],
    /// Bytes from line to line.
    pub stride: u32,
    /// Samples of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
}
