use super::*;
use crate::domain::asset::{AudioProperties, KeyFrame, Segment, SegmentBytes, VideoProperties};
use crate::domain::trim::Trim;
use crate::media::testing::{empty_asset, empty_track};

const SPAN: SegmentBytes = SegmentBytes::Span { span: 0, offset: 0, bytes: 1 };

fn segments(start: i64, durations: &[u32], bytes: u32) -> Vec<Segment> {
    let mut at = start;
    let segment = |duration: &u32| {
        at += i64::from(*duration);
        Segment { start: at - i64::from(*duration), duration: *duration, bytes, source: SPAN }
    };
    durations.iter().map(segment).collect()
}

fn rung(name: &str, codec: &str, (width, height): (u32, u32), bytes: u32) -> AssetTrack {
    let key = |start| KeyFrame { start, duration: 180_000, bytes: 20_000, source: SPAN };
    AssetTrack {
        codec: codec.into(),
        video: Some(VideoProperties { width, height, rotation: 0, frame_rate: (30_000, 1001) }),
        segments: segments(90_000, &[360_000, 360_000, 180_000], bytes),
        key_frames: vec![key(90_000), key(450_000)],
        ..empty_track(name)
    }
}

fn audio(name: &str, language: &str, channels: u16, default: bool) -> AssetTrack {
    AssetTrack {
        kind: TrackKind::Audio,
        codec: "mp4a.40.2".into(),
        timescale: 48_000,
        audio: Some(AudioProperties { sample_rate: 48_000, channels, language: language.into(), default }),
        segments: segments(46_976, &[192_512, 191_488, 96_256], 64_000),
        ..empty_track(name)
    }
}

fn asset(tracks: Vec<AssetTrack>) -> Asset {
    Asset { tracks, ..empty_asset() }
}

#[test]
fn two_rungs_and_sound() {
    let tracks = vec![
        rung("v720-2", "avc1.64001f", (1280, 720), 500_000),
        rung("v360-2", "avc1.64001e", (640, 360), 200_000),
        audio("a0-2", "de-CH", 6, true),
    ];
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static" mediaPresentationDuration="PT10.000000S" maxSegmentDuration="PT4.010667S" minBufferTime="PT4.010667S">
  <Period id="0" start="PT0S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1" selectionPriority="2">
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <SegmentTemplate timescale="90000" presentationTimeOffset="90000" startNumber="0" media="$RepresentationID$/$Number$.m4s" initialization="$RepresentationID$/init.mp4">
        <SegmentTimeline>
          <S t="90000" d="360000" r="1"/>
          <S d="180000"/>
        </SegmentTimeline>
      </SegmentTemplate>
      <Representation id="v720-2" bandwidth="2000000" codecs="avc1.64001f" width="1280" height="720" frameRate="30000/1001" sar="1:1"/>
      <Representation id="v360-2" bandwidth="800000" codecs="avc1.64001e" width="640" height="360" frameRate="30000/1001" sar="1:1"/>
    </AdaptationSet>
    <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" segmentAlignment="true" startWithSAP="1" selectionPriority="3" lang="de-CH">
      <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="6"/>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <SegmentTemplate timescale="48000" presentationTimeOffset="48000" startNumber="0" media="$RepresentationID$/$Number$.m4s" initialization="$RepresentationID$/init.mp4">
        <SegmentTimeline>
          <S t="46976" d="192512"/>
          <S d="191488"/>
          <S d="96256"/>
        </SegmentTimeline>
      </SegmentTemplate>
      <Representation id="a0-2" bandwidth="255320" codecs="mp4a.40.2" audioSamplingRate="48000"/>
    </AdaptationSet>
    <AdaptationSet id="2" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
      <EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode" value="0"/>
      <SegmentTemplate timescale="90000" presentationTimeOffset="90000" startNumber="0" media="v360-2/k$Number$.m4s" initialization="v360-2/init.mp4">
        <SegmentTimeline>
          <S t="90000" d="180000"/>
          <S t="450000" d="180000"/>
        </SegmentTimeline>
      </SegmentTemplate>
      <Representation id="k-v360-2" bandwidth="80000" codecs="avc1.64001e" codingDependency="false" maxPlayoutRate="64" width="640" height="360" frameRate="30000/1001" sar="1:1"/>
    </AdaptationSet>
  </Period>
</MPD>
"#;
    assert_eq!(render_mpd(&asset(tracks), View::default(), Cut::NONE), expected);
}

