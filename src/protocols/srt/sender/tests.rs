use srt_protocol::options::SocketOptions;
use srt_protocol::packet::Packet;
use srt_protocol::settings::ConnInitSettings;

use super::*;

fn settings(init: u32, now: Instant) -> ConnectionSettings {
    let usual = ConnInitSettings::from(SocketOptions::default());
    ConnectionSettings {
        remote: ([127, 0, 0, 1], 9).into(),
        remote_sockid: SocketId(77),
        local_sockid: SocketId(5),
        socket_start_time: now,
        rtt: Duration::ZERO,
        init_seq_num: SeqNumber::new_truncate(init),
        max_packet_size: usual.max_packet_size,
        max_flow_size: usual.max_flow_size,
        send_tsbpd_latency: usual.send_latency,
        recv_tsbpd_latency: usual.recv_latency,
        too_late_packet_drop: true,
        peer_idle_timeout: usual.peer_idle_timeout,
        recv_buffer_size: usual.recv_buffer_size,
        send_buffer_size: usual.send_buffer_size,
        cipher: None,
        stream_id: None,
        bandwidth: usual.bandwidth,
        statistics_interval: usual.statistics_interval,
    }
}

fn data(packets: &[Bytes]) -> Vec<DataPacket> {
    let read = |packet: &Bytes| match Packet::parse(&mut packet.clone(), false) {
        Ok(Packet::Data(data)) => data,
        other => panic!("{other:?}"),
    };
    packets.iter().map(read).collect()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn chunk(made: Instant, byte: u8) -> Chunk {
    Chunk { made, bytes: Bytes::from(vec![byte; 188]) }
}

#[test]
fn what_came_before_the_reader_is_caught_up_with() {
    let start = Instant::now();
    let now = start + ms(3000);
    let mut sender = Sender::new(&settings(9, now), TimeStamp::from_micros(50_000), now);
    assert_eq!(sender.next_chunk(), None);
    sender.begin(100, start, now);
    let due = |sender: &Sender, made| sender.due(&chunk(start + ms(made), 1)).unwrap().duration_since(start);
    assert_eq!([0, 1000, 3000].map(|made| due(&sender, made).as_millis()), [3000, 3250, 3750]);
    assert_eq!([4000, 4001, 9000].map(|made| due(&sender, made).as_millis()), [4000, 4001, 9000], "as they come");
    let mut out = Vec::new();
    for made in [0, 1000, 9000] {
        sender.send(&chunk(start + ms(made), 1), &mut out);
    }
    let told: Vec<_> = data(&out).iter().map(|it| (it.seq_number.as_raw(), it.timestamp.as_micros() / 1000)).collect();
    assert_eq!(told, [(9, 50), (10, 300), (11, 6050)], "by the reader's clock");
    assert_eq!(sender.next_chunk(), Some(103));
}

#[test]
fn what_is_missed_is_sent_again_but_not_too_often() {
    let now = Instant::now();
    let mut sender = Sender::new(&settings(NUMBERS - 2, now), TimeStamp::from_micros(0), now);
    sender.begin(40, now, now);
    let mut out = Vec::new();
    (0..5).for_each(|byte| sender.send(&chunk(now + ms(u64::from(byte)), byte), &mut out));
    let numbers: Vec<u32> = data(&out).iter().map(|packet| packet.seq_number.as_raw()).collect();
    assert_eq!(numbers, [NUMBERS - 2, NUMBERS - 1, 0, 1, 2]);
    assert_eq!(sender.missed((NUMBERS - 1, 1), now), [(41, NUMBERS - 1), (42, 0), (43, 1)]);
    assert_eq!(sender.missed((1, 2), now + ms(5)), [(44, 2)], "the other one is on its way");
    assert_eq!(sender.missed((1, 1), now + ms(11)), [(43, 1)]);
    for nonsense in [(3, 3), (2, 1), (5, 1000), (0, NUMBERS - 1), (NUMBERS - 3, 1)] {
        assert_eq!(sender.missed(nonsense, now + ms(100)), [], "{nonsense:?}");
    }
    let mut again = Vec::new();
    sender.send_again(1, &chunk(now + ms(3), 3), &mut again);
    let (first, again) = (&data(&out)[3], &data(&again)[0]);
    assert!(again.retransmitted && !first.retransmitted);
    assert_eq!((again.timestamp, &again.payload), (first.timestamp, &first.payload));
    let asked: usize = (1..2000).map(|later| sender.missed((0, 2), now + ms(later * 1000)).len()).sum();
    assert!(asked < AGAIN_MAX as usize, "{asked} of nothing new");
    assert!(sender.sent().lost > 0);
}

#[test]
fn acknowledgements_are_acknowledged() {
    let now = Instant::now();
    let mut sender = Sender::new(&settings(0, now), TimeStamp::from_micros(0), now);
    assert_eq!(sender.acknowledged((None, None), now), None);
    let answer = sender.acknowledged((Some(7), Some(30_000)), now + ms(2)).unwrap();
    let Ok(Packet::Control(answer)) = Packet::parse(&mut answer.clone(), false) else { panic!("{answer:?}") };
    assert!(matches!(answer.control_type, ControlTypes::Ack2(_)), "{answer:?}");
    assert_eq!((answer.dest_sockid, sender.rtt), (SocketId(77), ms(30)));
}
