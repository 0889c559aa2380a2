//! Somebody else's driver on the node: secrets-store-csi-driver, with its vendor's manifests and only the sidecars' images changed.
//!
//! The driver is built from its Go module, which has the manifests too. One module that it logs through is not to be had
//! everywhere; `go/secrets-store/mlog` stands in for it. Its provider is the driver's own mock, with one secret.

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::binaries::cache_folder;
use cluster::image::{Archive, Image, Layer, Platform, TAG};
use serde_json::json;

use crate::guest::Guest;
use crate::site::{ROOT, calm};

const MODULE: &str = "sigs.k8s.io/secrets-store-csi-driver";
const RELEASE: &str = "v1.4.8";
const DRIVER: &str = "secrets-store.csi.k8s.io";
const PROVIDER_IMAGE: &str = "mooring.invalid/secrets-provider:v1";
const PROVIDERS: &str = "/var/run/secrets-store-csi-providers";
const FILES: [(&str, &str); 5] = [
    ("go.mod", include_str!("../../go/secrets-store/go.mod")),
    ("go.sum", include_str!("../../go/secrets-store/go.sum")),
    ("main.go", include_str!("../../go/secrets-store/main.go")),
    ("mlog/go.mod", include_str!("../../go/secrets-store/mlog/go.mod")),
    ("mlog/mlog.go", include_str!("../../go/secrets-store/mlog/mlog.go")),
];
const MANIFESTS: [&str; 5] = [
    "secrets-store.csi.x-k8s.io_secretproviderclasses.yaml",
    "secrets-store.csi.x-k8s.io_secretproviderclasspodstatuses.yaml",
    "rbac-secretproviderclass.yaml",
    "csidriver.yaml",
    "secrets-store-csi-driver.yaml",
];

/// The driver, its provider, and the folder of its manifests.
struct Vendor {
    driver: PathBuf,
    provider: PathBuf,
    manifests: PathBuf,
}

fn go(module: &Path, arguments: &[&str]) -> String {
    let mut go = Command::new("go");
    go.args(arguments).current_dir(module).env("CGO_ENABLED", "0").env("GOWORK", "off");
    let output = go.env("GOFLAGS", "-mod=readonly -buildvcs=false").output().expect("go runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Vendor {
    /// Builds it in the cache folder: a minute or two, once.
    fn built() -> Vendor {
        let folder = cache_folder().expect("a cache").join(format!("secrets-store-{RELEASE}"));
        let module = folder.join("module");
        std::fs::create_dir_all(module.join("mlog")).expect("a folder");
        for (name, text) in FILES {
            std::fs::write(module.join(name), text).expect("written");
        }
        let build = |name: &str, package: &str| {
            let file = folder.join(name);
            go(&module, &["build", "-ldflags=-s -w", "-o", &file.display().to_string(), package]);
            file
        };
        let driver = build("secrets-store-csi", &format!("{MODULE}/cmd/secrets-store-csi-driver"));
        let provider = build("secrets-provider", ".");
        let source = go(&module, &["list", "-m", "-f", "{{.Dir}}", MODULE]);
        Vendor { driver, provider, manifests: Path::new(&source).join("deploy") }
    }

    /// Writes its images: the vendor's by the vendor's name, with the tools that the driver calls, and the provider's.
    fn write_images(&self, file: &Path) {
        let image = |name: &str, program: &str| Image {
            names: vec![name.to_owned()],
            entrypoint: vec![program.to_owned()],
            user: "0".to_owned(),
        };
        let here = Platform::here().expect("a platform");
        let mut archive = Archive::new();
        let layer =
            Layer::new().executable("secrets-store-csi", &self.driver).expect("read").folder("tmp", 0o1777);
        let layer = layer.executable("bin/busybox", "/bin/busybox".as_ref()).expect("busybox");
        let layer = ["mount", "umount"]
            .iter()
            .fold(layer, |layer, tool| layer.link(&format!("bin/{tool}"), "busybox"));
        let name = format!("registry.k8s.io/csi-secrets-store/driver:{RELEASE}");
        archive.add(&here, &layer, &[image(&name, "/secrets-store-csi")]).expect("packed");
        let layer = Layer::new().executable("secrets-provider", &self.provider).expect("read");
        archive.add(&here, &layer, &[image(PROVIDER_IMAGE, "/secrets-provider")]).expect("packed");
        archive.write(file).expect("written");
    }

    /// The folder of the one edit: the vendor's manifests as they are, and our component.
    fn write_edit(&self, folder: &Path) {
        std::fs::create_dir_all(folder.join("switch")).expect("a folder");
        for manifest in MANIFESTS {
            std::fs::write(
                folder.join(manifest),
                std::fs::read(self.manifests.join(manifest)).expect("a manifest"),
            )
            .expect("written");
        }
        std::fs::copy(
            Path::new(ROOT).join("manifests/switch/kustomization.yaml"),
            folder.join("switch/kustomization.yaml"),
        )
        .expect("copied");
        let edit = json!({"kind": "Kustomization", "resources": MANIFESTS, "components": ["switch"]});
        std::fs::write(folder.join("kustomization.yaml"), edit.to_string()).expect("written");
    }
}

/// The names of the drivers that the kubelet knows.
fn registered<N>(guest: &Guest<N>) -> String {
    guest.kubectl(&["get", "csinodes", "-o", "jsonpath={.items[*].spec.drivers[*].name}"]).unwrap_or_default()
}

fn provider() -> String {
    let volume = json!({"name": "providers", "hostPath": {"path": PROVIDERS, "type": "DirectoryOrCreate"}});
    let container = json!({
        "name": "provider", "image": PROVIDER_IMAGE, "args": [format!("{PROVIDERS}/mooring.sock")],
        "volumeMounts": [{"name": "providers", "mountPath": PROVIDERS}],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "provider"},
        "spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0},
    })
    .to_string()
}

