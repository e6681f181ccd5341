//! A clip as the messages of a publisher, to be sent again and again.
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};

use crate::domain::asset::TrackKind;
use crate::media::codecs::aac::EsDescriptor;
use crate::media::movie::{Movie, MovieError, MovieLimits, MovieTrack};
use crate::protocols::rtmp::session::Medium;
use crate::protocols::rtmp::wire::flv::audio::AudioCodec;
use crate::protocols::rtmp::wire::flv::emit::{AudioTrackWriter, VideoTrackWriter};
use crate::protocols::rtmp::wire::flv::video::VideoCodec;

/// Largest clip held in memory, shared by all publishers.
const CLIP_BYTES_MAX: u64 = 1 << 30;
/// Fixed part of an FLV file's header, and of a tag's.
const FLV_HEAD_BYTES: usize = 9;
const FLV_TAG_BYTES: usize = 11;

/// The clip cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large to be held in memory.
    #[error("the clip has {0} bytes, at most {CLIP_BYTES_MAX} are held in memory")]
    TooLarge(u64),
    /// The MP4 file cannot be used.
    #[error(transparent)]
    Movie(#[from] MovieError),
    /// Nothing in it can be sent.
    #[error("the clip has no H.264 pictures or AAC sound in FLV or MP4 (without fragments)")]
    Nothing,
}

/// One message of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipMessage {
    /// When it is due, from the beginning of the clip, microseconds.
    pub at_us: u64,
    /// Its tag's body.
    pub payload: Bytes,
}

/// Pictures or sound, looped for themselves: neither ends a little before the other, which would leave holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopedTrack {
    /// Which of the two.
    pub medium: Medium,
    /// By time, at least one.
    pub messages: Vec<ClipMessage>,
    /// When the next round begins, microseconds after this one did.
    pub period_us: u64,
}

/// A clip that can be looped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopedClip {
    /// Codecs' configurations, to be sent first.
    pub headers: Vec<(Medium, Bytes)>,
    /// At least one.
    pub tracks: Vec<LoopedTrack>,
}

impl LoopedTrack {
    /// The message with this number, counted on over the rounds, and when it is due.
    pub fn message(&self, number: usize) -> (u64, &ClipMessage) {
        let (round, at) = (number / self.messages.len(), number % self.messages.len());
        let message = &self.messages[at];
        (round as u64 * self.period_us + message.at_us, message)
    }

    /// `None` when there is nothing in it. The last message lasts as long as the others do on average.
    fn new(medium: Medium, mut messages: Vec<ClipMessage>) -> Option<Self> {
        messages.sort_by_key(|message| message.at_us);
        let (first, last) = (messages.first()?.at_us, messages.last()?.at_us);
        let (length, gaps) = (last - first, messages.len() as u64 - 1);
        let period_us = length + length.checked_div(gaps).unwrap_or(0).max(1);
        Some(Self { medium, messages, period_us })
    }
}

