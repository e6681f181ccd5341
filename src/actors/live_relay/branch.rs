//! The tree of nodes along which a live stream is told, as one of them sees it.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cluster::members::Member;
use crate::domain::cluster::NodeName;

/// Nodes between the one that has a stream and one that is told of it; more are a mistake.
pub(super) const DEPTH_MAX: usize = 16;

/// Where this node stands in the tree of one stream; clones share it.
#[derive(Clone, Default)]
pub struct Branch(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    /// From the node that has the stream to the one that tells this one; empty where the stream is.
    above: Vec<NodeName>,
    /// Whether the one that tells this one cannot tell of frames.
    lacks_frames: bool,
    below: Vec<Told>,
    /// Number of the next that is told.
    next: u64,
}

/// A node that this one tells.
struct Told {
    node: NodeName,
    number: u64,
    /// How many were sent to it.
    sent: u32,
}

/// A node's place among those that are told, until it is dropped.
pub(super) struct Place {
    branch: Branch,
    number: u64,
}

impl Branch {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream is here.
    pub(in crate::actors) fn root(&self) {
        self.hang((Vec::new(), false));
    }

    /// Nodes above, and whether the last of them cannot tell of frames.
    pub(super) fn hang(&self, (above, lacks_frames): (Vec<NodeName>, bool)) {
        let mut places = self.places();
        (places.above, places.lacks_frames) = (above, lacks_frames);
    }

    /// Whether frames can be read here.
    pub(in crate::actors) fn has_frames(&self) -> bool {
        !self.places().lacks_frames
    }

    /// From the node that has the stream to this one.
    pub(super) fn path(&self, me: &NodeName) -> Vec<NodeName> {
        self.places().above.iter().chain([me]).cloned().collect()
    }

    /// Who is above, and who below.
    pub(super) fn around(&self) -> (Vec<NodeName>, Vec<NodeName>) {
        let places = self.places();
        (places.above.clone(), places.below.iter().map(|told| told.node.clone()).collect())
    }

    /// A place for a node; where there are `most` already, the one of them that it is to ask instead: of its own zone if there is one,
    /// and whoever others were sent to least. Who `insists` has a place anyway: the one that it was sent to did not do.
    pub(super) fn enter(
        &self,
        (node, insists): (&NodeName, bool),
        most: usize,
        members: &[Member],
    ) -> Result<Place, NodeName> {
        let zone_of = |node: &NodeName| members.iter().find(|member| member.node == *node).map(|member| &member.zone);
        let mut places = self.places();
        let is_full = places.below.len() >= most && !insists;
        let others = places.below.iter_mut().filter(|told| told.node != *node);
        let nearest = others.min_by_key(|told| (zone_of(&told.node) != zone_of(node), told.sent));
        if let Some(told) = nearest.filter(|_| is_full) {
            told.sent += 1;
            return Err(told.node.clone());
        }
        let number = places.next;
        places.next += 1;
        places.below.push(Told { node: node.clone(), number, sent: 0 });
        Ok(Place { branch: self.clone(), number })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.branch.places().below.retain(|told| told.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn member(node: &str, zone: &str) -> Member {
        Member {
            node: name(node),
            epoch: 1,
            address: ([127, 0, 0, 1], 1).into(),
            roles: Vec::new(),
            zone: zone.into(),
            public_url: String::new(),
            state: Default::default(),
            program: String::new(),
            load: 0.0,
            is_connected: true,
            protocol: Some(3),
        }
    }

    #[test]
    fn who_finds_no_place_is_sent_to_somebody_near_who_has_one() {
        let members = ["a", "b", "c", "d", "e", "f"].map(|node| member(node, if node < "c" { "east" } else { "west" }));
        let branch = Branch::default();
        let enter = |node: &str, insists| branch.enter((&name(node), insists), 2, &members);
        let (first, second) = (enter("a", false).ok(), enter("c", false).ok());
        assert!(first.is_some() && second.is_some());
        let sent = |node: &str| enter(node, false).err().map(|to| to.to_string());
        assert_eq!([sent("b"), sent("d")], [Some("a".into()), Some("c".into())], "of its own zone");
        assert_eq!(sent("a"), Some("c".into()), "not to itself");
        let third = enter("d", true).ok();
        assert!(third.is_some(), "it insists");
        assert_eq!([sent("e"), sent("f")], [Some("d".into()), Some("d".into())], "whoever has fewer");
        drop((first, third));
        let again = enter("e", false).ok();
        assert!(again.is_some() && branch.around().1 == [name("c"), name("e")]);
    }

    #[test]
    fn the_way_from_the_stream_is_known() {
        let branch = Branch::default();
        assert_eq!(branch.path(&name("me")), [name("me")]);
        branch.hang((vec![name("root"), name("a")], true));
        assert!(!branch.has_frames());
        assert_eq!(branch.path(&name("me")), ["root", "a", "me"].map(name));
        branch.root();
        assert!(branch.has_frames() && branch.around().0.is_empty());
    }
}
