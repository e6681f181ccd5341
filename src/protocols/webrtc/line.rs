//! A session's line: its connection, the way between that and the port, and the names under which its client's checks come.
use std::time::Instant;

use tokio::sync::oneshot;

use super::mux::Route;
use super::peer::{Answer, Peer};
use super::sessions::Place;
use super::wire::offer::Credentials;

/// How many names of before are kept after ICE has started anew: the client's checks may come under them for a while.
const OLD_NAMES_MAX: usize = 4;

/// A session's line.
pub(super) struct Line {
    pub(super) peer: Peer,
    pub(super) route: Route,
    pub(super) place: Place,
    /// What this side has called itself, the newest last.
    names: Vec<String>,
}

impl Line {
    /// Of a session whose offer was answered under this name.
    pub(super) fn new((peer, route, place): (Peer, Route, Place), name: String) -> Self {
        Self { peer, route, place, names: vec![name] }
    }

    /// Sends what is to be sent; `note` sees it before.
    pub(super) fn flush(&mut self, mut note: impl FnMut(&[u8])) {
        while let Some((datagram, to)) = self.peer.next_datagram() {
            note(&datagram);
            self.route.mux().send(&datagram, to);
        }
    }

    /// The client's checks come under new words from now on, and for a while under the old ones.
    pub(super) fn restart(&mut self, credentials: Credentials, reply: oneshot::Sender<Answer>) {
        match self.peer.restart(credentials, Instant::now()) {
            Ok(answer) => {
                self.route.add_name(&answer.name);
                self.names.push(answer.name.clone());
                if self.names.len() > OLD_NAMES_MAX {
                    let oldest = self.names.remove(0);
                    self.route.remove_name(&oldest);
                }
                let client = self.peer.offer().credentials().name().to_owned();
                self.place.restarted(&answer.name, &client);
                let _ = reply.send(answer);
            }
            Err(error) => tracing::info!(%error, "ice does not start anew"),
        }
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        self.peer.close();
        self.flush(|_| ());
    }
}
