//! The REST backend of the FTGO web front end: `config/bff-web.yaml` says all that it does.
//!
//! Not here: any code of its own. A handler that YAML cannot say would be added to [`program`].

use gateway::{cli::Program, handler::Handlers};

/// The configuration that ships.
pub const CONFIG: &str = "config/bff-web.yaml";

/// What this binary is.
#[must_use]
pub fn program() -> Program {
    Program {
        name: "bff-web",
        about: "The REST backend of the FTGO web front end",
        config: Some(CONFIG),
        handlers: Handlers::default(),
        schema: None,
    }
}
