//! A control plane with a node, volumes, pods, and the driver as the test calls it itself.

use std::collections::BTreeMap;
use std::time::Duration;

use base::metrics::Metrics;
use cluster::node::NodeDriver;
use cluster::wait;
use csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode};
use csi::{CallLog, Client, Connection, DialOptions, Endpoint, v1};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use cluster::stand::{Replica, Stand};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const NAME: &str = "hostpath.csi.k8s.io";
pub(crate) const NODE: &str = "node-1";

/// A stand with a node, and the driver as the test calls it itself.
pub(crate) struct Site {
    pub(crate) stand: Stand,
    pub(crate) driver: Client,
}

impl Site {
    pub(crate) async fn up(name: &str) -> Self {
        Self::with(name, &[]).await
    }

    /// The same with more flags for the driver.
    pub(crate) async fn with(name: &str, driver_flags: &[&str]) -> Self {
        let rbac = include_str!("../../../../manifests/rbac/attacher.yaml");
        let driver_flags = [&["--enable-attach"], driver_flags].concat();
        let stand = Stand::with(name, &driver_flags, "csi-attacher", rbac).await;
        let socket = stand.control_plane.folder().join("csi.sock");
        let endpoint = Endpoint::parse(&socket.to_string_lossy()).expect("an address");
        let connection = Connection::dial(endpoint, DialOptions::default()).await.expect("the driver");
        let driver = Client::new(connection, Metrics::new(), CallLog::default());
        let plane = &stand.control_plane;
        let ours = NodeDriver { name: NAME.to_owned(), node_id: NODE.to_owned(), ..NodeDriver::default() };
        plane.node(NODE, &BTreeMap::new(), &[ours]).await.expect("a node");
        let object = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": NAME},
            "spec": {"attachRequired": true, "podInfoOnMount": false},
        });
        plane.apply_object(object, "").await.expect("a CSIDriver");
        let accounts: Api<ServiceAccount> = Api::namespaced(stand.client.clone(), &stand.namespace);
        let account = async || accounts.get_opt("default").await.ok()?;
        wait::until("the default service account", LIMIT, account).await.expect("an account");
        Self { stand, driver }
    }

    pub(crate) fn attacher(&self, flags: &[&str]) -> Replica {
        self.stand.sidecar("csi-attacher", "a", flags)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        Api::all(self.stand.client.clone())
    }

    /// A volume at the driver, its object with `change`, and its claim, bound to each other.
    pub(crate) async fn volume(&self, name: &str, change: Value) {
        let namespace = &self.stand.namespace;
        let mode = change.pointer("/spec/volumeMode").cloned().unwrap_or_else(|| json!("Filesystem"));
        let mut bound = json!({"spec": {"claimRef": {"namespace": namespace, "name": name}}});
        merge(&mut bound, &change);
        self.unclaimed(name, bound).await;
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeMode": mode, "volumeName": name, "storageClassName": "",
                "resources": {"requests": {"storage": "1Mi"}},
            },
        });
        self.stand.control_plane.apply_object(claim, namespace).await.expect("a claim");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.stand.client.clone(), namespace);
        let bound = async || (claims.get(name).await.ok()?.status?.phase? == "Bound").then_some(());
        wait::until("the claim to be bound", LIMIT, bound).await.expect("bound");
    }

    /// A volume at the driver and its object with `change`.
    pub(crate) async fn unclaimed(&self, name: &str, change: Value) {
        let block = change.pointer("/spec/volumeMode").is_some_and(|mode| mode == "Block");
        let access_type =
            if block { AccessType::Block(BlockVolume {}) } else { AccessType::Mount(MountVolume::default()) };
        let access_mode = Some(AccessMode { mode: Mode::SingleNodeWriter.into() });
        let request = v1::CreateVolumeRequest {
            name: name.to_owned(),
            volume_capabilities: vec![v1::VolumeCapability { access_mode, access_type: Some(access_type) }],
            capacity_range: Some(v1::CapacityRange { required_bytes: 1 << 20, limit_bytes: 0 }),
            ..v1::CreateVolumeRequest::default()
        };
        let made = self.driver.call(request, LIMIT).await.expect("made").volume.expect("a volume");
        let mut volume = json!({
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "persistentVolumeReclaimPolicy": "Retain",
                "csi": {"driver": NAME, "volumeHandle": made.volume_id},
            },
        });
        merge(&mut volume, &change);
        let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
        self.api().create(&PostParams::default(), &volume).await.expect("created");
    }

    /// A volume's id at the driver.
    pub(crate) async fn handle(&self, name: &str) -> String {
        let volume = self.api::<PersistentVolume>().get(name).await.expect("there");
        volume.spec.and_then(|spec| spec.csi).expect("a CSI volume").volume_handle
    }

    /// An attachment of the volume of this name, called as the volume.
    pub(crate) async fn attachment(&self, name: &str, node: &str) {
        let attachment = json!({
            "metadata": {"name": name},
            "spec": {"attacher": NAME, "nodeName": node, "source": {"persistentVolumeName": name}},
        });
        let attachment: VolumeAttachment = serde_json::from_value(attachment).expect("an attachment");
        self.api().create(&PostParams::default(), &attachment).await.expect("created");
    }

    /// A pod on the node with the claim of each of these names.
    pub(crate) async fn pod(&self, name: &str, claims: &[&str]) {
        let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "nodeName": NODE, "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": "none.example/none"}],
                "volumes": claims.iter().map(volume).collect::<Vec<_>>(),
            },
        });
        self.stand.control_plane.apply_object(pod, &self.stand.namespace).await.expect("a pod");
    }

    pub(crate) async fn delete_pod(&self, name: &str) {
        let pods: Api<Pod> = Api::namespaced(self.stand.client.clone(), &self.stand.namespace);
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete(name, &params).await.expect("deleted");
    }

    /// Who holds the lease.
    pub(crate) async fn leader(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.stand.client.clone(), &self.stand.namespace);
        let lease = leases.get_opt("external-attacher-leader-hostpath-csi-k8s-io").await.ok()??;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    pub(crate) async fn led_by(&self, name: &str) {
        let leads = async || (self.leader().await? == name).then_some(());
        wait::until(&format!("{name} to lead"), LIMIT, leads).await.expect("it leads");
    }

    pub(crate) async fn attachments(&self) -> Vec<VolumeAttachment> {
        self.api().list(&ListParams::default()).await.expect("attachments").items
    }

    /// Waits until so many attachments are attached and there are no others.
    pub(crate) async fn attached(&self, count: usize) -> Vec<VolumeAttachment> {
        let all = async || {
            let attachments = self.attachments().await;
            let attached = |one: &VolumeAttachment| one.status.as_ref().is_some_and(|status| status.attached);
            (attachments.len() == count && attachments.iter().all(attached)).then_some(attachments)
        };
        let what = format!("{count} attachments to be attached");
        wait::until(&what, LIMIT, all).await.expect("attached")
    }

    /// What the driver says it has published, by volume id.
    pub(crate) async fn published(&self) -> Vec<String> {
        let listed = self.driver.call(v1::ListVolumesRequest::default(), LIMIT).await.expect("a list");
        let published = listed.entries.into_iter().filter(|entry| {
            entry.status.as_ref().is_some_and(|status| !status.published_node_ids.is_empty())
        });
        published.filter_map(|entry| Some(entry.volume?.volume_id)).collect()
    }

    /// Patches that the API server has answered: resource, subresource and code to their number.
    pub(crate) async fn patches(&self) -> BTreeMap<String, u64> {
        let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
        let page = self.stand.client.request_text(request).await.expect("the page");
        let lines = page
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{") && line.contains("verb=\"PATCH\""));
        let mut patches = BTreeMap::new();
        for line in lines {
            let label = |name: &str| line.split(&format!("{name}=\"")).nth(1)?.split('"').next();
            let [resource, subresource, code] =
                ["resource", "subresource", "code"].map(|name| label(name).unwrap_or_default());
            let count =
                line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
            if ["volumeattachments", "persistentvolumes"].contains(&resource) {
                *patches.entry(format!("{resource}/{subresource} {code}")).or_default() += count;
            }
        }
        patches
    }

    /// How many calls of a method ended with a code, as a sidecar's page says.
    pub(crate) async fn calls(&self, sidecar: &str, method: &str, code: &str) -> usize {
        let page = self.stand.metrics(sidecar).await;
        let sample = format!(
            "csi_sidecar_operations_seconds_count{{driver_name=\"{NAME}\",grpc_status_code=\"{code}\",method_name=\"/csi.v1.Controller/{method}\"}} "
        );
        let value = page.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok());
        value.unwrap_or_default()
    }
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}
