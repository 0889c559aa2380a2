//! `csc controller …`.

use clap::Subcommand;

use super::{Capabilities, Credentials, Pages, Parameters, Size, Topology, VolumeContext};
use crate::pairs::{self, Pairs};

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
        #[command(flatten)]
        topology: Topology,
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
    /// What is wrong with volumes.
    #[command(alias = "health")]
    GetVolumeHealth {
        #[arg(required = true, value_name = "VOLUME_ID")]
        ids: Vec<String>,
    },
    /// Lists the volumes that something is wrong with.
    #[command(alias = "list-health")]
    ListVolumeHealth {
        #[command(flatten)]
        pages: Pages,
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
