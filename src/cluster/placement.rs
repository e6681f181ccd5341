//! Where things with a key are: on the node that a hash of both chooses among those that may have it (rendezvous hashing), so that a
//! node that comes or goes moves only what it takes or had. Who really has something says its lease; this is where one looks first.
use sha2::{Digest, Sha256};

use super::members::{Member, State};
use crate::domain::cluster::{NodeName, Role};

/// How much this node is this key's; the same in every release.
fn weight(key: &str, node: &NodeName) -> [u8; 32] {
    Sha256::new().chain_update(node.as_str()).chain_update([0]).chain_update(key).finalize().into()
}

/// The node that a key belongs to, among those that take this role: of those that the catalog answers, if there are any.
pub fn owner(key: &str, role: Role, members: &[Member]) -> Option<NodeName> {
    let does_well = |member: &&Member| member.takes(role) && member.state == State::Up;
    let is_any_well = members.iter().any(|member| does_well(&member));
    let able = members.iter().filter(|member| if is_any_well { does_well(member) } else { member.takes(role) });
    able.max_by_key(|member| weight(key, &member.node)).map(|member| member.node.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize) -> Vec<Member> {
        let member = |number: usize| Member {
            node: format!("node-{number}").parse().unwrap(),
            epoch: 1,
            address: "192.0.2.1:4700".parse().unwrap(),
            roles: Role::ALL.to_vec(),
            zone: String::new(),
            public_url: String::new(),
            state: State::Up,
            program: String::new(),
            load: 0.0,
            is_connected: true,
            protocol: None,
        };
        (0..count).map(member).collect()
    }

    #[test]
    fn keys_move_only_with_their_node() {
        let mut nodes = members(5);
        let keys: Vec<String> = (0..2000).map(|number| format!("upload/{number}")).collect();
        let owners =
            |nodes: &[Member]| keys.iter().map(|key| owner(key, Role::Api, nodes).unwrap()).collect::<Vec<_>>();
        let before = owners(&nodes);
        for node in &nodes {
            let share = before.iter().filter(|owner| **owner == node.node).count();
            assert!((320..=480).contains(&share), "{share} of 2000 on {}", node.node);
        }
        let gone = nodes.remove(2).node;
        for (was, is) in before.iter().zip(owners(&nodes)) {
            assert!(*was == is || *was == gone, "{was} to {is}");
            assert_ne!(is, gone);
        }
        nodes[0].state = State::Draining;
        nodes[1].roles = vec![Role::Edge];
        let rest: Vec<&NodeName> = nodes[2..].iter().map(|node| &node.node).collect();
        assert!(owners(&nodes).iter().all(|owner| rest.contains(&owner)));
        assert_eq!(owner("x", Role::Api, &[]), None);
    }

    #[test]
    fn every_release_agrees() {
        assert_eq!(owner("upload/upl_1", Role::Api, &members(5)).unwrap().as_str(), "node-4");
    }
}
