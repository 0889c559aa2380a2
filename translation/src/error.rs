//! Why a class, a volume or a handle could not be translated.

use thiserror::Error;

/// Why something could not be translated. Each text names what is wrong and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TranslationError {
    /// The plugin is translated only if that is asked for.
    #[error(
        "volumes of in-tree plugin {plugin} are not translated to CSI driver {driver} unless the feature gate \
         CSIMigrationRBD is on"
    )]
    NotEnabled {
        /// The in-tree plugin's name.
        plugin: &'static str,
        /// The CSI driver's name.
        driver: &'static str,
    },
    /// The volume does not have the plugin's source.
    #[error("the volume has no source of in-tree plugin {0}")]
    NoSource(&'static str),
    /// The volume has no source of any plugin that is translated.
    #[error("the volume has no csi source, and no source of an in-tree plugin that a CSI driver replaces")]
    NotInTree,
    /// The volume has no CSI source.
    #[error("the volume has no csi source")]
    NotCsi,
    /// The driver replaces no plugin.
    #[error("CSI driver {0} replaces no in-tree plugin")]
    NotReplaced(String),
    /// The class says twice where its volumes may be.
    #[error("the class has allowedTopologies and a parameter zone or zones: remove one of the two")]
    ZonesTwice,
    /// The class lacks a parameter that the driver needs.
    #[error("the class lacks the parameter {0}")]
    NoParameter(&'static str),
    /// The disk is not a managed one.
    #[error("Azure disks of kind {0} have no CSI form: only Managed ones have")]
    DiskKind(String),
    /// An Azure disk's URI does not name a disk.
    #[error(
        "{0} does not name an Azure disk: it must be \
         .../subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.Compute/disks/<name>, or \
         http(s)://<account>/vhds/<name>"
    )]
    DiskUri(String),
    /// The id is not that of an EBS volume.
    #[error("{0} does not name an EBS volume: it must be vol-<id>, aws:///vol-<id> or aws://<zone>/vol-<id>")]
    EbsId(String),
    /// A partition that is no number.
    #[error("volume attribute partition is {0}: it must be a number")]
    Partition(String),
    /// A GCE disk's handle, or the id of the node beside it, has too few parts.
    #[error("{what} {id} has {parts} parts between slashes, at least 6 are needed")]
    TooShort {
        /// What the id is of.
        what: &'static str,
        /// The id.
        id: String,
        /// How many parts it has.
        parts: usize,
    },
    /// The third part of a GCE disk's handle.
    #[error("volume handle {0} names neither zones nor regions in its third part")]
    NoPlace(String),
    /// A zone whose name does not tell its region.
    #[error("zone {0:?} does not tell its region: its name has another form than the provider's zones")]
    Zone(String),
    /// Zones of no region, or of several.
    #[error("the zones [{1}] are of {0} regions: a volume must be in exactly one")]
    Regions(usize, String),
    /// An Azure share's handle has too few parts.
    #[error("volume handle {0} has no share: it must be <resource group>#<account>#<share>#...")]
    ShareHandle(String),
    /// Nothing says where the share's Secret is.
    #[error(
        "neither spec.azureFile.secretNamespace nor spec.claimRef tells the namespace of the share's Secret"
    )]
    NoSecretNamespace,
}
