//! What services are told of a caller besides who it is: header fields from claims, computed once for each token or key.
//!
//! Not here: setting them, and removing what a client sent in them (`identity.rs`).

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{config::IdentityConfig, principal::field_value};
use crate::{
    deadline::is_taken,
    identity::{OURS, REQUEST_TIMEOUT},
    mistake::{Mistake, Mistakes, below},
};

/// A header field, and the claim that it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The field. A client's own is removed.
    pub field: HeaderName,
    claim: Vec<String>,
}

impl Told {
    /// What was typed at the key path `at`; what is wrong with it is noted.
    pub(crate) fn build(config: &IdentityConfig, at: &str, mistakes: &mut Mistakes) -> Vec<Self> {
        let at = below(at, "headers");
        let mut built: Vec<Told> = Vec::new();
        for (name, claim) in &config.headers {
            let Some(told) = mistakes.keep(Told::parse(name, claim, &below(&at, name))) else { continue };
            if built.iter().any(|known| known.field == told.field) {
                mistakes.add(Mistake::new(below(&at, name), format!("services are told `{name}` twice")));
            }
            built.push(told);
        }
        built
    }

    fn parse(name: &str, claim: &str, at: &str) -> Result<Self, Mistake> {
        let wrong = |why: &str| {
            let mistake =
                Mistake::new(format!("{at}:"), format!("services cannot be told `{name}`: it {why}"));
            mistake.expected("a field of one's own, like `X-Tenant`")
        };
        let field: HeaderName = name.parse().map_err(|_invalid| wrong("is no header field"))?;
        if name.contains('_') {
            return Err(wrong("is another field to some servers, and the same as with `-` to others"));
        }
        if is_taken(&field) || OURS.contains(&field) || field == REQUEST_TIMEOUT {
            return Err(wrong("means something else already"));
        }
        let path = claim.strip_prefix("claims.").map(|path| path.split('.').map(str::to_owned));
        let path: Vec<String> = path.into_iter().flatten().collect();
        if path.is_empty() || path.iter().any(String::is_empty) {
            let message = format!("`{claim}` is no claim to tell services in `{name}`");
            return Err(Mistake::new(at, message).expected("like `claims.tenant`"));
        }
        Ok(Told { field, claim: path })
    }
}

/// What services are told of a caller with these claims. Nothing of a claim that is not there.
///
/// # Errors
/// When a claim would not mean the same thing once it is the value of a header field.
pub(super) fn fields(
    told: &[Told],
    claims: &Map<String, Value>,
) -> Result<Box<[(HeaderName, HeaderValue)]>, String> {
    let mut fields = Vec::new();
    for Told { field, claim } in told {
        let (first, rest) = claim.split_first().ok_or("no claim")?;
        let found = rest.iter().try_fold(claims.get(first), |at, name| Some(at?.get(name))).flatten();
        let Some(value) = found.filter(|value| !value.is_null()) else { continue };
        let value = text(value).as_deref().and_then(field_value);
        let value =
            value.ok_or_else(|| format!("the claim for `{field}` cannot be sent in a header field"))?;
        fields.push((field.clone(), value));
    }
    Ok(fields.into())
}

/// A scalar, or scalars joined by commas, in none of which is one.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => {
            let one = |item: &Value| {
                let scalar = !item.is_array() && !item.is_null();
                text(item).filter(|text| scalar && !text.is_empty() && !text.contains(','))
            };
            items.iter().map(one).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(claims: &Value) -> Result<Vec<String>, String> {
        let told = Told::parse("X-Tenant", "claims.org.tenant", "").unwrap();
        let fields = fields(&[told], claims.as_object().unwrap())?;
        Ok(fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect())
    }

    #[test]
    fn a_claim_is_told_as_a_field() {
        for (tenant, value) in
            [(json!("acme"), "acme"), (json!(7), "7"), (json!(true), "true"), (json!(["a", 5]), "a,5")]
        {
            assert_eq!(said(&json!({"org": {"tenant": tenant}})).unwrap(), [format!("x-tenant: {value}")]);
        }
        for absent in [json!({}), json!({"org": 5}), json!({"org": {"tenant": null}})] {
            assert_eq!(said(&absent).unwrap(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_claim_that_would_mean_something_else_there_is_refused() {
        for tenant in
            [json!("a\r\nx: y"), json!(""), json!({"a": 1}), json!(["a,b"]), json!([["a"]]), json!([])]
        {
            assert!(said(&json!({"org": {"tenant": tenant}})).is_err(), "{tenant}");
        }
    }
}
