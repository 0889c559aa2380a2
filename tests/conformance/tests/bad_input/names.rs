//! Ids, names and paths: looked up or kept, never followed.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use conformance::Running;
use conformance::request::{self, MIB};
use csi::v1::volume_capability::access_mode::Mode;
use csi::{Rpc, v1};
use tonic::Code;

use super::Fixture;

/// Strings that try to be a path to somewhere else.
const TRAVERSALS: [&str; 8] = [
    "../../../../etc/passwd",
    "..",
    ".",
    "/etc/passwd",
    "a/../../b",
    "state.journal",
    ".new",
    "%2e%2e%2fetc",
];

/// Bad values of a required id, with what an id that is merely unknown gets.
async fn bad_ids<R: Rpc>(fixture: &Fixture, field: &str, unknown: Code, with: impl Fn(String) -> R) {
    fixture.expect(&format!("{field} empty"), with(String::new()), Code::InvalidArgument).await;
    fixture.expect(&format!("{field} of 129 bytes"), with("x".repeat(129)), Code::InvalidArgument).await;
    fixture.expect(&format!("{field} with NUL"), with("a\0b".to_owned()), Code::InvalidArgument).await;
    fixture.expect(&format!("{field} unknown"), with("unknown".to_owned()), unknown).await;
    fixture.expect(&format!("{field} of 128 bytes"), with("x".repeat(128)), unknown).await;
    for text in TRAVERSALS {
        fixture.expect(&format!("{field} {text:?}"), with(text.to_owned()), unknown).await;
    }
}

/// Bad values of a required path.
async fn bad_paths<R: Rpc>(fixture: &Fixture, field: &str, with: impl Fn(String) -> R) {
    let bad = ["", "relative/path", "..", "/a/../../etc", "/target/..", "/a\0b", "/"];
    for path in bad {
        fixture.expect(&format!("{field} {path:?}"), with(path.to_owned()), Code::InvalidArgument).await;
    }
    fixture
        .expect(
            &format!("{field} of 5000 bytes"),
            with(format!("/{}", "x".repeat(5000))),
            Code::InvalidArgument,
        )
        .await;
}

/// Everything below a folder but the driver's log.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

