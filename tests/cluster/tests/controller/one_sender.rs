//! `mooring controller` and the three Go sidecars contend for the same leases while claims come and go. One after the other
//! is cut off, stopped, killed or left to hang. Of each kind of call there is never more than one sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::Signal;
use cluster::gate::{Gate, Traffic};
use cluster::implementation::IN_TURN;
use cluster::stand::Replica;
use tokio::task::JoinSet;

use super::*;

/// A sidecar of the controller: the lease, the Go program, the end of its name here, and the calls that it sends.
type Kind = (&'static str, Binary, &'static str, &'static [&'static str]);

const KINDS: [Kind; 3] = [
    (PROVISIONER, Binary::CsiProvisioner, "p", &["CreateVolume", "DeleteVolume"]),
    (ATTACHER, Binary::CsiAttacher, "a", &["ControllerPublishVolume", "ControllerUnpublishVolume"]),
    (RESIZER, Binary::CsiResizer, "r", &["ControllerExpandVolume"]),
];
/// How many claims live at a time.
const AT_ONCE: usize = 4;
/// For what comes and goes while nobody may lead for a while.
const PATIENCE: Duration = Duration::from_secs(300);

/// Processes that lead together: ours alone, or the three of Go's.
struct Leader {
    name: &'static str,
    processes: Vec<Replica>,
}

fn flags() -> Vec<&'static str> {
    [&IN_TURN[..], &["--v=5", "--timeout=60s"]].concat()
}

fn ours(stand: &Stand, name: &'static str) -> Leader {
    Leader { name, processes: vec![stand.replica("controller", name, &flags())] }
}

fn go(stand: &Stand, name: &'static str) -> Leader {
    let start = |(_, binary, end, _): Kind| {
        Implementation::Go.start(stand, binary, &format!("{name}-{end}"), &flags())
    };
    Leader { name, processes: KINDS.into_iter().map(start).collect() }
}

impl Leader {
    /// Its identity in the lease of this kind.
    fn identity(&self, end: &str) -> String {
        if self.processes.len() == 1 { self.name.to_owned() } else { format!("{}-{end}", self.name) }
    }

    /// Every call of these methods that it has sent: when, as its log has it.
    fn sent(&self, methods: &[&str]) -> Vec<String> {
        let logs = self.processes.iter().map(|process| process.last_lines(usize::MAX));
        let lines = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>());
        let is_call = |line: &String| {
            line.contains("\"GRPC call\"")
                && methods.iter().any(|method| line.contains(&format!("\"/csi.v1.Controller/{method}\"")))
        };
        lines.filter(is_call).filter_map(|line| Some(line.get(1..21)?.to_owned())).collect()
    }

    /// Waits until it holds every lease, and has sent calls of every kind.
    async fn leads(&mut self, stand: &Stand) {
        for process in &mut self.processes {
            assert!(process.wait(Duration::from_millis(100)).await.is_none(), "{}", process.last_lines(20));
        }
        for (lease, _, end, methods) in KINDS {
            let held = async || holder(stand, lease).await == self.identity(end);
            wait_for(&format!("{} to hold {lease}", self.name), held).await;
            let has_sent = async || !self.sent(methods).is_empty();
            wait_for(&format!("{} to send {methods:?}", self.name), has_sent).await;
        }
    }

    fn kill(&mut self) {
        self.processes.iter_mut().for_each(|process| process.kill());
    }

    /// Waits until its one process has ended because it lost its leases.
    async fn ends(&mut self) {
        for process in &mut self.processes {
            let status = process.wait(LIMIT).await;
            assert_eq!(status.and_then(|status| status.code()), Some(1), "{}", process.last_lines(20));
        }
    }
}

/// Lets claims live until `stop`: each is made, attached, grown, detached and deleted.
fn lives(stand: &Stand, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for task in 0..AT_ONCE {
        let (client, namespace, stop) = (stand.client.clone(), stand.namespace.clone(), stop.clone());
        tasks.spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                live(&client, &namespace, &format!("claim-{task}-{number}")).await;
                number += 1;
            }
        });
    }
    tasks
}

