use bytes::{BufMut, Bytes, BytesMut};

use super::audio::{AudioBody, AudioCodec, AudioPacket, AudioPackets, ChannelLayout, LegacyFormat};
use super::emit::{AudioTrackWriter, VideoTrackWriter, data};
use super::script::{CodecId, Script, for_players};
use super::video::{FrameKind, VideoBody, VideoCodec, VideoPacket, VideoPackets};
use super::*;
use crate::protocols::rtmp::wire::amf::{Amf, AmfLimits, amf0};

fn video(bytes: &[u8]) -> Result<Vec<VideoPacket>, FlvError> {
    VideoPackets::read(Bytes::copy_from_slice(bytes))?.collect()
}

fn audio(bytes: &[u8]) -> Result<Vec<AudioPacket>, FlvError> {
    AudioPackets::read(Bytes::copy_from_slice(bytes))?.collect()
}

fn script(name: &str, values: &[Amf]) -> Script {
    Script::read(&data(name, values), &AmfLimits::default()).unwrap()
}

fn frame(composition_ms: i32, data: &'static [u8]) -> VideoBody {
    VideoBody::Frame { composition_ms, data: Bytes::from_static(data) }
}

fn start(record: &'static [u8]) -> VideoBody {
    VideoBody::SequenceStart(Bytes::from_static(record))
}

#[test]
fn legacy_video() {
    let one = |bytes: &[u8]| {
        let [packet] = video(bytes).unwrap().try_into().unwrap();
        assert_eq!(packet.track, 0);
        (packet.codec, packet.kind, packet.body)
    };
    assert_eq!(one(&[0x17, 0, 0, 0, 0, 1, 2]), (VideoCodec::Avc, FrameKind::Key, start(&[1, 2])));
    assert_eq!(one(&[0x27, 1, 0, 0, 40, 9]), (VideoCodec::Avc, FrameKind::Inter, frame(40, &[9])));
    assert_eq!(one(&[0x27, 1, 0xff, 0xff, 0xd8, 9]), (VideoCodec::Avc, FrameKind::Inter, frame(-40, &[9])));
    assert_eq!(one(&[0x17, 2]), (VideoCodec::Avc, FrameKind::Key, VideoBody::SequenceEnd));
    assert_eq!(one(&[0x1c, 0, 0, 0, 0, 3]), (VideoCodec::Hevc, FrameKind::Key, start(&[3])));
    assert_eq!(one(&[0x22, 9]), (VideoCodec::Legacy(2), FrameKind::Inter, frame(0, &[9])));
    assert_eq!(one(&[0x57, 1]), (VideoCodec::Avc, FrameKind::Command, VideoBody::Command(1)));
    assert_eq!(video(&[]), Ok(vec![]), "an empty message holds nothing");
    assert_eq!(video(&[0x17]), Err(FlvError::CutShort));
    assert_eq!(video(&[0x17, 1, 0]), Err(FlvError::CutShort));
    assert_eq!(video(&[0x17, 7, 0, 0, 0]), Err(FlvError::PacketType(7)));
}

#[test]
fn enhanced_video_of_each_codec_is_read_as_it_was_written() {
    use VideoCodec::{Av1, Avc, Hevc, Vp8, Vp9, Vvc};
    for codec in [Avc, Hevc, Vvc, Av1, Vp8, Vp9] {
        for track in [0, 3] {
            let writer = VideoTrackWriter::new(codec, track).unwrap();
            let composes = matches!(codec, Avc | Hevc | Vvc);
            let negative = if composes { -33 } else { 0 };
            for (payload, is_key, body) in [
                (writer.sequence_start(&[1, 2, 3]), true, start(&[1, 2, 3])),
                (writer.frame(true, 0, &[4, 5]), true, frame(0, &[4, 5])),
                (writer.frame(false, negative, &[6]), false, frame(negative, &[6])),
                (writer.sequence_end(), true, VideoBody::SequenceEnd),
            ] {
                let kind = if is_key { FrameKind::Key } else { FrameKind::Inter };
                let expected = VideoPacket { track, codec, kind, offset_ns: 0, body };
                assert_eq!(video(&payload), Ok(vec![expected]));
            }
        }
    }
}

