//! Every state that one leaves, finished by the other.

use std::collections::BTreeMap;

use cluster::Signal;
use cluster::implementation::Implementation;
use cluster::node::NodeDriver;
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::attacher;
use super::seen::Driver;
use crate::is_content;
use crate::site::{NAME, NODE, Site};

const VOLUMES: &str = "persistentvolumes";
const ATTACHMENTS: &str = "volumeattachments";
const STATUS: &str = "volumeattachments/status";
/// A node whose id the driver does not know, and one that has no driver.
const STRANGE: &str = "node-2";
const BARE: &str = "node-3";
/// Somebody else's finalizer.
const HELD: &str = "example.com/held";

const ATTACHED: &str = "protected, bound, to node-1, attached, published";
const GONE: &str = "protected, no attachment";

/// The states: how each is called, what is left of it, what the other makes of it. Words of [`super::seen`].
const STATES: [(&str, &str, &str); 20] = [
    ("attached", ATTACHED, ATTACHED),
    ("attach-unprotected", "attach error", ATTACHED),
    ("attach-protected", "protected", ATTACHED),
    ("attach-protected-error", "protected, attach error", ATTACHED),
    ("attach-no-driver", "protected, attach error", ATTACHED),
    ("attach-hung", "protected, bound, to node-1", ATTACHED),
    ("attach-refused", "protected, bound, to node-2, attach error 5", ATTACHED),
    ("attach-published", "protected, bound, to node-1, published", ATTACHED),
    ("attach-published-block", "protected, bound, to node-1, published", ATTACHED),
    ("attach-published-read-only", "protected, bound, to node-1, published", ATTACHED),
    ("attach-abandoned", "protected, no attachment", GONE),
    ("detach-hung", "protected, deleted, bound, to node-1, attached", GONE),
    ("detach-hung-unsaved", "protected, deleted, bound, to node-1", GONE),
    ("detach-refused", "protected, deleted, bound, to node-2, attach error 5, detach error", GONE),
    ("detach-error", "protected, deleted, bound, to node-1, attached, detach error, published", GONE),
    ("detach-withdrawn", "protected, deleted, bound, to node-1, attached", GONE),
    ("detach-withdrawn-error", "protected, deleted, bound, to node-1, attached, detach error", GONE),
    ("detach-unbound", "protected, deleted, to node-1, attached", "protected, deleted, to node-1"),
    ("volume-deleted", "volume deleted, protected, no attachment", "no volume, no attachment"),
    (
        "volume-deleted-hung",
        "volume deleted, protected, deleted, bound, to node-1, attached",
        "no volume, no attachment",
    ),
];

/// Volumes that one side leaves and the other finds.
struct Stage {
    site: Site,
    /// The volumes' ids at the driver, by name.
    handles: BTreeMap<&'static str, String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_finishes_what_the_go_attacher_leaves_half_done() {
    take_over(Implementation::Go, Implementation::Ours).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_go_attacher_finishes_what_ours_leaves_half_done() {
    take_over(Implementation::Ours, Implementation::Go).await;
}

async fn take_over(from: Implementation, to: Implementation) {
    if !cluster::stand::has_hosts(&format!("a rolling change of csi-attacher, {from:?} to {to:?}")) {
        return;
    }
    let mut stage = Stage::up().await;
    // What failed once is left as it is.
    let leaver =
        attacher(from, &stage.site, "leaver", &["--retry-interval-start=1h", "--retry-interval-max=1h"]);
    stage.site.led_by("leaver").await;
    let taker = attacher(to, &stage.site, "taker", &["--retry-interval-start=200ms"]);
    stage.leave_all(leaver).await;
    stage.is_noted(from).await;

    stage.site.led_by("taker").await;
    for (name, left, finished) in STATES {
        // Upstream takes an attachment without its finalizer for detached, whatever the status says.
        let forgotten = name == "detach-unbound" && to == Implementation::Go;
        stage.becomes(name, Driver::Asked, if forgotten { left } else { finished }).await;
    }
    stage.release("detach-unbound").await;
    stage.becomes("detach-unbound", Driver::Asked, GONE).await;
    let mut expected: Vec<_> = STATES
        .iter()
        .filter(|(_, _, finished)| *finished == ATTACHED)
        .map(|(name, ..)| stage.handle(name).to_owned())
        .collect();
    expected.sort();
    let mut published = stage.site.published().await;
    published.sort();
    assert_eq!(published, expected, "nothing else is published");

    stage.delete_all().await;
    if to == Implementation::Ours {
        is_content(&taker);
    }
}

impl Stage {
    async fn up() -> Self {
        // What the objects say must be enough: nobody compares them with the driver's list.
        let hidden = "--hidden-capabilities=LIST_VOLUMES_PUBLISHED_NODES";
        let site = Site::with("rolling", &[hidden]).await;
        let strange =
            NodeDriver { name: NAME.to_owned(), node_id: STRANGE.to_owned(), ..NodeDriver::default() };
        let plane = &site.stand.control_plane;
        plane.node(STRANGE, &BTreeMap::new(), &[strange]).await.expect("a node");
        plane.node(BARE, &BTreeMap::new(), &[]).await.expect("a node");
        let mut stage = Self { site, handles: BTreeMap::new() };
        stage.secret().await;
        for (name, ..) in STATES {
            let change = stage.shape(name);
            stage.site.unclaimed(name, change).await;
            stage.handles.insert(name, stage.site.handle(name).await);
        }
        stage
    }

