use super::*;

/// What a browser offers, shortened.
pub(crate) const BROWSER: &str = "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
a=extmap-allow-mixed\r\na=msid-semantic: WMS stream\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\n\
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 5E:7A:34:6F:0D:5B:5C:48:99:0C:6C:5B:1F:87:9F:9D:5C:27:0B:06:3A:4C:A8:1E:3A:7E:4F:10:6B:1B:5C:11\r\n\
a=setup:actpass\r\na=mid:0\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
a=sendonly\r\na=msid:stream audio\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\n\
a=ssrc:2231627014 cname:4TOk42mSjXCkVIa6\r\na=candidate:1 1 udp 2122260223 0f1c4e6e.local 61764 typ host\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 109 114 98 45\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\n\
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
a=fingerprint:sha-256 5E:7A:34:6F:0D:5B:5C:48:99:0C:6C:5B:1F:87:9F:9D:5C:27:0B:06:3A:4C:A8:1E:3A:7E:4F:10:6B:1B:5C:11\r\n\
a=setup:actpass\r\na=mid:1\r\na=sendonly\r\na=msid:stream video\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\n\
a=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:103 H264/90000\r\n\
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\na=rtpmap:104 rtx/90000\r\n\
a=fmtp:104 apt=103\r\na=rtpmap:109 H264/90000\r\na=rtcp-fb:109 nack\r\na=rtcp-fb:109 nack pli\r\n\
a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:114 rtx/90000\r\n\
a=fmtp:114 apt=109\r\na=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\na=rtpmap:45 AV1/90000\r\n\
a=ssrc-group:FID 2231627015 632943048\r\na=ssrc:2231627015 cname:4TOk42mSjXCkVIa6\r\na=ssrc:632943048 cname:4TOk42mSjXCkVIa6\r\n\
a=simulcast:recv 0;1\r\na=rid:0 recv\r\n";

#[test]
fn what_a_browser_offers() {
    let offer = Offer::read(BROWSER.as_bytes()).unwrap();
    let [audio, video] = offer.sections.as_slice() else { panic!("{:?}", offer.sections) };
    assert_eq!(
        (audio.media, audio.direction, audio.mid(), audio.names_sources),
        (Media::Audio, Direction::Send, Some("0"), true)
    );
    assert_eq!(video.codec_names(), "VP8, H264, VP9, AV1");
    let pictures = video.choose(&[Codec::Hevc, Codec::H264, Codec::Av1]).unwrap();
    assert_eq!((pictures.codec, pictures.format.payload_type, pictures.repair), (Codec::H264, 109, Some(114)));
    assert_eq!(video.choose(&[Codec::Vp9]).unwrap().format.payload_type, 98);
    assert_eq!(video.choose(&[Codec::Opus, Codec::Hevc]), None);
    let sound = audio.choose(&[Codec::Opus]).unwrap();
    assert_eq!(sound.parameters(), "minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=128000");

    let narrowed = offer.narrowed(&[sound, pictures]);
    let again = Offer::read(narrowed.as_bytes()).unwrap();
    assert_eq!(again.sections.iter().map(|section| section.formats.len()).collect::<Vec<_>>(), [1, 2]);
    for left_out in ["candidate", "simulcast", "rid", "VP8", "G722"] {
        assert!(!narrowed.contains(left_out), "{left_out} in {narrowed}");
    }
    let new = Credentials::new("other", "anotherpasswordofgoodlength").unwrap();
    let restarted = offer.restarted(new);
    assert!(restarted.narrowed(&[]).is_ascii() && restarted.credentials().name() == "other");
    assert!(!format!("{restarted:?}").contains("anotherpassword"));
}

