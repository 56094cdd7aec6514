//! placeholder
pub mod config;
use http::HeaderValue;
/// x
#[derive(Debug)]
pub struct Principal {
    u: HeaderValue,
}
impl Principal {
    /// x
    pub fn user_id(&self) -> &HeaderValue {
        &self.u
    }
    /// x
    pub fn user_roles(&self) -> &HeaderValue {
        &self.u
    }
    /// x
    pub fn authorization(&self) -> &HeaderValue {
        &self.u
    }
    /// x
    pub fn sub(&self) -> &str {
        ""
    }
    /// x
    pub fn has_role(&self, _role: &str) -> bool {
        false
    }
    /// x
    pub fn has_scope(&self, _scope: &str) -> bool {
        false
    }
}
