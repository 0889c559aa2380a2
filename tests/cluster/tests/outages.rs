//! The sidecars through outages of the API server, on a real control plane.
//!
//! The outages are made by a gate between the sidecars and the API server, so that everything else goes on. There are
//! ten of them; `MOORING_OUTAGES=100` makes a hundred.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::gate::{Gate, Traffic};
use cluster::node::NodeDriver;
use cluster::stand::{Replica, Stand, has_hosts};
use cluster::wait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(180);
const NAME: &str = "hostpath.csi.k8s.io";

async fn up(name: &str) -> Stand {
    let rbac = [
        include_str!("../../../manifests/rbac/provisioner.yaml"),
        include_str!("../../../manifests/rbac/attacher.yaml"),
        include_str!("../../../manifests/rbac/resizer.yaml"),
    ];
    let flags = ["--enable-attach", "--disable-node-expansion"];
    let stand = Stand::with(name, &flags, "csi-all", &rbac.join("\n---\n")).await;
    let ours = NodeDriver { name: NAME.to_owned(), node_id: "node-1".to_owned(), ..NodeDriver::default() };
    stand.control_plane.node("node-1", &BTreeMap::new(), &[ours]).await.expect("a node");
    let grows = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "csi"},
        "provisioner": NAME, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", "allowVolumeExpansion": true,
    });
    stand.control_plane.apply_object(grows, "").await.expect("a class");
    stand
}

/// The volumes of the bound claims, by claim.
async fn volumes(claims: &Api<PersistentVolumeClaim>) -> BTreeMap<String, String> {
    let all = claims.list(&ListParams::default()).await.expect("listed");
    let bound = |claim: PersistentVolumeClaim| {
        let phase = claim.status.and_then(|status| status.phase);
        let volume = claim.spec.and_then(|spec| spec.volume_name)?;
        (phase.as_deref() == Some("Bound")).then_some((claim.metadata.name?, volume))
    };
    all.items.into_iter().filter_map(bound).collect()
}

async fn attach(attachments: &Api<VolumeAttachment>, volume: &str) {
    let object = json!({
        "metadata": {"name": format!("to-{volume}")},
        "spec": {"attacher": NAME, "nodeName": "node-1", "source": {"persistentVolumeName": volume}},
    });
    let object = serde_json::from_value(object).expect("an attachment");
    let made = attachments.create(&PostParams::default(), &object).await;
    assert!(made.is_ok() || matches!(&made, Err(kube::Error::Api(status)) if status.code == 409), "{made:?}");
}

async fn attached(attachments: &Api<VolumeAttachment>) -> usize {
    let all = attachments.list(&ListParams::default()).await.expect("listed");
    all.items.iter().filter(|one| one.status.as_ref().is_some_and(|status| status.attached)).count()
}

async fn grow(claims: &Api<PersistentVolumeClaim>, claim: &str) {
    let patch = json!({"spec": {"resources": {"requests": {"storage": "2Mi"}}}});
    claims.patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
}

async fn grown(claims: &Api<PersistentVolumeClaim>) -> usize {
    let all = claims.list(&ListParams::default()).await.expect("listed");
    let capacity = |claim: &PersistentVolumeClaim| {
        Some(claim.status.as_ref()?.capacity.as_ref()?.get("storage")?.0.clone())
    };
    all.items.iter().filter(|claim| capacity(claim).as_deref() == Some("2Mi")).count()
}

fn election() -> [&'static str; 1] {
    ["--leader-election"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_outages_end_no_leader_and_lose_no_work() {
    let outages: u64 = std::env::var("MOORING_OUTAGES").map_or(10, |count| count.parse().expect("a number"));
    let mut stand = up("outages").await;
    let gate = Gate::before(stand.server()).await.expect("a gate");
    stand.through(gate.address());
    let mut sidecars = [("csi-provisioner", "a"), ("csi-attacher", "b"), ("csi-resizer", "c")]
        .map(|(sidecar, log)| stand.sidecar(sidecar, log, &election()));
    let claims = stand.claim("claim-0", "csi", "1Mi").await;
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    wait::until("the first claim to be bound", LIMIT, async || {
        (volumes(&claims).await.len() == 1).then_some(())
    })
    .await
    .expect("bound");
    let mut random = fastrand::Rng::with_seed(11);
    for outage in 1..=outages {
        sleep(Duration::from_millis(random.u64(500..4_000))).await;
        gate.set(if outage % 2 == 0 { Traffic::Refused } else { Traffic::Hangs });
        stand.claim(&format!("claim-{outage}"), "csi", "1Mi").await;
        for (claim, volume) in volumes(&claims).await {
            attach(&attachments, &volume).await;
            grow(&claims, &claim).await;
        }
        sleep(Duration::from_millis(random.u64(200..4_000))).await;
        gate.set(Traffic::Passes);
        for sidecar in &mut sidecars {
            assert!(sidecar.exited().is_none(), "outage {outage}: {}", sidecar.last_lines(20));
        }
    }
    let all = usize::try_from(outages).expect("a small number") + 1;
    wait::until("all claims to be bound", LIMIT, async || {
        (volumes(&claims).await.len() == all).then_some(())
    })
    .await
    .expect("bound");
    for (claim, volume) in volumes(&claims).await {
        attach(&attachments, &volume).await;
        grow(&claims, &claim).await;
    }
    wait::until("all to be attached", LIMIT, async || (attached(&attachments).await == all).then_some(()))
        .await
        .expect("attached");
    wait::until("all to have grown", LIMIT, async || (grown(&claims).await == all).then_some(()))
        .await
        .expect("grown");
    assert_eq!(stand.directories().len(), all, "one volume a claim");
    let leases: Api<Lease> = Api::namespaced(stand.client.clone(), &stand.namespace);
    for lease in leases.list(&ListParams::default()).await.expect("listed") {
        let transitions = lease.spec.and_then(|spec| spec.lease_transitions);
        assert!(transitions.unwrap_or_default() == 0, "{:?} changed hands", lease.metadata.name);
    }
    for sidecar in &sidecars {
        assert_eq!(sidecar.last_lines(100_000).matches("became leader\" lease=").count(), 1);
    }
}

/// How often a sidecar says that it has made a volume.
fn made(replica: &Replica) -> usize {
    replica.last_lines(100_000).matches("\"Volume provisioned\"").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_outage_hands_over_to_a_replica_that_is_not_cut_off() {
    if !has_hosts("two replicas of csi-provisioner in an outage") {
        return;
    }
    let mut stand = up("outage").await;
    let server = stand.server();
    let gate = Gate::before(server).await.expect("a gate");
    stand.through(gate.address());
    let mut first = stand.replica("csi-provisioner", "first", &election());
    let claims = stand.claim("one", "csi", "1Mi").await;
    wait::until("the claim to be bound", LIMIT, async || (volumes(&claims).await.len() == 1).then_some(()))
        .await
        .expect("bound");
    stand.through(server);
    let second = stand.replica("csi-provisioner", "second", &election());
    gate.set(Traffic::Hangs);
    stand.claim("two", "csi", "1Mi").await;
    wait::until("the other to go on", LIMIT, async || (volumes(&claims).await.len() == 2).then_some(()))
        .await
        .expect("bound");
    let ended = first.wait(Duration::from_secs(60)).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{}", first.last_lines(20));
    gate.set(Traffic::Passes);
    assert_eq!((made(&first), made(&second), stand.directories().len()), (1, 1, 2));
}
