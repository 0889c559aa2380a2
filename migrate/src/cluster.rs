//! Reads what the plan needs of a cluster: volumes, claims, and who uses them.
//!
//! Of pods and attachments only a few fields are read, and claims are not looked into but for their metadata: the API
//! library's types of them would add more to the executable than the rest of this command.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use kube::api::{ApiResource, DynamicObject, ListParams, Object};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::decide::Users;
use crate::options::Options;
use crate::prepare::{Objects, PlanInput, Prepared, claim_key, prepare};
use crate::record::MARK;
use crate::requests::{PATIENCE, patiently};

/// Who uses this volume now, which this claim (`namespace/name`) has. Only pods of the claim's namespace are read: those of a
/// large cluster take longer to list than a volume to convert.
///
/// # Errors
/// The API server's refusal, or no answer.
pub(crate) async fn users(client: &Client, volume: &str, claim: Option<&str>) -> Result<Users, kube::Error> {
    let mut all_users = AllUsers::default();
    all_users.read_attachments(client).await?;
    if let Some((namespace, _)) = claim.and_then(|claim| claim.split_once('/')) {
        let pods = ApiResource::erase::<Pod>(&());
        all_users.read_pods(Api::namespaced_with(client.clone(), namespace, &pods)).await?;
    }
    Ok(all_users.of(volume, claim))
}

/// Pods that may use a volume.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

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
    volumes: BTreeMap<String, Value>,
    /// Every claim, by `namespace/name`.
    claims: BTreeMap<String, DynamicObject>,
    /// Who uses the volumes.
    users: AllUsers,
}

/// Who uses which volume.
#[derive(Debug, Default)]
pub(crate) struct AllUsers {
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
        for volume in
            all(Api::<DynamicObject>::all_with(client.clone(), &volumes), ListParams::default()).await?
        {
            let name = volume.metadata.name.clone().unwrap_or_default();
            let volume = serde_json::to_value(volume).map_err(kube::Error::SerdeError)?;
            cluster.volumes.insert(name, volume);
        }
        let claims = ApiResource::erase::<PersistentVolumeClaim>(&());
        for claim in
            all(Api::<DynamicObject>::all_with(client.clone(), &claims), ListParams::default()).await?
        {
            cluster.claims.insert(key(&claim), claim);
        }
        cluster.users = AllUsers::read(client).await?;
        Ok(cluster)
    }

    /// The volume of this name, and what hangs on it.
    fn objects<'a>(&'a self, name: &str) -> Option<Objects<'a>> {
        let volume = self.volumes.get(name)?;
        let key = claim_key(volume);
        let claim = key.as_ref().and_then(|key| self.claims.get(key));
        Some(Objects { volume, claim, users: self.users.of(name, key.as_deref()) })
    }

    /// The plan for each in-tree volume that is wanted, by name.
    pub(crate) fn prepared<'a>(
        &'a self,
        input: &'a PlanInput,
        options: &'a Options,
    ) -> impl Iterator<Item = (&'a str, Result<Prepared, serde_json::Error>)> {
        let wanted = self.volumes.keys().filter(|name| options.wants(name));
        wanted.filter_map(|name| Some((name.as_str(), prepare(input, &self.objects(name)?).transpose()?)))
    }
}

/// The claims that a migration has marked, as `namespace/name`, each with the volume that its mark names.
///
/// # Errors
/// The API server's refusal, or no answer.
pub(crate) async fn marked(client: &Client) -> Result<Vec<(String, String)>, kube::Error> {
    let claims = ApiResource::erase::<PersistentVolumeClaim>(&());
    let claims: Vec<DynamicObject> =
        all(Api::all_with(client.clone(), &claims), ListParams::default()).await?;
    let mark = |claim: &DynamicObject| Some((key(claim), claim.annotations().get(MARK)?.clone()));
    Ok(claims.iter().filter_map(mark).collect())
}

/// Every StorageClass, by name.
///
/// # Errors
/// The API server's refusal, or no answer.
pub(crate) async fn classes(client: &Client) -> Result<BTreeMap<String, StorageClass>, kube::Error> {
    let mut found = BTreeMap::new();
    let classes = ApiResource::erase::<StorageClass>(&());
    for class in all(Api::<DynamicObject>::all_with(client.clone(), &classes), ListParams::default()).await? {
        let name = class.metadata.name.clone().unwrap_or_default();
        let class = serde_json::to_value(class).and_then(serde_json::from_value);
        found.insert(name, class.map_err(kube::Error::SerdeError)?);
    }
    Ok(found)
}

