//! `Composition-Status`: what became of each part, as a structured-field list of tokens with parameters (RFC 9651).

use http::{HeaderName, HeaderValue};

use super::part::{Asked, From, Got};
use crate::upstream::Reason;

pub(super) const NAME: HeaderName = HeaderName::from_static("composition-status");

/// The list so far.
pub(super) struct Status(String);

impl Status {
    /// An empty one, for so many parts.
    pub(super) fn of(parts: usize) -> Self {
        Status(String::with_capacity(parts * 32))
    }

    /// One more member: `deliveryInfo;s=missing;reason=timeout;t=1000`. No formatting machinery: this runs for every part.
    pub(super) fn add(&mut self, part: &str, asked: &Asked) {
        let out = &mut self.0;
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(part);
        let (state, age) = match &asked.answer {
            Ok(Got { from: From::Service, .. }) => (";s=ok", None),
            Ok(Got { from: From::Kept(age), .. }) => (";s=hit", Some(age)),
            Ok(Got { from: From::Stale(age, _), .. }) => (";s=stale", Some(age)),
            Err(_) => (";s=missing", None),
        };
        out.push_str(state);
        if let Some(fault) = asked.fault() {
            out.push_str(";reason=");
            out.push_str(fault.reason.name());
            if let Reason::Status(status) = fault.reason
                && fault.reason.name() == "status"
            {
                out.push_str(";code=");
                out.push_str(status.as_str());
            }
        }
        if asked.fell_back() {
            out.push_str(";fallback"); // a parameter without a value is true (RFC 9651 section 3.1.2)
        }
        if let Some(age) = age {
            out.push_str(";age=");
            out.push_str(itoa::Buffer::new().format(age.as_secs()));
        }
        out.push_str(";t=");
        out.push_str(itoa::Buffer::new().format(asked.took.as_millis()));
    }

    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::try_from(self.0).expect("part names are tokens, checked at config build")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{composition::part::Standing, upstream::Fault};

    fn got(from: From) -> Result<Got, Fault> {
        Ok(Got { json: "{}".into(), from, lifetime: None })
    }

    #[test]
    fn each_part_is_one_member_that_tells_how_it_went() {
        let mut status = Status::of(4);
        let fault = |reason| Err(Fault::new("delivery", reason, ""));
        let asked = |answer| Asked { answer, fallback: None, took: Duration::from_millis(12) };
        status.add("orderInfo", &asked(got(From::Service)));
        status.add("deliveryInfo", &asked(fault(Reason::Timeout)));
        status.add("billInfo", &asked(fault(Reason::Status(http::StatusCode::INTERNAL_SERVER_ERROR))));
        let text = "orderInfo;s=ok;t=12, deliveryInfo;s=missing;reason=timeout;t=12, billInfo;s=missing;reason=status;code=500;t=12";
        assert_eq!(status.value(), text);
        let mut status = Status::of(4);
        let stood_in = Asked { fallback: Some("[]".into()), ..asked(fault(Reason::Timeout)) };
        status.add("deliveryInfo", &stood_in);
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
}
