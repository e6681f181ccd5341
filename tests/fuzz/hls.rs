//! HLS of other servers: playlists, and fragments of MP4.
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use playhouse::media::live::lineup::Fed;
use playhouse::protocols::hls::fetch::ingest::{HlsIngest, Segment};
use playhouse::protocols::hls::fetch::playlist::{Chosen, Following};
use url::Url;

use super::targets::Target;

const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"en\",LANGUAGE=\"en\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"a.m3u8\"\n\
    #EXT-X-STREAM-INF:BANDWIDTH=75900,RESOLUTION=320x180,FRAME-RATE=30.000,CODECS=\"avc1.4d400d,mp4a.40.2\",AUDIO=\"a\"\nv.m3u8\n\
    #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=99,URI=\"i.m3u8\"\n";
const MEDIA: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:10\n\
    #EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"700@0\"\n#EXT-X-KEY:METHOD=NONE\n\
    #EXT-X-DATERANGE:ID=\"x\",START-DATE=\"2026-11-23T01:02:03Z\",DURATION=1.5\n#EXT-X-PROGRAM-DATE-TIME:2026-11-23T01:02:03.456Z\n\
    #EXT-X-BYTERANGE:100@50\n#EXTINF:2.0,title\n10.m4s\n#EXT-X-GAP\n#EXTINF:2,\n11.m4s\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\n12.m4s\n\
    #EXT-X-PART:DURATION=0.25,URI=\"13.0.m4s\",INDEPENDENT=YES\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"13.1.m4s\"\n";

pub(crate) fn targets() -> Vec<Target> {
    let playlists = vec![MULTIVARIANT.into(), MEDIA.into()];
    vec![
        Target { name: "HLS playlists", samples: playlists, read: read_playlist },
        Target { name: "MP4 fragments", samples: vec![fragments()], read: read_fragments },
    ]
}

fn read_playlist(input: &[u8]) -> bool {
    let (body, url) = (Bytes::copy_from_slice(input), Url::parse("https://host/live/index.m3u8").expect("a URL"));
    let mut following = Following::default();
    let listed = following.take(&body, &url).is_ok() && following.take(&body, &url).is_ok();
    Chosen::among(&body, &url).is_ok() | listed
}

/// An initialisation segment with a fragment behind it.
fn fragments() -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=10:duration=0.5"]);
    ffmpeg.args([
        "-f",
        "lavfi",
        "-i",
        "sine=duration=0.3:sample_rate=48000",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    ]);
    ffmpeg.args([
        "-bf",
        "1",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-b:a",
        "16k",
        "-movflags",
        "empty_moov+delay_moov",
    ]);
    let made = ffmpeg.args(["-frag_duration", "200000", "-f", "mp4", "-"]).output().expect("ffmpeg");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn read_fragments(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    let (mut ingest, mut out) = (HlsIngest::new([None].into_iter()), Vec::new());
    let is_taken = ingest.take(0, &Segment { bytes: bytes.clone(), map: Some(bytes), turn: 0 }).is_ok();
    for second in 0..3 {
        ingest.give(Duration::from_secs(second), &mut out);
    }
    is_taken && out.iter().any(|fed| matches!(fed, Fed::Frame { .. }))
}