impl LoopedClip {
    /// Reads an FLV or MP4 file. Blocks.
    pub fn read(path: &Path) -> Result<Self, ClipError> {
        let failed = |source| ClipError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > CLIP_BYTES_MAX {
            return Err(ClipError::TooLarge(length));
        }
        let mut head = [0; 3];
        file.read_exact(&mut head).and_then(|()| file.rewind()).map_err(failed)?;
        if &head != b"FLV" {
            return read_movie(&mut BufReader::new(file), path);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        read_flv(bytes.into()).ok_or(ClipError::Nothing)
    }

    /// Bits per second.
    pub fn bit_rate(&self) -> u64 {
        let of_track = |track: &LoopedTrack| {
            let bytes: usize = track.messages.iter().map(|message| message.payload.len()).sum();
            bytes as u64 * 8_000_000 / track.period_us
        };
        self.tracks.iter().map(of_track).sum()
    }

    /// The message that is due next, after so many of each track: its track's index, when, and what.
    pub fn next(&self, sent: &[usize]) -> Option<(usize, u64, &ClipMessage)> {
        let candidates = self.tracks.iter().zip(sent).enumerate().map(|(index, (track, sent))| {
            let (due_us, message) = track.message(*sent);
            (index, due_us, message)
        });
        candidates.min_by_key(|(_, due_us, _)| *due_us)
    }

    fn assemble(headers: Vec<(Medium, Bytes)>, messages: Vec<(Medium, ClipMessage)>) -> Option<Self> {
        let first = messages.iter().map(|(_, message)| message.at_us).min()?;
        let of = |wanted: Medium| {
            let mine = messages.iter().filter(|(medium, _)| *medium == wanted);
            let shifted = mine.map(|(_, message)| ClipMessage { at_us: message.at_us - first, ..message.clone() });
            LoopedTrack::new(wanted, shifted.collect())
        };
        Some(Self { headers, tracks: [Medium::Video, Medium::Audio].into_iter().filter_map(of).collect() })
    }
}

fn read_flv(mut bytes: Bytes) -> Option<LoopedClip> {
    let head = bytes.get(..FLV_HEAD_BYTES)?;
    let offset = u32::from_be_bytes(head.get(5..9)?.try_into().ok()?) as usize;
    // The size of the tag before, which there is none of, precedes the first tag.
    bytes = bytes.get(offset.checked_add(4)?..).map(|rest| bytes.slice_ref(rest))?;
    let (mut headers, mut messages) = (Vec::new(), Vec::new());
    while bytes.len() >= FLV_TAG_BYTES {
        let mut tag = bytes.split_to(FLV_TAG_BYTES);
        let (kind, length) = (tag.get_u8() & 0x1f, tag.get_uint(3) as usize);
        let at_ms = tag.get_uint(3) | u64::from(tag.get_u8()) << 24;
        if bytes.len() < length {
            break;
        }
        let payload = bytes.split_to(length);
        bytes.advance(bytes.len().min(4));
        let medium = match kind {
            8 => Medium::Audio,
            9 => Medium::Video,
            _ => continue,
        };
        if is_configuration(medium, &payload) {
            headers.push((medium, payload));
        } else {
            messages.push((medium, ClipMessage { at_us: at_ms * 1000, payload }));
        }
    }
    LoopedClip::assemble(headers, messages)
}

/// Whether a tag starts a sequence: packet type 0 of AVC, AAC or Enhanced RTMP.
fn is_configuration(medium: Medium, payload: &[u8]) -> bool {
    let (Some(first), second) = (payload.first(), payload.get(1)) else { return false };
    match medium {
        Medium::Video if first & 0x80 != 0 => first & 0x0f == 0,
        Medium::Video => first & 0x0f == 7 && second == Some(&0),
        Medium::Audio if first >> 4 == 9 => first & 0x0f == 0,
        Medium::Audio => first >> 4 == 10 && second == Some(&0),
        Medium::Data => false,
    }
}

fn read_movie(reader: &mut (impl Read + Seek), path: &Path) -> Result<LoopedClip, ClipError> {
    let movie = Movie::read(reader, &MovieLimits::default())?;
    let of = |kind| movie.tracks.iter().filter(move |track: &&MovieTrack| track.kind == kind);
    let video = of(TrackKind::Video).find_map(|track| Some((track, track.entry.config(b"avcC")?.clone())));
    let specific = |track: &MovieTrack| EsDescriptor::parse(track.entry.config(b"esds")?.get(4..)?)?.specific;
    let audio = of(TrackKind::Audio).find_map(|track| Some((track, specific(track)?)));
    let (mut headers, mut messages) = (Vec::new(), Vec::new());
    if let (Some((track, record)), Some(writer)) = (video, VideoTrackWriter::new(VideoCodec::Avc, 0)) {
        headers.push((Medium::Video, writer.sequence_start(&record)));
        let body = |data: &[u8], sync, composition_ms| writer.frame(sync, composition_ms, data);
        read_samples((reader, path), (track, Medium::Video), body, &mut messages)?;
    }
    if let (Some((track, record)), Some(writer)) = (audio, AudioTrackWriter::new(AudioCodec::Aac, 0)) {
        headers.push((Medium::Audio, writer.sequence_start(&record)));
        read_samples((reader, path), (track, Medium::Audio), |data, _, _| writer.frame(data), &mut messages)?;
    }
    LoopedClip::assemble(headers, messages).ok_or(ClipError::Nothing)
}

fn read_samples(
    (reader, path): (&mut (impl Read + Seek), &Path),
    (track, medium): (&MovieTrack, Medium),
    body: impl Fn(&[u8], bool, i32) -> Bytes,
    messages: &mut Vec<(Medium, ClipMessage)>,
) -> Result<(), ClipError> {
    let failed = |source| ClipError::Read { path: path.to_owned(), source };
    let micros = |ticks: i64| ticks * 1_000_000 / i64::from(track.timescale.max(1));
    for sample in track.tables.samples()? {
        let sample = sample?;
        let mut data = Vec::new();
        reader.seek(SeekFrom::Start(sample.offset)).map_err(failed)?;
        reader.by_ref().take(u64::from(sample.bytes)).read_to_end(&mut data).map_err(failed)?;
        let composition_ms = i32::try_from(micros(i64::from(sample.composition)) / 1000).unwrap_or(0);
        let payload = body(&data, sample.sync, composition_ms);
        let at_us = u64::try_from(micros(sample.dts)).unwrap_or(0);
        messages.push((medium, ClipMessage { at_us, payload }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these tags: kind, time, body.
    fn flv(tags: &[(u8, u32, &[u8])]) -> Bytes {
        let mut bytes = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        for (kind, at, body) in tags {
            bytes.push(*kind);
            bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
            bytes.extend(&at.to_be_bytes()[1..]);
            bytes.push((at >> 24) as u8);
            bytes.extend([0; 3]);
            bytes.extend(*body);
            bytes.extend((body.len() as u32 + 11).to_be_bytes());
        }
        bytes.into()
    }

    #[test]
    fn a_clip_of_tags_loops_after_its_last_one() {
        let file = flv(&[
            (18, 0, b"metadata"),
            (9, 0, &[0x17, 0, 0, 0, 0, 1]),
            (8, 0, &[0xaf, 0, 0x12]),
            (9, 1000, &[0x17, 1, 0, 0, 0, 9]),
            (8, 1010, &[0xaf, 1, 8]),
            (8, 1033, &[0xaf, 1, 8]),
            (9, 1040, &[0x27, 1, 0, 0, 0, 9]),
        ]);
        let clip = read_flv(file).unwrap();
        assert_eq!(clip.headers.len(), 2);
        let (mut sent, mut due) = ([0; 2], Vec::new());
        for _ in 0..6 {
            let (index, due_us, _) = clip.next(&sent).unwrap();
            due.push((clip.tracks[index].medium, due_us / 1000));
            sent[index] += 1;
        }
        use Medium::{Audio, Video};
        assert_eq!(due[..5], [(Video, 0), (Audio, 10), (Audio, 33), (Video, 40), (Audio, 56)]);
    }

    #[test]
    fn damaged_files_are_read_as_far_as_they_go() {
        let file = flv(&[(9, 0, &[0x17, 1, 0, 0, 0, 9]), (9, 40, &[0x27, 1, 0, 0, 0, 9])]);
        for length in 0..file.len() {
            let clip = read_flv(file.slice(..length));
            assert!(clip.is_none_or(|clip| clip.tracks.len() <= 1));
        }
    }
}
