//! High dynamic range to SDR: BT.2100 PQ or HLG in BT.2020 colours to BT.709, by the tone curve of ITU-R BT.2390 (its
//! Hermite roll-off in PQ) applied to the largest of the three colours' signals, so that hues stay. What the curve does to
//! each coded colour is tabulated once; pictures are mapped by interpolating in the table.
/// Steps of the table along luma and along each colour difference.
const LUMA_STEPS: usize = 65;
const CHROMA_STEPS: usize = 33;
/// Luminance that SDR white stands for (ITU-R BT.2408), cd/m².
const SDR_WHITE: f64 = 203.0;
/// Luminance that highlights of PQ are mastered to when nothing else is said, cd/m².
const PEAK: f64 = 1000.0;

/// The transfer function of what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HdrTransfer {
    /// SMPTE ST 2084.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

/// One coded colour: luma, two colour differences, and nothing, so that four are worked on at once.
type Coded = [f32; 4];

/// The table.
pub(super) struct ToneMap {
    /// By Cb, then Cr, then luma; values of 8 bits.
    table: Vec<Coded>,
}

/// Planes of a 4:2:0 picture, 10 bits in 16, and how long their lines are (in samples).
pub(super) struct Deep<'a> {
    pub(super) planes: [&'a [u8]; 3],
    /// Bytes from line to line.
    pub(super) strides: [usize; 3],
}

/// Planes of a 4:2:0 picture of 8 bits.
pub(super) struct Shallow<'a> {
    pub(super) planes: [&'a mut [u8]; 3],
    /// Bytes from line to line.
    pub(super) strides: [usize; 3],
}

impl ToneMap {
    pub(super) fn new(transfer: HdrTransfer) -> Self {
        let mut table = Vec::with_capacity(LUMA_STEPS * CHROMA_STEPS * CHROMA_STEPS);
        let code = |index: usize, steps: usize| index as f64 / (steps - 1) as f64 * 1024.0;
        for cb in 0..CHROMA_STEPS {
            for cr in 0..CHROMA_STEPS {
                for luma in 0..LUMA_STEPS {
                    let code = [code(luma, LUMA_STEPS), code(cb, CHROMA_STEPS), code(cr, CHROMA_STEPS)];
                    table.push(map_code(code, transfer));
                }
            }
        }
        Self { table }
    }

    /// What becomes of all luma at these colour differences.
    fn column(&self, cb: u16, cr: u16) -> Column<'_> {
        let place = |value: u16| {
            let at = f32::from(value.min(1023)) * ((CHROMA_STEPS - 1) as f32 / 1024.0);
            (at as usize, at - (at as usize) as f32)
        };
        let ((cb, cb_part), (cr, cr_part)) = (place(cb), place(cr));
        let corner = |cb: usize, cr: usize, weight: f32| {
            let first = (cb * CHROMA_STEPS + cr) * LUMA_STEPS;
            (self.table.get(first..first + LUMA_STEPS).unwrap_or_default(), weight)
        };
        Column([
            corner(cb, cr, (1.0 - cb_part) * (1.0 - cr_part)),
            corner(cb, cr + 1, (1.0 - cb_part) * cr_part),
            corner(cb + 1, cr, cb_part * (1.0 - cr_part)),
            corner(cb + 1, cr + 1, cb_part * cr_part),
        ])
    }

    /// Maps a picture of this size, both sides in samples of luma.
    pub(super) fn map_picture(&self, (width, height): (usize, usize), from: &Deep, to: &mut Shallow) {
        for y in 0..height.div_ceil(2) {
            for x in 0..width.div_ceil(2) {
                let column = self.column(from.sample(1, x, y), from.sample(2, x, y));
                let corners = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| (2 * x + dx, 2 * y + dy));
                let (mut blue, mut red, mut count) = (0.0, 0.0, 0.0f32);
                for (x, y) in corners.into_iter().filter(|(x, y)| *x < width && *y < height) {
                    let [luma, cb, cr, _] = column.at(from.sample(0, x, y));
                    to.set(0, (x, y), luma);
                    (blue, red, count) = (blue + cb, red + cr, count + 1.0);
                }
                to.set(1, (x, y), blue / count.max(1.0));
                to.set(2, (x, y), red / count.max(1.0));
            }
        }
    }
}

/// Four neighbouring columns of the table and their weights.
struct Column<'a>([(&'a [Coded], f32); 4]);

