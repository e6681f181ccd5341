//! Continuous sound out of packets with times: gaps become silence, overlaps are cut off, and what drifts away slowly is
//! brought back by stretching it by a part that nobody hears.

/// Nanoseconds in a second.
pub(super) const SECOND_NS: i64 = 1_000_000_000;
/// Further off than this, sound is missing or doubled; nearer, it has drifted or its container's clock is coarse.
const JUMP_NS: i64 = 40_000_000;
/// Drift that is left alone: roundings to milliseconds swing about this much.
const IDLE_NS: i64 = 3_000_000;
/// Drift at which a correction ends.
const SETTLED_NS: i64 = 300_000;
/// Times are averaged over so long.
const AVERAGE_NS: i64 = SECOND_NS;
/// Sound is stretched by at most one part in so many: a fifth of a semitone's tenth.
const STRETCH_PARTS: i64 = 200;
/// Silence that is added beyond the end of the pictures is at most this: a longer gap there is damage.
const GAP_MAX_NS: i64 = 1800 * SECOND_NS;

/// What comes out.
pub(super) trait Sink {
    /// Takes interleaved samples.
    fn samples(&mut self, samples: Vec<f32>, rate: u32);
    /// Takes so many frames of silence.
    fn silence(&mut self, frames: u64, rate: u32);
}

/// Where the sound is. Times are nanoseconds on the source's timeline.
#[derive(Debug)]
pub(super) struct Timeline {
    channels: usize,
    /// Gaps up to here are filled however long they are.
    filled_until_ns: i64,
    /// Time at which `frames` started to be counted.
    base_ns: i64,
    frames: i64,
    rate: u32,
    /// Average of how much later sound should be than it is.
    late_ns: i64,
    is_correcting: bool,
    /// Frames that went by since sound was stretched: packets may be shorter than what one frame more or less needs.
    allowance: i64,
    /// The time that came last.
    last_at_ns: Option<i64>,
    /// Subtracted from all times: gaps that were damage.
    skipped_ns: i64,
}

impl Timeline {
    /// Starts at `start_ns` with sound of this rate; `channels` come in and go out.
    pub(super) fn new(start_ns: i64, rate: u32, channels: usize, filled_until_ns: i64) -> Self {
        Self {
            channels: channels.max(1),
            filled_until_ns,
            base_ns: start_ns,
            frames: 0,
            rate: rate.max(1),
            late_ns: 0,
            is_correcting: false,
            allowance: 0,
            last_at_ns: None,
            skipped_ns: 0,
        }
    }

    /// Where what comes next is heard.
    pub(super) fn position_ns(&self) -> i64 {
        self.base_ns.saturating_add(nanoseconds(self.frames, self.rate))
    }

    /// Takes samples that are to be heard at `at_ns`, or behind those before them when that is not known.
    pub(super) fn push(&mut self, at_ns: Option<i64>, mut samples: Vec<f32>, rate: u32, sink: &mut impl Sink) {
        self.set_rate(rate);
        let mut frames = self.count(&samples);
        // A demuxer that says the same time over and over does not know it.
        let is_news = at_ns != self.last_at_ns;
        self.last_at_ns = at_ns;
        if let Some(at_ns) = at_ns.filter(|_| is_news) {
            let off = at_ns - self.skipped_ns - self.position_ns();
            if off > JUMP_NS {
                self.fill_gap(off, sink);
            } else if off < -JUMP_NS {
                let surplus = self.frames_in(-off).min(frames);
                samples.drain(..usize::try_from(surplus).unwrap_or(0) * self.channels);
                frames -= surplus;
                self.late_ns = 0;
            } else {
                samples = self.correct(off, samples);
                frames = self.count(&samples);
            }
        }
        if frames > 0 {
            self.frames += frames;
            sink.samples(samples, self.rate);
        }
    }

    /// Silence up to `until_ns`, if that is ahead.
    pub(super) fn fill(&mut self, until_ns: i64, sink: &mut impl Sink) {
        let missing = self.frames_in(until_ns.saturating_sub(self.position_ns()));
        if missing > 0 {
            self.frames += missing;
            sink.silence(missing.unsigned_abs(), self.rate);
        }
    }

