//! WebRTC: offers, fragments, checks, the payloads of packets, and whatever comes to a port.
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use playhouse::protocols::webrtc::ingest::RtpIngest;
use playhouse::protocols::webrtc::mux::Arrived;
use playhouse::protocols::webrtc::peer::{Call, Flow, Peer, RtpPacket, Source};
use playhouse::protocols::webrtc::wire::fragment::Fragment;
use playhouse::protocols::webrtc::wire::links::IceServer;
use playhouse::protocols::webrtc::wire::offer::{Choice, Codec, Offer, Section};
use playhouse::protocols::webrtc::wire::payload::Unit;
use playhouse::protocols::webrtc::wire::{Kind, addressee};

use super::targets::Target;

const OFFER: &str = "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
c=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=fingerprint:sha-256 \
5E:7A:34:6F:0D:5B:5C:48:99:0C:6C:5B:1F:87:9F:9D:5C:27:0B:06:3A:4C:A8:1E:3A:7E:4F:10:6B:1B:5C:11\r\na=setup:actpass\r\na=mid:0\r\n\
a=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=ssrc:1 cname:a\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=extmap:3 urn:x\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 profile-level-id=42e01f;packetization-mode=1\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
a=rtpmap:98 AV1/90000\r\na=ssrc-group:FID 2 3\r\na=ssrc:2 cname:a\r\na=ssrc:3 cname:a\r\n";
const FRAGMENT: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
/// Payloads, each behind its length.
const PAYLOADS: [(Codec, &[&[u8]]); 5] = [
    (Codec::H264, &[&[0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2], &[0x7c, 0x85, 10, 11], &[0x7c, 0x45, 13]]),
    (Codec::Hevc, &[&[96, 1, 0, 3, 0x40, 1, 7], &[98, 1, 0x93, 10], &[98, 1, 0x53, 11]]),
    (Codec::Vp9, &[&[0xfa, 0x81, 2, 0x11, 0x03, 0x02, 0x18, 1, 64, 0, 64, 1, 0x04, 7, 99]]),
    (Codec::Av1, &[&[0x60, 3, 0x08, 1, 2, 0x30, 10], &[0x90, 11]]),
    (Codec::Vp8, &[&[0x90, 0xf0, 0x81, 2, 3, 4, 0x50, 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0], &[0x80, 0x80, 5, 98]]),
];

pub(crate) fn targets() -> Vec<Target> {
    let mut targets = vec![
        Target { name: "WebRTC offers", samples: vec![OFFER.into()], read: read_offer },
        Target { name: "WebRTC offers of viewers", samples: vec![viewers_offer().into()], read: read_viewers_offer },
        Target { name: "WebRTC answers", samples: vec![answer().into()], read: read_answer },
        Target {
            name: "fragments of session descriptions",
            samples: vec![FRAGMENT.into()],
            read: |input| Fragment::read(input).is_ok(),
        },
        Target { name: "connectivity checks", samples: vec![check()], read: |input| addressee(input).is_some() },
        Target { name: "WebRTC datagrams", samples: vec![check(), hello()], read: read_datagram },
        Target {
            name: "STUN and TURN servers",
            samples: vec![b"turn:ann:pw@turn.example.org?transport=udp".to_vec()],
            read: |input| std::str::from_utf8(input).is_ok_and(|text| IceServer::parse(text).is_some()),
        },
    ];
    let readers: [fn(&[u8]) -> bool; 5] =
        [read_payloads::<0>, read_payloads::<1>, read_payloads::<2>, read_payloads::<3>, read_payloads::<4>];
    for ((codec, payloads), read) in PAYLOADS.into_iter().zip(readers) {
        let samples =
            vec![payloads.iter().flat_map(|payload| [&[payload.len() as u8][..], payload].concat()).collect()];
        targets.push(Target { name: codec.name(), samples, read });
    }
    targets
}

fn choices(offer: &Offer) -> Option<Vec<Choice>> {
    let wanted = [Codec::H264, Codec::Av1, Codec::Opus];
    offer.sections.iter().map(|section| section.choose(&wanted)).collect()
}

/// Offers that can be read are answered too, unless the machine refuses.
fn read_offer(input: &[u8]) -> bool {
    let Ok(offer) = Offer::read(input) else { return false };
    let Some(choices) = choices(&offer) else { return true };
    let address = SocketAddr::from(([127, 0, 0, 1], 8189));
    let _ = Peer::answer(offer, (choices, Flow::Receive), &[address], Instant::now());
    true
}

fn viewers_offer() -> String {
    OFFER.replace("a=sendonly", "a=recvonly")
}

