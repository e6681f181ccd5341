//! What sides of Enhanced RTMP tell each other in `connect` and its answer.
use super::super::wire::amf::{Amf, Members};
use super::super::wire::flv::FourCc;

/// Flags of `capsEx`.
pub mod caps_ex {
    /// Follows reconnect requests.
    pub const RECONNECT: u32 = 0x01;
    /// Several tracks in a stream.
    pub const MULTITRACK: u32 = 0x02;
    /// Reads modifiers.
    pub const MOD_EX: u32 = 0x04;
    /// Times with nanoseconds.
    pub const NANOSECONDS: u32 = 0x08;
}

/// Codes of sound.
const AUDIO: [FourCc; 6] = [FourCc::AAC, FourCc::OPUS, FourCc::MP3, FourCc::FLAC, FourCc::AC3, FourCc::EAC3];
/// A codec is passed on as it is.
const CAN_FORWARD: f64 = 4.0;
/// Codes kept of a peer's lists: there are twelve.
const CODES_MAX: usize = 32;

/// What one side can do beyond RTMP 1.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Video codecs.
    pub video: Vec<FourCc>,
    /// Audio codecs.
    pub audio: Vec<FourCc>,
    /// Any codec (`*`).
    pub any_codec: bool,
    /// Flags of [`caps_ex`].
    pub flags: u32,
    /// Whether anything was said at all: a peer of old says nothing, and is told nothing.
    pub is_enhanced: bool,
}

impl Default for Capabilities {
    /// What can be published here: the codecs that are taken, several tracks, and modifiers, of which none changes anything.
    fn default() -> Self {
        Self {
            video: vec![FourCc::AVC, FourCc::HEVC, FourCc::AV1, FourCc::VP9],
            audio: AUDIO.to_vec(),
            any_codec: false,
            flags: caps_ex::RECONNECT | caps_ex::MULTITRACK | caps_ex::MOD_EX,
            is_enhanced: true,
        }
    }
}

impl Capabilities {
    /// Those of a peer of old.
    pub fn none() -> Self {
        Self { video: Vec::new(), audio: Vec::new(), any_codec: false, flags: 0, is_enhanced: false }
    }

    /// What a `connect` command's object or its answer says, in the form of version 1 (`fourCcList`), of version 2, or both.
    pub(super) fn read(object: &Amf) -> Self {
        let mut found = Self::none();
        let list = object.get("fourCcList");
        for name in list.map(Amf::items).unwrap_or_default().iter().filter_map(|item| item.as_str()) {
            found.add(name);
        }
        let maps = [object.get("videoFourCcInfoMap"), object.get("audioFourCcInfoMap")];
        for (name, _) in maps.iter().flatten().flat_map(|map| map.members()) {
            found.add(name);
        }
        let flags = object.get("capsEx").and_then(Amf::as_number);
        // From above, numbers are cut at the largest.
        found.flags = flags.map_or(0, |flags| flags as u32);
        found.is_enhanced = list.is_some() || flags.is_some() || maps.iter().any(Option::is_some);
        found
    }

    fn add(&mut self, name: &str) {
        self.any_codec |= name == "*";
        let Some(code) = FourCc::parse(name) else { return };
        let list = if AUDIO.contains(&code) { &mut self.audio } else { &mut self.video };
        if list.len() < CODES_MAX && !list.contains(&code) {
            list.push(code);
        }
    }

    /// Members to be added to an object of `connect` or of its answer; in both forms.
    pub(super) fn members(&self) -> Members {
        if !self.is_enhanced {
            return Members::new();
        }
        let map = |codes: &[FourCc]| {
            Amf::Object(codes.iter().map(|code| (code.to_string(), Amf::Number(CAN_FORWARD))).collect())
        };
        let list = self.video.iter().chain(&self.audio).map(|code| Amf::text(code.to_string())).collect();
        vec![
            ("fourCcList".to_owned(), Amf::List(list)),
            ("videoFourCcInfoMap".to_owned(), map(&self.video)),
            ("audioFourCcInfoMap".to_owned(), map(&self.audio)),
            ("capsEx".to_owned(), Amf::Number(f64::from(self.flags))),
        ]
    }
}