impl Column<'_> {
    /// The colour at this luma of 10 bits.
    fn at(&self, luma: u16) -> Coded {
        let at = f32::from(luma.min(1023)) * ((LUMA_STEPS - 1) as f32 / 1024.0);
        let low = at as usize;
        let part = at - low as f32;
        let mut mapped = [0.0; 4];
        for (nodes, weight) in &self.0 {
            let Some([below, above]) = nodes.get(low..low + 2) else { continue };
            for ((sum, below), above) in mapped.iter_mut().zip(below).zip(above) {
                *sum += weight * (below + (above - below) * part);
            }
        }
        mapped
    }
}

impl Deep<'_> {
    fn sample(&self, plane: usize, x: usize, y: usize) -> u16 {
        let at = self.strides.get(plane).unwrap_or(&0) * y + 2 * x;
        let bytes = self.planes.get(plane).and_then(|plane| plane.get(at..at + 2));
        bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
    }
}

impl Shallow<'_> {
    fn set(&mut self, plane: usize, (x, y): (usize, usize), value: f32) {
        let at = self.strides.get(plane).unwrap_or(&0) * y + x;
        if let Some(sample) = self.planes.get_mut(plane).and_then(|plane| plane.get_mut(at)) {
            *sample = (value + 0.5) as u8;
        }
    }
}

/// One coded BT.2020 colour of 10 bits to one coded BT.709 colour of 8 bits, both of limited range.
fn map_code([luma, cb, cr]: [f64; 3], transfer: HdrTransfer) -> Coded {
    let (y, b, r) = ((luma - 64.0) / 876.0, (cb - 512.0) / 896.0, (cr - 512.0) / 896.0);
    // Matrix of BT.2020, non-constant luminance.
    let red = y + 1.4746 * r;
    let blue = y + 1.8814 * b;
    let green = (y - 0.2627 * red - 0.0593 * blue) / 0.678;
    let signal = [red, green, blue].map(|value| value.clamp(0.0, 1.0));
    let light = match transfer {
        HdrTransfer::Pq => signal.map(pq_to_light),
        HdrTransfer::Hlg => hlg_to_light(signal),
    };
    let narrow = to_bt709(tone_mapped(light).map(|light| light / SDR_WHITE));
    let [red, green, blue] = narrow.map(to_sdr_signal);
    let y = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    let (b, r) = ((blue - y) / 1.8556, (red - y) / 1.5748);
    [16.0 + 219.0 * y, 128.0 + 224.0 * b, 128.0 + 224.0 * r, 1.0].map(|value| value.clamp(1.0, 254.0) as f32)
}

const PQ_M1: f64 = 2610.0 / 16384.0;
const PQ_M2: f64 = 2523.0 / 4096.0 * 128.0;
const PQ_C1: f64 = 3424.0 / 4096.0;
const PQ_C2: f64 = 2413.0 / 4096.0 * 32.0;
const PQ_C3: f64 = 2392.0 / 4096.0 * 32.0;

fn pq_to_light(signal: f64) -> f64 {
    let root = signal.powf(1.0 / PQ_M2);
    10_000.0 * ((root - PQ_C1).max(0.0) / (PQ_C2 - PQ_C3 * root)).powf(1.0 / PQ_M1)
}

fn light_to_pq(light: f64) -> f64 {
    let power = (light / 10_000.0).max(0.0).powf(PQ_M1);
    ((PQ_C1 + PQ_C2 * power) / (1.0 + PQ_C3 * power)).powf(PQ_M2)
}

/// Inverse OETF and the OOTF of a display of [`PEAK`] (system gamma 1.2).
fn hlg_to_light(signal: [f64; 3]) -> [f64; 3] {
    const A: f64 = 0.178_832_77;
    const B: f64 = 1.0 - 4.0 * A;
    const C: f64 = 0.559_910_73;
    let [red, green, blue] =
        signal.map(|value| if value <= 0.5 { value * value / 3.0 } else { (((value - C) / A).exp() + B) / 12.0 });
    let scene = 0.2627 * red + 0.678 * green + 0.0593 * blue;
    let gain = PEAK * scene.max(1e-6).powf(0.2);
    [red, green, blue].map(|value| value * gain)
}

/// BT.2390 from [`PEAK`] to [`SDR_WHITE`]: all three by what happens to the largest.
fn tone_mapped(light: [f64; 3]) -> [f64; 3] {
    let largest = light.into_iter().fold(0.0, f64::max);
    if largest <= 0.0 {
        return light;
    }
    let mapped = pq_to_light(rolled_off(light_to_pq(largest)));
    light.map(|value| value * mapped / largest)
}

