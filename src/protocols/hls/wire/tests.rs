use super::*;
use crate::domain::asset::TrackKind;
use crate::domain::asset::{AudioProperties, KeyFrame, Segment, SegmentBytes, VideoProperties};
use crate::domain::trim::Trim;
use crate::media::testing::{empty_asset, empty_track};

fn segments(durations: &[u32], bytes: u32) -> Vec<Segment> {
    let source = SegmentBytes::Virtual { first: 0, samples: 1 };
    let mut start = 0;
    let segment = |duration: &u32| {
        start += i64::from(*duration);
        Segment { start: start - i64::from(*duration), duration: *duration, bytes, source: source.clone() }
    };
    durations.iter().map(segment).collect()
}

fn video(name: &str) -> AssetTrack {
    let properties = VideoProperties { width: 1280, height: 720, rotation: 90, frame_rate: (30_000, 1001) };
    let source = SegmentBytes::Virtual { first: 0, samples: 1 };
    let key = |start| KeyFrame { start, duration: 180_000, bytes: 20_000, source: source.clone() };
    AssetTrack {
        video: Some(properties),
        segments: segments(&[360_000, 405_000, 90_000], 500_000),
        key_frames: vec![key(0), key(180_000)],
        ..empty_track(name)
    }
}

fn audio(name: &str, language: &str, default: bool, channels: u16) -> AssetTrack {
    let language = language.to_owned();
    AssetTrack {
        kind: TrackKind::Audio,
        codec: "mp4a.40.2".into(),
        timescale: 48_000,
        audio: Some(AudioProperties { sample_rate: 48_000, channels, language, default }),
        segments: segments(&[192_512, 240_640], 64_000),
        ..empty_track(name)
    }
}

fn asset(tracks: Vec<AssetTrack>) -> Asset {
    Asset { tracks, ..empty_asset() }
}

#[test]
fn multivariant_with_languages_and_layouts() {
    let tracks = vec![
        video("v0-1"),
        audio("a0-1", "en", false, 2),
        audio("a1-1", "de\"\n", true, 2),
        audio("a2-1", "en", false, 6),
    ];
    let expected = "#EXTM3U\n\
        #EXT-X-VERSION:7\n\
        #EXT-X-INDEPENDENT-SEGMENTS\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio0\",NAME=\"en\",LANGUAGE=\"en\",DEFAULT=NO,AUTOSELECT=YES,\
        CHANNELS=\"2\",URI=\"a0-1/media.m3u8\"\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio0\",NAME=\"de\",LANGUAGE=\"de\",DEFAULT=YES,AUTOSELECT=YES,\
        CHANNELS=\"2\",URI=\"a1-1/media.m3u8\"\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio1\",NAME=\"en\",LANGUAGE=\"en\",DEFAULT=NO,AUTOSELECT=YES,\
        CHANNELS=\"6\",URI=\"a2-1/media.m3u8\"\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio1\",NAME=\"de\",LANGUAGE=\"de\",DEFAULT=YES,AUTOSELECT=YES,\
        CHANNELS=\"2\",URI=\"a1-1/media.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1582206,AVERAGE-BANDWIDTH=1376634,CODECS=\"avc1.64001f,mp4a.40.2\",\
        RESOLUTION=720x1280,FRAME-RATE=29.970,AUDIO=\"audio0\"\n\
        v0-1/media.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1582206,AVERAGE-BANDWIDTH=1376634,CODECS=\"avc1.64001f,mp4a.40.2\",\
        RESOLUTION=720x1280,FRAME-RATE=29.970,AUDIO=\"audio1\"\n\
        v0-1/media.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=127660,AVERAGE-BANDWIDTH=113476,CODECS=\"mp4a.40.2\",AUDIO=\"audio0\"\n\
        a1-1/media.m3u8\n\
        #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=80000,CODECS=\"avc1.64001f\",RESOLUTION=720x1280,\
        URI=\"v0-1/iframes.m3u8\"\n";
    assert_eq!(render_multivariant(&asset(tracks).tracks, View::default(), Cut::NONE), expected);
}

fn rung(name: &str, codec: &str, (width, height): (u32, u32), bytes: u32) -> AssetTrack {
    let properties = VideoProperties { width, height, rotation: 0, frame_rate: (25, 1) };
    AssetTrack { codec: codec.into(), video: Some(properties), segments: segments(&[360_000; 3], bytes), ..video(name) }
}

fn ladder() -> Asset {
    let mut made_later = rung("v144-2", "avc1.64000c", (256, 144), 50_000);
    made_later.key_frames.clear();
    asset(vec![
        rung("v0-1", "avc1.64001f", (1280, 720), 2_500_000),
        rung("v360-2", "avc1.64001e", (640, 360), 400_000),
        rung("v720av1-2", "av01.0.05M.08", (1280, 720), 900_000),
        made_later,
        audio("a0s-2", "en", true, 6),
        audio("a0-2", "en", true, 2),
    ])
}

/// Variants as `URI group score`, and trick-play streams, in order.
fn listed(playlist: &str) -> Vec<String> {
    let attribute = |line: &str, name: &str| {
        let rest = line.split_once(&format!("{name}="))?.1;
        Some(rest.split(',').next().unwrap_or_default().trim_matches('"').to_owned())
    };
    let mut lines = playlist.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#EXT-X-STREAM-INF") {
            let uri = lines.next().unwrap().trim_end_matches("/media.m3u8");
            let (group, score) = (attribute(line, "AUDIO"), attribute(line, "SCORE"));
            found.push(format!("{uri} {} {}", group.unwrap_or_default(), score.unwrap_or_default()));
        } else if line.starts_with("#EXT-X-I-FRAME-STREAM-INF") {
            found.push(attribute(line, "URI").unwrap());
        }
    }
    found
}