async fn live(client: &kube::Client, namespace: &str, name: &str) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let attachments: Api<VolumeAttachment> = Api::all(client.clone());
    let (delete, merge) = (DeleteParams::default(), PatchParams::default());
    let object = json!({
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "csi",
            "resources": {"requests": {"storage": "1Mi"}},
        },
    });
    let object = serde_json::from_value(object).expect("a claim");
    claims.create(&PostParams::default(), &object).await.expect("created");
    let bound = async || {
        let claim = claims.get(name).await.ok()?;
        claim
            .spec?
            .volume_name
            .filter(|_| claim.status.is_some_and(|is| is.phase.as_deref() == Some("Bound")))
    };
    let volume = wait::until(&format!("{name} to be bound"), PATIENCE, bound).await.expect("bound");
    let object = json!({
        "metadata": {"name": name},
        "spec": {"attacher": NAME, "nodeName": "node-1", "source": {"persistentVolumeName": volume}},
    });
    let object = serde_json::from_value(object).expect("an attachment");
    attachments.create(&PostParams::default(), &object).await.expect("created");
    let grown = json!({"spec": {"resources": {"requests": {"storage": "2Mi"}}}});
    claims.patch(name, &merge, &Patch::Merge(&grown)).await.expect("patched");
    let ready = async || {
        let (attachment, volume) = (attachments.get(name).await.ok()?, volumes.get(&volume).await.ok()?);
        let size = volume.spec?.capacity?.get("storage")?.0.clone();
        (attachment.status?.attached && size == "2Mi").then_some(())
    };
    wait::until(&format!("{name} to be attached and grown"), PATIENCE, ready).await.expect("ready");
    attachments.delete(name, &delete).await.expect("deleted");
    let detached = async || attachments.get_opt(name).await.is_ok_and(|found| found.is_none());
    wait::until_true(&format!("{name} to be detached"), PATIENCE, detached).await.expect("detached");
    claims.delete(name, &delete).await.expect("deleted");
    let gone = async || volumes.get_opt(&volume).await.is_ok_and(|found| found.is_none());
    wait::until_true(&format!("the volume of {name} to go"), PATIENCE, gone).await.expect("gone");
}

/// The senders of these calls, each once for all its calls in a row, in the order of time.
fn in_order(leaders: &[&Leader], methods: &[&str]) -> Vec<&'static str> {
    let of = |leader: &&Leader| {
        let name = leader.name;
        leader.sent(methods).into_iter().map(move |time| (time, name)).collect::<Vec<_>>()
    };
    let mut calls: Vec<_> = leaders.iter().flat_map(of).collect();
    calls.sort();
    let mut senders: Vec<_> = calls.into_iter().map(|(_, name)| name).collect();
    senders.dedup();
    senders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_befalls_the_leader_only_one_process_sends() {
    if !has_hosts("mooring controller that contends with the three Go sidecars") {
        return;
    }
    let mut stand = up("contend").await;
    let gate = Gate::before(stand.server()).await.expect("a gate");
    let (direct, gated) = (stand.server(), gate.address());
    let stop = Arc::new(AtomicBool::new(false));
    let mut claims = lives(&stand, &stop);

    // Cut off.
    stand.through(gated);
    let mut first = ours(&stand, "ours-1");
    first.leads(&stand).await;
    stand.through(direct);
    let mut second = go(&stand, "go-1");
    gate.set(Traffic::Refused);
    first.ends().await;
    second.leads(&stand).await;
    gate.set(Traffic::Passes);

    // Killed; and then stopped, until long after its leases are another's.
    let mut third = ours(&stand, "ours-2");
    second.kill();
    third.leads(&stand).await;
    let mut fourth = go(&stand, "go-2");
    third.processes.iter_mut().for_each(|process| process.signal(Signal::STOP));
    fourth.leads(&stand).await;
    third.processes.iter_mut().for_each(|process| process.signal(Signal::CONT));
    third.ends().await;

    // Connected to an API server that says nothing.
    stand.through(gated);
    let mut fifth = ours(&stand, "ours-3");
    fourth.kill();
    fifth.leads(&stand).await;
    stand.through(direct);
    let mut sixth = go(&stand, "go-3");
    gate.set(Traffic::Hangs);
    fifth.ends().await;
    sixth.leads(&stand).await;

    let mut last = ours(&stand, "ours-4");
    sixth.kill();
    last.leads(&stand).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = claims.join_next().await {
        ended.expect("every claim has its whole life");
    }
    assert_eq!(stand.directories(), Vec::<String>::new());
    let all = [&first, &second, &third, &fourth, &fifth, &sixth, &last];
    for (_, _, _, methods) in KINDS {
        assert_eq!(in_order(&all, methods), all.map(|leader| leader.name), "{methods:?}");
    }
}
