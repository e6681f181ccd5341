//! The inspection of a source: what is in it, and whether it plays as it is.
use std::io::{Read, Seek};
use std::sync::Arc;

use super::probe;
use super::worker::Reporter;
use super::{describe, internal, sniff};
use crate::domain::video::{Failure, MediaInfo, NonStandard, VideoInfo};
use crate::media::grid::GridSettings;
use crate::media::index::{IndexRequest, IndexSettings, MovieIndex, Playable, index_movie};
use crate::media::movie::{MovieError, MovieLimits};
use crate::media::source::ExtentReader;
use crate::media::work::{Answer, MediaLimits, Output, OutputFile, Packaged, Verdict};

/// Containers that GStreamer can take apart well enough for their streams to be put into spans.
const REMUXED: [&str; 6] = ["matroska", "webm", "mpegts", "flv", "avi", "mp4"];

/// Inspects a source. `make_reader` opens it anew for each pass.
pub(super) fn inspect(
    make_reader: &dyn Fn() -> ExtentReader,
    output: &Output,
    limits: &MediaLimits,
    reporter: &Arc<Reporter>,
) -> Result<Answer, Failure> {
    let mut reader = make_reader();
    let mut head = Vec::new();
    reader.by_ref().take(sniff::HEAD_BYTES as u64).read_to_end(&mut head).map_err(super::worker::unreadable)?;
    let source_bytes = reader.length_bytes();
    if sniff::look(&head)? == sniff::Head::Movie {
        reader.rewind().map_err(super::worker::unreadable)?;
        let index = index_movie(&mut reader, &request(output, limits)).map_err(movie_failure)?;
        return movie_answer(index, output);
    }
    let found = probe::probe(make_reader(), reporter)?;
    let media = describe::media_info(&found, source_bytes);
    let verdict = judge(&media);
    Ok(Answer::Inspected { media, verdict })
}

/// What indexing is asked for.
fn request(output: &Output, limits: &MediaLimits) -> IndexRequest {
    let millis = |duration: std::time::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    let settings = IndexSettings {
        limits: MovieLimits { moov_bytes_max: limits.moov_bytes_max, ..MovieLimits::default() },
        grid: GridSettings { target_ms: millis(limits.segment_duration), longest_ms: millis(limits.gop_duration_max) },
        bits_per_sec_max: limits.bit_rate_max,
    };
    IndexRequest {
        video_id: output.video_id.clone(),
        playback_id: output.playback_id.clone(),
        generation: output.generation,
        source: Vec::new(),
        table_prefix: output.key_prefix.clone(),
        settings,
    }
}

fn movie_failure(error: MovieError) -> Failure {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    Failure { code: error.code().into(), message: format!("{first}{}.", chars.as_str()) }
}

fn movie_answer(index: MovieIndex, output: &Output) -> Result<Answer, Failure> {
    let MovieIndex { info: media, non_standard, playable } = index;
    let verdict = match playable {
        Some(playable) if non_standard.is_empty() => Verdict::Playable(write_tables(playable, output)?),
        _ if is_only_fragmented(&non_standard) => Verdict::Remux,
        _ => Verdict::NonStandard(non_standard),
    };
    Ok(Answer::Inspected { media, verdict })
}

/// A movie in fragments is standard but for its form.
fn is_only_fragmented(non_standard: &[NonStandard]) -> bool {
    !non_standard.is_empty() && non_standard.iter().all(|unmet| unmet.code == "fragmented")
}

fn write_tables(playable: Playable, output: &Output) -> Result<Packaged, Failure> {
    let mut files = Vec::new();
    for (number, table) in playable.tables.into_iter().enumerate() {
        let path = output.dir.join(format!("table-{number}"));
        std::fs::write(&path, &table.bytes).map_err(internal)?;
        files.push(OutputFile { key: table.key, path });
    }
    Ok(Packaged { tracks: playable.asset.tracks, files })
}

/// Judges by codecs and container alone; the rest is judged on what comes out of remuxing.
fn judge(media: &MediaInfo) -> Verdict {
    let mut unmets = Vec::new();
    let mut unmet = |code: &str, message: String| unmets.push(NonStandard { code: code.into(), message });
    if !REMUXED.contains(&media.container.as_str()) && !media.video.is_empty() {
        unmet("container", format!("the container is {}", media.container));
    }
    if let Some(video) = media.video.first().filter(|video| video.codec != "h264") {
        unmet("video_codec", format!("the video codec is {}, not h264", video.codec));
    }
    for audio in media.audio.iter().filter(|audio| audio.codec != "aac") {
        unmet("audio_codec", format!("the audio codec is {}, not aac", audio.codec));
    }
    if let Some(video) = media.video.first() {
        judge_picture(video, &mut unmet);
    }
    if media.video.is_empty() && media.audio.is_empty() {
        unmet("no_tracks", "there is neither picture nor sound".into());
    }
    if unmets.is_empty() { Verdict::Remux } else { Verdict::NonStandard(unmets) }
}

/// What is known of the pictures before they are taken apart; codes as in [`crate::media::standard`].
fn judge_picture(video: &VideoInfo, unmet: &mut impl FnMut(&str, String)) {
    if video.bit_depth != 8 {
        unmet("bit_depth", format!("the pictures have {} bits per sample, not 8", video.bit_depth));
    }
    if video.chroma != "4:2:0" {
        unmet("chroma", format!("the chroma subsampling is {}, not 4:2:0", video.chroma));
    }
    if video.interlaced {
        unmet("interlaced", "the pictures may be interlaced".into());
    }
    if video.dynamic_range != "sdr" {
        unmet("dynamic_range", format!("the pictures are HDR ({}), not SDR", video.dynamic_range.to_uppercase()));
    }
}
