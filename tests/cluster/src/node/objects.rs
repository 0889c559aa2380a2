//! Nodes without a kubelet: the objects that the scheduler, the attach-detach controller and the sidecars read.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::apply::ApplyError;
use crate::control_plane::ControlPlane;

/// A driver as the kubelet would have written it into the CSINode.
#[derive(Debug, Clone, Default)]
pub struct NodeDriver {
    /// The driver's name.
    pub name: String,
    /// The node's id in the driver's words.
    pub node_id: String,
    /// Keys of the node's labels that make up the driver's topology.
    pub topology_keys: Vec<String>,
    /// How many volumes the node takes; `None` is no limit.
    pub allocatable: Option<i32>,
}

impl ControlPlane {
    /// Makes a ready Node named `name` with `labels`, and its CSINode with `drivers`.
    ///
    /// It has room for pods, and asks the attach-detach controller to attach its volumes; nobody runs the pods.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn node(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        drivers: &[NodeDriver],
    ) -> Result<(), ApplyError> {
        let mut labels = labels.clone();
        labels.entry("kubernetes.io/hostname".to_owned()).or_insert_with(|| name.to_owned());
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": { "volumes.kubernetes.io/controller-managed-attach-detach": "true" },
            },
        });
        self.apply_object(node, "").await?;
        let resources = json!({ "cpu": "64", "memory": "64Gi", "pods": "1000" });
        let status = json!({ "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
        } });
        let nodes: Api<Node> = Api::all(self.client()?);
        nodes
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
            .await
            .map_err(|source| ApplyError::Api { kind: "Node".to_owned(), name: name.to_owned(), source })?;
        let drivers: Vec<_> = drivers
            .iter()
            .map(|driver| {
                json!({
                    "name": driver.name,
                    "nodeID": driver.node_id,
                    "topologyKeys": driver.topology_keys,
                    "allocatable": driver.allocatable.map(|count| json!({ "count": count })),
                })
            })
            .collect();
        let csi_node = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": { "name": name },
            "spec": { "drivers": drivers },
        });
        self.apply_object(csi_node, "").await?;
        Ok(())
    }
}
