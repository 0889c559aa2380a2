//! What a driver does with publications whose mounts are gone when it starts.

use std::path::Path;
use std::process::Command;

use conformance::request::{self, MIB};
use conformance::{Running, loop_devices_below, mounts_below};
use csi::v1;

use super::{DEADLINE, published, unpublished, volume};

/// A reboot as the driver sees it: a fresh mount table, the same state folder.
fn reboot(folder: &Path) {
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
    // Earlier versions had everything in the state folder itself.
    let own = Running::state(folder);
    for entry in std::fs::read_dir(&own).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), folder.join("state").join(entry.file_name())).unwrap();
    }
    std::fs::remove_dir_all(folder.join("state/drivers")).unwrap();
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
