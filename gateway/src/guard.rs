//! Who may use a route: the token, the scopes, and the rule, each decided as early as it can be.
//!
//! What can be decided from the token and the path is decided before anything is read or asked: 403, or 401 for a caller
//! without a token, whom one could help. A rule over the body reads it (bounded), a rule over a service's answer asks for
//! that first, and a refusal by it is a 404 that looks like that of something that does not exist: whose it is, is nobody
//! else's business.
//! Not here: the policy language and tokens (`auth/`).

use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use crate::{
    auth::{
        Principal, Rule,
        policy::{self, Decision, Input, Policy, Why, strict_json},
    },
    body::{self, Body, BodyError, Request},
    composition::Part,
    contract::{Contract, Head},
    downstream::Downstream,
    error::{Code, Error},
    handler::{Admitted, with_facts},
    upstream::Fault,
};

/// The guard of one route.
#[derive(Default)]
pub struct Guard {
    /// None: `auth: none`.
    rule: Option<Rule>,
    /// What to ask before the decision, on routes that do not compose it anyway.
    ask: Option<Part>,
    /// What else of it is needed, once the caller may.
    also: Box<[Input]>,
    /// What the request must be like, once the caller may send one and before anybody is asked.
    contract: Option<Box<Contract>>,
}

impl Guard {
    /// A guard by `rule`, which may speak of the part `ask`. What `also` names of that part is read even if the rule can do
    /// without it.
    #[must_use]
    pub fn new(rule: Option<Rule>, ask: Option<Part>, also: Box<[Input]>) -> Self {
        Guard { rule, ask, also, contract: None }
    }

    /// The same, for requests that fit this.
    #[must_use]
    pub fn holding_to(self, contract: Option<Contract>) -> Self {
        Guard { contract: contract.map(Box::new), ..self }
    }

    /// Whether it knows who asks.
    #[must_use]
    pub fn knows_callers(&self) -> bool {
        self.rule.is_some()
    }

    fn policy(&self) -> Option<&Policy> {
        self.rule.as_ref()?.policy()
    }

    /// The part that the rule speaks of.
    #[must_use]
    pub fn part(&self) -> Option<&str> {
        self.policy()?.parts().next()
    }

