//! Both sides as machines, with nothing but vectors between them.
use bytes::Bytes;
use rtc::interceptor::SenderReportBuilder;

use super::*;
use crate::protocols::webrtc::wire::addressee;
use crate::protocols::webrtc::wire::offer::{Direction, Format};

const SERVER: &str = "192.0.2.1:8189";
const CLIENT: &str = "198.51.100.7:4242";
const SSRC: u32 = 4711;

/// A client of the same crate, with the whole of ICE.
struct Client(RTCPeerConnection);

fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "video/H264".into(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        rtcp_feedback: Vec::new(),
    }
}

impl Client {
    fn new(now: Instant) -> Self {
        let mut engine = MediaEngine::default();
        let video = RTCRtpCodecParameters { rtp_codec: h264(), payload_type: 102 };
        engine.register_codec(video, RtpCodecKind::Video).unwrap();
        let registry = Registry::new().with(Slot::SenderReport, SenderReportBuilder::new().build());
        let machine = RTCPeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(engine)
            .with_setting_engine(SettingEngineBuilder::new().build())
            .with_interceptor_registry(registry)
            .build(now)
            .unwrap();
        Self(machine)
    }

    fn offer(&mut self, now: Instant) -> String {
        let offer = self.0.create_offer(None).unwrap();
        self.0.set_local_description(now, offer).unwrap();
        let address: SocketAddr = CLIENT.parse().unwrap();
        let base_config = CandidateConfig {
            network: "udp".into(),
            address: address.ip().to_string(),
            port: address.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().unwrap();
        self.0.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
        self.0.add_local_candidate(RTCIceCandidateInit::default()).unwrap();
        self.0.local_description().unwrap().sdp
    }
}

/// Both sides are ours: one calls, the other one answers.
fn called(is_sent: bool) -> (Peer, Peer, Instant) {
    let (now, source) = (Instant::now(), Source { ssrc: SSRC, repair_ssrc: SSRC + 1 });
    let flows = [Flow::Send(vec![source]), Flow::Receive];
    let [there, back] = if is_sent {
        flows
    } else {
        let [there, back] = flows;
        [back, there]
    };
    let offered = vec![vec![choice(102, "64001f"), choice(104, "42e01f")]];
    // What is sent has one form.
    let offered = if is_sent { vec![offered[0][1..].to_vec()] } else { offered };
    let call = Call::new(offered, &there, CLIENT.parse().unwrap(), now).unwrap();
    let offer = Offer::read(call.offer().description.as_bytes()).unwrap();
    assert_eq!(offer.sections[0].direction, if is_sent { Direction::Send } else { Direction::Receive });
    let choices = vec![offer.sections[0].choose(&[Codec::H264]).unwrap()];
    let server_at: SocketAddr = SERVER.parse().unwrap();
    let (server, answer) = Peer::answer(offer, (choices, back), &[server_at], now).unwrap();
    let caller = call.answered(answer.description.as_bytes(), |to| to == server_at, now).unwrap();
    assert_eq!(caller.choices()[0].format.payload_type, 104, "constrained baseline is liked best");
    (caller, server, now)
}

fn pass_on(from: &mut Peer, (to, address): (&mut Peer, &str), now: Instant) {
    if from.next_timer().is_some_and(|due| due <= now) {
        from.on_timer(now);
    }
    while let Some((message, _)) = from.next_datagram() {
        to.take(Arrived { bytes: message.freeze(), from: address.parse().unwrap(), at: now });
    }
}

#[test]
fn a_call_is_answered_and_media_go_the_way_that_was_agreed_upon() {
    for is_sent in [true, false] {
        let (mut caller, mut server, mut now) = called(is_sent);
        let (mut sequence, mut received) = (0u16, 0);
        for _ in 0..2000 {
            now += Duration::from_millis(5);
            pass_on(&mut caller, (&mut server, CLIENT), now);
            pass_on(&mut server, (&mut caller, SERVER), now);
            let (sender, receiver) = if is_sent { (&mut caller, &mut server) } else { (&mut server, &mut caller) };
            while sender.next_event().is_some() {}
            if sender.told_connected {
                sequence += 1;
                sender.send((0, SSRC), packet(sequence), now);
            }
            while let Some(event) = receiver.next_event() {
                received += usize::from(matches!(event, PeerEvent::Rtp(0, ..)));
            }
        }
        assert!(received > 1000, "{received} of {sequence} packets");
    }
}

#[test]
fn answers_that_are_of_no_use_say_why() {
    let now = Instant::now();
    let call = || Call::new(vec![vec![choice(104, "42e01f")]], &Flow::Receive, CLIENT.parse().unwrap(), now).unwrap();
    let offer = Offer::read(call().offer().description.as_bytes()).unwrap();
    let choices = vec![offer.sections[0].choose(&[Codec::H264]).unwrap()];
    let source = Source { ssrc: SSRC, repair_ssrc: SSRC + 1 };
    let server = SERVER.parse().unwrap();
    let (_, answer) = Peer::answer(offer, (choices, Flow::Send(vec![source])), &[server], now).unwrap();
    let answer = answer.description;
    for (answer, may_reach, said) in [
        (answer.clone(), false, "no address"),
        (answer.replace("m=video 9", "m=video 0"), true, "does not take all"),
        (answer.replace("104", "120"), true, "none of the formats"),
        ("hello".into(), true, "no session description"),
    ] {
        let refused = call().answered(answer.as_bytes(), |_| may_reach, now).err().unwrap();
        assert!(refused.to_string().contains(said), "{said}: {refused}");
    }
}

fn choice(payload_type: u8, level_id: &str) -> Choice {
    let parameters = format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={level_id}");
    let name = "H264".to_owned();
    let format = Format { payload_type, name, clock_rate: 90_000, channels: 1, parameters, feedback: Vec::new() };
    Choice { codec: Codec::H264, format, repair: Some(payload_type + 1) }
}

/// A client and a peer, and what has happened.
struct World {
    now: Instant,
    client: Client,
    peer: Peer,
    answer: Answer,
    /// Where the client's datagrams seem to come from.
    client_address: SocketAddr,
    events: Vec<PeerEvent>,
    received: Vec<RtpPacket>,
    checked: Vec<String>,
}

impl World {
    fn new(receives: bool) -> Self {
        let now = Instant::now();
        let mut client = Client::new(now);
        let flow = if receives {
            let coding = RTCRtpCodingParameters { ssrc: Some(SSRC), ..Default::default() };
            let coding =
                RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec: h264(), ..Default::default() };
            let track = MediaStreamTrack::new("s".into(), "t".into(), "l".into(), RtpCodecKind::Video, vec![coding]);
            client.0.add_track(track).unwrap();
            Flow::Receive
        } else {
            let direction = rtc::rtp_transceiver::RTCRtpTransceiverDirection::Recvonly;
            let wanted = rtc::rtp_transceiver::RTCRtpTransceiverInit { direction, ..Default::default() };
            client.0.add_transceiver_from_kind(RtpCodecKind::Video, Some(wanted)).unwrap();
            Flow::Send(vec![Source { ssrc: SSRC, repair_ssrc: SSRC + 1 }])
        };
        let offer = Offer::read(client.offer(now).as_bytes()).unwrap();
        let choices = offer.sections.iter().map(|section| section.choose(&[Codec::H264]).unwrap()).collect();
        let (peer, answer) = Peer::answer(offer, (choices, flow), &[SERVER.parse().unwrap()], now).unwrap();
        client
            .0
            .set_remote_description(now, RTCSessionDescription::answer(answer.description.clone()).unwrap())
            .unwrap();
        let client_address = CLIENT.parse().unwrap();
        let (events, received, checked) = (Vec::new(), Vec::new(), Vec::new());
        Self { now, client, peer, answer, client_address, events, received, checked }
    }

