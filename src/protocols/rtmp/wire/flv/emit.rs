//! Writing of tag bodies: for relays, the demo's publisher and load generators.
use bytes::{BufMut, Bytes, BytesMut};

use super::super::amf::{Amf, amf0};
use super::FourCc;
use super::audio::AudioCodec;
use super::video::VideoCodec;

const ENHANCED_VIDEO: u8 = 0x80;
const ENHANCED_AUDIO: u8 = 0x90;
const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
const CODED_FRAMES_X: u8 = 3;
const VIDEO_MULTITRACK: u8 = 6;
const AUDIO_MULTITRACK: u8 = 5;
const KEY: u8 = 1 << 4;
const INTER: u8 = 2 << 4;

/// Writes the messages of a video track. H.264 on track 0 has legacy headers, which every peer reads; all else is enhanced.
#[derive(Debug, Clone, Copy)]
pub struct VideoTrackWriter {
    code: FourCc,
    codec: VideoCodec,
    track: u8,
}

impl VideoTrackWriter {
    /// A writer; `None` for codecs that have no code.
    pub fn new(codec: VideoCodec, track: u8) -> Option<Self> {
        codec.four_cc().map(|code| Self { code, codec, track })
    }

    fn is_legacy(&self) -> bool {
        self.codec == VideoCodec::Avc && self.track == 0
    }

    /// The codec's configuration record.
    pub fn sequence_start(&self, record: &[u8]) -> Bytes {
        let mut body = self.begin(KEY, SEQUENCE_START, 0, record.len());
        body.put_slice(record);
        body.freeze()
    }

    /// A frame, shown `composition_ms` after the message's time; 24 bits of that are kept.
    pub fn frame(&self, is_key: bool, composition_ms: i32, data: &[u8]) -> Bytes {
        let composes = self.codec.has_composition_time();
        let is_plain = composes && composition_ms == 0 && !self.is_legacy();
        let packet_type = if is_plain { CODED_FRAMES_X } else { CODED_FRAMES };
        let mut body = self.begin(if is_key { KEY } else { INTER }, packet_type, composition_ms, data.len());
        if composes && !is_plain && !self.is_legacy() {
            body.put_int(i64::from(composition_ms), 3);
        }
        body.put_slice(data);
        body.freeze()
    }

    /// The end of the sequence.
    pub fn sequence_end(&self) -> Bytes {
        self.begin(KEY, SEQUENCE_END, 0, 0).freeze()
    }

    fn begin(&self, frame: u8, packet_type: u8, composition_ms: i32, length: usize) -> BytesMut {
        let mut body = BytesMut::with_capacity(length + 12);
        if self.is_legacy() {
            body.put_slice(&[frame | 7, packet_type]);
            body.put_int(i64::from(composition_ms), 3);
        } else {
            put_enhanced(&mut body, ENHANCED_VIDEO | frame, packet_type, VIDEO_MULTITRACK, self.track, self.code);
        }
        body
    }
}

/// Writes the messages of an audio track. AAC on track 0 has legacy headers, which every peer reads; all else is enhanced.
#[derive(Debug, Clone, Copy)]
pub struct AudioTrackWriter {
    code: FourCc,
    codec: AudioCodec,
    track: u8,
}

impl AudioTrackWriter {
    /// A writer; `None` for codecs that have no code.
    pub fn new(codec: AudioCodec, track: u8) -> Option<Self> {
        codec.four_cc().map(|code| Self { code, codec, track })
    }

    /// The codec's configuration.
    pub fn sequence_start(&self, record: &[u8]) -> Bytes {
        self.packet(SEQUENCE_START, record)
    }

    /// A frame.
    pub fn frame(&self, data: &[u8]) -> Bytes {
        self.packet(CODED_FRAMES, data)
    }

    fn packet(&self, packet_type: u8, data: &[u8]) -> Bytes {
        let mut body = BytesMut::with_capacity(data.len() + 8);
        if self.codec == AudioCodec::Aac && self.track == 0 {
            // AAC, and the rate, size and channels that it always says.
            body.put_slice(&[0xaf, packet_type]);
        } else {
            put_enhanced(&mut body, ENHANCED_AUDIO, packet_type, AUDIO_MULTITRACK, self.track, self.code);
        }
        body.put_slice(data);
        body.freeze()
    }
}

/// An enhanced header; tracks but the default one are named by a multitrack header of one track.
fn put_enhanced(body: &mut BytesMut, first: u8, packet_type: u8, multitrack: u8, track: u8, code: FourCc) {
    if track == 0 {
        body.put_u8(first | packet_type);
        body.put_slice(&code.0);
    } else {
        body.put_slice(&[first | multitrack, packet_type]);
        body.put_slice(&code.0);
        body.put_u8(track);
    }
}

/// A data message: a name and its values.
pub fn data(name: &str, values: &[Amf]) -> Bytes {
    let mut body = BytesMut::new();
    amf0::write(&Amf::text(name), &mut body);
    values.iter().for_each(|value| amf0::write(value, &mut body));
    body.freeze()
}
