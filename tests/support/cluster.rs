//! Several real nodes on one machine, with a real PostgreSQL and a real S3 server.
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;

use super::links::Links;
use super::postgres::Postgres;
use super::proxy::{Line, Proxy};
use super::s3::S3;
use super::server::{Server, ServerOptions};
use super::tools::{run, until};

/// Longest wait for nodes to find one another, or to miss one.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes, and what they share.
pub(crate) struct Cluster {
    /// The nodes.
    pub(crate) nodes: Vec<Server>,
    /// Their catalog.
    pub(crate) database: Postgres,
    /// What they store into.
    pub(crate) buckets: S3,
    /// The line between the nodes and their buckets, if there is any.
    pub(crate) line: Option<Proxy>,
    /// Lines that can be cut, if there are any.
    links: Option<Links>,
    _certificates: tempfile::TempDir,
    token: OnceCell<Option<String>>,
}

/// What lies between the nodes and others.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Wiring {
    /// A line to the buckets.
    pub(crate) buckets: Option<Line>,
    /// Lines to other nodes and to the database that can be cut.
    pub(crate) can_be_cut: bool,
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// What a node is called.
pub(crate) fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

impl Cluster {
    /// Starts so many nodes, called `node-1` and so on, and waits until each knows all.
    pub(crate) async fn start(count: usize, options: impl Fn(ServerOptions) -> ServerOptions) -> Self {
        Self::start_over(count, Wiring::default(), options).await
    }

    /// The same, with lines between the nodes and others.
    pub(crate) async fn start_over(
        count: usize,
        wiring: Wiring,
        options: impl Fn(ServerOptions) -> ServerOptions,
    ) -> Self {
        let (database, buckets) = (Postgres::start(), S3::start());
        let line = match wiring.buckets {
            Some(line) => Some(Proxy::start(buckets.port(), line).await),
            None => None,
        };
        let certificates = tempfile::tempdir().expect("a directory");
        let dir = certificates.path().join("cluster");
        let admin = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_playhouse"));
            command.args(["admin", "cluster"]);
            command
        };
        run(admin().arg("init").arg(&dir));
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let mut links = wiring.can_be_cut.then(Links::default);
        let mut reached: Vec<(SocketAddr, String)> = Vec::new();
        for port in &ports {
            let catalog = database.address("postgres");
            reached.push(match &mut links {
                None => (SocketAddr::from(([127, 0, 0, 1], *port)), catalog),
                Some(links) => {
                    let (peers, near) = links.add(*port, database.socket()).await;
                    let catalog = format!("host={} port={} user=playhouse dbname=postgres", near.ip(), near.port());
                    (peers, catalog)
                }
            });
        }
        let seeds: Vec<String> = reached.iter().map(|(peers, _)| format!("\"{peers}\"")).collect();
        let node = |(index, (port, (peers, catalog))): (usize, (&u16, &(SocketAddr, String)))| {
            let name = node_name(index);
            run(admin().arg("add-node").arg(&dir).arg(&name));
            let file = |name: String| dir.join(name).display().to_string();
            let mut node = options(ServerOptions::new())
                .set("catalog.postgres", catalog)
                .set("cluster.node", &name)
                .set("cluster.port", &port.to_string())
                .set("cluster.address", "127.0.0.1")
                .set("cluster.advertised", &peers.to_string())
                .set("cluster.seeds", &format!("[{}]", seeds.join(",")))
                .set("cluster.authority", &file("authority.pem".into()))
                .set("cluster.certificate", &file(format!("{name}.pem")))
                .set("cluster.key", &file(format!("{name}.key")))
                .set("cluster.lease_term", "2s");
            for (key, value) in buckets.settings() {
                node = node.set(key, &value);
            }
            if let Some(line) = &line {
                node = node.set("blobs.s3_endpoint", &line.url());
            }
            node.start()
        };
        let nodes = ports.iter().zip(&reached).enumerate().map(node).collect();
        let token = OnceCell::new();
        let cluster = Self { nodes, database, buckets, line, links, _certificates: certificates, token };
        cluster.until_all_know(count).await;
        cluster
    }

    /// The lines that can be cut.
    pub(crate) fn links(&self) -> &Links {
        self.links.as_ref().expect("lines that can be cut")
    }

    /// Waits until every node that runs knows so many, and is connected with them.
    pub(crate) async fn until_all_know(&self, count: usize) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            until(&format!("a node to know {count}"), PATIENCE, || async {
                let seen = self.members(node).await?;
                let connected = seen.iter().filter(|member| member["is_connected"] == true).count();
                (seen.len() == count && connected + 1 == count).then_some(())
            })
            .await;
        }
    }

    /// Who is there, as a node sees it.
    pub(crate) async fn members(&self, node: &Server) -> Option<Vec<Value>> {
        self.told(node, "/api/v1/admin/nodes").await?["data"].as_array().cloned()
    }

    /// The actors of a node, as administrators are told of them.
    #[allow(dead_code, reason = "benches do without")]
    pub(crate) async fn actors(&self, node: &Server) -> Option<Value> {
        self.told(node, "/api/v1/admin/actors").await
    }

    async fn told(&self, node: &Server, path: &str) -> Option<Value> {
        // Signed in once: a token is good at every node.
        let sign_in = async || self.nodes[0].admin_of(node).await.map(|client| client.token().map(str::to_owned));
        let token = self.token.get_or_try_init(sign_in).await.ok()?.clone()?;
        let client = node.client().with_token(&token);
        client.send(client.request(reqwest::Method::GET, path)).await.ok()?.json().await.ok()
    }
}