#[test]
fn media_bytes_are_shares_of_the_payload() {
    let payload = VideoTrackWriter::new(VideoCodec::Hevc, 2).unwrap().frame(true, 10, &[7; 100]);
    let range = payload.as_ptr_range();
    let packet = VideoPackets::read(payload.clone()).unwrap().next().unwrap().unwrap();
    let VideoBody::Frame { data, .. } = packet.body else { panic!("{packet:?}") };
    assert!(range.contains(&data.as_ptr()));
}

#[test]
fn transport_stream_starts_and_commands() {
    let packets = video(b"\x95av01\x01\x02").unwrap();
    assert_eq!(packets[0].body, VideoBody::TsSequenceStart(Bytes::from_static(&[1, 2])));
    assert_eq!(video(&[0xd1, 1]).unwrap()[0].body, VideoBody::Command(1));
    assert_eq!(video(b"\x9fhvc1"), Err(FlvError::PacketType(15)));
    assert_eq!(video(b"\x91hv"), Err(FlvError::CutShort));
    assert_eq!(video(b"\x91what\x00").unwrap()[0].codec, VideoCodec::Other(FourCc(*b"what")));
}

#[test]
fn many_tracks_in_one_message() {
    // Tracks of one codec: each with its number and size.
    let same = b"\x96\x13av01\x01\x00\x00\x02ab\x02\x00\x00\x01c";
    let found: Vec<_> =
        video(same).unwrap().into_iter().map(|packet| (packet.track, packet.codec, packet.body)).collect();
    assert_eq!(found, [(1, VideoCodec::Av1, frame(0, b"ab")), (2, VideoCodec::Av1, frame(0, b"c"))]);
    // Each with a codec of its own, and composition times where there are some.
    let mixed = b"\xa6\x21avc1\x00\x00\x00\x04\x00\x00\x05xvp09\x01\x00\x00\x01y";
    let found: Vec<_> = video(mixed)
        .unwrap()
        .into_iter()
        .map(|packet| (packet.track, packet.codec, packet.kind, packet.body))
        .collect();
    assert_eq!(
        found,
        [
            (0, VideoCodec::Avc, FrameKind::Inter, frame(5, b"x")),
            (1, VideoCodec::Vp9, FrameKind::Inter, frame(0, b"y"))
        ]
    );
    // A size beyond the end costs that track and what follows, not what precedes.
    let mut packets =
        VideoPackets::read(Bytes::from_static(b"\x96\x13av01\x01\x00\x00\x01a\x02\x00\x00\x09c")).unwrap();
    assert_eq!(packets.next().unwrap().unwrap().track, 1);
    assert_eq!(packets.next(), Some(Err(FlvError::CutShort)));
    assert_eq!(packets.next(), None);
    assert_eq!(video(b"\x96\x16"), Err(FlvError::PacketType(6)), "tracks inside tracks");
    assert_eq!(video(b"\x96\x31av01"), Err(FlvError::MultitrackType(3)));
}

