//! The lines of the controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cluster::implementation::Implementation;
use cluster::node::NodeDriver;
use cluster::{ControlPlane, Options};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;

use crate::audit::{Audit, Requests};
use crate::driver::{NODE, ZONE};
use crate::line::{Line, Vendor};
use crate::pod::{Pod, Ran};

/// Warnings that a pod whose title has the first text may give.
const KNOWN: [(&str, &str); 3] = [
    // Upstream says so too, in a line of the level I that begins with "Warning:".
    ("", "the gate is GA and will be removed"),
    // Upstream ends.
    ("", "the gate is gone and changes nothing"),
    // The driver makes volumes of snapshots, and its account may not read them: upstream notices it when a claim asks.
    ("nvmeof", "permission missing"),
];

/// A pod that ran with both.
struct Compared {
    title: String,
    go: Ran,
    ours: Ran,
}

/// The pods of all vendors, those with the same driver together: they cannot run at once. Of equal ones there is one.
fn pods(vendors: &[Vendor]) -> BTreeMap<String, Vec<Pod<'_>>> {
    let mut chains: BTreeMap<String, Vec<Pod<'_>>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for vendor in vendors {
        let mut pods: BTreeMap<(&str, &str), Vec<&Line>> = BTreeMap::new();
        for line in vendor.lines.iter().filter(|line| line.is_controller()) {
            pods.entry((&line.variant, &line.place)).or_default().push(line);
        }
        for lines in pods.into_values() {
            let pod = Pod { vendor, lines };
            let same = pod.lines.iter().map(|line| (&line.sidecar, &line.arguments, &line.environment));
            if seen.insert((pod.driver().to_owned(), same.collect::<Vec<_>>())) {
                chains.entry(pod.driver().to_owned()).or_default().push(pod);
            }
        }
    }
    chains
}

async fn plane(audit_flags: Vec<String>, drivers: impl Iterator<Item = &String>) -> ControlPlane {
    let options = Options { api_server_flags: audit_flags, ..Options::default() };
    let plane = ControlPlane::start(options).await.expect("a control plane");
    let on_node = |name: &String| NodeDriver {
        name: name.clone(),
        node_id: NODE.to_owned(),
        topology_keys: vec![ZONE.to_owned()],
        ..NodeDriver::default()
    };
    let labels = BTreeMap::from([(ZONE.to_owned(), "z1".to_owned())]);
    plane.node(NODE, &labels, &drivers.map(on_node).collect::<Vec<_>>()).await.expect("a node");
    plane
}

/// Without this, a log in which nothing is found would pass for one in which nothing is forbidden.
async fn shows_what_is_forbidden(plane: &ControlPlane, audit: &Audit) {
    let namespace = plane.fresh_namespace("nobody").await.expect("a namespace");
    let kubeconfig = plane.service_account(&namespace, "nobody", "").await.expect("an account");
    let secrets: Api<Secret> = Api::all(plane.client_of(&kubeconfig).await.expect("a client"));
    assert!(secrets.list(&ListParams::default()).await.is_err());
    let requests = audit.of(&namespace);
    assert_eq!(requests.forbidden, BTreeSet::from(["list secrets".to_owned()]));
}

/// Runs Go's. Where it refuses a gate, as it must, it runs again without.
async fn go(plane: &ControlPlane, pod: &Pod<'_>) -> Ran {
    let ran = pod.run(plane, Implementation::Go).await;
    if !pod.has_gone_gate() {
        return ran;
    }
    let refused = ran.outcome.ended.contains(&("csi-resizer".to_owned(), Some(1)));
    assert!(refused, "{}: Go's takes the gate: {:?}", pod.title(), ran.outcome);
    let lines = pod.without_gone_gate();
    let pod = Pod { vendor: pod.vendor, lines: lines.iter().collect() };
    pod.run(plane, Implementation::Go).await
}

