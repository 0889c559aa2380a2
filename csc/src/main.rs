//! csc: a command line client for any CSI endpoint.
//!
//! It has the commands, aliases, flags, environment and output of gocsi's csc (docs/upstream/csc.md), and
//! adds group snapshots, modify, get-volume, get-snapshot, health (of CSI 1.13, and the VolumeCondition of drivers up
//! to 1.12), snapshot metadata, topology, mutable parameters,
//! `--output json|yaml` and shell completions. `--with-spec-validation` checks each request and each reply
//! against the specification's rules, so that driver authors can test with it.
//!
//! Exit codes: 0; 1 for what the user typed; the gRPC code (3, 5, 14 …) of a call that failed.

mod capability;
mod cli;
mod connection;
mod controller;
mod failure;
mod group;
mod health;
mod identity;
mod metadata;
mod node;
mod output;
mod pages;
mod pairs;
mod template;
mod validate;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Arguments, Service};
use connection::Session;
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap exits with 2 for what the user typed; csc's users expect 1.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}\n\nPlease use -h,--help for more information");
            ExitCode::from(failure.code())
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { global, service } = arguments;
    let service = match service {
        None => {
            println!("{}", Arguments::command().render_help());
            return Ok(());
        }
        Some(Service::Completions { shell }) => {
            clap_complete::generate(shell, &mut Arguments::command(), "csc", &mut std::io::stdout());
            return Ok(());
        }
        Some(service) => service,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Usage(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        let session = Session::open(&global).await?;
        match service {
            Service::Identity { command } => identity::run(&session, command).await,
            Service::Controller { command } => controller::run(&session, *command).await,
            Service::Node { command } => node::run(&session, *command).await,
            Service::Group { command } => group::run(&session, command).await,
            Service::Metadata { command } => metadata::run(&session, command).await,
            Service::Completions { .. } => Ok(()),
        }
    })
}
