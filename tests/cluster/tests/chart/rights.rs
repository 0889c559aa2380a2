//! What the chart grants: the same as `manifests/rbac`, less what is for features that are off.

use std::collections::{BTreeMap, BTreeSet};

use cluster::apply::documents;
use serde_json::Value;

use crate::helm::{render, values};

/// `VERB GROUP/RESOURCE`, with `here` before what is granted in one namespace only.
type Rights = BTreeSet<String>;

const SIDECARS: [&str; 3] = ["provisioner", "attacher", "resizer"];

fn rights(roles: &[Value]) -> Rights {
    let mut rights = Rights::new();
    for role in roles {
        let here = if role["kind"] == "Role" { "here " } else { "" };
        for rule in role["rules"].as_array().expect("rules") {
            let words = |key: &str| -> Vec<String> {
                rule[key]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|word| word.as_str().expect("text").to_owned())
                    .collect()
            };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    rights
                        .extend(words("verbs").iter().map(|verb| format!("{here}{verb} {group}/{resource}")));
                }
            }
        }
    }
    rights
}

/// What the chart grants to each sidecar.
fn granted(set: &[&str]) -> BTreeMap<&'static str, Rights> {
    let objects = render(&values("separate"), set).expect("rendered");
    let of = |sidecar: &str| {
        let is_its = |object: &&Value| {
            let is_role = object["kind"] == "ClusterRole" || object["kind"] == "Role";
            is_role && object["metadata"]["name"] == format!("example-csi-{sidecar}")
        };
        rights(&objects.iter().filter(is_its).cloned().collect::<Vec<_>>())
    };
    SIDECARS.into_iter().map(|sidecar| (sidecar, of(sidecar))).collect()
}

#[test]
fn all_features_grant_what_the_manifests_do() {
    let granted = granted(&[]);
    for sidecar in SIDECARS {
        let file = format!("{}/../../manifests/rbac/{sidecar}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).expect("a manifest");
        let roles: Vec<Value> =
            documents(&text).expect("YAML").into_iter().filter(|one| one.get("rules").is_some()).collect();
        assert_eq!(roles.len(), 2, "{sidecar}");
        assert_eq!(granted[sidecar], rights(&roles), "{sidecar}");
    }
}

#[test]
fn feature_that_is_off_takes_its_rights_away() {
    let all = granted(&[]);
    for (feature, lost) in [
        (
            "attach",
            &[
                "provisioner get storage.k8s.io/volumeattachments",
                "provisioner list storage.k8s.io/volumeattachments",
                "provisioner watch storage.k8s.io/volumeattachments",
            ][..],
        ),
        ("topology", &[]),
        ("clones", &[]),
        (
            "snapshots",
            &[
                "provisioner get snapshot.storage.k8s.io/volumesnapshotcontents",
                "provisioner get snapshot.storage.k8s.io/volumesnapshots",
                "provisioner list snapshot.storage.k8s.io/volumesnapshots",
                "provisioner update snapshot.storage.k8s.io/volumesnapshots",
                "provisioner watch snapshot.storage.k8s.io/volumesnapshots",
            ],
        ),
        (
            "modify",
            &[
                "provisioner get storage.k8s.io/volumeattributesclasses",
                "resizer list storage.k8s.io/volumeattributesclasses",
                "resizer watch storage.k8s.io/volumeattributesclasses",
            ],
        ),
        ("secrets", &["attacher get /secrets", "provisioner get /secrets", "resizer get /secrets"]),
        (
            "crossNamespaceSources",
            &[
                "provisioner list gateway.networking.k8s.io/referencegrants",
                "provisioner watch gateway.networking.k8s.io/referencegrants",
            ],
        ),
        ("inUse", &["resizer list /pods", "resizer watch /pods"]),
    ] {
        let without = granted(&[&format!("driver.features.{feature}=false")]);
        let of_one = |sidecar: &str| -> Vec<String> {
            // Without attachments there is no csi-attacher.
            let is_gone = sidecar == "attacher" && feature == "attach";
            let lost = all[sidecar].difference(&without[sidecar]).filter(|_| !is_gone);
            lost.map(|right| format!("{sidecar} {right}")).collect()
        };
        let mut seen: Vec<String> = SIDECARS.into_iter().flat_map(of_one).collect();
        seen.sort();
        assert_eq!(seen, lost, "{feature}");
    }
}

#[test]
fn capacity_and_topology_share_what_they_read() {
    let all = granted(&[]);
    let lost = |set: &[&str]| -> Rights {
        all["provisioner"].difference(&granted(set)["provisioner"]).cloned().collect()
    };
    let nodes = [
        "get storage.k8s.io/csinodes",
        "list /nodes",
        "list storage.k8s.io/csinodes",
        "watch /nodes",
        "watch storage.k8s.io/csinodes",
    ];
    let off =
        ["driver.features.topology=false", "driver.features.capacity=false", "driver.features.clones=false"];
    let lost_all = lost(&off);
    assert!(nodes.iter().all(|right| lost_all.contains(*right)), "{lost_all:?}");
    assert!(lost_all.contains("update /persistentvolumeclaims"), "{lost_all:?}");
    let of_capacity = lost(&["driver.features.capacity=false"]);
    assert!(of_capacity.iter().all(|right| right.starts_with("here ")), "{of_capacity:?}");
    let levels = |level: i32| lost(&[&format!("sidecars.provisioner.capacityOwnerrefLevel={level}")]);
    assert_eq!(levels(1), Rights::from(["here get apps/replicasets".to_owned()]));
    assert_eq!(
        levels(-1),
        Rights::from(["here get /pods".to_owned(), "here get apps/replicasets".to_owned()])
    );
}

#[test]
fn account_of_the_node_has_the_rules_of_the_values() {
    let rule = "node.additionalClusterRoleRules[0]";
    let rules = [
        format!("{rule}.apiGroups[0]="),
        format!("{rule}.resources[0]=nodes"),
        format!("{rule}.verbs[0]=get"),
        "node.serviceAccount.automountServiceAccountToken=true".to_owned(),
    ];
    let set: Vec<&str> = rules.iter().map(String::as_str).collect();
    let named = |set: &[&str]| -> Vec<Value> {
        let objects = render(&values("separate"), set).expect("rendered");
        let is_its = |one: &Value| {
            one["metadata"]["name"] == "example-csi-node"
                && one["kind"].as_str().is_some_and(|kind| kind.contains("Role"))
        };
        objects.into_iter().filter(is_its).collect()
    };
    assert_eq!(named(&[]), [Value::Null; 0], "the sidecars ask the API server for nothing");
    let [role, binding] = &named(&set)[..] else { panic!("a role and its binding") };
    assert_eq!(rights(std::slice::from_ref(role)), Rights::from(["get /nodes".to_owned()]));
    assert_eq!(binding["roleRef"]["name"], "example-csi-node");
    assert_eq!(binding["subjects"][0]["name"], "example-csi-node");
    let why = render(&values("separate"), &set[..3]).expect_err("rules without a token");
    assert!(why.contains("set node.serviceAccount.automountServiceAccountToken=true"), "{why}");
}
