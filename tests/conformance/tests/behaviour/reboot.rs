//! What a driver does with publications whose mounts are gone when it starts.

use std::path::Path;
use std::process::Command;

use conformance::request::{self, MIB};
use conformance::{Running, loop_devices_below, mounts_below};
use csi::v1;

use super::{DEADLINE, published, unpublished, volume};

/// A reboot as the driver sees it: a fresh mount table, another boot id, the same state folder.
fn reboot(folder: &Path) {
    unmount_all(folder);
    let id = folder.join("boot_id");
    std::fs::write(&id, "00000000-0000-4000-8000-000000000000\n").unwrap();
    let shown = Path::new("/proc/sys/kernel/random/boot_id");
    assert!(Command::new("mount").arg("--bind").args([&id, shown]).status().unwrap().success());
}

fn unmount_all(folder: &Path) {
    for target in mounts_below(folder) {
        assert!(Command::new("umount").arg(&target).status().unwrap().success());
    }
}

fn inline(id: &str, target: &Path) -> v1::NodePublishVolumeRequest {
    let ephemeral = ("csi.storage.k8s.io/ephemeral".to_owned(), "true".to_owned());
    v1::NodePublishVolumeRequest {
        volume_context: [ephemeral].into(),
        ..request::publish(id, target.to_str().unwrap(), false)
    }
}

with_driver!(an_inline_volume_survives_a_reboot, [], |folder, driver| {
    let target = folder.join("target");
    driver.client().call(inline("inline", &target), DEADLINE).await.unwrap();
    std::fs::write(target.join("file"), "kept").unwrap();
    driver.kill().await;
    reboot(folder);
    let driver = Running::start(folder, &[]).await;
    driver.client().call(inline("inline", &target), DEADLINE).await.unwrap();
    assert_eq!(std::fs::read_to_string(target.join("file")).unwrap(), "kept");
    unpublished(driver.client(), "inline", &target).await;
});

with_driver!(a_publication_is_forgotten_after_a_reboot, ["--check-volume-lifecycle"], |folder, driver| {
    let stage = |id: &str| v1::NodeStageVolumeRequest {
        volume_id: id.to_owned(),
        staging_target_path: folder.join("stage").to_str().unwrap().to_owned(),
        volume_capability: request::publish(id, "", false).volume_capability,
        ..Default::default()
    };
    let id = volume(driver.client(), request::create("v", false, MIB)).await.volume_id;
    driver.client().call(stage(&id), DEADLINE).await.unwrap();
    let target = folder.join("target");
    let mut publish = request::publish(&id, target.to_str().unwrap(), false);
    publish.staging_target_path = folder.join("stage").to_str().unwrap().to_owned();
    driver.client().call(publish, DEADLINE).await.unwrap();
    driver.kill().await;
    reboot(folder);
    let driver = Running::start(folder, &["--check-volume-lifecycle"]).await;
    let unstage = v1::NodeUnstageVolumeRequest {
        volume_id: id.clone(),
        staging_target_path: folder.join("stage").to_str().unwrap().to_owned(),
    };
    driver.client().call(unstage, DEADLINE).await.unwrap();
    driver.client().call(request::delete(&id), DEADLINE).await.unwrap();
    assert!(!target.exists());
});

with_driver!(nothing_is_forgotten_while_the_kubelets_folder_is_missing, [], |folder, driver| {
    let pods = folder.join("pods");
    std::fs::create_dir(&pods).unwrap();
    let (kept, inlined) = (pods.join("kept"), pods.join("inline"));
    let id = volume(driver.client(), request::create("v", false, MIB)).await.volume_id;
    published(driver.client(), &id, &kept, false, false).await.unwrap();
    driver.client().call(inline("inline", &inlined), DEADLINE).await.unwrap();
    std::fs::write(inlined.join("file"), "kept").unwrap();
    driver.kill().await;
    // The driver's container starts before the folder is mounted into it.
    let late = folder.join("late");
    std::fs::rename(&pods, &late).unwrap();
    let driver = Running::start(folder, &[]).await;
    std::fs::rename(&late, &pods).unwrap();
    assert_eq!(std::fs::read_to_string(inlined.join("file")).unwrap(), "kept", "the pod still has its data");
    let get = v1::ControllerGetVolumeRequest { volume_id: id.clone() };
    let status = driver.client().call(get, DEADLINE).await.unwrap().status.unwrap();
    assert_eq!(status.published_node_ids, ["node-1"], "still published");
    unpublished(driver.client(), &id, &kept).await;
    unpublished(driver.client(), "inline", &inlined).await;
});

with_driver!(an_upgrade_from_the_older_layout_keeps_live_mounts, [], |folder, driver| {
    let mut ids = Vec::new();
    for block in [false, true] {
        let id = volume(driver.client(), request::create(&format!("{block}"), block, MIB)).await.volume_id;
        published(driver.client(), &id, &folder.join(format!("{block}")), block, false).await.unwrap();
        ids.push(id);
    }
    std::fs::write(folder.join("false/file"), "kept").unwrap();
    driver.kill().await;
    // Earlier versions had everything in the state folder itself. The driver's own folder stays, because the device's tag
    // names its inode; earlier versions gave no tag.
    let own = Running::state(folder);
    for entry in std::fs::read_dir(&own).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), folder.join("state").join(entry.file_name())).unwrap();
    }
    let driver = Running::start(folder, &[]).await;
    assert_eq!(loop_devices_below(folder).len(), 1, "the live device stays");
    for (block, id) in [false, true].into_iter().zip(&ids) {
        let target = folder.join(format!("{block}"));
        published(driver.client(), id, &target, block, false).await.unwrap();
        assert_eq!(mounts_below(&target), std::slice::from_ref(&target), "mounted once");
    }
    assert_eq!(std::fs::read_to_string(folder.join("false/file")).unwrap(), "kept");
    for (block, id) in [false, true].into_iter().zip(&ids) {
        unpublished(driver.client(), id, &folder.join(format!("{block}"))).await;
        driver.client().call(request::delete(id), DEADLINE).await.unwrap();
    }
    let left: Vec<_> = std::fs::read_dir(folder.join("state")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left outside drivers: {left:?}");
});

