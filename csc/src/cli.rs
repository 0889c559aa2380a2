//! The command line: services, commands, aliases, flags.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use common::csi::v1::VolumeCapability;
use common::flag::duration::parse_go_duration;

use crate::capability;
use crate::pairs::{self, Pairs};

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

/// Capabilities of a volume.
#[derive(Debug, Args)]
pub(crate) struct Capabilities {
    /// MODE,TYPE[,FSTYPE[,FLAG...]]; repeatable.
    #[arg(long = "cap", value_parser = capability::parse)]
    pub(crate) capabilities: Vec<VolumeCapability>,
}

/// Size limits.
#[derive(Debug, Args)]
pub(crate) struct Size {
    /// Bytes at least.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) req_bytes: i64,
    /// Bytes at most.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) lim_bytes: i64,
}

/// Class parameters.
#[derive(Debug, Args)]
pub(crate) struct Parameters {
    /// key=val[,key=val...]; repeatable.
    #[arg(long, value_parser = pairs::parse)]
    pub(crate) params: Vec<Pairs>,
}

/// What the volume's creation answered.
#[derive(Debug, Args)]
pub(crate) struct VolumeContext {
    /// key=val[,key=val...]; repeatable.
    #[arg(long, value_parser = pairs::parse)]
    pub(crate) vol_context: Vec<Pairs>,
    /// The volume context must be given; implies --with-spec-validation.
    #[arg(long)]
    pub(crate) with_requires_vol_context: bool,
}

/// Secrets come from X_CSI_SECRETS.
#[derive(Debug, Args)]
pub(crate) struct Credentials {
    /// Secrets must be given; implies --with-spec-validation.
    #[arg(long)]
    pub(crate) with_requires_creds: bool,
}

/// Pages of a list.
#[derive(Debug, Args)]
pub(crate) struct Pages {
    /// Entries at most; 0 leaves it to the driver.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) max_entries: i32,
    /// Where to go on.
    #[arg(long, default_value = "")]
    pub(crate) starting_token: String,
    /// Follow the tokens to the end.
    #[arg(long)]
    pub(crate) paging: bool,
    /// A Go template over the reply (over each entry with --paging).
    #[arg(long)]
    pub(crate) format: Option<String>,
}

