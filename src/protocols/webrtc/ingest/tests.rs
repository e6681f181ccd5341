//! Pictures of an encoder, put into packets by the crate, with what a network does to them.
use std::ops::Range;

use bytes::Bytes;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::codec::vp9::Vp9Payloader;
use rtc::rtp::packetizer::Payloader;

use super::*;
use crate::media::codecs::annexb::AnnexB;
use crate::media::live::broadcast::Visit;
use crate::media::testing::run_bytes;
use crate::protocols::webrtc::wire::offer::Format;

const LATENCY: Duration = Duration::from_millis(300);
const VIDEO: u32 = 7;
const AUDIO: u32 = 8;

fn choice(codec: Codec) -> Choice {
    let is_sound = codec.media() == Media::Audio;
    let format = Format {
        payload_type: if is_sound { 111 } else { 96 },
        name: codec.name().into(),
        clock_rate: if is_sound { 48_000 } else { 90_000 },
        channels: if is_sound { 2 } else { 1 },
        parameters: String::new(),
        feedback: Vec::new(),
    };
    Choice { codec, format, repair: None }
}

/// Access units of H.264 in this size, a key frame in every `gop`.
fn encoded(size: &str, frames: u32, gop: u32) -> Vec<Bytes> {
    let arguments = format!(
        "-nostdin -v error -f lavfi -i testsrc2=s={size}:r=25 -frames:v {frames} -c:v libx264 -preset ultrafast -tune zerolatency \
         -profile:v baseline -pix_fmt yuv420p -g {gop} -x264-params slices=1:aud=1 -f h264 -"
    );
    let stream = run_bytes("ffmpeg", &arguments.split_whitespace().collect::<Vec<_>>());
    let mut units: Vec<Vec<u8>> = Vec::new();
    for unit in AnnexB::new(&stream) {
        if unit[0] & 0x1f == 9 {
            units.push(Vec::new());
            continue;
        }
        let last = units.last_mut().unwrap();
        last.extend([0, 0, 0, 1]);
        last.extend(unit);
    }
    assert_eq!(units.len(), frames as usize);
    units.into_iter().map(Bytes::from).collect()
}

/// A publisher that sends at 25 frames a second.
struct World {
    ingest: RtpIngest,
    start: Instant,
    now: Instant,
    sequence: u16,
    timestamp: u32,
    fed: Vec<Fed>,
    wishes: Vec<Wish>,
}

impl World {
    fn new(codecs: &[Codec]) -> Self {
        let start = Instant::now();
        let choices: Vec<Choice> = codecs.iter().map(|codec| choice(*codec)).collect();
        let ingest = RtpIngest::new(&choices, LATENCY, start);
        Self {
            ingest,
            start,
            now: start,
            sequence: 65_530,
            timestamp: u32::MAX - 4000,
            fed: Vec::new(),
            wishes: Vec::new(),
        }
    }

    fn packets(&mut self, payloader: &mut dyn Payloader, unit: &Bytes) -> Vec<RtpPacket> {
        let payloads = payloader.payload(500, unit).unwrap();
        let last = payloads.len() - 1;
        let packets = payloads.into_iter().enumerate().map(|(index, payload)| {
            let mut packet = RtpPacket::default();
            packet.header.ssrc = VIDEO;
            packet.header.timestamp = self.timestamp;
            packet.header.sequence_number = self.sequence;
            packet.header.marker = index == last;
            packet.payload = payload;
            self.sequence = self.sequence.wrapping_add(1);
            packet
        });
        packets.collect()
    }

    fn next_picture(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(3600);
        self.now += Duration::from_millis(40);
    }

    fn take(&mut self, section: usize, packets: Vec<RtpPacket>) {
        for packet in packets {
            self.ingest.take(section, packet, self.now, &mut self.fed);
        }
        self.ingest.advance(self.now, &mut self.fed, &mut self.wishes);
    }

    fn visits(&self) -> Vec<&Visit> {
        self.fed.iter().filter_map(|fed| if let Fed::Visit(visit) = fed { Some(visit) } else { None }).collect()
    }