#[test]
fn third_partys_driver_serves_a_pod_with_our_sidecars() {
    let Some(guest) = calm("secrets-store-csi-driver") else { return };
    let vendor = Vendor::built();
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("images.tar");
    vendor.write_images(&archive);
    guest.import(&archive).expect("imported");
    let edit = folder.path().join("edit");
    vendor.write_edit(&edit);
    let edit = edit.display().to_string();
    let system = ["--namespace", "kube-system"];
    guest.kubectl(&[&system[..], &["apply", "--server-side", "-k", &edit]].concat()).expect("applied");
    let rollout = ["rollout", "status", "--timeout=180s", "daemonset/csi-secrets-store"];
    guest.kubectl(&[&system[..], &rollout].concat()).expect("the DaemonSet is ready");
    guest.wait_for("the kubelet to know the driver", || registered(&guest).contains(DRIVER));
    let of_pods = |path: &str| {
        let path = format!("jsonpath={path}");
        let get = ["get", "pods", "--selector", "app=csi-secrets-store", "-o", &path];
        guest.kubectl(&[&system[..], &get].concat()).expect("pods")
    };
    let images = of_pods("{.items[*].spec.containers[*].image}");
    let [registrar, driver, probe] = images.split(' ').collect::<Vec<_>>()[..] else { panic!("{images}") };
    assert_eq!(registrar, format!("docker.io/mooring/csi-node-driver-registrar:{TAG}"));
    assert_eq!(driver, format!("registry.k8s.io/csi-secrets-store/driver:{RELEASE}"));
    assert_eq!(probe, format!("docker.io/mooring/livenessprobe:{TAG}"));

    guest.apply(&provider());
    guest.wait_ready("provider");
    let class = json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass", "metadata": {"name": "class"},
        "spec": {"provider": "mooring", "parameters": {"secret": "password"}},
    });
    guest.apply(&class.to_string());
    let inline =
        json!({"driver": DRIVER, "readOnly": true, "volumeAttributes": {"secretProviderClass": "class"}});
    guest.pod("user", json!({"volumes": [{"name": "data", "csi": inline}]}), crate::guest::mounted());
    guest.wait_ready("user");
    assert_eq!(guest.exec("user", "cat /data/password").expect("the secret").trim(), "open sesame");
    let healthz = format!("wget -q -O - http://{}:9808/healthz", of_pods("{.items[*].status.podIP}"));
    assert_eq!(
        guest.exec("user", &healthz).expect("an answer").trim(),
        "ok",
        "what the driver's liveness probe asks"
    );
    assert_eq!(of_pods("{.items[*].status.containerStatuses[*].restartCount}"), "0 0 0");

    guest.delete("pod/user");
    guest.delete("pod/provider");
    guest.kubectl(&[&system[..], &["delete", "--ignore-not-found", "-k", &edit]].concat()).expect("deleted");
    guest.wait_for("the kubelet to forget the driver", || !registered(&guest).contains(DRIVER));
    // The manifests make this folder on the machine; only if it is empty does it go.
    let _ = std::fs::remove_dir("/etc/kubernetes/secrets-store-csi-providers");
}
