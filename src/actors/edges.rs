//! Edges and their shields: of all nodes that deliver, one reads a blob from the store and gives it to the others, so that the store
//! is asked once for the whole cluster. Which one that is says the blob's key. A shield that does not answer costs its time-out, no
//! more: then the store is asked after all.
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::nodes::{NodesHandle, PeerRequest, PeerStream};
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
            let length = u16::try_from(question.len()).map_err(|error| error.to_string())?;
            stream.send.write_u16(length).await.map_err(|error| error.to_string())?;
            stream.send.write_all(&question).await.map_err(|error| error.to_string())?;
            Ok(stream)
        };
        Some(tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(|_| Err("no answer".into())))
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
                let read = tokio::time::timeout(timeout, read_piece(&mut stream)).await;
                let piece = read.map_err(|_| BlobError::Unavailable("a shield stands still".into()))?;
                let piece = piece.map_err(BlobError::Unavailable)?;
                Ok(piece.map(|piece| (piece, stream)))
            })
            .boxed(),
        })
    }
}

/// A piece; `None` behind the last one. One that is cut off before is no end.
async fn read_piece(stream: &mut PeerStream) -> Result<Option<Bytes>, String> {
    let length = stream.receive.read_u32().await.map_err(|error| error.to_string())? as usize;
    if length == 0 {
        return Ok(None);
    }
    if length > PIECE_BYTES_MAX {
        return Err("a shield sends nonsense".into());
    }
    let mut piece = BytesMut::zeroed(length);
    stream.receive.read_exact(&mut piece).await.map_err(|error| error.to_string())?;
    Ok(Some(piece.freeze()))
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
    let asking = async {
        let length = receive.read_u16().await.map_err(|error| error.to_string())?.into();
        if length > RangeKey::BYTES_MAX {
            return Err("it asks for nonsense".into());
        }
        let mut question = vec![0; length];
        receive.read_exact(&mut question).await.map_err(|error| error.to_string())?;
        codec::decode::<RangeKey>(&question).map_err(|error| error.to_string())
    };
    let wanted = tokio::time::timeout(EDGE_STALL_MAX, asking).await.map_err(|_| "it does not ask".to_owned())??;
    let mut read = blobs.for_peer(wanted);
    while let Some(piece) = read.next().await {
        let piece = piece.map_err(|error| error.to_string())?;
        for piece in piece.chunks(PIECE_BYTES_MAX) {
            let sending = async {
                send.write_u32(piece.len() as u32).await?;
                send.write_all(piece).await.map_err(std::io::Error::from)
            };
            let sent =
                tokio::time::timeout(EDGE_STALL_MAX, sending).await.map_err(|_| "it takes nothing".to_owned())?;
            sent.map_err(|error| error.to_string())?;
        }
    }
    send.write_u32(0).await.map_err(|error| error.to_string())?;
    send.shutdown().await.map_err(|error| error.to_string())
}