/// The same of those who are sent something.
fn read_viewers_offer(input: &[u8]) -> bool {
    let Ok(offer) = Offer::read(input).map(Offer::to_receive) else { return false };
    let choose = |section: &Section| {
        let sound = section.choose(&[Codec::Opus]);
        sound.or_else(|| section.choose_to_send(Codec::H264, 100)).or_else(|| section.choose_to_send(Codec::Av1, 0))
    };
    let Some(choices) = offer.sections.iter().map(choose).collect::<Option<Vec<Choice>>>() else { return true };
    let sources = (1..).take(choices.len()).map(|ssrc| Source { ssrc, repair_ssrc: 100 + ssrc }).collect();
    let address = SocketAddr::from(([127, 0, 0, 1], 8189));
    let _ = Peer::answer(offer, (choices, Flow::Send(sources)), &[address], Instant::now());
    true
}

fn answer() -> String {
    let candidate = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
    OFFER.replace("a=setup:actpass", "a=ice-lite\r\na=setup:passive") + candidate
}

/// What servers answer to an offer of ours.
fn read_answer(input: &[u8]) -> bool {
    if Offer::read(input).is_err() {
        return false;
    }
    let offer = Offer::read(OFFER.as_bytes()).expect("an offer");
    let offered = choices(&offer).expect("choices").into_iter().map(|choice| vec![choice]).collect();
    let (address, now) = (SocketAddr::from(([127, 0, 0, 1], 4000)), Instant::now());
    let call = Call::new(offered, &Flow::Receive, address, now).expect("a call");
    let _ = call.answered(input, |_| true, now);
    true
}

fn read_payloads<const N: usize>(mut input: &[u8]) -> bool {
    let (codec, _) = PAYLOADS[N];
    let mut unit = Unit::new(codec);
    let choice = Choice {
        codec,
        format: Offer::read(OFFER.as_bytes()).expect("an offer").sections[1].formats[0].clone(),
        repair: None,
    };
    let now = Instant::now();
    let mut ingest = RtpIngest::new(&[choice], Duration::from_millis(300), now);
    let (mut fed, mut wishes, mut is_good) = (Vec::new(), Vec::new(), true);
    for sequence in 0..u16::MAX {
        let Some((length, rest)) = input.split_first() else { break };
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        is_good &= unit.take(payload).is_ok();
        let mut packet = RtpPacket::default();
        packet.header.sequence_number = sequence.wrapping_mul(payload.first().map_or(1, |first| u16::from(first % 3)));
        packet.header.timestamp = u32::from(*length) << 20;
        packet.header.marker = rest.is_empty();
        packet.payload = Bytes::copy_from_slice(payload);
        ingest.take(0, packet, now + Duration::from_millis(u64::from(sequence)), &mut fed);
        ingest.advance(now + Duration::from_millis(u64::from(sequence)), &mut fed, &mut wishes);
    }
    is_good && unit.finish().is_some()
}

thread_local! {
    /// A connection that strangers send to, replaced now and then.
    static PEER: RefCell<Option<(Peer, u32)>> = const { RefCell::new(None) };
}

fn read_datagram(input: &[u8]) -> bool {
    PEER.with_borrow_mut(|kept| {
        let (peer, taken) = kept.get_or_insert_with(|| {
            let offer = Offer::read(OFFER.as_bytes()).expect("an offer");
            let choices = choices(&offer).expect("formats");
            let address = SocketAddr::from(([127, 0, 0, 1], 8189));
            let (peer, _) =
                Peer::answer(offer, (choices, Flow::Receive), &[address], Instant::now()).expect("an answer");
            (peer, 0)
        });
        let (from, at) = (SocketAddr::from(([127, 0, 0, 1], 4000)), Instant::now());
        peer.take(Arrived { bytes: Bytes::copy_from_slice(input), from, at });
        peer.on_timer(at);
        while peer.next_event().is_some() || peer.next_datagram().is_some() {}
        *taken += 1;
        if *taken >= 1000 {
            *kept = None;
        }
    });
    Kind::of(input).is_some()
}

fn check() -> Vec<u8> {
    let mut datagram = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
    datagram.extend([7; 12]);
    datagram.extend([0, 6, 0, 11]);
    datagram.extend(b"EsAw:theirs\0");
    datagram
}

/// The head of a DTLS handshake message, and some of what belongs in it.
fn hello() -> Vec<u8> {
    let mut datagram =
        vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 48, 0xfe, 0xfd];
    datagram.resize(13 + 60, 3);
    datagram
}
