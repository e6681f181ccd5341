use super::*;
use crate::media::testing::{HVCC, avcc, hex};
use crate::protocols::rtmp::wire::amf::Amf;
use crate::protocols::rtmp::wire::flv::FourCc;
use crate::protocols::rtmp::wire::flv::audio::AudioCodec;
use crate::protocols::rtmp::wire::flv::emit::{AudioTrackWriter, VideoTrackWriter, data};
use crate::protocols::rtmp::wire::flv::video::VideoCodec;

fn message(medium: Medium, timestamp_ms: u32, payload: Vec<u8>) -> MediaMessage {
    MediaMessage { medium, timestamp_ms, payload: payload.into() }
}

/// A legacy AVC tag: configuration (0) or a frame (1).
fn video(at: u32, packet_type: u8, key: bool, body: &[u8]) -> MediaMessage {
    let head = [if key { 0x17 } else { 0x27 }, packet_type, 0, 0, 80];
    message(Medium::Video, at, [&head, body].concat())
}

fn audio(at: u32, packet_type: u8, body: &[u8]) -> MediaMessage {
    message(Medium::Audio, at, [&[0xaf, packet_type], body].concat())
}

/// A picture of one slice of this kind: 5 is IDR, 1 is not.
fn slice(kind: u8) -> Vec<u8> {
    vec![0, 0, 0, 3, 0x60 | kind, 0x88, 0x80]
}

const AAC: &[u8] = &[0x11, 0x90];

fn feed(ingest: &mut RtmpIngest, message: MediaMessage) -> Vec<Fed> {
    let mut out = Vec::new();
    let arrival = Duration::from_millis(u64::from(message.timestamp_ms));
    ingest.take(message, arrival, &mut out);
    out
}

fn kinds(fed: &[Fed]) -> String {
    let kind = |fed: &Fed| match fed {
        Fed::Visit(visit) => format!(
            "[{}]",
            visit
                .tracks
                .iter()
                .map(|track| if track.kind() == TrackKind::Video { 'v' } else { 'a' })
                .collect::<String>()
        ),
        Fed::Frame { track, stamp, .. } => format!("{track}{}", if stamp.keyframe { "k" } else { "-" }),
        Fed::Cue(cue) => format!("cue@{}", cue.time),
    };
    fed.iter().map(kind).collect::<Vec<_>>().join(" ")
}

#[test]
fn tracks_are_announced_once_all_have_told_their_configuration() {
    let mut ingest = RtmpIngest::default();
    assert!(feed(&mut ingest, video(0, 0, true, &avcc())).is_empty());
    assert!(feed(&mut ingest, video(0, 1, true, &slice(5))).is_empty(), "held until the sound is known");
    assert!(feed(&mut ingest, audio(0, 0, AAC)).is_empty());
    assert_eq!(kinds(&feed(&mut ingest, audio(5, 1, &[1, 2, 3]))), "[va] 0k 1k");
    assert_eq!(kinds(&feed(&mut ingest, video(33, 1, false, &slice(1)))), "0-");
    assert_eq!(kinds(&feed(&mut ingest, video(66, 1, true, &slice(1)))), "0-", "no IDR picture is no key frame");
    let Fed::Frame { stamp, .. } = feed(&mut ingest, video(99, 1, true, &slice(5))).remove(0) else {
        panic!("a frame")
    };
    assert_eq!((stamp.dts, stamp.composition, stamp.keyframe), (99, 80, true));
    assert_eq!(ingest.unusable(), Unusable::default());
}

#[test]
fn one_kind_alone_is_announced_after_a_moment() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, audio(0, 0, AAC));
    let mut all = Vec::new();
    for at in (0..1500).step_by(21) {
        all.extend(feed(&mut ingest, audio(at, 1, &[9])));
    }
    let shown = kinds(&all);
    assert!(shown.starts_with("[a] 0k 0k"), "{shown}");
    assert_eq!(shown.matches("0k").count(), 72, "what was held is not lost");
}

#[test]
fn a_new_configuration_is_a_new_visit_and_the_same_one_is_not() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, audio(0, 0, AAC));
    feed(&mut ingest, video(0, 0, true, &avcc()));
    assert_eq!(kinds(&feed(&mut ingest, video(0, 1, true, &slice(5)))), "[va] 0k");
    feed(&mut ingest, video(20, 0, true, &avcc()));
    assert_eq!(kinds(&feed(&mut ingest, video(40, 1, false, &slice(1)))), "0-");
    feed(&mut ingest, audio(50, 0, &[0x12, 0x10]));
    assert_eq!(kinds(&feed(&mut ingest, video(60, 1, true, &slice(5)))), "[va] 0k");
}

