//! Why a claim may not be filled from its source.

use thiserror::Error;

/// Why a claim may not be filled from its source. Objects are named as `Kind namespace/name`.
///
/// `Differs:` upstream says `claim in dataSource not bound or invalid` for most of what can be wrong with a claim.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SourceError {
    /// No volume can be filled from such an object.
    #[error(
        "the claim's data source is a {kind} of the API group {group:?}: a driver can use VolumeSnapshots of the group \
             snapshot.storage.k8s.io and PersistentVolumeClaims"
    )]
    Kind {
        /// Its kind.
        kind: String,
        /// Its group.
        group: String,
    },
    /// The claim does not say which object.
    #[error("the claim's data source has no name")]
    NoName,
    /// What it says leads to no object.
    #[error("the claim's data source is {0:?}, which no object can have as its name")]
    Name(String),
    /// The source is in another namespace, and the gate for that is off.
    #[error(
        "spec.dataSourceRef.namespace: filling a volume from another namespace needs the feature gate \
         CrossNamespaceVolumeDataSource"
    )]
    Gate,
    /// A volume populator fills the volume.
    #[error("CSI cannot fill a volume from the source {0}: a volume populator may")]
    ForPopulator(String),
    /// The source is in another namespace, which does not allow that.
    #[error("no ReferenceGrant in its namespace lets the claim use the source {0}")]
    NotGranted(String),
    /// There is no such object.
    #[error("the source {0} is not found")]
    Missing(String),
    /// It cannot be read.
    #[error("cannot read the source {0}: {1}")]
    Unreadable(String, String),
    /// It cannot be held while it is used.
    #[error("cannot put a finalizer on the source {0}: {1}")]
    Unprotected(String, String),
    /// Somebody else changes it each time when it is to be held.
    #[error("cannot put a finalizer on the source {0}: it keeps changing")]
    Changing(String),
    /// It is being deleted.
    #[error("the source {0} is being deleted")]
    Deleting(String),
    /// It has nothing to be copied yet.
    #[error("the source {0} is not bound")]
    Unbound(String),
    /// The snapshot is not finished.
    #[error("the source {0} is not ready to use")]
    NotReady(String),
    /// The two objects do not name each other: one of them belongs to somebody else.
    #[error("the source {0} is not what {1} is bound to")]
    NotMutual(String, String),
    /// Another driver has it.
    #[error("the source {object} is of the driver {named}, not of {driver}")]
    Foreign {
        /// The object.
        object: String,
        /// Its driver.
        named: String,
        /// Ours.
        driver: String,
    },
    /// It has no id at the driver.
    #[error("{0} has no snapshotHandle")]
    NoHandle(String),
    /// The claim asks for less than the source has.
    #[error("requested volume size {asked} is less than the size {least} of the source {object}")]
    TooLarge {
        /// The object.
        object: String,
        /// Its bytes.
        least: i64,
        /// The bytes asked for.
        asked: i64,
    },
    /// Its size cannot be read.
    #[error("the size {size:?} of the source {object} is not a quantity")]
    Size {
        /// The object.
        object: String,
        /// What it says.
        size: String,
    },
    /// A claim names no class.
    #[error("the source {0} names no StorageClass")]
    NoClass(String),
    /// The claim's source is another than that of the request.
    #[error("the volume that an earlier process has asked for is not filled from what the claim names now")]
    Changed,
    /// The volume would have another mode.
    #[error("the claim's volumeMode {wanted} is not the mode {mode} of the source {object}{}", .remedy)]
    Mode {
        /// The object.
        object: String,
        /// Its mode.
        mode: String,
        /// The claim's.
        wanted: String,
        /// What would help, if anything.
        remedy: &'static str,
    },
}

impl SourceError {
    /// Whether it says that something is wrong with this object.
    pub(crate) fn names(&self, object: &str) -> bool {
        match self {
            Self::Missing(named)
            | Self::Deleting(named)
            | Self::Unbound(named)
            | Self::NotReady(named)
            | Self::NoHandle(named)
            | Self::NoClass(named)
            | Self::Foreign { object: named, .. }
            | Self::TooLarge { object: named, .. }
            | Self::Size { object: named, .. }
            | Self::Mode { object: named, .. } => named == object,
            Self::NotMutual(one, other) => one == object || other == object,
            Self::Kind { .. }
            | Self::NoName
            | Self::Name(_)
            | Self::Gate
            | Self::ForPopulator(_)
            | Self::NotGranted(_)
            | Self::Unreadable(..)
            | Self::Unprotected(..)
            | Self::Changed
            | Self::Changing(_) => false,
        }
    }

    /// Whether it came up when the source's content was looked for. The rest is wrong with how the claim names its source.
    pub(crate) fn is_about_content(&self) -> bool {
        let names_badly = matches!(self, Self::Kind { .. } | Self::NoName | Self::Name(_) | Self::Gate);
        !names_badly && !matches!(self, Self::ForPopulator(_))
    }

    /// Whether it says that the claim may not have what a finished volume is filled from: also where sources of other namespaces are
    /// not allowed any more. The rest says that nothing can be filled from the source at present.
    pub(crate) fn forbids_a_finished_copy(&self) -> bool {
        matches!(
            self,
            Self::Changed
                | Self::Gate
                | Self::NotMutual(..)
                | Self::Foreign { .. }
                | Self::NotGranted(_)
                | Self::Mode { .. }
        )
    }

    /// Whether the claim is refused for what it names, as upstream counts it. Anything else leaves things as they were.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Kind { .. }
                | Self::NoName
                | Self::Name(_)
                | Self::Gate
                | Self::ForPopulator(_)
                | Self::NotGranted(_)
        )
    }
}
