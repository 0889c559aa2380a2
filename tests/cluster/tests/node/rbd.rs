//! Pods use images of a real Ceph through our provisioner, attacher and resizer: written, moved, snapshotted, cloned, grown in use.
//!
//! The driver runs twice, as it does with ceph-csi's charts: once for the controllers, and once on the node, where it maps images by
//! rbd-fuse, for kernels of test machines have neither krbd nor nbd. Both are processes, not pods: an image with Ceph's libraries
//! cannot be made of what is here.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use cluster::built::executable;
use cluster::ceph::{self, Ceph, POOL, USER};
use cluster::node::{NODE, RealNode};
use cluster::process::Process;
use cluster::skip::left_out;
use cluster::stand::roles;
use serde_json::json;

use crate::guest::Guest;
use crate::site::{ROOT, calm};

const DRIVER: &str = "rbd.csi.ceph.com";
const CLASS: &str = "rbd";
/// What the driver's configuration calls the cluster.
const CLUSTER: &str = "ceph";
/// XFS makes no file systems below 300 MiB.
const SIZE: &str = "512Mi";

/// Kills the node's rbd-fuse daemons. One that ends while its Ceph is gone never ends.
const KILL_DAEMONS: &str = r#"for process in /proc/[0-9]*; do
  [ "$(cat "$process/comm" 2>/dev/null)" = rbd-fuse ] && kill -s KILL "${process#/proc/}"
done; true"#;

/// A Ceph, the driver at both of its places, and the sidecars.
struct Storage<'a, N: Deref<Target = RealNode>> {
    guest: &'a Guest<N>,
    // The node's side ends before what it works on.
    _registrar: Process,
    _node: Process,
    _controllers: Process,
    _controller: Process,
    ceph: Ceph,
    endpoint: String,
    /// The files of the machine's loop devices before the test: somebody else's.
    devices_before: String,
}

impl<N: Deref<Target = RealNode>> Drop for Storage<'_, N> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // In this order: pods write to devices, whose daemons need Ceph.
        let _ = self.guest.kubectl(&["delete", "pods", "--all", "--timeout=60s"]);
        let _ = self.guest.run("sh", &["-c", KILL_DAEMONS]);
    }
}

impl<'a, N: Deref<Target = RealNode>> Storage<'a, N> {
    fn up(guest: &'a Guest<N>) -> Self {
        let site = guest.site;
        site.runtime.block_on(site.control_plane.serve_snapshots()).expect("snapshots");
        let ceph = site.runtime.block_on(Ceph::start()).expect("a Ceph");
        let own = ceph.folder().join("driver");
        std::fs::create_dir(&own).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(own.join(name), text).expect("written");
        write("userID", USER);
        write("userKey", ceph.key());
        let config = json!([{ "clusterID": CLUSTER, "monitors": [ceph.monitor()] }]);
        write("config.json", &config.to_string());
        let program = executable("driver", "mooring-driver").expect("the driver");
        let endpoint = format!("unix://{}", own.join("csi.sock").display());
        let mut command = Command::new(&program);
        command.args(driver_flags(&own, &endpoint));
        let controller = start(guest, "rbd-controller", command);
        // On the node, where the kubelet looks for it.
        let plugin = format!("kubelet/plugins/{DRIVER}");
        std::fs::create_dir_all(guest.var_lib().join(&plugin)).expect("a folder");
        let socket = format!("/var/lib/{plugin}/csi.sock");
        let mut command = guest.command(&program.display().to_string()).expect("the node is on");
        command.args(driver_flags(&own, &format!("unix://{socket}")));
        let node = start(guest, "rbd-node", command);
        let mut command = guest.command(&site.mooring.display().to_string()).expect("the node is on");
        command.args(["node", &format!("--csi-address={socket}")]);
        command.arg(format!("--kubelet-registration-path={socket}"));
        command.args(["--plugin-registration-path=/var/lib/kubelet/plugins_registry"]);
        command.args(["--http-endpoint=127.0.0.1:0", "--v=2"]);
        let registrar = start(guest, "rbd-registrar", command);
        let controllers = controllers(guest, &endpoint);
        let storage = Storage {
            guest,
            _registrar: registrar,
            _node: node,
            _controllers: controllers,
            _controller: controller,
            ceph,
            endpoint,
            devices_before: files_of_loop_devices(guest),
        };
        storage.declare();
        storage
    }