    fn set_rate(&mut self, rate: u32) {
        if rate != self.rate && rate > 0 {
            (self.base_ns, self.frames, self.rate) = (self.position_ns(), 0, rate);
        }
    }

    fn count(&self, samples: &[f32]) -> i64 {
        i64::try_from(samples.len() / self.channels).unwrap_or(0)
    }

    fn frames_in(&self, ns: i64) -> i64 {
        let frames = i128::from(ns) * i128::from(self.rate) / i128::from(SECOND_NS);
        i64::try_from(frames).unwrap_or(0).max(0)
    }

    fn fill_gap(&mut self, gap_ns: i64, sink: &mut impl Sink) {
        let until = self.position_ns().saturating_add(gap_ns);
        if gap_ns > GAP_MAX_NS && until > self.filled_until_ns {
            self.skipped_ns = self.skipped_ns.saturating_add(gap_ns);
        } else {
            self.fill(until, sink);
        }
        self.late_ns = 0;
    }

    /// Stretches samples by a part of what they are off on average.
    fn correct(&mut self, off_ns: i64, samples: Vec<f32>) -> Vec<f32> {
        let frames = self.count(&samples);
        let length_ns = nanoseconds(frames, self.rate);
        let weight_ns = length_ns.clamp(1, AVERAGE_NS);
        self.late_ns += (off_ns - self.late_ns) * weight_ns / AVERAGE_NS;
        let wanted = if self.is_correcting { SETTLED_NS } else { IDLE_NS };
        self.is_correcting = self.late_ns.abs() > wanted;
        if !self.is_correcting {
            return samples;
        }
        self.allowance = (self.allowance + frames).min(i64::from(self.rate));
        let most = self.allowance / STRETCH_PARTS;
        let late = i128::from(self.late_ns) * i128::from(self.rate) / i128::from(SECOND_NS);
        let more = i64::try_from(late).unwrap_or(0).clamp(-most, most);
        self.late_ns -= nanoseconds(more, self.rate);
        self.allowance -= more.abs() * STRETCH_PARTS;
        stretch(&samples, self.channels, usize::try_from(frames + more).unwrap_or(0))
    }
}

