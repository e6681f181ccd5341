//! Movies in fragments (section 8.8): what an initialisation segment says, and the samples of the segments that go with it.
use std::collections::BTreeMap;

use bytes::Bytes;

use super::fields::{Children, Fields, child_header};
use super::{MovieError, MovieLimits, MovieTrack};

/// Samples of one run at most.
const RUN_MAX: u32 = 65_536;

/// Flags of `tfhd`.
mod header {
    pub(super) const BASE: u32 = 0x01;
    pub(super) const ENTRY: u32 = 0x02;
    pub(super) const DURATION: u32 = 0x08;
    pub(super) const SIZE: u32 = 0x10;
}

/// Flags of `trun`.
mod run {
    pub(super) const OFFSET: u32 = 0x001;
    pub(super) const FIRST_FLAGS: u32 = 0x004;
    pub(super) const DURATION: u32 = 0x100;
    pub(super) const SIZE: u32 = 0x200;
    pub(super) const FLAGS: u32 = 0x400;
    pub(super) const COMPOSITION: u32 = 0x800;
}

/// What samples are like that say nothing else (section 8.8.3).
#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
}

/// An initialisation segment.
#[derive(Debug, Clone)]
pub(crate) struct Initialisation {
    /// Picture and sound tracks by their numbers.
    pub(crate) tracks: BTreeMap<u32, MovieTrack>,
    defaults: BTreeMap<u32, Defaults>,
}

/// A sample of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FragmentSample {
    /// Number of its track.
    pub(crate) track: u32,
    /// Decode time in the track's ticks.
    pub(crate) dts: i64,
    /// Composition time minus decode time.
    pub(crate) composition: i64,
    /// Its bytes.
    pub(crate) payload: Bytes,
}

impl Initialisation {
    /// Reads an initialisation segment.
    pub(crate) fn read(segment: &Bytes) -> Result<Self, MovieError> {
        let limits = MovieLimits::default();
        let moov = Children::split(segment)?.within(b"moov")?;
        let mut tracks = BTreeMap::new();
        for body in moov.all(b"trak").take(limits.tracks_max) {
            let number = track_number(Children::split(body)?.required(b"tkhd")?);
            let number = number.ok_or_else(|| MovieError::damaged("box tkhd"))?;
            tracks.extend(MovieTrack::read(body, &limits)?.map(|track| (number, track)));
        }
        if tracks.is_empty() {
            return Err(MovieError::NoTracks);
        }
        let extends = moov.within(b"mvex")?;
        let defaults = extends.all(b"trex").filter_map(read_defaults).collect();
        Ok(Self { tracks, defaults })
    }

    /// The samples of a segment that goes with it, in the order of its fragments.
    pub(crate) fn samples(&self, segment: &Bytes) -> Result<Vec<FragmentSample>, MovieError> {
        let (mut at, mut samples) = (0, Vec::new());
        while let Some((kind, header, size)) = segment.get(at..).and_then(child_header) {
            let end = usize::try_from(size)
                .ok()
                .filter(|size| *size >= header as usize)
                .and_then(|size| at.checked_add(size));
            let end = end.filter(|end| *end <= segment.len());
            let end = end.ok_or_else(|| MovieError::truncated("in the middle of a box"))?;
            if &kind == b"moof" {
                let moof = Children::split(&segment.slice(at + header as usize..end))?;
                for traf in moof.all(b"traf") {
                    self.read_track(&Children::split(traf)?, (segment, at), &mut samples)?;
                }
            }
            at = end;
        }
        Ok(samples)
    }

