//! The control plane itself: it serves, it binds, it refuses, and it leaves nothing behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cluster::node::NodeDriver;
use cluster::{ControlPlane, Options, wait};
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::storage::v1::CSINode;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

const CLAIM: &str = r"
apiVersion: v1
kind: PersistentVolume
metadata: { name: by-hand }
spec:
  capacity: { storage: 1Gi }
  accessModes: [ReadWriteOnce]
  storageClassName: by-hand
  hostPath: { path: /nowhere }
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: by-hand
  resources: { requests: { storage: 1Gi } }
---
apiVersion: v1
kind: Pod
metadata: { name: user }
spec:
  containers: [{ name: main, image: none }]
  volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]
";

const LIMIT: Duration = Duration::from_secs(30);

async fn binds_and_schedules(control_plane: &ControlPlane) {
    let namespace = control_plane.fresh_namespace("bind").await.expect("a namespace");
    let driver = NodeDriver { name: "a.example".into(), node_id: "id-1".into(), ..NodeDriver::default() };
    let labels = BTreeMap::from([("zone".to_owned(), "z1".to_owned())]);
    control_plane.node("node-1", &labels, &[driver]).await.expect("a node");
    let client = control_plane.client().expect("a client");
    let node = Api::<Node>::all(client.clone()).get("node-1").await.expect("there");
    assert_eq!(node.metadata.labels.and_then(|labels| labels.get("zone").cloned()).as_deref(), Some("z1"));
    let csi_node = Api::<CSINode>::all(client.clone()).get("node-1").await.expect("there");
    assert_eq!(csi_node.spec.drivers.first().map(|driver| driver.node_id.as_str()), Some("id-1"));

    control_plane.apply(CLAIM, &namespace).await.expect("applied");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    wait::condition(
        &claims,
        "data",
        "the claim to be bound",
        LIMIT,
        |claim: Option<&PersistentVolumeClaim>| {
            claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
        },
    )
    .await
    .expect("bound");
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    wait::condition(&pods, "user", "the pod to get its node", LIMIT, |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.spec.as_ref()?.node_name.as_deref()) == Some("node-1")
    })
    .await
    .expect("scheduled");
    pods.delete("user", &DeleteParams::default().grace_period(0)).await.expect("deleted");
}

async fn refuses_what_the_role_does_not_grant(control_plane: &ControlPlane) {
    let namespace = control_plane.fresh_namespace("account").await.expect("a namespace");
    let other = control_plane.fresh_namespace("account").await.expect("another namespace");
    assert_ne!(namespace, other);
    let roles = include_str!("../testdata/reader.yaml");
    let kubeconfig = control_plane.service_account(&namespace, "reader", roles).await.expect("an account");
    let client = control_plane.client_of(&kubeconfig).await.expect("a client");

    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    claims.list(&ListParams::default()).await.expect("its ClusterRole grants it everywhere");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    assert!(maps.get_opt("none").await.expect("its Role grants it here").is_none());

    // 0 for what is not an answer of the API server.
    let refused = |error: kube::Error| if let kube::Error::Api(status) = error { status.code } else { 0 };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &other);
    assert_eq!(maps.get("none").await.map_err(refused).expect_err("another namespace"), 403);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    assert_eq!(
        secrets.list(&ListParams::default()).await.map_err(refused).expect_err("another resource"),
        403
    );
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &namespace);
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.name = Some("data".to_owned());
    let created = claims.create(&PostParams::default(), &claim).await;
    assert_eq!(created.map_err(refused).expect_err("another verb"), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_then_leaves_nothing_behind() {
    let options = Options { scheduler: true, ..Options::default() };
    let control_plane = ControlPlane::start(options).await.expect("started");
    let version = control_plane.client().expect("a client").apiserver_version().await.expect("a version");
    assert_eq!(version.git_version, cluster::binaries::kubernetes_release());
    binds_and_schedules(&control_plane).await;
    refuses_what_the_role_does_not_grant(&control_plane).await;

    let pids = control_plane.process_ids();
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    let folder = control_plane.folder().to_owned();
    control_plane.stop().await;
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn says_which_component_failed_and_why() {
    let options = Options { api_server_flags: vec!["--no-such-flag".to_owned()], ..Options::default() };
    let error = ControlPlane::start(options).await.expect_err("a flag that nobody knows").to_string();
    assert!(error.starts_with("kube-apiserver ended"), "{error}");
    assert!(error.contains("no-such-flag"), "{error}");
}

/// Set in the child of [`leaves_nothing_behind_when_its_process_is_killed`]: where to write what it started.
const ROLE: &str = "MOORING_TEST_KILLED";

/// Runs this test's own program a second time as the owner, and kills that with SIGKILL: no destructor runs.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_nothing_behind_when_its_process_is_killed() {
    if let Some(file) = std::env::var_os(ROLE).map(PathBuf::from) {
        let control_plane = ControlPlane::start(Options::default()).await.expect("started");
        let pids: Vec<String> = control_plane.process_ids().iter().map(u32::to_string).collect();
        let text = format!("{}\n{}", control_plane.folder().display(), pids.join(" "));
        std::fs::write(file.with_extension("new"), text).expect("written");
        std::fs::rename(file.with_extension("new"), file).expect("renamed");
        std::future::pending::<()>().await;
    }
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("started");
    let mut owner = Command::new(std::env::current_exe().expect("our own program"));
    owner.args(["--exact", "leaves_nothing_behind_when_its_process_is_killed"]).env(ROLE, &file);
    let mut owner = owner.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let limit = Duration::from_secs(120);
    let text = wait::until("the control plane of the other process", limit, async || {
        std::fs::read_to_string(&file).ok()
    });
    let text = text.await.expect("started");
    let (folder, pids) = text.split_once('\n').expect("two lines");
    assert!(Path::new(folder).exists());
    let runs = |pid: &str| Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.split(' ').count() == 3 && pids.split(' ').all(runs), "{pids}");
    owner.kill().expect("killed");
    owner.wait().expect("reaped");
    let gone = async || (!Path::new(folder).exists() && !pids.split(' ').any(runs)).then_some(());
    wait::until("everything to go", LIMIT, gone).await.expect("gone");
}
