//! What the driver remembers: volumes, snapshots, groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How a volume's content is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// A folder, bind-mounted.
    Mount,
    /// A file behind a loop device.
    Block,
}

impl Access {
    /// The word for messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Block => "block",
        }
    }
}

/// Where a volume's first content came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A snapshot's id.
    Snapshot(String),
    /// A volume's id.
    Volume(String),
}

/// A target path where a volume is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// Mounted read-only.
    pub readonly: bool,
    /// The CSI access mode's number.
    pub mode: i32,
    /// The boot in which it was made; none: not known, as in records before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The id in all calls. Made here, except for inline ephemeral volumes, whose id the kubelet makes.
    pub id: String,
    /// The name of the request that made it.
    pub name: String,
    /// The name of its content in the backend; always made here, so it never needs escaping.
    pub data: String,
    /// Size in bytes.
    pub size: i64,
    /// Folder or device.
    pub access: Access,
    /// The capacity pool it counts against; empty: none.
    #[serde(default)]
    pub pool: String,
    /// The parameters of its request; also its volume context.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Its mutable parameters as they are now.
    #[serde(default)]
    pub mutable: BTreeMap<String, String>,
    /// Where its first content came from.
    #[serde(default)]
    pub source: Option<Source>,
    /// Taken over from a Go driver, which did not record parameters.
    #[serde(default)]
    pub legacy: bool,
    /// Made by a publish, removed by its unpublish.
    #[serde(default)]
    pub ephemeral: bool,
    /// Attached to this node: whether read-only.
    #[serde(default)]
    pub attached: Option<bool>,
    /// Staging paths.
    #[serde(default)]
    pub staged: BTreeSet<String>,
    /// The boot in which it was staged; none: not known, as in records before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_in: Option<String>,
    /// Target paths.
    #[serde(default)]
    pub published: BTreeMap<String, Publication>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The id in all calls.
    pub id: String,
    /// The name of the request that made it.
    pub name: String,
    /// The name of its content in the backend.
    pub data: String,
    /// The volume it was cut from, which may be gone.
    pub volume: String,
    /// The kind of that volume.
    pub access: Access,
    /// Size of that volume in bytes.
    pub size: i64,
    /// When it was cut: seconds and nanoseconds since 1970.
    pub created: (i64, i32),
    /// Its group; empty: none.
    #[serde(default)]
    pub group: String,
    /// Its content is a gzip tar archive that the Go driver wrote.
    #[serde(default)]
    pub archive: bool,
}

/// A group snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The id in all calls.
    pub id: String,
    /// The name of the request that made it.
    pub name: String,
    /// Its members' ids.
    pub snapshots: Vec<String>,
    /// Their volumes' ids.
    pub volumes: Vec<String>,
    /// When it was cut: seconds and nanoseconds since 1970.
    pub created: (i64, i32),
}

/// One step from a state to the next. Changes that belong together are written together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A volume is new or other than before.
    Volume(Box<Volume>),
    /// A snapshot is new.
    Snapshot(Box<Snapshot>),
    /// A group is new.
    Group(Box<Group>),
    /// A volume is gone.
    NoVolume(String),
    /// A snapshot is gone.
    NoSnapshot(String),
    /// A group is gone.
    NoGroup(String),
}
