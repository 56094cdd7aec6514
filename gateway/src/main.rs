//! The plain `gateway` binary: everything YAML can say, no code of one's own.

use std::process::ExitCode;

use gateway::{
    cli::{self, Program},
    handler::Handlers,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(Program {
        name: "gateway",
        about: "An API gateway for backends for frontends: routes, authenticates, limits and composes by YAML",
        config: None,
        handlers: Handlers::default(),
        schema: None,
    })
}
