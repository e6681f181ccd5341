//! The sample tables of a track (section 8.6 and 8.7), walked sample by sample without unfolding them.
use bytes::Bytes;

use super::fields::{Children, Fields};
use super::{MovieError, MovieLimits};

/// The tables as they lie in the file.
#[derive(Debug, Clone)]
pub(crate) struct SampleTables {
    num_samples: u32,
    /// Size of every sample, when they are all alike.
    fixed_size: u32,
    /// Bits per entry of `sizes`: 32 (`stsz`) or 4, 8, 16 (`stz2`).
    size_bits: u32,
    sizes: Bytes,
    durations: Bytes,
    compositions: Bytes,
    chunk_runs: Bytes,
    chunk_offsets: Bytes,
    long_offsets: bool,
    sync: Option<Bytes>,
    samples_max: u32,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    /// Decode time in ticks, from 0.
    pub(crate) dts: i64,
    pub(crate) duration: u32,
    /// Composition time minus decode time.
    pub(crate) composition: i32,
    pub(crate) sync: bool,
}

impl SampleTables {
    pub(crate) fn read(stbl: &Children, limits: &MovieLimits) -> Result<Self, MovieError> {
        let (num_samples, fixed_size, size_bits, sizes) = read_sizes(stbl)?;
        let (long_offsets, chunk_offsets) = match stbl.first(b"co64") {
            Some(body) => (true, entries(body, 8, "co64")?),
            None => (false, entries(stbl.required(b"stco")?, 4, "stco")?),
        };
        let optional = |kind: &[u8; 4], entry_bytes, name| {
            stbl.first(kind).map(|body| entries(body, entry_bytes, name)).transpose()
        };
        Ok(Self {
            num_samples,
            fixed_size,
            size_bits,
            sizes,
            durations: entries(stbl.required(b"stts")?, 8, "stts")?,
            compositions: optional(b"ctts", 8, "ctts")?.unwrap_or_default(),
            chunk_runs: entries(stbl.required(b"stsc")?, 12, "stsc")?,
            chunk_offsets,
            long_offsets,
            sync: optional(b"stss", 4, "stss")?,
            samples_max: limits.samples_max,
        })
    }

    /// The first sample's composition offset: presentation minus decode time.
    pub(crate) fn first_composition(&self) -> i32 {
        Runs::new(&self.compositions).find(|(count, _)| *count > 0).map_or(0, |(_, value)| value as i32)
    }

    /// Durations of samples, as runs of (count, ticks).
    pub(crate) fn duration_runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        Runs::new(&self.durations)
    }

    /// Number of media bytes.
    pub(crate) fn media_bytes(&self) -> u64 {
        if self.fixed_size > 0 {
            return u64::from(self.fixed_size) * u64::from(self.num_samples);
        }
        (0..self.num_samples).map_while(|index| self.size_of(index)).map(u64::from).sum()
    }

    fn size_of(&self, index: u32) -> Option<u32> {
        if self.fixed_size > 0 {
            return (index < self.num_samples).then_some(self.fixed_size);
        }
        let index = index as usize;
        match self.size_bits {
            4 => self
                .sizes
                .get(index / 2)
                .map(|byte| u32::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 })),
            8 => self.sizes.get(index).map(|byte| u32::from(*byte)),
            16 => field_at(&self.sizes, index, 2).and_then(|mut fields| fields.u16()).map(u32::from),
            _ => field_at(&self.sizes, index, 4).and_then(|mut fields| fields.u32()),
        }
    }

    fn chunk_offset(&self, chunk: u32) -> Option<u64> {
        if self.long_offsets {
            field_at(&self.chunk_offsets, chunk as usize, 8)?.u64()
        } else {
            field_at(&self.chunk_offsets, chunk as usize, 4)?.u32().map(u64::from)
        }
    }

    /// The samples in decode order. An item is an error where the tables contradict each other; nothing follows it.
    pub(crate) fn samples(&self) -> Result<Samples<'_>, MovieError> {
        if self.num_samples > self.samples_max {
            let (found, limit) = (u64::from(self.num_samples), u64::from(self.samples_max));
            return Err(MovieError::TooLarge { what: "number of samples", found, limit });
        }
        Ok(Samples {
            tables: self,
            index: 0,
            dts: 0,
            durations: Runs::new(&self.durations),
            duration: (0, 0),
            compositions: Runs::new(&self.compositions),
            composition: (0, 0),
            chunks: Chunks { runs: Fields::new(&self.chunk_runs), current: (0, 0), next: None, chunk: 0 },
            left_in_chunk: 0,
            offset: 0,
            next_sync: self.sync.as_ref().map(|sync| Fields::new(sync)),
            sync_number: 0,
        })
    }
}

fn field_at(table: &[u8], index: usize, bytes: usize) -> Option<Fields<'_>> {
    table.get(index.checked_mul(bytes)?..).map(Fields::new)
}

/// The entries of a table behind version, flags and count, checked to be all there.
fn entries(body: &Bytes, entry_bytes: usize, name: &str) -> Result<Bytes, MovieError> {
    let read = || {
        let mut fields = Fields::new(body);
        fields.skip(4)?;
        let bytes = (fields.u32()? as usize).checked_mul(entry_bytes)?;
        fields.rest().get(..bytes).map(|_| body.slice(8..8 + bytes))
    };
    read().ok_or_else(|| MovieError::damaged(format!("table {name} is shorter than its count")))
}

