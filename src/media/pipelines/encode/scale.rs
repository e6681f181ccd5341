//! Pictures in the sizes of all rungs, as a cascade: each is scaled from the smallest one that is at least half as large
//! again, so that little is read, and nothing is blurred twice by almost the same size.
use fast_image_resize as fir;
use fir::images::{TypedCroppedImage, TypedCroppedImageMut, TypedImage, TypedImageRef};
use fir::pixels::U8;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::picture::{Picture, PicturePool, rung_info};
use crate::domain::video::Failure;
use crate::media::pipelines::internal;

/// Scales pictures to several sizes.
pub(super) struct Scaler {
    pools: Vec<PicturePool>,
    resizer: fir::Resizer,
    options: fir::ResizeOptions,
}

impl Scaler {
    /// For these sizes, largest first; all even.
    pub(super) fn new(sizes: &[(u32, u32)]) -> Result<Self, Failure> {
        let pools = sizes.iter().map(|size| PicturePool::new(rung_info(*size)?)).collect::<Result<_, _>>()?;
        let filter = fir::Filter::new("bicubic", bicubic, 2.0).map_err(internal)?;
        let algorithm = fir::ResizeAlg::Convolution(fir::FilterType::Custom(filter));
        let options = fir::ResizeOptions::new().resize_alg(algorithm);
        Ok(Self { pools, resizer: fir::Resizer::new(), options })
    }

    /// The picture in all sizes, in their order; as it is where it has that size already.
    pub(super) fn scale(&mut self, picture: &Picture) -> Result<Vec<Picture>, Failure> {
        let mut made: Vec<Picture> = Vec::with_capacity(self.pools.len());
        for pool in &self.pools {
            let from = best_source(picture, &made, pool.size());
            let scaled = if from.size() == pool.size() {
                from.clone()
            } else {
                pool.paint(|to| resize(&mut self.resizer, &self.options, from, to))?
            };
            made.push(scaled);
        }
        Ok(made)
    }
}

/// Bicubic as ffmpeg scales by default: a little sharper than Catmull-Rom, without much ringing.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.6;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn best_source<'a>(picture: &'a Picture, made: &'a [Picture], (width, height): (u32, u32)) -> &'a Picture {
    let large_enough = |from: &&Picture| {
        let (from_width, from_height) = from.size();
        (from_width, from_height) == (width, height)
            || u64::from(from_width) * 2 >= u64::from(width) * 3 && u64::from(from_height) * 2 >= u64::from(height) * 3
    };
    made.iter().rev().find(large_enough).unwrap_or(picture)
}

fn resize(
    resizer: &mut fir::Resizer,
    options: &fir::ResizeOptions,
    from: &Picture,
    to: &mut gst_video::VideoFrame<gst_video::video_frame::Writable>,
) -> Result<(), Failure> {
    let from_frame = from.frame()?;
    for plane in 0..3 {
        let size = |info: &gst_video::VideoInfo| {
            (info.comp_width(plane as u8), info.comp_height(plane as u8), info.comp_stride(plane as u8))
        };
        let (width, height, _) = size(from_frame.info());
        let stride = from_frame.plane_stride().get(plane).copied().unwrap_or(0);
        let (to_width, to_height, _) = size(to.info());
        let to_stride = to.plane_stride().get(plane).copied().unwrap_or(0);
        let source = from_frame.plane_data(plane as u32).map_err(internal)?;
        let target = to.plane_data_mut(plane as u32).map_err(internal)?;
        let source = Lines { stride, width, height }.of(source)?;
        let mut target = Lines { stride: to_stride, width: to_width, height: to_height }.of_mut(target)?;
        resizer.resize_typed(&source, &mut target, options).map_err(internal)?;
    }
    Ok(())
}

/// How a plane lies in memory.
struct Lines {
    stride: i32,
    width: u32,
    height: u32,
}

impl Lines {
    fn of(self, bytes: &[u8]) -> Result<TypedCroppedImage<'_, TypedImageRef<'_, U8>>, Failure> {
        let stride = u32::try_from(self.stride).map_err(internal)?;
        let image = TypedImageRef::<U8>::from_buffer(stride, self.height, bytes).map_err(internal)?;
        TypedCroppedImage::new(image, 0, 0, self.width, self.height).map_err(internal)
    }

    fn of_mut(self, bytes: &mut [u8]) -> Result<TypedCroppedImageMut<'_, TypedImage<'_, U8>>, Failure> {
        let stride = u32::try_from(self.stride).map_err(internal)?;
        let image = TypedImage::<U8>::from_buffer(stride, self.height, bytes).map_err(internal)?;
        TypedCroppedImageMut::new(image, 0, 0, self.width, self.height).map_err(internal)
    }
}
