//! A control plane with a class that may grow, a quota, bound volumes, and the driver as the test calls it itself.

use std::collections::BTreeMap;
use std::time::Duration;

use base::metrics::Metrics;
use cluster::stand::Stand;
use cluster::wait;
use csi::v1::volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode};
use csi::{CallLog, Client, Connection, DialOptions, Endpoint, v1};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const NAME: &str = "hostpath.csi.k8s.io";

/// A stand, and the driver as the test calls it itself.
pub(crate) struct Site {
    pub(crate) stand: Stand,
    pub(crate) driver: Client,
}

impl Site {
    /// With more flags for the driver.
    pub(crate) async fn up(name: &str, driver_flags: &[&str]) -> Self {
        let rbac = include_str!("../../../../manifests/rbac/resizer.yaml");
        let stand = Stand::with(name, driver_flags, "csi-resizer", rbac).await;
        let socket = stand.control_plane.folder().join("csi.sock");
        let endpoint = Endpoint::parse(&socket.to_string_lossy()).expect("an address");
        let connection = Connection::dial(endpoint, DialOptions::default()).await.expect("the driver");
        let driver = Client::new(connection, Metrics::new(), CallLog::default());
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "grows"},
            "provisioner": NAME, "reclaimPolicy": "Delete", "allowVolumeExpansion": true,
        });
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"},
            "spec": {"hard": {"requests.storage": "4Gi", "persistentvolumeclaims": "100"}},
        });
        for object in [class, quota] {
            stand.control_plane.apply_object(object, &stand.namespace).await.expect("applied");
        }
        Self { stand, driver }
    }

    /// A VolumeAttributesClass of the driver.
    pub(crate) async fn attributes_class(&self, name: &str) {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name},
            "driverName": NAME, "parameters": {"level": name},
        });
        self.stand.control_plane.apply_object(class, "").await.expect("a class");
    }

    /// A volume of 1 Mi at the driver, its object, and its claim, bound to each other.
    pub(crate) async fn volume(&self, name: &str) {
        let namespace = &self.stand.namespace;
        let access_mode = Some(AccessMode { mode: Mode::SingleNodeWriter.into() });
        let access_type = Some(AccessType::Mount(MountVolume::default()));
        let request = v1::CreateVolumeRequest {
            name: name.to_owned(),
            volume_capabilities: vec![v1::VolumeCapability { access_mode, access_type }],
            capacity_range: Some(v1::CapacityRange { required_bytes: 1 << 20, limit_bytes: 0 }),
            ..v1::CreateVolumeRequest::default()
        };
        let made = self.driver.call(request, LIMIT).await.expect("made").volume.expect("a volume");
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "grows", "claimRef": {"namespace": namespace, "name": name},
                "csi": {"driver": NAME, "volumeHandle": made.volume_id},
            },
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeName": name, "storageClassName": "grows",
                "resources": {"requests": {"storage": "1Mi"}},
            },
        });
        for object in [volume, claim] {
            self.stand.control_plane.apply_object(object, namespace).await.expect("applied");
        }
        self.until(name, "to be bound", |claim| claim["status"]["phase"] == "Bound").await;
    }

    /// The claim as the API server has it.
    pub(crate) async fn claim(&self, name: &str) -> Value {
        let namespace = &self.stand.namespace;
        self.get(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")).await
    }

    /// The claim's volume.
    pub(crate) async fn pv(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/persistentvolumes/{name}")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.stand.client.request(request).await.expect("there")
    }

    /// Sends a merge patch, as a user would until the quota has taken it; `path` is below the namespace's claims.
    pub(crate) async fn patch(&self, path: &str, change: Value) -> Result<Value, kube::Error> {
        let namespace = &self.stand.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{path}");
        let send = async || {
            let request = http::Request::patch(&path)
                .header("content-type", "application/merge-patch+json")
                .body(change.to_string().into_bytes())
                .expect("a request");
            self.stand.client.request(request).await
        };
        cluster::apply::again(send).await
    }

    /// The user requests this size.
    pub(crate) async fn request(&self, name: &str, size: &str) {
        let change = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        self.patch(name, change).await.expect("patched");
    }

    /// The user names this VolumeAttributesClass.
    pub(crate) async fn name_class(&self, name: &str, class: &str) {
        self.patch(name, json!({"spec": {"volumeAttributesClassName": class}})).await.expect("patched");
    }

    /// Waits until the claim is so.
    pub(crate) async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let look = async || Some(self.claim(name).await).filter(|claim| holds(claim));
        match wait::until(&format!("{name} {what}"), LIMIT, look).await {
            Ok(claim) => claim,
            Err(error) => panic!("{error}: {}", self.claim(name).await["status"]),
        }
    }

    pub(crate) async fn until_has(&self, name: &str, size: &str) -> Value {
        self.until(name, &format!("to have {size}"), |claim| claim["status"]["capacity"]["storage"] == size)
            .await
    }

    /// The reasons of the events about a claim, in order of the alphabet, once there are so many.
    pub(crate) async fn events(&self, name: &str, count: usize) -> Vec<String> {
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector=involvedObject.name={name}",
            self.stand.namespace
        );
        let look = async || {
            let list = self.get(&path).await;
            let ours = |event: &&Value| {
                event["source"]["component"].as_str().is_some_and(|name| name.starts_with("external-resizer"))
            };
            let events = list["items"].as_array().cloned().unwrap_or_default();
            let mut reasons: Vec<String> = events
                .iter()
                .filter(ours)
                .filter_map(|event| event["reason"].as_str())
                .map(str::to_owned)
                .collect();
            reasons.sort();
            (reasons.len() >= count).then_some(reasons)
        };
        wait::until(&format!("{count} events of {name}"), LIMIT, look).await.expect("events")
    }

    /// Patches that the API server has answered: resource, subresource and code to their number.
    pub(crate) async fn patches(&self) -> BTreeMap<String, u64> {
        let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
        let page = self.stand.client.request_text(request).await.expect("the page");
        let mut patches = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| line.split(&format!("{name}=\"")).nth(1)?.split('"').next();
            let [resource, subresource, code, verb] =
                ["resource", "subresource", "code", "verb"].map(|name| label(name).unwrap_or_default());
            let count =
                line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
            if verb == "PATCH" && ["persistentvolumeclaims", "persistentvolumes"].contains(&resource) {
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

    /// Waits until this replica holds the lease.
    pub(crate) async fn led_by(&self, name: &str) {
        let leases: Api<Lease> = Api::namespaced(self.stand.client.clone(), &self.stand.namespace);
        let leads = async || {
            let lease = leases.get_opt("external-resizer-hostpath-csi-k8s-io").await.ok()??;
            (lease.spec?.holder_identity? == name).then_some(())
        };
        wait::until(&format!("{name} to lead"), LIMIT, leads).await.expect("it leads");
    }
}

/// The types of a claim's conditions but `Unused`, which kube-controller-manager writes.
pub(crate) fn conditions(claim: &Value) -> Vec<String> {
    let all = claim["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let types = all.iter().filter_map(|one| one["type"].as_str());
    let mut types: Vec<String> = types.filter(|one| *one != "Unused").map(str::to_owned).collect();
    types.sort();
    types
}
