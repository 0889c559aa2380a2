//! What the API server serves, as data: one line of facts per resource, one generic store for all.
//!
//! The facts are those of kube-apiserver 1.37 (and of the snapshot CRDs); `tests/against_real.rs` compares them.

/// How a resource's status is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusRule {
    /// There is no status subresource.
    None,
    /// A write to the object leaves the status alone, and the other way round; a status write may change metadata.
    Apart,
    /// As [`StatusRule::Apart`], and a status write leaves metadata alone.
    ApartFromMetadata,
}

/// One resource.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) status: StatusRule,
    /// A PUT without resourceVersion overwrites; otherwise it is refused.
    pub(crate) unconditional_update: bool,
    /// A PUT of an object that does not exist creates it.
    pub(crate) create_on_update: bool,
    /// Defined by a CRD: no strategic merge patches, and `metadata.generation`.
    pub(crate) custom: bool,
    /// `metadata.generation` is 1 at the start and grows with each change of the specification.
    pub(crate) generation: bool,
    /// DELETE answers with the object, not with a Status.
    pub(crate) returns_deleted: bool,
    /// Finalizers that admission adds on creation.
    pub(crate) finalizers: &'static [&'static str],
    /// JSON pointers whose value cannot change (once it is set, for those that end in `?`).
    pub(crate) immutable: &'static [&'static str],
}

const BASE: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    kind: "",
    namespaced: false,
    status: StatusRule::None,
    unconditional_update: true,
    create_on_update: false,
    custom: false,
    generation: false,
    returns_deleted: false,
    finalizers: &[],
    immutable: &[],
};

const STORAGE: Resource = Resource { group: "storage.k8s.io", returns_deleted: true, ..BASE };

const ADMISSION: Resource = Resource { group: "admissionregistration.k8s.io", generation: true, ..BASE };

const SNAPSHOT: Resource = Resource {
    group: "snapshot.storage.k8s.io",
    status: StatusRule::ApartFromMetadata,
    unconditional_update: false,
    custom: true,
    generation: true,
    ..BASE
};

/// Everything that is served.
pub(crate) static RESOURCES: &[Resource] = &[
    Resource { plural: "namespaces", kind: "Namespace", status: StatusRule::Apart, ..BASE },
    Resource { plural: "nodes", kind: "Node", status: StatusRule::Apart, ..BASE },
    Resource {
        plural: "persistentvolumes",
        kind: "PersistentVolume",
        status: StatusRule::Apart,
        returns_deleted: true,
        finalizers: &["kubernetes.io/pv-protection"],
        immutable: &[
            "/spec/csi/driver",
            "/spec/csi/volumeHandle",
            "/spec/csi/fsType",
            "/spec/csi/volumeAttributes",
        ],
        ..BASE
    },
    Resource {
        plural: "persistentvolumeclaims",
        kind: "PersistentVolumeClaim",
        namespaced: true,
        status: StatusRule::Apart,
        returns_deleted: true,
        finalizers: &["kubernetes.io/pvc-protection"],
        immutable: &[
            "/spec/accessModes",
            "/spec/dataSource",
            "/spec/volumeMode",
            "/spec/storageClassName?",
            "/spec/volumeName?",
        ],
        ..BASE
    },
    Resource {
        plural: "pods",
        kind: "Pod",
        namespaced: true,
        status: StatusRule::Apart,
        generation: true,
        returns_deleted: true,
        ..BASE
    },
    Resource { plural: "secrets", kind: "Secret", namespaced: true, ..BASE },
    Resource { plural: "configmaps", kind: "ConfigMap", namespaced: true, ..BASE },
    Resource { plural: "events", kind: "Event", namespaced: true, create_on_update: true, ..BASE },
    Resource {
        group: "coordination.k8s.io",
        plural: "leases",
        kind: "Lease",
        namespaced: true,
        unconditional_update: false,
        create_on_update: true,
        ..BASE
    },
    Resource {
        plural: "storageclasses",
        kind: "StorageClass",
        immutable: &["/provisioner", "/parameters", "/reclaimPolicy", "/volumeBindingMode"],
        ..STORAGE
    },
    Resource {
        plural: "volumeattachments",
        kind: "VolumeAttachment",
        status: StatusRule::ApartFromMetadata,
        unconditional_update: false,
        immutable: &["/spec"],
        ..STORAGE
    },
    Resource {
        plural: "csinodes",
        kind: "CSINode",
        status: StatusRule::ApartFromMetadata,
        unconditional_update: false,
        ..STORAGE
    },
    Resource {
        plural: "csidrivers",
        kind: "CSIDriver",
        unconditional_update: false,
        generation: true,
        ..STORAGE
    },
    Resource {
        plural: "csistoragecapacities",
        kind: "CSIStorageCapacity",
        namespaced: true,
        unconditional_update: false,
        returns_deleted: false,
        immutable: &["/storageClassName", "/nodeTopology"],
        ..STORAGE
    },
    Resource {
        plural: "volumeattributesclasses",
        kind: "VolumeAttributesClass",
        finalizers: &["kubernetes.io/vac-protection"],
        immutable: &["/driverName", "/parameters"],
        ..STORAGE
    },
    Resource {
        group: "apps",
        plural: "replicasets",
        kind: "ReplicaSet",
        namespaced: true,
        status: StatusRule::Apart,
        generation: true,
        ..BASE
    },
    Resource {
        group: "apps",
        plural: "deployments",
        kind: "Deployment",
        namespaced: true,
        status: StatusRule::Apart,
        generation: true,
        ..BASE
    },
    Resource {
        group: "gateway.networking.k8s.io",
        version: "v1beta1",
        plural: "referencegrants",
        kind: "ReferenceGrant",
        namespaced: true,
        unconditional_update: false,
        custom: true,
        generation: true,
        ..BASE
    },
    Resource {
        plural: "validatingadmissionpolicies",
        kind: "ValidatingAdmissionPolicy",
        status: StatusRule::Apart,
        ..ADMISSION
    },
    Resource {
        plural: "validatingadmissionpolicybindings",
        kind: "ValidatingAdmissionPolicyBinding",
        ..ADMISSION
    },
    Resource { plural: "volumesnapshots", kind: "VolumeSnapshot", namespaced: true, ..SNAPSHOT },
    Resource { plural: "volumesnapshotcontents", kind: "VolumeSnapshotContent", ..SNAPSHOT },
    Resource {
        plural: "volumesnapshotclasses",
        kind: "VolumeSnapshotClass",
        status: StatusRule::None,
        ..SNAPSHOT
    },
];

/// A resource's place in [`RESOURCES`]: small, ordered, the first part of every key.
pub(crate) type Index = usize;

/// The resource `plural` of `group`.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<(Index, &'static Resource)> {
    let mut all = RESOURCES.iter().enumerate();
    all.find(|(_, resource)| (resource.group, resource.version, resource.plural) == (group, version, plural))
}

/// The resource that people call `plural`; no two groups here share one.
pub(crate) fn by_plural(plural: &str) -> Option<(Index, &'static Resource)> {
    RESOURCES.iter().enumerate().find(|(_, resource)| resource.plural == plural)
}

/// The resource of objects of this kind.
pub(crate) fn by_kind(api_version: &str, kind: &str) -> Option<(Index, &'static Resource)> {
    RESOURCES
        .iter()
        .enumerate()
        .find(|(_, resource)| resource.kind == kind && resource.api_version() == api_version)
}

impl Resource {
    /// `v1`, or `storage.k8s.io/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `persistentvolumes`, or `storageclasses.storage.k8s.io`: how messages name it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}
