//! `playhouse bench viewers`: viewers of a live stream by low-latency HLS, thousands in one process.
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Uri;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{allow_many_files, rate, read, report};
use crate::cli::ViewersArgs;
use crate::protocols::dial::{Dialer, TlsChoice};

mod lane;
mod player;
mod playlist;

use lane::Server;
use player::{Totals, watch};

/// Runs viewers for the time asked for. Fails when a part was lost, a viewer gave up or none ever saw anything.
pub async fn run(args: &ViewersArgs) -> anyhow::Result<ExitCode> {
    allow_many_files()?;
    let (server, path) = target(args)?;
    let (totals, mut tasks, began) = (Arc::new(Totals::default()), JoinSet::new(), Instant::now());
    for number in 0..args.count {
        let (server, path, totals) = (Arc::clone(&server), Arc::clone(&path), Arc::clone(&totals));
        let starts = began + args.ramp.mul_f64(number as f64 / args.count as f64);
        tasks.spawn(async move {
            sleep_until(starts).await;
            watch(server, path, totals).await;
        });
    }
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    let further = || {
        let p99 = totals.delays.quantile(0.99).as_secs_f64() * 1000.0;
        format!("p99 {p99:.0} ms  {} lost  {} stalls", read(&totals.lost), read(&totals.stalls))
    };
    tokio::select! {
        () = tokio::time::sleep(args.duration) => {}
        () = report(args.count, (&totals.watching, &totals.bytes), further) => {}
        () = all_ended => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tasks.shutdown().await;
    Ok(conclude(&totals, began.elapsed()))
}

fn target(args: &ViewersArgs) -> anyhow::Result<(Arc<Server>, Arc<str>)> {
    let url: Uri = args.url.parse().context("--url")?;
    let (Some(host), Some(authority)) = (url.host(), url.authority()) else { bail!("--url names no host") };
    let (scheme, tls) = match url.scheme_str() {
        Some("http") => ("http", None),
        Some("https") => {
            let protocols: &'static [&'static [u8]] = if args.http2 { &[b"h2"] } else { &[b"http/1.1"] };
            ("https", Some(TlsChoice { insecure: args.insecure, protocols }))
        }
        _ => bail!("--url must start with http:// or https://"),
    };
    let port = url.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let dialer = Dialer::new(host, port, tls)?;
    let server = Server { dialer, authority: authority.to_string(), scheme, http2: args.http2 };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    Ok((Arc::new(server), Arc::from(path)))
}

fn conclude(totals: &Totals, time: Duration) -> ExitCode {
    let millis = |share| totals.delays.quantile(share).as_secs_f64() * 1000.0;
    let (parts, lost, gave_up) = (read(&totals.parts), read(&totals.lost), read(&totals.gave_up));
    println!(
        "in all: {parts} parts ({} by hints) in {:.0} s, {}, {}; {} gaps",
        read(&totals.hinted),
        time.as_secs_f64(),
        bytesize::ByteSize::b(read(&totals.bytes)),
        rate(read(&totals.bytes), time),
        read(&totals.gaps),
    );
    println!(
        "delivery after a part was first there for anybody: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        millis(0.5),
        millis(0.95),
        millis(0.99),
        millis(1.0)
    );
    println!(
        "{lost} parts lost, {} stalls ({:.1} s), {} other requests failed, {gave_up} viewers gave up",
        read(&totals.stalls),
        read(&totals.stalled_ms) as f64 / 1000.0,
        read(&totals.failures),
    );
    if lost > 0 || gave_up > 0 || parts == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
