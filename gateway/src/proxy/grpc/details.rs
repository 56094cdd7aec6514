//! Why a service refuses, where it says so for machines: the reason in the `google.rpc.ErrorInfo` that comes with the status, in
//! `grpc-status-details-bin` (gRPC, "Richer error model"; AIP-193).
//!
//! Bounded, and believed only where it is plain: one field that is Base64 and short, a `google.rpc.Status` of the very status
//! that ended the call, and one `ErrorInfo` in it. Of anything else there is no reason, and the status alone decides.
//! Not here: what a reason becomes (`config.rs`).

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName};
use prost_reflect::prost::Message;

use crate::upstream::GrpcStatus;

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
/// The most that is decoded: as much as many implementations allow for all metadata.
const LONGEST: usize = 8 * 1024;
/// Receivers must take it with and without padding (gRPC over HTTP2, "Requests").
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `google.rpc.Status`, but for what is said to people.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "prost_reflect::prost")]
struct Said {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "prost_reflect::prost")]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`, but for its metadata.
#[derive(Clone, PartialEq, Message)]
#[prost(prost_path = "prost_reflect::prost")]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
}

/// The reason that these fields give for `status`.
pub(super) fn reason(status: GrpcStatus, fields: &HeaderMap) -> Option<String> {
    let mut values = fields.get_all(DETAILS).iter();
    let (Some(only), None) = (values.next(), values.next()) else { return None };
    if only.len() > LONGEST {
        return None;
    }
    let said = Said::decode(&*BASE64.decode(only).ok()?).ok()?;
    let number = u32::try_from(said.code).ok()?;
    if GrpcStatus::of_number(number) != Some(status) {
        return None;
    }
    let mut infos = said.details.iter().filter(|detail| detail.type_url == ERROR_INFO);
    let (Some(only), None) = (infos.next(), infos.next()) else { return None };
    ErrorInfo::decode(&*only.value).ok().map(|info| info.reason)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn info(reason: &str) -> Detail {
        let value = ErrorInfo { reason: reason.to_owned() }.encode_to_vec();
        Detail { type_url: ERROR_INFO.to_owned(), value }
    }

    fn encoded(code: i32, details: Vec<Detail>) -> String {
        BASE64.encode(Said { code, details }.encode_to_vec())
    }

    fn read(values: &[&str]) -> Option<String> {
        let fields = values.iter().map(|value| (DETAILS, HeaderValue::from_str(value).unwrap()));
        reason(GrpcStatus::InvalidArgument, &fields.collect())
    }

    #[test]
    fn the_reason_is_that_of_the_only_error_info_of_this_status() {
        let other = Detail { type_url: "type.googleapis.com/google.rpc.Help".to_owned(), value: vec![0xff] };
        let plain = encoded(3, vec![other, info("KEY_REUSED")]);
        assert_eq!(read(&[&plain]).as_deref(), Some("KEY_REUSED"));
        assert_eq!(read(&[plain.trim_end_matches('=')]).as_deref(), Some("KEY_REUSED"), "without padding");
    }

    #[test]
    fn whatever_is_not_plain_says_nothing() {
        let right = encoded(3, vec![info("A")]);
        let long = encoded(3, vec![info(&"A".repeat(LONGEST))]);
        let broken = Detail { type_url: ERROR_INFO.to_owned(), value: vec![0x0a, 0x05, b'A'] };
        for (name, values) in [
            ("nothing", vec![]),
            ("two fields", vec![&*right, &*right]),
            ("two in one", vec![&*format!("{right},{right}")]),
            ("another status", vec![&*encoded(5, vec![info("A")])]),
            ("no status at all", vec![&*encoded(0, vec![info("A")])]),
            ("a negative one", vec![&*encoded(-3, vec![info("A")])]),
            ("two reasons", vec![&*encoded(3, vec![info("A"), info("B")])]),
            ("no reason", vec![&*encoded(3, vec![])]),
            ("a broken reason", vec![&*encoded(3, vec![broken])]),
            ("no Base64", vec!["?"]),
            ("no message", vec![&*BASE64.encode([0xff, 0xff])]),
            ("too long", vec![&*long]),
        ] {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(read(&values), None, "{name}");
        }
    }
}
