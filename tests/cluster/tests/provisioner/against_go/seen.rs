//! What a provisioner made of its claims, without what differs from one run to the next: uids, ids of volumes, versions,
//! times.

use std::collections::{BTreeMap, BTreeSet};

use cluster::stand::Stand;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::mix::DRIVER;

/// Texts that differ from run to run, each with what is written instead.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(String, String)>);

impl Names {
    pub(super) fn add(&mut self, text: &str, instead: impl Into<String>) {
        self.0.push((text.to_owned(), instead.into()));
    }

    pub(super) fn apply(&self, value: &Value) -> Value {
        let mut text = value.to_string();
        for (from, to) in &self.0 {
            text = text.replace(from, to);
        }
        serde_json::from_str(&text).expect("names have no quotes")
    }
}

/// What there is of one claim.
pub(super) type Seen = BTreeMap<String, Value>;

/// The calls of one method that the driver logged after its first `skip` lines: the requests, as JSON without the values of
/// secrets, in no order, equal ones once.
pub(super) fn requests(stand: &Stand, method: &str, skip: usize) -> Vec<Value> {
    let log = stand.control_plane.log("driver", usize::MAX);
    let mut found = BTreeSet::new();
    for line in log.lines().skip(skip) {
        let Some((_, call)) = line.split_once("gRPCCall: ") else { continue };
        let call: Value = serde_json::from_str(call).expect("the driver logs JSON");
        if call["Method"] == format!("/csi.v1.Controller/{method}") {
            found.insert(call["Request"].to_string());
        }
    }
    found.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

/// How many lines the driver has logged.
pub(super) fn lines(stand: &Stand) -> usize {
    stand.control_plane.log("driver", usize::MAX).lines().count()
}

/// Every claim of the namespace, by name: the claim, its volume, the requests for it, its events. `names` learns how the
/// volumes are called.
pub(super) async fn claims(stand: &Stand, names: &mut Names, skip: usize) -> BTreeMap<String, Seen> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let claims = claims.list(&ListParams::default()).await.expect("claims").items;
    let mut pairs = Vec::new();
    for claim in claims {
        let uid = claim.metadata.uid.clone().expect("a uid");
        let name = claim.metadata.name.clone().expect("a name");
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).expect("bound");
        let volume = volumes.get(&bound).await.expect("its volume");
        let handle = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).expect("a CSI volume");
        names.add(&handle.volume_handle, format!("ID({name})"));
        names.add(&uid, format!("UID({name})"));
        let cut: String = uid.chars().filter(|c| *c != '-').take(20).collect();
        names.add(&cut, format!("CUT({name})"));
        pairs.push((name, bound, claim, volume));
    }
    let requests = requests(stand, "CreateVolume", skip);
    let events = events(stand).await;
    let mut all = BTreeMap::new();
    for (name, bound, claim, volume) in pairs {
        let asked: Vec<&Value> =
            requests.iter().filter(|request| request["name"] == bound.as_str()).collect();
        let seen = [
            ("claim", of_claim(&claim)),
            ("volume", of_volume(&volume)),
            ("requests", json!(asked)),
            ("events", json!(events.get(&name))),
        ];
        let seen = seen.into_iter().map(|(what, value)| (what.to_owned(), names.apply(&value)));
        all.insert(name, seen.collect());
    }
    all
}

/// The DeleteVolume requests.
pub(super) fn deletions(stand: &Stand, names: &Names, skip: usize) -> BTreeSet<String> {
    let requests = requests(stand, "DeleteVolume", skip);
    requests.iter().map(|request| names.apply(request).to_string()).collect()
}

pub(super) fn of_claim(claim: &PersistentVolumeClaim) -> Value {
    let metadata = &claim.metadata;
    json!({"annotations": metadata.annotations, "finalizers": metadata.finalizers, "labels": metadata.labels})
}

fn of_volume(volume: &PersistentVolume) -> Value {
    let metadata = &volume.metadata;
    let mut spec = json!(volume.spec);
    // The version is one that the claim had, and no more can be said of it.
    let version = spec["claimRef"]["resourceVersion"].take();
    assert!(version.as_str().is_some_and(|version| version.parse::<u64>().is_ok()), "{version}");
    let identity = spec["csi"]["volumeAttributes"]["storage.kubernetes.io/csiProvisionerIdentity"].take();
    let identity = identity.as_str().unwrap_or_default().splitn(3, '-').collect::<Vec<_>>();
    let is_number = |text: &&str| text.parse::<u64>().is_ok();
    assert!(identity.iter().take(2).all(is_number) && identity.get(2) == Some(&DRIVER), "{identity:?}");
    json!({
        "name": metadata.name, "annotations": metadata.annotations, "labels": metadata.labels,
        "finalizers": metadata.finalizers, "owners": metadata.owner_references, "spec": spec,
    })
}

/// Clones that meet at the finalizer of their source are told so, by both, and tried again. Which ones is chance.
const CONFLICTS: [&str; 2] = ["the object has been modified", "it has just changed"];

/// Whether a line or an event tells of such a meeting.
pub(super) fn is_conflict(text: &str) -> bool {
    CONFLICTS.iter().any(|conflict| text.contains(conflict))
}

/// The events that provisioners wrote about each claim: type, reason and message, equal ones once.
pub(super) async fn events(stand: &Stand) -> BTreeMap<String, BTreeSet<String>> {
    let events: Api<Event> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events.list(&ListParams::default()).await.expect("events") {
        let component = event.source.and_then(|source| source.component).unwrap_or_default();
        let parts: Vec<&str> = component.split('_').collect();
        if parts.first() != Some(&DRIVER) {
            continue;
        }
        assert_eq!(parts.len(), 3, "driver, host and a uuid: {component}");
        let text = [event.type_, event.reason, event.message].map(Option::unwrap_or_default).join(" ");
        if !is_conflict(&text) {
            all.entry(event.involved_object.name.unwrap_or_default()).or_default().insert(text);
        }
    }
    all
}

/// Whether all of these claims have their last event.
pub(super) async fn told(stand: &Stand, count: usize) -> bool {
    let has = |events: &BTreeSet<String>| events.iter().any(|event| event.contains("ProvisioningSucceeded"));
    events(stand).await.values().filter(|events| has(events)).count() == count
}