/// Runs pods of one driver, each with both implementations.
async fn in_turn(plane: &ControlPlane, chain: Vec<Pod<'_>>) -> Vec<Compared> {
    let mut compared = Vec::new();
    for pod in chain {
        let go = go(plane, &pod).await;
        let ours = pod.run(plane, Implementation::Ours).await;
        compared.push(Compared { title: pod.title(), go, ours });
    }
    compared
}

#[tokio::test(flavor = "multi_thread")]
async fn vendors_pods_get_on_as_with_the_go_sidecars() {
    let folder = tempfile::tempdir().expect("a folder");
    let (audit, flags) = Audit::prepare(folder.path());
    let vendors = Vendor::all();
    let chains = pods(&vendors);
    let plane = plane(flags, chains.keys()).await;
    let chains = chains.into_values().map(|chain| in_turn(&plane, chain));
    let mut compared: Vec<Compared> = join_all(chains).await.into_iter().flatten().collect();
    compared.sort_by(|a, b| a.title.cmp(&b.title));
    shows_what_is_forbidden(&plane, &audit).await;
    let mut wrong = String::new();
    for pod in &compared {
        let (go, ours) = (audit.of(&pod.go.namespace), audit.of(&pod.ours.namespace));
        println!("{}", pod.told(&go, &ours));
        pod.complain(&go, &ours, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

impl Compared {
    /// What was the same and what was not, for people.
    fn told(&self, go: &Requests, ours: &Requests) -> String {
        let mut text =
            format!("{}\n  Go: {:?}\n  ours: {:?}\n", self.title, self.go.outcome, self.ours.outcome);
        let only = |text: &mut String, what: &str, of: &BTreeSet<String>| {
            let _ = writeln!(text, "  {what}: {}", of.iter().cloned().collect::<Vec<_>>().join(", "));
        };
        only(&mut text, "forbidden to Go", &go.forbidden);
        only(&mut text, "forbidden to ours", &ours.forbidden);
        only(&mut text, "asked only by Go", &(&go.all - &ours.all));
        only(&mut text, "asked only by ours", &(&ours.all - &go.all));
        for (sidecar, line) in self.warnings() {
            let _ = writeln!(text, "  {sidecar}: {line}");
        }
        text
    }

    /// What our sidecars say as warnings and errors.
    fn warnings(&self) -> Vec<(&str, &str)> {
        let lines = self.ours.logs.iter().flat_map(|(sidecar, log)| {
            let lines = log.lines().filter(|line| line.starts_with(['W', 'E']));
            lines.map(move |line| (sidecar.as_str(), line))
        });
        lines.collect()
    }

    fn complain(&self, go: &Requests, ours: &Requests, wrong: &mut String) {
        if self.go.outcome != self.ours.outcome {
            let _ = writeln!(
                wrong,
                "{}: Go {:?}, ours {:?}\n{}",
                self.title,
                self.go.outcome,
                self.ours.outcome,
                tails(&self.ours)
            );
        }
        for (sidecar, line) in self.warnings() {
            let is_known =
                KNOWN.iter().any(|(title, text)| self.title.contains(title) && line.contains(text));
            if !is_known {
                let _ = writeln!(wrong, "{}: {sidecar} warns: {line}", self.title);
            }
        }
        if go.all.is_empty() || ours.all.is_empty() {
            let _ = writeln!(wrong, "{}: the audit log has nothing of it", self.title);
        }
        for request in &ours.forbidden - &go.forbidden {
            let _ = writeln!(wrong, "{}: only ours is forbidden to {request}", self.title);
        }
    }
}

/// The ends of a pod's logs.
fn tails(ran: &Ran) -> String {
    let mut text = String::new();
    for (sidecar, log) in &ran.logs {
        let lines: Vec<_> = log.lines().collect();
        let _ = writeln!(text, "---- {sidecar}\n{}", lines[lines.len().saturating_sub(6)..].join("\n"));
    }
    text
}
