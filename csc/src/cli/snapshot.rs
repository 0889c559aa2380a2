//! `csc group …` and `csc snapshot-metadata …`.

use clap::{Args, Subcommand};

use super::Parameters;

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

/// Which blocks.
#[derive(Debug, Args)]
pub(crate) struct Blocks {
    /// Bytes to begin at.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) starting_offset: i64,
    /// Blocks a message at most; 0 leaves it to the driver.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) max_results: i32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Metadata {
    /// Blocks of a snapshot that hold data.
    Allocated {
        #[command(flatten)]
        blocks: Blocks,
        #[arg(value_name = "SNAPSHOT_ID")]
        id: String,
    },
    /// Blocks that differ between two snapshots.
    Delta {
        #[command(flatten)]
        blocks: Blocks,
        #[arg(value_name = "BASE_SNAPSHOT_ID")]
        base: String,
        #[arg(value_name = "TARGET_SNAPSHOT_ID")]
        target: String,
    },
}
