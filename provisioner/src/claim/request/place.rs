//! Where the volume is to be (docs/upstream/provisioner.md, "Topology").

use csi::v1;

use super::super::error::ProvisionError;
use crate::config::Config;

/// The topology requirement; `None` when every node reaches every volume.
///
/// # Errors
/// The driver has topology: this release cannot tell it where a volume is needed.
pub(super) fn accessibility(config: &Config) -> Result<Option<v1::TopologyRequirement>, ProvisionError> {
    if config.uses_topology() {
        let text = "topology (start the provisioner with --feature-gates=Topology=false)";
        return Err(ProvisionError::NotAvailable(text));
    }
    Ok(None)
}