impl AllUsers {
    /// Reads those of every volume, a page at a time.
    ///
    /// # Errors
    /// The API server's refusal, or no answer.
    async fn read(client: &Client) -> Result<Self, kube::Error> {
        let mut all_users = Self::default();
        all_users.read_attachments(client).await?;
        all_users.read_pods(Api::all_with(client.clone(), &ApiResource::erase::<Pod>(&()))).await?;
        Ok(all_users)
    }

    async fn read_attachments(&mut self, client: &Client) -> Result<(), kube::Error> {
        let attachments = ApiResource::erase::<VolumeAttachment>(&());
        let attachments = Api::<UsingNode>::all_with(client.clone(), &attachments);
        for attachment in all(attachments, ListParams::default()).await? {
            if let Some(volume) = attachment.spec.source.persistent_volume_name {
                self.nodes.entry(volume).or_default().push(attachment.spec.node_name);
            }
        }
        Ok(())
    }

    async fn read_pods(&mut self, pods: Api<UsingPod>) -> Result<(), kube::Error> {
        for pod in all(pods, ListParams::default().fields(NOT_ENDED)).await? {
            self.see(&pod);
        }
        Ok(())
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

/// How often a list is begun anew whose next page is no longer to be had.
const ANEW: usize = 3;

/// Every object of a kind. A list that takes longer than etcd keeps what is old is begun anew.
async fn all<K>(api: Api<K>, params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut params = params.limit(PAGE);
    let (mut found, mut begun) = (Vec::new(), 0);
    loop {
        let page = match patiently(PATIENCE, || api.list(&params)).await.0 {
            Err(error) if kubernetes::api::is(&error, 410) && begun < ANEW => {
                begun += 1;
                found.clear();
                params.continue_token = None;
                continue;
            }
            page => page?,
        };
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
        let mut all_users = AllUsers::default();
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
            all_users.see(&serde_json::from_value(pod).unwrap());
        }
        assert_eq!(all_users.of("pv", Some("ns/data")).pods, ["ns/runs", "ns/waits"]);
        assert_eq!(all_users.of("pv", Some("ns/runs-own")).pods, ["ns/runs"]);
        assert_eq!(all_users.of("pv", Some("other/data")), Users::default());
        assert_eq!(all_users.of("pv", None), Users::default());
    }

    #[tokio::test]
    async fn attachments_past_the_first_page_are_read() {
        let page = |volume: &str, token: &str| {
            let attachment = json!({
                "metadata": {"name": volume},
                "spec": {"attacher": "a", "nodeName": "node", "source": {"persistentVolumeName": volume}},
            });
            (200, json!({"metadata": {"continue": token}, "items": [attachment]}))
        };
        let (requests, asked) = crate::fixture::server(&[page("first", "more"), page("second", "")]);
        let mut all_users = AllUsers::default();
        all_users.read_attachments(requests.client()).await.unwrap();
        for volume in ["first", "second"] {
            assert_eq!(all_users.of(volume, None).nodes, ["node"]);
        }
        let asked = asked.lock().unwrap();
        assert!(asked.len() == 2 && asked[0].contains("limit=500"), "{asked:?}");
        assert!(asked[1].contains("continue=more"), "{asked:?}");
    }

    #[tokio::test]
    async fn list_whose_next_page_has_expired_is_begun_anew() {
        let page = |volume: &str, token: &str| {
            let attachment = json!({
                "metadata": {"name": volume},
                "spec": {"attacher": "a", "nodeName": "node", "source": {"persistentVolumeName": volume}},
            });
            (200, json!({"metadata": {"continue": token}, "items": [attachment]}))
        };
        let expired = (
            410,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "old"}),
        );
        let pages = [page("first", "more"), expired, page("first", "again"), page("second", "")];
        let (requests, asked) = crate::fixture::server(&pages);
        let mut all_users = AllUsers::default();
        all_users.read_attachments(requests.client()).await.unwrap();
        assert_eq!(all_users.of("first", None).nodes, ["node"], "once");
        assert_eq!(all_users.of("second", None).nodes, ["node"]);
        let asked = asked.lock().unwrap();
        assert!(asked.len() == 4 && !asked[2].contains("continue"), "{asked:?}");
    }
}