fn read_sizes(stbl: &Children) -> Result<(u32, u32, u32, Bytes), MovieError> {
    let damaged = || MovieError::damaged("table of sample sizes is shorter than its count");
    let (body, compact) = match stbl.first(b"stz2") {
        Some(body) => (body, true),
        None => (stbl.required(b"stsz")?, false),
    };
    let mut fields = Fields::new(body);
    fields.skip(4).ok_or_else(damaged)?;
    let head = fields.u32().ok_or_else(damaged)?;
    let count = fields.u32().ok_or_else(damaged)?;
    let (fixed, bits) = if compact { (0, head & 0xff) } else { (head, 32) };
    if fixed > 0 {
        return Ok((count, fixed, 32, Bytes::new()));
    }
    if !matches!(bits, 4 | 8 | 16 | 32) {
        return Err(MovieError::damaged("table stz2"));
    }
    let bytes = usize::try_from((u64::from(count) * u64::from(bits)).div_ceil(8)).map_err(|_| damaged())?;
    fields.rest().get(..bytes).ok_or_else(damaged)?;
    Ok((count, 0, bits, body.slice(12..12 + bytes)))
}

/// Runs of (count, value): `stts` and `ctts`.
#[derive(Debug, Clone)]
struct Runs<'a>(Fields<'a>);

impl<'a> Runs<'a> {
    fn new(table: &'a [u8]) -> Self {
        Self(Fields::new(table))
    }
}

impl Iterator for Runs<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        Some((self.0.u32()?, self.0.u32()?))
    }
}

/// `stsc`: how many samples each chunk holds.
#[derive(Debug, Clone)]
struct Chunks<'a> {
    runs: Fields<'a>,
    /// First chunk (from 1) and samples per chunk of the run we are in.
    current: (u32, u32),
    next: Option<(u32, u32)>,
    /// Index of the next chunk, from 0.
    chunk: u32,
}

impl Chunks<'_> {
    /// Samples of the next chunk and its index.
    fn next_chunk(&mut self) -> Option<(u32, u32)> {
        if self.chunk == 0 {
            self.current = self.read_run()?;
            self.next = self.read_run();
        }
        let number = self.chunk.checked_add(1)?;
        while self.next.is_some_and(|(first, _)| first <= number) {
            self.current = self.next?;
            self.next = self.read_run();
        }
        let chunk = self.chunk;
        self.chunk = number;
        Some((chunk, self.current.1))
    }

    fn read_run(&mut self) -> Option<(u32, u32)> {
        let run = (self.runs.u32()?, self.runs.u32()?);
        self.runs.u32()?;
        Some(run)
    }
}

/// Walks the samples of a track.
#[derive(Debug, Clone)]
pub(crate) struct Samples<'a> {
    tables: &'a SampleTables,
    index: u32,
    dts: i64,
    durations: Runs<'a>,
    duration: (u32, u32),
    compositions: Runs<'a>,
    composition: (u32, u32),
    chunks: Chunks<'a>,
    left_in_chunk: u32,
    offset: u64,
    next_sync: Option<Fields<'a>>,
    sync_number: u32,
}

impl Samples<'_> {
    fn read(&mut self) -> Result<Sample, MovieError> {
        let bytes = self.tables.size_of(self.index).ok_or_else(|| MovieError::damaged("table of sample sizes"))?;
        let offset = self.take_offset(bytes)?;
        let duration = take_run(&mut self.durations, &mut self.duration).unwrap_or(self.duration.1);
        let composition = take_run(&mut self.compositions, &mut self.composition).unwrap_or(0) as i32;
        let sample = Sample { offset, bytes, dts: self.dts, duration, composition, sync: self.take_sync() };
        self.dts += i64::from(duration);
        Ok(sample)
    }

    fn take_offset(&mut self, bytes: u32) -> Result<u64, MovieError> {
        while self.left_in_chunk == 0 {
            let next = self.chunks.next_chunk();
            let found = next.and_then(|(chunk, samples)| Some((self.tables.chunk_offset(chunk)?, samples)));
            let (offset, samples) = found.ok_or_else(|| MovieError::damaged("fewer chunks than its samples need"))?;
            (self.offset, self.left_in_chunk) = (offset, samples);
        }
        self.left_in_chunk -= 1;
        let offset = self.offset;
        let next = offset.checked_add(u64::from(bytes));
        self.offset = next.ok_or_else(|| MovieError::damaged("chunk offset out of range"))?;
        Ok(offset)
    }

    fn take_sync(&mut self) -> bool {
        let Some(fields) = &mut self.next_sync else { return true };
        let number = self.index + 1;
        while self.sync_number < number {
            match fields.u32() {
                Some(next) => self.sync_number = next,
                None => return false,
            }
        }
        self.sync_number == number
    }
}

/// The value for the next sample; `None` once the runs are used up.
fn take_run(runs: &mut Runs, current: &mut (u32, u32)) -> Option<u32> {
    while current.0 == 0 {
        *current = runs.next()?;
    }
    current.0 -= 1;
    Some(current.1)
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample, MovieError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.tables.num_samples {
            return None;
        }
        let sample = self.read();
        self.index = if sample.is_ok() { self.index + 1 } else { self.tables.num_samples };
        Some(sample)
    }
}

#[cfg(test)]
mod tests;