#[test]
fn a_ladder_of_two_codecs_and_two_layouts() {
    let expected = [
        "v360-2 audio0 360.0",
        "v360-2 audio1 360.0",
        "v0-1 audio0 720.0",
        "v0-1 audio1 720.0",
        "v144-2 audio0 144.0",
        "v144-2 audio1 144.0",
        "v720av1-2 audio0 720.5",
        "v720av1-2 audio1 720.5",
        "a0-2 audio0 0.0",
        "v360-2/iframes.m3u8",
        "v0-1/iframes.m3u8",
        "v720av1-2/iframes.m3u8",
    ];
    assert_eq!(listed(&render_multivariant(&ladder().tracks, View::default(), Cut::NONE)), expected);
    let only = View { only: Some(144), ..View::default() };
    assert_eq!(listed(&render_multivariant(&ladder().tracks, only, Cut::NONE)), ["v144-2 audio0 ", "v144-2 audio1 "]);
    let saving = View { most: Some(360), ..View::default() };
    let expected =
        ["v360-2 audio0 ", "v360-2 audio1 ", "v144-2 audio0 ", "v144-2 audio1 ", "a0-2 audio0 ", "v360-2/iframes.m3u8"];
    assert_eq!(listed(&render_multivariant(&ladder().tracks, saving, Cut::NONE)), expected);
}

#[test]
fn sound_alone() {
    let one = render_multivariant(&asset(vec![audio("a0-1", "en", true, 2)]).tracks, View::default(), Cut::NONE);
    assert!(!one.contains("EXT-X-MEDIA") && one.ends_with("CODECS=\"mp4a.40.2\"\na0-1/media.m3u8\n"), "{one}");
    let two = render_multivariant(
        &asset(vec![audio("a0-1", "en", true, 2), audio("a1-1", "en", false, 2)]).tracks,
        View::default(),
        Cut::NONE,
    );
    assert!(two.contains("NAME=\"en\"") && two.contains("NAME=\"en 2\""), "{two}");
    assert_eq!(two.matches("#EXT-X-STREAM-INF").count(), 1);
    assert!(two.ends_with("AUDIO=\"audio0\"\na0-1/media.m3u8\n"), "{two}");
}

#[test]
fn media_playlists_share_the_target_duration() {
    let asset = asset(vec![video("v0-1"), audio("a0-1", "en", true, 2)]);
    let expected = "#EXTM3U\n\
        #EXT-X-VERSION:7\n\
        #EXT-X-TARGETDURATION:5\n\
        #EXT-X-MEDIA-SEQUENCE:0\n\
        #EXT-X-PLAYLIST-TYPE:VOD\n\
        #EXT-X-INDEPENDENT-SEGMENTS\n\
        #EXT-X-MAP:URI=\"init.mp4\"\n\
        #EXTINF:4.010667,\n\
        0.m4s\n\
        #EXTINF:5.013333,\n\
        1.m4s\n\
        #EXT-X-ENDLIST\n";
    assert_eq!(render_media(&asset, &asset.tracks[1], Cut::NONE), expected);
    assert!(render_media(&asset, &asset.tracks[0], Cut::NONE).contains("#EXT-X-TARGETDURATION:5\n"));
}

#[test]
fn target_durations_are_rounded_to_the_nearest_second() {
    let track = empty_track("v");
    let target = |ticks: u32| target_duration([(&track, ticks)].into_iter());
    assert_eq!((target(0), target(1), target(44_999), target(45_000)), (1, 1, 1, 1));
    assert_eq!((target(134_999), target(135_000), target(900_000)), (1, 2, 10));
}

#[test]
fn key_frame_playlist() {
    let expected = "#EXTM3U\n\
        #EXT-X-VERSION:7\n\
        #EXT-X-TARGETDURATION:2\n\
        #EXT-X-MEDIA-SEQUENCE:0\n\
        #EXT-X-PLAYLIST-TYPE:VOD\n\
        #EXT-X-I-FRAMES-ONLY\n\
        #EXT-X-MAP:URI=\"init.mp4\"\n\
        #EXTINF:2.000000,\n\
        k0.m4s\n\
        #EXTINF:2.000000,\n\
        k1.m4s\n\
        #EXT-X-ENDLIST\n";
    assert_eq!(render_key_frames(&video("v0-1"), Cut::NONE).unwrap(), expected);
}

#[test]
fn what_a_cut_leaves_nothing_of_is_not_listed() {
    let asset = asset(vec![video("v0-1"), audio("a0-1", "en", true, 2)]);
    let (_, cut) = asset.cut(Trim { start_ms: 8600, end_ms: 9500 }).unwrap();
    let playlist = render_multivariant(&asset.tracks, View::default(), cut);
    assert!(playlist.contains("v0-1/media.m3u8") && !playlist.contains("a0-1"), "sound had ended: {playlist}");
    assert!(!playlist.contains("I-FRAME"), "no key frame is left: {playlist}");
    assert_eq!(render_key_frames(&asset.tracks[0], cut), None);
}
