//! Planes in other sizes.
use fast_image_resize as fir;
use fir::images::{TypedCroppedImage, TypedCroppedImageMut, TypedImage, TypedImageRef};
use fir::pixels::U8;

use crate::{Plane, PlaneMut};

/// Why a plane is not scaled.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// There are fewer samples than lines and stride say.
    #[error("a plane has too few samples: {0}")]
    TooShort(#[from] fir::ImageBufferError),
    /// Lines are wider than their stride.
    #[error("a plane is wider than its lines: {0}")]
    TooWide(#[from] fir::CropBoxError),
    /// The filter cannot be made.
    #[error("no filter: {0}")]
    Filter(#[from] fir::CreateFilterError),
    /// It cannot be scaled.
    #[error("cannot be scaled: {0}")]
    Resize(#[from] fir::ResizeError),
}

/// Scales planes; keeps what it computed for a size.
#[derive(Debug)]
pub struct Resizer {
    resizer: fir::Resizer,
    options: fir::ResizeOptions,
}

impl Resizer {
    /// With the bicubic filter.
    pub fn new() -> Result<Self, ScaleError> {
        let filter = fir::Filter::new("bicubic", bicubic, 2.0)?;
        let algorithm = fir::ResizeAlg::Convolution(fir::FilterType::Custom(filter));
        Ok(Self { resizer: fir::Resizer::new(), options: fir::ResizeOptions::new().resize_alg(algorithm) })
    }

    /// Paints one plane with another.
    pub fn resize(&mut self, from: Plane<'_>, to: PlaneMut<'_>) -> Result<(), ScaleError> {
        let source = TypedImageRef::<U8>::from_buffer(from.stride, from.height, from.samples)?;
        let source = TypedCroppedImage::new(source, 0, 0, from.width, from.height)?;
        let target = TypedImage::<U8>::from_buffer(to.stride, to.height, to.samples)?;
        let mut target = TypedCroppedImageMut::new(target, 0, 0, to.width, to.height)?;
        Ok(self.resizer.resize_typed(&source, &mut target, &self.options)?)
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
