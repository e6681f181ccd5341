use super::*;

const URL: &str = "rtmp://host/live/key?user=ann&pass=secret";

/// Streams, names and codes of commands.
fn codes(commands: &[(u32, Command)]) -> Vec<(u32, &str, &str)> {
    fn code(command: &Command) -> &str {
        command.argument(0).get("code").and_then(Amf::as_str).unwrap_or_default()
    }
    commands.iter().map(|(stream, command)| (*stream, command.name.as_str(), code(command))).collect()
}

#[test]
fn a_stream_is_published_whole_and_byte_by_byte() {
    for step in [usize::MAX, 1, 1000] {
        let mut pair = Pair::publish(URL);
        pair.step = step;
        let (events, _) = pair.run();
        let [ServerEvent::Connected(info), ServerEvent::PublishRequested(request)] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(info.capabilities.is_enhanced && info.agent.contains("Playhouse"));
        assert_eq!(info.capabilities, Capabilities::default());
        assert_eq!((request.target.key(), request.kind.as_str()), (Some("key"), "live"));
        assert_eq!(request.target.credentials(), Some(("ann", "secret")));
        assert_eq!(pair.client.send(message(Medium::Audio, 0, "x")), Err(SendError::NoStream));
        pair.server.accept().unwrap();
        let (_, events) = pair.run();
        let [ClientEvent::Started { server }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(*server, Capabilities::default());
        let sent = [
            message(Medium::Data, 0, data("@setDataFrame", &[Amf::text("onMetaData"), Amf::object([])])),
            message(Medium::Video, 0, vec![0x17; 200_000]),
            message(Medium::Audio, 21, vec![0xaf; 300]),
            message(Medium::Video, 40, vec![0x27; 3000]),
        ];
        for message in &sent {
            pair.client.send(message.clone()).unwrap();
        }
        pair.client.close();
        let (events, _) = pair.run();
        let (ended, media) = events.split_last().unwrap();
        assert_eq!(*ended, ServerEvent::Ended);
        let expected: Vec<_> = sent.into_iter().map(ServerEvent::Media).collect();
        assert_eq!(media, expected);
        assert!(pair.client.is_closing());
    }
}

#[test]
fn hevc_and_av1_with_several_tracks_arrive() {
    let mut pair = Pair::publish(URL).started();
    for (codec, track) in [(VideoCodec::Hevc, 0), (VideoCodec::Av1, 1), (VideoCodec::Hevc, 2)] {
        let writer = VideoTrackWriter::new(codec, track).unwrap();
        for payload in [writer.sequence_start(&[1; 40]), writer.frame(true, 80, &[2; 5000])] {
            pair.client.send(message(Medium::Video, 0, payload)).unwrap();
        }
        let (events, _) = pair.run();
        let mut bodies = Vec::new();
        for event in events {
            let ServerEvent::Media(media) = event else { panic!("{event:?}") };
            for packet in VideoPackets::read(media.payload).unwrap() {
                let packet = packet.unwrap();
                assert_eq!((packet.codec, packet.track), (codec, track));
                bodies.push(packet.body);
            }
        }
        let composition_ms = if codec == VideoCodec::Hevc { 80 } else { 0 };
        let data = Bytes::from(vec![2; 5000]);
        let start = VideoBody::SequenceStart(Bytes::from(vec![1; 40]));
        assert_eq!(bodies, [start, VideoBody::Frame { composition_ms, data }]);
    }
}

#[test]
fn a_stream_is_played() {
    let mut pair = Pair::new("rtmp://host/live/name", Purpose::Play, ServerConfig::default());
    let (events, _) = pair.run();
    let [_, ServerEvent::PlayRequested(request)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((request.target.app.as_str(), request.target.name.as_str()), ("live", "name"));
    assert_eq!(pair.server.send(message(Medium::Audio, 0, "x")), Err(SendError::NoStream));
    pair.server.accept().unwrap();
    pair.run();
    let audio = AudioTrackWriter::new(AudioCodec::Opus, 0).unwrap();
    let sent = [
        message(Medium::Audio, 5, audio.sequence_start(b"OpusHead")),
        message(Medium::Video, 5, vec![1; 100_000]),
        message(Medium::Video, 45, vec![2; 2000]),
    ];
    for message in &sent {
        pair.server.send(message.clone()).unwrap();
    }
    pair.server.end(&Rejection::new(code::PLAY_UNPUBLISH_NOTIFY, "The stream has ended."));
    let (_, events) = pair.run();
    let mut expected: Vec<_> = sent.into_iter().map(ClientEvent::Media).collect();
    expected.push(ClientEvent::Ended);
    assert_eq!(events, expected);
    assert!(pair.server.is_closing() && pair.client.is_closing());
}

#[test]
fn a_slow_player_is_told_apart_and_nothing_is_queued() {
    let limits = SessionLimits { output_bytes_max: 10_000, ..SessionLimits::default() };
    let config = ServerConfig { limits, ..ServerConfig::default() };
    let mut pair = Pair::new("rtmp://host/live/name", Purpose::Play, config).started();
    pair.server.send(message(Medium::Video, 0, vec![1; 50_000])).unwrap();
    let queued = pair.server.output().len();
    assert_eq!(pair.server.send(message(Medium::Video, 40, vec![1; 100])), Err(SendError::Full(queued)));
    assert_eq!(pair.server.output().len(), queued);
    let (_, events) = pair.run();
    assert_eq!(events.len(), 1);
    pair.server.send(message(Medium::Video, 80, vec![1; 100])).unwrap();
    let long = vec![0; 0x100_0000];
    assert_eq!(pair.server.send(message(Medium::Video, 0, long)), Err(SendError::TooLong(0x100_0000)));
}

#[test]
fn a_wrong_key_is_refused_in_words() {
    let mut pair = Pair::publish(URL);
    pair.run();
    let rejection = Rejection::new(code::PUBLISH_BAD_NAME, "This stream key is not known.");
    pair.server.reject(&rejection).unwrap();
    assert!(pair.server.is_closing() && !pair.server.wants_input());
    assert_eq!(pair.server.accept(), Err(NoRequest));
    let (_, events) = pair.run();
    assert_eq!(events, [ClientEvent::Rejected(rejection)]);
}

#[test]
fn a_full_server_refuses_at_connect() {
    let rejection = Rejection::new(code::CONNECT_REJECTED, "This server is full.");
    let config = ServerConfig { refusal: Some(rejection.clone()), ..ServerConfig::default() };
    let mut pair = Pair::new(URL, Purpose::Publish, config);
    assert_eq!(pair.run(), (vec![], vec![ClientEvent::Rejected(rejection)]));
    assert!(pair.server.is_closing());
}

#[test]
fn a_publisher_can_be_ended_and_sent_elsewhere() {
    let mut pair = Pair::publish(URL).started();
    assert!(pair.server.request_reconnect(Some("rtmp://other/live"), "Moving."));
    let tc_url = Some("rtmp://other/live".to_owned());
    let reconnect = ClientEvent::ReconnectRequested { tc_url, description: "Moving.".to_owned() };
    assert_eq!(pair.run().1, [reconnect]);
    let why = Rejection::new(code::PUBLISH_BAD_NAME, "Another encoder took over.");
    pair.server.end(&why);
    assert_eq!(pair.run().1, [ClientEvent::Rejected(why.clone())]);
    // While it waits to be allowed as well.
    let mut pair = Pair::publish(URL);
    pair.run();
    pair.server.end(&why);
    assert_eq!(pair.run().1, [ClientEvent::Rejected(why)]);
    assert!(!format!("{:?}", pair.server).contains("secret"));
    // A server that leaves it to others tells it of no error.
    let mut pair = Pair::publish(URL).started();
    pair.server.send_on("Leaving.");
    assert!(pair.server.is_closing());
    let again = ClientEvent::ReconnectRequested { tc_url: None, description: "Leaving.".to_owned() };
    assert_eq!(pair.run().1, [again]);
}

#[test]
fn an_encoder_of_old_is_told_nothing_new() {
    let (mut raw, mut session, now) = Raw::shaken();
    raw.command(0, "connect", 1.0, Amf::object([("app", Amf::text("live"))]), &[]);
    let events = raw.say(&mut session, now).unwrap();
    let [ServerEvent::Connected(info)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(info.capabilities, Capabilities::none());
    let answers = raw.answers(&mut session);
    assert_eq!(codes(&answers), [(0, "_result", code::CONNECT_SUCCESS)]);
    assert_eq!(answers[0].1.object.get("capsEx"), None);
    assert!(!session.request_reconnect(None, "Moving."));
}

#[test]
fn version_one_of_enhanced_rtmp_lists_codes() {
    let (mut raw, mut session, now) = Raw::shaken();
    let list = Amf::List(vec![Amf::text("hvc1"), Amf::text("Opus"), Amf::text("?"), Amf::text("*")]);
    raw.command(0, "connect", 1.0, Amf::object([("app", Amf::text("live")), ("fourCcList", list)]), &[]);
    let events = raw.say(&mut session, now).unwrap();
    let [ServerEvent::Connected(info)] = &events[..] else { panic!("{events:?}") };
    let capabilities = &info.capabilities;
    assert_eq!((&capabilities.video[..], &capabilities.audio[..]), (&[FourCc::HEVC][..], &[FourCc::OPUS][..]));
    assert!(capabilities.any_codec && capabilities.is_enhanced && capabilities.flags == 0);
    let answers = raw.answers(&mut session);
    let list = answers[0].1.argument(0).get("fourCcList").unwrap().items();
    assert!(list.contains(&&Amf::text("hvc1")) && list.contains(&&Amf::text("av01")));
}

#[test]
fn the_sequence_of_obs_and_what_it_is_answered() {
    let (mut raw, mut session, now) = Raw::connected();
    let key = [Amf::text("key"), Amf::text("live")];
    raw.call(0, "releaseStream", 2.0, &key[..1]);
    raw.call(0, "FCPublish", 3.0, &key[..1]);
    raw.call(0, "createStream", 4.0, &[]);
    raw.call(0, "_checkbw", 5.0, &[]);
    raw.call(0, "getStreamLength", 6.0, &key[..1]);
    raw.call(1, "publish", 7.0, &key);
    let events = raw.say(&mut session, now).unwrap();
    assert!(matches!(events[..], [ServerEvent::PublishRequested(_)]));
    session.accept().unwrap();
    let answers = raw.answers(&mut session);
    let results: Vec<f64> = answers.iter().filter(|(_, c)| c.name == "_result").map(|(_, c)| c.transaction).collect();
    assert_eq!(results, [2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(answers[2].1.argument(0), &Amf::Number(1.0));
    let start = code::PUBLISH_START;
    assert_eq!(codes(&answers)[5..], [(0, "onFCPublish", start), (1, "onStatus", start)], "on the stream's own number");
    raw.message(9, 1, &[0x17, 2]);
    raw.call(0, "FCUnpublish", 8.0, &key[..1]);
    raw.call(0, "deleteStream", 9.0, &[Amf::Number(1.0)]);
    let events = raw.say(&mut session, now).unwrap();
    assert!(matches!(events[..], [ServerEvent::Media(_), ServerEvent::Ended]), "ended once: {events:?}");
    // The same connection may be used again.
    raw.call(0, "createStream", 10.0, &[]);
    raw.call(2, "publish", 11.0, &key);
    assert!(matches!(raw.say(&mut session, now).unwrap()[..], [ServerEvent::PublishRequested(_)]));
}

#[test]
fn other_ways_to_end_a_stream() {
    for (on, name, arguments, ends) in [
        (0, "deleteStream", vec![Amf::Number(1.0)], true),
        (0, "deleteStream", vec![], true),
        (1, "closeStream", vec![], true),
        (0, "deleteStream", vec![Amf::Number(7.0)], false),
        (7, "closeStream", vec![], false),
    ] {
        let (mut raw, mut session, now) = Raw::connected();
        raw.call(1, "publish", 2.0, &[Amf::text("key")]);
        raw.say(&mut session, now).unwrap();
        session.accept().unwrap();
        raw.call(on, name, 3.0, &arguments);
        let ended = raw.say(&mut session, now).unwrap() == [ServerEvent::Ended];
        assert_eq!(ended, ends, "{name} on {on}");
    }
}

#[test]
fn headers_sent_without_waiting_for_the_answer_are_kept() {
    let (mut raw, mut session, now) = Raw::connected();
    raw.call(1, "publish", 2.0, &[Amf::text("key")]);
    raw.message(9, 1, &[0x17, 0, 0, 0, 0]);
    let length = raw.output.len();
    let mut input = BytesMut::from(&raw.output.copy_to_bytes(length)[..]);
    assert!(matches!(session.next(&mut input, now), Ok(Some(ServerEvent::PublishRequested(_)))));
    assert_eq!(session.next(&mut input, now), Ok(None));
    assert!(!input.is_empty() && !session.wants_input());
    session.accept().unwrap();
    assert!(matches!(session.next(&mut input, now), Ok(Some(ServerEvent::Media(_)))));
}

#[test]
fn a_second_stream_on_the_same_connection_is_refused_and_the_first_goes_on() {
    let (mut raw, mut session, now) = Raw::connected();
    raw.call(1, "publish", 2.0, &[Amf::text("key")]);
    raw.say(&mut session, now).unwrap();
    session.accept().unwrap();
    raw.answers(&mut session);
    raw.call(2, "publish", 3.0, &[Amf::text("key")]);
    raw.call(3, "play", 4.0, &[Amf::text("name")]);
    raw.message(8, 1, &[0xaf, 1, 2]);
    assert!(matches!(raw.say(&mut session, now).unwrap()[..], [ServerEvent::Media(_)]));
    let refused = [(2, "onStatus", code::PUBLISH_BAD_NAME), (3, "onStatus", code::FAILED)];
    assert_eq!(codes(&raw.answers(&mut session)), refused);
}

#[test]
fn commands_and_data_in_amf3_messages() {
    let (mut raw, mut session, now) = Raw::connected();
    let mut payload = BytesMut::from(&[0][..]);
    [Amf::text("publish"), Amf::Number(2.0), Amf::Null, Amf::text("key")]
        .iter()
        .for_each(|value| amf0::write(value, &mut payload));
    raw.message(17, 1, &payload);
    assert!(matches!(raw.say(&mut session, now).unwrap()[..], [ServerEvent::PublishRequested(_)]));
    session.accept().unwrap();
    raw.message(15, 1, &[0, 2, 0, 1, b'x']);
    let expected = message(Medium::Data, 0, &b"\x02\x00\x01x"[..]);
    assert_eq!(raw.say(&mut session, now).unwrap(), [ServerEvent::Media(expected)]);
}

#[test]
fn received_bytes_are_acknowledged() {
    let mut pair = Pair::publish(URL).started();
    let before = pair.client.received_bytes();
    for index in 0..60 {
        pair.client.send(message(Medium::Video, index * 40, vec![0x27; 100_000])).unwrap();
        pair.run();
    }
    assert!(pair.server.received_bytes() > 6_000_000);
    assert_eq!(pair.client.received_bytes() - before, 12 + 3 * 8, "four, each at half of the window it asks for");
    // One that is asked for more often.
    let (mut raw, mut session, now) = Raw::connected();
    raw.message(5, 0, &[0, 2, 0, 0]);
    raw.message(9, 1, &[0; 100_000]);
    raw.say(&mut session, now).unwrap();
    assert_eq!(session.output().len(), 12, "half of the window asked for has come");
    assert_eq!(session.unexpected_messages(), 1);
}
