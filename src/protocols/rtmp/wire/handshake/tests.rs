use bytes::Bytes;

use super::*;

fn drain(output: &mut Output) -> BytesMut {
    let length = output.len();
    BytesMut::from(&output.copy_to_bytes(length)[..])
}

/// Lets both sides talk until both are done; `step` bytes at a time.
fn shake(step: usize) -> (HandshakeKind, HandshakeKind) {
    let (mut client, mut server) = (ClientHandshake::new(1), ServerHandshake::new(2));
    let (mut to_server, mut to_client) = (Output::default(), Output::default());
    let (mut at_server, mut at_client) = (BytesMut::new(), BytesMut::new());
    let (mut client_done, mut server_done) = (None, None);
    for _ in 0..20_000 {
        client_done = client_done.or(client.advance(&mut at_client, &mut to_server).unwrap());
        let size = to_server.len().min(step);
        at_server.extend_from_slice(&to_server.copy_to_bytes(size));
        server_done = server_done.or(server.advance(&mut at_server, &mut to_client).unwrap());
        let size = to_client.len().min(step);
        at_client.extend_from_slice(&to_client.copy_to_bytes(size));
        if let (Some(client), Some(server)) = (client_done, server_done) {
            assert!(at_server.is_empty() && at_client.is_empty());
            return (client, server);
        }
    }
    panic!("the handshake does not end");
}

#[test]
fn both_sides_sign_whole_and_byte_by_byte() {
    assert_eq!(shake(usize::MAX), (HandshakeKind::Digest, HandshakeKind::Digest));
    assert_eq!(shake(1), (HandshakeKind::Digest, HandshakeKind::Digest));
}

#[test]
fn both_schemes_are_recognised_and_answered_in_kind() {
    for scheme in [Scheme::Early, Scheme::Late] {
        let mut packet = Random(7).packet();
        packet.set_times(5, CLIENT_VERSION);
        digest::sign(&mut packet, scheme, CLIENT_KEY);
        let (_, client_digest) = digest::find(&packet, CLIENT_KEY).unwrap();
        let mut input = BytesMut::from(&[&[VERSION], packet.bytes()].concat()[..]);
        let mut output = Output::default();
        let mut server = ServerHandshake::new(3);
        assert_eq!(server.advance(&mut input, &mut output), Ok(None));
        let answer = drain(&mut output);
        assert_eq!(answer.len(), 1 + 2 * PACKET_BYTES);
        let first = Packet::read(&answer[1..]).unwrap();
        assert_eq!(digest::find(&first, SERVER_KEY).map(|found| found.0), Some(scheme));
        assert!(digest::answers(&answer[1 + PACKET_BYTES..], SERVER_KEY, &client_digest));
        input.extend_from_slice(&[9; PACKET_BYTES + 3]);
        assert_eq!(server.advance(&mut input, &mut output), Ok(Some(HandshakeKind::Digest)));
        assert_eq!(&input[..], [9; 3], "what follows is left");
    }
}

#[test]
fn a_packet_without_a_valid_digest_gets_the_simple_answer() {
    for version in [0, CLIENT_VERSION] {
        let mut packet = Random(7).packet();
        packet.set_times(5, version);
        let mut input = BytesMut::from(&[&[VERSION], packet.bytes(), packet.bytes()].concat()[..]);
        let mut output = Output::default();
        assert_eq!(ServerHandshake::new(3).advance(&mut input, &mut output), Ok(Some(HandshakeKind::Simple)));
        let answer = drain(&mut output);
        assert_eq!(&answer[5..9], [0; 4]);
        assert_eq!(&answer[1 + PACKET_BYTES..], packet.bytes(), "the client's packet comes back");
    }
}

#[test]
fn a_client_follows_a_server_without_digests() {
    let mut client = ClientHandshake::new(1);
    let mut output = Output::default();
    assert_eq!(client.advance(&mut BytesMut::new(), &mut output), Ok(None));
    assert_eq!(output.len(), 1 + PACKET_BYTES);
    let mut input = BytesMut::from(&[&[VERSION][..], &[4; PACKET_BYTES], &[5; PACKET_BYTES]].concat()[..]);
    assert_eq!(client.advance(&mut input, &mut output), Ok(Some(HandshakeKind::Simple)));
    assert_eq!(&drain(&mut output)[1 + PACKET_BYTES..], [4; PACKET_BYTES]);
}

#[test]
fn other_protocols_are_told_apart_at_their_first_byte() {
    for (bytes, error) in [
        (&[0x16, 3, 1][..], HandshakeError::Tls),
        (b"GET / HTTP/1.1", HandshakeError::Http),
        (&[6], HandshakeError::Version(6)),
        (&[0], HandshakeError::Version(0)),
        (&[0xff], HandshakeError::Version(0xff)),
    ] {
        let mut input = BytesMut::from(&Bytes::from_static(bytes)[..]);
        assert_eq!(ServerHandshake::new(0).advance(&mut input, &mut Output::default()), Err(error));
    }
}
