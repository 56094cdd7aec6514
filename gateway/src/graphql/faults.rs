//! Why services failed under one request, for its line in the access log: each fault once, and no more than fits.
//!
//! Not here: what the client is told about them (`refusal.rs`).

use parking_lot::Mutex;

use super::hash::Hash;
use crate::upstream::Fault;

/// The most faults that a line tells.
const MOST: usize = 8;
/// The most bytes of one fault, so that all are within 1 KiB.
const LONGEST: usize = 120;

/// The faults so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    told: Vec<String>,
    more: bool,
    /// The first document of the request that is not trusted.
    untrusted: Option<String>,
}

impl Faults {
    pub(super) fn add(&self, fault: &Fault) {
        let mut text = fault.to_string();
        text.truncate(text.floor_char_boundary(LONGEST));
        let mut noted = self.0.lock();
        if noted.told.contains(&text) {
            return;
        }
        if noted.told.len() < MOST { noted.told.push(text) } else { noted.more = true }
    }

    /// A document was executed that is not trusted. Its text may hold what is nobody's business, so it is told by its hash.
    pub(super) fn untrusted(&self, text: &str) {
        self.0.lock().untrusted.get_or_insert_with(|| Hash::of(text).short());
    }

    /// The note; none when there is nothing to tell.
    pub(super) fn note(&self) -> Option<String> {
        let noted = self.0.lock();
        let more = if noted.more { "; and more" } else { "" };
        let missing = (!noted.told.is_empty()).then(|| format!("missing: {}{more}", noted.told.join("; ")));
        let untrusted = noted.untrusted.as_ref().map(|hash| format!("untrusted document: {hash}"));
        match (untrusted, missing) {
            (Some(untrusted), Some(missing)) => Some(format!("{untrusted}; {missing}")),
            (untrusted, missing) => untrusted.or(missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Reason;

    #[test]
    fn each_fault_is_told_once() {
        let faults = Faults::default();
        assert_eq!(faults.note(), None);
        for upstream in ["order", "order", "kitchen"] {
            faults.add(&Fault::new(upstream, Reason::Reset, "closed"));
        }
        assert_eq!(faults.note().unwrap(), "missing: order: reset: closed; kitchen: reset: closed");
    }

    #[test]
    fn the_note_is_bounded() {
        let faults = Faults::default();
        for n in 0..100 {
            faults.add(&Fault::new("order", Reason::Reset, format!("{n} {}", "é".repeat(500))));
        }
        let note = faults.note().unwrap();
        assert!(note.len() <= 1_024 && note.ends_with("; and more"), "{note}");
        assert_eq!(note.matches("order: reset").count(), 8);
    }
}
