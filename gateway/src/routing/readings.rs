//! Whether a path that matches one route could be read as the path of a stricter one beside it.
//!
//! The gateway compares paths byte for byte. A service may be more lenient: take `%65` for `e` (RFC 3986 section 6.2.2.2),
//! leave `;a=b` out of a segment (section 3.3), look neither at case nor at a slash at the end. With `/orders/{id}` beside
//! `/orders/export`, the path `/orders/%65xport` would then be authorized as the one and answered as the other. So where a
//! parameter stands beside something stricter, the path is read again as leniently as that, and is nobody's when the two
//! readings are of different routes.
//!
//! Which routes that concerns is known when they are added; the paths of all others are read once.
//! Not here: paths that nobody should send (`path.rs`).

use std::collections::HashMap;

use super::path::leniently;

/// All templates as a lenient reader has them.
#[derive(Default)]
pub(super) struct Readings {
    paths: matchit::Router<usize>,
    /// By its reading, the first template that has it.
    firsts: HashMap<String, usize>,
    /// By the number of a template: the first that has the same reading, and whether something stricter stands beside it.
    templates: Vec<(usize, bool)>,
    /// By what stands before it, the segments that differ from each other there.
    places: HashMap<String, Place>,
}

/// Whether some template has a literal in one place, and which have a parameter or `{*rest}` there, until one has.
#[derive(Default)]
struct Place {
    literal: bool,
    parameters: Vec<usize>,
}

impl Readings {
    /// Adds the next template, its parameters numbered.
    ///
    /// # Errors
    /// When a lenient reader can neither tell it from another nor take it for the same.
    pub(super) fn add(&mut self, template: &str) -> Result<(), matchit::InsertError> {
        let (number, read) = (self.templates.len(), leniently(template));
        let first = match self.firsts.get(&read) {
            Some(first) => *first,
            None => {
                self.paths.insert(&read, number)?;
                number
            }
        };
        self.templates.push((first, false));
        self.place(number, &read);
        self.firsts.insert(read, first);
        Ok(())
    }

    fn place(&mut self, number: usize, read: &str) {
        let ends = read.match_indices('/').map(|(at, _)| at);
        for (at, segment) in ends.zip(read.split('/').skip(1)) {
            let place = self.places.entry(read[..at].to_owned()).or_default();
            if segment.starts_with('{') {
                place.parameters.push(number);
            } else {
                place.literal = true;
            }
            if place.literal {
                place.parameters.drain(..).for_each(|number| self.templates[number].1 = true);
            }
        }
    }

    /// Whether `path`, which matches the template of that number, could be read as that of a stricter one.
    pub(super) fn differ(&self, number: usize, path: &str) -> bool {
        let (first, beside) = self.templates[number];
        beside && self.paths.at(&leniently(path)).is_ok_and(|other| *other.value != first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATES: [&str; 12] = [
        "/orders/{p0}",
        "/orders/export",
        "/orders/{p0}/lines",
        "/files/{*p0}",
        "/files/secret/{p0}",
        "/users/{p0}",
        "/users/{p0}/",
        "/users/exportAll",
        "/tags/{p0}",
        "/a:b/{p0}",
        "/calls/{p0}",
        "/calls/all:stop",
    ];

    fn differ(path: &str) -> bool {
        // In either order: what is stricter may come later.
        let both = [TEMPLATES.to_vec(), TEMPLATES.iter().rev().copied().collect()].map(|templates| {
            let (mut exact, mut readings) = (matchit::Router::new(), Readings::default());
            for (number, template) in templates.iter().enumerate() {
                exact.insert(*template, number).unwrap();
                readings.add(template).unwrap();
            }
            readings.differ(*exact.at(path).unwrap().value, path)
        });
        assert_eq!(both[0], both[1], "{path}");
        both[0]
    }

    #[test]
    fn another_spelling_of_a_stricter_route_is_not_that_of_a_parameter() {
        for path in [
            "/orders/%65xport",
            "/orders/%45xport",
            "/orders/export;x=1",
            "/orders/export%3Bx",
            "/orders/export;",
            "/orders/Export",
            "/files/%73ecret/1",
            "/files/secret;a/1",
            "/files/secret/1/",
            "/files/SECRET/1",
            "/users/exportall",
            "/users/exportAll/",
            "/calls/all%3Astop",
            "/calls/all%3astop",
        ] {
            assert!(differ(path), "{path}");
        }
    }

    #[test]
    fn what_no_stricter_route_could_have_passes() {
        for path in [
            "/orders/%65xports",
            "/orders/99;x=1",
            "/orders/export",
            "/orders/Export/lines",
            "/orders/caf%C3%A9",
            "/orders/%ff",
            "/files/a/b/",
            "/files/Secret/1/2",
            "/users/7/",
            "/users/7",
            "/tags/%65xport;x",
            "/a:b/%61",
            "/calls/all;stop",
        ] {
            assert!(!differ(path), "{path}");
        }
    }
}
