//! The commands of the binary, as typed.
use std::process::Command;

use crate::support::server::Server;
use crate::support::tools::{ffmpeg_complaints, output, run};

fn playhouse() -> Command {
    Command::new(env!("CARGO_BIN_EXE_playhouse"))
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_uploads_a_clip_that_plays() {
    let server = Server::start();
    let printed = run(playhouse().args(["demo", "--url", &server.url()]));
    let manifest = printed.lines().find_map(|line| line.strip_prefix("HLS manifest: ")).expect("a manifest URL");
    assert_eq!(ffmpeg_complaints(manifest), "", "{printed}");
    assert!(printed.contains(&format!("{}/watch/vid_", server.url())), "{printed}");
}

#[test]
fn demo_without_a_server_says_how_to_start_one() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("its address");
    let failed = output(playhouse().args(["demo", "--url", &format!("http://{free}")]));
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("make run"), "{said}");
}

/// Ports that are free whatever else runs on this machine.
const FREE_PORTS: [(&str, &str); 2] = [("PLAYHOUSE_HTTP__PORT", "0"), ("PLAYHOUSE_LIVE__RTMP_PORT", "0")];

#[test]
fn doctor_finds_this_machine_fit() {
    let dir = tempfile::tempdir().expect("a directory");
    let printed = run(playhouse().args(["doctor", "--json", "--data"]).arg(dir.path()).envs(FREE_PORTS));
    let report: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(report["ok"], true, "{printed}");
}

#[test]
fn doctor_fails_when_the_data_directory_cannot_be_made() {
    let failed = output(playhouse().args(["doctor", "--data", "/proc/nothing"]).envs(FREE_PORTS));
    let said = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(!failed.status.success() && said.contains("FAILED   data directory"), "{said}");
}

#[test]
fn every_command_explains_itself() {
    for command in ["serve", "demo", "doctor"] {
        let help = run(playhouse().args([command, "--help"]));
        assert!(help.contains("Usage:"), "{help}");
    }
}
