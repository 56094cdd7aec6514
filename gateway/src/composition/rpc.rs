//! A part that calls a method of gRPC: its message, written for each request from what the request and other parts hold.
//!
//! What the call comes to is told as the status of HTTP that it stands for, so that a composition makes the same of it as of any
//! other part. A value that the message cannot hold is the client's mistake where the client has sent it, and the service's where
//! another part had it.
//! Not here: messages, frames and statuses (`proxy/grpc/`), what of it can never come out right (`config/rpc.rs`).

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use super::{
    part::{Fate, From, Got, Part},
    written::Written,
};
use crate::{
    auth::policy::{Facts, Input, strict_json},
    deadline::Deadline,
    error::Code,
    handler::Admitted,
    proxy::grpc::{Grpc, Misfit},
    upstream::{Fault, GrpcStatus, Reason},
};

/// A method, and the message that it is called by.
pub struct Rpc {
    /// The method.
    pub grpc: Grpc,
    /// The message as JSON.
    pub message: Written,
}

impl Rpc {
    /// What its message is written from.
    pub fn inputs(&self) -> Vec<&Input> {
        self.message.all_inputs()
    }

    /// Its message for one request, framed; `body` is the client's.
    pub(super) fn framed(
        &self,
        part: &Part,
        fates: &[Option<Fate>],
        facts: &Facts<'_>,
        body: &str,
    ) -> Result<Bytes, Fault> {
        let mut json = BytesMut::with_capacity(256);
        self.message.write(fates, facts, body, &mut json).map_err(|input| part.unwritable(input))?;
        let json = strict_json(&json).map_err(|wrong| part.fault(Reason::Malformed, &wrong.to_string()))?;
        self.grpc.framed(json).map_err(|misfit| self.misfit(part, &misfit))
    }

    fn misfit(&self, part: &Part, misfit: &Misfit) -> Fault {
        let inputs = self.message.at(misfit.path()).all_inputs();
        let of_part = inputs.is_empty() || inputs.iter().any(|input| matches!(input, Input::Part { .. }));
        let reason = if of_part { Reason::Malformed } else { Reason::Request(Code::BadRequest) };
        part.fault(reason, &format!("part {}: its message: {}", part.name(), misfit.detail()))
    }

    /// Calls it by `message`, with these fields, before `deadline`; `sending` is told of each attempt.
    pub(super) async fn call(
        &self,
        part: &Part,
        message: Bytes,
        fields: &[(HeaderName, HeaderValue)],
        admitted: &Admitted,
        deadline: Deadline,
        sending: &(dyn Fn() + Send + Sync),
    ) -> Result<Got, Fault> {
        let json = self.grpc.ask(part.upstream(), message, fields, admitted, deadline, sending).await?;
        Ok(Got { json, from: From::Service, lifetime: None })
    }
}

/// The fault by the status of HTTP that its own stands for.
pub(super) fn as_http(fault: Fault) -> Fault {
    let reason = match fault.reason {
        Reason::Grpc(GrpcStatus::DeadlineExceeded) => Reason::Timeout,
        Reason::Grpc(status) => Reason::Status(status.code().status()),
        other => other,
    };
    Fault { reason, ..fault }
}
