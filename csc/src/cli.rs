//! The command line: services, commands, aliases, flags. Each service's commands are in a module of their own.

mod controller;
mod node;
mod shared;
mod snapshot;

use std::time::Duration;

use base::flag::duration::parse_go_duration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::pairs::{self, Pairs};
pub(crate) use controller::Controller;
pub(crate) use node::{Node, Usage};
pub(crate) use shared::{
    Capabilities, Credentials, Pages, Parameters, PublishContext, Size, Topology, VolumeContext,
};
pub(crate) use snapshot::{Group, Metadata};

/// A command line client for any CSI endpoint.
#[derive(Debug, Parser)]
#[command(name = "csc", version, arg_required_else_help = false, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) service: Option<Service>,
}

/// Flags of every command, accepted before and after it.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The driver's endpoint: tcp://host:port, unix:///path, or a socket's path.
    #[arg(short, long, env = "CSI_ENDPOINT", global = true, default_value = "", hide_default_value = true)]
    pub(crate) endpoint: String,
    /// Bound on the connection and on each call, such as 30s or 1m30s.
    #[arg(short, long, global = true, default_value = "1m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Without TLS. CSI sockets have none: false is refused.
    #[arg(short, long, global = true, default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) insecure: bool,
    /// PANIC, FATAL, ERROR, WARN, INFO or DEBUG.
    #[arg(short, long, global = true, default_value = "warn", ignore_case = true)]
    pub(crate) log_level: LogLevel,
    /// gRPC metadata to send, key=val[,key=val...]; repeatable.
    #[arg(short, long, global = true, value_parser = pairs::parse)]
    pub(crate) metadata: Vec<Pairs>,
    /// Log requests at level INFO.
    #[arg(long, global = true)]
    pub(crate) with_request_logging: bool,
    /// Log responses at level INFO.
    #[arg(long, global = true)]
    pub(crate) with_response_logging: bool,
    /// Check requests and responses against the specification.
    #[arg(long, global = true)]
    pub(crate) with_spec_validation: bool,
    /// Print whole replies as JSON or YAML.
    #[arg(short = 'O', long, global = true)]
    pub(crate) output: Option<Form>,
}

/// How replies are printed whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// One object a line.
    Json,
    /// One document a reply.
    Yaml,
}

/// What is logged to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[allow(missing_docs)]
pub(crate) enum LogLevel {
    Panic,
    Fatal,
    Error,
    #[value(alias = "warning")]
    Warn,
    Info,
    Debug,
}

/// The services of CSI.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// The identity service.
    #[command(aliases = ["i", "ident"])]
    Identity {
        #[command(subcommand)]
        command: Identity,
    },
    /// The controller service.
    #[command(alias = "c")]
    Controller {
        #[command(subcommand)]
        command: Box<Controller>,
    },
    /// The node service.
    #[command(alias = "n")]
    Node {
        #[command(subcommand)]
        command: Box<Node>,
    },
    /// The group controller service.
    #[command(alias = "g")]
    Group {
        #[command(subcommand)]
        command: Group,
    },
    /// The snapshot metadata service.
    #[command(name = "snapshot-metadata", aliases = ["sm", "metadata"])]
    Metadata {
        #[command(subcommand)]
        command: Metadata,
    },
    /// Prints a shell's completions.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// Name, version and manifest.
    #[command(alias = "info")]
    PluginInfo,
    /// What the plugin has.
    #[command(alias = "caps")]
    PluginCapabilities,
    /// Whether the plugin is ready.
    Probe,
}

fn duration(text: &str) -> Result<Duration, String> {
    let nanos = parse_go_duration(text).map_err(|error| error.to_string())?;
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err("must be longer than 0".to_owned()),
    }
}
