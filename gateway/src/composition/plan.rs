//! What needs what: the parts of a route as a graph without circles, worked out when the configuration is built.
//!
//! Not here: running it (`graph.rs`), what is wrong with one that is typed (`config/graph.rs`).

use super::{Part, each::Join, rpc::Rpc, write::Write};
use crate::auth::policy::{Input, Policy};

/// One part among the others.
pub struct Node {
    /// What it asks for.
    pub part: Part,
    /// For each element of a list, instead of once.
    pub join: Option<Join>,
    /// The method that it calls by gRPC, if it does.
    pub rpc: Option<Box<Rpc>>,
    /// What it changes, if it is the composition's write.
    pub write: Option<Box<Write>>,
    /// When it is asked for at all.
    pub when: Option<Policy>,
    /// The parts that must be there before, by index.
    pub needs: Box<[usize]>,
    /// Those that must be over before, there or not, by index.
    pub after: Box<[usize]>,
    /// What of its answer others, conditions and header fields are written from.
    pub shows: Box<[Input]>,
}

impl Node {
    /// What it is written from.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        let of_write = self.write.iter().flat_map(|write| write.inputs());
        let of_message = self.rpc.iter().flat_map(|rpc| rpc.inputs());
        self.part.inputs().chain(of_write).chain(of_message)
    }

    fn reads_body(&self) -> bool {
        self.inputs().any(|input| matches!(input, Input::Body(_)))
    }
}

/// The parts of a route, in the order typed.
pub struct Plan {
    pub(super) nodes: Box<[Node]>,
    /// For each part those that need it.
    pub(super) followers: Box<[Box<[usize]>]>,
    /// Whether all are asked at once and whole: nothing needs, joins or looks into anything.
    pub(super) is_flat: bool,
    /// Whether the write is written from the client's body.
    pub(super) reads_body: bool,
}

impl Plan {
    /// The one write, if there is one.
    pub(super) fn write(&self) -> Option<&Write> {
        if self.is_flat {
            return None;
        }
        self.nodes.iter().find_map(|node| node.write.as_deref())
    }

    /// Of `nodes`, which need each other in no circle.
    #[must_use]
    pub fn new(nodes: Vec<Node>) -> Self {
        let followers = (0..nodes.len()).map(|index| followers(&nodes, index)).collect();
        let alone = |node: &Node| {
            node.write.is_none()
                && node.rpc.is_none()
                && node.needs.is_empty()
                && node.shows.is_empty()
                && node.when.is_none()
                && node.join.is_none()
        };
        let reads_body = nodes.iter().any(Node::reads_body);
        Plan { is_flat: nodes.iter().all(alone), reads_body, nodes: nodes.into(), followers }
    }
}

fn followers(nodes: &[Node], index: usize) -> Box<[usize]> {
    let needing = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.needs.contains(&index) || node.after.contains(&index));
    needing.map(|(follower, _)| follower).collect()
}
