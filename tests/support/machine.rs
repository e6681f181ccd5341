//! Whether the machine was there all the time. Those that are shared with others stand still now and then, and what a player does
//! at such a moment tells nothing of what it plays.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks that make up what is judged: a second.
const LOOKS: u32 = 20;
/// A machine that takes so much longer was away: about as far as sound and pictures may be apart.
const LATE: Duration = Duration::from_millis(100);
/// The same of one of whose time so much was given to others in a second, per cent.
const STOLEN: u64 = 15;
/// Attempts at what such a machine may spoil.
const ATTEMPTS: u32 = 3;
/// None is begun when those before took this long, but for one that decides.
const ATTEMPTED_MAX: Duration = Duration::from_secs(120);

/// What came of an attempt.
pub(crate) enum Came<T> {
    /// What was wanted.
    Good(T),
    /// It went on, but not as it should, and why that is said.
    Rough(T, String),
}

/// Attempts something; once more, a few times, when it was rough. Panics when it is rough twice in a row on a machine that was there,
/// for what happened before goes on in whoever publishes; what a machine does that is away all the time tells nothing, and is said.
pub(crate) async fn undisturbed<T>(what: &str, mut attempt: impl AsyncFnMut() -> Came<T>) -> T {
    let (mut attempts, mut was_there, mut before, began) = (0, false, String::new(), Instant::now());
    loop {
        let watch = Watch::start();
        let (result, reason) = match attempt().await {
            Came::Good(done) => return done,
            Came::Rough(result, reason) => (result, reason),
        };
        let disturbances = watch.disturbances();
        attempts += 1;
        assert!(disturbances > 0 || !was_there, "{what}: {reason}{before}");
        was_there = disturbances == 0;
        let told = format!("\nattempt {attempts}, the machine was taken away {disturbances} times meanwhile: {reason}");
        eprintln!("{what}: {told}");
        before.insert_str(0, &told);
        if attempts == ATTEMPTS || !was_there && began.elapsed() > ATTEMPTED_MAX {
            return result;
        }
    }
}

/// Looks at the machine until it is dropped.
struct Watch {
    disturbances: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

impl Watch {
    fn start() -> Self {
        let (disturbances, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&disturbances), Arc::clone(&is_over));
        let looking = std::thread::spawn(move || {
            let mut before = times();
            while !stop.load(Ordering::Relaxed) {
                let mut is_late = false;
                for _ in 0..LOOKS {
                    let asleep = Instant::now();
                    std::thread::sleep(LOOK_EVERY);
                    is_late |= asleep.elapsed() > LOOK_EVERY + LATE;
                }
                let now = times();
                let is_stolen = (now.0 - before.0) * 100 > STOLEN * (now.1 - before.1);
                before = now;
                count.fetch_add(u64::from(is_late || is_stolen), Ordering::Relaxed);
            }
        });
        Self { disturbances, is_over, looking: Some(looking) }
    }

    /// In how many seconds it was away.
    fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            let _ = looking.join();
        }
    }
}

/// Processor time that was given to others, and all of it (proc(5), `/proc/stat`).
fn times() -> (u64, u64) {
    let told = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = told
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    (fields.get(7).copied().unwrap_or(0), fields.iter().take(8).sum())
}