    /// The objects that the cluster must have: the driver's, a Secret, a class.
    fn declare(&self) {
        let guest = self.guest;
        guest.apply(
            &json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": DRIVER },
                "spec": { "attachRequired": true, "podInfoOnMount": false, "fsGroupPolicy": "File" },
            })
            .to_string(),
        );
        guest.apply(
            &json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "csi-rbd-secret" },
                "stringData": { "userID": USER, "userKey": self.ceph.key() },
            })
            .to_string(),
        );
        let mut parameters = json!({
            "clusterID": CLUSTER, "pool": POOL, "imageFeatures": "layering",
            "csi.storage.k8s.io/fstype": "xfs",
        });
        for call in ["provisioner", "controller-expand", "node-stage"] {
            parameters[format!("csi.storage.k8s.io/{call}-secret-name")] = json!("csi-rbd-secret");
            parameters[format!("csi.storage.k8s.io/{call}-secret-namespace")] = json!(guest.namespace);
        }
        guest.apply(
            &json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": CLASS },
                "provisioner": DRIVER, "allowVolumeExpansion": true, "parameters": parameters,
            })
            .to_string(),
        );
        let registered = || {
            let path = format!(".spec.drivers[?(@.name==\"{DRIVER}\")].nodeID");
            guest.field(&format!("csinode/{NODE}"), &path) == NODE
        };
        guest.wait_for("the driver to be registered", registered);
    }

    /// Runs csc's controller commands as the Secret's user; what it prints.
    fn csc(&self, arguments: &[&str]) -> String {
        let mut csc = Command::new(executable("csc", "csc").expect("csc"));
        csc.args(["--endpoint", &self.endpoint, "controller"]).args(arguments);
        csc.env("X_CSI_SECRETS", format!("userID={USER},userKey={}", self.ceph.key()));
        let output = csc.output().expect("csc runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> String {
        self.ceph.run(program, arguments).expect("it runs")
    }

    /// Asserts that Ceph has neither images nor journal entries any more, and the node neither mounts, devices nor daemons.
    fn assert_nothing_left(&self) {
        assert_eq!(self.tool("rbd", &["--pool", POOL, "ls"]), "");
        assert_eq!(self.tool("rbd", &["--pool", POOL, "trash", "ls", "--all"]), "");
        for directory in ["csi.volumes.default", "csi.snaps.default"] {
            assert_eq!(self.tool("rados", &["--pool", POOL, "listomapkeys", directory]), "", "{directory}");
        }
        let objects = self.tool("rados", &["--pool", POOL, "ls"]);
        assert!(!objects.contains("csi.volume.") && !objects.contains("csi.snap."), "{objects}");
        let mounts = self.guest.run("cat", &["/proc/self/mountinfo"]).expect("mounts");
        assert!(!mounts.contains("mooring-rbd") && !mounts.contains(DRIVER), "{mounts}");
        let devices = files_of_loop_devices(self.guest);
        let new = devices.lines().filter(|file| !self.devices_before.lines().any(|before| before == *file));
        let ours: Vec<_> =
            new.filter(|file| file.contains("mooring-rbd") || file.contains("/csi-vol-")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        let processes = contents(self.guest, "/proc/[0-9]*/comm");
        assert!(processes.lines().all(|name| name != "rbd-fuse"), "{processes}");
    }
}

/// A line for each loop device of the machine; nodes and tests share them.
fn files_of_loop_devices<N: Deref<Target = RealNode>>(guest: &Guest<N>) -> String {
    contents(guest, "/sys/block/loop*/loop/backing_file")
}

/// What the files of this pattern hold; a file that has gone is left out.
fn contents<N: Deref<Target = RealNode>>(guest: &Guest<N>, files: &str) -> String {
    guest.run("sh", &["-c", &format!("cat {files} 2>/dev/null; true")]).expect("files")
}

fn driver_flags(own: &Path, endpoint: &str) -> [String; 7] {
    [
        "--backend=rbd".to_owned(),
        format!("--endpoint={endpoint}"),
        format!("--nodeid={NODE}"),
        format!("--ceph-config={}", own.join("config.json").display()),
        format!("--ceph-secret-folder={}", own.display()),
        "--mapper=fuse".to_owned(),
        "--v=4".to_owned(),
    ]
}

fn start<N>(guest: &Guest<N>, name: &str, command: Command) -> Process {
    let log = guest.site.control_plane.folder().join(format!("{name}.log"));
    Process::start(name, command, &log).expect("started")
}

/// The sidecars in one process, with the rights of their sample roles only.
fn controllers<N>(guest: &Guest<N>, endpoint: &str) -> Process {
    let all = [
        include_str!("../../../../manifests/rbac/provisioner.yaml"),
        include_str!("../../../../manifests/rbac/attacher.yaml"),
        include_str!("../../../../manifests/rbac/resizer.yaml"),
    ];
    let all = all.map(roles).join("\n---\n");
    let account = guest.site.control_plane.service_account(&guest.namespace, "rbd-controllers", &all);
    let kubeconfig = guest.site.runtime.block_on(account).expect("an account");
    let mut command = Command::new(&guest.site.mooring);
    command.args(["controller", &format!("--csi-address={endpoint}")]);
    command.arg(format!("--kubeconfig={}", kubeconfig.display())).env_remove("KUBECONFIG");
    // A driver that need not attach gets an attacher only if it is named.
    command.args(["--controllers=provisioner,attacher,resizer", "--v=2"]);
    command.arg(format!("--leader-election-namespace={}", guest.namespace));
    command.args(["--provisioner-extra-create-metadata"]);
    start(guest, "rbd-controllers", command)
}

/// What the snapshot controller and csi-snapshotter make of a snapshot that an administrator has brought.
fn bring_snapshot<N>(guest: &Guest<N>, name: &str, id: &str) {
    let kind = |kind: &str| json!({ "apiVersion": "snapshot.storage.k8s.io/v1", "kind": kind });
    let mut snapshot = kind("VolumeSnapshot");
    snapshot["metadata"] = json!({ "name": name });
    snapshot["spec"] = json!({ "source": { "volumeSnapshotContentName": name } });
    guest.apply(&snapshot.to_string());
    let uid = guest.field(&format!("volumesnapshot/{name}"), ".metadata.uid");
    let mut content = kind("VolumeSnapshotContent");
    content["metadata"] = json!({ "name": name });
    content["spec"] = json!({
        "driver": DRIVER, "deletionPolicy": "Retain", "source": { "snapshotHandle": id },
        "sourceVolumeMode": "Filesystem",
        "volumeSnapshotRef": { "name": name, "namespace": guest.namespace, "uid": uid },
    });
    guest.apply(&content.to_string());
    let patch = |object: &str, status: serde_json::Value| {
        let status = json!({ "status": status }).to_string();
        let arguments = ["patch", object, "--subresource=status", "--type=merge", "--patch", &status];
        guest.kubectl(&arguments).expect("patched");
    };
    let bytes = 512 << 20;
    patch(
        &format!("volumesnapshotcontent/{name}"),
        json!({ "snapshotHandle": id, "readyToUse": true, "restoreSize": bytes }),
    );
    patch(
        &format!("volumesnapshot/{name}"),
        json!({ "boundVolumeSnapshotContentName": name, "readyToUse": true, "restoreSize": SIZE }),
    );
}

/// A claim of so much, with what it begins with.
fn claim<N>(guest: &Guest<N>, name: &str, source: Option<serde_json::Value>) {
    let mut spec = json!({ "resources": { "requests": { "storage": SIZE } } });
    if let Some(source) = source {
        spec["dataSource"] = source;
    }
    guest.claim(name, CLASS, spec);
}

#[test]
fn the_api_server_takes_rbds_manifests() {
    let Some(guest) = calm("the manifests of the rbd driver") else { return };
    let folder = format!("{ROOT}/manifests/rbd");
    let arguments = ["apply", "--namespace", "default", "--dry-run=server", "-k", &folder];
    let taken = guest.kubectl(&arguments).expect("taken");
    for object in
        ["daemonset.apps/csi-rbd-node", "deployment.apps/csi-rbd-controller", "secret/mooring-rbd-secret"]
    {
        assert!(taken.contains(&format!("{object} created")), "{taken}");
    }
}

#[test]
fn a_pods_image_is_moved_snapshotted_cloned_and_grown() {
    let what = "images of a Ceph used by pods";
    if let Some(lack) = ceph::lack() {
        return left_out(what, lack);
    }
    let Some(guest) = calm(what) else { return };
    let storage = Storage::up(&guest);
    claim(&guest, "data", None);
    guest.pod_with_claim("user", "data");
    let sum = guest.write("user", "/data/file");
    let of = |pod: &str| guest.exec(pod, "mount | grep ' /data '").expect("a mount");
    assert!(of("user").contains("type xfs"), "{}", of("user"));
    // Moved: another pod finds what it wrote.
    let volume = guest.volume("data");
    guest.delete("pod/user");
    let attached = "jsonpath={.items[*].spec.source.persistentVolumeName}";
    let attached =
        || guest.kubectl(&["get", "volumeattachments", "-o", attached]).unwrap_or_else(|_| volume.clone());
    guest.wait_for("the volume to be detached", || !attached().contains(&volume));
    guest.pod_with_claim("user", "data");
    guest.check("user", "/data/file", &sum);
    // A snapshot has what was there, not what came later.
    let handle = guest.field(&format!("pv/{volume}"), ".spec.csi.volumeHandle");
    guest.exec("user", "fsfreeze --freeze /data && fsfreeze --unfreeze /data || sync").expect("synced");
    let cut = storage.csc(&["create-snapshot", "--source-volume", &handle, "cut"]);
    let cut = cut.split('"').nth(1).expect("the snapshot's id");
    let later = guest.write("user", "/data/later");
    bring_snapshot(&guest, "cut", cut);
    let source = json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "cut" });
    claim(&guest, "restored", Some(source));
    guest.pod_with_claim("of-snapshot", "restored");
    guest.check("of-snapshot", "/data/file", &sum);
    assert!(guest.exec("of-snapshot", "test -e /data/later").is_err(), "it came later");
    // A clone of the volume in use has both; the file system writes back its journal.
    claim(&guest, "cloned", Some(json!({ "kind": "PersistentVolumeClaim", "name": "data" })));
    guest.pod_with_claim("of-clone", "cloned");
    guest.check("of-clone", "/data/file", &sum);
    guest.check("of-clone", "/data/later", &later);
    // Grown under its pod, which goes on.
    guest.request("data", "1Gi");
    guest.wait_for("data to have 1 GiB", || guest.field("pvc/data", ".status.capacity.storage") == "1Gi");
    let blocks = guest.exec("user", "df -k /data | tail -1 | awk '{print $2}'").expect("df");
    assert!(blocks.parse::<u64>().expect("a number") > 900 << 10, "{blocks} KiB");
    assert_eq!(guest.field("pod/user", ".status.containerStatuses[0].restartCount"), "0");
    for (pod, file, expected) in
        [("user", "file", &sum), ("user", "later", &later), ("of-clone", "file", &sum)]
    {
        guest.check(pod, &format!("/data/{file}"), expected);
    }
    // Sources go first.
    for (pod, claim) in [("user", "data"), ("of-snapshot", "restored"), ("of-clone", "cloned")] {
        let volume = guest.volume(claim);
        guest.delete(&format!("pod/{pod}"));
        guest.delete(&format!("pvc/{claim}"));
        guest.wait_gone(&volume);
    }
    storage.csc(&["delete-snapshot", cut]);
    storage.assert_nothing_left();
}