#[test]
fn pictures_in_several_sizes() {
    let layers = |lines: &str| {
        let own =
            BROWSER.replace("a=simulcast:recv 0;1\r\na=rid:0 recv\r\n", lines).replace("a=msid:stream video\r\n", "");
        Offer::read(own.as_bytes()).map(|offer| (offer.sections[1].layers.clone(), offer))
    };
    let rids =
        "a=rid:l send\r\na=rid:m send max-width=640\r\na=rid:h send\r\na=rid:x recv\r\na=rid:a b\r\na=rid:\"\r\n";
    let (names, offer) = layers(&format!("{rids}a=simulcast:recv x send l;~m,n;h;x;l\r\n")).unwrap();
    assert_eq!(names, ["l", "m", "h"], "each once, and what it says that it sends");
    let choice = offer.sections[1].choose(&[Codec::H264]).unwrap();
    assert_eq!(choice.repair, None, "layers are sent again as they were");
    let narrowed = offer.narrowed(&[offer.sections[0].choose(&[Codec::Opus]).unwrap(), choice]);
    assert!(
        narrowed.contains("a=rid:l send\r\na=rid:m send\r\na=rid:h send\r\na=simulcast:send l;m;h\r\n"),
        "{narrowed}"
    );
    assert!(narrowed.contains("a=msid:- 1\r\n"), "the machine takes layers of a track with a name alone");
    for none in ["", "a=simulcast:send l\r\n", rids, "a=rid:l send\r\na=simulcast:send\r\n"] {
        assert!(layers(none).unwrap().0.is_empty(), "{none}");
    }
    let many = "a=rid:1 send\r\na=rid:2 send\r\na=rid:3 send\r\na=rid:4 send\r\na=rid:5 send\r\na=simulcast:send 1;2;3;4;5\r\n";
    assert!(matches!(layers(many), Err(InvalidOffer::Unacceptable(_))));
}

#[test]
fn what_is_no_offer_and_what_cannot_be_answered() {
    let malformed = |text: &str| assert!(matches!(Offer::read(text.as_bytes()), Err(Malformed(_))), "{text}");
    for text in [
        "",
        "hello",
        "v=0\r\n",
        "v=0\r\nhello\r\n",
        "v=1\r\n",
        "v=0\r\nm=video\r\n",
        "v=0\r\nm=video x RTP/SAVPF 96\r\n",
    ] {
        malformed(text);
    }
    for (from, to) in [
        ("a=ice-ufrag:EsAw\r\n", ""),
        ("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", ""),
        ("a=setup:actpass", "a=setup:whatever"),
        ("a=mid:1", "a=mid:0"),
        ("a=mid:1\r\n", ""),
        ("sha-256 5E", "sha-256 XX"),
        ("sha-256", "sha-1"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio 9 UDP/TLS/RTP/SAVPF 999"),
        ("opus/48000/2", "opus"),
    ] {
        malformed(&BROWSER.replace(from, to));
    }
    malformed(&format!("{BROWSER}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(20)));
    assert!(Offer::read(&vec![b'a'; OFFER_BYTES_MAX + 1]).is_err() && Offer::read(&[0xff; 9]).is_err());
    for (from, to) in [
        ("m=audio 9 UDP/TLS/RTP/SAVPF", "m=application 9 UDP/DTLS/SCTP"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP"),
        ("a=rtcp-mux\r\n", ""),
    ] {
        let read = Offer::read(BROWSER.replace(from, to).as_bytes());
        assert!(matches!(read, Err(InvalidOffer::Unacceptable(_))), "{to}: {read:?}");
    }
    let two_transports = BROWSER.replacen("a=ice-ufrag:EsAw", "a=ice-ufrag:other", 1);
    assert!(matches!(Offer::read(two_transports.as_bytes()), Err(InvalidOffer::Unacceptable(_))));
}

#[test]
fn h264_in_the_profile_that_everybody_has() {
    let only = |parameters: &str| {
        let format = Format {
            payload_type: 96,
            name: "h264".into(),
            clock_rate: 90_000,
            channels: 1,
            parameters: parameters.into(),
            feedback: Vec::new(),
        };
        let mut section = Offer::read(BROWSER.as_bytes()).unwrap().sections.remove(1);
        section.formats = vec![format];
        section.choose(&[Codec::H264]).map(|choice| choice.parameters())
    };
    let start = "x-google-start-bitrate=2500";
    assert_eq!(
        only("profile-level-id=640032;packetization-mode=1"),
        Some(format!("profile-level-id=640032;packetization-mode=1;{start}"))
    );
    assert_eq!(
        only("level-asymmetry-allowed=1;profile-level-id=4d001f"),
        Some(format!("level-asymmetry-allowed=1;profile-level-id=4d0034;{start}"))
    );
    assert_eq!((only("packetization-mode=2"), only("profile-level-id=f4001f;packetization-mode=1")), (None, None));
    assert_eq!(only(""), Some(start.to_owned()));
}
