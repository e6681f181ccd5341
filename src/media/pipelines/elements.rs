//! Which GStreamer elements the program needs, which Debian package has each, and whether this machine has them.
use gstreamer as gst;

/// One element that some feature is built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Its factory name.
    pub name: &'static str,
    /// The Debian and Ubuntu package that has it.
    pub package: &'static str,
    /// What does not work without it.
    pub used_for: &'static str,
    /// Whether a server is of no use without it.
    pub required: bool,
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

const fn required(name: &'static str, package: &'static str, used_for: &'static str) -> Element {
    Element { name, package, used_for, required: true }
}

const fn optional(name: &'static str, package: &'static str, used_for: &'static str) -> Element {
    Element { name, package, used_for, required: false }
}

/// Every element named by a pipeline of ours or plugged by the decoders it starts.
pub const ELEMENTS: &[Element] = &[
    required("parsebin", BASE, "inspecting uploads"),
    required("decodebin", BASE, "thumbnails"),
    required("appsrc", BASE, "inspecting uploads"),
    required("appsink", BASE, "inspecting uploads"),
    required("videoconvert", BASE, "thumbnails"),
    required("videoscale", BASE, "thumbnails"),
    required("qtdemux", GOOD, "MP4 and MOV uploads"),
    required("matroskademux", GOOD, "MKV and WebM uploads"),
    required("avidemux", GOOD, "AVI uploads"),
    required("flvdemux", GOOD, "FLV uploads"),
    required("aacparse", GOOD, "AAC sound"),
    required("jpegenc", GOOD, "thumbnails"),
    required("videoflip", GOOD, "thumbnails of rotated video"),
    required("tsdemux", BAD, "MPEG-TS uploads"),
    required("h264parse", BAD, "H.264 video"),
    required("avdec_h264", LIBAV, "H.264 thumbnails"),
    required("avdec_aac", LIBAV, "AAC sound"),
    optional("deinterlace", GOOD, "renditions of interlaced video"),
    optional("h265parse", BAD, "HEVC video"),
    optional("avdec_h265", LIBAV, "HEVC thumbnails"),
    optional("vp8dec", GOOD, "VP8 thumbnails"),
    optional("vp9dec", GOOD, "VP9 thumbnails"),
    optional("av1dec", BAD, "AV1 thumbnails"),
    optional("opusdec", BASE, "Opus sound"),
    optional("vorbisdec", BASE, "Vorbis sound"),
    optional("mpg123audiodec", GOOD, "MP3 sound"),
    optional("audiotestsrc", BASE, "the clip of `playhouse demo`"),
    optional("x264enc", UGLY, "renditions, and the clip of `playhouse demo`"),
    optional("avenc_aac", LIBAV, "encoding of sound"),
    optional("audioconvert", BASE, "encoding of sound"),
    optional("audioresample", BASE, "encoding of sound"),
    optional("ac3parse", GOOD, "AC-3 sound"),
    optional("avdec_ac3", LIBAV, "AC-3 sound"),
    optional("avdec_dca", LIBAV, "DTS sound"),
    optional("avdec_alac", LIBAV, "ALAC sound"),
    optional("flacdec", GOOD, "FLAC sound"),
    optional("matroskamux", GOOD, "copies of files that cannot be sought in"),
    optional("jpegparse", BAD, "uploaded pictures"),
    optional("jpegdec", GOOD, "uploaded pictures and storyboards"),
    optional("pngdec", GOOD, "uploaded pictures"),
    optional("webpdec", BAD, "uploaded pictures"),
    optional("avdec_gif", LIBAV, "uploaded pictures"),
    optional("webpenc", BAD, "thumbnails as WebP"),
    optional("av1enc", BAD, "thumbnails as AVIF"),
    optional("mp4mux", GOOD, "the clip of `playhouse demo`"),
];

/// GStreamer cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("GStreamer does not start: {0}")]
pub struct GstreamerUnusable(String);

/// What this machine's GStreamer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Version of the library in use, e.g. `1.22.0`.
    pub version: String,
    /// Elements of [`ELEMENTS`] that are not there.
    pub missing: Vec<Element>,
}

/// Starts GStreamer and looks for every element of [`ELEMENTS`].
pub fn take_inventory() -> Result<Inventory, GstreamerUnusable> {
    gst::init().map_err(|error| GstreamerUnusable(error.to_string()))?;
    let (major, minor, micro, _) = gst::version();
    Ok(Inventory { version: format!("{major}.{minor}.{micro}"), missing: missing_from(ELEMENTS) })
}

fn missing_from(elements: &[Element]) -> Vec<Element> {
    elements.iter().filter(|element| gst::ElementFactory::find(element.name).is_none()).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_make_deps_installs_has_every_element() {
        let inventory = take_inventory().unwrap();
        assert_eq!(inventory.missing, []);
        assert!(inventory.version.starts_with("1."), "{}", inventory.version);
    }

    #[test]
    fn an_absent_element_is_reported() {
        gst::init().unwrap();
        let absent = required("nosuchelement", BASE, "nothing");
        assert_eq!(missing_from(&[absent, ELEMENTS[0]]), [absent]);
    }
}