    /// What is special about a volume.
    fn shape(&self, name: &str) -> Value {
        let secret = json!({"name": "publish", "namespace": self.site.stand.namespace});
        match name {
            "attach-published-block" => json!({"spec": {"volumeMode": "Block"}}),
            "attach-published-read-only" => json!({"spec": {"csi": {"readOnly": true}}}),
            "detach-error" => json!({"spec": {"csi": {"controllerPublishSecretRef": secret}}}),
            _ => json!({}),
        }
    }

    /// Brings every attachment into its state, kills `leaver` there, and then gives back what was taken from it.
    async fn leave_all(&mut self, mut leaver: cluster::stand::Replica) {
        self.with_all_rights().await;
        // Attaching and detaching, each stopped before every write.
        self.site.forbid_patching(&[VOLUMES]).await;
        self.attach("attach-unprotected", NODE).await;
        self.is_left(&["attach-unprotected"]).await;
        self.site.forbid_patching(&[ATTACHMENTS]).await;
        self.attach("attach-protected-error", NODE).await;
        self.attach("attach-abandoned", NODE).await;
        self.becomes("attach-abandoned", Driver::Asked, "protected, attach error").await;
        self.delete("attach-abandoned").await;
        self.delete("detach-withdrawn-error").await;
        self.is_left(&["attach-protected-error", "attach-abandoned", "detach-withdrawn-error"]).await;
        self.site.forbid_patching(&[ATTACHMENTS, STATUS]).await;
        self.attach("attach-protected", NODE).await;
        self.delete("detach-withdrawn").await;
        self.is_left(&["attach-protected", "detach-withdrawn"]).await;
        self.site.forbid_patching(&[STATUS]).await;
        let published = ["attach-published", "attach-published-block", "attach-published-read-only"];
        for name in published {
            self.attach(name, NODE).await;
        }
        self.attach("detach-hung-unsaved", NODE).await;
        self.delete("detach-unbound").await;
        self.is_left(&published).await;
        self.is_left(&["detach-unbound"]).await;
        self.becomes("detach-hung-unsaved", Driver::Asked, "protected, bound, to node-1, published").await;
        // The rights stay away from here on: what waits for them must not be found by a late event.
        self.site.forbid_patching(&[STATUS, VOLUMES]).await;
        self.delete("volume-deleted").await;
        self.becomes("volume-deleted", Driver::Asked, GONE).await;
        self.delete_volume("volume-deleted").await;
        self.is_left(&["volume-deleted"]).await;
        // Calls that nobody answers.
        self.site.stand.signal_driver(Signal::STOP);
        self.attach("attach-hung", NODE).await;
        for name in ["detach-hung", "detach-hung-unsaved", "volume-deleted-hung"] {
            self.delete(name).await;
        }
        self.delete_volume("volume-deleted-hung").await;
        self.is_left(&["attach-hung", "detach-hung", "detach-hung-unsaved", "volume-deleted-hung"]).await;

        leaver.kill();
        self.site.stand.signal_driver(Signal::CONT);
        let all: Vec<&str> = STATES.iter().map(|(name, ..)| *name).collect();
        self.is_left(&all).await;
        self.site.forbid_patching(&[]).await;
        self.secret().await;
        let ours = NodeDriver { name: NAME.to_owned(), node_id: NODE.to_owned(), ..NodeDriver::default() };
        for node in [STRANGE, BARE] {
            // The id of a driver that is there cannot be changed.
            let nodes: Api<k8s_openapi::api::storage::v1::CSINode> = self.site.api();
            nodes.delete(node, &DeleteParams::default()).await.expect("deleted");
            let plane = &self.site.stand.control_plane;
            plane.node(node, &BTreeMap::new(), std::slice::from_ref(&ours)).await.expect("a node");
        }
    }

