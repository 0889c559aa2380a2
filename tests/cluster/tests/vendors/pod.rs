//! A vendor's controller pod: its driver and its sidecars, with the vendor's account.

use std::time::Duration;

use cluster::implementation::Implementation;
use cluster::{ControlPlane, Process, wait};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::container::{Container, Place};
use crate::driver;
use crate::line::{Line, Vendor};
use crate::live::Life;

/// How long a sidecar may take until it leads and answers.
const LIMIT: Duration = Duration::from_secs(40);

/// The sidecars of one pod that need the API server.
pub(crate) struct Pod<'a> {
    pub(crate) vendor: &'a Vendor,
    pub(crate) lines: Vec<&'a Line>,
}

/// A sidecar, the port that it opens, and its process.
type Running<'a> = (&'a Line, Option<u16>, Process);

/// A gate that lines of older releases name, and that upstream's newest sidecars refuse as unknown.
const GONE: &str = "RecoverVolumeExpansionFailure";

/// The argument without the gate that is gone.
fn without_gone(argument: &str) -> String {
    match argument.split_once('=') {
        Some((flag, gates)) if flag.trim_start_matches('-') == "feature-gates" => {
            let is_known = |gate: &&str| !gate.starts_with(GONE);
            let known: Vec<_> = gates.split(',').filter(is_known).collect();
            format!("{flag}={}", known.join(","))
        }
        _ => argument.to_owned(),
    }
}

/// The name of a pod that a Deployment made, or on a node a DaemonSet: capacity objects belong to it.
async fn owned_pod(plane: &ControlPlane, namespace: &str, place: &str) -> String {
    let labels = json!({"app": "driver"});
    let kind = if place == "node" { "DaemonSet" } else { "Deployment" };
    let workload = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "driver"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "driver", "image": "none"}]},
            },
        },
    });
    plane.apply_object(workload, namespace).await.expect("a workload");
    let pods: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(plane.client().expect("a client"), namespace);
    let made = async || pods.list(&ListParams::default()).await.ok()?.items.pop()?.metadata.name;
    wait::until("the workload's pod", LIMIT, made).await.expect("a pod")
}

/// How a pod got on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The exit code of each sidecar that ended by itself: what has ended is not ready.
    pub(crate) ended: Vec<(String, Option<i32>)>,
    /// What it waits for in vain.
    pub(crate) stuck: Option<String>,
}

/// What is left of a pod that ran.
pub(crate) struct Ran {
    pub(crate) namespace: String,
    pub(crate) outcome: Outcome,
    /// Each sidecar and what it logged.
    pub(crate) logs: Vec<(String, String)>,
}

impl Pod<'_> {
    fn first(&self) -> &Line {
        self.lines.first().expect("a sidecar")
    }

    /// The driver's name.
    pub(crate) fn driver(&self) -> &str {
        &self.first().driver
    }

    /// For messages.
    pub(crate) fn title(&self) -> String {
        format!("{} {}/{}", self.vendor.name, self.first().variant, self.first().place)
    }

    /// Whether a sidecar is told of the gate that is gone.
    pub(crate) fn has_gone_gate(&self) -> bool {
        self.lines
            .iter()
            .any(|line| line.arguments.iter().any(|argument| without_gone(argument) != *argument))
    }

    /// Its sidecars without that gate.
    pub(crate) fn without_gone_gate(&self) -> Vec<Line> {
        let lines = self.lines.iter().map(|line| {
            let arguments = line.arguments.iter().map(|argument| without_gone(argument)).collect();
            Line { arguments, ..(*line).clone() }
        });
        lines.collect()
    }

    /// Runs it in a namespace of its own until it has led a claim through its life, or cannot.
    pub(crate) async fn run(&self, plane: &ControlPlane, who: Implementation) -> Ran {
        let first = self.first();
        let namespace = plane.fresh_namespace(self.vendor.name).await.expect("a namespace");
        let roles = self.vendor.roles(&first.account, &first.variant);
        let kubeconfig = plane.service_account(&namespace, &first.account, &roles).await.expect("an account");
        let pod = owned_pod(plane, &namespace, &first.place).await;
        let socket = plane.folder().join(format!("{namespace}.sock"));
        let _driver = driver::serve(self.vendor.abilities(self.driver()), &socket);
        let place = Place { socket: &socket, namespace: &namespace, pod: &pod, registration: plane.folder() };
        let mut running: Vec<Running<'_>> = Vec::new();
        for line in &self.lines {
            let container = Container::of(line, &place);
            let mut command = container.command(line, &place, who);
            command.arg(format!("--kubeconfig={}", kubeconfig.display()));
            let process = plane.spawn(&format!("{namespace}-{}", line.sidecar), command).expect("started");
            running.push((line, container.port, process));
        }
        let mut stuck = ready(plane, &namespace, &mut running).await;
        if stuck.is_none() && ended(&mut running).is_empty() {
            let has = |name: &str| self.lines.iter().any(|line| line.sidecar == name);
            let life = Life {
                driver: self.driver(),
                namespace: &namespace,
                is_attached: has("csi-attacher"),
                is_grown: has("csi-resizer"),
            };
            stuck = life.lived(plane).await;
        }
        let outcome = Outcome { ended: ended(&mut running), stuck };
        let logs = running
            .iter_mut()
            .map(|(line, _, process)| {
                process.kill();
                (line.sidecar.clone(), process.last_lines(usize::MAX))
            })
            .collect();
        Ran { namespace, outcome, logs }
    }
}

/// Which have ended by themselves.
fn ended(running: &mut [Running<'_>]) -> Vec<(String, Option<i32>)> {
    let ends = running.iter_mut().filter_map(|(line, _, process)| {
        process.exited().map(|status| (line.sidecar.clone(), status.code()))
    });
    ends.collect()
}

/// Waits until each that elects holds its lease, and each port answers, or one has ended.
async fn ready(plane: &ControlPlane, namespace: &str, running: &mut [Running<'_>]) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(plane.client().expect("a client"), namespace);
    let electing = running.iter().filter(|(line, ..)| line.has("leader-election")).count();
    let ports: Vec<u16> = running.iter().filter_map(|(_, port, _)| *port).collect();
    let end = std::time::Instant::now() + LIMIT;
    loop {
        if !ended(running).is_empty() {
            return None;
        }
        let listed = leases.list(&ListParams::default()).await.expect("leases");
        let held = listed.items.iter().filter(|lease| {
            lease
                .spec
                .as_ref()
                .is_some_and(|spec| spec.holder_identity.as_ref().is_some_and(|id| !id.is_empty()))
        });
        let mut answering = 0;
        for port in &ports {
            answering += usize::from(answers(*port, "/metrics").await);
        }
        let (held, wanted) = (held.count(), ports.len());
        if held == electing && answering == wanted {
            return None;
        }
        if std::time::Instant::now() > end {
            return Some(format!("{held} of {electing} leases, {answering} of {wanted} ports"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a GET of this path is answered with 200.
pub(crate) async fn answers(port: u16, path: &str) -> bool {
    let page = tokio::time::timeout(Duration::from_secs(5), cluster::page::get(port, path)).await;
    matches!(page, Ok(Ok(page)) if page.starts_with("HTTP/1.1 200"))
}

/// Waits until a GET of this path is answered.
pub(crate) async fn answers_in_time(port: u16, path: &str) -> Result<(), wait::Late> {
    wait::until_true(&format!("an answer of {path}"), LIMIT, async || answers(port, path).await).await
}
