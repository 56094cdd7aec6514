//! Everything in one process: the FTGO stub services and both BFFs, on their reference ports, with commands to try.
//!
//! On SIGTERM the BFFs drain first, while the services still answer them; then the services end.

use std::process::ExitCode;

use clap::Parser;
use ftgo::stubs::{Ports, Stubs, service::Service};
use gateway::{cli, instance::Instance};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The FTGO services and both BFFs in one process
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The REST BFF's configuration
    #[arg(long, default_value = bff_web::CONFIG, value_name = "FILE")]
    web: String,
    /// The GraphQL BFF's configuration
    #[arg(long, default_value = bff_mobile::CONFIG, value_name = "FILE")]
    mobile: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::log_to_stderr();
    gateway::auth::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ran = runtime.expect("the system gives threads and an event queue").block_on(run(&arguments));
    ran.map_or_else(
        |why| {
            eprintln!("{why}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let stubs = Stubs::start(Ports::reference())?;
    let web = Instance::start(&arguments.web, bff_web::program().handlers)?;
    let mobile = Instance::start(&arguments.mobile, bff_mobile::playground())?;
    // The first command must not meet a gateway that has no keys yet.
    tokio::join!(web.until_ready(), mobile.until_ready());
    introduce(&stubs, &web, &mobile);
    cli::asked_to_end().await;
    tokio::join!(web.drain(), mobile.drain());
    stubs.stop().await;
    Ok(())
}

fn introduce(stubs: &Stubs, web: &Instance, mobile: &Instance) {
    let consumer = stubs.token("1511300065921", &["consumer"], "consumers:read orders:read orders:write");
    println!("FTGO is up.\n");
    println!("  bff-web          http://{}            REST", web.addresses()[0]);
    println!(
        "  bff-mobile       http://{}/graphql    GraphQL, and GraphiQL in a browser",
        mobile.addresses()[0]
    );
    for (name, instance) in [("bff-web", web), ("bff-mobile", mobile)] {
        if let Some(admin) = instance.admin() {
            println!("  {:<16} http://{admin}            /healthz /readyz /metrics", format!("{name} admin"));
        }
    }
    for service in Service::ALL {
        println!("  {:<16} http://{}", service.name(), stubs.address(service));
    }
    println!("  order, gRPC      {}", stubs.grpc());
    println!("  identity         http://{}", stubs.identity());
    println!("  stub control     http://{}            faults, counters, tokens, seeds", stubs.control());
    println!("\nA token of consumer 1511300065921 (John Doe), good for an hour:\n\n{consumer}\n");
    println!("Try:\n");
    let (web, mobile) = (web.addresses()[0], mobile.addresses()[0]);
    println!("curl -s -i http://{web}/orders/99 -H 'Authorization: Bearer {consumer}'\n");
    println!("curl -s 'http://{web}/restaurants?zip=94612'\n");
    let query = r#"{"query":"{ consumer(consumerId: 1511300065921) { firstName orders { orderId state orderTotal restaurant { name } } } }"}"#;
    println!(
        "curl -s http://{mobile}/graphql -H 'Content-Type: application/json' -H 'Authorization: Bearer {consumer}' -d '{query}'\n"
    );
}
