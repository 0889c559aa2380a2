//! What is wrong with a volume or with the storage: decided from what was seen, without looking itself.
//!
//! | seen | volume | storage |
//! |---|---|---|
//! | the content is missing | DATA_LOSS `ContentMissing` | |
//! | the content cannot be read | INACCESSIBLE `ContentUnreadable` | |
//! | the state folder cannot be read | INACCESSIBLE `DiskUnreadable` | STORAGE_UNREACHABLE `DiskUnreadable` |
//! | the disk is read-only | DEGRADED `DiskReadOnly` | STORAGE_DEGRADED `DiskReadOnly` |
//! | the disk is full | DEGRADED `DiskFull` | STORAGE_DEGRADED `DiskFull` |
//! | the disk is smaller than the volume | DEGRADED `DiskTooSmall` | |
//! | no target has its mount (on the node) | INACCESSIBLE `NotMounted` | |
//! | some targets have lost their mounts (on the node) | DEGRADED `NotMounted` | |
//!
//! No two entries have the same status and reason. Reasons and messages are of a form that the Kubernetes API takes.
//!
//! Differs: the Go driver measures nothing. It answers what its tool healthctl wrote into marker files; until v1.18
//! it sent a VolumeCondition, which CSI 1.13 removed.

use std::io;

use csi::v1::VolumeHealthErrorType::{DataLoss, Degraded, Inaccessible};
use csi::v1::node_get_storage_health_response::StorageBackendHealth;
use csi::v1::volume_health::VolumeHealthEntry;
use csi::v1::{StorageHealthErrorType, VolumeHealthErrorType};

use crate::backend::Disk;

/// The longest message, in bytes, that the Kubernetes API takes.
const MAX_MESSAGE: usize = 1024;

/// What is wrong with a volume of `size` bytes: `content` tells whether it has its content.
pub fn of_volume(content: &io::Result<bool>, disk: &io::Result<Disk>, size: u64) -> Vec<VolumeHealthEntry> {
    let mut found = Vec::new();
    match content {
        Ok(true) => {}
        Ok(false) => {
            found.push(entry(DataLoss, "ContentMissing", "the volume's content is missing".to_owned()));
        }
        Err(error) => {
            let message = format!("the volume's content cannot be read: {error}");
            found.push(entry(Inaccessible, "ContentUnreadable", message));
        }
    }
    match disk {
        Err(error) => found.push(entry(Inaccessible, "DiskUnreadable", unreadable(error))),
        Ok(disk) => {
            found.extend(worn(disk).map(|(reason, message)| entry(Degraded, reason, message)));
            if disk.total < size {
                let message = format!("the disk has {} bytes, the volume {size}", disk.total);
                found.push(entry(Degraded, "DiskTooSmall", message));
            }
        }
    }
    found
}

/// What is wrong with a volume on this node that has `published` targets, of which `lost` have nothing mounted.
pub fn of_mounts(lost: &[String], published: usize) -> Option<VolumeHealthEntry> {
    let first = lost.first()?;
    let others = match lost.len() {
        1 => String::new(),
        count => format!(" and {} other targets", count - 1),
    };
    let status = if lost.len() < published { Degraded } else { Inaccessible };
    Some(entry(status, "NotMounted", format!("the volume is not mounted at {first:?}{others}")))
}

/// What is wrong with the storage.
pub fn of_storage(disk: &io::Result<Disk>) -> Vec<StorageBackendHealth> {
    let backend = |status: StorageHealthErrorType, reason: &str, message| StorageBackendHealth {
        status: status as i32,
        reason: reason.to_owned(),
        message: cut(message),
        // It concerns volumes of every kind.
        volume_capability: None,
    };
    match disk {
        Err(error) => {
            vec![backend(StorageHealthErrorType::StorageUnreachable, "DiskUnreadable", unreadable(error))]
        }
        Ok(disk) => {
            let degraded = StorageHealthErrorType::StorageDegraded;
            worn(disk).map(|(reason, message)| backend(degraded, reason, message)).collect()
        }
    }
}

/// What is wrong with a disk that can be read: reasons and messages.
fn worn(disk: &Disk) -> impl Iterator<Item = (&'static str, String)> {
    let read_only = disk.readonly.then(|| ("DiskReadOnly", "the disk is read-only".to_owned()));
    let full = (disk.available == 0)
        .then(|| ("DiskFull", format!("the disk is full: nothing is left of its {} bytes", disk.total)));
    read_only.into_iter().chain(full)
}

