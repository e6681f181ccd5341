//! Live media playlists of low latency (draft-pantos-hls-rfc8216bis): parts, preload hints, blocking reloads, delta updates,
//! rendition reports. Pure text, no sockets.
use std::fmt::Write;
use std::time::Duration;

use self::names::{epoch_init_name, part_name, segment_name};
use super::paths::MEDIA;
use super::wire::render_date_range;
use crate::domain::cues::Cue;
use crate::media::live::part::PartTarget;
use crate::media::live::ring::{Beginning, LiveSegment, Position, Ring};

pub mod names;

/// `EXT-X-SKIP` needs version 9 (section 8).
const VERSION: u32 = 9;
/// Parts stay listed this many target durations from the end (4.4.4.9 asks for three).
const PARTS_LISTED: i64 = 3;
/// Skip boundary in target durations (at least six, 4.4.3.8).
const SKIP_UNTIL: u32 = 6;
/// HOLD-BACK in target durations (at least three, 4.4.3.8).
const HOLD_BACK: u32 = 3;
/// How many segments behind the last one may be waited for (6.2.5.2).
const FUTURE_SEGMENTS: u64 = 2;
/// A blocked reload is answered after this many target durations in any case (6.2.5.2 suggests three).
const BLOCK_FOR: u32 = 3;

/// What a playlist is rendered from.
#[derive(Clone, Copy)]
pub struct LivePlaylist<'a> {
    /// The rendition's segments.
    pub ring: &'a Ring,
    /// TARGETDURATION in seconds, equal in all renditions.
    pub target_secs: u32,
    /// PART-TARGET, equal in all renditions.
    pub part_target: PartTarget,
    /// PART-HOLD-BACK in part targets, equal in all renditions.
    pub hold_back_parts: u32,
    /// Whether parts are listed, or whole segments only.
    pub low_latency: bool,
    /// What the publisher has told of the timeline.
    pub cues: &'a [Cue],
    /// The other renditions' names and segments.
    pub others: &'a [(&'a str, &'a Ring)],
}

/// What a player asks for by query (6.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ReloadRequest {
    /// `_HLS_msn`: wait until this segment is there …
    pub segment: Option<u64>,
    /// `_HLS_part`: … or this part of it.
    pub part: Option<u32>,
    /// `_HLS_skip`: a delta update will do.
    pub skip: bool,
}

/// A delivery directive that breaks the rules; to be answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDirective {
    /// Not a number, or not one that can be.
    #[error("{0} must be a decimal number")]
    NotANumber(&'static str),
    /// A part of no segment.
    #[error("_HLS_part needs _HLS_msn")]
    PartWithoutSegment,
    /// Too far in the future.
    #[error("_HLS_msn is more than two segments ahead")]
    TooFarAhead,
    /// Too far in the future.
    #[error("_HLS_part is more than {0} parts ahead")]
    PartTooFarAhead(u32),
}

impl ReloadRequest {
    /// Reads the directives of a query string; others are none of ours.
    pub fn parse(query: &str) -> Result<Self, BadDirective> {
        let mut request = Self::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "_HLS_msn" => request.segment = Some(number(value, "_HLS_msn")?),
                "_HLS_part" => request.part = Some(number(value, "_HLS_part")?),
                "_HLS_skip" => request.skip = value == "YES" || value == "v2",
                _ => {}
            }
        }
        if request.part.is_some() && request.segment.is_none() {
            return Err(BadDirective::PartWithoutSegment);
        }
        Ok(request)
    }

    /// Whether it can be answered now; an error when it never should.
    pub fn is_answerable(&self, ring: &Ring, part_target: PartTarget) -> Result<bool, BadDirective> {
        let Some(segment) = self.segment else { return Ok(true) };
        if ring.has(segment, self.part) {
            return Ok(true);
        }
        let last = ring.newest_number().unwrap_or(0);
        if segment > last + FUTURE_SEGMENTS {
            return Err(BadDirective::TooFarAhead);
        }
        let parts_here = ring.last_part().filter(|part| segment == part.segment).map_or(0, |last| last.part + 1);
        let limit = part_target.advance_limit();
        if self.part.is_some_and(|part| part >= parts_here.saturating_add(limit)) {
            return Err(BadDirective::PartTooFarAhead(limit));
        }
        Ok(false)
    }
}

