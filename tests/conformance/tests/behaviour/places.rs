//! Where snapshots are usable.

use std::collections::BTreeMap;

use conformance::request::{self, MIB};
use csi::v1;
use tonic::Code;

use super::{DEADLINE, code, volume};

const KEY: &str = "topology.hostpath.csi/node";

fn place(node: &str) -> v1::Topology {
    v1::Topology { segments: BTreeMap::from([(KEY.to_owned(), node.to_owned())]) }
}

fn cut(name: &str, volume: &str, nodes: &[&str]) -> v1::CreateSnapshotRequest {
    let requisite: Vec<_> = nodes.iter().map(|node| place(node)).collect();
    let requirement = v1::TopologyRequirement { preferred: requisite.clone(), requisite };
    v1::CreateSnapshotRequest {
        accessibility_requirements: Some(requirement),
        ..request::snapshot(name, volume)
    }
}

with_driver!(a_snapshot_is_cut_only_where_it_is_usable, [], |_folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let refused = client.call(cut("s", &id, &["node-2", "node-3"]), DEADLINE).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("node-1"), "{refused}");
    let list = client.call(v1::ListSnapshotsRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(list.entries, [], "nothing was cut");

    let made = client.call(cut("s", &id, &["node-2", "node-1"]), DEADLINE).await.unwrap().snapshot.unwrap();
    assert_eq!(made.accessible_topology, [place("node-1")]);
    let again = client.call(cut("s", &id, &["node-1"]), DEADLINE).await.unwrap().snapshot.unwrap();
    let anywhere = client.call(request::snapshot("s", &id), DEADLINE).await.unwrap().snapshot.unwrap();
    assert_eq!((&again, &anywhere), (&made, &made), "the same snapshot");
    let elsewhere = client.call(cut("s", &id, &["node-2"]), DEADLINE).await;
    assert_eq!(code(elsewhere.map(drop)), Code::ResourceExhausted, "it is there, and not usable there");

    let list = client.call(v1::ListSnapshotsRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(
        list.entries.into_iter().filter_map(|entry| entry.snapshot).collect::<Vec<_>>(),
        std::slice::from_ref(&made)
    );
    let get = v1::GetSnapshotRequest { snapshot_id: made.snapshot_id.clone(), ..Default::default() };
    assert_eq!(client.call(get, DEADLINE).await.unwrap().snapshot, Some(made));
});

/// A driver that does not tell where snapshots are is not asked either: the field says nothing to it.
async fn is_ignored(driver: &conformance::Running) {
    let client = driver.client();
    let plugin = csi::identity::plugin_capabilities(client, DEADLINE).await.unwrap();
    assert!(!plugin.has(v1::plugin_capability::service::Type::SnapshotAccessibilityConstraints));
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let made = client.call(cut("s", &id, &["node-2"]), DEADLINE).await.unwrap().snapshot.unwrap();
    assert_eq!(made.accessible_topology, []);
}

with_driver!(without_topology_snapshots_have_no_place, ["--enable-topology=false"], |_folder, driver| {
    is_ignored(&driver).await;
});

with_driver!(
    a_hidden_snapshot_topology_is_not_answered,
    ["--hidden-capabilities=SNAPSHOT_ACCESSIBILITY_CONSTRAINTS"],
    |_folder, driver| {
        is_ignored(&driver).await;
    }
);