fn unreadable(error: &io::Error) -> String {
    format!("the driver's state folder cannot be read: {error}")
}

fn entry(status: VolumeHealthErrorType, reason: &str, message: String) -> VolumeHealthEntry {
    VolumeHealthEntry { status: status as i32, reason: reason.to_owned(), message: cut(message) }
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    message
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GOOD: Disk = Disk { total: 1000, available: 10, readonly: false };

    fn lost() -> io::Error {
        io::Error::other("no such disk")
    }

    fn words(entries: &[VolumeHealthEntry]) -> Vec<(VolumeHealthErrorType, &str)> {
        entries.iter().map(|entry| (entry.status(), entry.reason.as_str())).collect()
    }

    #[test]
    fn a_volume_has_an_entry_for_each_thing_that_is_wrong() {
        let full = Disk { available: 0, ..GOOD };
        let worst = Disk { available: 0, readonly: true, ..GOOD };
        for (content, disk, size, expected) in [
            (Ok(true), Ok(GOOD), 1000, &[][..]),
            (Ok(false), Ok(GOOD), 1, &[(DataLoss, "ContentMissing")]),
            (Err(lost()), Ok(GOOD), 1, &[(Inaccessible, "ContentUnreadable")]),
            (Ok(true), Err(lost()), 1, &[(Inaccessible, "DiskUnreadable")]),
            (Ok(true), Ok(full), 1, &[(Degraded, "DiskFull")]),
            (Ok(true), Ok(GOOD), 1001, &[(Degraded, "DiskTooSmall")]),
            (
                Err(lost()),
                Err(lost()),
                1001,
                &[(Inaccessible, "ContentUnreadable"), (Inaccessible, "DiskUnreadable")],
            ),
            (
                Ok(false),
                Ok(worst),
                1001,
                &[
                    (DataLoss, "ContentMissing"),
                    (Degraded, "DiskReadOnly"),
                    (Degraded, "DiskFull"),
                    (Degraded, "DiskTooSmall"),
                ],
            ),
        ] {
            let found = of_volume(&content, &disk, size);
            assert_eq!(words(&found), expected, "{content:?} {disk:?} {size}");
            let different: BTreeSet<_> = found.iter().map(|entry| (entry.status, &entry.reason)).collect();
            assert_eq!(different.len(), found.len());
            assert!(found.iter().all(|entry| !entry.message.is_empty()));
        }
    }

    #[test]
    fn the_last_lost_mount_makes_a_volume_inaccessible() {
        let target = |name: &str| format!("/pods/{name}");
        assert_eq!(of_mounts(&[], 2), None);
        let some = of_mounts(&[target("a")], 2).unwrap();
        assert_eq!((some.status(), some.reason.as_str()), (Degraded, "NotMounted"));
        assert_eq!(some.message, "the volume is not mounted at \"/pods/a\"");
        let all = of_mounts(&[target("a"), target("b")], 2).unwrap();
        assert_eq!(all.status(), Inaccessible);
        assert_eq!(all.message, "the volume is not mounted at \"/pods/a\" and 1 other targets");
    }

    #[test]
    fn the_storage_is_unreachable_or_degraded() {
        use StorageHealthErrorType::{StorageDegraded, StorageUnreachable};
        let words = |disk| {
            let found = of_storage(&disk);
            assert!(found.iter().all(|backend| backend.volume_capability.is_none()));
            found.into_iter().map(|found| (found.status(), found.reason)).collect::<Vec<_>>()
        };
        let is = |status, reason: &str| (status, reason.to_owned());
        assert_eq!(words(Ok(GOOD)), []);
        assert_eq!(words(Err(lost())), [is(StorageUnreachable, "DiskUnreadable")]);
        let worst = Disk { available: 0, readonly: true, ..GOOD };
        let both = [is(StorageDegraded, "DiskReadOnly"), is(StorageDegraded, "DiskFull")];
        assert_eq!(words(Ok(worst)), both);
    }

    #[test]
    fn a_message_is_cut_to_what_the_api_takes() {
        let long = of_mounts(&["ü".repeat(2000)], 1).unwrap().message;
        assert!(long.len() <= MAX_MESSAGE && long.len() > MAX_MESSAGE - 4, "{}", long.len());
    }
}