    /// Time passes until this is so.
    fn run(&mut self, mut until: impl FnMut(&mut Self) -> bool) {
        for _ in 0..4000 {
            self.now += Duration::from_millis(5);
            self.exchange();
            if until(self) {
                return;
            }
        }
        panic!("it never is so: {:?} {:?}", self.events, self.checked);
    }

    fn exchange(&mut self) {
        let now = self.now;
        if self.client.0.poll_timeout().is_some_and(|due| due <= now) {
            self.client.0.handle_timeout(now).unwrap();
        }
        if self.peer.next_timer().is_some_and(|due| due <= now) {
            self.peer.on_timer(now);
        }
        while let Some(datagram) = self.client.0.poll_write() {
            self.checked.extend(addressee(&datagram.message).map(str::to_owned));
            self.peer.take(Arrived { bytes: datagram.message.freeze(), from: self.client_address, at: now });
        }
        while let Some(event) = self.peer.next_event() {
            self.events.push(event);
        }
        while let Some((message, to)) = self.peer.next_datagram() {
            assert_eq!(to, self.client_address);
            let transport = TransportContext {
                local_addr: CLIENT.parse().unwrap(),
                peer_addr: SERVER.parse().unwrap(),
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            };
            self.client.0.handle_read(TaggedBytesMut { now, transport, message }).unwrap();
        }
        while self.client.0.poll_event().is_some() {}
        while let Some(told) = self.client.0.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = told.message {
                self.received.push(packet);
            }
        }
    }

    fn client_sends(&mut self, sequence: u16) {
        let id = self.client.0.get_senders().next().unwrap();
        self.client.0.rtp_sender(id).unwrap().write_rtp(self.now, packet(sequence)).unwrap();
    }

    fn is_connected(&mut self) -> bool {
        self.events.iter().any(|event| matches!(event, PeerEvent::Connected))
    }
}