    /// Who asks.
    ///
    /// # Errors
    /// 401 for a bad token, and for none where one is needed; 503 when it cannot be checked.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        from: &Downstream,
    ) -> Result<Option<Arc<Principal>>, Error> {
        match &self.rule {
            Some(rule) => rule.authenticate(headers, from).await,
            None => Ok(None),
        }
    }

    /// Whether the caller may, as far as that can be said before the answer is composed; and what was read of the part that
    /// the guard asks for, if writes need it.
    ///
    /// # Errors
    /// 403, or 401 for nobody; 404 where that would tell too much; 400 when an input is missing; whatever keeps a service from being asked.
    pub async fn authorize(
        &self,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Option<Box<Value>>, Error> {
        let read = self.decide(request, admitted).await?;
        if self.also.is_empty() || request.method().is_safe() {
            return Ok(None);
        }
        Ok(match read {
            Some(read) => Some(Box::new(read)),
            None => Box::pin(self.read_also(admitted)).await.map(Box::new),
        })
    }

    /// What writes need of the part, where the rule could do without. The write does not: half of its time is kept for it.
    async fn read_also(&self, admitted: &Admitted) -> Option<Value> {
        let part = self.ask.as_ref()?;
        let until = admitted.deadline.keeping(admitted.deadline.remaining() / 2);
        let json = part.fetch(&admitted.caller, &admitted.params, until).await.ok()?.json;
        policy::view(&self.also, part.name(), &json).ok()
    }

    async fn decide(&self, request: &mut Request, admitted: &Admitted) -> Result<Option<Value>, Error> {
        let Some(rule) = &self.rule else { return self.check(request, admitted).await.map(|()| None) };
        rule.check_scopes(admitted.caller.principal.as_deref())?;
        let Some(policy) = rule.policy() else { return self.check(request, admitted).await.map(|()| None) };
        match decide(policy, admitted, None, None) {
            // On the heap: few rules need more than a token and a path, and all requests would carry the room for it.
            Decision::Undecided if policy.reads_body() => {
                Box::pin(self.authorize_by_body(rule, policy, request, admitted)).await
            }
            Decision::Undecided => {
                self.check(request, admitted).await?;
                Box::pin(self.ask(policy, None, admitted)).await
            }
            decided => {
                verdict(decided, rule, admitted)?;
                self.check(request, admitted).await.map(|()| None)
            }
        }
    }

    /// Whether the request is what the route takes.
    async fn check(&self, request: &mut Request, admitted: &Admitted) -> Result<(), Error> {
        match &self.contract {
            None => Ok(()),
            Some(contract) if contract.has_body() => Box::pin(check_body(contract, request, admitted)).await,
            Some(contract) => contract.check(&head(request.headers(), admitted), None),
        }
    }

    async fn authorize_by_body(
        &self,
        rule: &Rule,
        policy: &Policy,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Option<Value>, Error> {
        let json = read_json(request).await?;
        policy.check_names(&json)?;
        let decided = decide(policy, admitted, Some(&json), None);
        if decided != Decision::Undecided {
            verdict(decided.clone(), rule, admitted)?;
        }
        if let Some(contract) = &self.contract {
            contract.check(&head(request.headers(), admitted), Some(&json))?;
        }
        match decided {
            Decision::Undecided => self.ask(policy, Some(&json), admitted).await,
            _ => Ok(None),
        }
    }

    /// Asks the service that the rule speaks of. A route that composes that part decides when it is there.
    async fn ask(
        &self,
        policy: &Policy,
        body: Option<&Value>,
        admitted: &Admitted,
    ) -> Result<Option<Value>, Error> {
        let Some(part) = &self.ask else { return Ok(None) };
        let json = part
            .fetch(&admitted.caller, &admitted.params, admitted.deadline)
            .await
            .map_err(Fault::into_error)?
            .json;
        let inputs = policy.inputs().iter().chain(&self.also);
        let value = policy::view(inputs, part.name(), &json).map_err(|error| malformed(part, &error))?;
        hidden(&decide(policy, admitted, body, Some((part.name(), &value))))?;
        Ok(Some(value))
    }

    /// Decides by the answer of a part that is composed.
    ///
    /// # Errors
    /// The 404 of something that does not exist, unless the caller may.
    pub fn decide_by_part(&self, part: &Part, json: &[u8], admitted: &Admitted) -> Result<(), Error> {
        let Some(policy) = self.policy() else { return Ok(()) };
        let value = policy.view(part.name(), json).map_err(|error| malformed(part, &error))?;
        hidden(&decide(policy, admitted, None, Some((part.name(), &value))))
    }
}

/// The body as JSON that everybody reads in the same way. It stays there for the service.
async fn read_json(request: &mut Request) -> Result<Value, Error> {
    if body::is_encoded(request.headers()) {
        // What is read here and what the service decodes might be two bodies.
        let error = Error::new(Code::UnsupportedMediaType, "a body that is read is in a content coding");
        return Err(error.detail("The body must not be in a content coding."));
    }
    if !body::is_plain_json(request.headers()) {
        // A service goes by it: what is JSON here would be a form, or other text, there.
        let error = Error::new(Code::UnsupportedMediaType, "a body that is read is not said to be JSON");
        return Err(error.detail("The body must be JSON: one Content-Type, application/json, in UTF-8."));
    }
    let body = read(std::mem::take(request.body_mut())).await?;
    let json = strict_json(&body)?;
    *request.body_mut() = Body::Full(body);
    Ok(json)
}

async fn check_body(contract: &Contract, request: &mut Request, admitted: &Admitted) -> Result<(), Error> {
    contract.check(&head(request.headers(), admitted), None)?; // what is wrong already needs no body
    let json = read_json(request).await?;
    contract.check(&head(request.headers(), admitted), Some(&json))
}

fn head<'r>(headers: &'r HeaderMap, admitted: &'r Admitted) -> Head<'r> {
    Head { params: &admitted.params, headers }
}

async fn read(body: Body) -> Result<bytes::Bytes, Error> {
    body.collect().await.map_err(|error| match error {
        BodyError::TooLarge(_) => Error::new(Code::BodyTooLarge, error.to_string()),
        BodyError::Stalled(_) => Error::new(Code::RequestTimeout, error.to_string()),
        error => Error::new(Code::BadRequest, error.to_string()),
    })
}

fn malformed(part: &Part, error: &serde_json::Error) -> Error {
    part.malformed(error).into_error()
}

fn decide(
    policy: &Policy,
    admitted: &Admitted,
    body: Option<&Value>,
    part: Option<(&str, &Value)>,
) -> Decision {
    with_facts(&admitted.caller, &admitted.params, body, part, |facts| policy.decide(facts))
}

/// A refusal that the caller may be told of.
fn verdict(decision: Decision, rule: &Rule, admitted: &Admitted) -> Result<(), Error> {
    match decision {
        Decision::Allow => Ok(()),
        Decision::Missing(input, why) => Err(unusable(&input, why)),
        Decision::Refuse | Decision::Undecided => Err(rule.refusal(admitted.caller.principal.as_deref())),
    }
}

/// What the rule needs of the client and cannot use.
fn unusable(input: &str, why: Why) -> Error {
    let (code, detail) = match why {
        Why::Absent => (Code::MissingInput, format!("`{input}` is needed.")),
        Why::Twice => (Code::MissingInput, format!("`{input}` must be given once.")),
        Why::NoText => (Code::BadRequest, format!("`{input}` must be UTF-8, percent-encoded.")),
    };
    Error::new(code, format!("the route's rule cannot use {input}: {why:?}")).detail(detail)
}

/// A refusal that must look as if there were nothing.
fn hidden(decision: &Decision) -> Result<(), Error> {
    match decision {
        Decision::Allow => Ok(()),
        _ => Err(Error::new(Code::NotFound, "refused by the route's rule over a service's answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_what_is_wrong_with_what_it_sent() {
        for (why, code, detail) in [
            (Why::Absent, "missing_input", "`query.consumerId` is needed."),
            (Why::Twice, "missing_input", "`query.consumerId` must be given once."),
            (Why::NoText, "bad_request", "`query.consumerId` must be UTF-8, percent-encoded."),
        ] {
            let error = unusable("query.consumerId", why);
            assert_eq!((error.code().name(), error.client_detail()), (code, detail));
        }
    }
}