with_driver!(publications_of_a_removed_pod_are_forgotten_too, ["--enable-attach"], |folder, driver| {
    let mut ids = Vec::new();
    for pod in ["one", "two"] {
        std::fs::create_dir(folder.join(pod)).unwrap();
        let id = volume(driver.client(), request::create(pod, false, MIB)).await.volume_id;
        published(driver.client(), &id, &folder.join(pod).join("target"), false, false).await.unwrap();
        ids.push(id);
    }
    driver.kill().await;
    reboot(folder);
    std::fs::remove_dir_all(folder.join("one")).unwrap();
    let strict = ["--enable-attach", "--check-volume-lifecycle"];
    let driver = Running::start(folder, &strict).await;
    for id in &ids {
        driver.client().call(request::delete(id), DEADLINE).await.unwrap();
    }
});

/// A publish that takes the volume for one pod alone.
fn alone(id: &str, target: &Path, block: bool) -> v1::NodePublishVolumeRequest {
    let mode = v1::volume_capability::access_mode::Mode::SingleNodeSingleWriter;
    v1::NodePublishVolumeRequest {
        volume_capability: Some(request::capability(block, mode)),
        ..request::publish(id, target.to_str().unwrap(), block)
    }
}

with_driver!(a_wiped_kubelet_folder_does_not_hold_volumes_for_ever, [], |folder, driver| {
    let target = |pod: &str| folder.join("pods").join(pod).join("volumes/kubernetes.io~csi/pv/mount");
    let stage = folder.join("stage").to_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for name in ["before", "after"] {
        let id = volume(driver.client(), request::create(name, false, MIB)).await.volume_id;
        let at = target(name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let request = v1::NodeStageVolumeRequest {
            volume_id: id.clone(),
            staging_target_path: stage.clone(),
            volume_capability: alone(&id, &at, false).volume_capability,
            ..Default::default()
        };
        driver.client().call(request, DEADLINE).await.unwrap();
        let publish =
            v1::NodePublishVolumeRequest { staging_target_path: stage.clone(), ..alone(&id, &at, false) };
        driver.client().call(publish, DEADLINE).await.unwrap();
        ids.push(id);
    }
    let wipe = |name: &str| {
        unmount_all(&folder.join("pods").join(name));
        std::fs::remove_dir_all(folder.join("pods").join(name)).unwrap();
    };
    let unstage = |id: &str| v1::NodeUnstageVolumeRequest {
        volume_id: id.to_owned(),
        staging_target_path: stage.clone(),
    };
    // While the driver is away, and while it is there.
    driver.kill().await;
    wipe("before");
    let driver = Running::start(folder, &[]).await;
    wipe("after");
    driver.client().call(unstage(&ids[0]), DEADLINE).await.unwrap();
    let other = target("other");
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    let publish =
        v1::NodePublishVolumeRequest { staging_target_path: stage.clone(), ..alone(&ids[1], &other, false) };
    driver.client().call(publish, DEADLINE).await.unwrap();
    // What is mounted is published.
    let refused = driver.client().call(unstage(&ids[1]), DEADLINE).await.unwrap_err();
    assert!(refused.message().contains("still published"), "{refused}");
    wipe("other");
    driver.client().call(unstage(&ids[1]), DEADLINE).await.unwrap();
});

with_driver!(only_what_can_be_seen_is_forgotten, [], |folder, driver| {
    // The kubelet's two folders are mounted into the driver's container one by one.
    let device = folder.join("plugins/kubernetes.io/csi/volumeDevices/publish/pv/uid");
    let pod = folder.join("pods/uid/volumes/kubernetes.io~csi/pv/mount");
    let mut ids = Vec::new();
    for (target, block) in [(&pod, false), (&device, true)] {
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let id = volume(driver.client(), request::create(&format!("{block}"), block, MIB)).await.volume_id;
        published(driver.client(), &id, target, block, false).await.unwrap();
        ids.push(id);
    }
    driver.kill().await;
    std::fs::rename(folder.join("plugins"), folder.join("late")).unwrap();
    let driver = Running::start(folder, &[]).await;
    std::fs::rename(folder.join("late"), folder.join("plugins")).unwrap();
    assert_eq!(loop_devices_below(folder).len(), 1, "the pod's device is still there");
    for id in &ids {
        let get = v1::ControllerGetVolumeRequest { volume_id: id.clone() };
        let status = driver.client().call(get, DEADLINE).await.unwrap().status.unwrap();
        assert_eq!(status.published_node_ids, ["node-1"], "still published");
    }
    unpublished(driver.client(), &ids[0], &pod).await;
    unpublished(driver.client(), &ids[1], &device).await;
});
