//! Painting the generated clip's pictures: a grey field, a block that circles, a clock in digits, and a strip of black and
//! white cells that says the same milliseconds to a machine.
use super::ClipSpec;

/// Cells of the strip: 24 bits of milliseconds, highest first, then one of even parity.
const STRIP_CELLS: usize = 25;

const BACKGROUND: u8 = 70;
const BLACK: u8 = 16;
const WHITE: u8 = 235;
const NEUTRAL: u8 = 128;

/// Which of the segments top, top right, bottom right, bottom, bottom left, top left, middle a digit lights.
const DIGITS: [u8; 10] = [
    0b011_1111, 0b000_0110, 0b101_1011, 0b100_1111, 0b110_0110, 0b110_1101, 0b111_1101, 0b000_0111, 0b111_1111,
    0b110_1111,
];

/// One I420 picture under the brush.
struct Canvas {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// A rectangle in pixels: left, top, width, height.
#[derive(Clone, Copy)]
struct Area(usize, usize, usize, usize);

/// The picture of this moment, as I420 planes without padding. Width and height must be even.
pub(super) fn paint(spec: &ClipSpec, millis: u64) -> Vec<u8> {
    let (width, height) = (spec.width as usize, spec.height as usize);
    let mut bytes = vec![BACKGROUND; width * height];
    bytes.resize(width * height * 3 / 2, NEUTRAL);
    let mut canvas = Canvas { width, height, bytes };
    canvas.circle_block(millis as f64 / 1000.0);
    canvas.clock(millis);
    canvas.strip(millis);
    canvas.bytes
}

impl Canvas {
    fn fill(&mut self, Area(left, top, width, height): Area, luma: u8) {
        let right = (left + width).min(self.width);
        for row in top..(top + height).min(self.height) {
            self.bytes[row * self.width + left.min(right)..row * self.width + right].fill(luma);
        }
    }

    /// Colours an area; positions are halved, as the colour planes are.
    fn tint(&mut self, Area(left, top, width, height): Area, (blue, red): (u8, u8)) {
        let (stride, plane) = (self.width / 2, self.width * self.height / 4);
        let first = self.width * self.height;
        for row in top / 2..((top + height) / 2).min(self.height / 2) {
            let start = first + row * stride + (left / 2).min(stride);
            let end = first + row * stride + ((left + width) / 2).min(stride);
            self.bytes[start..end].fill(blue);
            self.bytes[start + plane..end + plane].fill(red);
        }
    }

    /// A block that goes round once in four seconds.
    fn circle_block(&mut self, secs: f64) {
        let angle = secs / 4.0 * std::f64::consts::TAU;
        let (size, radius) = (self.height / 6, self.height as f64 / 4.0);
        let at = |centre: usize, offset: f64| (centre as f64 + offset - size as f64 / 2.0).max(0.0) as usize;
        let area =
            Area(at(self.width / 2, radius * angle.cos()), at(self.height / 2, radius * angle.sin()), size, size);
        self.fill(area, 150);
        self.tint(area, (90, 190));
    }

    /// `MM:SS.mmm` in the upper part.
    fn clock(&mut self, millis: u64) {
        let text = format!("{:02}:{:02}.{:03}", millis / 60_000 % 100, millis / 1000 % 60, millis % 1000);
        let (width, height) = (self.width / 20, self.height / 8);
        let mut left = (self.width / 2).saturating_sub(width * 6);
        for glyph in text.chars() {
            match glyph.to_digit(10) {
                Some(digit) => self.digit(Area(left, height / 2, width, height), DIGITS[digit as usize]),
                None => self.fill(Area(left + width / 3, height * 5 / 4, width / 4, width / 4), WHITE),
            }
            left += width * 4 / 3;
        }
    }

    fn digit(&mut self, Area(left, top, width, height): Area, lit: u8) {
        let (thick, half) = ((width / 5).max(1), height / 2);
        let segments = [
            Area(left, top, width, thick),
            Area((left + width).saturating_sub(thick), top, thick, half),
            Area((left + width).saturating_sub(thick), top + half, thick, half),
            Area(left, (top + height).saturating_sub(thick), width, thick),
            Area(left, top + half, thick, half),
            Area(left, top, thick, half),
            Area(left, (top + half).saturating_sub(thick / 2), width, thick),
        ];
        for (bit, segment) in segments.into_iter().enumerate() {
            if lit >> bit & 1 == 1 {
                self.fill(segment, WHITE);
            }
        }
    }

    /// The strip along the bottom edge: as many milliseconds as it has cells for.
    fn strip(&mut self, millis: u64) {
        let millis = millis & ((1 << (STRIP_CELLS - 1)) - 1);
        let (cell, height) = (self.width / STRIP_CELLS, self.height / 12);
        let parity = millis.count_ones() & 1 == 1;
        let bits = (0..24).rev().map(|bit| millis >> bit & 1 == 1).chain([parity]);
        for (at, bit) in bits.enumerate() {
            self.fill(Area(at * cell, self.height - height, cell, height), if bit { WHITE } else { BLACK });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SPEC: ClipSpec = ClipSpec {
        duration: Duration::from_secs(1),
        width: 640,
        height: 360,
        frames_per_sec: 25,
        kilobits_per_sec: 500,
        frames_per_key: 25,
    };

    fn read_strip(picture: &[u8]) -> Option<u64> {
        let (width, height) = (SPEC.width as usize, SPEC.height as usize);
        let cell = width / STRIP_CELLS;
        let row = (height - height / 24) * width;
        let bits: Vec<u64> =
            (0..STRIP_CELLS).map(|at| u64::from(picture[row + at * cell + cell / 2] > NEUTRAL)).collect();
        let (parity, bits) = bits.split_last()?;
        let millis = bits.iter().fold(0, |sum, bit| sum << 1 | bit);
        (u64::from(millis.count_ones() & 1) == *parity).then_some(millis)
    }

    #[test]
    fn the_strip_says_the_time_of_each_picture() {
        for millis in [0, 1, 40, 1000, 3_600_000] {
            assert_eq!(read_strip(&paint(&SPEC, millis)), Some(millis));
            assert_eq!(read_strip(&paint(&SPEC, millis + (5 << 24))), Some(millis), "it goes round");
        }
    }

    #[test]
    fn pictures_differ_and_have_the_size_of_i420() {
        let (first, second) = (paint(&SPEC, 0), paint(&SPEC, 40));
        assert_eq!(first.len(), 640 * 360 * 3 / 2);
        assert_ne!(first, second);
    }

    #[test]
    fn small_pictures_are_painted_too() {
        for (width, height) in [(2, 2), (16, 16), (120, 214)] {
            let spec = ClipSpec { width, height, ..SPEC };
            assert_eq!(paint(&spec, 7).len(), (width * height * 3 / 2) as usize);
        }
    }
}