#[test]
fn what_cannot_be_used_is_counted() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, video(0, 1, true, &slice(5)));
    feed(&mut ingest, message(Medium::Audio, 0, vec![0xbf, 1, 2, 3]));
    feed(&mut ingest, video(0, 0, true, &[1, 2]));
    feed(&mut ingest, message(Medium::Video, 0, vec![0x17]));
    feed(&mut ingest, message(Medium::Data, 0, vec![0xff]));
    assert_eq!(ingest.unusable(), Unusable { damaged: 2, codec: 1, unconfigured: 1, undecodable: 0 });
    let refusal = "Speex cannot be published here: send AAC, Opus, MP3, FLAC, AC-3 or E-AC-3";
    assert_eq!(ingest.refusal(), Some(refusal));
}

/// As ffmpeg sends it: AV1 of SVT-AV1, VP9 of libvpx, 320x180; Opus in stereo; AC-3.
const AV1C: &str = "81000c000a0b0200000521e7f66017c002";
const AV1_KEY: &str = "12000a0b0200000521e7f66257c80232051000864080";
const AV1_INTER: &str = "1200320428100040";
const VPCC: &str = "01000000000b820202020000";
const VP9_KEY: &str = "824983420013f00b360638241c18";
const OPUS_HEAD: &str = "4f707573486561640102380180bb0000000000";
const AC3: &str = "0b77fe95144043e106f46370c0c0c218";

fn picture(codec: VideoCodec, (at, is_key): (u32, bool), body: &[u8]) -> MediaMessage {
    message(Medium::Video, at, VideoTrackWriter::new(codec, 0).unwrap().frame(is_key, 0, body).to_vec())
}

fn record(codec: VideoCodec, track: u8, body: &[u8]) -> MediaMessage {
    message(Medium::Video, 0, VideoTrackWriter::new(codec, track).unwrap().sequence_start(body).to_vec())
}

fn sound(codec: AudioCodec, track: u8, at: u32, body: &[u8]) -> MediaMessage {
    message(Medium::Audio, at, AudioTrackWriter::new(codec, track).unwrap().frame(body).to_vec())
}

/// An HEVC access unit of one slice of this kind.
fn hevc(kind: u8) -> Vec<u8> {
    vec![0, 0, 0, 3, kind << 1, 1, 0x80]
}

fn codecs(fed: &[Fed]) -> Vec<String> {
    let visit = fed.iter().find_map(|fed| if let Fed::Visit(visit) = fed { Some(visit) } else { None });
    visit.iter().flat_map(|visit| &visit.tracks).map(|track| track.codec_string().unwrap()).collect()
}

fn payloads(fed: Vec<Fed>) -> Vec<Vec<u8>> {
    fed.into_iter()
        .filter_map(|fed| if let Fed::Frame { payload, .. } = fed { Some(payload.to_vec()) } else { None })
        .collect()
}

#[test]
fn hevc_key_frames_are_random_access_pictures_whatever_the_tag_says() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, record(VideoCodec::Hevc, 0, &hex(HVCC)));
    feed(
        &mut ingest,
        message(
            Medium::Audio,
            0,
            AudioTrackWriter::new(AudioCodec::Opus, 0).unwrap().sequence_start(&hex(OPUS_HEAD)).to_vec(),
        ),
    );
    let fed = feed(&mut ingest, picture(VideoCodec::Hevc, (0, false), &hevc(21)));
    assert_eq!((codecs(&fed), kinds(&fed).as_str()), (vec!["hvc1.1.6.L60.90".into(), "opus".into()], "[va] 0k"));
    assert_eq!(
        kinds(&feed(&mut ingest, picture(VideoCodec::Hevc, (33, false), &hevc(9)))),
        "",
        "needs what came before"
    );
    assert_eq!(kinds(&feed(&mut ingest, picture(VideoCodec::Hevc, (66, true), &hevc(1)))), "0-");
    assert_eq!(kinds(&feed(&mut ingest, picture(VideoCodec::Hevc, (99, true), &hevc(21)))), "0k");
    assert_eq!(kinds(&feed(&mut ingest, picture(VideoCodec::Hevc, (133, false), &hevc(9)))), "0-", "has it");
    assert_eq!(ingest.unusable(), Unusable { undecodable: 1, ..Unusable::default() });
}

