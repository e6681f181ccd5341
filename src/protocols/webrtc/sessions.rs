//! Sessions by their ids, as long as they live: the way from requests about one to its task.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::sync::{mpsc, oneshot};

use super::peer::Answer;
use super::wire::fragment::Fragment;
use super::wire::offer::Credentials;
use crate::domain::ports::Entropy;

/// Requests that wait for a session's task at most; a client has to wait for the answer to one before the next.
const COMMANDS: usize = 4;
/// Bytes of a session's id: nobody guesses it.
const ID_BYTES: usize = 16;

/// What a session's task is asked for.
#[derive(Debug)]
pub enum Command {
    /// Its client starts ICE anew.
    Restart {
        /// With these credentials.
        credentials: Credentials,
        /// What the client is told; nothing when it cannot be.
        reply: oneshot::Sender<Answer>,
    },
    /// It is to end: its client says so, or another one of the same kind takes its place.
    End,
}

/// Why a request about a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none with this id.
    #[error("there is no such session")]
    Unknown,
    /// Whoever opened it showed a key, and this one does not.
    #[error("the session was opened with a bearer token, which has to come with this request too")]
    KeyMissing,
    /// It is another one's.
    #[error("the bearer token is not the one that the session was opened with")]
    KeyWrong,
    /// The request says of no version of the session that it is meant for.
    #[error("the request has to say which ICE session it is meant for: If-Match")]
    Unconditional,
    /// It is meant for another version.
    #[error("this is not the session's ICE session any more")]
    Outdated,
    /// Its candidates belong to other credentials.
    #[error("the candidates are of another ICE session")]
    Foreign,
    /// ICE cannot be started anew.
    #[error("ICE cannot be started anew")]
    NotRestarted,
}

/// How a fragment was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// Candidates were noted; none of them is needed.
    Noted,
    /// ICE starts anew: what the client has to know for it.
    Restarted(Answer),
}

/// What is known of a session.
#[derive(Debug)]
struct Known {
    commands: mpsc::Sender<Command>,
    /// What whoever opened it has shown, when it has.
    key: Option<String>,
    /// What it feeds or reads.
    subject: String,
    /// Names its ICE session.
    tag: String,
    /// What its client calls itself in checks.
    client: String,
    is_settled: bool,
}

/// What a session is opened with.
#[derive(Debug)]
pub struct Opening {
    /// What its opener has shown, which has to come with every request about it.
    pub key: Option<String>,
    /// What it feeds or reads.
    pub subject: String,
    /// What its client calls itself in checks.
    pub client: String,
    /// What it calls itself on this side: its tag.
    pub name: String,
}

/// The sessions; clones are the same ones.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<String, Known>>>);

/// A session's place among them, until it is dropped.
pub struct Place {
    sessions: Sessions,
    id: String,
    /// What the session's task is asked for.
    pub commands: mpsc::Receiver<Command>,
}

impl Sessions {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// Opens one. Those on the same subject that have not got anywhere yet end: their client has tried again.
    pub fn open(&self, opening: Opening, entropy: &dyn Entropy) -> Place {
        let mut bytes = [0; ID_BYTES];
        entropy.fill(&mut bytes);
        let id = bs58::encode(bytes).into_string();
        let (sender, commands) = mpsc::channel(COMMANDS);
        let mut all = self.all();
        for other in all.values().filter(|other| !other.is_settled && other.subject == opening.subject) {
            let _ = other.commands.try_send(Command::End);
        }
        let Opening { key, subject, client, name } = opening;
        let known = Known { commands: sender, key, subject, tag: name, client, is_settled: false };
        all.insert(id.clone(), known);
        drop(all);
        Place { sessions: self.clone(), id, commands }
    }

    /// Whether a request with this key may be about the session.
    fn permitted(&self, id: &str, key: Option<&str>) -> Result<(), Refused> {
        let all = self.all();
        let known = all.get(id).ok_or(Refused::Unknown)?;
        match (&known.key, key) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Refused::KeyMissing),
            (Some(own), Some(shown)) => {
                verify_slices_are_equal(own.as_bytes(), shown.as_bytes()).map_err(|_| Refused::KeyWrong)
            }
        }
    }

    /// Ends a session.
    pub fn end(&self, id: &str, key: Option<&str>) -> Result<(), Refused> {
        self.permitted(id, key)?;
        let known = self.all().remove(id).ok_or(Refused::Unknown)?;
        // One whose queue is full learns it by that queue's end.
        let _ = known.commands.try_send(Command::End);
        Ok(())
    }

    /// A fragment for the session whose ICE session has this tag; `*` starts ICE anew (RFC 9725, section 4.3.1).
    pub async fn patch(
        &self,
        (id, key): (&str, Option<&str>),
        tag: Option<&str>,
        fragment: Fragment,
    ) -> Result<Patched, Refused> {
        self.permitted(id, key)?;
        let tag = tag.ok_or(Refused::Unconditional)?;
        let (commands, current, client) = {
            let all = self.all();
            let known = all.get(id).ok_or(Refused::Unknown)?;
            (known.commands.clone(), known.tag.clone(), known.client.clone())
        };
        let is_same = fragment.credentials.as_ref().is_none_or(|told| told.name() == client);
        match (tag, fragment.credentials) {
            ("*", Some(credentials)) if !is_same => {
                let (reply, answer) = oneshot::channel();
                let asked = commands.send(Command::Restart { credentials, reply }).await;
                asked.map_err(|_| Refused::Unknown)?;
                answer.await.map(Patched::Restarted).map_err(|_| Refused::NotRestarted)
            }
            (tag, _) if tag != "*" && tag != current => Err(Refused::Outdated),
            _ if !is_same => Err(Refused::Foreign),
            _ => Ok(Patched::Noted),
        }
    }
}

