//! From a source's channels to those of a rendition.
//!
//! Coefficients are those of ITU-R BS.775: centre and surround at -3 dB, the low-frequency channel left out of stereo. All of
//! them are scaled so that no sum exceeds what goes in: a mix never clips, at the price of being quieter.

const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Places of loudspeakers, numbered as GStreamer's channel masks (and WAVE) number them.
const FRONT_LEFT: u32 = 0;
const FRONT_RIGHT: u32 = 1;
const CENTRE: u32 = 2;
const LOW: u32 = 3;
const REAR_LEFT: u32 = 4;
const REAR_RIGHT: u32 = 5;
const LEFT_OF_CENTRE: u32 = 6;
const RIGHT_OF_CENTRE: u32 = 7;
const REAR_CENTRE: u32 = 8;
const LOW_2: u32 = 9;
const SIDE_LEFT: u32 = 10;
const SIDE_RIGHT: u32 = 11;

/// Channel masks of sources that do not say theirs, by number of channels.
const USUAL_MASKS: [u64; 9] = [0, 0x4, 0x3, 0x7, 0x33, 0x37, 0x3f, 0x70f, 0xc3f];
/// Front left and right, centre, low, rear left and right.
pub(super) const SURROUND_MASK: u64 = 0x3f;
/// Front left and right.
pub(super) const STEREO_MASK: u64 = 0x3;

/// How channels are added up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mix {
    channels: usize,
    /// One row for each channel that comes out.
    rows: Vec<Vec<f32>>,
}

impl Mix {
    /// From `channels` at the places of `mask` (0 when they are not told) to 1, 2 or 6.
    pub(super) fn new(channels: usize, mask: u64, wanted: usize) -> Self {
        let told = mask.count_ones() as usize == channels;
        let mask = if told { mask } else { USUAL_MASKS.get(channels).copied().unwrap_or(0) };
        let mask = if channels == 1 && wanted == 2 { 0 } else { mask };
        let places: Vec<u32> = (0..64).filter(|place| mask >> place & 1 == 1).collect();
        let mut rows = vec![vec![0.0; channels]; wanted];
        for channel in 0..channels {
            let goes = places.get(channel).map_or_else(|| everywhere(wanted), |place| targets(*place, wanted));
            for (row, coefficient) in goes {
                if let Some(cell) = rows.get_mut(row).and_then(|row| row.get_mut(channel)) {
                    *cell = coefficient;
                }
            }
        }
        normalise(&mut rows);
        Self { channels, rows }
    }

    /// Mixes interleaved samples; those of an incomplete last frame are left out.
    pub(super) fn apply(&self, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(samples.len() / self.channels.max(1) * self.rows.len());
        for frame in samples.chunks_exact(self.channels.max(1)) {
            for row in &self.rows {
                let sum: f32 = row.iter().zip(frame).map(|(coefficient, sample)| coefficient * real(*sample)).sum();
                out.push(sum.clamp(-1.0, 1.0));
            }
        }
        out
    }
}

/// Damaged floating-point sound holds anything.
fn real(sample: f32) -> f32 {
    if sample.is_finite() { sample } else { 0.0 }
}

/// All of a channel's coefficients are lowered alike, by what the loudest sum needs.
fn normalise(rows: &mut [Vec<f32>]) {
    let most = rows.iter().map(|row| row.iter().sum::<f32>()).fold(1.0, f32::max);
    rows.iter_mut().flatten().for_each(|cell| *cell /= most);
}

/// Channels without a place.
fn everywhere(wanted: usize) -> Vec<(usize, f32)> {
    (0..wanted.min(2)).map(|row| (row, 1.0)).collect()
}

fn targets(place: u32, wanted: usize) -> Vec<(usize, f32)> {
    match wanted {
        1 => to_mono(place),
        6 => to_surround(place),
        _ => to_stereo(place),
    }
}

fn to_mono(place: u32) -> Vec<(usize, f32)> {
    // Left and right are each half of what is in the middle.
    let coefficient: f32 = to_stereo(place).iter().map(|(_, coefficient)| coefficient).sum();
    vec![(0, coefficient * HALF_POWER)]
}

fn to_stereo(place: u32) -> Vec<(usize, f32)> {
    match place {
        FRONT_LEFT => vec![(0, 1.0)],
        FRONT_RIGHT => vec![(1, 1.0)],
        LOW | LOW_2 => Vec::new(),
        REAR_LEFT | SIDE_LEFT | LEFT_OF_CENTRE | 12 | 14 => vec![(0, HALF_POWER)],
        REAR_RIGHT | SIDE_RIGHT | RIGHT_OF_CENTRE | 13 | 15 => vec![(1, HALF_POWER)],
        REAR_CENTRE => vec![(0, 0.5), (1, 0.5)],
        CENTRE => vec![(0, HALF_POWER), (1, HALF_POWER)],
        _ => vec![(0, 0.5), (1, 0.5)],
    }
}

fn to_surround(place: u32) -> Vec<(usize, f32)> {
    match place {
        FRONT_LEFT | LEFT_OF_CENTRE => vec![(0, 1.0)],
        FRONT_RIGHT | RIGHT_OF_CENTRE => vec![(1, 1.0)],
        CENTRE => vec![(2, 1.0)],
        LOW | LOW_2 => vec![(3, 1.0)],
        REAR_LEFT | SIDE_LEFT => vec![(4, 1.0)],
        REAR_RIGHT | SIDE_RIGHT => vec![(5, 1.0)],
        REAR_CENTRE => vec![(4, HALF_POWER), (5, HALF_POWER)],
        _ => vec![(2, 0.5)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_as_it_is() {
        assert_eq!(Mix::new(2, 0x3, 2).apply(&[0.25, -0.5]), [0.25, -0.5]);
        let surround = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        assert_eq!(Mix::new(6, 0x3f, 6).apply(&surround), surround);
        assert_eq!(Mix::new(6, 0xc0f, 6).apply(&surround), surround, "side loudspeakers are rear ones");
        assert_eq!(Mix::new(1, 0, 2).apply(&[0.5]), [0.5, 0.5]);
        assert_eq!(Mix::new(2, 0x3, 1).apply(&[0.5, 0.25]), [0.375]);
    }

    #[test]
    fn surround_goes_into_stereo_without_clipping() {
        let mix = Mix::new(6, 0x3f, 2);
        assert_eq!(
            mix.apply(&[1.0; 6]).iter().map(|sample| (sample * 1000.0).round()).collect::<Vec<_>>(),
            [1000.0; 2]
        );
        let only = |channel: usize| {
            let mut samples = [0.0; 6];
            samples[channel] = 1.0;
            mix.apply(&samples)
        };
        let (left, centre, low, rear) = (only(0), only(2), only(3), only(5));
        assert!(left[0] > 0.4 && left[1] == 0.0);
        assert!((centre[0] / left[0] - HALF_POWER).abs() < 1e-6 && centre[0] == centre[1]);
        assert_eq!(low, [0.0, 0.0]);
        assert!(rear[0] == 0.0 && (rear[1] / left[0] - HALF_POWER).abs() < 1e-6);
    }

    #[test]
    fn odd_channels_are_heard() {
        for channels in 1..=24 {
            let out = Mix::new(channels, 0, 2).apply(&vec![0.5; channels]);
            assert!(out.iter().all(|sample| *sample > 0.05 && *sample <= 0.5001), "{channels}: {out:?}");
        }
        assert_eq!(Mix::new(2, 3, 2).apply(&[f32::NAN, 7.0, 0.5]), [0.0, 1.0]);
    }
}
