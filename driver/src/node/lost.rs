//! Publications whose mounts are gone: after a kill, a reboot, or when the kubelet's folder was wiped.
//!
//! A record keeps the boot in which it was made. In another boot its mount is gone, whatever can be seen. In the same
//! boot the mount is looked for, and only where it could be seen: a folder that is mounted late into the driver's
//! container shows nothing of what is published in it, and says nothing about the others.
//!
//! An inline volume keeps its publications, and so its content, until its unpublish: the kubelet publishes it again
//! after a reboot.
//!
//! Differs: the Go driver keeps every publication and staging until its unpublish or unstage, over reboots too; a volume
//! whose pod went with the kubelet's folder can be neither unstaged nor, with `--check-volume-lifecycle`, deleted.

use std::path::{Path, PathBuf};

use crate::mount;
use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::store::Volume;

impl Plugin {
    /// Drops recorded publications and stagings that are gone. What cannot be dropped, as on a full disk, is tried
    /// again by the next call or the next start.
    pub(crate) fn forget_lost(&self) {
        let volumes: Vec<_> = self.store.read().volumes.values().cloned().collect();
        for volume in volumes.iter().filter(|volume| !volume.ephemeral) {
            let gone: Vec<&String> = volume.published.keys().filter(|at| self.is_gone(volume, at)).collect();
            let is_unstaged = self.is_of_another_boot(volume.staged_in.as_deref());
            if gone.is_empty() && !is_unstaged {
                continue;
            }
            let dropped = self.store.undo(&volume.id, |volume| {
                volume.published.retain(|target, _| !gone.contains(&target));
                if is_unstaged {
                    volume.staged.clear();
                    volume.staged_in = None;
                }
            });
            if let Err(error) = dropped {
                base::error!(error, "Cannot forget publications that are gone"; "volume" => volume.id);
                continue;
            }
            for target in gone {
                // Made by us right before the mount; somebody else's content is left alone.
                let _ = mount::remove_target(target.as_ref());
            }
        }
    }

    /// The volume without the publications that are visibly gone; they are dropped from its record. The caller
    /// holds the record.
    pub(super) fn without_lost(&self, volume: &Volume) -> Result<Volume, Refusal> {
        let mut present = volume.clone();
        if volume.ephemeral {
            return Ok(present);
        }
        present.published.retain(|target, _| !self.is_gone(volume, target));
        if present.published.len() < volume.published.len() {
            base::warn!("Forgetting publications whose mounts are gone"; "volume" => volume.id);
            self.store.undo(&volume.id, |record| record.published = present.published.clone())?;
        }
        Ok(present)
    }

    fn is_gone(&self, volume: &Volume, target: &str) -> bool {
        let boot = volume.published.get(target).and_then(|publication| publication.boot.as_deref());
        let target = Path::new(target);
        if self.is_of_another_boot(boot) {
            return !mount::is_mounted(target).unwrap_or(false);
        }
        root(target).exists() && !mount::is_mounted(target).unwrap_or(true)
    }

    fn is_of_another_boot(&self, recorded: Option<&str>) -> bool {
        matches!((recorded, self.boot.as_deref()), (Some(then), Some(now)) if then != now)
    }
}

/// The folder whose presence shows that a target could be seen: the kubelet's `pods` or `plugins`, which are mounted
/// into the driver's container one by one; elsewhere the target's parent.
fn root(target: &Path) -> PathBuf {
    let parts: Vec<_> = target.iter().collect();
    let word = |at: usize| parts.get(at).and_then(|part| part.to_str()).unwrap_or_default();
    let is_root = |at: &usize| match word(*at) {
        "pods" => matches!(word(at + 2), "volumes" | "volumeDevices"),
        "plugins" => word(at + 1) == "kubernetes.io",
        _ => false,
    };
    match (0..parts.len()).rev().find(is_root) {
        Some(at) => parts.iter().take(at + 1).collect(),
        None => target.parent().map(Path::to_owned).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_folders_show_whether_a_target_can_be_seen() {
        for (target, expected) in [
            ("/var/lib/kubelet/pods/uid/volumes/kubernetes.io~csi/pv/mount", "/var/lib/kubelet/pods"),
            ("/k/pods/pods/volumes/kubernetes.io~csi/pods/mount", "/k/pods"),
            ("/k/plugins/kubernetes.io/csi/volumeDevices/publish/pv/uid", "/k/plugins"),
            ("/pods/a", "/pods"),
            ("/tmp/pods/a/b", "/tmp/pods/a"),
        ] {
            assert_eq!(root(Path::new(target)), Path::new(expected), "{target}");
        }
    }
}
