use super::*;
use crate::domain::video::AudioInfo;

fn encoder(name: &str) -> Encoder {
    Encoder { name: name.into(), version: "1".into() }
}

fn settings() -> LadderSettings {
    LadderSettings {
        short_sides: vec![144, 240, 360, 480, 720, 1080, 1440, 2160],
        chunk_ms: 8000,
        quality: 23,
        preset: "veryfast".into(),
        av1_quality: 110,
        av1_preset: "10".into(),
        frame_rate_max: 60,
    }
}

fn video(width: u32, height: u32) -> VideoInfo {
    VideoInfo { codec: "hevc".into(), width, height, frame_rate: (30, 1), ..VideoInfo::default() }
}

fn grid(seconds: i64) -> Grid {
    let cuts = (0..seconds).step_by(4).chain([seconds]).map(|at| (at + 1) * 1000).collect();
    Grid { timescale: 1000, start_ns: 5, cuts, frame_rate: (30, 1), reading: Reading::Sought, runs: Vec::new() }
}

fn planned(video: VideoInfo, keeps_pictures: bool) -> LadderPlan {
    let media = MediaInfo { video: vec![video], ..MediaInfo::default() };
    let encoders = Encoders { h264: encoder("x264enc"), av1: None };
    plan(PlanRequest {
        generation: 2,
        media: &media,
        grid: &grid(30),
        keeps_pictures,
        own_sides: &[],
        keeps_sound: true,
        encoders: &encoders,
        settings: &settings(),
    })
}

fn sizes(plan: &LadderPlan) -> Vec<(u32, u32)> {
    plan.rungs.iter().map(|rung| (rung.width, rung.height)).collect()
}

#[test]
fn rungs_are_below_the_source_and_keep_its_shape() {
    let plan = planned(video(1280, 720), true);
    assert_eq!(sizes(&plan), [(854, 480), (640, 360), (426, 240), (256, 144)]);
    let names: Vec<&str> = plan.rungs.iter().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["v480-2", "v360-2", "v240-2", "v144-2"]);
    assert_eq!(plan.rungs[plan.first_rung].short_side(), 360);
    assert!(plan.rungs.is_sorted_by(|a, b| a.bits_per_sec_max > b.bits_per_sec_max));
    assert_eq!(sizes(&planned(video(1290, 726), true))[0], (852, 480), "720 is too near");
    assert!(planned(video(256, 144), true).rungs.is_empty());
}

#[test]
fn without_a_source_rung_the_highest_is_as_large_as_the_source() {
    assert_eq!(sizes(&planned(video(1280, 720), false))[..2], [(1280, 720), (854, 480)]);
    assert_eq!(sizes(&planned(video(1920, 816), false))[..2], [(1920, 816), (1694, 720)]);
    assert_eq!(sizes(&planned(video(1216, 607), false))[0], (1216, 608));
    assert_eq!(sizes(&planned(video(1920, 750), false))[0], (1844, 720), "750 is near enough");
    assert_eq!(sizes(&planned(video(7680, 4320), false))[0], (3840, 2160));
    let tiny = planned(video(100, 90), false);
    assert_eq!((sizes(&tiny), tiny.first_rung), (vec![(100, 90)], 0));
    assert_eq!(sizes(&planned(video(9, 9), false)), [(16, 16)]);
    assert_eq!(planned(video(640, 240), false).first_rung, 0, "the highest, when none is useful");
}

#[test]
fn rotation_and_pixel_shape_are_applied() {
    let portrait = planned(VideoInfo { rotation: 90, ..video(1280, 720) }, false);
    assert_eq!(sizes(&portrait)[0], (720, 1280));
    assert_eq!(portrait.treatment.unwrap().rotation, 90);
    let wide = VideoInfo { pixel_aspect: (64, 45), ..video(720, 576) };
    assert_eq!(sizes(&planned(wide, false))[0], (1024, 576));
    let tall = VideoInfo { pixel_aspect: (1, 2), ..video(720, 360) };
    assert_eq!(sizes(&planned(tall, false))[0], (720, 720));
}

