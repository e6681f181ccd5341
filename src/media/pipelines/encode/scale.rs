//! Pictures in the sizes of all rungs, as a cascade: each is scaled from the smallest one that is at least half as large
//! again, so that little is read, and nothing is blurred twice by almost the same size.
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use playhouse_kernels::PlaneMut;
use playhouse_kernels::scale::Resizer;

use super::picture::{Picture, PicturePool, plane, rung_info};
use crate::domain::video::Failure;
use crate::media::pipelines::internal;

/// Scales pictures to several sizes.
pub(super) struct Scaler {
    pools: Vec<PicturePool>,
    resizer: Resizer,
}

impl Scaler {
    /// For these sizes, largest first; all even.
    pub(super) fn new(sizes: &[(u32, u32)]) -> Result<Self, Failure> {
        let pools = sizes.iter().map(|size| PicturePool::new(rung_info(*size)?)).collect::<Result<_, _>>()?;
        Ok(Self { pools, resizer: Resizer::new().map_err(internal)? })
    }

    /// The picture in all sizes, in their order; as it is where it has that size already.
    pub(super) fn scale(&mut self, picture: &Picture) -> Result<Vec<Picture>, Failure> {
        let mut made: Vec<Picture> = Vec::with_capacity(self.pools.len());
        for pool in &self.pools {
            let from = best_source(picture, &made, pool.size());
            let scaled = if from.size() == pool.size() {
                from.clone()
            } else {
                pool.paint(|to| resize(&mut self.resizer, from, to))?
            };
            made.push(scaled);
        }
        Ok(made)
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
    resizer: &mut Resizer,
    from: &Picture,
    to: &mut gst_video::VideoFrame<gst_video::video_frame::Writable>,
) -> Result<(), Failure> {
    let from = from.frame()?;
    for number in 0..3 {
        let (width, height) = (to.info().comp_width(number), to.info().comp_height(number));
        let stride = to.plane_stride().get(usize::from(number)).and_then(|stride| u32::try_from(*stride).ok());
        let samples = to.plane_data_mut(number.into()).map_err(internal)?;
        let target = PlaneMut { samples, stride: stride.unwrap_or(0), width, height };
        resizer.resize(plane(&from, number)?, target).map_err(internal)?;
    }
    Ok(())
}
