//! VolumeAttachments.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

use super::volume::{VolumeSpec, WireVolumeSpec, attachers};
use super::wire::wire;
use super::word::word;
use super::{Keep, Meta, Object, Pairs, Scope};

/// The node's id at the driver, as it was when the volume was published.
pub const NODE_ID: &str = "csi.alpha.kubernetes.io/node-id";
/// The volume's id at the driver, as it was published. Ours.
pub const VOLUME_HANDLE: &str = "mooring.dev/volume-handle";
/// `namespace/name` of the secret that the volume was published with. Ours.
pub const PUBLISH_SECRET: &str = "mooring.dev/publish-secret";

/// A VolumeAttachment.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Identity; of our own attachments attachers' finalizers are kept, and no annotation.
    pub meta: Meta,
    /// Annotation [`NODE_ID`]; `None` when it is not set or the attachment is not ours.
    pub node_id: Option<Arc<str>>,
    /// Annotation [`VOLUME_HANDLE`], likewise.
    pub volume_handle: Option<Box<str>>,
    /// Annotation [`PUBLISH_SECRET`], likewise.
    pub publish_secret: Option<Arc<str>>,
    /// Whether `spec.attacher` is our driver.
    pub ours: bool,
    /// `spec.nodeName`; empty when the attachment is not ours.
    pub node: Arc<str>,
    /// `spec.source`.
    pub source: AttachmentSource,
    /// `status.attached`.
    pub attached: bool,
    /// `status.attachmentMetadata`; `None` when not set or when the attachment is not ours.
    pub metadata: Option<Pairs>,
    /// `status.attachError`.
    pub attach_error: Option<Box<StatusError>>,
    /// `status.detachError`.
    pub detach_error: Option<Box<StatusError>>,
}

/// What is attached.
#[derive(Debug, Clone)]
pub enum AttachmentSource {
    /// The volume of this name.
    Volume(Arc<str>),
    /// A volume that exists only here.
    Inline(Box<VolumeSpec>),
    /// Both are given; invalid.
    Both,
    /// Neither is given; invalid.
    Neither,
}

/// An error in an attachment's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusError {
    /// When it happened, RFC 3339; empty when it is not said: the API server sends such a time as null.
    #[serde(deserialize_with = "or_empty")]
    pub time: Box<str>,
    /// What happened; may be empty.
    #[serde(deserialize_with = "or_empty")]
    pub message: Box<str>,
    /// The gRPC code, in attachError only.
    pub error_code: Option<i32>,
}

/// Null is an empty text.
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Attachment {
    /// The name of the volume, if the source names one.
    pub fn volume(&self) -> Option<&Arc<str>> {
        match &self.source {
            AttachmentSource::Volume(name) => Some(name),
            AttachmentSource::Inline(_) | AttachmentSource::Both | AttachmentSource::Neither => None,
        }
    }
}

/// An attachment as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireAttachment {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    attacher: Box<str>,
    node_name: Box<str>,
    source: Source,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    persistent_volume_name: Option<Box<str>>,
    inline_volume_spec: Option<Box<WireVolumeSpec>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    attached: bool,
    attachment_metadata: Option<Pairs>,
    attach_error: Option<Box<StatusError>>,
    detach_error: Option<Box<StatusError>>,
}

wire!(WireAttachment, "storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", ClusterResourceScope);

impl Object for Attachment {
    type Wire = WireAttachment;

    /// Keeps every attachment: one that names our volume blocks its deletion whoever the attacher is. Of
    /// others' only the names are kept.
    fn slim(wire: WireAttachment, scope: &Scope) -> Option<Self> {
        let ours = wire.spec.attacher == scope.driver;
        let spec = wire.spec;
        let source = match (spec.source.persistent_volume_name, spec.source.inline_volume_spec) {
            (Some(_), Some(_)) => AttachmentSource::Both,
            (Some(name), None) if scope.keep.has(Keep::ATTACH) => AttachmentSource::Volume(word(&name)),
            (Some(name), None) => AttachmentSource::Volume(name.into()),
            (None, Some(inline)) => AttachmentSource::Inline(Box::new(VolumeSpec::from_wire(*inline, scope))),
            (None, None) => AttachmentSource::Neither,
        };
        let detail = ours && scope.keep.has(Keep::ATTACH);
        if !detail && !matches!(source, AttachmentSource::Volume(_)) {
            return None;
        }
        let mut metadata = wire.metadata;
        let mut annotations = metadata.annotations.take().filter(|_| detail).unwrap_or_default();
        if detail {
            metadata.finalizers = attachers(metadata.finalizers);
        } else {
            metadata.finalizers = None;
            metadata.uid = None;
        }
        Some(Self {
            meta: Meta::new(metadata, |_| false),
            node_id: annotations.get(NODE_ID).map(|id| word(id)),
            volume_handle: annotations.remove(VOLUME_HANDLE).map(Into::into),
            publish_secret: annotations.get(PUBLISH_SECRET).map(|place| word(place)),
            ours,
            node: if detail { word(&spec.node_name) } else { word("") },
            source,
            attached: wire.status.attached,
            metadata: wire.status.attachment_metadata.filter(|_| detail),
            attach_error: wire.status.attach_error.filter(|_| detail),
            detach_error: wire.status.detach_error.filter(|_| detail),
        })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What kube-apiserver 1.36 stores and sends when somebody writes `{"attachError": {"message": "m"}}`.
    #[test]
    fn an_error_without_a_time_is_read() {
        let object = json!({
            "metadata": {"name": "va", "uid": "u", "resourceVersion": "1"},
            "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}},
            "status": {"attached": false, "attachError": {"time": null, "message": "m"}, "detachError": {"time": null}},
        });
        let scope = Scope { driver: "d".into(), keep: Keep::ATTACH, ..Scope::default() };
        let attachment = Attachment::slim(serde_json::from_value(object).unwrap(), &scope).unwrap();
        let error = |message: &str| StatusError { message: message.into(), ..StatusError::default() };
        assert_eq!(attachment.attach_error.as_deref(), Some(&error("m")));
        assert_eq!(attachment.detach_error.as_deref(), Some(&error("")));
    }
}
