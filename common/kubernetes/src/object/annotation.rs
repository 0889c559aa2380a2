//! Annotation keys, as upstream spells them.

pub use super::attachment::{NODE_ID, PUBLISH_SECRET, VOLUME_HANDLE};
pub use super::claim::{
    CLASS_BETA, MIGRATED_TO, NODE_EXPANSION_NOT_REQUIRED, PROVISIONER, PROVISIONER_BETA, STORAGE_RESIZER,
};
pub use super::volume::{
    DELETION_SECRET_NAME, DELETION_SECRET_NAMESPACE, MODIFY_SECRET_NAME, MODIFY_SECRET_NAMESPACE,
    PRE_RESIZE_CAPACITY, PROVISIONED_BY,
};

/// The node that the scheduler chose for a claim's first pod.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Its alpha spelling, read when the other is absent.
pub const SELECTED_NODE_ALPHA: &str = "volume.alpha.kubernetes.io/selected-node";
