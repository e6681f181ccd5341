//! Single pictures, treated like those that rungs are made from.
use std::sync::Arc;

use gstreamer as gst;
use gstreamer_video as gst_video;

use super::decoding::Decoding;
use super::picture::{Picture, Studio};
use super::scale::Scaler;
use crate::domain::ladder::{PictureTreatment, Reading};
use crate::domain::video::Failure;
use crate::media::pipelines::internal;
use crate::media::pipelines::worker::Reporter;
use crate::media::source::ExtentReader;

/// A treated picture: 8 bits, 4:2:0, BT.709.
pub(in crate::media::pipelines) struct Still {
    picture: Picture,
    /// Size in square pixels.
    shown: (u32, u32),
}

impl Still {
    /// Treats a decoded picture.
    pub(in crate::media::pipelines) fn new(
        sample: &gst::Sample,
        treatment: &PictureTreatment,
    ) -> Result<Self, Failure> {
        let picture = Studio::new(treatment).take(sample)?;
        let info = sample.caps().and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
        let (width, height) = picture.size();
        let shape = info.map_or((1, 1), |info| (info.par().numer(), info.par().denom()));
        let shape = (u64::try_from(shape.0).unwrap_or(1).max(1), u64::try_from(shape.1).unwrap_or(1).max(1));
        let wide = u64::from(width) * shape.0 / shape.1;
        Ok(Self { picture, shown: (u32::try_from(wide.max(1)).unwrap_or(width), height) })
    }

    /// Width and height of it in a frame of at most this size, not larger than it is; both even.
    pub(in crate::media::pipelines) fn fit(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let (shown_width, shown_height) = (u64::from(self.shown.0), u64::from(self.shown.1));
        let (width, height) = (u64::from(width).min(shown_width), u64::from(height).min(shown_height));
        let is_wide = shown_width * height >= shown_height * width;
        let (width, height) = if is_wide {
            (width, (shown_height * width + shown_width / 2) / shown_width)
        } else {
            ((shown_width * height + shown_height / 2) / shown_height, height)
        };
        let even = |side: u64| u32::try_from(side / 2 * 2).unwrap_or(2).max(2);
        (even(width), even(height))
    }

    /// It in this size.
    pub(in crate::media::pipelines) fn scaled(&self, size: (u32, u32)) -> Result<gst::Sample, Failure> {
        let scaled = Scaler::new(&[size])?.scale(&self.picture)?;
        let picture = scaled.first().ok_or_else(|| internal("no picture was scaled"))?;
        let caps = picture.info.to_caps().map_err(internal)?;
        Ok(gst::Sample::builder().buffer(&picture.buffer).caps(&caps).build())
    }
}

/// A video from which single pictures are taken, one after the other as it shows them.
pub(in crate::media::pipelines) struct Film<'a> {
    make_reader: &'a dyn Fn() -> ExtentReader,
    treatment: &'a PictureTreatment,
    reporter: &'a Arc<Reporter>,
    decoding: Option<Decoding>,
}

impl<'a> Film<'a> {
    pub(in crate::media::pipelines) fn new(
        make_reader: &'a dyn Fn() -> ExtentReader,
        treatment: &'a PictureTreatment,
        reporter: &'a Arc<Reporter>,
    ) -> Self {
        Self { make_reader, treatment, reporter, decoding: None }
    }

    /// The picture that it shows at `at_ns`, which is not before the last one asked for; `None` when none can be decoded.
    pub(in crate::media::pipelines) fn still_at(&mut self, at_ns: i64) -> Result<Option<Still>, Failure> {
        let going_on = self.decoding.take().filter(|_| self.treatment.reading != Reading::Sought);
        let decoding = match going_on {
            Some(decoding) => decoding,
            None => Decoding::start((self.make_reader)(), self.treatment, self.reporter)?,
        };
        let shown = self.decoding.insert(decoding).shown_at(at_ns);
        shown.map(|shown| Still::new(&shown.sample, self.treatment)).transpose()
    }
}
