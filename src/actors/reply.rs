//! Asking an actor: a reply that is never forgotten, and a mailbox that outlives a restart.
use std::sync::{Arc, RwLock};
use std::time::Duration;

use ractor::{ActorRef, Message, RpcReplyPort};

/// How long a handle waits for an answer unless it says otherwise: answers never wait for the outside world except
/// where an actor parks them, so a longer silence means a stuck node.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The answer to one question. Dropping it unanswered is a bug and is reported as one; the asker sees [`AskError`].
#[derive(Debug)]
pub struct Reply<T, E> {
    port: Option<RpcReplyPort<Result<T, E>>>,
}

impl<T, E> Reply<T, E> {
    /// Answers. An asker that has left is no error.
    pub fn send(mut self, answer: Result<T, E>) {
        if let Some(port) = self.port.take() {
            let _ = port.send(answer);
        }
    }

    /// Whether the asker has left.
    pub fn is_abandoned(&self) -> bool {
        self.port.as_ref().is_none_or(RpcReplyPort::is_closed)
    }
}

impl<T, E> Drop for Reply<T, E> {
    fn drop(&mut self) {
        if self.port.as_ref().is_some_and(|port| !port.is_closed()) && !std::thread::panicking() {
            metrics::counter!("playhouse_actor_replies_dropped_total").increment(1);
            tracing::error!("an actor dropped a reply unanswered");
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor is not running: being restarted, or the node is stopping.
    #[error("not available right now")]
    Gone,
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
}

/// Where to send messages to an actor that may be restarted: the supervisor puts each new incarnation in.
pub struct Post<M> {
    current: Arc<RwLock<Option<ActorRef<M>>>>,
}

impl<M> Clone for Post<M> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current) }
    }
}

impl<M> Default for Post<M> {
    fn default() -> Self {
        Self { current: Arc::default() }
    }
}

impl<M: Message> Post<M> {
    /// A post that always leads to this incarnation.
    pub fn to(actor: ActorRef<M>) -> Self {
        let post = Self::default();
        post.install(Some(actor));
        post
    }

    /// Leads to this incarnation from now on.
    pub fn install(&self, actor: Option<ActorRef<M>>) {
        match self.current.write() {
            Ok(mut current) => *current = actor,
            Err(poisoned) => *poisoned.into_inner() = actor,
        }
    }

    fn current(&self) -> Result<ActorRef<M>, AskError> {
        let current = self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        current.clone().ok_or(AskError::Gone)
    }

    /// Sends a message that has no answer.
    pub fn tell(&self, message: M) -> Result<(), AskError> {
        self.current()?.cast(message).map_err(|_| AskError::Gone)
    }

    /// Asks and waits at most `timeout`.
    pub async fn ask_within<T, E>(
        &self,
        timeout: Duration,
        question: impl FnOnce(Reply<T, E>) -> M,
    ) -> Result<Result<T, E>, AskError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (tx, rx) = ractor::concurrency::oneshot();
        self.tell(question(Reply { port: Some(tx.into()) }))?;
        match tokio::time::timeout(timeout, rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Gone),
            Err(_) => Err(AskError::TimedOut),
        }
    }

    /// Asks and waits at most [`ASK_TIMEOUT`]; the absence of an answer becomes the operation's own error.
    pub async fn ask<T, E>(&self, question: impl FnOnce(Reply<T, E>) -> M) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<AskError> + Send + 'static,
    {
        self.ask_within(ASK_TIMEOUT, question).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Message for Reply<u8, AskError> {}

    type Port = std::sync::Mutex<Option<Reply<u8, AskError>>>;

    fn reply() -> (Reply<u8, AskError>, tokio::sync::oneshot::Receiver<Result<u8, AskError>>) {
        let (tx, rx) = ractor::concurrency::oneshot();
        (Reply { port: Some(tx.into()) }, rx)
    }

    #[tokio::test]
    async fn an_answer_arrives_and_an_abandoned_asker_is_seen() {
        let (first, rx) = reply();
        first.send(Ok(7));
        assert_eq!(rx.await.unwrap(), Ok(7));
        let (second, rx) = reply();
        assert!(!second.is_abandoned());
        drop(rx);
        assert!(second.is_abandoned());
        let parked: Port = Some(second).into();
        drop(parked);
    }

    #[tokio::test]
    async fn a_post_without_an_actor_says_so() {
        let post = Post::<Reply<u8, AskError>>::default();
        assert_eq!(post.ask(|reply| reply).await, Err(AskError::Gone));
    }
}
