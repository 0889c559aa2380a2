//! The flags of this backend.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use base::flag::{Exit, Parsed};
use csi::Endpoint;

use crate::rbd::node::MapperKind;
use crate::rbd::options::RbdOptions;

/// The driver's name unless another is given.
pub const NAME: &str = "rbd.csi.ceph.com";

base::flags! {
    /// Where volumes are, and the flags for images in Ceph.
    pub struct RbdFlags {
        "backend" backend: String = "hostpath", "Where volumes are: hostpath (folders and files of this node) or rbd (images in Ceph; needs librbd1 and a dynamically linked executable).";
        "ceph-config" config: String = "/etc/ceph-csi-config/config.json", "ceph-csi's configuration file: clusters by clusterID, with their monitors. Read for each call.";
        "ceph-secret-folder" secret_folder: String = "", "Folder of a mounted Secret with userID and userKey, for calls that carry no secrets. Empty: no ListVolumes and no GetCapacity.";
        "ceph-timeout" patience: Duration = Duration::from_secs(10), "The longest that a single request to Ceph may take.";
        "instanceid" instance: String = "default", "What the names of the journal's directories end with; as of ceph-csi.";
        "mapper" mapper: String = "krbd", "How images become devices where the class names no mounter: krbd, nbd, or fuse (rbd-fuse and loop devices: where the kernel has neither; slow, and gone with the container).";
        "fuse-folder" fuse_folder: String = "/run/mooring-rbd", "Where rbd-fuse mounts.";
        "nameless-volumes" nameless: bool = false, "Serve CreateVolume without a name: the image is named <pool>-dynamic-pvc-<uuid>. Such a call cannot be repeated.";
        "rbdhardmaxclonedepth" hard_depth: u32 = 8, "A volume or snapshot with as many parents gets no clones until it is cut off them.";
        "rbdsoftmaxclonedepth" soft_depth: u32 = 4, "A volume or snapshot with as many parents is cut off them in the background when it gets a clone.";
    }
}

/// Flags that concern this backend only.
const OURS: &[&str] = &[
    "ceph-config",
    "ceph-secret-folder",
    "ceph-timeout",
    "instanceid",
    "mapper",
    "fuse-folder",
    "nameless-volumes",
    "rbdhardmaxclonedepth",
    "rbdsoftmaxclonedepth",
];
/// Flags that concern the other backend only.
const HOSTPATH: &[&str] = &[
    "statedir",
    "maxvolumespernode",
    "attach-limit",
    "enable-attach",
    "capacity",
    "max-volume-size",
    "max-volume-size-node",
    "enable-topology",
    "enable-volume-expansion",
    "node-expand-required",
    "disable-controller-expansion",
    "disable-online-expansion",
    "disable-node-expansion",
    "enable-controller-modify-volume",
    "accepted-mutable-parameter-names",
    "enable-list-snapshots",
    "enable-snapshot-metadata",
    "snapshot-metadata-block-type",
    "check-volume-lifecycle",
    "ephemeral",
    "proxy-endpoint",
    "sparse",
];

impl RbdFlags {
    /// Whether volumes are images in Ceph.
    ///
    /// # Errors
    /// Another word than the two; a flag that would do nothing with this backend.
    pub fn is_chosen(&self, parsed: &Parsed) -> Result<bool, Exit> {
        let (is_rbd, others) = match self.backend.as_str() {
            "hostpath" => (false, OURS),
            "rbd" => (true, HOSTPATH),
            other => {
                return Err(Exit::refuse(format!("--backend: {other:?} is neither hostpath nor rbd")));
            }
        };
        match others.iter().find(|flag| parsed.is_set(flag)) {
            Some(flag) => Err(Exit::refuse(format!(
                "--{flag}: does nothing with --backend={}: leave it out",
                self.backend
            ))),
            None => Ok(is_rbd),
        }
    }

    /// The settings, with those that both backends have.
    ///
    /// # Errors
    /// A value that cannot work.
    pub fn options(
        self,
        endpoint: Endpoint,
        name: String,
        node_id: String,
        hidden: BTreeSet<String>,
    ) -> Result<RbdOptions, Exit> {
        if self.patience < Duration::from_secs(1) {
            return Err(Exit::refuse("--ceph-timeout: must be a second or more"));
        }
        // It ends the names of objects, and a dot would lead into another's.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.instance.is_empty() || !self.instance.chars().all(is_plain) {
            return Err(Exit::refuse("--instanceid: must be letters, digits, dashes and underscores"));
        }
        if self.soft_depth == 0 || self.soft_depth > self.hard_depth {
            return Err(Exit::refuse("--rbdsoftmaxclonedepth: must be 1 to --rbdhardmaxclonedepth"));
        }
        let mapper = MapperKind::named(&self.mapper);
        let mapper = mapper.ok_or_else(|| Exit::refuse("--mapper: must be krbd, nbd or fuse"))?;
        if !self.fuse_folder.starts_with('/') {
            return Err(Exit::refuse("--fuse-folder: must be an absolute path"));
        }
        let depth = |depth: u32| usize::try_from(depth).unwrap_or(usize::MAX);
        Ok(RbdOptions {
            endpoint,
            name,
            node_id,
            hidden,
            config: PathBuf::from(self.config),
            instance: self.instance,
            patience: self.patience,
            secret_folder: Some(self.secret_folder).filter(|folder| !folder.is_empty()).map(PathBuf::from),
            nameless: self.nameless,
            mapper,
            fuse_folder: PathBuf::from(self.fuse_folder),
            target_roots: Vec::new(),
            soft_depth: depth(self.soft_depth),
            hard_depth: depth(self.hard_depth),
        })
    }
}
