//! The one edit of `docs/switch.md`: kustomize puts our images into each vendor's pods, and changes nothing else.

use std::path::Path;
use std::process::Command;

use cluster::apply::documents;
use cluster::binaries::{Binary, Progress, ensure};
use cluster::image::TAG;
use serde_json::{Value, json};

use crate::line::{Line, Vendor};

/// Programs make the pods of these vendors, from settings that kustomize does not read: the images are changed there.
const MADE_BY_PROGRAMS: [&str; 2] = ["ceph-csi-operator", "longhorn"];

const COMPONENT: &str = include_str!("../../../../manifests/switch/kustomization.yaml");

/// A vendor's pod: its sidecars with their images and arguments, csi-snapshotter where it has one, and its driver.
fn pod(vendor: &Vendor, lines: &[&Line], variant: &str) -> Value {
    let image_of = |sidecar: &str| {
        let of_variant =
            |variants: &Vec<String>| variants.is_empty() || variants.iter().any(|one| one == variant);
        let found = vendor.images.iter().find(|(name, _, variants)| name == sidecar && of_variant(variants));
        found.map(|(_, image, _)| image.clone())
    };
    let container = |line: &&Line| {
        let image = image_of(&line.sidecar)?;
        Some(json!({"name": line.sidecar, "image": image, "args": line.arguments}))
    };
    let mut containers: Vec<Value> = lines.iter().filter_map(container).collect();
    if let Some(image) = image_of("csi-snapshotter") {
        containers.push(json!({"name": "csi-snapshotter", "image": image, "args": ["--v=2"]}));
    }
    containers.push(json!({"name": "driver", "image": "example.com/driver:v1"}));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": containers}})
}

/// What kustomize makes of it.
fn switched(pod: &Value, folder: &Path) -> Value {
    let write = |file: &str, text: &str| {
        let file = folder.join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, text).expect("written");
    };
    write("switch/kustomization.yaml", COMPONENT);
    write("vendor.yaml", &pod.to_string());
    write(
        "kustomization.yaml",
        r#"{"kind": "Kustomization", "resources": ["vendor.yaml"], "components": ["switch"]}"#,
    );
    let kubectl = ensure(&[Binary::Kubectl], &Progress::auto()).expect("kubectl");
    let output =
        Command::new(kubectl.path(Binary::Kubectl)).arg("kustomize").arg(folder).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8_lossy(&output.stdout)).expect("YAML").remove(0)
}

#[test]
fn one_edit_puts_our_images_into_five_vendors_pods() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kept = Vec::new();
    let vendors = Vendor::all().into_iter().filter(|vendor| !MADE_BY_PROGRAMS.contains(&vendor.name));
    let mut edited = 0;
    for vendor in vendors {
        edited += 1;
        let mut places: Vec<(&str, &str)> =
            vendor.lines.iter().map(|line| (line.variant.as_str(), line.place.as_str())).collect();
        places.sort_unstable();
        places.dedup();
        let mut seen = 0;
        for (variant, place) in places {
            let here = |line: &&Line| line.variant == variant && line.place == place;
            let lines: Vec<&Line> = vendor.lines.iter().filter(here).collect();
            let mut expected = pod(&vendor, &lines, variant);
            let switched = switched(&expected, folder.path());
            for container in expected["spec"]["containers"].as_array_mut().expect("containers") {
                let name = container["name"].as_str().expect("a name").to_owned();
                if name == "driver" || name == "csi-snapshotter" {
                    continue;
                }
                seen += 1;
                let image = container["image"].as_str().expect("an image").to_owned();
                // One image for all sidecars does not tell which of them a container is.
                match image.contains("-with-sidecar:") {
                    true => kept.push(vendor.name),
                    false => container["image"] = json!(format!("docker.io/mooring/{name}:{TAG}")),
                }
            }
            assert_eq!(switched, expected, "{} {variant}/{place}", vendor.name);
        }
        assert!(seen > 1, "{} has no sidecar with an image", vendor.name);
    }
    kept.dedup();
    assert_eq!((edited, kept), (5, vec!["topolvm"]));
}

#[test]
fn names_that_amazon_used_before_are_switched() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = [
        ("external-provisioner:v3.6.3-eks-1-29-3", "csi-provisioner"),
        ("external-attacher:v4.4.3-eks-1-29-3", "csi-attacher"),
        ("external-resizer:v1.9.3-eks-1-29-3", "csi-resizer"),
        ("node-driver-registrar:v2.9.3-eks-1-29-3", "csi-node-driver-registrar"),
        ("livenessprobe:v2.11.0-eks-1-29-3", "livenessprobe"),
    ];
    let pod = |image: &dyn Fn(&str, &str) -> String| {
        let containers = names.map(|(old, new)| json!({"name": new, "image": image(old, new)}));
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": containers}})
    };
    let old = pod(&|old, _| format!("public.ecr.aws/eks-distro/kubernetes-csi/{old}"));
    let new = pod(&|_, new| format!("docker.io/mooring/{new}:{TAG}"));
    assert_eq!(switched(&old, folder.path()), new);
}
