//! What is wrong with volumes and storage, and until when it is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use conformance::request::{self, MIB};
use conformance::{Disk, Folder, Running, in_own_mounts};
use csi::{Client, v1};
use tonic::Code;
use v1::{StorageHealthErrorType as Storage, VolumeHealthErrorType as Volume};

use super::{DEADLINE, code, published, unpublished, volume};

/// What is told of a volume: statuses and reasons.
type Told = Vec<(Volume, String)>;

fn told(health: &v1::VolumeHealth) -> Told {
    health.health_statuses.iter().map(|entry| (entry.status(), entry.reason.clone())).collect()
}

fn is(status: Volume, reason: &str) -> Told {
    vec![(status, reason.to_owned())]
}

async fn listed(client: &Client) -> Vec<(String, Told)> {
    let list = client.call(v1::ControllerListVolumeHealthRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(list.next_token, "");
    list.entries.iter().map(|entry| (entry.volume_id.clone(), told(entry))).collect()
}

async fn by_controller(client: &Client, id: &str) -> Told {
    let get = v1::ControllerGetVolumeHealthRequest { volume_id: id.to_owned(), ..Default::default() };
    let health = client.call(get, DEADLINE).await.unwrap().volume_health.unwrap();
    assert_eq!(health.volume_id, id);
    told(&health)
}

async fn by_node(client: &Client, id: &str) -> Told {
    let get = v1::NodeGetVolumeHealthRequest { volume_id: id.to_owned(), ..Default::default() };
    let health = client.call(get, DEADLINE).await.unwrap().volume_health.unwrap();
    assert_eq!(health.volume_id, id);
    told(&health)
}

async fn storage(client: &Client) -> Vec<(Storage, String)> {
    let reply = client.call(v1::NodeGetStorageHealthRequest::default(), DEADLINE).await.unwrap();
    reply.backend_health.iter().map(|backend| (backend.status(), backend.reason.clone())).collect()
}

/// Where the content of volumes is.
fn content(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Running::state(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().len() == 36).collect()
}

with_driver!(a_lost_volume_is_told_until_it_is_back, [], |folder, driver| {
    let client = driver.client();
    let lost = volume(client, request::create("lost", false, MIB)).await.volume_id;
    let [place] = content(folder).try_into().unwrap();
    let other = volume(client, request::create("other", true, MIB)).await.volume_id;
    assert_eq!(listed(client).await, []);
    let away = folder.join("away");
    std::fs::rename(&place, &away).unwrap();
    let missing = is(Volume::DataLoss, "ContentMissing");
    assert_eq!(listed(client).await, [(lost.clone(), missing.clone())]);
    assert_eq!(
        (by_controller(client, &lost).await, by_node(client, &lost).await),
        (missing.clone(), missing)
    );
    assert_eq!((by_controller(client, &other).await, by_node(client, &other).await), (vec![], vec![]));
    assert_eq!(storage(client).await, []);
    std::fs::rename(&away, &place).unwrap();
    assert_eq!(listed(client).await, []);
    assert_eq!((by_controller(client, &lost).await, by_node(client, &lost).await), (vec![], vec![]));
});

with_driver!(health_is_listed_page_by_page, [], |folder, driver| {
    let client = driver.client();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(volume(client, request::create(name, false, MIB)).await.volume_id);
    }
    for place in content(folder) {
        std::fs::remove_dir(place).unwrap();
    }
    for name in ["d", "e"] {
        volume(client, request::create(name, false, MIB)).await;
    }
    ids.sort();
    let page = |token: String| v1::ControllerListVolumeHealthRequest {
        max_entries: 2,
        starting_token: token,
        ..Default::default()
    };
    let first = client.call(page(String::new()), DEADLINE).await.unwrap();
    let second = client.call(page(first.next_token.clone()), DEADLINE).await.unwrap();
    assert_eq!((first.entries.len(), second.entries.len(), second.next_token.as_str()), (2, 1, ""));
    let seen: Vec<_> =
        first.entries.iter().chain(&second.entries).map(|entry| entry.volume_id.clone()).collect();
    assert_eq!(seen, ids, "the healthy ones are left out");
    let all = v1::ControllerListVolumeHealthRequest { max_entries: 3, ..Default::default() };
    let all = client.call(all, DEADLINE).await.unwrap();
    assert_eq!((all.entries.len(), all.next_token.as_str()), (3, ""), "a full last page has no token");
});

