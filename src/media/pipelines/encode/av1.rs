//! AV1 by the `rav1e` crate. Pictures come out in the order in which they are shown.
use std::sync::mpsc::Receiver;

use bytes::{Bytes, BytesMut};
use playhouse_kernels::av1::{
    ChromaSamplePosition, ChromaSampling, ColorDescription, ColorPrimaries, Encoder, EncoderConfig, EncoderStatus,
    FrameType, MatrixCoefficients, Packet, PixelRange, Rational, SceneDetectionSpeed, SpeedSettings,
    TransferCharacteristics,
};

use super::picture::plane;
use super::rung::{RungJob, Shot};
use crate::domain::video::Failure;
use crate::media::codecs::av1::{Av1Config, OBU_TEMPORAL_DELIMITER, Obus};
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::pipelines::internal;
use crate::media::pipelines::worker::Reporter;
use crate::media::spans::{ChunkSpan, SpanOfChunk};

/// The encoder's name in plans.
pub(super) const RAV1E: &str = "rav1e";
/// Longest distance between key frames that `rav1e` can be told: they come when they are asked for.
const KEY_DISTANCE_MAX: u64 = 1 << 20;
/// Pictures of this many samples are cut into two tiles, which are encoded side by side.
const TILED_FROM: u32 = 640 * 360;
/// Distances between pictures by which the rate is controlled, thousandths of a second, from the first two of a chunk.
const STEP_MS: std::ops::RangeInclusive<u64> = 16..=200;
/// What `rav1e` takes as the buffer, pictures.
const BUFFER_FRAMES: std::ops::RangeInclusive<u64> = 12..=600;

/// Levels of AV1 (annex A.3): `seq_level_idx`, samples per picture, samples per second, longest sides, kbit/s of the Main
/// tier.
const LEVELS: [(u8, u64, u64, u32, u32, u64); 9] = [
    (0, 147_456, 4_423_680, 2048, 1152, 1_500),
    (1, 278_784, 8_363_520, 2816, 1584, 3_000),
    (4, 665_856, 19_975_680, 4352, 2448, 6_000),
    (5, 1_065_024, 31_950_720, 5504, 3096, 10_000),
    (8, 2_359_296, 70_778_880, 6144, 3456, 12_000),
    (9, 2_359_296, 141_557_760, 6144, 3456, 20_000),
    (12, 8_912_896, 267_386_880, 8192, 4352, 30_000),
    (13, 8_912_896, 534_773_760, 8192, 4352, 40_000),
    (14, 8_912_896, 1_069_547_520, 8192, 4352, 60_000),
];

/// Encodes all pictures that come.
pub(super) fn encode(job: &RungJob, shots: &Receiver<Shot>, reporter: &Reporter) -> Result<SpanOfChunk, Failure> {
    let nothing = || Failure { code: "encoder_failed".into(), message: "The encoder rav1e was given nothing.".into() };
    let first = shots.recv().map_err(|_| nothing())?;
    let second = shots.recv().ok();
    let step = second.as_ref().map_or(0, |second| second.pts - first.pts);
    let mut encoding = Encoding::start(job, step)?;
    for shot in [first].into_iter().chain(second).chain(shots) {
        encoding.push(&shot, reporter)?;
    }
    encoding.encoder.finish();
    encoding.receive(reporter)?;
    encoding.span.ok_or_else(nothing)?.finish().map_err(internal)
}

struct Encoding<'a> {
    job: &'a RungJob,
    encoder: Encoder,
    /// When the n-th picture is shown.
    presentation: Vec<i64>,
    span: Option<ChunkSpan>,
}

impl<'a> Encoding<'a> {
    fn start(job: &'a RungJob, step: i64) -> Result<Self, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
        let encoder = Encoder::new(settings(job, step)?, threads).map_err(internal)?;
        Ok(Self { job, encoder, presentation: Vec::new(), span: None })
    }

    fn push(&mut self, shot: &Shot, reporter: &Reporter) -> Result<(), Failure> {
        let frame = shot.picture.frame()?;
        let planes = [plane(&frame, 0)?, plane(&frame, 1)?, plane(&frame, 2)?];
        self.presentation.push(shot.pts);
        self.encoder.push(planes, shot.is_key).map_err(internal)?;
        self.receive(reporter)
    }