fn packet(sequence_number: u16) -> RtpPacket {
    let mut packet = RtpPacket::default();
    packet.header.version = 2;
    packet.header.payload_type = 102;
    packet.header.ssrc = SSRC;
    packet.header.sequence_number = sequence_number;
    packet.header.timestamp = u32::from(sequence_number) * 3000;
    packet.payload = Bytes::from_static(&[0x65, 1, 2, 3]);
    packet
}

#[test]
fn answers_say_what_clients_need() {
    let world = World::new(true);
    let has = |line: &str| world.answer.description.lines().any(|told| told == line);
    assert!(has("a=ice-lite") && has("a=setup:passive") && has("a=recvonly") && has("a=rtcp-mux"));
    assert!(has("a=end-of-candidates") && has("a=group:BUNDLE 0"), "{}", world.answer.description);
    assert!(world.answer.description.contains("192.0.2.1 8189 typ host"));
    assert!(world.answer.description.contains("profile-level-id=42e034"), "{}", world.answer.description);
    assert!(world.answer.name.len() >= 4 && world.answer.password.len() >= 22);
}

#[test]
fn media_of_publishers_arrive_and_feedback_reaches_them() {
    let mut world = World::new(true);
    world.run(World::is_connected);
    assert!(world.checked.iter().all(|name| *name == world.answer.name), "{:?}", world.checked);
    for sequence in 0..50 {
        world.client_sends(sequence);
        world.now += Duration::from_millis(33);
        world.exchange();
    }
    let sequences = |world: &World| -> Vec<u16> {
        let rtp = world.events.iter().filter_map(|event| match event {
            PeerEvent::Rtp(0, packet, _) => Some(packet.header.sequence_number),
            _ => None,
        });
        rtp.collect()
    };
    assert_eq!(sequences(&world), (0..50).collect::<Vec<_>>());
    world.run(|world| {
        world.events.iter().any(|event| matches!(event, PeerEvent::Control(Control::Clock { ssrc: SSRC, .. })))
    });
    world.peer.ask_for_key_frame(SSRC, world.now);
    world.peer.close();
    let closing = std::iter::from_fn(|| world.peer.next_datagram()).count();
    assert!(closing > 0, "it says goodbye");
}

#[test]
fn media_reach_viewers() {
    let mut world = World::new(false);
    assert!(world.answer.description.contains("a=sendonly"), "{}", world.answer.description);
    world.run(World::is_connected);
    for sequence in 0..50 {
        let now = world.now;
        assert!(world.peer.send((0, SSRC), packet(sequence), now));
        assert!(!world.peer.send((1, SSRC), packet(sequence), now), "there is one section");
        world.now += Duration::from_millis(33);
        world.exchange();
    }
    world.run(|world| world.received.len() == 50);
    assert!(world.received.iter().all(|packet| packet.header.ssrc == SSRC));
}

#[test]
fn ice_starts_anew_from_another_address_and_media_go_on() {
    let mut world = World::new(true);
    world.run(World::is_connected);
    world.client.0.restart_ice();
    let offer = Offer::read(world.client.offer(world.now).as_bytes()).unwrap();
    let before = world.answer.clone();
    let answer = world.peer.restart(offer.credentials().clone(), world.now).unwrap();
    assert_ne!((&answer.name, &answer.password), (&before.name, &before.password));
    assert_eq!(world.peer.offer().credentials(), offer.credentials());
    let description = RTCSessionDescription::answer(answer.description.clone()).unwrap();
    world.client.0.set_remote_description(world.now, description).unwrap();
    world.client_address = "198.51.100.7:5454".parse().unwrap();
    world.checked.clear();
    let mut sequence = 0;
    world.run(|world| {
        world.client_sends(sequence);
        sequence += 1;
        world.events.iter().any(|event| matches!(event, PeerEvent::Rtp(0, ..)))
    });
    assert!(world.checked.contains(&answer.name), "{:?}", world.checked);
}

#[test]
fn whoever_is_not_heard_of_is_gone() {
    let mut world = World::new(true);
    world.run(World::is_connected);
    for _ in 0..400 {
        world.now += Duration::from_millis(100);
        if world.peer.next_timer().is_some_and(|due| due <= world.now) {
            world.peer.on_timer(world.now);
        }
        if matches!(world.peer.next_event(), Some(PeerEvent::Gone)) {
            return;
        }
    }
    panic!("it is still there");
}

#[test]
fn garbage_changes_nothing() {
    let mut world = World::new(true);
    for length in 0..300usize {
        for first in [0u8, 1, 22, 128, 200] {
            let mut bytes = vec![first; length];
            bytes.iter_mut().enumerate().skip(1).for_each(|(at, byte)| *byte = (at * 31 + length) as u8);
            world.peer.take(Arrived { bytes: bytes.into(), from: CLIENT.parse().unwrap(), at: world.now });
            while world.peer.next_event().is_some() {}
        }
    }
    world.run(World::is_connected);
}
