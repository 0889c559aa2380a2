//! What may be asked of the API server: an object by its name, or a list.

/// The kinds that an answer may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// PersistentVolumeClaim.
    Claim,
    /// PersistentVolume.
    Volume,
    /// StorageClass.
    Class,
    /// VolumeAttributesClass.
    AttributesClass,
    /// VolumeAttachment.
    Attachment,
    /// CSIDriver.
    Driver,
    /// CSINode.
    CsiNode,
    /// CSIStorageCapacity.
    Capacity,
    /// Node.
    Node,
    /// Pod.
    Pod,
    /// Secret. Only its metadata is ever asked for.
    Secret,
    /// Event.
    Event,
    /// ResourceQuota.
    Quota,
    /// Lease.
    Lease,
    /// ReferenceGrant.
    Grant,
    /// VolumeSnapshot.
    Snapshot,
    /// VolumeSnapshotContent.
    Content,
    /// VolumeSnapshotClass.
    SnapshotClass,
}

/// Where the API server has a kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Version in the group.
    pub(crate) version: &'static str,
    /// As it stands in paths and rules.
    pub(crate) plural: &'static str,
    /// As it stands in objects.
    pub(crate) kind: &'static str,
}

const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
const STORAGE: &str = "storage.k8s.io";

impl Kind {
    /// Where the API server has it.
    pub(crate) const fn resource(self) -> Resource {
        let (group, version, plural, kind) = match self {
            Self::Claim => ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
            Self::Volume => ("", "v1", "persistentvolumes", "PersistentVolume"),
            Self::Class => (STORAGE, "v1", "storageclasses", "StorageClass"),
            Self::AttributesClass => (STORAGE, "v1", "volumeattributesclasses", "VolumeAttributesClass"),
            Self::Attachment => (STORAGE, "v1", "volumeattachments", "VolumeAttachment"),
            Self::Driver => (STORAGE, "v1", "csidrivers", "CSIDriver"),
            Self::CsiNode => (STORAGE, "v1", "csinodes", "CSINode"),
            Self::Capacity => (STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity"),
            Self::Node => ("", "v1", "nodes", "Node"),
            Self::Pod => ("", "v1", "pods", "Pod"),
            Self::Secret => ("", "v1", "secrets", "Secret"),
            Self::Event => ("", "v1", "events", "Event"),
            Self::Quota => ("", "v1", "resourcequotas", "ResourceQuota"),
            Self::Lease => ("coordination.k8s.io", "v1", "leases", "Lease"),
            Self::Grant => ("gateway.networking.k8s.io", "v1beta1", "referencegrants", "ReferenceGrant"),
            Self::Snapshot => (SNAPSHOTS, "v1", "volumesnapshots", "VolumeSnapshot"),
            Self::Content => (SNAPSHOTS, "v1", "volumesnapshotcontents", "VolumeSnapshotContent"),
            Self::SnapshotClass => (SNAPSHOTS, "v1", "volumesnapshotclasses", "VolumeSnapshotClass"),
        };
        Resource { group, version, plural, kind }
    }

    /// As it stands in objects.
    pub(crate) const fn name(self) -> &'static str {
        self.resource().kind
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ask {
    /// What kind.
    pub(crate) kind: Kind,
    /// Whose namespace; empty for what has none, and for all.
    pub(crate) namespace: String,
    /// Which one; empty for a list.
    pub(crate) name: String,
    /// A field selector of a list; empty for all.
    pub(crate) fields: String,
}

impl Ask {
    /// The object of this name.
    pub(crate) fn one(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned(), fields: String::new() }
    }

    /// The objects that a field selector admits.
    pub(crate) fn list(kind: Kind, namespace: &str, fields: String) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: String::new(), fields }
    }

    /// Whether it is about a list.
    pub(crate) fn is_list(&self) -> bool {
        self.name.is_empty()
    }

    /// The path of the kind, in the namespace if one is named.
    pub(crate) fn path(&self) -> String {
        let Resource { group, version, plural, .. } = self.kind.resource();
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match self.namespace.as_str() {
            "" => format!("{root}/{plural}"),
            namespace => format!("{root}/namespaces/{namespace}/{plural}"),
        }
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        let within = match self.namespace.as_str() {
            "" => String::new(),
            namespace => format!(" of namespace {namespace}"),
        };
        let Resource { plural, kind, .. } = self.kind.resource();
        if self.is_list() { format!("{plural}{within}") } else { format!("{kind} {}{within}", self.name) }
    }
}