    /// Takes what is finished.
    fn receive(&mut self, reporter: &Reporter) -> Result<(), Failure> {
        loop {
            match self.encoder.receive() {
                Ok(packet) => self.write(&packet)?,
                Err(EncoderStatus::Encoded) => {}
                Err(EncoderStatus::NeedMoreData | EncoderStatus::LimitReached) => return Ok(()),
                Err(error) => return Err(internal(error)),
            }
            reporter.progress(0, 1);
        }
    }

    fn write(&mut self, packet: &Packet) -> Result<(), Failure> {
        let index = usize::try_from(packet.input_frameno).unwrap_or(usize::MAX);
        let pts = *self.presentation.get(index).ok_or_else(|| internal("a picture that was not sent"))?;
        let payload = without_delimiters(&packet.data);
        if self.span.is_none() {
            let av1c = Av1Config::from_units(&payload).map_err(internal)?.to_bytes();
            self.span = Some(self.job.span(TrackConfig::new(CodecConfig::Av1 { av1c }, self.job.timescale))?);
        }
        let keyframe = packet.frame_type == FrameType::KEY;
        let frame = Frame { dts: pts, pts, duration: 0, keyframe, payload };
        self.span.as_mut().map_or(Ok(()), |span| span.push(frame)).map_err(internal)
    }
}

fn without_delimiters(unit: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(unit.len());
    for unit in Obus::new(unit).filter(|unit| unit.kind != OBU_TEMPORAL_DELIMITER) {
        out.extend_from_slice(unit.bytes);
    }
    out.freeze()
}

fn settings(job: &RungJob, step: i64) -> Result<EncoderConfig, Failure> {
    let rung = &job.rung;
    let speed: u8 = rung.preset.parse().map_err(|_| internal(format!("rav1e has no speed {}", rung.preset)))?;
    let mut speed_settings = SpeedSettings::from_preset(speed.min(10));
    speed_settings.scene_detection_mode = SceneDetectionSpeed::None;
    let step_ms = u64::try_from(step).unwrap_or(0) * 1000 / u64::from(job.timescale);
    let step_ms = step_ms.clamp(*STEP_MS.start(), *STEP_MS.end());
    let buffer_frames = (u64::from(rung.buffer_ms) / step_ms).clamp(*BUFFER_FRAMES.start(), *BUFFER_FRAMES.end());
    Ok(EncoderConfig {
        width: rung.width as usize,
        height: rung.height as usize,
        time_base: Rational::new(step_ms, 1000),
        chroma_sampling: ChromaSampling::Cs420,
        chroma_sample_position: ChromaSamplePosition::Vertical,
        pixel_range: PixelRange::Limited,
        color_description: Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::BT709,
            matrix_coefficients: MatrixCoefficients::BT709,
        }),
        level_idx: Some(level(job)),
        min_key_frame_interval: 0,
        max_key_frame_interval: KEY_DISTANCE_MAX,
        low_latency: false,
        // With a bit rate, the quantizer is free from here on: quality where there is room for it, less where not.
        quantizer: 255,
        min_quantizer: rung.quality,
        bitrate: i32::try_from(rung.bits_per_sec_max).unwrap_or(i32::MAX),
        reservoir_frame_delay: i32::try_from(buffer_frames).ok(),
        tiles: if rung.width * rung.height >= TILED_FROM { 2 } else { 1 },
        speed_settings,
        ..Default::default()
    })
}

/// The lowest level that holds the rung in every chunk.
fn level(job: &RungJob) -> u8 {
    let (width, height) = (job.rung.width, job.rung.height);
    let samples = u64::from(width) * u64::from(height);
    let kbits = u64::from(job.rung.bits_per_sec_max / 1000);
    let fits = |(_, picture, rate, width_max, height_max, kbits_max): &&(u8, u64, u64, u32, u32, u64)| {
        samples <= *picture
            && samples * u64::from(job.frame_rate_max.max(1)) <= *rate
            && width <= *width_max
            && height <= *height_max
            && kbits <= *kbits_max
    };
    LEVELS.iter().find(fits).map_or(31, |level| level.0)
}