    fn read_track(
        &self,
        traf: &Children,
        (segment, moof): (&Bytes, usize),
        out: &mut Vec<FragmentSample>,
    ) -> Result<(), MovieError> {
        let damaged = |kind| move || MovieError::damaged(format!("box {kind}"));
        let (track, base, defaults) = self.read_header(traf.required(b"tfhd")?).ok_or_else(damaged("tfhd"))?;
        if !self.tracks.contains_key(&track) {
            return Ok(());
        }
        let mut dts = read_time(traf.required(b"tfdt")?).ok_or_else(damaged("tfdt"))?;
        // Positions within a whole file mean nothing in one of its segments.
        let base = base.filter(|base| *base < segment.len()).unwrap_or(moof);
        let mut at = base;
        for body in traf.all(b"trun") {
            let mut run = Run::read(body, defaults).ok_or_else(damaged("trun"))?;
            if let Some(offset) = run.offset {
                at = isize::try_from(offset)
                    .ok()
                    .and_then(|offset| base.checked_add_signed(offset))
                    .ok_or_else(damaged("trun"))?;
            }
            for _ in 0..run.count {
                let (duration, size, composition) = run.read_next().ok_or_else(damaged("trun"))?;
                let end = at.checked_add(size as usize).filter(|end| *end <= segment.len());
                let end = end.ok_or_else(|| MovieError::truncated("before its samples do"))?;
                out.push(FragmentSample { track, dts, composition, payload: segment.slice(at..end) });
                at = end;
                dts = dts.saturating_add(i64::from(duration));
            }
        }
        Ok(())
    }

    /// Its track, where its samples' positions count from if that is told, and what they are like.
    fn read_header(&self, tfhd: &[u8]) -> Option<(u32, Option<usize>, Defaults)> {
        let mut fields = Fields::new(tfhd);
        let (flags, track) = (fields.u32()?, fields.u32()?);
        let base = if flags & header::BASE != 0 { usize::try_from(fields.u64()?).ok() } else { None };
        if flags & header::ENTRY != 0 {
            fields.skip(4)?;
        }
        let mut defaults = self.defaults.get(&track).copied().unwrap_or_default();
        if flags & header::DURATION != 0 {
            defaults.duration = fields.u32()?;
        }
        if flags & header::SIZE != 0 {
            defaults.size = fields.u32()?;
        }
        Some((track, base, defaults))
    }
}

/// A run of samples (section 8.8.8).
struct Run<'a> {
    flags: u32,
    is_signed: bool,
    count: u32,
    offset: Option<i32>,
    defaults: Defaults,
    rest: Fields<'a>,
}

impl<'a> Run<'a> {
    fn read(trun: &'a [u8], defaults: Defaults) -> Option<Self> {
        let mut rest = Fields::new(trun);
        let flags = rest.u32()?;
        let count = rest.u32().filter(|count| *count <= RUN_MAX)?;
        let offset = if flags & run::OFFSET != 0 { Some(rest.i32()?) } else { None };
        if flags & run::FIRST_FLAGS != 0 {
            rest.skip(4)?;
        }
        Some(Self { flags, is_signed: flags >> 24 != 0, count, offset, defaults, rest })
    }

    /// The next sample's duration, size and composition time minus decode time.
    fn read_next(&mut self) -> Option<(u32, u32, i64)> {
        let has = |flag| self.flags & flag != 0;
        let duration = if has(run::DURATION) { self.rest.u32()? } else { self.defaults.duration };
        let size = if has(run::SIZE) { self.rest.u32()? } else { self.defaults.size };
        if has(run::FLAGS) {
            self.rest.skip(4)?;
        }
        let composition = match (has(run::COMPOSITION), self.is_signed) {
            (false, _) => 0,
            (true, true) => i64::from(self.rest.i32()?),
            (true, false) => i64::from(self.rest.u32()?),
        };
        Some((duration, size, composition))
    }
}

fn track_number(tkhd: &Bytes) -> Option<u32> {
    let mut fields = Fields::new(tkhd);
    let is_long = fields.u32()? >> 24 == 1;
    fields.skip(if is_long { 16 } else { 8 })?;
    fields.u32()
}

fn read_defaults(trex: &Bytes) -> Option<(u32, Defaults)> {
    let mut fields = Fields::new(trex);
    fields.skip(4)?;
    let track = fields.u32()?;
    fields.skip(4)?;
    Some((track, Defaults { duration: fields.u32()?, size: fields.u32()? }))
}

fn read_time(tfdt: &Bytes) -> Option<i64> {
    let mut fields = Fields::new(tfdt);
    let is_long = fields.u32()? >> 24 == 1;
    let time = if is_long { fields.u64()? } else { u64::from(fields.u32()?) };
    i64::try_from(time).ok()
}
