//! The command line of every binary over this library: run a configuration, or check it.
//!
//! Exit codes: 0 all is well, 1 it could not be started, or the schema breaks clients, 2 the command line is wrong, 78 the configuration is wrong
//! (`EX_CONFIG` of sysexits.h).

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    graphql::{changes::breaking, one_by_one},
    handler::Handlers,
    instance::{self, Instance, StartError},
    observability::metrics::Metrics,
};

/// `EX_CONFIG`.
const BAD_CONFIG: u8 = 78;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// The configuration file (YAML)
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the configuration (what happens without a command)
    Run,
    /// Validate and build the configuration without listening anywhere; exit code 78 if it is wrong
    Check,
    /// Print the GraphQL schema
    Schema {
        /// Instead, tell what it breaks for clients of the older schema in this file; exit code 1 if anything
        #[arg(long, value_name = "FILE")]
        against: Option<String>,
        /// Instead, tell which fields ask a service once for each item of a list
        #[arg(long, conflicts_with = "against")]
        one_by_one: bool,
    },
}

/// What a binary is called, and what it brings along.
pub struct Program {
    /// As in `bff-web --help`.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The file taken when none is named, if there is one.
    pub config: Option<&'static str>,
    /// The handlers that `handle:` may name.
    pub handlers: Handlers,
    /// The GraphQL schema as SDL, where it has one.
    pub schema: Option<fn() -> String>,
}

/// Runs a program until SIGTERM or SIGINT.
#[must_use]
pub fn main(program: Program) -> ExitCode {
    let command = Arguments::command().name(program.name).about(program.about);
    let parsed = Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    if let Some(Command::Schema { against, one_by_one }) = &parsed.command {
        return schema(&program, against.as_deref(), *one_by_one);
    }
    let Some(config) = parsed.config.as_deref().or(program.config) else {
        eprintln!("error: no configuration is named\nhelp: {} --config FILE", program.name);
        return ExitCode::from(2);
    };
    log_to_stderr();
    crate::auth::install_crypto();
    match parsed.command.unwrap_or(Command::Run) {
        Command::Run => control_runtime().block_on(run(config, program.handlers)),
        Command::Check => check(config, &program.handlers),
        Command::Schema { .. } => unreachable!("it needs no configuration, and is done"),
    }
}

/// Human-readable lines on standard error; `LOG` chooses from which level on: `error`, `warn`, `info` (unless set), `debug`.
#[expect(
    clippy::disallowed_methods,
    reason = "the level is needed before any configuration is read, and is no secret"
)]
pub fn log_to_stderr() {
    let level = std::env::var("LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// The runtime of the control thread: reload, keys, admin. No request runs here.
///
/// # Panics
/// When the system gives no event queue.
#[must_use]
pub fn control_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives an event queue")
}

/// Prints the schema, what it breaks, or what it asks for one by one.
fn schema(program: &Program, against: Option<&str>, singly: bool) -> ExitCode {
    let Some(sdl) = program.schema.map(|sdl| sdl()) else {
        eprintln!("error: {} has no GraphQL schema", program.name);
        return ExitCode::from(2);
    };
    let Some(file) = against else {
        let lines = if singly { one_by_one(&sdl) } else { Ok(vec![sdl.trim_end().to_owned()]) };
        lines.iter().flatten().for_each(|line| println!("{line}"));
        return if lines.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    let older = std::fs::read_to_string(file).map_err(|why| format!("it cannot be read: {why}"));
    match older.and_then(|older| breaking(&older, &sdl)) {
        Ok(changes) if changes.is_empty() => {
            println!("The schema breaks nothing for clients of {file}.");
            ExitCode::SUCCESS
        }
        Ok(changes) => {
            println!("The schema breaks clients of {file}:");
            changes.iter().for_each(|change| println!("  {change}"));
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("error: {file}: {why}");
            ExitCode::from(2)
        }
    }
}

fn check(config: &str, handlers: &Handlers) -> ExitCode {
    let runtime = control_runtime();
    let _entered = runtime.enter();
    match instance::build(config, handlers, &Metrics::default(), None) {
        Ok(snapshot) => {
            println!(
                "{config} is fine: {} routes, {} upstreams",
                snapshot.config.routes.len(),
                snapshot.config.upstreams.len()
            );
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

async fn run(config: &str, handlers: Handlers) -> ExitCode {
    let instance = match Instance::start(config, handlers) {
        Ok(instance) => instance,
        Err(error) => {
            eprintln!("{error}");
            return if matches!(error, StartError::Config(_)) {
                ExitCode::from(BAD_CONFIG)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    for address in instance.addresses() {
        tracing::info!("listening on {address}");
    }
    if let Some(address) = instance.admin() {
        tracing::info!("admin on http://{address}/readyz and /metrics");
    }
    asked_to_end().await;
    instance.drain().await;
    ExitCode::SUCCESS
}

/// Waits for SIGTERM or SIGINT.
pub async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be caught");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
