//! Taking over the state of the Go driver (`state.json`), once.
//!
//! The file is read only when our own journal is empty; after that it is renamed, so that nobody
//! mistakes it for the truth.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::error::OpenError;
use super::record::{Access, Change, Group, Publication, Snapshot, Source, Volume};
use crate::backend::hostpath::unpack::is_archive;
use crate::backend::is_plain_name;

/// The Go driver's state file.
pub(crate) const FILE: &str = "state.json";
/// The number of block volumes' access type.
const BLOCK: i32 = 1;
const ASIDE: &str = "state.json.migrated";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Legacy {
    volumes: Option<Vec<LegacyVolume>>,
    snapshots: Option<Vec<LegacySnapshot>>,
    group_snapshots: Option<Vec<LegacyGroup>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct LegacyVolume {
    vol_name: String,
    #[serde(rename = "VolID")]
    vol_id: String,
    vol_size: i64,
    vol_access_type: i32,
    #[serde(rename = "ParentVolID")]
    parent_vol_id: String,
    #[serde(rename = "ParentSnapID")]
    parent_snap_id: String,
    ephemeral: bool,
    kind: String,
    read_only_attach: bool,
    attached: bool,
    staged: Option<Vec<String>>,
    published: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct LegacySnapshot {
    name: String,
    id: String,
    #[serde(rename = "VolID")]
    vol_id: String,
    creation_time: Option<LegacyTime>,
    size_bytes: i64,
    #[serde(rename = "GroupSnapshotID")]
    group_snapshot_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct LegacyGroup {
    name: String,
    id: String,
    #[serde(rename = "SnapshotIDs")]
    snapshot_ids: Option<Vec<String>>,
    #[serde(rename = "SourceVolumeIDs")]
    source_volume_ids: Option<Vec<String>>,
    creation_time: Option<LegacyTime>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct LegacyTime {
    seconds: i64,
    nanos: i32,
}

/// The Go driver's state in `folder` as changes; none when there is no such file. Its snapshots are in `content`.
pub(crate) fn read(folder: &Path, content: &Path) -> Result<Vec<Change>, OpenError> {
    let path = folder.join(FILE);
    let wrong = |reason: String| OpenError::Migration { file: path.display().to_string(), reason };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let legacy: Legacy = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let mut changes = Vec::new();
    let mut kinds = BTreeMap::new();
    for volume in legacy.volumes.unwrap_or_default() {
        named(&volume.vol_id).map_err(wrong)?;
        kinds.insert(volume.vol_id.clone(), volume.vol_access_type);
        changes.push(Change::Volume(Box::new(volume.into())));
    }
    for snapshot in legacy.snapshots.unwrap_or_default() {
        named(&snapshot.id).map_err(wrong)?;
        // The volume's kind says it; if the volume is gone, the content must.
        let archive = match kinds.get(&snapshot.vol_id) {
            Some(kind) => *kind != BLOCK,
            None => is_archive(&content.join(format!("{}.snap", snapshot.id))),
        };
        changes.push(Change::Snapshot(Box::new(snapshot.record(archive))));
    }
    for group in legacy.group_snapshots.unwrap_or_default() {
        changes.push(Change::Group(Box::new(group.into())));
    }
    Ok(changes)
}

/// Renames the Go driver's file, which is of no use once our journal holds the state.
pub(super) fn put_aside(folder: &Path) {
    match std::fs::rename(folder.join(FILE), folder.join(ASIDE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            base::error!(error, "Cannot rename the Go driver's state file; it is ignored from now on");
        }
        _ => {}
    }
}

/// An id of the file becomes a file name: it must be nothing but one.
fn named(id: &str) -> Result<(), String> {
    if is_plain_name(id) { Ok(()) } else { Err(format!("id {id:?} is not a plain file name")) }
}

impl From<LegacyVolume> for Volume {
    fn from(old: LegacyVolume) -> Self {
        // Mode 0: the Go driver did not record how.
        let publication = || Publication { readonly: false, mode: 0, boot: None };
        let source = match (old.parent_snap_id.is_empty(), old.parent_vol_id.is_empty()) {
            (false, _) => Some(Source::Snapshot(old.parent_snap_id)),
            (true, false) => Some(Source::Volume(old.parent_vol_id)),
            (true, true) => None,
        };
        Self {
            id: old.vol_id.clone(),
            name: old.vol_name,
            data: old.vol_id,
            size: old.vol_size,
            access: if old.vol_access_type == BLOCK { Access::Block } else { Access::Mount },
            pool: old.kind,
            parameters: BTreeMap::new(),
            mutable: BTreeMap::new(),
            source,
            legacy: true,
            ephemeral: old.ephemeral,
            attached: old.attached.then_some(old.read_only_attach),
            staged: old.staged.unwrap_or_default().into_iter().collect(),
            staged_in: None,
            published: old
                .published
                .unwrap_or_default()
                .into_iter()
                .map(|target| (target, publication()))
                .collect(),
        }
    }
}

impl LegacySnapshot {
    fn record(self, archive: bool) -> Snapshot {
        let time = self.creation_time.unwrap_or_default();
        Snapshot {
            data: self.id.clone(),
            id: self.id,
            name: self.name,
            volume: self.vol_id,
            access: if archive { Access::Mount } else { Access::Block },
            size: self.size_bytes,
            created: (time.seconds, time.nanos),
            group: self.group_snapshot_id,
            archive,
        }
    }
}

impl From<LegacyGroup> for Group {
    fn from(old: LegacyGroup) -> Self {
        let time = old.creation_time.unwrap_or_default();
        Self {
            id: old.id,
            name: old.name,
            snapshots: old.snapshot_ids.unwrap_or_default(),
            volumes: old.source_volume_ids.unwrap_or_default(),
            created: (time.seconds, time.nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    const STATE: &str = r#"{
        "Volumes": [{"VolName": "pvc-1", "VolID": "0000-1", "VolSize": 5, "VolPath": "/csi-data-dir/0000-1",
            "VolAccessType": 1, "ParentVolID": "", "ParentSnapID": "s", "Ephemeral": false, "NodeID": "n",
            "Kind": "fast", "ReadOnlyAttach": true, "Attached": true, "Staged": ["/stage"], "Published": null}],
        "Snapshots": [{"Name": "snap", "Id": "0000-2", "VolID": "gone", "Path": "x",
            "CreationTime": {"seconds": 7, "nanos": 8}, "SizeBytes": 5, "ReadyToUse": true,
            "GroupSnapshotID": "g"}],
        "GroupSnapshots": [{"Name": "group", "Id": "g", "SnapshotIDs": ["0000-2"],
            "SourceVolumeIDs": ["0000-1"], "CreationTime": {"seconds": 7}, "ReadyToUse": true}]}"#;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut writer, bytes).unwrap();
        writer.finish().unwrap()
    }

    fn tar_header() -> Vec<u8> {
        tar::Header::new_gnu().as_bytes().to_vec()
    }

    #[test]
    fn a_raw_snapshot_that_begins_like_an_archive_is_none() {
        let mut raw = gzip(b"what a user compressed");
        raw.resize(4096, 0);
        for (volume, content, is_archive) in [
            // The volume is there: its kind decides.
            ("0000-1", gzip(&tar_header()), false),
            // It is gone: the content decides.
            ("gone", raw, false),
            ("gone", vec![0x1f, 0x8b, 8, 0], false),
            ("gone", gzip(&tar_header()), true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let state = STATE.replace("\"VolID\": \"gone\"", &format!("\"VolID\": \"{volume}\""));
            std::fs::write(folder.path().join(FILE), state).unwrap();
            std::fs::write(folder.path().join("0000-2.snap"), content).unwrap();
            let store = Store::open(folder.path(), folder.path()).unwrap();
            assert_eq!(store.snapshot("0000-2").unwrap().archive, is_archive, "{volume}");
        }
    }

    #[test]
    fn a_go_drivers_state_is_taken_over_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), STATE).unwrap();
        std::fs::write(folder.path().join("0000-2.snap"), gzip(&tar_header())).unwrap();
        let store = Store::open(folder.path(), folder.path()).unwrap();
        let volume = store.volume("0000-1").unwrap();
        assert_eq!((volume.size, volume.access, volume.attached), (5, Access::Block, Some(true)));
        assert_eq!(volume.source, Some(Source::Snapshot("s".to_owned())));
        assert_eq!(store.read().used("fast"), 5);
        let snapshot = store.snapshot("0000-2").unwrap();
        assert!(snapshot.archive && snapshot.created == (7, 8) && snapshot.group == "g");
        assert_eq!(store.read().groups.len(), 1);
        assert!(!folder.path().join(FILE).exists() && folder.path().join(ASIDE).exists());
        drop(store);
        let again = Store::open(folder.path(), folder.path()).unwrap();
        assert_eq!(again.read().volumes.len(), 1);
    }

    #[test]
    fn ids_that_are_paths_and_broken_files_are_refused() {
        for text in [r#"{"Volumes": [{"VolID": "../../etc"}]}"#, "{", r#"{"Snapshots": [{"Id": "a/b"}]}"#] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(FILE), text).unwrap();
            let error = Store::open(folder.path(), folder.path()).unwrap_err().to_string();
            assert!(error.contains(FILE), "{error}");
            assert!(folder.path().join(FILE).exists(), "the file stays as it is");
        }
    }
}
