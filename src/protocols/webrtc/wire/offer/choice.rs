//! What is chosen of the formats that an offer has.
use super::{Format, Media, Section};

/// Bit rate at which browsers are asked to begin, kb/s: what they begin with by themselves is so low that they first make the
/// picture smaller, and then larger step by step.
const START_KILOBITS: u32 = 2500;
/// Level of H.264 that is taken, as in its parameter: 5.2.
const LEVEL: &str = "34";

/// A codec that goes over RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// H.264 (RFC 6184).
    H264,
    /// AV1.
    Av1,
    /// VP9 (RFC 9628).
    Vp9,
    /// VP8 (RFC 7741).
    Vp8,
    /// HEVC (RFC 7798).
    Hevc,
    /// Opus (RFC 7587).
    Opus,
}

impl Codec {
    /// Its name in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Av1 => "AV1",
            Self::Vp9 => "VP9",
            Self::Vp8 => "VP8",
            Self::Hevc => "H265",
            Self::Opus => "opus",
        }
    }

    /// What it carries.
    pub fn media(self) -> Media {
        if self == Self::Opus { Media::Audio } else { Media::Video }
    }

    /// How much a format of this codec is liked, less being more; `None` when it is none that can be used.
    fn rank(self, format: &Format) -> Option<usize> {
        if !format.name.eq_ignore_ascii_case(self.name()) {
            return None;
        }
        let says = |name: &str, usual: &str| format.parameter(name).unwrap_or(usual).to_ascii_lowercase();
        match self {
            Self::H264 => {
                let profile = says("profile-level-id", "42000a");
                // Constrained baseline is what every encoder and decoder has.
                let profile =
                    ["42e0", "42c0", "4200", "4d", "64"].iter().position(|known| profile.starts_with(known))?;
                let is_whole = says("packetization-mode", "0") != "1";
                (says("packetization-mode", "0") != "2").then_some(profile + 8 * usize::from(is_whole))
            }
            Self::Av1 => (says("profile", "0") == "0").then_some(0),
            Self::Vp9 => (says("profile-id", "0") == "0").then_some(0),
            Self::Vp8 => Some(0),
            Self::Hevc => (says("profile-id", "1") == "1" && says("tx-mode", "srst") == "srst").then_some(0),
            Self::Opus => (format.clock_rate == 48_000 && format.channels == 2).then_some(0),
        }
    }
}

/// First bytes of `profile-level-id` that fit pictures of a profile of H.264, the ones that fit best first.
fn profiles(profile: u8) -> [&'static str; 5] {
    match profile {
        66 => ["42e0", "42c0", "4200", "4d", "64"],
        77 => ["4d", "64", "42e0", "42c0", "4200"],
        _ => ["64", "4d", "42e0", "42c0", "4200"],
    }
}

/// What is chosen for a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The codec.
    pub codec: Codec,
    /// The format, as it was offered.
    pub format: Format,
    /// Payload type of what is sent again (RFC 4588), when the other side knows that.
    pub repair: Option<u8>,
}

impl Section {
    /// The first of these codecs that it has a format of.
    pub fn choose(&self, wanted: &[Codec]) -> Option<Choice> {
        wanted.iter().find_map(|codec| {
            let ranked = self.formats.iter().filter_map(|format| Some((codec.rank(format)?, format)));
            let (_, format) = ranked.min_by_key(|(rank, _)| *rank)?;
            Some(self.with_repair(*codec, format))
        })
    }

    /// What pictures of this codec, and of this profile of H.264, can be sent in; browsers decode more than they tell.
    pub fn choose_to_send(&self, codec: Codec, profile: u8) -> Option<Choice> {
        if codec != Codec::H264 {
            return self.choose(&[codec]);
        }
        let rank = |format: &Format| {
            let told = format.parameter("profile-level-id").unwrap_or("42000a").to_ascii_lowercase();
            let is_whole = format.parameter("packetization-mode") == Some("1");
            let is_h264 = format.name.eq_ignore_ascii_case(codec.name()) && is_whole;
            profiles(profile).iter().position(|known| is_h264 && told.starts_with(known))
        };
        let ranked = self.formats.iter().filter_map(|format| Some((rank(format)?, format)));
        let (_, format) = ranked.min_by_key(|(rank, _)| *rank)?;
        Some(self.with_repair(codec, format))
    }

    fn with_repair(&self, codec: Codec, format: &Format) -> Choice {
        let number = format.payload_type.to_string();
        let repairs =
            |other: &&Format| other.name.eq_ignore_ascii_case("rtx") && other.parameter("apt") == Some(&number);
        // The machine does not read which layer a repair is of (`repaired-rtp-stream-id`): what is sent again comes as it was.
        let repair = self.formats.iter().filter(|_| self.layers.is_empty()).find(repairs);
        let repair = repair.map(|repair| repair.payload_type);
        Choice { codec, format: format.clone(), repair }
    }

    /// The names of its codecs, for a sentence.
    pub fn codec_names(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for format in &self.formats {
            let name: String = format.name.chars().filter(char::is_ascii_graphic).take(16).collect();
            let is_media = !["", "rtx", "red", "ulpfec", "flexfec-03", "cn", "telephone-event"]
                .contains(&name.to_ascii_lowercase().as_str());
            if is_media && !names.contains(&name) && names.len() < 8 {
                names.push(name);
            }
        }
        names.join(", ")
    }
}

impl Choice {
    /// The parameters with which it is answered: those offered, a level that is not below what may come, and what browsers take
    /// as wishes for what they send.
    pub fn parameters(&self) -> String {
        let parts = self.format.parameters.split(';').map(str::trim).filter(|part| !part.is_empty());
        let mut parts: Vec<String> = parts.map(str::to_owned).collect();
        let may_differ = self.format.parameter("level-asymmetry-allowed") == Some("1");
        for part in &mut parts {
            let level = part.strip_prefix("profile-level-id=").and_then(|value| value.get(..4));
            if let Some(profile) = level.filter(|_| may_differ && self.codec == Codec::H264) {
                *part = format!("profile-level-id={profile}{LEVEL}");
            }
        }
        match self.codec {
            Codec::Opus => {
                parts.retain(|part| !part.starts_with("stereo=") && !part.starts_with("maxaveragebitrate="));
                parts.push("stereo=1;maxaveragebitrate=128000".to_owned());
            }
            _ => parts.push(format!("x-google-start-bitrate={START_KILOBITS}")),
        }
        parts.join(";")
    }
}
