//! Pools, limits, and what the driver says that it can.

use std::collections::BTreeMap;
use std::process::Command;

use conformance::Running;
use conformance::request::{self, MIB};
use csi::v1::volume_capability::access_mode::Mode;
use csi::{Client, v1};
use tonic::Code;

use super::{DEADLINE, code, volume};

with_driver!(
    pools_count_what_is_in_them,
    ["--capacity=fast=10Mi", "--capacity=slow=100Mi"],
    |_folder, driver| {
        let client = driver.client();
        let of = |kind: &str| BTreeMap::from([("kind".to_owned(), kind.to_owned())]);
        let create = |name: &str, kind: &str, size| v1::CreateVolumeRequest {
            parameters: of(kind),
            ..request::create(name, false, size)
        };
        let left = |kind: &'static str| async move {
            let request = v1::GetCapacityRequest { parameters: of(kind), ..Default::default() };
            client.call(request, DEADLINE).await.unwrap().available_capacity
        };
        let id = volume(client, create("a", "fast", 6 * MIB)).await.volume_id;
        assert_eq!((left("fast").await, left("slow").await, left("none").await), (4 * MIB, 100 * MIB, 0));
        let full = |request| async move { client.call(request, DEADLINE).await.unwrap_err().code() };
        assert_eq!(full(create("b", "fast", 5 * MIB)).await, Code::ResourceExhausted);
        assert_eq!(full(create("b", "none", MIB)).await, Code::ResourceExhausted);
        let expand = |size| v1::ControllerExpandVolumeRequest {
            volume_id: id.clone(),
            capacity_range: Some(request::at_least(size)),
            ..Default::default()
        };
        let status = client.call(expand(11 * MIB), DEADLINE).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        client.call(expand(8 * MIB), DEADLINE).await.unwrap();
        assert_eq!(left("fast").await, 2 * MIB);
        // Any pool with room.
        volume(client, request::create("c", false, 50 * MIB)).await;
        assert_eq!(left("slow").await, 50 * MIB);
        client.call(request::delete(&id), DEADLINE).await.unwrap();
        assert_eq!(left("fast").await, 10 * MIB);
    }
);

with_driver!(an_attach_limit_is_enforced, ["--enable-attach", "--attach-limit=2"], |_folder, driver| {
    let client = driver.client();
    let attach = |id: &str| v1::ControllerPublishVolumeRequest {
        volume_id: id.to_owned(),
        node_id: "node-1".to_owned(),
        volume_capability: Some(request::capability(false, Mode::SingleNodeWriter)),
        ..Default::default()
    };
    let info = client.call(v1::NodeGetInfoRequest {}, DEADLINE).await.unwrap();
    assert_eq!(info.max_volumes_per_node, 2);
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(volume(client, request::create(name, false, MIB)).await.volume_id);
    }
    let mut codes = Vec::new();
    for id in &ids {
        codes.push(code(client.call(attach(id), DEADLINE).await.map(drop)));
    }
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::ResourceExhausted]);
    let detach = v1::ControllerUnpublishVolumeRequest { volume_id: ids[0].clone(), ..Default::default() };
    client.call(detach, DEADLINE).await.unwrap();
    client.call(attach(&ids[2]), DEADLINE).await.unwrap();
});

with_driver!(published_volume_grows_once_it_is_not, ["--disable-online-expansion"], |folder, driver| {
    use v1::plugin_capability::{Type, VolumeExpansion, volume_expansion};
    let client = driver.client();
    let can = client.call(v1::GetPluginCapabilitiesRequest {}, DEADLINE).await.unwrap().capabilities;
    let offline = Type::VolumeExpansion(VolumeExpansion { r#type: volume_expansion::Type::Offline as i32 });
    assert!(can.iter().any(|one| one.r#type == Some(offline)), "{can:?}");
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let target = folder.join("target").display().to_string();
    client.call(request::publish(&id, &target, false), DEADLINE).await.unwrap();
    let grow = |size| v1::ControllerExpandVolumeRequest {
        volume_id: id.clone(),
        capacity_range: Some(request::at_least(size)),
        ..Default::default()
    };
    assert_eq!(code(client.call(grow(2 * MIB), DEADLINE).await.map(drop)), Code::FailedPrecondition);
    client.call(grow(MIB), DEADLINE).await.unwrap();
    client.call(request::unpublish(&id, &target), DEADLINE).await.unwrap();
    assert_eq!(client.call(grow(2 * MIB), DEADLINE).await.unwrap().capacity_bytes, 2 * MIB);
});

with_driver!(
    hidden_capabilities_are_not_advertised,
    ["--hidden-capabilities=GET_SNAPSHOT,VOLUME_CONDITION", "--hidden-capabilities=GET_VOLUME"],
    |_folder, driver| {
        use v1::controller_service_capability::rpc::Type;
        let has = csi::identity::controller_capabilities(driver.client(), DEADLINE).await.unwrap();
        assert!(!has.has(Type::GetSnapshot) && !has.has(Type::GetVolume));
        assert!(has.has(Type::ListVolumes) && has.has(Type::CloneVolume));
    }
);

with_driver!(a_full_disk_is_told_and_loses_nothing, [], |folder, driver| {
    driver.kill().await;
    let state = folder.join("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&state).status();
    assert!(mount.unwrap().success());
    let driver = Running::start(folder, &[]).await;
    let client = driver.client();
    let mut made = Vec::new();
    let filler = BTreeMap::from([("filler".to_owned(), "x".repeat(3000))]);
    let refusal = loop {
        let name = format!("volume-{}", made.len());
        let create =
            v1::CreateVolumeRequest { parameters: filler.clone(), ..request::create(&name, false, MIB) };
        match client.call(create, DEADLINE).await {
            Ok(reply) => made.push(reply.volume.unwrap().volume_id),
            Err(status) => break status,
        }
        assert!(made.len() < 1000, "the disk never fills up");
    };
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    assert!(refusal.message().contains("No space left"), "{refusal}");
    let listed = |client: Client| async move {
        let list = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
        let mut ids: Vec<String> =
            list.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id).collect();
        ids.sort();
        ids
    };
    made.sort();
    assert_eq!(listed(client.clone()).await, made);
    // What is full can be emptied: by those who undo and remove.
    std::fs::write(state.join("users-data"), vec![1; 1 << 20]).unwrap_err();
    let undone = made.split_off(3);
    for id in &undone {
        client.call(request::delete(id), DEADLINE).await.unwrap();
    }
    assert_eq!(listed(client.clone()).await, made);
    driver.kill().await;
    let driver = Running::start(folder, &[]).await;
    assert_eq!(listed(driver.client().clone()).await, made, "nothing is lost, nothing was half made");
    assert_eq!(driver.stop().await, Some(0));
    assert!(Command::new("umount").arg(&state).status().unwrap().success());
});
