//! How far an attachment is, in words.

use cluster::wait;
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::ObjectMeta;

use crate::FINALIZER;
use crate::site::{LIMIT, Site};

const NODE_ID: &str = "csi.alpha.kubernetes.io/node-id";

/// Whether the driver is asked, too: while it is stopped it cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    Asked,
    Stopped,
}

fn is_bound(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// What a volume's object says.
fn of_volume(volume: Option<&PersistentVolume>) -> Vec<String> {
    let Some(volume) = volume else { return vec!["no volume".to_owned()] };
    let deleting = volume.metadata.deletion_timestamp.is_some();
    let others = volume.metadata.finalizers.iter().flatten().any(|finalizer| finalizer != FINALIZER);
    let words = [
        (deleting, "volume deleted"),
        // Everybody's, as long as the volume lives.
        (deleting && others, "held"),
        (is_bound(&volume.metadata), "protected"),
    ];
    words.iter().filter(|(holds, _)| *holds).map(|(_, word)| (*word).to_owned()).collect()
}

/// What an attachment says.
fn of_attachment(attachment: Option<&VolumeAttachment>) -> Vec<String> {
    let Some(attachment) = attachment else { return vec!["no attachment".to_owned()] };
    let status = attachment.status.clone().unwrap_or_default();
    let node = attachment.metadata.annotations.iter().flatten().find(|(name, _)| *name == NODE_ID);
    let code = |error: &k8s_openapi::api::storage::v1::VolumeError| {
        error.error_code.map(|code| format!(" {code}")).unwrap_or_default()
    };
    [
        attachment.metadata.deletion_timestamp.as_ref().map(|_| "deleted".to_owned()),
        is_bound(&attachment.metadata).then(|| "bound".to_owned()),
        node.map(|(_, id)| format!("to {id}")),
        status.attached.then(|| "attached".to_owned()),
        status.attachment_metadata.map(|metadata| format!("metadata {metadata:?}")),
        status.attach_error.map(|error| format!("attach error{}", code(&error))),
        status.detach_error.map(|error| format!("detach error{}", code(&error))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Site {
    /// How far the attachment and the volume of this name are: what the objects say, and whether the driver lists it as
    /// published.
    pub(super) async fn seen(&self, name: &str, handle: &str, driver: Driver) -> String {
        let volume = self.api::<PersistentVolume>().get_opt(name).await.expect("a reply");
        let attachment = self.api::<VolumeAttachment>().get_opt(name).await.expect("a reply");
        let mut words = [of_volume(volume.as_ref()), of_attachment(attachment.as_ref())].concat();
        if driver == Driver::Asked && self.published().await.iter().any(|id| id == handle) {
            words.push("published".to_owned());
        }
        words.join(", ")
    }

    /// Waits until it is so far.
    pub(super) async fn becomes(&self, name: &str, handle: &str, driver: Driver, expected: &str) {
        let look = async || (self.seen(name, handle, driver).await == expected).then_some(());
        if wait::until(name, LIMIT, look).await.is_err() {
            assert_eq!(self.seen(name, handle, driver).await, expected, "{name}");
        }
    }
}