    fn frames(&self) -> Vec<(usize, Stamp)> {
        let frame = |fed: &Fed| if let Fed::Frame { track, stamp, .. } = fed { Some((*track, *stamp)) } else { None };
        self.fed.iter().filter_map(frame).collect()
    }

    fn key_frames_asked(&self) -> usize {
        self.wishes.iter().filter(|wish| **wish == Wish::KeyFrame(VIDEO)).count()
    }
}

#[test]
fn pictures_and_sound_become_a_visit_with_frames_in_step() {
    let mut world = World::new(&[Codec::Opus, Codec::H264]);
    let mut payloader = H264Payloader::default();
    for (number, unit) in encoded("160x90", 25, 50).iter().enumerate() {
        let mut packets = world.packets(&mut payloader, unit);
        if number > 0 {
            packets.reverse();
        }
        world.take(1, packets);
        for half in 0..2u16 {
            let mut packet = RtpPacket::default();
            packet.header.ssrc = AUDIO;
            packet.header.sequence_number = number as u16 * 2 + half;
            packet.header.timestamp = (u32::from(packet.header.sequence_number)) * 960;
            packet.payload = Bytes::from_static(&[0xfc, 1, 2]);
            world.take(0, vec![packet]);
        }
        world.next_picture();
    }
    let visits = world.visits();
    let codecs: Vec<&str> = visits[0].tracks.iter().map(|track| track.codec.name()).collect();
    assert_eq!((visits.len(), codecs), (1, vec!["H.264", "Opus"]));
    let frames = world.frames();
    let times =
        |track| -> Vec<i64> { frames.iter().filter(|(of, _)| *of == track).map(|(_, stamp)| stamp.dts).collect() };
    assert_eq!(times(0), (0..25).map(|number| number * 3600).collect::<Vec<_>>());
    assert_eq!(times(1), (0..50).map(|number| number * 1800).collect::<Vec<_>>());
    assert!(
        frames[0].1.keyframe && !frames.iter().any(|(track, stamp)| *track == 0 && stamp.dts > 0 && stamp.keyframe)
    );
    assert_eq!((world.ingest.unusable().damaged, world.ingest.stats().lost), (0, 0));
    // The first one was a key frame, and none has to be asked for until it is nearly two seconds old.
    assert_eq!(world.key_frames_asked(), 0);
    world.ingest.advance(world.start + KEY_EVERY, &mut world.fed, &mut world.wishes);
    assert_eq!(world.key_frames_asked(), 1);
}

#[test]
fn viewers_wishes_for_key_frames_are_passed_on_but_not_too_often() {
    let mut world = World::new(&[Codec::H264]);
    let mut payloader = H264Payloader::default();
    for unit in encoded("160x90", 5, 50) {
        let packets = world.packets(&mut payloader, &unit);
        world.take(0, packets);
        world.next_picture();
    }
    assert_eq!(world.key_frames_asked(), 0);
    for _ in 0..20 {
        world.ingest.want_key_frames();
        world.ingest.advance(world.now, &mut world.fed, &mut world.wishes);
        world.now += Duration::from_millis(100);
    }
    assert_eq!(world.key_frames_asked(), 3, "a second after the last one, and then one in half a second");
}

#[test]
fn a_loss_leaves_pictures_out_until_the_next_key_frame() {
    let mut world = World::new(&[Codec::H264]);
    let mut payloader = H264Payloader::default();
    let mut asked = Vec::new();
    for (number, unit) in encoded("160x90", 40, 20).iter().enumerate() {
        let mut packets = world.packets(&mut payloader, unit);
        match number {
            3 => {
                // It comes when it is asked for.
                let late = packets.remove(0);
                world.take(0, packets);
                world.now += Duration::from_millis(15);
                world.take(0, Vec::new());
                packets = vec![late];
            }
            5 => drop(packets.remove(0)),
            _ => {}
        }
        world.take(0, packets);
        asked.extend(
            world
                .wishes
                .iter()
                .filter_map(|wish| if let Wish::Again(VIDEO, numbers) = wish { Some(numbers.clone()) } else { None }),
        );
        world.next_picture();
    }
    let shown: Vec<i64> = world.frames().iter().map(|(_, stamp)| stamp.dts / 3600).collect();
    assert_eq!(shown, (0..5).chain(20..40).collect::<Vec<_>>());
    assert!(!asked.is_empty() && world.key_frames_asked() >= 1, "{:?}", world.wishes);
    let stats = world.ingest.stats();
    assert_eq!((stats.recovered, stats.lost, world.ingest.unusable().gaps), (1, 1, 1));
}

