use super::*;
use serde_json::{Value, json};

fn volume(annotations: Value, spec: Value) -> PersistentVolume {
    serde_json::from_value(json!({"metadata": {"name": "pv", "annotations": annotations}, "spec": spec}))
        .unwrap()
}

#[test]
fn the_driver_counts_as_the_maker_of_a_converted_volume() {
    for (before, after) in [
        (
            json!({PROVISIONED_BY: "kubernetes.io/cinder", MIGRATED_TO: "cinder.csi.openstack.org", "a": "b"}),
            json!({PROVISIONED_BY: "cinder.csi.openstack.org", "a": "b"}),
        ),
        (json!({PROVISIONED_BY: "other"}), json!({PROVISIONED_BY: "other"})),
        (json!({}), json!({})),
    ] {
        let given = volume(before, json!({"cinder": {"volumeID": "id"}}));
        let found = converted(&Scope::default(), Plugin::Cinder, given, None).unwrap();
        assert_eq!(json!(found.metadata.annotations.unwrap_or_default()), after);
        assert_eq!(found.spec.unwrap().csi.unwrap().volume_handle, "id");
    }
}

#[test]
fn a_converted_claim_is_the_drivers() {
    let (plugin, driver) = ("kubernetes.io/cinder", "cinder.csi.openstack.org");
    let annotations = json!({PROVISIONER: plugin, PROVISIONER_BETA: plugin, MIGRATED_TO: driver});
    let claim =
        serde_json::from_value(json!({"metadata": {"name": "c", "annotations": annotations}})).unwrap();
    let found = converted_claim(Plugin::Cinder, claim).metadata.annotations.unwrap();
    assert_eq!(json!(found), json!({PROVISIONER: driver, PROVISIONER_BETA: driver}));
}

#[test]
fn obstacles_are_named() {
    let users = Users { nodes: vec!["n1".to_owned(), "n2".to_owned()], pods: vec!["default/web".to_owned()] };
    for (plugin, spec, users, expected) in [
        (Plugin::Cinder, json!({"cinder": {"volumeID": "id"}}), Users::default(), &[][..]),
        (
            Plugin::Cinder,
            json!({"cinder": {"volumeID": "id"}}),
            users,
            &["it is attached to n1, n2", "it is used by default/web"],
        ),
        (
            Plugin::GcePd,
            json!({"gcePersistentDisk": {"pdName": "d"}}),
            Users::default(),
            &[
                "its project is unknown: give --gce-project",
                "its zone is unknown: set label topology.kubernetes.io/zone",
            ],
        ),
    ] {
        let before = volume(json!({}), spec);
        let after = converted(&Scope::default(), plugin, before.clone(), None).unwrap();
        assert_eq!(obstacles(&Scope::default(), &before, &after, &users), expected, "{plugin:?}");
    }
    let mut going = volume(json!({}), json!({"cinder": {"volumeID": "id"}}));
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(obstacles(&Scope::default(), &going, &going, &Users::default()), ["it is being deleted"]);
}

#[test]
fn volumes_in_use_are_left_alone_unless_told() {
    let users = Users { nodes: Vec::new(), pods: vec!["default/web".to_owned()] };
    let given = volume(json!({}), json!({"cinder": {"volumeID": "id"}}));
    let scope = |in_use| Scope { in_use, ..Scope::default() };
    let found = |in_use| obstacles(&scope(in_use), &given, &given, &users);
    assert_eq!(found(false), ["it is used by default/web"]);
    assert!(found(true).is_empty());
}

/// In-tree nobody deletes such a volume any more; its driver would.
#[test]
fn a_volume_made_by_hand_is_not_handed_to_deletion() {
    let of = |annotations: Value, policy: &str| {
        volume(annotations, json!({"cinder": {"volumeID": "id"}, "persistentVolumeReclaimPolicy": policy}))
    };
    let provisioned = json!({PROVISIONED_BY: "kubernetes.io/cinder"});
    for (annotations, policy, hand_made, stands) in [
        (json!({}), "Delete", false, true),
        (json!({}), "Delete", true, false),
        (json!({}), "Retain", false, false),
        (provisioned, "Delete", false, false),
    ] {
        let (volume, scope) = (of(annotations, policy), Scope { hand_made, ..Scope::default() });
        let found = obstacles(&scope, &volume, &volume, &Users::default());
        let is_told = found.iter().any(|why| why.contains("to Retain, or give --hand-made"));
        assert_eq!((found.len(), is_told), (usize::from(stands), stands), "{volume:?} {hand_made}");
    }
}

