//! ReferenceGrants of the Gateway API: who may use the objects of another namespace.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;

/// A ReferenceGrant as the API server sends it. It lies in the namespace of what it opens.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireGrant {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    /// `spec`.
    #[serde(default)]
    pub spec: GrantSpec,
}

/// What a grant says: each of `from` may use each of `to`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrantSpec {
    /// Who may.
    pub from: Vec<GrantFrom>,
    /// What.
    pub to: Vec<GrantTo>,
}

/// Objects that may refer to something: all of a kind in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrantFrom {
    /// Their API group; empty for the core group.
    pub group: String,
    /// Their kind.
    pub kind: String,
    /// Their namespace.
    pub namespace: String,
}

/// Objects that may be referred to, in the namespace of the grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrantTo {
    /// Their API group; empty for the core group.
    pub group: String,
    /// Their kind.
    pub kind: String,
    /// The one object that is meant; none or empty for all of them.
    pub name: Option<String>,
}

wire!(
    WireGrant,
    "gateway.networking.k8s.io",
    "v1beta1",
    "ReferenceGrant",
    "referencegrants",
    NamespaceResourceScope
);

impl WireGrant {
    /// The grant's namespace; empty if it does not say.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}