#[test]
fn sizes_that_change_all_the_time_open_few_epochs() {
    let mut world = World::new(&[Codec::H264]);
    let mut payloader = H264Payloader::default();
    let (large, small) = (encoded("160x90", 25, 25), encoded("128x72", 25, 25));
    for number in 0..20 {
        for unit in if number % 2 == 0 { &large } else { &small } {
            let packets = world.packets(&mut payloader, unit);
            world.take(0, packets);
            world.next_picture();
        }
    }
    // Twenty seconds with a change in each.
    assert_eq!(world.visits().len(), 3, "{:?}", world.ingest.unusable());
    assert!(world.frames().len() >= 200, "pictures of the size that was announced are shown");
}

#[test]
fn vp9_tells_its_configuration_in_key_frames() {
    let key = Bytes::from_static(&[0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x36, 0x06, 1, 2, 3]);
    let inter = Bytes::from_static(&[0x86, 0x00, 0x40, 0x92, 0xf1, 0x21, 0x40, 0x00, 0x00, 0x88]);
    let mut world = World::new(&[Codec::Vp9]);
    let mut payloader = Vp9Payloader::default();
    for unit in [&inter, &key, &inter, &inter] {
        let packets = world.packets(&mut payloader, unit);
        world.take(0, packets);
        world.next_picture();
    }
    let properties = world.visits()[0].tracks[0].video_properties((25, 1)).unwrap().unwrap();
    assert_eq!((properties.width, properties.height), (320, 180));
    assert_eq!(world.frames().iter().map(|(_, stamp)| stamp.keyframe).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn vp8_is_encoded_anew_before_it_is_announced() {
    let key = Bytes::from_static(&[0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00, 1, 2, 3]);
    let inter = Bytes::from_static(&[0x51, 0x42, 0x00, 1, 2, 3]);
    let mut world = World::new(&[Codec::Vp8]);
    let mut payloader = Vp8Payloader::default();
    let mut handed_out = Vec::new();
    for unit in [&inter, &key, &inter, &key] {
        let packets = world.packets(&mut payloader, unit);
        world.take(0, packets);
        world.next_picture();
        handed_out.extend(world.ingest.to_transcode());
    }
    let told: Vec<_> = handed_out.iter().map(|one| (one.config.is_some(), one.frame.keyframe, one.frame.pts)).collect();
    assert_eq!(told, [(true, true, 3600), (false, false, 7200), (true, true, 10_800)]);
    assert!(world.fed.is_empty(), "{:?}", world.fed);
    let now = world.now;
    let made = [3600, 7200].map(|pts| Transcoded::Picture { pts, keyframe: pts == 3600, payload: key.clone() });
    for made in [Transcoded::Begin(crate::media::live::testing::video())].into_iter().chain(made) {
        world.ingest.take_transcoded(made, now, &mut world.fed);
    }
    assert_eq!(world.visits()[0].tracks[0].codec.name(), "H.264");
    assert_eq!(world.frames().iter().map(|(_, stamp)| stamp.dts).collect::<Vec<_>>(), [3600, 7200]);
    // What was left out is asked for again, and nothing is handed out before it comes.
    world.ingest.take_transcoded(Transcoded::Interrupted, now, &mut world.fed);
    for (unit, count) in [(&inter, 0), (&key, 1), (&inter, 1)] {
        let packets = world.packets(&mut payloader, unit);
        world.take(0, packets);
        world.next_picture();
        assert_eq!(world.ingest.to_transcode().len(), count);
    }
}

#[test]
fn a_first_picture_that_began_before_is_no_damage() {
    let mut world = World::new(&[Codec::H264]);
    let mut payloader = H264Payloader::default();
    for (index, unit) in encoded("320x180", 20, 10).iter().enumerate() {
        let packets = world.packets(&mut payloader, unit);
        // Before there were keys to read it, its beginning has come.
        let missed = if index == 0 { packets.len() - 1 } else { 0 };
        world.take(0, packets.into_iter().skip(missed).collect());
        world.next_picture();
    }
    assert_eq!((world.ingest.unusable().damaged, world.ingest.stats().lost), (0, 0));
    let keys: Vec<bool> = world.frames().iter().map(|(_, stamp)| stamp.keyframe).collect();
    assert_eq!(keys, [&[true][..], &[false; 9]].concat(), "from the next key frame on");
    assert!(world.key_frames_asked() > 0);
}

/// Sends two sizes, a key frame of both in every `gop`; the small one all the time, the large one in these pictures.
fn two_layers(world: &mut World, next: &mut [u16; 2], gop: u32, (pictures, large): (Range<usize>, Range<usize>)) {
    let sizes = [encoded("160x90", 100, gop), encoded("320x180", 100, gop)];
    let mut payloader = H264Payloader::default();
    for index in pictures {
        for layer in (0..2).filter(|layer| *layer == 0 || large.contains(&index)) {
            world.sequence = next[layer];
            let mut packets = world.packets(&mut payloader, &sizes[layer][index % 100]);
            packets.iter_mut().for_each(|packet| packet.header.ssrc = VIDEO + layer as u32);
            next[layer] = world.sequence;
            world.take(layer, packets);
        }
        world.next_picture();
    }
}

fn sizes(visit: &Visit) -> Vec<u32> {
    visit.tracks.iter().map(|track| track.video_properties((25, 1)).unwrap().unwrap().width).collect()
}

#[test]
fn layers_are_tracks_the_largest_first_and_those_that_stop_are_left_out() {
    let mut world = World::new(&[Codec::H264, Codec::H264]);
    let mut next = [65_530; 2];
    two_layers(&mut world, &mut next, 100, (0..60, 0..60));
    assert_eq!(world.visits().iter().map(|visit| sizes(visit)).collect::<Vec<_>>(), [[320, 160]]);
    let of_track = |world: &World, track| world.frames().iter().filter(|(of, _)| *of == track).count();
    assert_eq!((of_track(&world, 0), of_track(&world, 1)), (60, 60));
    let asked: Vec<u32> = world
        .wishes
        .iter()
        .filter_map(|wish| if let Wish::KeyFrame(ssrc) = wish { Some(*ssrc) } else { None })
        .collect();
    assert!(
        asked.len() >= 2 && asked.chunks(2).skip(1).all(|pair| pair == [VIDEO, VIDEO + 1]),
        "of all at once: {asked:?}"
    );
    // The line carries the small one only, and after a while the large one again, the second time before that may be announced.
    two_layers(&mut world, &mut next, 10, (60..180, 0..0));
    let asked = world.key_frames_asked();
    two_layers(&mut world, &mut next, 10, (180..220, 180..220));
    assert_eq!(world.key_frames_asked(), asked, "for what has to wait nobody is asked");
    two_layers(&mut world, &mut next, 10, (220..400, 290..400));
    let visits: Vec<Vec<u32>> = world.visits().iter().map(|visit| sizes(visit)).collect();
    assert_eq!(visits, [vec![320, 160], vec![160], vec![320, 160]]);
}

#[test]
fn packets_of_nothing_are_left_out_and_counted() {
    let mut world = World::new(&[Codec::H264, Codec::Opus]);
    for (sequence, payload) in [&[][..], &[0x7c], &[0xff; 40], &[0x78, 0xff, 0xff], &[0; 3]].into_iter().enumerate() {
        let mut packet = RtpPacket::default();
        packet.header.sequence_number = sequence as u16;
        packet.header.timestamp = sequence as u32;
        packet.header.marker = true;
        packet.payload = Bytes::copy_from_slice(payload);
        world.take(0, vec![packet.clone()]);
        world.take(9, vec![packet]);
    }
    assert!(world.fed.is_empty() && world.ingest.unusable().damaged >= 2, "{:?}", world.ingest.unusable());
}
