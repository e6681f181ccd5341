//! The balancers of `deploy/`, as they are but for their ports.
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::cluster::free_port;
use super::tools::until;

const PATIENCE: Duration = Duration::from_secs(30);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
}

/// A running balancer; ended by its process id.
pub(crate) struct Balancer {
    port: u16,
    process: Child,
    _dir: tempfile::TempDir,
}

impl Balancer {
    /// Starts one before nodes that listen on these ports; `change` may change its configuration.
    pub(crate) async fn start(kind: Kind, nodes: &[u16; 3], change: impl Fn(String) -> String) -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
        let file = match kind {
            Kind::Haproxy => "haproxy.cfg",
            Kind::Nginx => "nginx.conf",
        };
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
        let mut config = std::fs::read_to_string(sample).expect("a configuration");
        let pid_file = dir.path().join("pid");
        config = config.replace("/tmp/playhouse-nginx.pid", &pid_file.display().to_string());
        config = config.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        for (index, node) in nodes.iter().enumerate() {
            config = config.replace(&format!("127.0.0.1:{}", 8081 + index), &format!("127.0.0.1:{node}"));
        }
        let path = dir.path().join(file);
        std::fs::write(&path, change(config)).expect("a configuration to write");
        let balancer = Self { process: launch(kind, &path), port, _dir: dir };
        until("the balancer to answer", PATIENCE, || async {
            reqwest::get(format!("{}/readyz", balancer.url()))
                .await
                .ok()
                .filter(|answer| answer.status() == 200)
                .map(drop)
        })
        .await;
        balancer
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn launch(kind: Kind, config: &PathBuf) -> Child {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL");
    match kind {
        Kind::Haproxy => command.args(["/usr/sbin/haproxy", "-db", "-f"]).arg(config),
        Kind::Nginx => {
            command.args(["/usr/sbin/nginx", "-e", "stderr", "-g", "daemon off; master_process off;", "-c"]).arg(config)
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a balancer")
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