#[test]
fn av1_is_stripped_of_delimiters_and_tells_its_key_frames() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, record(VideoCodec::Av1, 0, &hex(AV1C)));
    let mut fed = feed(&mut ingest, sound(AudioCodec::Ac3, 0, 0, &hex(AC3)));
    fed.extend(feed(&mut ingest, picture(VideoCodec::Av1, (0, true), &hex(AV1_KEY))));
    fed.extend(feed(&mut ingest, picture(VideoCodec::Av1, (33, true), &hex(AV1_INTER))));
    assert_eq!((codecs(&fed), kinds(&fed).as_str()), (vec!["av01.0.00M.08".into(), "ac-3".into()], "[va] 1k 0k 0-"));
    assert_eq!(payloads(fed)[1..], [hex(AV1_KEY)[2..].to_vec(), hex(AV1_INTER)[2..].to_vec()]);
    let mut bare = RtmpIngest::default();
    feed(&mut bare, record(VideoCodec::Av1, 0, &hex("81000c00")));
    feed(&mut bare, audio(0, 0, AAC));
    let fed = feed(&mut bare, picture(VideoCodec::Av1, (0, true), &hex(AV1_KEY)));
    assert_eq!(codecs(&fed)[0], "av01.0.00M.08", "the key frame has what the record lacks");
}

#[test]
fn vp9_is_known_by_its_first_key_frame_and_another_size_is_a_new_visit() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, record(VideoCodec::Vp9, 0, &hex(VPCC)));
    feed(&mut ingest, audio(0, 0, AAC));
    assert_eq!(kinds(&feed(&mut ingest, audio(5, 1, &[1, 2]))), "", "held until the size is known");
    let fed = feed(&mut ingest, picture(VideoCodec::Vp9, (10, true), &hex(VP9_KEY)));
    assert_eq!((codecs(&fed)[0].as_str(), kinds(&fed).as_str()), ("vp09.00.11.08", "[va] 1k 0k"));
    let mut larger = hex(VP9_KEY);
    larger[6] ^= 0x10;
    let fed = feed(&mut ingest, picture(VideoCodec::Vp9, (43, true), &larger));
    assert_eq!(kinds(&fed), "[va] 0k");
    assert_eq!(kinds(&feed(&mut ingest, picture(VideoCodec::Vp9, (76, true), &hex("86004092")))), "0-");
}

#[test]
fn colours_that_are_told_before_the_first_picture_are_the_tracks() {
    let mut ingest = RtmpIngest::default();
    feed(&mut ingest, record(VideoCodec::Hevc, 0, &hex(HVCC)));
    feed(&mut ingest, audio(0, 0, AAC));
    feed(&mut ingest, audio(5, 1, &[1, 2]));
    let config = [("colorPrimaries", 9.0), ("transferCharacteristics", 16.0), ("matrixCoefficients", 9.0)];
    let config = Amf::object(config.map(|(name, code)| (name, Amf::Number(code))));
    let colour = data("colorInfo", &[Amf::object([("colorConfig", config)])]);
    feed(&mut ingest, message(Medium::Video, 0, [&b"\xd4hvc1"[..], &colour].concat()));
    let fed = feed(&mut ingest, picture(VideoCodec::Hevc, (0, true), &hevc(19)));
    let Fed::Visit(visit) = &fed[0] else { panic!("a visit") };
    assert_eq!(visit.tracks[0].colour.map(|colour| (colour.primaries, colour.transfer)), Some((9, 16)));
}

#[test]
fn several_tracks_are_announced_together_with_their_languages() {
    let mut ingest = RtmpIngest::default();
    let track = |language: &str| Amf::object([("language", Amf::text(language))]);
    let map = Amf::object([("1", track("deu")), ("2", track("nonsense, really"))]);
    let metadata = Amf::object([("audioTrackIdInfoMap", map), ("audiocodecid", Amf::Number(FourCc::AAC.number()))]);
    feed(&mut ingest, message(Medium::Data, 0, data("onMetaData", &[metadata]).to_vec()));
    feed(&mut ingest, record(VideoCodec::Avc, 0, &avcc()));
    feed(&mut ingest, record(VideoCodec::Hevc, 1, &hex(HVCC)));
    feed(&mut ingest, audio(0, 0, AAC));
    assert_eq!(kinds(&feed(&mut ingest, video(0, 1, true, &slice(5)))), "", "two more tracks of sound are to come");
    feed(&mut ingest, sound(AudioCodec::Ac3, 1, 0, &hex(AC3)));
    let fed = feed(&mut ingest, sound(AudioCodec::Mp3, 2, 0, &[0xff, 0xfb, 0x54, 0xc4, 0]));
    assert_eq!(kinds(&fed), "[vvaaa] 0k 3k 4k");
    let Fed::Visit(visit) = &fed[0] else { panic!("a visit") };
    let told: Vec<_> = visit.tracks.iter().map(|track| (track.language.as_str(), track.default)).collect();
    assert_eq!(told[2..], [("und", true), ("de", false), ("und", false)]);
    for number in 3..20 {
        feed(&mut ingest, record(VideoCodec::Hevc, number, &hex(HVCC)));
    }
    assert_eq!(ingest.unusable(), Unusable { codec: 11, ..Unusable::default() }, "eight of each kind");
    assert_eq!(ingest.refusal(), None);
}
