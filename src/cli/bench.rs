//! `playhouse bench`: load generators that speak the real protocols, for a server that runs somewhere else.
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::{BenchArgs, Load};

pub mod clip;
pub mod histogram;
pub mod publishers;
pub mod viewers;
pub mod whep;

/// Runs the load asked for.
pub async fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    match &args.load {
        Load::Publishers(args) => publishers::run(args).await,
        Load::Viewers(args) => viewers::run(args).await,
        Load::Whep(args) => whep::run(args).await,
    }
}

/// Says each second how many watch and how much comes to them, and what else there is to say.
async fn report(count: usize, (watching, bytes): (&AtomicU64, &AtomicU64), further: impl Fn() -> String) {
    let (began, mut before) = (Instant::now(), (Instant::now(), 0));
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (now, bytes) = (Instant::now(), read(bytes));
        println!(
            "{:4.0} s  {:5} of {count} watching  {:>12}  {}",
            began.elapsed().as_secs_f64(),
            read(watching),
            rate(bytes - before.1, now - before.0),
            further(),
        );
        before = (now, bytes);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Bits of these bytes in this time, per second, with a unit.
fn rate(bytes: u64, time: Duration) -> String {
    let bits = bytes as f64 * 8.0 / time.as_secs_f64().max(1e-3);
    match bits {
        1e9.. => format!("{:.2} Gb/s", bits / 1e9),
        _ => format!("{:.2} Mb/s", bits / 1e6),
    }
}

/// Raises the limit of open files as far as it goes: each publisher and viewer has sockets of its own.
fn allow_many_files() -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("the limit of open files")
}
