//! `Composition-Status`: what became of each part, as a structured-field list of tokens with parameters (RFC 9651).

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue};

use super::part::Asked;
use crate::upstream::Reason;

pub(super) const NAME: HeaderName = HeaderName::from_static("composition-status");

/// The list so far.
#[derive(Default)]
pub(super) struct Status(String);

impl Status {
    /// One more member: `deliveryInfo;s=missing;reason=timeout;t=1000`.
    pub(super) fn add(&mut self, part: &str, asked: &Asked) {
        let comma = if self.0.is_empty() { "" } else { ", " };
        let _ = match &asked.answer {
            Ok(_) => write!(self.0, "{comma}{part};s=ok"),
            Err(fault) => write!(self.0, "{comma}{part};s=missing;reason={}", fault.reason.name()),
        };
        if let Err(fault) = &asked.answer
            && let Reason::Status(status) = fault.reason
            && fault.reason.name() == "status"
        {
            let _ = write!(self.0, ";code={}", status.as_u16());
        }
        if asked.fallback.is_some() {
            self.0.push_str(";fallback"); // a parameter without a value is true (RFC 9651 section 3.1.2)
        }
        let _ = write!(self.0, ";t={}", asked.took.as_millis());
    }

    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::try_from(self.0).expect("part names are tokens, checked at config build")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::Fault;

    #[test]
    fn each_part_is_one_member_that_tells_how_it_went() {
        let mut status = Status::default();
        let fault = |reason| Err(Fault::new("delivery", reason, ""));
        let asked = |answer| Asked { answer, fallback: None, took: Duration::from_millis(12) };
        status.add("orderInfo", &asked(Ok("{}".into())));
        status.add("deliveryInfo", &asked(fault(Reason::Timeout)));
        status.add("billInfo", &asked(fault(Reason::Status(http::StatusCode::INTERNAL_SERVER_ERROR))));
        let text = "orderInfo;s=ok;t=12, deliveryInfo;s=missing;reason=timeout;t=12, billInfo;s=missing;reason=status;code=500;t=12";
        assert_eq!(status.value(), text);
        let mut status = Status::default();
        let stood_in = Asked { fallback: Some("[]".into()), ..asked(fault(Reason::Timeout)) };
        status.add("deliveryInfo", &stood_in);
        assert_eq!(status.value(), "deliveryInfo;s=missing;reason=timeout;fallback;t=12");
    }
}
