//! Live streams, their publishers, and what a server spends on them.
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::Method;
use serde_json::Value;

use crate::support::clips::Recipe;

/// A process of ours; asked to end by its process id, and waited for.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has children ends them on SIGTERM, which SIGKILL would leave behind.
        let pid = nix::unistd::Pid::from_raw(self.0.id().try_into().expect("a process id"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Makes a stream.
pub(crate) async fn make(client: &Client, body: &Value) -> Value {
    let request = client.request(Method::POST, "/api/v1/live").json(body);
    client.send(request).await.expect("a stream").json().await.expect("JSON")
}

/// A text field of a stream.
pub(crate) fn text<'a>(live: &'a Value, pointer: &str) -> &'a str {
    live.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {live}"))
}

/// Ten seconds of 720p at 1.6 Mb/s with its sound, a key frame every two seconds.
pub(crate) const CLIP: Recipe = Recipe {
    name: "live-720p.mp4",
    args: "-f lavfi -i testsrc2=size=1280x720:rate=30:duration=10,noise=alls=8:allf=t \
           -f lavfi -i sine=440:sample_rate=48000:duration=10 -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p \
           -g 60 -sc_threshold 0 -b:v 1500k -maxrate 1500k -bufsize 1500k -c:a aac -b:a 96k",
};

/// Publishes a clip again and again to each of these keys below a URL.
pub(crate) fn publish(url: &str, keys: &[String], clip: &Path, scratch: &Path) -> Running {
    let file = scratch.join("keys");
    std::fs::write(&file, keys.join("\n")).expect("a file of keys");
    let mut command = Command::new(env!("CARGO_BIN_EXE_playhouse"));
    command.args(["bench", "publishers", "--duration", "1h", "--url", url, "--keys"]).arg(file).arg("--clip").arg(clip);
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("publishers"))
}

/// Processor time that a process and its children have taken so far, those of its children that run included.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let own = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its statistics");
    // The name before it may hold spaces; user and system time are the fields 14 and 15.
    let (_, fields) = own.rsplit_once(')').expect("a name");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let of_children: Duration =
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(processor_time).sum();
    Duration::from_millis(ticks * 10) + of_children
}
