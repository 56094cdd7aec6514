//! What a call of gRPC comes to: its status, which stands in trailers and not where HTTP has one (gRPC over HTTP2,
//! "Responses"), and what that says about the endpoint.
//!
//! Not here: messages and their frames (`proxy/grpc/`).

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode, Version, response::Parts};
use http_body_util::BodyExt;

use super::{Fault, Reason, Upstream, json::retry_after};
use crate::{
    body::{Body, Response},
    deadline::Deadline,
    error::Code,
};

/// `grpc-status`: the number of a [`GrpcStatus`].
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

macro_rules! statuses {
    ($($number:literal $name:ident $text:literal $code:ident $seen:ident;)*) => {
        /// What a call of gRPC ended in, unless it went well (gRPC, "Status codes and their use").
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum GrpcStatus { $(#[doc = $text] $name,)* }
        impl GrpcStatus {
            /// Every one there is.
            pub const ALL: &'static [GrpcStatus] = &[$(GrpcStatus::$name),*];
            /// The one of this number; one that nobody knows is `UNKNOWN`. None for 0, which is OK.
            #[must_use]
            pub fn of_number(number: u32) -> Option<Self> {
                match number { 0 => None, $($number => Some(GrpcStatus::$name),)* _ => Some(GrpcStatus::Unknown) }
            }
            /// As gRPC calls it.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(GrpcStatus::$name => $text,)* } }
            /// What a client of HTTP is told.
            #[must_use]
            pub fn code(self) -> Code { match self { $(GrpcStatus::$name => Code::$code,)* } }
            /// What it counts as for breakers, retries and metrics: whether the service is to blame.
            fn seen(self) -> StatusCode { match self { $(GrpcStatus::$name => StatusCode::$seen,)* } }
        }
    };
}

statuses! {
    1 Cancelled "CANCELLED" UpstreamFailed BAD_REQUEST;
    2 Unknown "UNKNOWN" UpstreamFailed INTERNAL_SERVER_ERROR;
    3 InvalidArgument "INVALID_ARGUMENT" BadRequest BAD_REQUEST;
    4 DeadlineExceeded "DEADLINE_EXCEEDED" UpstreamTimeout GATEWAY_TIMEOUT;
    5 NotFound "NOT_FOUND" NotFound BAD_REQUEST;
    6 AlreadyExists "ALREADY_EXISTS" Conflict BAD_REQUEST;
    7 PermissionDenied "PERMISSION_DENIED" Forbidden BAD_REQUEST;
    8 ResourceExhausted "RESOURCE_EXHAUSTED" RateLimited TOO_MANY_REQUESTS;
    9 FailedPrecondition "FAILED_PRECONDITION" Conflict BAD_REQUEST;
    10 Aborted "ABORTED" Conflict BAD_REQUEST;
    11 OutOfRange "OUT_OF_RANGE" UpstreamFailed BAD_REQUEST;
    12 Unimplemented "UNIMPLEMENTED" UpstreamFailed BAD_REQUEST;
    13 Internal "INTERNAL" UpstreamFailed INTERNAL_SERVER_ERROR;
    14 Unavailable "UNAVAILABLE" UpstreamUnavailable SERVICE_UNAVAILABLE;
    15 DataLoss "DATA_LOSS" UpstreamFailed INTERNAL_SERVER_ERROR;
    16 Unauthenticated "UNAUTHENTICATED" UpstreamFailed BAD_REQUEST;
}

impl GrpcStatus {
    /// What these fields say: nothing, that it went well (`Some(None)`), or this. Whatever is no number is `UNKNOWN`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Option<Self>> {
        let mut values = headers.get_all(GRPC_STATUS).iter();
        let number = match (values.next(), values.next()) {
            (None, _) => return None,
            (Some(only), None) => only.to_str().ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit())),
            (Some(_), Some(_)) => None,
        };
        let number = number.and_then(|text| text.parse().ok());
        Some(number.map_or(Some(GrpcStatus::Unknown), GrpcStatus::of_number))
    }

    /// What an answer of HTTP stands for that says nothing in the way of gRPC, such as that of a proxy (gRPC, "HTTP to gRPC
    /// Status Code Mapping").
    #[must_use]
    pub fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => GrpcStatus::Internal,
            401 => GrpcStatus::Unauthenticated,
            403 => GrpcStatus::PermissionDenied,
            404 => GrpcStatus::Unimplemented,
            429 | 502..=504 => GrpcStatus::Unavailable,
            _ => GrpcStatus::Unknown,
        }
    }

    /// Whether the service answered what was asked, as it would with a status below 500, and did not fail.
    #[must_use]
    pub fn is_answer(self) -> bool {
        self.code().status().is_client_error()
    }

    /// Whether the service failed, as it would with a status of 5xx.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self.seen().is_server_error()
    }
}

