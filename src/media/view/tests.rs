use super::*;
use crate::domain::asset::{Asset, Segment, SegmentBytes, VideoProperties};
use crate::media::testing::{empty_asset, empty_track};

fn track(name: &str, codec: &str, height: u32, kilobits: u32) -> AssetTrack {
    let source = SegmentBytes::Make { chunk: 0 };
    AssetTrack {
        codec: codec.into(),
        video: Some(VideoProperties { width: height * 16 / 9, height, rotation: 0, frame_rate: (25, 1) }),
        segments: vec![Segment { start: 90_000, duration: 90_000, bytes: kilobits * 125, source }],
        ..empty_track(name)
    }
}

fn ladder() -> Asset {
    let tracks = vec![
        track("source", "avc1.64001f", 720, 9_000),
        track("v720av1", "av01.0.05M.08", 720, 1_500),
        track("v144", "avc1.64000b", 144, 200),
        track("v480", "avc1.64001e", 480, 1_600),
        track("v360", "avc1.64001e", 360, 900),
    ];
    Asset { tracks, ..empty_asset() }
}

fn names(view: View) -> String {
    view.pictures(&ladder().tracks).iter().map(|track| track.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn all_of_it_begins_with_what_most_connections_carry() {
    assert_eq!(names(View::default()), "v480 source v360 v144 v720av1");
    let mut heavy = ladder();
    heavy.tracks.truncate(2);
    let order: Vec<_> = View::default().pictures(&heavy.tracks).iter().map(|track| track.name.clone()).collect();
    assert_eq!(order, ["v720av1", "source"], "what fits comes before what is preferred");
    heavy.tracks.truncate(1);
    assert_eq!(View::default().pictures(&heavy.tracks).len(), 1);
}

#[test]
fn narrowed_and_reordered() {
    assert_eq!(names(View { only: Some(720), ..View::default() }), "v720av1 source");
    assert_eq!(names(View { most: Some(400), ..View::default() }), "v360 v144");
    assert_eq!(names(View { most: Some(100), ..View::default() }), "v144");
    assert_eq!(names(View { first: Some(720), ..View::default() }), "source v480 v360 v144 v720av1");
    assert_eq!(names(View { first: Some(1), ..View::default() }), "v144 source v480 v360 v720av1");
    assert_eq!(names(View { first: Some(720), most: Some(480), ..View::default() }), "v480 v360 v144");
}

#[test]
fn there_are_no_more_views_than_renditions() {
    let asset = ladder();
    let within = |only, most, first| View { only, most, first }.within(&asset.tracks);
    assert_eq!(within(Some(1080), None, None), None);
    assert_eq!(within(Some(480), Some(1), Some(2)), Some(View { only: Some(480), ..View::default() }));
    assert_eq!(within(None, Some(5000), None), Some(View::default()));
    assert_eq!(within(None, Some(479), Some(361)), within(None, Some(360), Some(360)));
    assert_eq!(View { first: Some(3), ..View::default() }.within(&empty_asset().tracks), Some(View::default()));
}

#[test]
fn a_connection_gets_what_it_carries() {
    let renditions = [(720, 4_000_000), (144, 200_000), (360, 900_000)];
    let at = |bits| affordable(&renditions, bits);
    assert_eq!((at(0), at(1_124_999), at(1_125_000), at(u64::MAX)), (Some(144), Some(144), Some(360), Some(720)));
    assert_eq!(affordable(&[], 1), None);
}
