//! Events: written, never read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;

/// An event as the API server echoes it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireEvent {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
}

wire!(WireEvent, "", "v1", "Event", "events", NamespaceResourceScope);
