//! Colour information (E-RTMP, "Metadata Frame").
use super::super::super::amf::Amf;

/// How to show the colours of what follows. What is absent is not told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColorInfo {
    /// Bits of a sample.
    pub bit_depth: Option<u8>,
    /// Primaries (ITU-T H.273).
    pub primaries: Option<u8>,
    /// Transfer characteristics (ITU-T H.273).
    pub transfer: Option<u8>,
    /// Matrix coefficients (ITU-T H.273).
    pub matrix: Option<u8>,
    /// Content light level.
    pub light_level: Option<LightLevel>,
    /// The display it was graded on.
    pub mastering_display: Option<MasteringDisplay>,
}

/// Content light level, cd/m².
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LightLevel {
    /// Highest average of a frame.
    pub frame_average_max: f64,
    /// Highest of any pixel.
    pub content_max: f64,
}

/// A mastering display (SMPTE ST 2086): CIE 1931 coordinates, and luminance in cd/m².
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MasteringDisplay {
    /// Red.
    pub red: (f64, f64),
    /// Green.
    pub green: (f64, f64),
    /// Blue.
    pub blue: (f64, f64),
    /// White point.
    pub white: (f64, f64),
    /// Highest luminance.
    pub luminance_max: f64,
    /// Lowest luminance.
    pub luminance_min: f64,
}

impl ColorInfo {
    pub(super) fn read(value: &Amf) -> Self {
        let config = value.get("colorConfig").unwrap_or(&Amf::Null);
        let index = |name| config.get(name)?.as_number().filter(|n| (0.0..256.0).contains(n)).map(|n| n as u8);
        Self {
            bit_depth: index("bitDepth"),
            primaries: index("colorPrimaries"),
            transfer: index("transferCharacteristics"),
            matrix: index("matrixCoefficients"),
            light_level: value.get("hdrCll").and_then(light_level),
            mastering_display: value.get("hdrMdcv").and_then(mastering_display),
        }
    }
}

fn light_level(value: &Amf) -> Option<LightLevel> {
    let number = |name| value.get(name)?.as_number();
    let content_max = number("maxCLL").or_else(|| number("maxCll"))?;
    Some(LightLevel { frame_average_max: number("maxFall")?, content_max })
}

fn mastering_display(value: &Amf) -> Option<MasteringDisplay> {
    let number = |name| value.get(name)?.as_number();
    let point = |x, y| Some((number(x)?, number(y)?));
    Some(MasteringDisplay {
        red: point("redX", "redY")?,
        green: point("greenX", "greenY")?,
        blue: point("blueX", "blueY")?,
        white: point("whitePointX", "whitePointY")?,
        luminance_max: number("maxLuminance")?,
        luminance_min: number("minLuminance")?,
    })
}
