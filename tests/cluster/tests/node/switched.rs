//! The controllers change under pods that use volumes: a container each, one process for two of them, one for all, and back.

use serde_json::{Value, json};

use crate::guest::Guest;
use crate::site::alone;

const DEPLOYMENT: &str = "deployment/csi-hostpath-controller";
const CLASS: &str = "csi-hostpath-sc";

/// The deployment of the controllers as our manifest has it. Dropping this brings it back.
struct Deployed<'a, N> {
    guest: &'a Guest<N>,
    containers: Vec<Value>,
}

impl<N> Drop for Deployed<'_, N> {
    fn drop(&mut self) {
        let patch = patch(&self.containers);
        let patch = ["--namespace", "default", "patch", DEPLOYMENT, "--type=json", "--patch", &patch];
        let _ = self.guest.kubectl(&patch);
    }
}

impl<N> Deployed<'_, N> {
    fn container(&self, name: &str) -> Value {
        let found = self.containers.iter().find(|container| container["name"] == name);
        found.unwrap_or_else(|| panic!("no container {name}")).clone()
    }

    /// One process for these sidecars.
    fn one_for(&self, sidecars: &str) -> Value {
        let mut container = self.container("csi-provisioner");
        container["name"] = json!("csi-controller");
        container["image"] = json!("mooring/controller:v0.1.0");
        container["args"] = json!([
            "--csi-address=/csi/csi.sock",
            "--leader-election",
            format!("--controllers={sidecars}"),
            "--feature-gates=Topology=false",
            "--v=2",
        ]);
        container
    }

    /// Runs these in place of what runs, and waits until they do.
    fn run(&self, containers: &[Value]) {
        let change =
            ["--namespace", "default", "patch", DEPLOYMENT, "--type=json", "--patch", &patch(containers)];
        self.guest.kubectl(&change).expect("patched");
        let rolled = ["--namespace", "default", "rollout", "status", DEPLOYMENT, "--timeout=120s"];
        self.guest.kubectl(&rolled).expect("the new pod is there");
    }
}

fn patch(containers: &[Value]) -> String {
    json!([{ "op": "replace", "path": "/spec/template/spec/containers", "value": containers }]).to_string()
}

/// The claim grows, and the volume goes from its pod to another one, whose start lets the node grow it at once.
fn grow_and_move<N>(guest: &Guest<N>, pod: &str, claim: &str, size: &str, sum: &str) {
    guest.request(claim, size);
    let volume = format!("pv/{}", guest.volume(claim));
    let grown = || guest.field(&volume, ".spec.capacity.storage") == size;
    guest.wait_for(&format!("the volume of {claim} to have {size}"), grown);
    guest.delete(&format!("pod/{pod}"));
    guest.pod_with_claim(pod, claim);
    guest.check(pod, "/data/file", sum);
    let has = || guest.field(&format!("pvc/{claim}"), ".status.capacity.storage") == size;
    guest.wait_for(&format!("{claim} to have {size}"), has);
}

fn end<N>(guest: &Guest<N>, pod: &str, claim: &str) {
    let volume = guest.volume(claim);
    guest.delete(&format!("pod/{pod}"));
    guest.delete(&format!("pvc/{claim}"));
    guest.wait_gone(&volume);
}

#[test]
fn volumes_live_on_while_the_sidecars_are_switched() {
    let Some(guest) = alone("sidecars that are switched under pods") else { return };
    let path = "jsonpath={.spec.template.spec.containers}";
    let text =
        guest.kubectl(&["--namespace", "default", "get", DEPLOYMENT, "-o", path]).expect("the deployment");
    let containers: Vec<Value> = serde_json::from_str(&text).expect("containers");
    assert_eq!(containers.len(), 3, "a container each: {text}");
    let separate = containers.clone();
    let deployed = Deployed { guest: &guest, containers };
    guest.claim("kept", CLASS, json!({}));
    guest.pod_with_claim("keeper", "kept");
    let kept = guest.write("keeper", "/data/file");
    let half = vec![deployed.one_for("provisioner,resizer"), deployed.container("csi-attacher")];
    let shapes = [
        ("half", half.clone()),
        ("one", vec![deployed.one_for("provisioner,attacher,resizer")]),
        ("again", half),
        ("separate", separate),
    ];
    for (step, (shape, containers)) in shapes.iter().enumerate() {
        // This one is asked for while nobody may lead.
        let (claim, pod) = (format!("new-{shape}"), format!("user-{shape}"));
        guest.claim(&claim, CLASS, json!({}));
        deployed.run(containers);
        guest.check("keeper", "/data/file", &kept);
        assert_eq!(guest.field("pod/keeper", ".status.containerStatuses[0].restartCount"), "0", "{shape}");
        // What the former sidecars made and attached: grown, detached and attached by these.
        grow_and_move(&guest, "keeper", "kept", &format!("{}Mi", 80 + step), &kept);
        // A whole life by these.
        guest.pod_with_claim(&pod, &claim);
        let sum = guest.write(&pod, "/data/file");
        grow_and_move(&guest, &pod, &claim, "96Mi", &sum);
        end(&guest, &pod, &claim);
    }
    end(&guest, "keeper", "kept");
    drop(deployed);
}