impl Place {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// It has got where it wanted to.
    pub fn settle(&self) {
        if let Some(known) = self.sessions.all().get_mut(&self.id) {
            known.is_settled = true;
        }
    }

    /// Its ICE session is another one.
    pub fn restarted(&self, name: &str, client: &str) {
        if let Some(known) = self.sessions.all().get_mut(&self.id) {
            (known.tag, known.client) = (name.to_owned(), client.to_owned());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.all().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemEntropy;

    fn opening(key: Option<&str>, subject: &str) -> Opening {
        Opening { key: key.map(str::to_owned), subject: subject.into(), client: "theirs".into(), name: "ours".into() }
    }

    fn fragment(text: &str) -> Fragment {
        Fragment::read(text.as_bytes()).unwrap()
    }

    const TRICKLE: &str = "a=ice-ufrag:theirs\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\na=end-of-candidates";
    const RESTART: &str = "a=ice-ufrag:other\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k";

    #[tokio::test]
    async fn requests_reach_their_session_when_they_may() {
        let sessions = Sessions::default();
        let mut place = sessions.open(opening(Some("key"), "stream"), &SystemEntropy);
        let id = place.id().to_owned();
        let patch = |key: Option<&'static str>, tag: Option<&'static str>, text: &'static str| {
            let (sessions, id) = (sessions.clone(), id.clone());
            async move { sessions.patch((&id, key), tag, fragment(text)).await }
        };
        assert_eq!(patch(None, Some("ours"), TRICKLE).await, Err(Refused::KeyMissing));
        assert_eq!(patch(Some("no"), Some("ours"), TRICKLE).await, Err(Refused::KeyWrong));
        assert_eq!(patch(Some("key"), None, TRICKLE).await, Err(Refused::Unconditional));
        assert_eq!(patch(Some("key"), Some("before"), TRICKLE).await, Err(Refused::Outdated));
        assert_eq!(patch(Some("key"), Some("ours"), RESTART).await, Err(Refused::Foreign));
        assert_eq!(patch(Some("key"), Some("ours"), TRICKLE).await, Ok(Patched::Noted));
        let answer = Answer { description: String::new(), name: "new".into(), password: "p".into() };
        let (asked, _) = tokio::join!(patch(Some("key"), Some("*"), RESTART), async {
            let Some(Command::Restart { credentials, reply }) = place.commands.recv().await else { panic!() };
            place.restarted("new", credentials.name());
            reply.send(answer.clone()).unwrap();
        });
        assert_eq!(asked, Ok(Patched::Restarted(answer)));
        assert_eq!(patch(Some("key"), Some("ours"), TRICKLE).await, Err(Refused::Outdated));
        assert_eq!(patch(Some("key"), Some("new"), RESTART).await, Ok(Patched::Noted));
        assert_eq!(sessions.end(&id, Some("no")), Err(Refused::KeyWrong));
        assert_eq!((sessions.end(&id, Some("key")), sessions.end(&id, Some("key"))), (Ok(()), Err(Refused::Unknown)));
        assert!(matches!(place.commands.recv().await, Some(Command::End)));
        assert_eq!((sessions.count(), sessions.end("nobody", None)), (0, Err(Refused::Unknown)));
    }

    #[tokio::test]
    async fn a_client_that_tries_again_leaves_nothing_behind() {
        let sessions = Sessions::default();
        let mut first = sessions.open(opening(None, "stream"), &SystemEntropy);
        let mut other = sessions.open(opening(None, "other"), &SystemEntropy);
        other.settle();
        let second = sessions.open(opening(None, "stream"), &SystemEntropy);
        assert!(matches!(first.commands.try_recv(), Ok(Command::End)));
        let _third = sessions.open(opening(None, "other"), &SystemEntropy);
        assert!(other.commands.try_recv().is_err(), "it is where it wanted to be");
        drop((first, second));
        assert_eq!(sessions.count(), 2);
    }
}
