//! The order of parts: circles, what must be there by what need not be, and ways through the graph that take too long.
//!
//! Not here: what each part needs (`graph.rs`), running it (`composition/graph.rs`).

use std::{collections::BTreeSet, time::Duration};

use super::{build::Builder, graph::Parts};
use crate::{
    auth::policy::{Input, Policy},
    composition::Node,
    mistake::Mistake,
};

impl Builder<'_> {
    /// What can never come out right: circles, what must be there by what need not be, too many, too slow.
    pub(super) fn check_order(&mut self, nodes: &[Node], parts: &Parts<'_>) {
        if let Some(circle) = circle(nodes) {
            let names: Vec<String> =
                circle.iter().map(|index| format!("`{}`", parts.names[*index])).collect();
            let message = format!(
                "route `{}`: parts need each other in a circle: {}",
                parts.typed.path,
                names.join(" needs ")
            );
            let at = format!("{}.{}:", parts.at, parts.names[circle[0]]);
            return self
                .mistakes
                .add(Mistake::new(at, message).expected("parts that come one after the other"));
        }
        let sure = |index: usize| {
            let typed = parts.of(index);
            !typed.optional && typed.when.is_none()
        };
        for (index, node) in nodes.iter().enumerate().filter(|(index, _)| !parts.of(*index).optional) {
            let Some(unsure) = node.needs.iter().find(|need| !sure(**need)) else { continue };
            let message = format!(
                "{} is required and needs `{}`, which may be missing",
                parts.place(index),
                parts.names[*unsure]
            );
            let mistake = Mistake::new(format!("{}.{}:", parts.at, parts.names[index]), message);
            let help = match &node.write {
                Some(_) => "what a write is made of must be there: leave `optional` or `when` out there",
                None => "write `optional: true` here as well",
            };
            self.mistakes.add(mistake.help(help));
        }
        for (index, node) in nodes.iter().enumerate() {
            let implied = |name: &String| {
                node.part
                    .inputs()
                    .chain(node.when.iter().flat_map(Policy::inputs))
                    .any(|input| matches!(input, Input::Part { part, .. } if part == name))
                    || node.join.as_ref().is_some_and(|join| parts.names[join.list] == name)
            };
            let twice = parts.of(index).needs.iter().position(implied);
            if let Some(number) = twice {
                let at = format!("{}[{number}]", parts.at(index, "needs"));
                let message = format!("{} needs it already, since it speaks of it", parts.place(index));
                self.mistakes.add(Mistake::new(at, message).help("leave it out"));
            }
        }
        self.warn_of_time(nodes, parts);
    }

    /// Parts that may take longer, one after the other, than there is time.
    fn warn_of_time(&self, nodes: &[Node], parts: &Parts<'_>) {
        let times: Vec<Duration> = (0..nodes.len())
            .map(|index| parts.of(index).timeout.map_or(Duration::ZERO, |timeout| timeout.0))
            .collect();
        let (longest, way) = longest(nodes, &times);
        if longest > parts.typed.timeout.0 && way.len() > 1 {
            let names: Vec<&str> = way.iter().map(|index| parts.names[*index]).collect();
            tracing::warn!(
                "route `{}`: its parts {} may take {longest:?} one after the other, and it has {:?}",
                parts.typed.path,
                names.join(", "),
                parts.typed.timeout.0
            );
        }
    }
}

/// The first circle, beginning and ending with the same.
fn circle(nodes: &[Node]) -> Option<Vec<usize>> {
    let mut left: BTreeSet<usize> = (0..nodes.len()).collect();
    while let Some(free) =
        left.iter().copied().find(|index| nodes[*index].needs.iter().all(|need| !left.contains(need)))
    {
        left.remove(&free);
    }
    // Each that is left needs another that is left: whoever follows comes around.
    let mut way = vec![*left.first()?];
    loop {
        let last = way[way.len() - 1];
        let next = nodes[last].needs.iter().copied().find(|need| left.contains(need))?;
        if let Some(begin) = way.iter().position(|index| *index == next) {
            way.push(next);
            return Some(way.split_off(begin));
        }
        way.push(next);
    }
}

/// The longest way through the graph, and how long it takes.
fn longest(nodes: &[Node], times: &[Duration]) -> (Duration, Vec<usize>) {
    let mut best: Vec<Option<(Duration, Vec<usize>)>> = vec![None; nodes.len()];
    while best.iter().any(Option::is_none) {
        for (index, node) in nodes.iter().enumerate() {
            if best[index].is_some() || node.needs.iter().any(|need| best[*need].is_none()) {
                continue;
            }
            let before = node.needs.iter().filter_map(|need| best[*need].clone());
            let (time, mut way) = before.max_by_key(|(time, _)| *time).unwrap_or_default();
            way.push(index);
            best[index] = Some((time + times[index], way));
        }
    }
    best.into_iter().flatten().max_by_key(|(time, _)| *time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::config::{logged::logged_by, wrong_meanings::route};

    /// What is logged while a route of these parts is built, which has a second.
    fn logged(parts: &str) -> String {
        logged_by(&route(&format!("path: /it\nauth: none\ntimeout: 1s\ncompose:\n{parts}")))
    }

    #[test]
    fn parts_that_may_take_longer_than_their_route_are_warned_of_with_the_way_that_does() {
        let a = "  a: { get: order/a, timeout: 600ms }\n";
        let after = |time: &str| format!("{a}  b: {{ get: \"order/b/{{a.id}}\", timeout: {time} }}\n");
        let told = logged(&after("500ms"));
        assert!(told.contains("WARN") && told.contains("its parts a, b may take 1.1s"), "{told}");
        assert!(told.contains("and it has 1s"), "{told}");
        assert_eq!(logged(&after("400ms")), "", "just as long");
        assert_eq!(logged(&format!("{a}  b: {{ get: order/b, timeout: 600ms }}\n")), "", "side by side");
    }
}
