//! Pictures on their way to the encoders: 8 bits, 4:2:0, BT.709 of limited range, planes in GStreamer buffers, so that an
//! encoder takes a decoder's memory as it is where nothing has to be done.
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use playhouse_kernels::Plane;

use super::tone_map::{Deep, HdrTransfer, Shallow, ToneMap};
use crate::domain::ladder::PictureTreatment;
use crate::domain::video::Failure;
use crate::media::pipelines::internal;

/// One picture.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) buffer: gst::Buffer,
    pub(super) info: gst_video::VideoInfo,
}

impl Picture {
    pub(super) fn size(&self) -> (u32, u32) {
        (self.info.width(), self.info.height())
    }

    pub(super) fn frame(&self) -> Result<gst_video::VideoFrameRef<&gst::BufferRef>, Failure> {
        gst_video::VideoFrameRef::from_buffer_ref_readable(&self.buffer, &self.info).map_err(internal)
    }
}

/// A plane of a picture.
pub(super) fn plane<'a>(
    frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>,
    number: u8,
) -> Result<Plane<'a>, Failure> {
    let stride = frame.plane_stride().get(usize::from(number)).and_then(|stride| u32::try_from(*stride).ok());
    let stride = stride.filter(|stride| *stride > 0).ok_or_else(|| internal("a picture without lines"))?;
    let samples = frame.plane_data(number.into()).map_err(internal)?;
    Ok(Plane { samples, stride, width: frame.info().comp_width(number), height: frame.info().comp_height(number) })
}

/// How all pictures of rungs are: this size, square pixels, progressive.
pub(super) fn rung_info((width, height): (u32, u32)) -> Result<gst_video::VideoInfo, Failure> {
    video_info(gst_video::VideoFormat::I420, (width, height), "bt709")
}

fn video_info(
    format: gst_video::VideoFormat,
    (width, height): (u32, u32),
    colorimetry: &str,
) -> Result<gst_video::VideoInfo, Failure> {
    let colorimetry = colorimetry.parse::<gst_video::VideoColorimetry>().map_err(internal)?;
    gst_video::VideoInfo::builder(format, width, height)
        .colorimetry(&colorimetry)
        .chroma_site(gst_video::VideoChromaSite::MPEG2)
        .par(gst::Fraction::new(1, 1))
        .fps(gst::Fraction::new(0, 1))
        .build()
        .map_err(internal)
}

/// Memory for pictures of one size, used again.
pub(super) struct PicturePool {
    pool: gst_video::VideoBufferPool,
    info: gst_video::VideoInfo,
}

impl Drop for PicturePool {
    fn drop(&mut self) {
        let _ = self.pool.set_active(false);
    }
}

impl PicturePool {
    pub(super) fn new(info: gst_video::VideoInfo) -> Result<Self, Failure> {
        let pool = gst_video::VideoBufferPool::new();
        let caps = info.to_caps().map_err(internal)?;
        let mut config = pool.config();
        config.set_params(Some(&caps), u32::try_from(info.size()).unwrap_or(u32::MAX), 0, 0);
        pool.set_config(config).map_err(internal)?;
        pool.set_active(true).map_err(internal)?;
        Ok(Self { pool, info })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.info.width(), self.info.height())
    }

    /// A picture painted by `paint`.
    pub(super) fn paint(
        &self,
        paint: impl FnOnce(&mut gst_video::VideoFrame<gst_video::video_frame::Writable>) -> Result<(), Failure>,
    ) -> Result<Picture, Failure> {
        let buffer = self.pool.acquire_buffer(None).map_err(internal)?;
        let mut frame = gst_video::VideoFrame::from_buffer_writable(buffer, &self.info).map_err(|_| unmapped())?;
        paint(&mut frame)?;
        Ok(Picture { buffer: frame.into_buffer(), info: self.info.clone() })
    }
}

/// Makes what decoders give into pictures that rungs are made from. Follows changes of size and format.
pub(super) struct Studio {
    transfer: Option<HdrTransfer>,
    tone_map: Option<ToneMap>,
    /// What the last picture was, and what is done to such.
    set: Option<(gst::Caps, Set)>,
}

/// What is done to pictures of one format.
struct Set {
    info: gst_video::VideoInfo,
    /// To what encoders take; or to what the tone map takes.
    convert: Option<(gst_video::VideoConverter, PicturePool)>,
    tone_mapped: Option<PicturePool>,
}

impl Studio {
    pub(super) fn new(treatment: &PictureTreatment) -> Self {
        let transfer = match treatment.dynamic_range.as_str() {
            "pq" => Some(HdrTransfer::Pq),
            "hlg" => Some(HdrTransfer::Hlg),
            _ => None,
        };
        Self { transfer, tone_map: transfer.map(ToneMap::new), set: None }
    }