#[test]
fn chunks_are_whole_segments_without_gap() {
    let plan = planned(video(1280, 720), false);
    let chunks: Vec<_> = plan.chunks.iter().map(|chunk| (chunk.first_segment, chunk.segments)).collect();
    assert_eq!(chunks, [(0, 2), (2, 2), (4, 1), (5, 1), (6, 1), (7, 1)], "half as long at the end");
    assert_eq!(plan.cuts_of(1).unwrap(), [9000, 13_000, 17_000]);
    assert_eq!((plan.chunk_ms(1), plan.chunk_ms(5), plan.chunk_ms(6), plan.pictures_ms()), (8000, 2000, 0, 30_000));
    assert_eq!([0, 1, 2, 7].map(|segment| plan.chunk_of(segment)), [Some(0), Some(0), Some(1), Some(5)]);
    let long = Grid { cuts: vec![0, 10_000, 20_000, 21_000, 22_000, 32_000], ..grid(0) };
    assert_eq!(super::chunks(&long, 8000).len(), 4, "a long segment is a chunk of its own");
    let one = Grid { cuts: vec![0, 4000, 8000], ..grid(0) };
    assert_eq!(super::chunks(&one, 8000).len(), 1);
}

#[test]
fn chunks_decoded_from_the_start_grow() {
    let seconds = |of: i64| {
        let grid = Grid { reading: Reading::FromStart, ..grid(of) };
        let chunks = super::chunks(&grid, 8000);
        assert_eq!(chunks.iter().map(|chunk| chunk.segments).sum::<u32>() as usize, grid.cuts.len() - 1);
        chunks.iter().map(|chunk| chunk.segments * 4).collect::<Vec<_>>()
    };
    assert_eq!(seconds(60), [8, 16, 32, 4]);
    let hours = seconds(7200);
    assert_eq!((hours.len(), hours.iter().max()), (18, Some(&600)), "{hours:?}");
}

#[test]
fn sound_is_encoded_once_per_track_and_surround_beside_it() {
    let audio = |channels, language: &str| AudioInfo { channels, language: language.into(), ..AudioInfo::default() };
    let media = MediaInfo { audio: vec![audio(6, "de"), audio(1, "")], ..MediaInfo::default() };
    let encoders = Encoders { h264: encoder("x264enc"), av1: None };
    let request = PlanRequest {
        generation: 3,
        media: &media,
        grid: &Grid::default(),
        keeps_pictures: false,
        own_sides: &[],
        keeps_sound: false,
        encoders: &encoders,
        settings: &settings(),
    };
    let made = plan(request);
    let rungs: Vec<_> = made.sound.iter().map(|rung| (rung.name.as_str(), rung.track, rung.channels)).collect();
    assert_eq!(rungs, [("a0-3", 0, 2), ("a0s-3", 0, 6), ("a1-3", 1, 1)]);
    let languages: Vec<_> = made.sound.iter().map(|rung| (rung.language.as_str(), rung.default)).collect();
    assert_eq!(languages, [("de", true), ("de", true), ("und", false)]);
    assert_eq!((made.treatment, made.chunks.len()), (None, 0));
    assert!(plan(PlanRequest { keeps_sound: true, ..request }).sound.is_empty());
}

#[test]
fn an_av1_rung_comes_last_and_can_come_later() {
    let media = MediaInfo { video: vec![video(1920, 1080)], ..MediaInfo::default() };
    let with = Encoders { h264: encoder("x264enc"), av1: Some(encoder("rav1e")) };
    let without = Encoders { av1: None, ..with.clone() };
    let (grid, settings) = (grid(9), settings());
    let request = |encoders| PlanRequest {
        generation: 1,
        media: &media,
        grid: &grid,
        keeps_pictures: true,
        own_sides: &[],
        keeps_sound: true,
        encoders,
        settings: &settings,
    };
    let at_once = plan(request(&with));
    let last = at_once.rungs.last().unwrap();
    assert_eq!((last.name.as_str(), last.codec, last.encoder.name.as_str()), ("v720av1-1", RungCodec::Av1, "rav1e"));
    assert!(last.bits_per_sec_max < at_once.rungs[0].bits_per_sec_max);
    assert_eq!((at_once.rungs[at_once.first_rung].short_side(), at_once.rungs_in(RungCodec::Av1)), (360, vec![5]));
    let mut later = plan(request(&without));
    assert!(!add_av1(&mut later, request(&without)));
    assert!(add_av1(&mut later, request(&with)));
    assert_eq!(later, at_once);
    assert!(add_av1(&mut later, request(&with)));
    assert_eq!(later, at_once);
}

#[test]
fn covers_are_not_watched() {
    let cover = VideoInfo { codec: "png".into(), ..video(500, 500) };
    let media = MediaInfo { video: vec![cover, video(640, 360)], ..MediaInfo::default() };
    assert_eq!(main_picture(&media).unwrap().0, 1);
    assert_eq!(main_picture(&MediaInfo { video: media.video[..1].to_vec(), ..media.clone() }).unwrap().0, 0);
    assert!(main_picture(&MediaInfo::default()).is_none());
}
