//! Which encoders work on this machine: each that is installed really encodes a few pictures, and what comes out is decoded
//! again. What is built in is there.
use std::path::Path;
use std::sync::Arc;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video::prelude::*;

use super::av1;
use super::decoding::Decoding;
use super::picture::{Picture, PicturePool, rung_info};
use super::rung::{RungJob, RungThread, Shot};
use super::settings::{HARDWARE, X264};
use crate::domain::asset::BlobKey;
use crate::domain::ladder::{Encoder, PictureTreatment, Reading, Rung, RungCodec};
use crate::domain::video::Failure;
use crate::media::pipelines::internal;
use crate::media::pipelines::worker::Reporter;
use crate::media::source::ExtentReader;
use crate::media::work::Answer;
use crate::media::work::SourceFile;

/// Size that every encoder takes.
const SIZE: (u32, u32) = (320, 192);
/// Two segments of five pictures, 40 ms each.
const CUTS_MS: [i64; 3] = [1000, 1200, 1400];
const PICTURES: i64 = 10;

/// Tries all encoders, in order of preference. Those that fail are left out; it fails itself only when there is nowhere to
/// write to.
pub(in crate::media::pipelines) fn self_test(reporter: &Arc<Reporter>) -> Result<Answer, Failure> {
    let mut encoders = Vec::new();
    for (encoder, preset) in installed() {
        reporter.progress(encoders.len() as u64, (HARDWARE.len() + 1) as u64);
        let dir = tempfile::tempdir().map_err(internal)?;
        if works(job(&encoder, preset, dir.path()), reporter) {
            encoders.push(encoder);
        }
    }
    encoders.push(Encoder { name: av1::RAV1E.to_owned(), version: playhouse_kernels::av1::version() });
    Ok(Answer::SelfTested { encoders })
}

/// Encoders of H.264 that are installed, each with a preset that it knows.
fn installed() -> impl Iterator<Item = (Encoder, &'static str)> {
    HARDWARE.iter().chain([&X264]).filter_map(|name| {
        let plugin = gst::ElementFactory::find(name)?.plugin()?;
        let encoder = Encoder { name: (*name).to_owned(), version: plugin.version().to_string() };
        Some((encoder, if *name == X264 { "veryfast" } else { "default" }))
    })
}

fn job(encoder: &Encoder, preset: &str, dir: &Path) -> RungJob {
    let (width, height) = SIZE;
    let rung = Rung {
        name: "test".into(),
        codec: RungCodec::H264,
        width,
        height,
        bits_per_sec_max: 1_000_000,
        buffer_ms: 1500,
        quality: 26,
        preset: preset.into(),
        encoder: encoder.clone(),
    };
    RungJob {
        is_live: false,
        rung,
        timescale: 1000,
        cuts: CUTS_MS.to_vec(),
        first_segment: 0,
        dir: dir.to_owned(),
        prefix: BlobKey::new("test"),
        frame_rate_max: 60,
    }
}

fn works(job: RungJob, reporter: &Arc<Reporter>) -> bool {
    match encoded_and_decoded(job, reporter) {
        Ok(count) => count == PICTURES,
        Err(_) => false,
    }
}

/// Number of pictures that came out again.
fn encoded_and_decoded(job: RungJob, reporter: &Arc<Reporter>) -> Result<i64, Failure> {
    let pool = PicturePool::new(rung_info(SIZE)?)?;
    let thread = RungThread::start(job, Arc::clone(reporter))?;
    for number in 0..PICTURES {
        let pts = 1000 + 40 * number;
        let is_key = CUTS_MS.contains(&pts);
        if !thread.push(Shot { picture: painted(&pool, number)?, pts, is_key }) {
            break;
        }
    }
    let (span, _) = thread.finish()?;
    let extent = SourceFile::local(span.span.path, 0, span.span.bytes);
    let treatment = PictureTreatment {
        track: 0,
        rotation: 0,
        deinterlace: false,
        dynamic_range: "sdr".into(),
        frame_rate_max: 60,
        reading: Reading::Sought,
    };
    let mut decoding = Decoding::start(ExtentReader::new(vec![extent]), &treatment, reporter)?;
    let mut count = 0;
    while decoding.next().is_some() {
        count += 1;
    }
    Ok(count)
}

/// A slope that moves.
fn painted(pool: &PicturePool, number: i64) -> Result<Picture, Failure> {
    let shift = usize::try_from(number * 8).unwrap_or(0);
    pool.paint(|frame| {
        for plane in 0..3 {
            let stride = frame.plane_stride().get(plane).and_then(|it| usize::try_from(*it).ok()).unwrap_or(1).max(1);
            let bytes = frame.plane_data_mut(u32::try_from(plane).unwrap_or(0)).map_err(internal)?;
            for (y, line) in bytes.chunks_mut(stride).enumerate() {
                for (x, sample) in line.iter_mut().enumerate() {
                    *sample = ((x + y + shift) % 200 + 16) as u8;
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::pipelines::testing::reporter;

    #[test]
    fn what_is_installed_works_and_what_is_broken_does_not() {
        let Ok(Answer::SelfTested { encoders }) = self_test(&reporter()) else { panic!("no answer") };
        assert_eq!(encoders.last().map(|last| last.name.as_str()), Some(av1::RAV1E));
        let x264 = encoders.iter().find(|encoder| encoder.name == X264).unwrap();
        assert!(!x264.version.is_empty());
        let dir = tempfile::tempdir().unwrap();
        let broken = job(x264, "no-such-preset", dir.path());
        assert!(!works(broken, &reporter()));
    }
}