fn number<T: std::str::FromStr>(text: &str, name: &'static str) -> Result<T, BadDirective> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal).ok_or(BadDirective::NotANumber(name))
}

/// How long a request may be held.
pub fn block_for(target_secs: u32) -> Duration {
    Duration::from_secs(u64::from(target_secs * BLOCK_FOR))
}

/// Renders the playlist; as a delta update when one is asked for and there is something to skip.
pub fn render_live(playlist: &LivePlaylist, skip: bool) -> String {
    let ring = playlist.ring;
    let ended = ring.has_ended();
    let mut out = render_head(playlist);
    // All of them in every answer: skipping them is not offered (CAN-SKIP-DATERANGES).
    playlist.cues.iter().for_each(|cue| render_date_range(&mut out, cue));
    let skipped = if skip && !ended { skippable(playlist) } else { 0 };
    if skipped > 0 {
        let _ = writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    let mut behind = ring.segments().skip(skipped).map(LiveSegment::micros).sum::<i64>();
    let listed = parts_listed_micros(playlist.target_secs);
    let last_map = ring.segments().take(skipped).rev().find(|segment| segment.size > 0);
    let mut epoch = last_map.map(|segment| segment.beginning.epoch);
    for segment in ring.segments().skip(skipped) {
        behind -= segment.micros();
        // A segment's parts are listed as long as one of them is within that distance of the end.
        if playlist.low_latency || segment.is_complete {
            let parts = (playlist.low_latency && !ended && behind <= listed).then_some(playlist.part_target);
            render_segment(&mut out, segment, &mut epoch, parts);
        }
    }
    if ended {
        out.push_str("#EXT-X-ENDLIST\n");
        return out;
    }
    if !playlist.low_latency {
        return out;
    }
    if let Some((epoch, hint)) = next_part(ring) {
        let _ = writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}\"", part_name(epoch, hint));
    }
    playlist.others.iter().for_each(|(name, ring)| render_report(&mut out, name, (ring, listed), playlist.part_target));
    out
}

/// How far from the end parts are listed, microseconds.
fn parts_listed_micros(target_secs: u32) -> i64 {
    PARTS_LISTED * i64::from(target_secs) * 1_000_000
}

/// How far another rendition is (4.4.5.4): the newest part that is listed there, or else the newest segment.
fn render_report(out: &mut String, name: &str, (ring, listed): (&Ring, i64), target: PartTarget) {
    let is_listed = |part: &Position| {
        let newer = ring.segments().rev().take_while(|segment| segment.beginning.number > part.segment);
        newer.map(LiveSegment::micros).sum::<i64>() <= listed
    };
    let part = ring.last_part().filter(is_listed);
    let Some(number) = part.map(|part| part.segment).or_else(|| ring.newest_number()) else { return };
    let _ = write!(out, "#EXT-X-RENDITION-REPORT:URI=\"../{name}/{MEDIA}\",LAST-MSN={number}");
    if let Some(Position { part, segment }) = part {
        let missing = ring.segment(segment).map_or(0, |segment| missing_parts(segment, target));
        let _ = write!(out, ",LAST-PART={}", part + missing);
    }
    out.push('\n');
}

fn render_head(playlist: &LivePlaylist) -> String {
    let LivePlaylist { ring, target_secs, .. } = *playlist;
    let first = ring.segments().next().map_or(ring.next_number(), |segment| segment.beginning.number);
    let mut out = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{target_secs}\n");
    if !ring.has_ended() {
        render_control(&mut out, playlist);
    }
    let _ = writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}");
    if ring.discontinuity_sequence() > 0 {
        let _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", ring.discontinuity_sequence());
    }
    out
}

fn render_control(out: &mut String, playlist: &LivePlaylist) {
    let (skip_until, hold_back) = (playlist.target_secs * SKIP_UNTIL, playlist.target_secs * HOLD_BACK);
    let _ = write!(
        out,
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={:.1},HOLD-BACK={:.1}",
        f64::from(skip_until),
        f64::from(hold_back),
    );
    if playlist.low_latency {
        let part = f64::from(playlist.part_target.as_millis()) / 1000.0;
        let part_hold_back = part * f64::from(playlist.hold_back_parts);
        let _ = write!(out, ",PART-HOLD-BACK={part_hold_back:.3}\n#EXT-X-PART-INF:PART-TARGET={part:.3}");
    }
    out.push('\n');
}

