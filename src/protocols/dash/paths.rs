//! Names below an asset's base URL: `manifest.mpd`, and those of tracks' objects as
//! [`hls::paths`](crate::protocols::hls::paths) has them, so that both protocols' players share what caches hold.

/// The media presentation description.
pub const MANIFEST: &str = "manifest.mpd";
/// What time it is for a live stream, as text.
pub const CLOCK: &str = "time";
/// Tracks' initialisation segments, below the base URL.
pub const INIT_TEMPLATE: &str = "$RepresentationID$/init.mp4";
/// Tracks' segments, below the base URL.
pub const SEGMENT_TEMPLATE: &str = "$RepresentationID$/$Number$.m4s";

/// A track's key frames, below the base URL.
pub fn key_frame_template(track: &str) -> String {
    format!("{track}/k$Number$.m4s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ports::MediaObject;
    use crate::protocols::hls::paths::MediaPath;

    #[test]
    fn templates_name_what_is_delivered() {
        let filled = |template: &str| template.replace("$RepresentationID$", "v720-2").replace("$Number$", "17");
        let object = |object| Some(MediaPath::Object { track: "v720-2", object });
        assert_eq!(MediaPath::parse(&filled(INIT_TEMPLATE)), object(MediaObject::Init));
        assert_eq!(MediaPath::parse(&filled(SEGMENT_TEMPLATE)), object(MediaObject::Segment(17)));
        assert_eq!(MediaPath::parse(&filled(&key_frame_template("v720-2"))), object(MediaObject::KeyFrame(17)));
    }
}
