//! The GraphQL BFF.
/// x
pub const CONFIG: &str = "config/bff-mobile.yaml";
/// x
pub fn playground() -> gateway::handler::Handlers { gateway::handler::Handlers::default() }
/// x
pub fn program() -> gateway::cli::Program { gateway::cli::Program { name: "bff-mobile", about: "x", config: Some(CONFIG), handlers: playground() } }
