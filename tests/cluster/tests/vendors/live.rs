//! A claim's life: made, attached, grown, detached and deleted, so that each sidecar makes the writes that it is for.

use std::time::Duration;

use cluster::ControlPlane;
use cluster::wait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::driver::NODE;

/// For each step.
const LIMIT: Duration = Duration::from_secs(30);

/// What a claim lives through.
pub(crate) struct Life<'a> {
    pub(crate) driver: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) is_attached: bool,
    pub(crate) is_grown: bool,
}

impl Life<'_> {
    /// Lives it; gives the step that did not come to pass, or `None`.
    pub(crate) async fn lived(&self, plane: &ControlPlane) -> Option<String> {
        self.live(plane).await.err().map(|late| late.to_string())
    }

    async fn live(&self, plane: &ControlPlane) -> Result<(), wait::Late> {
        let client = plane.client().expect("a client");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), self.namespace);
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        let attachments: Api<VolumeAttachment> = Api::all(client);
        let delete = DeleteParams::default();
        self.make(plane, &claims).await;
        let bound = async || {
            let claim = claims.get("claim").await.ok()?;
            let is_bound = claim.status.is_some_and(|is| is.phase.as_deref() == Some("Bound"));
            claim.spec?.volume_name.filter(|_| is_bound)
        };
        let volume = wait::until("the volume", LIMIT, bound).await?;
        if self.is_attached {
            let object = json!({
                "metadata": {"name": self.namespace},
                "spec": {"attacher": self.driver, "nodeName": NODE, "source": {"persistentVolumeName": volume}},
            });
            let object = serde_json::from_value(object).expect("an attachment");
            attachments.create(&PostParams::default(), &object).await.expect("created");
            let attached = async || {
                let attachment = attachments.get(self.namespace).await;
                attachment.is_ok_and(|found| found.status.is_some_and(|status| status.attached))
            };
            wait::until_true("the attachment", LIMIT, attached).await?;
        }
        if self.is_grown {
            let grown = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
            claims.patch("claim", &PatchParams::default(), &Patch::Merge(&grown)).await.expect("patched");
            let is_grown = async || {
                let claim = claims.get("claim").await.ok()?;
                (claim.status?.capacity?.get("storage")?.0 == "2Gi").then_some(())
            };
            wait::until("the growth", LIMIT, is_grown).await?;
        }
        if self.is_attached {
            attachments.delete(self.namespace, &delete).await.expect("deleted");
            let gone = async || attachments.get_opt(self.namespace).await.is_ok_and(|found| found.is_none());
            wait::until_true("the detachment", LIMIT, gone).await?;
        }
        claims.delete("claim", &delete).await.expect("deleted");
        let gone = async || volumes.get_opt(&volume).await.is_ok_and(|found| found.is_none());
        wait::until_true("the deletion", LIMIT, gone).await
    }

    async fn make(&self, plane: &ControlPlane, claims: &Api<PersistentVolumeClaim>) {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": self.namespace},
            "provisioner": self.driver, "allowVolumeExpansion": true,
        });
        plane.apply_object(class, "").await.expect("a class");
        let claim = json!({
            "metadata": {"name": "claim"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": self.namespace,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        let claim = serde_json::from_value(claim).expect("a claim");
        claims.create(&PostParams::default(), &claim).await.expect("created");
    }
}
