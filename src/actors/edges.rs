//! Edges and their shields: of all nodes that deliver, one reads a blob from the store and gives it to the others, so that the store
//! is asked once for the whole cluster. Which one that is says the blob's key. A shield that does not answer costs its time-out, no
//! more: then the store is asked after all.
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::nodes::{NodesHandle, PeerRequest, PeerStream};
use super::peer_frames::{self, in_time};
use crate::domain::ports::{BlobError, RangeKey, Shield};
use crate::media::edge::EdgeBlobs;
use crate::storage::codec::{self, Versioned};

/// Longest piece that a shield sends.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Longest wait of a shield for an edge to ask or to take what it asked for.
const EDGE_STALL_MAX: Duration = Duration::from_secs(15);

impl Versioned for RangeKey {
    const VERSION: u8 = 1;
    const BYTES_MAX: usize = 1024;
}

/// Where a node's shields are.
#[derive(Clone)]
pub struct Shields {
    /// Every node.
    pub nodes: NodesHandle,
    /// Only nodes of this zone are shields; empty: all that deliver.
    pub zone: String,
    /// A shield that sends nothing for this long is not waited for.
    pub timeout: Duration,
}

impl Shields {
    async fn ask(&self, wanted: &RangeKey) -> Option<Result<PeerStream, String>> {
        let shield = self.nodes.shield(wanted.key.as_str(), &self.zone)?;
        let asking = async {
            let mut stream = self.nodes.open_fill(&shield).await.map_err(|error| error.to_string())?;
            let question = codec::encode(wanted).map_err(|error| error.to_string())?;
            peer_frames::write(&mut stream.send, &question).await?;
            Ok::<_, String>(stream)
        };
        Some(in_time(self.timeout, asking).await)
    }
}

#[async_trait]
impl Shield for Shields {
    async fn fetch(&self, wanted: &RangeKey) -> Option<BoxStream<'static, Result<Bytes, BlobError>>> {
        let asked = self.ask(wanted).await?.map_err(BlobError::Unavailable);
        let timeout = self.timeout;
        Some(match asked {
            Err(error) => stream::iter([Err(error)]).boxed(),
            Ok(stream) => stream::try_unfold(stream, move |mut stream| async move {
                let reading = peer_frames::read(&mut stream.receive, PIECE_BYTES_MAX);
                let piece = in_time(timeout, reading).await.map_err(BlobError::Unavailable)?;
                // An empty one is behind the last: one that is cut off before is no end.
                Ok((!piece.is_empty()).then_some((piece, stream)))
            })
            .boxed(),
        })
    }
}

/// Gives other nodes what they ask this one to read, until there are none.
pub async fn serve(blobs: EdgeBlobs, mut asked: mpsc::Receiver<PeerRequest>) {
    while let Some(PeerRequest { from, stream }) = asked.recv().await {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            if let Err(reason) = give(&blobs, stream).await {
                tracing::debug!(node = %from.node, reason, "an edge does not get what it asks for");
            }
        });
    }
}

async fn give(blobs: &EdgeBlobs, PeerStream { mut send, mut receive }: PeerStream) -> Result<(), String> {
    let question = in_time(EDGE_STALL_MAX, peer_frames::read(&mut receive, RangeKey::BYTES_MAX)).await?;
    let wanted = codec::decode::<RangeKey>(&question).map_err(|error| error.to_string())?;
    let mut read = blobs.for_peer(wanted);
    while let Some(piece) = read.next().await {
        let piece = piece.map_err(|error| error.to_string())?;
        for piece in piece.chunks(PIECE_BYTES_MAX) {
            in_time(EDGE_STALL_MAX, peer_frames::write(&mut send, piece)).await?;
        }
    }
    in_time(EDGE_STALL_MAX, peer_frames::write(&mut send, &[])).await?;
    in_time(EDGE_STALL_MAX, send.shutdown()).await
}
