//! `mooring migrate` on a real control plane: in-tree volumes become CSI volumes and in-tree volumes again, whatever happens
//! meanwhile; their claims stay bound, and no volume is deleted (migrate/src/swap/decide.rs).

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod anywhere;
mod in_use;
mod kills;
mod site;
mod unheld;

use serde_json::json;

use crate::site::{CSI, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_become_csi_volumes_and_in_tree_ones_again() {
    let site = Site::with_driver("converted").await;
    let mut provisioner = site.stand.provisioner("p", &[]);
    site.provisioned(3).await;
    let lonely = site.lonely("lonely", "Retain").await;
    let (before, made) = (site.objects().await, site.driver_volumes());
    let phases = site.watch_phases();

    let shown = site.migrate(&["--dry-run"]).await;
    assert!(
        shown.contains("4 in-tree volumes: 4 ready, 0 not now, 0 never. Nothing was changed."),
        "{shown}"
    );
    assert_eq!(site.objects().await, before, "nothing was changed");

    let told = site.migrate(&["--undo-file", &site.file()]).await;
    assert!(told.contains("4 volumes converted, 0 left as they are"), "{told}");
    assert!(told.contains("4/4 PersistentVolume "), "plain lines where there is no terminal: {told}");
    let after = site.objects().await;
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (name, object) in &after {
        let was = before.get(name).expect("the same names");
        if name.starts_with("claim ") {
            assert_eq!(object, was, "claims of a migrated class are the driver's already");
            continue;
        }
        assert!(object["spec"]["cinder"].is_null(), "{object}");
        let handle = &was["spec"]["cinder"]["volumeID"];
        assert_eq!(
            object["spec"]["csi"],
            json!({"driver": CSI, "volumeHandle": handle, "fsType": "xfs"}),
            "{name}"
        );
        let annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        assert!(!annotations.contains_key("pv.kubernetes.io/migrated-to"), "{object}");
        let maker = annotations.get("pv.kubernetes.io/provisioned-by");
        assert!(maker.is_none_or(|maker| maker == CSI), "{object}");
        for same in
            ["capacity", "claimRef", "accessModes", "persistentVolumeReclaimPolicy", "storageClassName"]
        {
            assert_eq!(object["spec"][same], was["spec"][same], "{same} of {name}");
        }
    }

    let again = site.migrate(&["--undo-file", &site.file()]).await;
    assert!(again.contains("0 volumes converted, 0 left as they are"), "{again}");
    assert_eq!(site.objects().await, after, "there is nothing left to be done");

    let back = site.migrate(&["--undo", &site.file()]).await;
    assert!(back.contains("4 volumes in-tree again, 0 left as they are"), "{back}");
    site.settle(&before).await;
    assert_eq!(site.objects().await, before, "everything is what it was");
    assert_eq!(site.driver_volumes(), made, "no volume was deleted");
    phases.only_bound().await;
    site.no_policy_is_left().await;

    // A converted volume dies with its claim as one of the driver does.
    let told = site.migrate(&["--undo-file", &site.file()]).await;
    assert!(told.contains("4 volumes converted"), "{told}");
    site.delete_claims().await;
    site.until("the volumes to go", async || site.driver_volumes().is_empty().then_some(())).await;
    assert_eq!(site.volume(&lonely).await["spec"]["csi"]["driver"], CSI);
    provisioner.terminate(site::LIMIT).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_one_line_and_change_nothing() {
    let site = Site::bare("errors").await;
    site.lonely("a", "Retain").await;
    let before = site.objects().await;
    let foreign = site.stand.control_plane.folder().join("foreign").display().to_string();
    std::fs::write(&foreign, "hello\n").expect("written");
    let file_of = |name: &str, content: &str| {
        let path = site.stand.control_plane.folder().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let elsewhere = r#"{"begin":{"version":3,"id":"a","cluster":{"uid":"b","server":"https://other"}}}"#;
    let (elsewhere, empty) = (file_of("elsewhere", &format!("{elsewhere}\n")), file_of("empty", ""));
    let file = site.file();
    for (args, expected) in [
        (
            &["--undo", &elsewhere][..],
            "it is of the cluster at https://other (uid of kube-system: b), and this is the cluster at https://",
        ),
        (&["--undo-file", &elsewhere], "it is of the cluster at https://other"),
        (&["--undo", &empty], "it is empty: no volume was converted with it"),
        (&["--undo", "/nowhere/undo"], "undo file /nowhere/undo: there is no such file"),
        (&["--undo-file", "/nowhere/undo"], "undo file /nowhere/undo: No such file or directory"),
        (&["--undo-file", &foreign], "line 1: this is no undo file of mooring migrate"),
        (&["--undo-file", &file, "--volume=none"], "none is no in-tree PersistentVolume"),
        (&["--dry-run", "--volume=none"], "none is no in-tree PersistentVolume"),
        (&[], "give --dry-run to see what would be converted, or --undo-file=FILE to convert it"),
    ] {
        let (code, text) = site.migrate_with(args).await;
        assert_eq!(code, Some(1), "{args:?}: {text}");
        assert!(text.contains(expected) && text.trim_end().lines().count() == 1, "{args:?}: {text}");
    }
    // Another migration is under way.
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "mooring-migrate", "annotations": {
            "mooring.dev/migration": "other", "mooring.dev/undo-file": "/elsewhere/undo", "mooring.dev/flag": "--undo",
        }},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["bindings"],
            }]},
            "validations": [{"expression": "true"}],
        },
    });
    site.stand.control_plane.apply_object(policy, "").await.expect("applied");
    let (code, text) = site.migrate_with(&["--undo-file", &file]).await;
    assert_eq!(code, Some(1));
    assert!(
        text.contains(
            "another migration is not at its end: finish it with mooring migrate --undo=/elsewhere/undo"
        ),
        "{text}"
    );
    assert_eq!(site.objects().await, before);
}
