//! What needs what: the parts of a route as a graph without circles, worked out when the configuration is built.
//!
//! Not here: running it (`graph.rs`), what is wrong with one that is typed (`config/graph.rs`).

use super::{Part, each::Join, write::Write};
use crate::auth::policy::{Input, Policy};

/// One part among the others.
pub struct Node {
    /// What it asks for.
    pub part: Part,
    /// For each element of a list, instead of once.
    pub join: Option<Join>,
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

/// The parts of a route, in the order typed.
pub struct Plan {
    pub(super) nodes: Box<[Node]>,
    /// For each part those that need it.
    pub(super) followers: Box<[Box<[usize]>]>,
    /// Whether all are asked at once and whole: nothing needs, joins or looks into anything.
    pub(super) is_flat: bool,
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
                && node.needs.is_empty()
                && node.shows.is_empty()
                && node.when.is_none()
                && node.join.is_none()
        };
        Plan { is_flat: nodes.iter().all(alone), nodes: nodes.into(), followers }
    }
}

fn followers(nodes: &[Node], index: usize) -> Box<[usize]> {
    let needing = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.needs.contains(&index) || node.after.contains(&index));
    needing.map(|(follower, _)| follower).collect()
}
