//! The same claims that must fail through the Go csi-provisioner and through ours: the same requests, no volume, and the same
//! events, but for texts that are listed here.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::implementation::Implementation;
use cluster::stand::{Stand, has_hosts};
use cluster::wait;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::equal::{make, up};
use super::mix::{DRIVER, Wanted, sources};
use super::provisioner;
use super::refused::{RESCHEDULED, attributes, claims, classes, ignored};
use super::seen::{self, Names, Seen};
use super::snapshots::{Cut, delete_all, put_snapshot};
use crate::{leader, wait_bound};

const LIMIT: Duration = Duration::from_secs(120);
const SELECTED: &str = "volume.kubernetes.io/selected-node";
const DRIVER_FLAGS: [&str; 2] = ["--capacity=small=4Mi", "--accepted-mutable-parameter-names=level"];

/// Claims of which ours says the same in other words (`ProvisionError`, `SourceError`): what each of both says.
const OTHER_WORDS: [(&str, &str, &str); 17] = [
    ("attributes-foreign", "which does not match driver name", "name another in the claim"),
    ("bad-template", "error resolving value", "unknown tokens \"nothing\""),
    (
        "clone-larger",
        "requested 524288 but source is 1048576",
        "requested volume size 524288 is less than the size 1048576",
    ),
    ("clone-missing", "persistentvolumeclaim \"missing\" not found", "/missing is not found"),
    ("clone-to-block", "must have the same volume mode", "is not the mode Filesystem of the source"),
    ("clone-unbound", "must have a status of Bound", "/unbound is not bound"),
    ("empty-secret", "value of either namespace or name is empty", "provisioner-secret-name is empty"),
    ("half-secret", "Both must be specified", "set both or neither"),
    ("nowhere", "is not in requisite", "is not in requisite"),
    ("selector", "claim Selector is not supported", "remove spec.selector from the claim"),
    (
        "snapshot-foreign",
        "is not handled by CSI driver of StorageClass now",
        "is of the driver other.example",
    ),
    (
        "snapshot-larger",
        "requested volume size 1048576 is less than the size 1073741824 for the",
        "requested volume size 1048576 is less than the size 1073741824 of the",
    ),
    ("snapshot-missing", "error getting snapshot missing from api server", "/missing is not found"),
    ("snapshot-of-block", "does not have permission to do so", "an administrator may allow it"),
    ("snapshot-unready", "snapshot unready is not Ready", "/unready is not ready to use"),
    ("two-file-systems", "specified in parameters with both", "both name a file system"),
    ("unknown-key", "found unknown parameter key", "no-such-key is unknown"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_must_fail_fail_alike() {
    if !has_hosts("csi-provisioner beside the Go csi-provisioner, with claims that fail") {
        return;
    }
    let stand = up("fail", &DRIVER_FLAGS).await;
    for object in classes(&stand.namespace).into_iter().chain(attributes()) {
        stand.control_plane.apply_object(object, &stand.namespace).await.expect("applied");
    }
    let mut made = Vec::new();
    for (who, name) in [(Implementation::Go, "go"), (Implementation::Ours, "us")] {
        let mut replica = provisioner(who, &stand, name, &["--snapshot-orphan-sweep-interval=2s"]);
        let leads = async || (leader(&stand).await.as_deref() == Some(name)).then_some(());
        wait::until("it to lead", LIMIT, leads).await.expect("it leads");
        made.push(play(&stand).await);
        replica.kill();
    }
    let [go, ours] = &made[..] else { panic!("two runs") };
    assert_eq!(go.len(), claims().len() + ignored().len());
    for (name, theirs) in go {
        let own = ours.get(name).expect("the same claims");
        for what in ["claim", "requests"] {
            assert_eq!(theirs[what], own[what], "{what} of {name}, the Go provisioner's on the left");
        }
        let others = OTHER_WORDS.iter().find(|(claim, ..)| claim == name);
        let Some((_, in_go, in_ours)) = others else {
            assert_eq!(theirs["events"], own["events"], "{name}, the Go provisioner's on the left");
            continue;
        };
        assert_ne!(theirs["events"], own["events"], "{name}: no other words are used any more");
        for (seen, words) in [(theirs, in_go), (own, in_ours)] {
            let events: Vec<String> = serde_json::from_value(seen["events"].clone()).expect("texts");
            assert!(events.iter().any(|event| event.contains(words)), "{name}: {events:?} lacks {words:?}");
        }
        assert_eq!(kinds(theirs), kinds(own), "types and reasons of {name}");
    }
}

/// Types and reasons of the events.
fn kinds(seen: &Seen) -> Vec<String> {
    let events: Vec<String> = serde_json::from_value(seen["events"].clone()).expect("texts");
    events.iter().map(|event| event.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// Makes the claims, looks at what comes of them, and deletes them.
async fn play(stand: &Stand) -> BTreeMap<String, Seen> {
    let (skip, every) = (seen::lines(stand), ListParams::default());
    let api: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    make(stand, &sources()).await;
    wait_bound(&api, sources().len()).await;
    make(stand, &[Wanted::new("unbound", "late", json!({}))]).await;
    let cut = |name, size, mode, driver, ready| (name, Cut { handle: "none", size, mode, driver, ready });
    for (name, cut) in [
        cut("unready", 1 << 20, "Filesystem", DRIVER, false),
        cut("foreign", 1 << 20, "Filesystem", "other.example", true),
        cut("large", 1 << 30, "Filesystem", DRIVER, true),
        cut("block", 1 << 20, "Block", DRIVER, true),
        cut("gone", 1 << 20, "Filesystem", DRIVER, true),
    ] {
        put_snapshot(stand, name, &cut).await;
    }
    let (all, quiet) = (claims(), ignored());
    make(stand, &quiet).await;
    make(stand, &all).await;
    let told = async || {
        let events = seen::events(stand).await;
        let is_failure = |event: &String| event.contains("ProvisioningFailed");
        let failed = |wanted: &Wanted| events.get(&wanted.name)?.iter().find(|event| is_failure(event));
        let claims = api.list(&every).await.ok()?;
        let sent_back = |claim: &&PersistentVolumeClaim| {
            RESCHEDULED.contains(&&*claim.name_any()) && !claim.annotations().contains_key(SELECTED)
        };
        let settled = claims.iter().filter(sent_back).count() == RESCHEDULED.len();
        (settled && all.iter().all(|wanted| failed(wanted).is_some())).then_some(())
    };
    wait::until("every claim to fail", LIMIT, told).await.expect("failed");
    let seen = look(stand, &all, &quiet, skip).await;

    let delete = DeleteParams::default();
    api.delete_collection(&delete, &every).await.expect("deleted");
    crate::wait_no_volumes(stand).await;
    let gone = async || api.list(&every).await.ok()?.items.is_empty().then_some(());
    wait::until("the claims to go", LIMIT, gone).await.expect("no finalizer holds them");
    for kind in ["volumesnapshots", "volumesnapshotcontents"] {
        delete_all(stand, kind).await;
    }
    let events: Api<Event> = Api::namespaced(stand.client.clone(), &stand.namespace);
    events.delete_collection(&delete, &every).await.expect("deleted");
    seen
}

/// What became of each claim. None has a volume.
async fn look(stand: &Stand, all: &[Wanted], quiet: &[Wanted], skip: usize) -> BTreeMap<String, Seen> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let volumes = volumes.list(&ListParams::default()).await.expect("volumes").items;
    assert_eq!(volumes.len(), sources().len(), "{volumes:?}");
    let requests = seen::requests(stand, "CreateVolume", skip);
    let events = seen::events(stand).await;
    let mut found = BTreeMap::new();
    for wanted in all.iter().chain(quiet) {
        let claim = api.get(&wanted.name).await.expect("it is there");
        let uid = claim.metadata.uid.clone().expect("a uid");
        let mut names = Names::default();
        names.add(&uid, "UID");
        let name = format!("pvc-{uid}");
        let asked: Vec<&Value> = requests.iter().filter(|request| request["name"] == name.as_str()).collect();
        let seen = [
            ("claim", seen::of_claim(&claim)),
            ("requests", json!(asked)),
            ("events", json!(events.get(&wanted.name))),
        ];
        let seen = seen.into_iter().map(|(what, value)| (what.to_owned(), names.apply(&value)));
        found.insert(wanted.name.clone(), seen.collect());
    }
    found
}
