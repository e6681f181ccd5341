//! The `rav1e` encoder of AV1, for pictures of eight bits.
pub use rav1e::prelude::{
    ChromaSamplePosition, ChromaSampling, ColorDescription, ColorPrimaries, EncoderConfig, EncoderStatus, FrameType,
    InvalidConfig, MatrixCoefficients, PixelRange, Rational, SceneDetectionSpeed, SpeedSettings,
    TransferCharacteristics,
};
use rav1e::prelude::{Config, Context, FrameParameters, FrameTypeOverride};

use crate::Plane;

/// An encoded picture.
pub type Packet = rav1e::prelude::Packet<u8>;

/// Encodes pictures one after the other.
pub struct Encoder(Context<u8>);

impl Encoder {
    /// With so many threads.
    pub fn new(config: EncoderConfig, threads: usize) -> Result<Self, InvalidConfig> {
        Config::new().with_encoder_config(config).with_threads(threads).new_context().map(Self)
    }

    /// Takes a picture, of which a stride must not be zero.
    pub fn push(&mut self, planes: [Plane<'_>; 3], is_key: bool) -> Result<(), EncoderStatus> {
        let mut frame = self.0.new_frame();
        for (to, from) in frame.planes.iter_mut().zip(planes) {
            to.copy_from_raw_u8(from.samples, from.stride as usize, 1);
        }
        let frame_type_override = if is_key { FrameTypeOverride::Key } else { FrameTypeOverride::No };
        self.0.send_frame((frame, FrameParameters { frame_type_override, ..Default::default() }))
    }

    /// No picture comes after those before.
    pub fn finish(&mut self) {
        self.0.flush();
    }

    /// The next picture that is finished.
    pub fn receive(&mut self) -> Result<Packet, EncoderStatus> {
        self.0.receive_packet()
    }
}

/// Version of the encoder.
pub fn version() -> String {
    rav1e::version::full()
}
