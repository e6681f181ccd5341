//! Codecs that are told about but not played as they are: what their configuration records say of the pictures.

/// What a configuration record says about the pictures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PictureFormat {
    /// Profile by its usual name.
    pub profile: Option<String>,
    /// Bits per sample; 0 when unknown.
    pub bit_depth: u8,
    /// `4:2:0`, `4:2:2`, `4:4:4` or `4:0:0`; empty when unknown.
    pub chroma: &'static str,
}

/// Chroma by its `chroma_format_idc`, as H.264 and HEVC number it.
pub fn chroma_name(format: u8) -> &'static str {
    match format {
        0 => "4:0:0",
        1 => "4:2:0",
        2 => "4:2:2",
        _ => "4:4:4",
    }
}

/// HEVC: an `hvcC` body (ISO/IEC 14496-15 section 8.3.3).
pub fn hevc_format(record: &[u8]) -> Option<PictureFormat> {
    let profile = match record.get(1)? & 0x1f {
        1 => "Main".to_owned(),
        2 => "Main 10".to_owned(),
        3 => "Main Still Picture".to_owned(),
        4 => "Range Extensions".to_owned(),
        other => format!("profile {other}"),
    };
    let chroma = chroma_name(record.get(16)? & 3);
    Some(PictureFormat { profile: Some(profile), bit_depth: 8 + (record.get(17)? & 7), chroma })
}

/// AV1: an `av1C` body (AV1 in ISOBMFF section 2.3).
pub fn av1_format(record: &[u8]) -> Option<PictureFormat> {
    let (profile, flags) = (record.get(1)? >> 5, *record.get(2)?);
    let name = match profile {
        0 => "Main".to_owned(),
        1 => "High".to_owned(),
        2 => "Professional".to_owned(),
        other => format!("profile {other}"),
    };
    let bit_depth = match (flags & 0x40 != 0, flags & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    let chroma = match (flags & 0x10 != 0, flags & 0x08 != 0, flags & 0x04 != 0) {
        (true, _, _) => "4:0:0",
        (_, true, true) => "4:2:0",
        (_, true, false) => "4:2:2",
        _ => "4:4:4",
    };
    Some(PictureFormat { profile: Some(name), bit_depth, chroma })
}

/// VP8 and VP9: a `vpcC` body behind version and flags (VP codec ISO media file format binding).
pub fn vp_format(record: &[u8]) -> Option<PictureFormat> {
    let (profile, flags) = (*record.first()?, *record.get(2)?);
    let chroma = match flags >> 1 & 7 {
        0 | 1 => "4:2:0",
        2 => "4:2:2",
        _ => "4:4:4",
    };
    Some(PictureFormat { profile: Some(format!("profile {profile}")), bit_depth: flags >> 4, chroma })
}

/// The usual short name of a picture codec by its sample entry.
pub fn video_codec_name(entry: [u8; 4]) -> String {
    match &entry {
        b"avc1" | b"avc2" | b"avc3" | b"avc4" => "h264".into(),
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => "hevc".into(),
        b"av01" => "av1".into(),
        b"vp08" => "vp8".into(),
        b"vp09" => "vp9".into(),
        b"mp4v" => "mpeg4".into(),
        b"jpeg" | b"mjpa" | b"mjpb" => "mjpeg".into(),
        b"apco" | b"apcs" | b"apcn" | b"apch" | b"ap4h" | b"ap4x" => "prores".into(),
        b"encv" => "encrypted".into(),
        b"png " => "png".into(),
        other => printable(other),
    }
}

/// The usual short name of a sound codec by its sample entry and, for `mp4a`, the object type of its `esds`.
pub fn audio_codec_name(entry: [u8; 4], object_type_indication: Option<u8>) -> String {
    match (&entry, object_type_indication) {
        (b"mp4a", Some(0x69 | 0x6b)) | (b".mp3", _) => "mp3".into(),
        (b"mp4a", Some(0xad)) | (b"Opus", _) => "opus".into(),
        (b"mp4a", Some(0xdd)) => "vorbis".into(),
        (b"mp4a", _) => "aac".into(),
        (b"ac-3", _) => "ac3".into(),
        (b"ec-3", _) => "eac3".into(),
        (b"fLaC", _) => "flac".into(),
        (b"alac", _) => "alac".into(),
        (b"enca", _) => "encrypted".into(),
        (
            b"sowt" | b"twos" | b"lpcm" | b"in24" | b"in32" | b"fl32" | b"fl64" | b"raw " | b"ipcm" | b"fpcm" | b"NONE",
            _,
        ) => "pcm".into(),
        (b"ulaw" | b"alaw", _) => "g711".into(),
        (other, _) => printable(other),
    }
}

fn printable(code: &[u8; 4]) -> String {
    code.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '_' }).collect()
}

/// `sdr`, `pq` or `hlg` by `transfer_characteristics` (ITU-T H.273).
pub fn dynamic_range(transfer: Option<u16>) -> &'static str {
    match transfer {
        Some(16) => "pq",
        Some(18) => "hlg",
        _ => "sdr",
    }
}

/// The usual name of a channel layout by its number of channels.
pub fn layout_name(channels: u16) -> String {
    match channels {
        1 => "mono".into(),
        2 => "stereo".into(),
        6 => "5.1".into(),
        8 => "7.1".into(),
        other => format!("{other} channels"),
    }
}
