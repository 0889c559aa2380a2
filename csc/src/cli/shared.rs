//! Flags that several commands have.

use clap::Args;
use csi::v1::VolumeCapability;

use crate::capability;
use crate::pairs::{self, Pairs};

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
    /// Segments of one place where the volume must be reachable, or the snapshot usable (any of them); repeatable.
    #[arg(long, value_parser = pairs::parse)]
    pub(crate) topology: Vec<Pairs>,
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