fn nanoseconds(frames: i64, rate: u32) -> i64 {
    let ns = i128::from(frames) * i128::from(SECOND_NS) / i128::from(rate);
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// The same sound in so many frames, by interpolation between neighbours.
fn stretch(samples: &[f32], channels: usize, wanted: usize) -> Vec<f32> {
    let frames = samples.len() / channels;
    if frames == wanted || frames < 2 || wanted < 2 {
        return samples.to_vec();
    }
    let sample = |frame: usize, channel: usize| {
        samples.get(frame.min(frames - 1) * channels + channel).copied().unwrap_or_default()
    };
    let step = (frames - 1) as f64 / (wanted - 1) as f64;
    let mut out = Vec::with_capacity(wanted * channels);
    for index in 0..wanted {
        let at = index as f64 * step;
        let (frame, part) = (at as usize, (at - at.floor()) as f32);
        out.extend((0..channels).map(|channel| {
            let (left, right) = (sample(frame, channel), sample(frame + 1, channel));
            left + (right - left) * part
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts frames, and remembers where loud ones are.
    #[derive(Default)]
    struct Heard {
        frames: u64,
        silent: u64,
        clicks: Vec<u64>,
    }

    impl Sink for Heard {
        fn samples(&mut self, samples: Vec<f32>, _: u32) {
            let loud = samples.iter().enumerate().filter(|(_, sample)| **sample > 0.4);
            self.clicks.extend(loud.map(|(index, _)| self.frames + index as u64));
            self.frames += samples.len() as u64;
        }

        fn silence(&mut self, frames: u64, _: u32) {
            self.frames += frames;
            self.silent += frames;
        }
    }

    const RATE: u32 = 48_000;
    const PACKET: i64 = 1024;

    fn packet() -> Vec<f32> {
        vec![0.0; PACKET as usize]
    }

    #[test]
    fn gaps_become_silence_and_overlaps_are_cut_off() {
        let (mut timeline, mut heard) = (Timeline::new(0, RATE, 1, 0), Heard::default());
        for at in [0, 500_000_000, 400_000_000] {
            timeline.push(Some(at), vec![0.0; 24_000], RATE, &mut heard);
        }
        assert_eq!((heard.frames, heard.silent), (48_000, 0), "the third is all overlap");
        timeline.push(Some(3 * SECOND_NS), vec![0.0; 24_000], RATE, &mut heard);
        assert_eq!((heard.frames, heard.silent), (48_000 * 3 + 24_000, 96_000));
        timeline.push(Some(100_000 * SECOND_NS), vec![0.0; 24_000], RATE, &mut heard);
        timeline.push(Some(100_000 * SECOND_NS + SECOND_NS / 2), vec![0.0; 24_000], RATE, &mut heard);
        assert_eq!((heard.frames, heard.silent), (48_000 * 4 + 24_000, 96_000), "a day of silence is damage");
        timeline.fill(5 * SECOND_NS, &mut heard);
        assert_eq!(heard.frames, 48_000 * 5);
    }

    #[test]
    fn coarse_clocks_change_nothing() {
        let (mut timeline, mut heard) = (Timeline::new(0, RATE, 1, 0), Heard::default());
        for index in 0..50_000 {
            let exact = nanoseconds(index * PACKET, RATE);
            timeline.push(Some(exact / 1_000_000 * 1_000_000), packet(), RATE, &mut heard);
        }
        assert_eq!((heard.frames, heard.silent), (50_000 * PACKET as u64, 0));
    }

    /// Half an hour of sound whose recorder's clock is off, with a click each minute of real time.
    fn drifting(parts_per_million: i64) -> (i64, i64) {
        const RATE: u32 = 4800;
        const PACKET: i64 = 100;
        let (mut timeline, mut heard) = (Timeline::new(0, RATE, 1, 0), Heard::default());
        let mut clicks = Vec::new();
        for index in 0..1800 * i64::from(RATE) / PACKET {
            let at = nanoseconds(index * PACKET, RATE);
            let at = at + at / 1_000_000 * parts_per_million;
            let mut samples = vec![0.0; PACKET as usize];
            if index % 2812 == 1000 {
                samples[0] = 1.0;
                clicks.push(at);
            }
            timeline.push(Some(at), samples, RATE, &mut heard);
        }
        assert_eq!(heard.clicks.len(), clicks.len());
        let heard_at = heard.clicks.iter().map(|frame| nanoseconds(*frame as i64, RATE));
        let worst = heard_at.zip(&clicks).map(|(heard, click)| (heard - click).abs()).max().unwrap();
        (worst, heard.silent as i64)
    }

    #[test]
    fn drift_stays_below_a_hundredth_of_a_second() {
        for parts_per_million in [0, 30, -300, 1000, -2000] {
            let (worst, silent) = drifting(parts_per_million);
            assert!(worst < 10_000_000 && silent == 0, "{parts_per_million} ppm: {worst} ns, {silent} frames");
        }
    }

    #[test]
    fn times_that_stand_still_are_ignored() {
        let (mut timeline, mut heard) = (Timeline::new(0, RATE, 1, 0), Heard::default());
        (0..100).for_each(|_| timeline.push(Some(0), packet(), RATE, &mut heard));
        assert_eq!((heard.frames, heard.silent), (100 * PACKET as u64, 0));
    }

    #[test]
    fn rates_may_change() {
        let (mut timeline, mut heard) = (Timeline::new(0, RATE, 1, 0), Heard::default());
        timeline.push(Some(0), vec![0.0; 48_000], RATE, &mut heard);
        timeline.push(Some(SECOND_NS), vec![0.0; 44_100], 44_100, &mut heard);
        assert_eq!((timeline.position_ns(), heard.silent), (2 * SECOND_NS, 0));
    }
}