with_driver!(health_of_what_is_not_there_has_its_code, [], |_folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let get =
        |id: &str| v1::ControllerGetVolumeHealthRequest { volume_id: id.to_owned(), ..Default::default() };
    let on_node =
        |id: &str| v1::NodeGetVolumeHealthRequest { volume_id: id.to_owned(), ..Default::default() };
    for (id, expected) in [("", Code::InvalidArgument), ("unknown", Code::NotFound), (id.as_str(), Code::Ok)]
    {
        assert_eq!(code(client.call(get(id), DEADLINE).await.map(drop)), expected, "{id:?}");
        assert_eq!(code(client.call(on_node(id), DEADLINE).await.map(drop)), expected, "{id:?}");
    }
    // A path where the volume is not is no error.
    let paths = |publish: &str, stage: &str| v1::NodeGetVolumeHealthRequest {
        volume_publish_path: publish.to_owned(),
        staging_target_path: stage.to_owned(),
        ..on_node(&id)
    };
    for (publish, stage, expected) in
        [("/a", "/b", Code::Ok), ("a", "", Code::InvalidArgument), ("", "b/../c", Code::InvalidArgument)]
    {
        assert_eq!(code(client.call(paths(publish, stage), DEADLINE).await.map(drop)), expected);
    }
    let list = |max_entries, token: &str| v1::ControllerListVolumeHealthRequest {
        max_entries,
        starting_token: token.to_owned(),
        ..Default::default()
    };
    for (max_entries, token, expected) in
        [(0, "invalid-token", Code::Aborted), (-1, "", Code::InvalidArgument), (0, "@gone", Code::Ok)]
    {
        assert_eq!(code(client.call(list(max_entries, token), DEADLINE).await.map(drop)), expected);
    }
    let bad: std::collections::BTreeMap<_, _> = [("no key/at all".to_owned(), "x".to_owned())].into();
    let codes = [
        code(client.call(v1::NodeGetStorageHealthRequest { secrets: bad.clone() }, DEADLINE).await.map(drop)),
        code(
            client
                .call(v1::ControllerGetVolumeHealthRequest { secrets: bad.clone(), ..get(&id) }, DEADLINE)
                .await
                .map(drop),
        ),
        code(
            client
                .call(v1::ControllerListVolumeHealthRequest { secrets: bad, ..list(0, "") }, DEADLINE)
                .await
                .map(drop),
        ),
    ];
    assert_eq!(codes, [Code::InvalidArgument; 3]);
});

with_driver!(a_lost_mount_is_told_by_the_node_alone, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let targets = [folder.join("one"), folder.join("two")];
    for (target, expected) in targets.iter().zip([Volume::Degraded, Volume::Inaccessible]) {
        for target in &targets {
            published(client, &id, target, false, false).await.unwrap();
        }
        assert_eq!(by_node(client, &id).await, []);
        // The kubelet's folder, not ours: somebody unmounts in it.
        assert!(Command::new("umount").arg(target).status().unwrap().success());
        if expected == Volume::Inaccessible {
            assert!(Command::new("umount").arg(&targets[0]).status().unwrap().success());
        }
        assert_eq!(by_node(client, &id).await, is(expected, "NotMounted"));
        assert_eq!((by_controller(client, &id).await, listed(client).await), (vec![], vec![]));
        assert_eq!(storage(client).await, []);
    }
    for target in &targets {
        published(client, &id, target, false, false).await.unwrap();
    }
    assert_eq!(by_node(client, &id).await, [], "published again");
    for target in &targets {
        unpublished(client, &id, target).await;
    }
    assert_eq!(by_node(client, &id).await, [], "no longer published");
});

