//! `csc node …`.

use clap::Subcommand;

use super::{Capabilities, Credentials, PublishContext, Size, VolumeContext};

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
