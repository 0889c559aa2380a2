//! csi-provisioner on a real control plane, with upstream's sample role only.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that looks where nothing is fails, as it should"
)]

mod against_go;

use std::time::{Duration, Instant};

use cluster::stand::{Replica, Stand, has_hosts};
use cluster::{Signal, skip, wait};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, ListParams};

const LIMIT: Duration = Duration::from_secs(60);

async fn claims_bound(api: &Api<PersistentVolumeClaim>) -> usize {
    // From the API server's cache: looking must not slow down what is looked at.
    let claims = api.list(&ListParams::default().match_any()).await.expect("claims");
    let bound = |claim: &&PersistentVolumeClaim| {
        claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
    };
    claims.iter().filter(bound).count()
}

async fn wait_bound(api: &Api<PersistentVolumeClaim>, count: usize) {
    wait::until("the claims to be bound", 3 * LIMIT, async || {
        (claims_bound(api).await == count).then_some(())
    })
    .await
    .expect("bound");
}

async fn wait_no_volumes(stand: &Stand) {
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let cached = ListParams::default().match_any();
    let gone = async || volumes.list_metadata(&cached).await.ok()?.items.is_empty().then_some(());
    wait::until("the volumes to go", 3 * LIMIT, gone).await.expect("no volume is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sample_role_suffices_for_a_claim_and_its_deletion() {
    let stand = Stand::up("life").await;
    let mut provisioner = stand.provisioner("a", &["--extra-create-metadata"]);
    stand.class("csi", "Delete", "Immediate", &[]).await;
    let claims = stand.claim("data", "csi", "1Gi").await;
    wait_bound(&claims, 1).await;

    let claim = claims.get("data").await.expect("there");
    let uid = claim.metadata.uid.clone().expect("a uid");
    let name = claim.spec.and_then(|spec| spec.volume_name).expect("bound");
    assert_eq!(name, format!("pvc-{uid}"));
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let volume = volumes.get(&name).await.expect("there");
    let finalizers = volume.metadata.finalizers.clone().expect("finalizers");
    assert!(finalizers.contains(&"external-provisioner.volume.kubernetes.io/finalizer".to_owned()));
    let csi = volume.spec.and_then(|spec| spec.csi).expect("a CSI source");
    let attributes = csi.volume_attributes.expect("attributes");
    assert_eq!(attributes.get("csi.storage.k8s.io/pvc/name").map(String::as_str), Some("data"));
    assert_eq!((stand.directories().len(), csi.volume_handle.is_empty()), (1, false));

    let events: Api<Event> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let reasons = async || {
        let events = events.list(&ListParams::default()).await.ok()?;
        let ours = |event: &Event| {
            event
                .source
                .as_ref()
                .and_then(|source| source.component.as_deref())
                .is_some_and(|c| c.starts_with("hostpath"))
        };
        let mut reasons: Vec<_> = events.into_iter().filter(ours).filter_map(|event| event.reason).collect();
        reasons.sort();
        (reasons.len() == 2).then_some(reasons)
    };
    let reasons = wait::until("the claim's two events", LIMIT, reasons).await.expect("events");
    assert_eq!(reasons, ["Provisioning", "ProvisioningSucceeded"]);

    claims.delete("data", &DeleteParams::default()).await.expect("deleted");
    wait_no_volumes(&stand).await;
    assert!(stand.directories().is_empty(), "left: {:?}", stand.directories());
    let log = provisioner.last_lines(10_000);
    assert!(!log.contains("permission missing"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with('E')), "{log}");
    provisioner.terminate(LIMIT).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_binding_claim_waits_for_its_node() {
    let stand = Stand::up("late").await;
    let _provisioner = stand.provisioner("a", &[]);
    stand.class("late", "Delete", "WaitForFirstConsumer", &[]).await;
    stand.class("now", "Delete", "Immediate", &[]).await;
    let claims = stand.claim("waits", "late", "1Gi").await;
    stand.claim("first", "now", "1Gi").await;
    wait_bound(&claims, 1).await;
    assert_eq!(stand.directories().len(), 1, "only the claim that need not wait");
    stand.select_node("waits", "node-1").await;
    wait_bound(&claims, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_claims_get_a_thousand_volumes_and_leave_none() {
    const COUNT: usize = 1000;
    let stand = Stand::up("many").await;
    let mut provisioner = stand.provisioner("a", &[]);
    stand.class("csi", "Delete", "Immediate", &[]).await;
    let claims = stand.claims(COUNT, "csi").await;
    wait_bound(&claims, COUNT).await;
    assert_eq!(stand.directories().len(), COUNT);
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
    wait_no_volumes(&stand).await;
    assert_eq!(stand.directories(), Vec::<String>::new());
    let page = stand.metrics("a").await;
    for method in ["CreateVolume", "DeleteVolume"] {
        let sample = format!(
            "csi_sidecar_operations_seconds_count{{driver_name=\"hostpath.csi.k8s.io\",grpc_status_code=\"OK\",method_name=\"/csi.v1.Controller/{method}\"}} {COUNT}\n"
        );
        assert!(page.contains(&sample), "one {method} per claim\n{page}");
    }
    assert!(!page.contains("grpc_status_code=\"Internal\""), "{page}");
    provisioner.terminate(LIMIT).await.expect("it ends");
}

async fn leader(stand: &Stand) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let lease = leases.get_opt("hostpath-csi-k8s-io").await.ok()??;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

/// How many volumes a replica has made.
fn creates(replica: &Replica) -> usize {
    replica.last_lines(100_000).matches("\"Volume provisioned\"").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_takes_over_after_kill_and_at_once_after_sigterm() {
    if !has_hosts("two replicas of csi-provisioner") {
        return;
    }
    let stand = Stand::up("lead").await;
    stand.class("csi", "Delete", "Immediate", &[]).await;
    let election = [
        "--leader-election",
        "--leader-election-lease-duration=6s",
        "--leader-election-renew-deadline=4s",
        "--leader-election-retry-period=2s",
    ];
    let mut first = stand.replica("csi-provisioner", "first", &election);
    wait::until("a leader", LIMIT, async || leader(&stand).await).await.expect("led");
    let mut second = stand.replica("csi-provisioner", "second", &election);
    let claims = stand.claim("one", "csi", "1Mi").await;
    wait_bound(&claims, 1).await;
    assert_eq!((creates(&first), creates(&second)), (1, 0));

    first.kill();
    let killed = Instant::now();
    stand.claim("two", "csi", "1Mi").await;
    wait_bound(&claims, 2).await;
    assert!(killed.elapsed() >= Duration::from_secs(2), "the lease still ran");
    assert!(killed.elapsed() < Duration::from_secs(15), "took {:?}", killed.elapsed());
    assert_eq!(creates(&second), 1);

    let third = stand.replica("csi-provisioner", "third", &election);
    wait::until("the third to be up", LIMIT, async || {
        third.last_lines(100).contains("driver found").then_some(())
    })
    .await
    .expect("up");
    second.signal(Signal::TERM);
    let asked = Instant::now();
    let third_leads = async || (leader(&stand).await.as_deref() == Some("third")).then_some(());
    wait::until("the third to lead", LIMIT, third_leads).await.expect("led");
    assert!(asked.elapsed() < Duration::from_secs(2), "took {:?}", asked.elapsed());
    stand.claim("three", "csi", "1Mi").await;
    wait_bound(&claims, 3).await;
    assert_eq!((creates(&second), creates(&third)), (1, 1));
    assert_eq!(second.wait(LIMIT).await.and_then(|status| status.code()), Some(1));
    assert_eq!(stand.directories().len(), 3);
}

#[test]
fn replicas_are_left_out_aloud_where_nobody_may_name_a_host() {
    const TEST: &str = "replica_takes_over_after_kill_and_at_once_after_sigterm";
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink("/bin/false", folder.path().join("unshare")).expect("an unshare that fails");
    let again = |nothing: Option<&str>| {
        let mut command = std::process::Command::new(std::env::current_exe().expect("our own program"));
        command.args(["--exact", TEST, "--show-output"]).env("PATH", folder.path()).env_remove(skip::NOTHING);
        command.envs(nothing.map(|nothing| (nothing, "1")));
        let output = command.output().expect("run");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (passed, said) = again(None);
    assert!(passed && said.contains("1 passed"), "{said}");
    assert!(said.contains("\nskipped: two replicas of csi-provisioner: needs root"), "{said}");
    let (passed, said) = again(Some(skip::NOTHING));
    assert!(!passed && said.contains("may not be left out"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provisioner_survives_a_restart_of_the_driver() {
    let mut stand = Stand::up("again").await;
    let mut provisioner = stand.provisioner("a", &[]);
    stand.class("csi", "Delete", "Immediate", &[]).await;
    let claims = stand.claim("one", "csi", "1Mi").await;
    wait_bound(&claims, 1).await;
    stand.restart_driver();
    stand.claim("two", "csi", "1Mi").await;
    wait_bound(&claims, 2).await;
    assert!(provisioner.exited().is_none());
    assert_eq!(stand.directories().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_cannot_be_served_say_why() {
    let stand = Stand::up("bad").await;
    let _provisioner = stand.provisioner("a", &[]);
    let (prefix, secret) = ("csi.storage.k8s.io/", "csi.storage.k8s.io/provisioner-secret-");
    stand.class("unknown", "Delete", "Immediate", &[(&format!("{prefix}no-such-key"), "x")]).await;
    stand.class("half", "Delete", "Immediate", &[(&format!("{secret}name"), "x")]).await;
    let whole = [(&*format!("{secret}name"), "missing"), (&*format!("{secret}namespace"), "default")];
    stand.class("secret", "Delete", "Immediate", &whole).await;
    for (class, text) in
        [("unknown", "no-such-key"), ("half", "secret-namespace"), ("secret", "\"missing\" not found")]
    {
        stand.claim(class, class, "1Mi").await;
        let events: Api<Event> = Api::namespaced(stand.client.clone(), &stand.namespace);
        let fields = format!("involvedObject.name={class},reason=ProvisioningFailed");
        let said = async || {
            let events = events.list(&ListParams::default().fields(&fields)).await.ok()?;
            events.into_iter().find_map(|event| event.message)
        };
        let message = wait::until("the failure's event", LIMIT, said).await.expect("an event");
        assert!(message.contains(text), "{class}: {message}");
    }
    assert!(stand.directories().is_empty());
}