/// The status that an answer counts as: that of gRPC where there is nothing else to it ("Trailers-Only"). `over`: it has no
/// body.
pub(super) fn seen(version: Version, status: StatusCode, headers: &HeaderMap, over: bool) -> StatusCode {
    if version != Version::HTTP_2 || !over {
        return status;
    }
    GrpcStatus::of(headers).flatten().map_or(status, GrpcStatus::seen)
}

/// Whether trailers say that the service failed after its answer had begun.
pub(super) fn says_failure(trailers: &HeaderMap) -> bool {
    GrpcStatus::of(trailers).flatten().is_some_and(GrpcStatus::is_failure)
}

/// A whole answer: what the service said before its body, the body, and what it said after it.
#[derive(Debug)]
pub struct Whole {
    /// The status of HTTP and the header section.
    pub head: Parts,
    /// All of it.
    pub body: Bytes,
    /// The trailer section; empty where there is none.
    pub trailers: HeaderMap,
}

impl Whole {
    /// When to ask again, if the service says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.trailers).or_else(|| retry_after(&self.head.headers))
    }
}

impl Upstream {
    /// Reads an answer of this service to its end, trailers included: of at most `max_size` bytes, and before `deadline`.
    ///
    /// # Errors
    /// A [`Fault`] when it is larger, breaks off, or does not end in time.
    pub async fn read_whole(
        &self,
        response: Response,
        deadline: Deadline,
        max_size: u64,
    ) -> Result<Whole, Fault> {
        let (head, body) = response.into_parts();
        match deadline.bound(pin!(self.gather(body, max_size))).await {
            Ok(read) => read.map(|(body, trailers)| Whole { head, body, trailers }),
            Err(_elapsed) => Err(self.fault(Reason::Timeout, "the answer did not end before the deadline")),
        }
    }

    async fn gather(&self, mut body: Body, max_size: u64) -> Result<(Bytes, HeaderMap), Fault> {
        let (mut all, mut trailers) = (BytesMut::new(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::of_body(self.name(), &error))?;
            match frame.into_data() {
                Ok(data) if (all.len() + data.len()) as u64 > max_size => {
                    return Err(self.fault(Reason::TooLarge, format!("more than {max_size} bytes")));
                }
                Ok(data) => all.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        Ok((all.freeze(), trailers))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn said(values: &[&'static str]) -> Option<Option<GrpcStatus>> {
        let fields = values.iter().map(|value| (GRPC_STATUS, HeaderValue::from_static(value)));
        GrpcStatus::of(&fields.collect())
    }

    fn head(version: Version, status: &'static str) -> Parts {
        let answer = http::Response::builder().version(version).header(GRPC_STATUS, status);
        answer.body(()).unwrap().into_parts().0
    }

    fn counted(head: &Parts, over: bool) -> StatusCode {
        seen(head.version, head.status, &head.headers, over)
    }

    #[test]
    fn a_status_is_one_number_and_all_else_is_unknown() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&["0"]), Some(None));
        assert_eq!(said(&["5"]), Some(Some(GrpcStatus::NotFound)));
        for odd in [&["17"][..], &["-1"], &["+5"], &[""], &["OK"], &["99999999999"], &["0", "0"]] {
            assert_eq!(said(odd), Some(Some(GrpcStatus::Unknown)), "{odd:?}");
        }
        for (number, status) in (1..).zip(GrpcStatus::ALL) {
            assert_eq!(GrpcStatus::of_number(number), Some(*status));
        }
    }

    #[test]
    fn each_status_becomes_the_one_of_http_that_clients_are_promised() {
        let http = |status: &GrpcStatus| status.code().status().as_u16();
        let all: Vec<u16> = GrpcStatus::ALL.iter().map(http).collect();
        assert_eq!(all, [502, 502, 400, 504, 404, 409, 403, 429, 409, 409, 502, 502, 502, 503, 502, 502]);
        let failures: Vec<&str> =
            GrpcStatus::ALL.iter().filter(|status| status.is_failure()).map(|status| status.name()).collect();
        assert_eq!(failures, ["UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]);
    }

    #[test]
    fn an_answer_without_a_body_counts_by_its_status_of_grpc_and_no_other_does() {
        assert_eq!(counted(&head(Version::HTTP_2, "14"), true), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(counted(&head(Version::HTTP_2, "5"), true), StatusCode::BAD_REQUEST);
        assert_eq!(counted(&head(Version::HTTP_2, "0"), true), StatusCode::OK);
        assert_eq!(counted(&head(Version::HTTP_2, "14"), false), StatusCode::OK, "the trailers decide");
        assert_eq!(counted(&head(Version::HTTP_11, "14"), true), StatusCode::OK);
    }

    #[test]
    fn what_a_proxy_says_in_the_way_of_http_has_a_meaning() {
        let of = |status: u16| GrpcStatus::of_http(StatusCode::from_u16(status).unwrap()).name();
        assert_eq!(
            [400, 401, 403, 404].map(of),
            ["INTERNAL", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"]
        );
        assert_eq!([429, 502, 503, 504].map(of), ["UNAVAILABLE"; 4]);
        assert_eq!([302, 418, 500].map(of), ["UNKNOWN"; 3]);
    }
}