#[test]
fn modifiers_give_nanoseconds_and_unknown_ones_are_skipped() {
    // 0x01e240 = 123456 ns, in front of coded frames.
    let packets = video(b"\x97\x02\x01\xe2\x40\x03hvc1z").unwrap();
    assert_eq!((packets[0].offset_ns, &packets[0].body), (123_456, &frame(0, b"z")));
    // An unknown modifier of 300 bytes first.
    let mut bytes = BytesMut::from(&b"\x97\xff\x01\x2b"[..]);
    bytes.put_bytes(0, 300);
    bytes.put_slice(b"\x57\x02\x0f\xff\xff\x03hvc1z");
    let packets = video(&bytes).unwrap();
    assert_eq!(packets[0].offset_ns, 999_999, "at most what is meant to be told");
    assert_eq!(video(b"\x97\x00\x01\x03hvc1z"), Err(FlvError::CutShort), "a number needs three bytes");
    assert_eq!(video(&[0x97, 0xff]), Err(FlvError::CutShort));
    let packets = audio(b"\x97\x02\x00\x00\x07\x01Opusz").unwrap();
    assert_eq!((packets[0].offset_ns, &packets[0].body), (7, &AudioBody::Frame(Bytes::from_static(b"z"))));
}

#[test]
fn colour_information_and_its_reset() {
    let metadata = |values: &[Amf]| {
        let mut bytes = BytesMut::from(&b"\x94hvc1"[..]);
        values.iter().for_each(|value| amf0::write(value, &mut bytes));
        video(&bytes).unwrap().remove(0).body
    };
    let config = Amf::object([
        ("bitDepth", Amf::Number(10.0)),
        ("colorPrimaries", Amf::Number(9.0)),
        ("transferCharacteristics", Amf::Number(16.0)),
        ("matrixCoefficients", Amf::Number(999.0)),
    ]);
    let light = Amf::object([("maxFall", Amf::Number(400.0)), ("maxCLL", Amf::Number(1000.0))]);
    let color = Amf::object([("colorConfig", config), ("hdrCll", light), ("hdrMdcv", Amf::object([]))]);
    let VideoBody::Color(Some(color)) = metadata(&[Amf::text("colorInfo"), color]) else { panic!("no colour") };
    assert_eq!((color.bit_depth, color.primaries, color.transfer, color.matrix), (Some(10), Some(9), Some(16), None));
    assert_eq!(color.light_level.map(|level| level.content_max), Some(1000.0));
    assert_eq!(color.mastering_display, None);
    assert_eq!(metadata(&[Amf::text("colorInfo"), Amf::Undefined]), VideoBody::Color(None));
    assert_eq!(metadata(&[Amf::text("colorInfo"), Amf::object([])]), VideoBody::Color(None));
    assert_eq!(metadata(&[Amf::text("other"), Amf::Null]), VideoBody::Metadata);
}

#[test]
fn legacy_audio() {
    let packets = audio(&[0xaf, 0, 0x11, 0x90]).unwrap();
    assert_eq!(packets[0].codec, AudioCodec::Aac);
    assert_eq!(packets[0].body, AudioBody::SequenceStart(Bytes::from_static(&[0x11, 0x90])));
    assert_eq!(audio(&[0xaf, 1, 5]).unwrap()[0].body, AudioBody::Frame(Bytes::from_static(&[5])));
    let packets = audio(&[0x2a, 0xff, 0xfb]).unwrap();
    assert_eq!(packets[0].codec, AudioCodec::Mp3);
    assert_eq!(packets[0].legacy, Some(LegacyFormat { rate_hz: 22_050, bits: 16, channels: 1 }));
    assert_eq!(audio(&[0x7f]).unwrap()[0].codec, AudioCodec::Legacy(7));
    assert_eq!(audio(&[]), Ok(vec![]), "silence");
    assert_eq!(audio(&[0xaf]), Err(FlvError::CutShort));
    assert_eq!(audio(&[0xaf, 2]), Err(FlvError::PacketType(2)));
}

#[test]
fn enhanced_audio_of_each_codec_is_read_as_it_was_written() {
    use AudioCodec::{Aac, Ac3, Eac3, Flac, Mp3, Opus};
    for codec in [Aac, Mp3, Opus, Flac, Ac3, Eac3] {
        for track in [0, 1] {
            let writer = AudioTrackWriter::new(codec, track).unwrap();
            let head = Bytes::from_static(b"head");
            for (payload, body) in [
                (writer.sequence_start(b"head"), AudioBody::SequenceStart(head.clone())),
                (writer.frame(b"head"), AudioBody::Frame(head.clone())),
            ] {
                let packets = audio(&payload).unwrap();
                assert_eq!((packets[0].track, packets[0].codec, &packets[0].body), (track, codec, &body));
            }
        }
    }
    assert_eq!(audio(b"\x92Opus").unwrap()[0].body, AudioBody::SequenceEnd);
    assert_eq!(audio(b"\x93Opus"), Err(FlvError::PacketType(3)));
}