// A list is as long as what it lists.
#[allow(clippy::too_many_lines)]
#[tokio::test]
async fn ids_are_looked_up_and_never_become_paths() {
    let f = Fixture::new().await;
    let before = tree(f.folder.path());
    let mount = || Some(request::capability(false, Mode::SingleNodeWriter));
    let range = Some(request::at_least(8 * MIB));
    bad_ids(&f, "volume_id", Code::Ok, |id| request::delete(&id)).await;
    bad_ids(&f, "snapshot_id", Code::Ok, |id| request::delete_snapshot(&id)).await;
    bad_ids(&f, "group_snapshot_id", Code::Ok, |id| v1::DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: id,
        ..Default::default()
    })
    .await;
    bad_ids(&f, "group_snapshot_id", Code::NotFound, |id| v1::GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id,
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::ControllerPublishVolumeRequest {
        volume_id: id,
        node_id: "node-1".to_owned(),
        volume_capability: mount(),
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::Ok, |id| v1::ControllerUnpublishVolumeRequest {
        volume_id: id,
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::ValidateVolumeCapabilitiesRequest {
        volume_id: id,
        volume_capabilities: mount().into_iter().collect(),
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::ControllerGetVolumeRequest { volume_id: id }).await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::ControllerExpandVolumeRequest {
        volume_id: id,
        capacity_range: range,
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::ControllerModifyVolumeRequest {
        volume_id: id,
        mutable_parameters: BTreeMap::from([("iops".to_owned(), "1".to_owned())]),
        ..Default::default()
    })
    .await;
    bad_ids(&f, "source_volume_id", Code::NotFound, |id| request::snapshot("new", &id)).await;
    bad_ids(&f, "source_volume_ids", Code::NotFound, |id| v1::CreateVolumeGroupSnapshotRequest {
        name: "new".to_owned(),
        source_volume_ids: vec![f.volume.clone(), id],
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::CreateVolumeRequest {
        volume_content_source: request::clone_of(&id),
        ..request::create("new", false, MIB)
    })
    .await;
    bad_ids(&f, "snapshot_id", Code::NotFound, |id| v1::CreateVolumeRequest {
        volume_content_source: request::restore_of(&id),
        ..request::create("new", false, MIB)
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::NodeStageVolumeRequest {
        volume_id: id,
        staging_target_path: "/stage".to_owned(),
        volume_capability: mount(),
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::NodeUnstageVolumeRequest {
        volume_id: id,
        staging_target_path: "/stage".to_owned(),
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| request::publish(&id, "/target", false)).await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| request::unpublish(&id, "/target")).await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::NodeGetVolumeStatsRequest {
        volume_id: id,
        volume_path: "/target".to_owned(),
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::NodeGetVolumeHealthRequest {
        volume_id: id,
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::ControllerGetVolumeHealthRequest {
        volume_id: id,
        ..Default::default()
    })
    .await;
    bad_ids(&f, "volume_id", Code::NotFound, |id| v1::NodeExpandVolumeRequest {
        volume_id: id,
        volume_path: "/target".to_owned(),
        capacity_range: range,
        ..Default::default()
    })
    .await;
    assert_eq!(tree(f.folder.path()), before, "nothing was made or removed anywhere");
}

#[tokio::test]
async fn names_are_names_and_never_become_paths() {
    let f = Fixture::new().await;
    let outside = |f: &Fixture| {
        let state = f.folder.path().join("state");
        tree(f.folder.path()).into_iter().filter(|path| !path.starts_with(&state)).collect::<Vec<_>>()
    };
    let before = outside(&f);
    for name in ["", "a\0b", "a\u{7f}b", "a\u{1}b"].map(str::to_owned).into_iter().chain(["x".repeat(129)]) {
        f.expect("bad name", request::create(&name, false, MIB), Code::InvalidArgument).await;
        f.expect("bad name", request::snapshot(&name, &f.volume), Code::InvalidArgument).await;
        let group = v1::CreateVolumeGroupSnapshotRequest {
            name,
            source_volume_ids: vec![f.volume.clone()],
            ..Default::default()
        };
        f.expect("bad name", group, Code::InvalidArgument).await;
    }
    let longest = "ä".repeat(64);
    for name in TRAVERSALS.into_iter().chain(["tab\tand\nnewline", "名前", longest.as_str()]) {
        for block in [false, true] {
            let create = request::create(&format!("{name}{}", if block { "" } else { "2" }), block, MIB);
            let create = if name.len() == 128 { request::create(name, false, MIB) } else { create };
            f.expect("any other name", create, Code::Ok).await;
        }
        f.expect("any other name", request::snapshot(name, &f.volume), Code::Ok).await;
    }
    assert_eq!(outside(&f), before, "nothing was made outside the state folder");
    for entry in std::fs::read_dir(Running::state(f.folder.path())).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_own = [".new", ".old", "state.journal"].contains(&name.as_str());
        assert!(
            is_own || name.trim_end_matches(".snap").len() == 36,
            "{name:?} is not a name made by the driver"
        );
    }
}

#[tokio::test]
async fn paths_are_absolute_and_never_climb() {
    let f = Fixture::new().await;
    let mount = || Some(request::capability(false, Mode::SingleNodeWriter));
    bad_paths(&f, "staging_target_path", |path| v1::NodeStageVolumeRequest {
        volume_id: f.volume.clone(),
        staging_target_path: path,
        volume_capability: mount(),
        ..Default::default()
    })
    .await;
    bad_paths(&f, "staging_target_path", |path| v1::NodeUnstageVolumeRequest {
        volume_id: f.volume.clone(),
        staging_target_path: path,
    })
    .await;
    bad_paths(&f, "target_path", |path| request::publish(&f.volume, &path, false)).await;
    bad_paths(&f, "target_path", |path| request::unpublish(&f.volume, &path)).await;
    bad_paths(&f, "volume_path", |path| v1::NodeExpandVolumeRequest {
        volume_id: f.volume.clone(),
        volume_path: path,
        capacity_range: Some(request::at_least(MIB)),
        ..Default::default()
    })
    .await;
    for path in ["/etc", "relative", "/a/../etc"] {
        let stats = v1::NodeGetVolumeStatsRequest {
            volume_id: f.volume.clone(),
            volume_path: path.to_owned(),
            ..Default::default()
        };
        f.expect("not the volume's path", stats, Code::NotFound).await;
    }
    let stats = v1::NodeGetVolumeStatsRequest { volume_id: f.volume.clone(), ..Default::default() };
    f.expect("no path", stats, Code::InvalidArgument).await;
}
