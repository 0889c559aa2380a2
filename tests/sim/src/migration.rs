//! What kube-controller-manager knows of the in-tree plugins that CSI drivers have replaced: the names of the drivers.
//!
//! Migration is on for each plugin that Kubernetes still translates; so not for rbd.

use k8s_openapi::api::core::v1::PersistentVolumeSpec;
use serde_json::Value;
use translation::Plugin;

/// The driver that has replaced the plugin of this name.
pub(crate) fn driver_of(plugin: &str) -> Option<&'static str> {
    Plugin::of_name(plugin).filter(is_migrated).map(Plugin::driver)
}

/// The driver that serves the volume: its CSI driver, or the one that has replaced its plugin.
pub(crate) fn driver_of_volume(volume: &Value) -> Option<String> {
    let spec: PersistentVolumeSpec = serde_json::from_value(volume.get("spec")?.clone()).ok()?;
    let plugin = || Plugin::of_volume(&spec).filter(is_migrated).map(|plugin| plugin.driver().to_owned());
    spec.csi.as_ref().map(|csi| csi.driver.clone()).or_else(plugin)
}

fn is_migrated(plugin: &Plugin) -> bool {
    *plugin != Plugin::Rbd
}
