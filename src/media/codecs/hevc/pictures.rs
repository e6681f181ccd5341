//! A track of HEVC pictures as a publisher sends it: where decoding can start, and which pictures cannot be decoded.
use bytes::Bytes;

use super::{HevcConfig, PictureKind};

/// Why a picture is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It cannot be read.
    Damaged,
    /// It needs pictures from before the start.
    Undecodable,
}

/// A track of pictures.
#[derive(Debug)]
pub struct HevcPictures {
    config: HevcConfig,
    /// Whether what precedes the last random access picture is missing.
    begins: Option<PictureKind>,
}

impl HevcPictures {
    /// A track with this configuration, whose first picture is still to come.
    pub fn new(config: HevcConfig) -> Self {
        Self { config, begins: None }
    }

    /// Its configuration.
    pub fn config(&self) -> &HevcConfig {
        &self.config
    }

    /// Takes a length-prefixed picture: whether decoding can start with it, its payload without parameter sets, and whether the
    /// configuration is another one from here on.
    pub fn take(&mut self, data: Bytes) -> Result<(bool, Bytes, bool), Left> {
        let kind = self.config.picture_kind(&data).ok_or(Left::Damaged)?;
        let keyframe = matches!(kind, PictureKind::Idr | PictureKind::OpenStart);
        // Pictures that are skipped follow their random access picture, and need what is not there only behind the first one.
        match kind {
            PictureKind::Skippable if self.begins != Some(PictureKind::Idr) => return Err(Left::Undecodable),
            PictureKind::OpenStart if self.begins.is_none() => self.begins = Some(PictureKind::OpenStart),
            PictureKind::Idr | PictureKind::OpenStart => self.begins = Some(PictureKind::Idr),
            PictureKind::Skippable | PictureKind::Other => {}
        }
        let (payload, found) = self.config.without_sets(data);
        let is_new = found.is_some();
        if let Some(found) = found {
            self.config = found;
        }
        Ok((keyframe, payload, is_new))
    }
}
