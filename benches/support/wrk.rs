//! Load by wrk over HTTP/1.1 with keep-alive.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::tools::run;

/// Connections of every run.
pub(crate) const CONNECTIONS: u32 = 64;

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Answers per second.
    pub(crate) requests_per_sec: f64,
    /// Bytes per second, heads included.
    pub(crate) bytes_per_sec: f64,
    /// Half of the answers took at most this long.
    pub(crate) p50: Duration,
    /// 99 % of the answers took at most this long.
    pub(crate) p99: Duration,
}

/// Asks for the paths in turn, over all connections at once, for this long. Any answer but 2xx is an error.
pub(crate) fn load(base: &str, paths: &[String], seconds: u32, scratch: &Path) -> Load {
    let script = scratch.join("paths.lua");
    let list: String = paths.iter().map(|path| format!("{path:?},")).collect();
    let text = format!(
        "local paths = {{{list}}}\nlocal at = 0\n\
         request = function() at = at % #paths + 1; return wrk.format('GET', paths[at]) end\n\
         done = function(summary, latency)\n\
           local e = summary.errors\n\
           io.write(string.format('RESULT %d %d %d %d %d %d\\n', summary.requests, summary.bytes, summary.duration,\n\
             latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))\n\
         end\n"
    );
    std::fs::write(&script, text).expect("a script for wrk");
    let (threads, connections) = ("2", CONNECTIONS.to_string());
    let mut wrk = Command::new("wrk");
    wrk.args(["-t", threads, "-c", &connections, "-d", &format!("{seconds}s"), "-s"]).arg(&script).arg(base);
    let printed = run(&mut wrk);
    parse(&printed).unwrap_or_else(|| panic!("wrk printed no result:\n{printed}"))
}

fn parse(printed: &str) -> Option<Load> {
    let line = printed.lines().find_map(|line| line.strip_prefix("RESULT "))?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [requests, bytes, micros, p50, p99, errors] = numbers[..] else { return None };
    assert_eq!(errors, 0, "errors under load:\n{printed}");
    let seconds = micros as f64 / 1e6;
    Some(Load {
        requests_per_sec: requests as f64 / seconds,
        bytes_per_sec: bytes as f64 / seconds,
        p50: Duration::from_micros(p50),
        p99: Duration::from_micros(p99),
    })
}

/// The middle one of an odd number of values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
