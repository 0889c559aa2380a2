//! `mooring csidriver` with its own role on a real API server.

use std::process::{Command, Output};

use cluster::apply::documents;
use cluster::built::executable;
use cluster::stand::Stand;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

const RBAC: &str = include_str!("../../../manifests/rbac/csidriver.yaml");
const MANIFEST: &str = include_str!("../../../manifests/hostpath/driver/csidriver.yaml");
const DRIVER: &str = "hostpath.csi.k8s.io";

/// Runs the command once, as the account `mooring-csidriver`.
fn run(stand: &Stand, flags: &[&str]) -> (bool, String) {
    let folder = stand.control_plane.folder();
    let kubeconfig = folder.join(format!("{}-mooring-csidriver.kubeconfig", stand.namespace));
    let mut command = Command::new(executable("mooring", "mooring").expect("mooring"));
    command.args(["csidriver", "--once"]).args(flags).env_remove("KUBECONFIG");
    command.arg(format!("--csi-address={}", folder.join("csi.sock").display()));
    command.arg(format!("--kubeconfig={}", kubeconfig.display()));
    let Output { status, stderr, .. } = command.output().expect("run");
    (status.success(), String::from_utf8_lossy(&stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_object_is_made_and_corrected_with_the_sample_role() {
    let stand = Stand::with("csidriver", &["--enable-attach"], "mooring-csidriver", RBAC).await;
    let objects: Api<CSIDriver> = Api::all(stand.client.clone());
    let spec = async || objects.get(DRIVER).await.expect("there").spec;
    let uid = async || objects.get(DRIVER).await.expect("there").metadata.uid;

    let (ended, said) =
        run(&stand, &["--pod-info-on-mount", "--volume-lifecycle-modes=Persistent,Ephemeral"]);
    assert!(ended, "{said}");
    let made = spec().await;
    assert_eq!((made.attach_required, made.pod_info_on_mount), (Some(true), Some(true)));
    assert_eq!(made.volume_lifecycle_modes, Some(vec!["Persistent".to_owned(), "Ephemeral".to_owned()]));
    let first = uid().await;

    // What nobody asked for stays as somebody else wrote it.
    let other = Patch::Merge(json!({ "spec": { "podInfoOnMount": false, "fsGroupPolicy": "File" } }));
    objects.patch(DRIVER, &PatchParams::default(), &other).await.expect("patched");
    let (ended, said) = run(&stand, &["--pod-info-on-mount"]);
    assert!(ended, "{said}");
    let corrected = spec().await;
    assert_eq!(corrected.pod_info_on_mount, Some(true));
    assert_eq!(corrected.fs_group_policy.as_deref(), Some("File"));
    assert_eq!(uid().await, first, "corrected in place");

    // A field that cannot be changed: said, and replaced only if that is wanted. All else stays.
    let namespaces: Api<Namespace> = Api::all(stand.client.clone());
    let owner = namespaces.get("default").await.expect("there").metadata.uid;
    let marks = json!({
        "labels": { "app": "d" }, "annotations": { "meta.helm.sh/release-name": "d" },
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": owner }],
    });
    let owned = Patch::Merge(json!({ "metadata": marks, "spec": { "seLinuxMount": true } }));
    objects.patch(DRIVER, &PatchParams::default(), &owned).await.expect("patched");
    let (ended, said) = run(&stand, &["--volume-lifecycle-modes=Persistent"]);
    assert!(!ended && said.contains("volumeLifecycleModes") && said.contains("--replace"), "{said}");
    assert_eq!(uid().await, first);
    let (ended, said) = run(&stand, &["--volume-lifecycle-modes=Persistent", "--replace"]);
    assert!(ended, "{said}");
    assert_ne!(uid().await, first);
    let replaced = spec().await;
    assert_eq!(replaced.volume_lifecycle_modes, Some(vec!["Persistent".to_owned()]));
    assert_eq!(replaced.fs_group_policy.as_deref(), Some("File"));
    assert_eq!((replaced.pod_info_on_mount, replaced.se_linux_mount), (Some(true), Some(true)));
    let metadata = json!(objects.get(DRIVER).await.expect("there").metadata);
    for field in ["labels", "annotations", "ownerReferences"] {
        assert_eq!(metadata.get(field), marks.get(field), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_publishes_nothing_needs_no_attaching() {
    let stand = Stand::with("csidriver", &[], "mooring-csidriver", RBAC).await;
    let (ended, said) = run(&stand, &[]);
    assert!(ended, "{said}");
    let objects: Api<CSIDriver> = Api::all(stand.client.clone());
    assert_eq!(objects.get(DRIVER).await.expect("there").spec.attach_required, Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_that_the_manifest_names_make_its_object() {
    let stand = Stand::with("csidriver", &["--enable-attach"], "mooring-csidriver", RBAC).await;
    let comment = MANIFEST.lines().take_while(|line| line.starts_with('#'));
    let words = comment.flat_map(str::split_whitespace).map(|word| word.trim_end_matches('.'));
    let flags: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
    let (ended, said) = run(&stand, &flags);
    assert!(ended, "{said}");
    let objects: Api<CSIDriver> = Api::all(stand.client.clone());
    let made = json!(objects.get(DRIVER).await.expect("there").spec);
    let manifest = documents(MANIFEST).expect("YAML").remove(0);
    for (field, value) in manifest.pointer("/spec").and_then(|spec| spec.as_object()).expect("a spec") {
        assert_eq!(made.get(field), Some(value), "{field}");
    }
}
