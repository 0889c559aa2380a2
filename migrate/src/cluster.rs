//! Reads what the plan needs of a cluster: volumes, claims, and who uses them.
//!
//! Of pods and attachments only a few fields are read, and claims are not looked into but for their metadata: the API
//! library's types of them would add more to the executable than the rest of this command.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use kube::api::{ApiResource, DynamicObject, ListParams, Object};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::decide::Users;

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// A pod, cut to what is read of it.
type UsingPod = Object<PodSpec, PodStatus>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    volumes: Vec<PodVolume>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodVolume {
    name: String,
    persistent_volume_claim: Option<MountedClaim>,
    ephemeral: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MountedClaim {
    claim_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

/// An attachment, cut to what is read of it.
type UsingNode = Object<AttachmentSpec, IgnoredStatus>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AttachmentSpec {
    node_name: String,
    source: AttachmentSource,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AttachmentSource {
    persistent_volume_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct IgnoredStatus {}

/// The cluster as it was read.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// Every PersistentVolume, by name, as the API server has it.
    pub(crate) volumes: BTreeMap<String, Value>,
    /// Every StorageClass, by name.
    pub(crate) classes: BTreeMap<String, StorageClass>,
    /// Every claim, by `namespace/name`.
    pub(crate) claims: BTreeMap<String, DynamicObject>,
    /// Who uses the volumes.
    pub(crate) uses: Uses,
}

/// Who uses which volume.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// The nodes that volumes are attached to, by the volume's name.
    nodes: BTreeMap<String, Vec<String>>,
    /// The pods that have not ended, by the claim that they mount.
    pods: BTreeMap<String, Vec<String>>,
}

impl Cluster {
    /// Reads it, a page at a time.
    ///
    /// # Errors
    /// The API server's refusal, or no answer.
    pub(crate) async fn read(client: &Client) -> Result<Self, kube::Error> {
        let mut cluster = Self::default();
        let volumes = ApiResource::erase::<PersistentVolume>(&());
        for volume in all(Api::<DynamicObject>::all_with(client.clone(), &volumes)).await? {
            let name = volume.metadata.name.clone().unwrap_or_default();
            let volume = serde_json::to_value(volume).map_err(kube::Error::SerdeError)?;
            cluster.volumes.insert(name, volume);
        }
        let claims = ApiResource::erase::<PersistentVolumeClaim>(&());
        for claim in all(Api::<DynamicObject>::all_with(client.clone(), &claims)).await? {
            cluster.claims.insert(key(&claim), claim);
        }
        let classes = ApiResource::erase::<StorageClass>(&());
        for class in all(Api::<DynamicObject>::all_with(client.clone(), &classes)).await? {
            let name = class.metadata.name.clone().unwrap_or_default();
            let class = serde_json::to_value(class).and_then(serde_json::from_value);
            cluster.classes.insert(name, class.map_err(kube::Error::SerdeError)?);
        }
        cluster.uses = Uses::read(client).await?;
        Ok(cluster)
    }
}

impl Uses {
    /// Reads it, a page at a time.
    ///
    /// # Errors
    /// The API server's refusal, or no answer.
    pub(crate) async fn read(client: &Client) -> Result<Self, kube::Error> {
        let mut uses = Self::default();
        let attachments = ApiResource::erase::<VolumeAttachment>(&());
        for attachment in all(Api::<UsingNode>::all_with(client.clone(), &attachments)).await? {
            if let Some(volume) = attachment.spec.source.persistent_volume_name {
                uses.nodes.entry(volume).or_default().push(attachment.spec.node_name);
            }
        }
        let pods = ApiResource::erase::<Pod>(&());
        for pod in all(Api::<UsingPod>::all_with(client.clone(), &pods)).await? {
            uses.see(&pod);
        }
        Ok(uses)
    }

    /// Who uses a volume that this claim has.
    pub(crate) fn of(&self, volume: &str, claim: Option<&str>) -> Users {
        let pods = claim.and_then(|claim| self.pods.get(claim));
        Users {
            nodes: self.nodes.get(volume).cloned().unwrap_or_default(),
            pods: pods.cloned().unwrap_or_default(),
        }
    }

    fn see(&mut self, pod: &UsingPod) {
        let phase = pod.status.as_ref().map_or("", |status| &status.phase);
        if matches!(phase, "Succeeded" | "Failed") {
            return;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        for volume in &pod.spec.volumes {
            let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(claim), _) => claim.claim_name.clone(),
                // The claim of an ephemeral volume is named after the pod.
                (None, Some(_)) => format!("{name}-{}", volume.name),
                (None, None) => continue,
            };
            self.pods.entry(format!("{namespace}/{claim}")).or_default().push(key(pod));
        }
    }
}

/// `namespace/name`.
fn key(object: &impl Resource) -> String {
    let meta = object.meta();
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Every object of a kind.
async fn all<K>(api: Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_that_have_ended_use_nothing() {
        let mut uses = Uses::default();
        for (name, phase) in
            [("runs", "Running"), ("waits", "Pending"), ("done", "Succeeded"), ("failed", "Failed")]
        {
            let volumes = json!([
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "own", "ephemeral": {}},
                {"name": "tmp", "emptyDir": {}},
            ]);
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "ns", "name": name}, "spec": {"containers": [], "volumes": volumes},
                "status": {"phase": phase},
            });
            uses.see(&serde_json::from_value(pod).unwrap());
        }
        assert_eq!(uses.of("pv", Some("ns/data")).pods, ["ns/runs", "ns/waits"]);
        assert_eq!(uses.of("pv", Some("ns/runs-own")).pods, ["ns/runs"]);
        assert_eq!(uses.of("pv", Some("other/data")), Users::default());
        assert_eq!(uses.of("pv", None), Users::default());
    }
}
