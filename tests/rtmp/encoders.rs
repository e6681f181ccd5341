//! Encoders and players of others.
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// Starts ffmpeg.
pub(crate) fn ffmpeg(arguments: &str) -> Child {
    spawn("ffmpeg", &["-nostdin", "-hide_banner", "-v", "warning", "-y"], arguments)
}

/// Starts a GStreamer pipeline.
pub(crate) fn gst_launch(pipeline: &str) -> Child {
    spawn("gst-launch-1.0", &["-q"], pipeline)
}

fn spawn(program: &str, first: &[&str], arguments: &str) -> Child {
    let mut command = Command::new(program);
    command.args(first).args(arguments.split_whitespace()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Waits for a program's end; whether it succeeded, and what it said.
pub(crate) async fn finish(child: Child) -> (bool, String) {
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let output = output.expect("the program ends").expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Waits for a program that has to succeed; what it said.
pub(crate) async fn succeed(child: Child) -> String {
    let (succeeded, said) = finish(child).await;
    assert!(succeeded, "{said}");
    said
}

/// Two seconds of moving picture with B-frames and of a tone, for ffmpeg.
pub(crate) const CLIP: &str = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=2 \
    -f lavfi -i sine=frequency=440:duration=2:sample_rate=48000 \
    -c:v libx264 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p -c:a aac -b:a 64k -ac 2";

/// Writes the clip into a file.
pub(crate) async fn clip(path: &Path) {
    succeed(ffmpeg(&format!("{CLIP} -f flv {}", path.display()))).await;
}

/// Checksums of a file's or URL's packets, without their order in the file.
pub(crate) async fn packets(input: &str) -> Vec<String> {
    let said = succeed(ffmpeg(&format!("-i {input} -map 0:v -map 0:a -c copy -f framemd5 -"))).await;
    let fields = |line: &str| line.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>();
    let packet = |line: &str| {
        let fields = fields(line);
        format!("{} {} {}", fields[0], fields[4], fields[5])
    };
    let mut packets: Vec<_> = said.lines().filter(|line| line.starts_with(['0', '1'])).map(packet).collect();
    packets.sort();
    packets
}
