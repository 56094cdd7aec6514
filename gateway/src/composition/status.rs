//! `Composition-Status`: what became of each part, as a structured-field list of tokens with parameters (RFC 9651).

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{
    each::Joined,
    part::{Asked, Fate, From, Got},
};
use crate::upstream::{Fault, Reason};

pub(super) const NAME: HeaderName = HeaderName::from_static("composition-status");

/// The list so far.
pub(super) struct Status(String);

impl Status {
    /// An empty one, for so many parts.
    pub(super) fn of(parts: usize) -> Self {
        Status(String::with_capacity(parts * 32))
    }

    /// One more member: `deliveryInfo;s=missing;reason=timeout;t=1000`. No formatting machinery: this runs for every part.
    pub(super) fn add(&mut self, part: &str, fate: &Fate) {
        let out = &mut self.0;
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(part);
        match fate {
            Fate::Asked(asked) => self.add_asked(asked),
            Fate::Joined(joined, took) => self.add_joined(joined, *took),
            Fate::Skipped | Fate::Unwritten(_) => self.0.push_str(";s=skipped"),
        }
    }

    fn add_asked(&mut self, asked: &Asked) {
        let (state, age) = match &asked.answer {
            Ok(Got { from: From::Service, .. }) => (";s=ok", None),
            Ok(Got { from: From::Kept(age), .. }) => (";s=hit", Some(age)),
            Ok(Got { from: From::Stale(age, _), .. }) => (";s=stale", Some(age)),
            Err(_) => (";s=missing", None),
        };
        self.0.push_str(state);
        self.add_reason(asked.fault());
        if asked.fell_back() {
            self.0.push_str(";fallback"); // a parameter without a value is true (RFC 9651 section 3.1.2)
        }
        if let Some(age) = age {
            self.add_number(";age=", age.as_secs().into());
        }
        self.add_number(";t=", asked.took.as_millis());
    }

    /// `cancel;s=unknown;reason=timeout;t=900`: a write that failed, or of which nobody knows whether it did.
    pub(super) fn add_failed(&mut self, part: &str, fault: &Fault, unknown: bool, took: Duration) {
        if !self.0.is_empty() {
            self.0.push_str(", ");
        }
        self.0.push_str(part);
        self.0.push_str(if unknown { ";s=unknown" } else { ";s=failed" });
        self.add_reason(Some(fault));
        self.add_number(";t=", took.as_millis());
    }

    /// `restaurants;s=ok;reason=timeout;failed=2;unknown=1;t=12`, in keys.
    fn add_joined(&mut self, joined: &Joined, took: Duration) {
        self.0.push_str(if joined.is_stale { ";s=stale" } else { ";s=ok" });
        self.add_reason(joined.fault.as_ref());
        for (name, count) in [(";failed=", joined.failed), (";unknown=", joined.unknown)] {
            if count > 0 {
                self.add_number(name, count as u128);
            }
        }
        self.add_number(";t=", took.as_millis());
    }

    fn add_reason(&mut self, fault: Option<&Fault>) {
        let Some(fault) = fault else { return };
        self.0.push_str(";reason=");
        self.0.push_str(fault.reason.name());
        if let Reason::Status(status) = fault.reason
            && fault.reason.name() == "status"
        {
            self.0.push_str(";code=");
            self.0.push_str(status.as_str());
        }
    }

    fn add_number(&mut self, name: &str, number: u128) {
        self.0.push_str(name);
        self.0.push_str(itoa::Buffer::new().format(number));
    }

    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::try_from(self.0).expect("part names are tokens, checked at config build")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composition::part::Standing;

    fn got(from: From) -> Result<Got, Fault> {
        Ok(Got { json: "{}".into(), from, lifetime: None })
    }

    #[test]
    fn each_part_is_one_member_that_tells_how_it_went() {
        let mut status = Status::of(4);
        let fault = |reason| Err(Fault::new("delivery", reason, ""));
        let asked = |answer| Fate::Asked(Asked { answer, fallback: None, took: Duration::from_millis(12) });
        status.add("orderInfo", &asked(got(From::Service)));
        status.add("deliveryInfo", &asked(fault(Reason::Timeout)));
        status.add("billInfo", &asked(fault(Reason::Status(http::StatusCode::INTERNAL_SERVER_ERROR))));
        let text = "orderInfo;s=ok;t=12, deliveryInfo;s=missing;reason=timeout;t=12, billInfo;s=missing;reason=status;code=500;t=12";
        assert_eq!(status.value(), text);
        let mut status = Status::of(4);
        let (answer, took) = (fault(Reason::Timeout), Duration::from_millis(12));
        status.add("deliveryInfo", &Fate::Asked(Asked { fallback: Some("[]".into()), answer, took }));
        assert_eq!(status.value(), "deliveryInfo;s=missing;reason=timeout;fallback;t=12");
        let mut status = Status::of(4);
        let age = Duration::from_millis(31_900);
        status.add("orderInfo", &asked(got(From::Kept(age))));
        status.add("ticketInfo", &asked(got(From::Stale(age, None))));
        let fault = Some(Fault::new("accounting", Reason::Timeout, ""));
        status.add("billInfo", &asked(got(From::Stale(age, Some(Standing { fault, fallback: true })))));
        let text = "orderInfo;s=hit;age=31;t=12, ticketInfo;s=stale;age=31;t=12, billInfo;s=stale;reason=timeout;fallback;age=31;t=12";
        assert_eq!(status.value(), text);
    }

    #[test]
    fn a_join_tells_how_many_keys_it_could_not_have_and_a_skipped_part_that_it_is_skipped() {
        let (mut status, took) = (Status::of(3), Duration::from_millis(7));
        let fault = Some(Fault::new("restaurant", Reason::Timeout, ""));
        status.add("a", &Fate::Joined(Joined { failed: 2, fault, unknown: 1, ..Joined::default() }, took));
        status.add("b", &Fate::Joined(Joined { is_stale: true, ..Joined::default() }, took));
        status.add("c", &Fate::Skipped);
        let text = "a;s=ok;reason=timeout;failed=2;unknown=1;t=7, b;s=stale;t=7, c;s=skipped";
        assert_eq!(status.value(), text);
    }
}
