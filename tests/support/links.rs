//! Lines between the nodes of a cluster, and from each to the database, that can be cut: what is sent meanwhile is lost between nodes
//! (UDP), and waits on the way to the database (TCP), as in real networks that swallow packets.
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Largest datagram.
const DATAGRAM_BYTES: usize = 65_536;
/// Read from a connection at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Nodes that nobody reaches and who reach nobody, by the port at which each listens.
type Cut = Arc<Mutex<HashSet<u16>>>;

/// The lines of all nodes.
#[derive(Default)]
pub(crate) struct Links {
    cut: Cut,
    nodes: Vec<NodeLinks>,
}

struct NodeLinks {
    port: u16,
    is_database_cut: watch::Sender<bool>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Links {
    /// Adds a node that listens at this port: others reach it at the first answer, it reaches the database at the second.
    pub(crate) async fn add(&mut self, port: u16, database: PathBuf) -> (SocketAddr, SocketAddr) {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
        let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addresses = (near.local_addr().expect("its address"), door.local_addr().expect("its address"));
        let (is_database_cut, cut) = watch::channel(false);
        let peers = tokio::spawn(pass_on(near, port, Arc::clone(&self.cut)));
        let queries = tokio::spawn(async move {
            while let Ok((client, _)) = door.accept().await {
                let (path, cut) = (database.clone(), cut.clone());
                tokio::spawn(async move {
                    let Ok(server) = UnixStream::connect(path).await else { return };
                    let ((client_read, client_write), (server_read, server_write)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = carry(client_read, server_write, cut.clone()) => {}
                        () = carry(server_read, client_write, cut) => {}
                    }
                });
            }
        });
        let tasks = [AbortOnDropHandle::new(peers), AbortOnDropHandle::new(queries)];
        self.nodes.push(NodeLinks { port, is_database_cut, _tasks: tasks });
        addresses
    }

    /// Cuts a node off from all others.
    pub(crate) fn cut_from_peers(&self, index: usize) {
        self.cut.lock().expect("no panic while locked").insert(self.nodes[index].port);
    }

    /// Cuts a node off from the database.
    pub(crate) fn cut_from_database(&self, index: usize) {
        self.nodes[index].is_database_cut.send_replace(true);
    }

    /// Everything gets through again.
    pub(crate) fn heal(&self) {
        self.cut.lock().expect("no panic while locked").clear();
        for node in &self.nodes {
            node.is_database_cut.send_replace(false);
        }
    }
}

/// Passes datagrams on to a node, and its answers back to each sender.
async fn pass_on(near: Arc<UdpSocket>, port: u16, cut: Cut) {
    let is_cut = move |cut: &Cut, from: u16| {
        let cut = cut.lock().expect("no panic while locked");
        cut.contains(&port) || cut.contains(&from)
    };
    let mut senders = HashMap::<SocketAddr, (Arc<UdpSocket>, AbortOnDropHandle<()>)>::new();
    let mut datagram = vec![0; DATAGRAM_BYTES];
    loop {
        let Ok((bytes, from)) = near.recv_from(&mut datagram).await else { continue };
        let far = match senders.entry(from) {
            Entry::Occupied(known) => Arc::clone(&known.get().0),
            Entry::Vacant(new) => {
                let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
                far.connect(("127.0.0.1", port)).await.expect("the node's address");
                let (answers, near, cut) = (Arc::clone(&far), Arc::clone(&near), Arc::clone(&cut));
                let back = tokio::spawn(async move {
                    let mut datagram = vec![0; DATAGRAM_BYTES];
                    loop {
                        let Ok(bytes) = answers.recv(&mut datagram).await else { continue };
                        if !is_cut(&cut, from.port()) {
                            let _ = near.send_to(&datagram[..bytes], from).await;
                        }
                    }
                });
                new.insert((Arc::clone(&far), AbortOnDropHandle::new(back)));
                far
            }
        };
        if !is_cut(&cut, from.port()) {
            let _ = far.send(&datagram[..bytes]).await;
        }
    }
}

/// Carries bytes one way, as long as the line is whole.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut is_cut: watch::Receiver<bool>) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut piece).await {
        if is_cut.wait_for(|is_cut| !is_cut).await.is_err() || to.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
    }
}