with_driver!(the_disk_is_told_when_full_or_away, [], |folder, driver| {
    driver.kill().await;
    let state = folder.join("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    let mount = |options: &str| {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&state).status();
        assert!(status.unwrap().success());
    };
    mount("size=4m");
    let driver = Running::start(folder, &[]).await;
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    assert_eq!((by_controller(client, &id).await, storage(client).await), (vec![], vec![]));

    let filler = state.join("filler");
    let full = std::fs::write(&filler, vec![1; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(by_controller(client, &id).await, is(Volume::Degraded, "DiskFull"));
    assert_eq!(by_node(client, &id).await, is(Volume::Degraded, "DiskFull"));
    assert_eq!(storage(client).await, [(Storage::StorageDegraded, "DiskFull".to_owned())]);
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(storage(client).await, []);

    // Another file system is mounted over the state folder: the driver's own cannot be published any more.
    mount("size=4m");
    assert_eq!(by_node(client, &id).await, is(Volume::Inaccessible, "DiskUnreadable"));
    assert_eq!(storage(client).await, [(Storage::StorageUnreachable, "DiskUnreadable".to_owned())]);
    assert!(Command::new("umount").arg(&state).status().unwrap().success());
    assert_eq!((by_node(client, &id).await, storage(client).await), (vec![], vec![]));

    driver.kill().await;
    assert!(Command::new("umount").arg(&state).status().unwrap().success());
});

in_own_mounts!(a_disk_that_gave_up_is_told_as_read_only, read_only());

#[tokio::main]
async fn read_only() {
    let folder = Folder::new();
    let _disk = Disk::new(folder.path());
    let driver = Running::start(folder.path(), &[]).await;
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    assert_eq!((by_node(client, &id).await, storage(client).await), (vec![], vec![]));
    // What ext4 does after an error of its own. Recent kernels do not show it in statvfs.
    let state = folder.path().join("state");
    let status = Command::new("mount").args(["-o", "remount,abort"]).arg(&state).status();
    assert!(status.unwrap().success());
    assert_eq!(by_node(client, &id).await, is(Volume::Degraded, "DiskReadOnly"));
    assert_eq!(listed(client).await, [(id, is(Volume::Degraded, "DiskReadOnly"))]);
    assert_eq!(storage(client).await, [(Storage::StorageDegraded, "DiskReadOnly".to_owned())]);
    driver.kill().await;
}

/// Everything the driver advertises, as numbers: plugin, controller, node.
async fn advertised(client: &Client) -> [Vec<i32>; 3] {
    let plugin = client.call(v1::GetPluginCapabilitiesRequest {}, DEADLINE).await.unwrap();
    let controller = client.call(v1::ControllerGetCapabilitiesRequest {}, DEADLINE).await.unwrap();
    let node = client.call(v1::NodeGetCapabilitiesRequest {}, DEADLINE).await.unwrap();
    [
        plugin
            .capabilities
            .iter()
            .map(|one| match one.r#type.as_ref().unwrap() {
                v1::plugin_capability::Type::Service(service) => service.r#type,
                v1::plugin_capability::Type::VolumeExpansion(_) => panic!("not told by this driver"),
            })
            .collect(),
        controller
            .capabilities
            .iter()
            .map(|one| {
                let v1::controller_service_capability::Type::Rpc(rpc) = one.r#type.as_ref().unwrap();
                rpc.r#type
            })
            .collect(),
        node.capabilities
            .iter()
            .map(|one| {
                let v1::node_service_capability::Type::Rpc(rpc) = one.r#type.as_ref().unwrap();
                rpc.r#type
            })
            .collect(),
    ]
}

with_driver!(health_is_advertised_and_the_condition_never, [], |_folder, driver| {
    let [plugin, controller, node] = advertised(driver.client()).await;
    assert!(plugin.contains(&5), "{plugin:?}");
    assert!(controller.contains(&16) && controller.contains(&17), "{controller:?}");
    assert!(node.contains(&7) && node.contains(&8), "{node:?}");
    assert!(!controller.contains(&11) && !node.contains(&4), "{controller:?} {node:?}");
});

with_driver!(
    an_old_caller_is_shown_nothing_after_csi_1_11,
    [
        "--hidden-capabilities=GET_SNAPSHOT,GET_VOLUME_HEALTH,GET_STORAGE_HEALTH,SNAPSHOT_ACCESSIBILITY_CONSTRAINTS,VOLUME_CONDITION"
    ],
    |_folder, driver| {
        let [plugin, controller, node] = advertised(driver.client()).await;
        let newest = [&plugin, &controller, &node].map(|kinds| kinds.iter().copied().max().unwrap());
        // LIST_VOLUME_HEALTH goes with GET_VOLUME_HEALTH.
        assert_eq!(newest, [3, 13, 5], "{plugin:?} {controller:?} {node:?}");
    }
);