#[test]
fn channel_layouts() {
    let layout = |bytes: &[u8]| match audio(&[b"\x94Opus", bytes].concat()).map(|mut packets| packets.remove(0).body) {
        Ok(AudioBody::Channels(layout)) => Ok(layout),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(layout(&[0, 6]), Ok(ChannelLayout::Count(6)));
    assert_eq!(layout(&[1, 6, 0, 0, 6, 0x0f]), Ok(ChannelLayout::Native { channels: 6, mask: 0x60f }));
    assert_eq!(layout(&[2, 2, 1, 0]), Ok(ChannelLayout::Custom(Bytes::from_static(&[1, 0]))));
    assert_eq!(layout(&[2, 200, 1, 0]), Err(FlvError::CutShort));
    assert_eq!(layout(&[1, 6, 0]), Err(FlvError::CutShort));
}

#[test]
fn stream_metadata_in_the_forms_encoders_send() {
    let video = Amf::object([("width", Amf::Number(1024.0)), ("videocodecid", Amf::Number(FourCc::AV1.number()))]);
    let audio = Amf::object([("language", Amf::text("de")), ("channels", Amf::Number(6.0))]);
    let members = [
        ("width", Amf::Number(1280.0)),
        ("height", Amf::text("720")),
        ("framerate", Amf::Number(29.97)),
        ("videocodecid", Amf::Number(7.0)),
        ("videodatarate", Amf::Number(2500.0)),
        ("audiocodecid", Amf::text("mp4a")),
        ("audiosamplerate", Amf::Number(48_000.0)),
        ("stereo", Amf::Boolean(true)),
        ("duration", Amf::Number(0.0)),
        ("encoder", Amf::text("obs-output module")),
        ("videoTrackIdInfoMap", Amf::object([("1", video), ("x", Amf::Null), ("0", Amf::Null)])),
        ("audioTrackIdInfoMap", Amf::object([("2", audio)])),
    ];
    let Script::Metadata(metadata) = script("@setDataFrame", &[Amf::text("onMetaData"), Amf::object(members)]) else {
        panic!("no metadata")
    };
    let default = metadata.video.unwrap();
    assert_eq!((default.width, default.height, default.frames_per_sec), (Some(1280), Some(720), Some(29.97)));
    assert_eq!(default.codec.map(CodecId::video), Some(VideoCodec::Avc));
    assert_eq!(default.bits_per_sec, Some(2_500_000.0));
    let sound = metadata.audio.unwrap();
    assert_eq!((sound.codec.map(CodecId::audio), sound.channels), (Some(AudioCodec::Aac), Some(2)));
    assert_eq!((metadata.duration_secs, metadata.encoder.as_deref()), (None, Some("obs-output module")));
    let [second, german] = &metadata.tracks[..] else { panic!("{:?}", metadata.tracks) };
    assert_eq!(
        (second.track, second.width, second.height),
        (1, Some(1024), Some(720)),
        "the rest is as in the default"
    );
    assert_eq!(second.codec.map(CodecId::video), Some(VideoCodec::Av1));
    assert_eq!((german.track, german.language.as_deref(), german.channels), (2, Some("de"), Some(6)));
    let kept = data("@setDataFrame", &[Amf::text("onMetaData")]);
    assert_eq!(for_players(kept), data("onMetaData", &[]));
    assert_eq!(for_players(data("onCuePoint", &[])), data("onCuePoint", &[]));
    let Script::Metadata(empty) = script("onMetaData", &[Amf::Map(vec![])]) else { panic!("no metadata") };
    assert_eq!((empty.video, empty.audio), (None, None));
}

/// A `splice_info_section`: a break of the network, and its base64.
const SECTION: &str = "/DAlAAAAAAAAAP/wFAUAAAABf+/+LRQrAP4BI9MIAAEBAQAAfxV6SQ==";

#[test]
fn splices_in_the_forms_found() {
    let splice = |name: &str, values: &[Amf]| match script(name, values) {
        Script::Splice(splice) => splice,
        other => panic!("{other:?}"),
    };
    let primetime = Amf::object([
        ("cue", Amf::text(SECTION)),
        ("type", Amf::text("scte35")),
        ("id", Amf::text("120")),
        ("duration", Amf::Number(30.0)),
        ("elapsed", Amf::Number(0.0)),
        ("time", Amf::Number(12.5)),
    ]);
    let found = splice("onAdCue", &[primetime]);
    assert_eq!(found.section.as_ref().map(Bytes::len), Some(40));
    assert_eq!((found.kind.as_deref(), found.id.as_deref()), (Some("scte35"), Some("120")));
    assert_eq!((found.time_secs, found.duration_secs, found.elapsed_secs), (Some(12.5), Some(30.0), None));
    let simple =
        Amf::object([("cue", Amf::text("SpliceOut")), ("id", Amf::Number(7.0)), ("duration", Amf::Number(5.0))]);
    let found = splice("onAdCue", &[simple]);
    assert_eq!((found.section, found.kind.as_deref(), found.id.as_deref()), (None, Some("SpliceOut"), Some("7")));
    let parameters = Amf::object([("id", Amf::text("9")), ("duration", Amf::text("15"))]);
    let elemental = Amf::object([
        ("name", Amf::text("scte35")),
        ("type", Amf::text("event")),
        ("time", Amf::Number(3.0)),
        ("parameters", parameters),
    ]);
    let found = splice("onCuePoint", &[elemental]);
    assert_eq!((found.id.as_deref(), found.duration_secs, found.time_secs), (Some("9"), Some(15.0), Some(3.0)));
    let found = splice("onSCTE35", &[Amf::text(SECTION.trim_end_matches('='))]);
    assert_eq!(found.section.map(|section| section.len()), Some(40));
    let youtube = Amf::object([("type", Amf::text("com.youtube.cuepoint")), ("break_duration_sec", Amf::Number(30.0))]);
    assert_eq!(splice("onCuePoint", &[youtube]).duration_secs, Some(30.0));
}

#[test]
fn cue_points_text_and_the_rest() {
    let cue = Amf::object([("name", Amf::text("goal")), ("parameters", Amf::object([("team", Amf::text("a"))]))]);
    let Script::Cue(cue) = script("onCuePoint", &[cue]) else { panic!("no cue") };
    assert_eq!((cue.name.as_deref(), cue.parameters.len(), cue.time_secs), (Some("goal"), 1, None));
    let text =
        Amf::object([("text", Amf::text("hello")), ("language", Amf::text("en")), ("trackid", Amf::Number(99.0))]);
    let Script::Text(text) = script("onTextData", &[text]) else { panic!("no text") };
    assert_eq!((text.text.as_str(), text.language.as_deref(), text.track), ("hello", Some("en"), Some(99)));
    assert_eq!(script("@clearDataFrame", &[Amf::text("onMetaData")]), Script::ClearMetadata);
    let other = Script::Other { name: "onFI".to_owned(), values: vec![Amf::Null] };
    assert_eq!(script("onFI", &[Amf::Null]), other);
    let limits = AmfLimits::default();
    assert_eq!(Script::read(&[], &limits), Err(FlvError::NoName));
    assert_eq!(Script::read(&[5], &limits), Err(FlvError::NoName));
}