fn rolled_off(signal: f64) -> f64 {
    let (peak, white) = (light_to_pq(PEAK), light_to_pq(SDR_WHITE));
    let (value, most) = ((signal / peak).min(1.0), white / peak);
    let knee = 1.5 * most - 0.5;
    if value < knee {
        return signal;
    }
    let part = (value - knee) / (1.0 - knee);
    let (two, three) = (part * part, part * part * part);
    let bent = (2.0 * three - 3.0 * two + 1.0) * knee
        + (three - 2.0 * two + part) * (1.0 - knee)
        + (3.0 * two - 2.0 * three) * most;
    bent * peak
}

/// Linear BT.2020 to linear BT.709 (ITU-R BT.2087).
fn to_bt709([red, green, blue]: [f64; 3]) -> [f64; 3] {
    [
        1.6605 * red - 0.5876 * green - 0.0728 * blue,
        -0.1246 * red + 1.1329 * green - 0.0083 * blue,
        -0.0182 * red - 0.1006 * green + 1.1187 * blue,
    ]
    .map(|value| value.clamp(0.0, 1.0))
}

/// The inverse of what an SDR display does (ITU-R BT.1886).
fn to_sdr_signal(light: f64) -> f64 {
    light.powf(1.0 / 2.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(light: f64) -> u16 {
        (64.0 + 876.0 * light_to_pq(light)).round() as u16
    }

    fn mapped(map: &ToneMap, [luma, cb, cr]: [u16; 3]) -> [f32; 3] {
        let [luma, cb, cr, _] = map.column(cb, cr).at(luma);
        [luma, cb, cr]
    }

    fn near(found: [f32; 3], wanted: [f32; 3], by: f32) {
        assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() <= by), "{found:?}, {wanted:?}");
    }

    #[test]
    fn the_transfer_functions_are_those_of_the_standards() {
        assert!((light_to_pq(100.0) - 0.508).abs() < 0.001);
        assert!((pq_to_light(0.58) - 201.6).abs() < 3.0);
        // BT.2408: HLG reference white is 75 % and 203 cd/m² on a display of 1000 cd/m².
        assert!(hlg_to_light([0.75; 3]).into_iter().all(|light| (light - 203.0).abs() < 2.0));
    }

    #[test]
    fn black_stays_black_mid_greys_keep_their_light_and_highlights_end_at_white() {
        let map = ToneMap::new(HdrTransfer::Pq);
        near(mapped(&map, [64, 512, 512]), [16.0, 128.0, 128.0], 1.0);
        near(mapped(&map, [code(1000.0), 512, 512]), [235.0, 128.0, 128.0], 1.5);
        near(mapped(&map, [1023, 512, 512]), [235.0, 128.0, 128.0], 1.5);
        let grey = 16.0 + 219.0 * (20.0f64 / 203.0).powf(1.0 / 2.4);
        near(mapped(&map, [code(20.0), 512, 512]), [grey as f32, 128.0, 128.0], 2.0);
        let white = mapped(&map, [code(203.0), 512, 512]);
        assert!((170.0..225.0).contains(&white[0]), "{white:?}");
    }

    #[test]
    fn brighter_stays_brighter() {
        for transfer in [HdrTransfer::Pq, HdrTransfer::Hlg] {
            let map = ToneMap::new(transfer);
            let curve: Vec<f32> = (64..940).map(|luma| mapped(&map, [luma, 512, 512])[0]).collect();
            assert!(curve.windows(2).all(|pair| pair[0] <= pair[1] + 1e-3));
        }
    }

    #[test]
    fn a_red_stays_red_and_a_picture_is_mapped_as_its_colours_are() {
        let map = ToneMap::new(HdrTransfer::Hlg);
        let red = [400, 440, 760];
        let found = mapped(&map, red);
        assert!(found[2] > 150.0 && found[1] < 128.0, "{found:?}");
        let bytes = |value: u16, count: usize| value.to_le_bytes().repeat(count);
        let (luma, cb, cr) = (bytes(red[0], 15), bytes(red[1], 6), bytes(red[2], 6));
        let from = Deep { planes: [&luma, &cb, &cr], strides: [10, 6, 6] };
        let (mut y, mut b, mut r) = ([0; 15], [0; 6], [0; 6]);
        map.map_picture((5, 3), &from, &mut Shallow { planes: [&mut y, &mut b, &mut r], strides: [5, 3, 3] });
        let rounded = found.map(|value| (value + 0.5) as u8);
        assert!(y.iter().all(|value| *value == rounded[0]) && b.iter().all(|value| *value == rounded[1]));
        assert!(r.iter().all(|value| *value == rounded[2]));
    }
}