    /// Makes a picture of a decoded one, of the same size.
    pub(super) fn take(&mut self, sample: &gst::Sample) -> Result<Picture, Failure> {
        let caps = sample.caps_owned().ok_or_else(|| internal("a picture without a format"))?;
        let buffer = sample.buffer_owned().ok_or_else(|| internal("a picture without content"))?;
        if self.set.as_ref().is_none_or(|(known, _)| *known != caps) {
            let set = Set::new(&caps, self.transfer)?;
            self.set = Some((caps, set));
        }
        let Some((_, set)) = &self.set else { return Err(internal("a picture of no format")) };
        let mut picture = Picture { buffer, info: set.info.clone() };
        if let Some((converter, pool)) = &set.convert {
            picture = convert(converter, pool, picture)?;
        }
        match (&set.tone_mapped, &self.tone_map) {
            (Some(pool), Some(map)) => pool.paint(|frame| tone_mapped(map, &picture, frame)),
            _ => Ok(picture),
        }
    }
}

impl Set {
    fn new(caps: &gst::Caps, transfer: Option<HdrTransfer>) -> Result<Self, Failure> {
        let info = gst_video::VideoInfo::from_caps(caps).map_err(internal)?;
        let size = (info.width(), info.height());
        let made = rung_info(size)?;
        let wanted = match transfer {
            Some(_) => video_info(gst_video::VideoFormat::I42010le, size, "bt2020-10")?,
            None => made.clone(),
        };
        let convert = if is_like(&info, &wanted, transfer) { None } else { Some(converter(&info, &wanted, transfer)?) };
        let tone_mapped = transfer.map(|_| PicturePool::new(made)).transpose()?;
        Ok(Self { info, convert, tone_mapped })
    }
}

/// Whether pictures can be taken as they are. Colour that a decoder does not know is what most is: BT.709.
fn is_like(info: &gst_video::VideoInfo, wanted: &gst_video::VideoInfo, transfer: Option<HdrTransfer>) -> bool {
    let (given, asked) = (info.colorimetry(), wanted.colorimetry());
    let same_matrix = given.matrix() == asked.matrix() || given.matrix() == gst_video::VideoColorMatrix::Unknown;
    let limited = given.range() != gst_video::VideoColorRange::Range0_255;
    info.format() == wanted.format() && limited && (same_matrix || transfer.is_some())
}

fn converter(
    info: &gst_video::VideoInfo,
    wanted: &gst_video::VideoInfo,
    transfer: Option<HdrTransfer>,
) -> Result<(gst_video::VideoConverter, PicturePool), Failure> {
    // Fields and the shape of pixels are dealt with elsewhere: to the converter they are all alike.
    let mut given = gst_video::VideoInfo::builder(info.format(), info.width(), info.height())
        .chroma_site(info.chroma_site())
        .colorimetry(&info.colorimetry())
        .build()
        .map_err(internal)?;
    if transfer.is_some() {
        given = gst_video::VideoInfo::builder(info.format(), info.width(), info.height())
            .chroma_site(info.chroma_site())
            .colorimetry(&wanted.colorimetry())
            .build()
            .map_err(internal)?;
    }
    let mut config = gst_video::VideoConverterConfig::new();
    config.set_threads(1);
    let converter = gst_video::VideoConverter::new(&given, wanted, Some(config)).map_err(internal)?;
    Ok((converter, PicturePool::new(wanted.clone())?))
}

fn convert(converter: &gst_video::VideoConverter, pool: &PicturePool, picture: Picture) -> Result<Picture, Failure> {
    let Picture { buffer, info } = picture;
    let from = gst_video::VideoFrame::from_buffer_readable(buffer, &info).map_err(|_| unmapped())?;
    pool.paint(|to| {
        converter.frame(&from, to);
        Ok(())
    })
}

fn tone_mapped(
    map: &ToneMap,
    from: &Picture,
    to: &mut gst_video::VideoFrame<gst_video::video_frame::Writable>,
) -> Result<(), Failure> {
    let (width, height) = from.size();
    let frame = from.frame()?;
    let stride = |strides: &[i32], plane: usize| strides.get(plane).and_then(|s| usize::try_from(*s).ok()).unwrap_or(0);
    let plane = |number: u32| frame.plane_data(number).map_err(internal);
    let strides = frame.plane_stride();
    let deep = Deep {
        planes: [plane(0)?, plane(1)?, plane(2)?],
        strides: [stride(strides, 0), stride(strides, 1), stride(strides, 2)],
    };
    let strides = [0, 1, 2].map(|number| stride(to.plane_stride(), number));
    let planes = to.planes_data_mut();
    let mut planes = planes.into_iter();
    let (Some(luma), Some(cb), Some(cr)) = (planes.next(), planes.next(), planes.next()) else {
        return Err(internal("a picture without planes"));
    };
    map.map_picture((width as usize, height as usize), &deep, &mut Shallow { planes: [luma, cb, cr], strides });
    Ok(())
}

/// The failure of a picture whose memory cannot be reached.
pub(super) fn unmapped() -> Failure {
    internal("a picture's memory cannot be reached")
}
