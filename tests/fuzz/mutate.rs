//! Changing good input a little, by a seed.
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Numbers at which arithmetic goes wrong.
const EDGES: &[u64] = &[
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX / 2,
    u64::MAX,
];

/// Most changes to one input.
const CHANGES_MAX: u32 = 6;

/// Makes cases out of samples.
pub(crate) struct Mutator<'a> {
    random: StdRng,
    samples: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, samples: &'a [Vec<u8>]) -> Self {
        Self { random: StdRng::seed_from_u64(seed), samples }
    }

    /// The next input of this seed's sequence.
    pub(crate) fn next_case(&mut self) -> Vec<u8> {
        let mut input = self.sample().clone();
        for _ in 0..self.random.random_range(1..=CHANGES_MAX) {
            self.change(&mut input);
        }
        input
    }

    fn sample(&mut self) -> &'a Vec<u8> {
        &self.samples[self.random.random_range(0..self.samples.len())]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.random_range(0..=input.len());
        let run = self.random.random_range(1..=16).min(input.len() - at);
        match self.random.random_range(0..8) {
            0 => self.each(&mut input[at..at + run.min(1)], |byte, random| *byte ^= 1 << random.random_range(0..8)),
            1 => self.each(&mut input[at..at + run], |byte, random| *byte = random.random()),
            2 | 3 => self.edge(input, at),
            4 => input.truncate(at),
            5 => drop(input.drain(at..at + run)),
            6 => {
                let copied = input[at..at + run].to_vec();
                input.splice(at..at, copied);
            }
            _ => {
                let other = self.sample();
                let from = self.random.random_range(0..=other.len());
                let end = (from + 64).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
        }
    }

    /// Overwrites a big-endian number of some width, or decimal digits, with one of [`EDGES`].
    fn edge(&mut self, input: &mut Vec<u8>, at: usize) {
        let edge = EDGES[self.random.random_range(0..EDGES.len())];
        let width = 1 << self.random.random_range(0..4);
        let digits = input[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            input.splice(at..at + digits, edge.to_string().into_bytes());
        } else if at + width <= input.len() {
            input[at..at + width].copy_from_slice(&edge.to_be_bytes()[8 - width..]);
        }
    }

    fn each(&mut self, bytes: &mut [u8], change: impl Fn(&mut u8, &mut StdRng)) {
        bytes.iter_mut().for_each(|byte| change(byte, &mut self.random));
    }
}
