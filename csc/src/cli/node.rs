//! `csc node …`.

use clap::{Args, Subcommand};

use super::{Capabilities, Credentials, PublishContext, Size, VolumeContext};

/// How a volume is used, and what came before.
#[derive(Debug, Args)]
pub(crate) struct Usage {
    #[command(flatten)]
    pub(crate) caps: Capabilities,
    #[command(flatten)]
    pub(crate) context: VolumeContext,
    #[command(flatten)]
    pub(crate) publish_context: PublishContext,
    #[command(flatten)]
    pub(crate) creds: Credentials,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Stages volumes.
    Stage {
        #[command(flatten)]
        usage: Usage,
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
        usage: Usage,
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
    /// What is wrong with volumes on the node.
    #[command(alias = "health")]
    VolumeHealth {
        #[arg(required = true, value_name = "ID[:PUBLISH_PATH[:STAGING_PATH]]")]
        volumes: Vec<String>,
    },
    /// What is wrong with the storage that the node reaches.
    StorageHealth,
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
