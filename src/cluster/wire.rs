//! What nodes say to one another before they are peers, and what the streams between peers are for.
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use quinn::{RecvStream, SendStream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::cluster::NodeLife;

/// Versions of everything between nodes that this program speaks: that of the release before it, too.
///
/// 1. What is said in `Hello`, kinds of streams 1 to 6, gossip, and of questions between actors all up to `ReleaseSession`.
/// 2. The questions `CountDone`, `PullStats`, `PullChanged` and `IsFed`.
/// 3. Relays may ask for frames, and are sent on to other relays; the question `CountFetched`.
pub const VERSIONS: RangeInclusive<u16> = 1..=3;

/// The versions that this program is to speak when an operator wants none above this one; 0: all.
pub fn versions_up_to(protocol_max: u16) -> RangeInclusive<u16> {
    let newest = if protocol_max == 0 { *VERSIONS.end() } else { protocol_max.min(*VERSIONS.end()) };
    *VERSIONS.start()..=newest
}

/// Longest of the messages below.
const MESSAGE_BYTES_MAX: u32 = 8 * 1024;

/// Who comes, or who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which life of which node.
    pub life: NodeLife,
    /// Where it listens for nodes.
    pub address: SocketAddr,
    /// Oldest version that it speaks.
    pub oldest: u16,
    /// Newest version that it speaks.
    pub newest: u16,
    /// Version of the program.
    pub program: String,
    /// Version of what its workers are told. Units of ladders are made for those alone whose workers understand the same by them.
    #[serde(default)]
    pub work: u32,
}

/// What a node that was gone to answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// They are peers.
    Welcome(Hello),
    /// They are not.
    Refused(String),
}

impl Hello {
    /// The newest version that both speak.
    pub fn common(&self, versions: &RangeInclusive<u16>) -> Result<u16, String> {
        let newest = self.newest.min(*versions.end());
        if newest >= self.oldest && newest >= *versions.start() {
            return Ok(newest);
        }
        let (node, program) = (&self.life.node, &self.program);
        let (oldest, newest) = (self.oldest, self.newest);
        Err(format!(
            "{node} runs {program} and speaks versions {oldest} to {newest} of the cluster's protocol, this node {} to {}: \
            releases that follow one another work together, others do not",
            versions.start(),
            versions.end()
        ))
    }
}

/// What a stream between peers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Messages of actors.
    Actors,
    /// One message of gossip.
    Gossip,
    /// A request, and its answer.
    Request,
    /// Media of a live stream.
    Relay,
    /// Bytes of a blob.
    Fill,
    /// Work that another node is to do.
    Work,
}

impl StreamKind {
    /// As it is said first on a stream.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Actors => 1,
            Self::Gossip => 2,
            Self::Request => 3,
            Self::Relay => 4,
            Self::Fill => 5,
            Self::Work => 6,
        }
    }

    /// `None` for what this program does not know.
    pub(super) const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Actors),
            2 => Some(Self::Gossip),
            3 => Some(Self::Request),
            4 => Some(Self::Relay),
            5 => Some(Self::Fill),
            6 => Some(Self::Work),
            _ => None,
        }
    }
}

/// Says something.
pub(super) async fn write<T: Serialize>(stream: &mut SendStream, message: &T) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&text).await?;
    Ok(())
}

/// Hears something.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut RecvStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(io::Error::other)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a greeting that is too long"));
    }
    let mut text = vec![0; length as usize];
    stream.read_exact(&mut text).await.map_err(io::Error::other)?;
    parse(&text)
}

/// What was said.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(oldest: u16, newest: u16) -> Hello {
        let life = NodeLife { node: "one".parse().unwrap(), epoch: 7 };
        Hello { life, address: "192.0.2.1:4700".parse().unwrap(), oldest, newest, program: "0.1.0".into(), work: 8 }
    }

    #[test]
    fn neighbouring_versions_work_together() {
        assert_eq!(hello(1, 1).common(&(1..=1)), Ok(1));
        assert_eq!(hello(1, 2).common(&(1..=1)), Ok(1));
        assert_eq!(hello(1, 2).common(&(2..=3)), Ok(2));
        for (theirs, ours) in [((1, 1), 2..=3), ((3, 4), 1..=2)] {
            let refused = hello(theirs.0, theirs.1).common(&ours).unwrap_err();
            assert!(refused.starts_with("one runs 0.1.0 and speaks versions"), "{refused}");
        }
    }

    #[test]
    fn an_operator_may_want_an_older_version() {
        assert_eq!([0, 1, 3].map(versions_up_to), [1..=3, 1..=1, 1..=3]);
        assert_eq!(hello(1, 2).common(&versions_up_to(1)), Ok(1));
        assert_eq!(hello(1, 2).common(&versions_up_to(0)), Ok(2));
    }

    #[test]
    fn later_programs_may_say_more() {
        let mut said = serde_json::to_value(hello(1, 2)).unwrap();
        said["mood"] = "good".into();
        assert_eq!(serde_json::from_value::<Hello>(said.clone()).unwrap(), hello(1, 2));
        // The first releases said nothing of work.
        said.as_object_mut().unwrap().remove("work");
        assert_eq!(serde_json::from_value::<Hello>(said).unwrap(), Hello { work: 0, ..hello(1, 2) });
        for code in 1..=6 {
            assert_eq!(StreamKind::of(code).map(StreamKind::code), Some(code));
        }
        assert_eq!([0, 7, 255].map(StreamKind::of), [None; 3]);
    }
}