    /// What needs no missing right: what is attached, and errors of the driver, the nodes and a secret.
    async fn with_all_rights(&self) {
        let attached: Vec<&str> = STATES
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| {
                let later = ["detach-hung-unsaved", "detach-refused"];
                *name == "attached"
                    || *name == "attach-hung"
                    || name.starts_with("volume-")
                    || (name.starts_with("detach-") && !later.contains(name))
            })
            .collect();
        for name in &attached {
            self.attach(name, NODE).await;
        }
        for name in &attached {
            self.becomes(name, Driver::Asked, ATTACHED).await;
        }
        // Once attached, so that its volume is protected when nothing can be written there.
        self.delete("attach-hung").await;
        self.becomes("attach-hung", Driver::Asked, GONE).await;
        let hold = json!({"metadata": {"finalizers": [crate::FINALIZER, HELD]}});
        self.patch("detach-unbound", hold).await;
        self.attach("attach-no-driver", BARE).await;
        self.attach("attach-refused", STRANGE).await;
        self.attach("detach-refused", STRANGE).await;
        let refused = "protected, bound, to node-2, attach error 5";
        self.becomes("detach-refused", Driver::Asked, refused).await;
        self.delete("detach-refused").await;
        let secrets: Api<Secret> =
            Api::namespaced(self.site.stand.client.clone(), &self.site.stand.namespace);
        secrets.delete("publish", &DeleteParams::default()).await.expect("deleted");
        self.delete("detach-error").await;
        let left = ["attached", "attach-no-driver", "attach-refused", "detach-refused", "detach-error"];
        self.is_left(&left).await;
    }

    async fn secret(&self) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "publish"}, "stringData": {"user": "u"},
        });
        let stand = &self.site.stand;
        stand.control_plane.apply_object(secret, &stand.namespace).await.expect("a secret");
    }

    async fn attach(&self, name: &str, node: &str) {
        self.site.attachment(name, node).await;
    }

    async fn delete(&self, name: &str) {
        let attachments = self.site.api::<VolumeAttachment>();
        attachments.delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    async fn delete_volume(&self, name: &str) {
        let volumes = self.site.api::<PersistentVolume>();
        volumes.delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    async fn patch(&self, name: &str, patch: Value) {
        let attachments = self.site.api::<VolumeAttachment>();
        attachments.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }

    /// Takes the other finalizer off.
    async fn release(&self, name: &str) {
        self.patch(name, json!({"metadata": {"finalizers": null}})).await;
    }

    fn handle(&self, name: &str) -> &str {
        self.handles.get(name).expect("one of ours")
    }

    /// Ours notes on an attachment what a detach needs, and nobody else does.
    async fn is_noted(&self, by: Implementation) {
        for attachment in self.site.attachments().await {
            let metadata = attachment.metadata;
            let has = |note: &str| metadata.annotations.iter().flatten().any(|(name, _)| name == note);
            let bound = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == crate::FINALIZER);
            let noted = bound && by == Implementation::Ours;
            let name = metadata.name.as_deref().unwrap_or_default();
            if name != "detach-unbound" {
                assert_eq!(has("mooring.dev/volume-handle"), noted, "{name}");
            }
            assert_eq!(has("mooring.dev/publish-secret"), noted && name == "detach-error", "{name}");
        }
    }

    async fn becomes(&self, name: &str, driver: Driver, expected: &str) {
        self.site.becomes(name, self.handle(name), driver, expected).await;
    }

    /// Waits until these are in the state in which they are to be left.
    async fn is_left(&self, names: &[&str]) {
        for (name, left, _) in STATES.iter().filter(|(name, ..)| names.contains(name)) {
            // What the driver makes of a call whose caller is gone is its own business.
            let driver = if name.contains("hung") { Driver::Stopped } else { Driver::Asked };
            self.becomes(name, driver, left).await;
        }
    }

    /// Deletes all attachments and volumes, and waits until they are gone and nothing is published.
    async fn delete_all(&self) {
        let all = ListParams::default();
        let attachments = self.site.api::<VolumeAttachment>();
        attachments.delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
        let volumes = self.site.api::<PersistentVolume>();
        volumes.delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
        for (name, ..) in STATES {
            self.becomes(name, Driver::Asked, "no volume, no attachment").await;
        }
        assert_eq!(self.site.published().await, Vec::<String>::new());
    }
}