/// One place: key=val[,key=val...].
#[derive(Debug, Args)]
pub(crate) struct Topology {
    /// Segments of one place the volume must be reachable from (any of them); repeatable.
    #[arg(long, value_parser = pairs::parse)]
    pub(crate) topology: Vec<Pairs>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Controller {
    /// Makes volumes.
    #[command(aliases = ["n", "c", "new", "create"])]
    CreateVolume {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        size: Size,
        #[command(flatten)]
        params: Parameters,
        #[command(flatten)]
        creds: Credentials,
        #[command(flatten)]
        topology: Topology,
        /// Mutable parameters, key=val[,key=val...]; repeatable.
        #[arg(long, value_parser = pairs::parse)]
        mutable_params: Vec<Pairs>,
        /// Clone this volume.
        #[arg(long, conflicts_with = "source_snapshot")]
        source_volume: Option<String>,
        /// Restore this snapshot.
        #[arg(long)]
        source_snapshot: Option<String>,
        /// One volume each.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Deletes volumes.
    #[command(aliases = ["d", "rm", "del", "delete"])]
    DeleteVolume {
        #[command(flatten)]
        creds: Credentials,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Attaches volumes to a node.
    #[command(alias = "attach")]
    Publish {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        context: VolumeContext,
        #[command(flatten)]
        creds: Credentials,
        /// The node's id.
        #[arg(long, default_value = "")]
        node_id: String,
        /// For reading only.
        #[arg(long)]
        read_only: bool,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Detaches volumes from a node.
    #[command(alias = "detach")]
    Unpublish {
        #[command(flatten)]
        creds: Credentials,
        /// The node's id; empty means every node.
        #[arg(long, default_value = "")]
        node_id: String,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Asks whether volumes have capabilities.
    #[command(alias = "validate")]
    ValidateVolumeCapabilities {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        context: VolumeContext,
        #[command(flatten)]
        params: Parameters,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Lists volumes.
    #[command(aliases = ["ls", "list", "volumes"])]
    ListVolumes {
        #[command(flatten)]
        pages: Pages,
    },
    /// Free bytes.
    #[command(alias = "capacity")]
    GetCapacity {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        params: Parameters,
        #[command(flatten)]
        topology: Topology,
    },
    /// What the controller can.
    #[command(alias = "capabilities")]
    GetCapabilities,
    /// Cuts snapshots.
    #[command(aliases = ["s", "snap"])]
    CreateSnapshot {
        #[command(flatten)]
        params: Parameters,
        /// The volume.
        #[arg(long, required = true)]
        source_volume: String,
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Deletes snapshots.
    #[command(aliases = ["ds", "delsnap"])]
    DeleteSnapshot {
        #[arg(required = true, value_name = "SNAPSHOT_ID")]
        ids: Vec<String>,
    },
    /// Lists snapshots.
    #[command(aliases = ["sl", "snap-list", "snapshots"])]
    ListSnapshots {
        #[command(flatten)]
        pages: Pages,
        /// Those of this volume.
        #[arg(long, default_value = "")]
        source_volume_id: String,
        /// This one.
        #[arg(long, default_value = "")]
        snapshot_id: String,
    },
    /// Makes volumes larger.
    #[command(aliases = ["exp", "expand"])]
    ExpandVolume {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        size: Size,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// One volume's state.
    #[command(alias = "volume")]
    GetVolume {
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Changes volumes' mutable parameters.
    #[command(alias = "modify")]
    ModifyVolume {
        /// key=val[,key=val...]; repeatable.
        #[arg(long, required = true, value_parser = pairs::parse)]
        mutable_params: Vec<Pairs>,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// One snapshot's state.
    #[command(alias = "snapshot")]
    GetSnapshot {
        #[arg(required = true, value_name = "SNAPSHOT_ID")]
        ids: Vec<String>,
    },
}

/// What the controller's publication answered.
#[derive(Debug, Args)]
pub(crate) struct PublishContext {
    /// key=val[,key=val...]; repeatable.
    #[arg(long, value_parser = pairs::parse)]
    pub(crate) pub_context: Vec<Pairs>,
    /// The publish context must be given; implies --with-spec-validation.
    #[arg(long)]
    pub(crate) with_requires_pub_context: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Stages volumes.
    Stage {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        context: VolumeContext,
        #[command(flatten)]
        publish_context: PublishContext,
        #[command(flatten)]
        creds: Credentials,
        /// Where.
        #[arg(long, default_value = "")]
        staging_target_path: String,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Unstages volumes.
    Unstage {
        /// Where.
        #[arg(long, default_value = "")]
        staging_target_path: String,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Mounts volumes.
    #[command(aliases = ["mnt", "mount"])]
    Publish {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        context: VolumeContext,
        #[command(flatten)]
        publish_context: PublishContext,
        #[command(flatten)]
        creds: Credentials,
        /// Where it was staged.
        #[arg(long, default_value = "")]
        staging_target_path: String,
        /// Where.
        #[arg(long, default_value = "")]
        target_path: String,
        /// For reading only.
        #[arg(long)]
        read_only: bool,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Unmounts volumes.
    #[command(aliases = ["umount", "unmount"])]
    Unpublish {
        /// Where.
        #[arg(long, default_value = "")]
        target_path: String,
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// How full volumes are.
    Stats {
        #[arg(required = true, value_name = "ID:VOLUME_PATH[:STAGING_PATH]")]
        volumes: Vec<String>,
    },
    /// Makes a volume larger on the node.
    #[command(aliases = ["exp", "expand"])]
    ExpandVolume {
        #[command(flatten)]
        caps: Capabilities,
        #[command(flatten)]
        size: Size,
        /// Where it was staged.
        #[arg(long, default_value = "")]
        staging_target_path: String,
        #[arg(value_name = "VOLUME_ID")]
        id: String,
        #[arg(value_name = "VOLUME_PATH")]
        path: String,
    },
    /// What the node can.
    #[command(alias = "capabilities")]
    GetCapabilities,
    /// The node's id, limit and place.
    #[command(alias = "info")]
    GetInfo,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// What the group controller can.
    #[command(alias = "capabilities")]
    GetCapabilities,
    /// Cuts snapshots of several volumes at one time.
    #[command(aliases = ["create", "snap"])]
    CreateGroupSnapshot {
        #[command(flatten)]
        params: Parameters,
        /// A volume; repeatable, or with commas.
        #[arg(long, required = true, value_delimiter = ',')]
        source_volume: Vec<String>,
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Deletes a group snapshot.
    #[command(aliases = ["delete", "del"])]
    DeleteGroupSnapshot {
        /// A member; repeatable, or with commas.
        #[arg(long, value_delimiter = ',')]
        snapshot_id: Vec<String>,
        #[arg(value_name = "GROUP_SNAPSHOT_ID")]
        id: String,
    },
    /// One group snapshot's state.
    #[command(alias = "get")]
    GetGroupSnapshot {
        /// A member; repeatable, or with commas.
        #[arg(long, value_delimiter = ',')]
        snapshot_id: Vec<String>,
        #[arg(value_name = "GROUP_SNAPSHOT_ID")]
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Metadata {
    /// Blocks of a snapshot that hold data.
    Allocated {
        /// Bytes to begin at.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        starting_offset: i64,
        /// Blocks a message at most; 0 leaves it to the driver.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        max_results: i32,
        #[arg(value_name = "SNAPSHOT_ID")]
        id: String,
    },
    /// Blocks that differ between two snapshots.
    Delta {
        /// Bytes to begin at.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        starting_offset: i64,
        /// Blocks a message at most; 0 leaves it to the driver.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        max_results: i32,
        #[arg(value_name = "BASE_SNAPSHOT_ID")]
        base: String,
        #[arg(value_name = "TARGET_SNAPSHOT_ID")]
        target: String,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    let nanos = parse_go_duration(text).map_err(|error| error.to_string())?;
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err("must be longer than 0".to_owned()),
    }
}
