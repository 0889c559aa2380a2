//! StorageClasses.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;
use super::{Meta, Object, ReclaimPolicy, Scope};

/// When a claim of a class gets its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum BindingMode {
    /// As soon as the claim exists.
    #[default]
    Immediate,
    /// Once the scheduler has chosen a node for the first pod.
    WaitForFirstConsumer,
}

/// A StorageClass. Of another driver's class only the provisioner is kept.
#[derive(Debug, Clone)]
pub struct Class {
    /// Identity.
    pub meta: Meta,
    /// `provisioner`: who serves the class's claims.
    pub provisioner: Box<str>,
    /// `parameters`, all of them.
    pub parameters: BTreeMap<String, String>,
    /// `reclaimPolicy`, if set.
    pub reclaim: Option<ReclaimPolicy>,
    /// `mountOptions`, in order.
    pub mount_options: Box<[Box<str>]>,
    /// `volumeBindingMode`; unset counts as immediate.
    pub binding: BindingMode,
    /// `allowedTopologies`.
    pub allowed_topologies: Box<[TopologyTerm]>,
}

/// One entry of `allowedTopologies`: what each of its keys may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopologyTerm(pub Box<[AllowedValues]>);

/// A topology key and the values it may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedValues {
    /// The key, a label of nodes.
    pub key: Box<str>,
    /// Any of these.
    pub values: Box<[Box<str>]>,
}

/// A class as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireClass {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    provisioner: Box<str>,
    parameters: Option<BTreeMap<String, String>>,
    reclaim_policy: Option<ReclaimPolicy>,
    mount_options: Option<Vec<Box<str>>>,
    volume_binding_mode: Option<BindingMode>,
    allowed_topologies: Option<Vec<WireTerm>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireTerm {
    match_label_expressions: Vec<WireExpression>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WireExpression {
    key: Box<str>,
    values: Vec<Box<str>>,
}

wire!(WireClass, "storage.k8s.io", "v1", "StorageClass", "storageclasses", ClusterResourceScope);

impl Object for Class {
    type Wire = WireClass;

    /// Of another provisioner's class only the name and the provisioner are kept. They tell a claim that is
    /// not ours from a claim that waits for a missing class.
    fn slim(wire: WireClass, scope: &Scope) -> Option<Self> {
        let meta = Meta::new(wire.metadata, |_| false);
        if !scope.is_ours(&wire.provisioner) {
            return Some(Self {
                meta,
                provisioner: wire.provisioner,
                parameters: BTreeMap::new(),
                reclaim: None,
                mount_options: Box::default(),
                binding: BindingMode::default(),
                allowed_topologies: Box::default(),
            });
        }
        let term = |term: WireTerm| {
            let allowed = |expression: WireExpression| AllowedValues {
                key: expression.key,
                values: expression.values.into(),
            };
            TopologyTerm(term.match_label_expressions.into_iter().map(allowed).collect())
        };
        Some(Self {
            meta,
            provisioner: wire.provisioner,
            parameters: wire.parameters.unwrap_or_default(),
            reclaim: wire.reclaim_policy,
            mount_options: wire.mount_options.unwrap_or_default().into(),
            binding: wire.volume_binding_mode.unwrap_or_default(),
            allowed_topologies: wire.allowed_topologies.unwrap_or_default().into_iter().map(term).collect(),
        })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}
