//! `playhouse bench`: load generators that speak the real protocols, for a server that runs somewhere else.
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

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