#[test]
fn what_a_label_or_a_binding_can_change_is_not_never() {
    for (error, is_for_now) in [
        (ConversionError::NotAsked, true),
        (TranslationError::NoSecretNamespace.into(), true),
        (TranslationError::Zone("z".to_owned()).into(), true),
        (ConversionError::DiskPath, false),
        (TranslationError::EbsId("x".to_owned()).into(), false),
    ] {
        assert_eq!(error.is_for_now(), is_for_now, "{error}");
    }
}

#[test]
fn a_disk_of_gce_needs_project_and_zone() {
    let scope = Scope { gce_project: Some("p".to_owned()), in_use: true, ..Scope::default() };
    let disk = json!({"gcePersistentDisk": {"pdName": "d"}});
    for (zone, handle, ready) in [
        ("us-central1-a", "projects/p/zones/us-central1-a/disks/d", true),
        ("", "projects/p/zones/UNSPECIFIED/disks/d", false),
    ] {
        let mut before = volume(json!({}), disk.clone());
        if !zone.is_empty() {
            before.metadata.labels =
                Some([("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into());
        }
        let after = converted(&scope, Plugin::GcePd, before.clone(), None).unwrap();
        assert_eq!(after.spec.clone().unwrap().csi.unwrap().volume_handle, handle);
        let found = |users: &Users| obstacles(&scope, &before, &after, users);
        assert_eq!(found(&Users::default()).is_empty(), ready, "{zone}");
        let attached = Users { nodes: vec!["n".to_owned()], pods: Vec::new() };
        assert!(
            found(&attached)
                .iter()
                .any(|one| one.starts_with("it is in use under the handle projects/UNSPECIFIED/")),
            "{:?}",
            found(&attached)
        );
    }
}

#[test]
fn the_secret_for_the_deletion_is_written_down() {
    let class = |provisioner: &str, name: &str| -> StorageClass {
        let parameters = json!({"openstorage.io/auth-secret-name": name, "openstorage.io/auth-secret-namespace": "${pvc.namespace}"});
        serde_json::from_value(
            json!({"metadata": {"name": "c"}, "provisioner": provisioner, "parameters": parameters}),
        )
        .unwrap()
    };
    let spec = json!({"portworxVolume": {"volumeID": "id"}, "claimRef": {"namespace": "ns", "name": "data"}});
    let found = |class: Option<&StorageClass>| {
        let after = converted(&Scope::default(), Plugin::Portworx, volume(json!({}), spec.clone()), class);
        after.map(|volume| json!(volume.metadata.annotations.unwrap_or_default()))
    };
    let noted = json!({DELETION_SECRET_NAME: "px", DELETION_SECRET_NAMESPACE: "ns"});
    assert_eq!(found(Some(&class("kubernetes.io/portworx-volume", "px"))), Ok(noted));
    assert_eq!(found(Some(&class("other", "px"))), Ok(json!({})));
    // The provisioner that made it has written down that there is none.
    let none = json!({DELETION_SECRET_NAME: "", DELETION_SECRET_NAMESPACE: ""});
    let class_of_plugin = class("kubernetes.io/portworx-volume", "px");
    let after = converted(
        &Scope::default(),
        Plugin::Portworx,
        volume(none.clone(), spec.clone()),
        Some(&class_of_plugin),
    );
    assert_eq!(json!(after.unwrap().metadata.annotations), none);
    assert_eq!(found(None), Ok(json!({})));
    let error = found(Some(&class("kubernetes.io/portworx-volume", "${pvc.annotations['a']}"))).unwrap_err();
    assert!(error.to_string().starts_with("the Secret for its deletion: "), "{error}");
}

#[test]
fn a_volume_on_its_way_out_and_a_claim_half_bound_must_wait() {
    let scope = Scope { hand_made: true, ..Scope::default() };
    for (policy, phase, expected) in [
        ("Delete", "Released", &["it is Released: its volume is about to be deleted"][..]),
        ("Retain", "Released", &[]),
        ("Delete", "Failed", &["it is Failed: its volume is about to be deleted"]),
        ("Delete", "Bound", &[]),
    ] {
        let spec = json!({"cinder": {"volumeID": "id"}, "persistentVolumeReclaimPolicy": policy});
        let mut volume = volume(json!({}), spec);
        volume.status = serde_json::from_value(json!({"phase": phase})).unwrap();
        let found = obstacles(&scope, &volume, &volume, &Users::default());
        assert_eq!(found, expected, "{policy} {phase}");
    }
    let spec =
        json!({"cinder": {"volumeID": "id"}, "claimRef": {"namespace": "ns", "name": "c", "uid": "u"}});
    let mut volume = volume(json!({}), spec);
    volume.status = serde_json::from_value(json!({"phase": "Bound"})).unwrap();
    let claim = |uid: &str, phase: &str, of: &str| -> DynamicObject {
        let metadata = json!({"namespace": "ns", "name": "c", "uid": uid});
        serde_json::from_value(
            json!({"metadata": metadata, "spec": {"volumeName": of}, "status": {"phase": phase}}),
        )
        .unwrap()
    };
    for (claim, expected) in [
        (claim("u", "Bound", "pv"), None),
        (claim("u", "Pending", "pv"), Some("its claim is not bound to it")),
        (claim("u", "Bound", "other"), Some("its claim is not bound to it")),
        (claim("v", "Bound", "pv"), Some("its claim is gone: it is about to be released")),
    ] {
        assert_eq!(claim_obstacle(&volume, Some(&claim)).as_deref(), expected, "{claim:?}");
    }
    assert!(claim_obstacle(&volume, None).is_some());
    volume.status = serde_json::from_value(json!({"phase": "Released"})).unwrap();
    assert_eq!(claim_obstacle(&volume, None), None);
    // Somebody has kept it for a claim: it may be bound at any moment.
    volume.spec.as_mut().unwrap().claim_ref.as_mut().unwrap().uid = None;
    let found = claim_obstacle(&volume, Some(&claim("u", "Pending", "")));
    assert_eq!(found.as_deref(), Some("it is kept for a claim that is not bound to it yet"));
}

#[test]
fn a_handle_that_changes_under_a_volume_in_use_is_an_obstacle() {
    let scope = Scope { gce_project: Some("p".to_owned()), in_use: true, ..Scope::default() };
    let mut in_tree = volume(json!({}), json!({"gcePersistentDisk": {"pdName": "d"}}));
    in_tree.metadata.labels =
        Some([("topology.kubernetes.io/zone".to_owned(), "us-central1-a".to_owned())].into());
    let csi = converted(&scope, Plugin::GcePd, in_tree.clone(), None).unwrap();
    let users = |nodes: &[&str], pods: &[&str]| Users {
        nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
        pods: pods.iter().map(|&name| name.to_owned()).collect(),
    };
    for (before, after) in [(&in_tree, &csi), (&csi, &in_tree)] {
        for (users, refused) in
            [(users(&["n"], &[]), true), (users(&[], &["ns/p"]), true), (users(&[], &[]), false)]
        {
            assert_eq!(other_handle(&scope, before, after, &users).is_some(), refused, "{users:?}");
        }
        assert_eq!(other_handle(&scope, before, before, &users(&["n"], &[])), None);
    }
    let cinder = volume(json!({}), json!({"cinder": {"volumeID": "id"}}));
    let after = converted(&scope, Plugin::Cinder, cinder.clone(), None).unwrap();
    assert_eq!(other_handle(&scope, &cinder, &after, &users(&["n"], &[])), None, "the same handle");
}

#[test]
fn a_disk_of_vsphere_is_never_converted_one_of_rbd_when_asked() {
    for (plugin, spec, expected) in [
        (Plugin::Vsphere, json!({"vsphereVolume": {"volumePath": "p"}}), ConversionError::DiskPath),
        (Plugin::Rbd, json!({"rbd": {"image": "i", "monitors": ["m"]}}), ConversionError::NotAsked),
    ] {
        assert_eq!(converted(&Scope::default(), plugin, volume(json!({}), spec), None), Err(expected));
    }
    let asked = Scope { plugins: Plugins { rbd: true }, ..Scope::default() };
    let rbd = volume(json!({}), json!({"rbd": {"image": "i", "monitors": ["m"]}}));
    let found = converted(&asked, Plugin::Rbd, rbd, None).unwrap();
    assert_eq!(found.spec.unwrap().csi.unwrap().driver, "rbd.csi.ceph.com");
}