/// Values of an attribute, in order.
fn values<'a>(mpd: &'a str, attribute: &str) -> Vec<&'a str> {
    let marker = format!(" {attribute}=\"");
    mpd.split(&marker).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn codecs_and_misaligned_renditions_are_sets_of_their_own() {
    let mut odd = rung("v480-2", "avc1.64001e", (854, 480), 100_000);
    odd.segments[1].start += 1;
    let tracks = vec![
        rung("v0-1", "avc1.64001f", (1280, 720), 500_000),
        rung("v360-2", "avc1.64001e", (640, 360), 200_000),
        rung("v720av1-2", "av01.0.05M.08", (1280, 720), 300_000),
        odd,
    ];
    let mpd = render_mpd(&asset(tracks), View::default(), Cut::NONE);
    let sets: Vec<&str> = mpd.split("<AdaptationSet").skip(1).collect();
    let ids: Vec<_> = sets.iter().map(|set| values(set, "Representation id").join(" ")).collect();
    assert_eq!(ids.len(), 6, "three sets and their trick play: {mpd}");
    let of = |set: &str| -> Vec<String> {
        let found = set.split("<Representation id=\"").skip(1);
        found.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    assert_eq!(of(sets[0]), ["v0-1", "v360-2"]);
    assert_eq!((of(sets[1]), of(sets[2])), (vec!["v480-2".to_owned()], vec!["v720av1-2".to_owned()]));
    assert_eq!(values(&mpd, "selectionPriority"), ["2", "1", "1"]);
    let switching = "adaptation-set-switching:2016\" value=\"";
    assert!(sets[0].contains(&format!("{switching}2\"")) && sets[2].contains(&format!("{switching}0\"")));
    assert!(!sets[1].contains(switching), "cut elsewhere");
}

#[test]
fn every_track_of_sound_stands_for_itself() {
    let tracks = vec![
        audio("a0-2", "en", 2, false),
        audio("a0s-2", "en", 6, true),
        audio("a1-2", "\"><evil/>", 2, true),
        audio("a2-2", "und", 9, false),
    ];
    let mpd = render_mpd(&asset(tracks), View::default(), Cut::NONE);
    assert_eq!(mpd.matches("<AdaptationSet").count(), 4);
    assert_eq!(values(&mpd, "lang"), ["en", "en"], "what is no language tag is left out");
    assert_eq!(values(&mpd, "selectionPriority"), ["2", "3", "4", "1"]);
    assert_eq!(mpd.matches("value=\"main\"").count(), 2);
    assert_eq!(mpd.matches("<AudioChannelConfiguration").count(), 3);
    assert!(!mpd.contains(SET_SWITCHING), "languages and layouts are a viewer's choice");
}

#[test]
fn a_view_narrows_it_and_hostile_text_stays_text() {
    let tracks =
        vec![rung("v0-1", "avc1.\"&<", (1280, 720), 500_000), rung("v360-2", "avc1.64001e", (640, 360), 200_000)];
    let mpd = render_mpd(&asset(tracks), View { only: Some(720), ..View::default() }, Cut::NONE);
    assert_eq!(mpd.matches("<Representation").count(), 2, "{mpd}");
    assert_eq!(values(&mpd, "codecs"), ["avc1.&quot;&amp;&lt;"; 2]);
}

#[test]
fn nothing_to_show_is_an_empty_period() {
    let mpd = render_mpd(&empty_asset(), View::default(), Cut::NONE);
    assert!(
        mpd.contains("mediaPresentationDuration=\"PT0.000000S\"") && mpd.contains("<Period id=\"0\" start=\"PT0S\"/>")
    );
}

#[test]
fn what_a_cut_leaves_nothing_of_is_not_described() {
    let mut sound = audio("a0-2", "en", 2, true);
    sound.segments.truncate(2);
    let asset = asset(vec![rung("v720-2", "avc1.64001f", (1280, 720), 500_000), sound]);
    let (_, cut) = asset.cut(Trim { start_ms: 8500, end_ms: 10_000 }).unwrap();
    let mpd = render_mpd(&asset, View::default(), cut);
    assert_eq!(values(&mpd, "contentType"), ["video"], "sound had ended, and no key frame is left: {mpd}");
    assert_eq!(values(&mpd, "startNumber"), ["2"], "{mpd}");
}
