//! Mutated input for everything that reads bytes from outside: no panic, no overflow, no hoarding of memory. A short run
//! is part of the suite; `make fuzz` runs longer. A finding prints its target, seed and case, which make it again.
#[path = "fuzz/hls.rs"]
mod hls;
#[path = "fuzz/hoard.rs"]
mod hoard;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/nodes.rs"]
mod nodes;
#[path = "fuzz/rtmp.rs"]
mod rtmp;
#[path = "fuzz/srt.rs"]
mod srt;
#[path = "fuzz/targets.rs"]
mod targets;
#[path = "fuzz/webrtc.rs"]
mod webrtc;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mutate::Mutator;

/// Cases per target when `FUZZ_CASES` does not say otherwise.
const CASES: u64 = 20_000;

/// Most memory one case may hold at once: samples are capped at a count that needs a tenth of it.
const HELD_BYTES_MAX: usize = 24 << 20;

/// Longest time for one case, on a loaded machine.
const CASE_TIME_MAX: Duration = Duration::from_secs(10);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

// One test, not one per target: what is held is counted for the whole process.
#[test]
fn mutated_input_neither_panics_nor_hoards() {
    let (cases, seed) = (number("FUZZ_CASES", CASES), number("FUZZ_SEED", 1));
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let of_streams = [rtmp::targets(), srt::targets(), webrtc::targets(), hls::targets(), nodes::targets()];
    let targets = targets::all().into_iter().chain(of_streams.into_iter().flatten());
    for target in targets.filter(|target| target.name.contains(&wanted)) {
        for sample in &target.samples {
            assert!((target.read)(sample), "{}: a sample is not understood", target.name);
        }
        let mut mutator = Mutator::new(seed, &target.samples);
        let mut understood = 0_u64;
        for case in 0..cases {
            understood += u64::from(check(&target, &mutator.next_case(), seed, case));
        }
        eprintln!("{}: {cases} cases of seed {seed}, {understood} understood", target.name);
    }
}

fn check(target: &targets::Target, input: &[u8], seed: u64, case: u64) -> bool {
    let name = target.name;
    let started = Instant::now();
    let before = hoard::begin();
    let read = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    let held = hoard::highest().saturating_sub(before);
    let took = started.elapsed();
    let again = format!("{name}: FUZZ_SEED={seed}, case {case}, {} bytes", input.len());
    assert!(held <= HELD_BYTES_MAX, "{again}: held {held} bytes");
    assert!(took <= CASE_TIME_MAX, "{again}: took {took:?}");
    read.unwrap_or_else(|_| panic!("{again}: panicked, input {}", input.escape_ascii()))
}
