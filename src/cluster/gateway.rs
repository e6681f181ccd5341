//! Messages of actors between nodes: one gateway actor per node, which is the only one that others see. What it is asked is answered
//! by who was given to it at start, in tasks of their own. Messages may be lost: every question has an end.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, BytesConvertable, RpcReplyPort, call_t, pg};
use ractor_cluster::{
    BoxRead, BoxWrite, ClusterBidiStream, NodeServer, NodeServerMessage, RactorClusterMessage, client_connect_external,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::transport::{Opened, PeerStream, Peers};
use crate::domain::cluster::NodeName;

/// Where gateways find one another.
const GROUP: &str = "gateways";
/// Questions that are being answered at once; more are refused.
const QUESTIONS_MAX: usize = 1024;

/// Answers questions of other nodes.
#[async_trait]
pub trait Answerer: Send + Sync + 'static {
    /// The answer to a question; `None` for one that makes no sense to this program.
    async fn answer(&self, question: Bytes) -> Option<Bytes>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskNodeError {
    /// The node cannot be reached.
    #[error("{0} cannot be reached")]
    Unreachable(NodeName),
    /// It did not answer in time, or at all.
    #[error("{0} does not answer")]
    Silent(NodeName),
    /// It did not understand, or had too much to do.
    #[error("{0} has no answer")]
    Refused(NodeName),
    /// The version of the protocol between the two does not have that question.
    #[error("{0} cannot be asked that: it speaks an older version of the cluster's protocol")]
    OtherRelease(NodeName),
}

/// Bytes, as they come; the framework asks for no more.
#[derive(Debug)]
pub struct Wire(Bytes);

impl BytesConvertable for Wire {
    fn into_bytes(self) -> Vec<u8> {
        self.0.into()
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// What gateways are told. Variants are only ever added.
#[derive(RactorClusterMessage)]
pub enum GatewayMessage {
    /// A question; an empty answer is none.
    #[rpc]
    Ask(Wire, RpcReplyPort<Wire>),
}

struct GatewayActor;

struct GatewayState {
    answerer: Arc<dyn Answerer>,
    room: Arc<Semaphore>,
}

impl Actor for GatewayActor {
    type Msg = GatewayMessage;
    type State = GatewayState;
    type Arguments = Arc<dyn Answerer>;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        answerer: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        pg::join(GROUP.into(), vec![me.get_cell()]);
        Ok(GatewayState { answerer, room: Arc::new(Semaphore::new(QUESTIONS_MAX)) })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let GatewayMessage::Ask(question, reply) = message;
        let Ok(permit) = Arc::clone(&state.room).try_acquire_owned() else {
            metrics::counter!("playhouse_cluster_questions_refused_total").increment(1);
            let _ = reply.send(Wire(Bytes::new()));
            return Ok(());
        };
        let answerer = Arc::clone(&state.answerer);
        tokio::spawn(async move {
            let answer = answerer.answer(question.0).await.unwrap_or_default();
            drop(permit);
            let _ = reply.send(Wire(answer));
        });
        Ok(())
    }
}

/// One stream, as the framework wants it.
struct Link {
    label: String,
    stream: PeerStream,
}

impl ClusterBidiStream for Link {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        (Box::new(self.stream.receive), Box::new(self.stream.send))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

fn name_of(node: &NodeName) -> String {
    format!("gateway-{node}")
}

/// This node's gateway, and its way to those of others.
pub(super) struct Gateway {
    actor: ActorRef<GatewayMessage>,
    server: ActorRef<NodeServerMessage>,
    _task: AbortOnDropHandle<()>,
}

impl Gateway {
    /// Starts it; `links` are streams with other nodes.
    pub(super) async fn start(
        peers: &Peers,
        (cluster, message_bytes_max): (&str, u64),
        answerer: Arc<dyn Answerer>,
        mut links: mpsc::Receiver<(Opened, bool)>,
    ) -> Result<Self, String> {
        let me = &peers.me().node;
        // The framework insists on a listener of its own: it is parked where nobody is.
        let server = NodeServer::new(0, cluster.to_owned(), me.to_string(), "playhouse".into(), None, None)
            .with_listen_addr(std::net::Ipv4Addr::LOCALHOST.into())
            .with_max_inbound_frame_size(message_bytes_max);
        let (server, _) = Actor::spawn(None, server, ()).await.map_err(|error| error.to_string())?;
        let spawned = Actor::spawn(Some(name_of(me)), GatewayActor, answerer).await;
        let (actor, _) = spawned.map_err(|error| error.to_string())?;
        let to = server.clone();
        let task = tokio::spawn(async move {
            while let Some((Opened { from, stream }, is_server)) = links.recv().await {
                let link = Box::new(Link { label: from.node.to_string(), stream });
                let linked = match is_server {
                    true => to
                        .cast(NodeServerMessage::ConnectionOpenedExternal { stream: link, is_server })
                        .map_err(|error| error.to_string()),
                    false => client_connect_external(&to, link).await.map_err(|error| error.to_string()),
                };
                if let Err(error) = linked {
                    tracing::warn!(node = %from.node, error, "actors cannot reach a node");
                }
            }
        });
        Ok(Self { actor, server, _task: AbortOnDropHandle::new(task) })
    }

    /// Asks a node.
    pub(super) async fn ask(&self, node: &NodeName, question: Bytes, limit: Duration) -> Result<Bytes, AskNodeError> {
        let name = name_of(node);
        let is_it = |cell: &ractor::ActorCell| cell.get_name().as_deref() == Some(name.as_str());
        let found = pg::get_members(&GROUP.to_owned()).into_iter().filter(is_it);
        // That of a connection that has just broken may still be there.
        let found = found.max_by_key(|cell| match cell.get_id() {
            ActorId::Remote { node_id, .. } => node_id,
            ActorId::Local(_) => u64::MAX,
        });
        let gateway: ActorRef<GatewayMessage> = found.ok_or_else(|| AskNodeError::Unreachable(node.clone()))?.into();
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        match call_t!(gateway, GatewayMessage::Ask, limit, Wire(question)) {
            Ok(Wire(answer)) if answer.is_empty() => Err(AskNodeError::Refused(node.clone())),
            Ok(Wire(answer)) => Ok(answer),
            Err(error) => {
                tracing::warn!(%node, %error, gateway = %gateway.get_id(), "a node does not answer");
                Err(AskNodeError::Silent(node.clone()))
            }
        }
    }

    /// Ends it.
    pub(super) fn stop(&self) {
        self.actor.stop(None);
        self.server.stop(None);
    }
}