/// How many segments lie before the skip boundary.
fn skippable(playlist: &LivePlaylist) -> usize {
    let ring = playlist.ring;
    let boundary = i64::from(playlist.target_secs * SKIP_UNTIL) * 1_000_000;
    // From the end of the last whole segment (4.4.3.8).
    let open = ring.segments().next_back().filter(|newest| !newest.is_complete).map_or(0, LiveSegment::micros);
    let mut before_end = ring.kept_micros() - open;
    let is_skipped = |segment: &&LiveSegment| {
        before_end -= segment.micros();
        before_end > boundary
    };
    ring.segments().take_while(is_skipped).count()
}

/// `parts`: PART-TARGET when parts are listed.
fn render_segment(out: &mut String, segment: &LiveSegment, epoch: &mut Option<u32>, parts: Option<PartTarget>) {
    if !segment.is_complete && segment.parts.is_empty() {
        return;
    }
    let Beginning { number, epoch: of, .. } = segment.beginning;
    if segment.discontinuity {
        out.push_str("#EXT-X-DISCONTINUITY\n");
    }
    // What has no media needs none, and a rendition may have none in this epoch.
    if segment.size > 0 && epoch.replace(segment.beginning.epoch) != Some(segment.beginning.epoch) {
        let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}\"", epoch_init_name(segment.beginning.epoch));
    }
    let _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", segment.beginning.date);
    for (part, index) in segment.parts.iter().zip(0..).filter(|_| parts.is_some() || !segment.is_complete) {
        let name = part_name(of, Position { segment: number, part: index });
        let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
        let _ = writeln!(out, "#EXT-X-PART:DURATION={:.5},URI=\"{name}\"{independent}", segment.seconds(part.duration));
    }
    if let Some(target) = parts {
        render_missing(out, segment, target);
    }
    if segment.is_gap() {
        out.push_str("#EXT-X-GAP\n");
    }
    if segment.is_complete {
        let _ = writeln!(out, "#EXTINF:{:.5},\n{}", segment.seconds(segment.duration), segment_name(of, number));
    }
}

/// Parts that do not exist, of a segment that was broken off (4.4.4.9, `GAP`).
fn render_missing(out: &mut String, segment: &LiveSegment, target: PartTarget) {
    let Beginning { number, epoch, .. } = segment.beginning;
    let count = missing_parts(segment, target);
    let duration = segment.seconds(segment.missing) / f64::from(count.max(1));
    let first = u32::try_from(segment.parts.len()).unwrap_or(u32::MAX);
    for part in (first..).take(count as usize) {
        let name = part_name(epoch, Position { segment: number, part });
        let _ = writeln!(out, "#EXT-X-PART:DURATION={duration:.5},URI=\"{name}\",GAP=YES");
    }
}

/// How many parts would have been in what is missing of a segment.
fn missing_parts(segment: &LiveSegment, target: PartTarget) -> u32 {
    match segment.parts.is_empty() {
        true => 0,
        false => (segment.seconds(segment.missing) * 1000.0 / f64::from(target.as_millis())).ceil() as u32,
    }
}

/// The part that will most likely come next, and its epoch: the next one of the open segment, or the first one of the segment
/// after it when the open one is now as long as the one before it was.
fn next_part(ring: &Ring) -> Option<(u32, Position)> {
    let newest = ring.segments().next_back()?;
    let Beginning { number, epoch, .. } = newest.beginning;
    let before = ring.segments().rev().skip(1).find(|segment| !segment.is_gap()).map(LiveSegment::micros);
    let without_last = newest.micros() - newest.parts.last().map_or(0, |last| newest.micros_of(last.duration));
    let is_over = newest.is_complete || before.is_some_and(|before| (without_last..=newest.micros()).contains(&before));
    let next = match is_over {
        true => Position { segment: number + 1, part: 0 },
        false => Position { segment: number, part: u32::try_from(newest.parts.len()).unwrap_or(u32::MAX) },
    };
    Some((epoch, next))
}

#[cfg(test)]
mod tests;
