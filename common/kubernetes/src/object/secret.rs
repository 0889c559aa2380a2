//! Secrets: read when they are needed, never cached.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;

/// A secret as the API server sends it. It prints its name only.
#[derive(Clone, Default, Deserialize)]
pub struct WireSecret {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    /// `data`, decoded.
    #[serde(default)]
    pub data: BTreeMap<String, ByteString>,
}

impl fmt::Debug for WireSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireSecret").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

wire!(WireSecret, "", "v1", "Secret", "secrets", NamespaceResourceScope);
