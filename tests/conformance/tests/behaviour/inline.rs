//! Inline volumes: they live as long as their publication.

use std::collections::BTreeMap;
use std::process::Command;

use conformance::Running;
use conformance::request::{self, MIB};
use csi::v1;
use tonic::Code;

use super::{DEADLINE, unpublished};

with_driver!(
    an_inline_volume_lives_as_long_as_its_publication,
    ["--check-volume-lifecycle"],
    |folder, driver| {
        let client = driver.client();
        let target = folder.join("target");
        let inline = |id: &str| v1::NodePublishVolumeRequest {
            volume_context: BTreeMap::from([("csi.storage.k8s.io/ephemeral".to_owned(), "true".to_owned())]),
            ..request::publish(id, target.to_str().unwrap(), false)
        };
        let kubelets = format!("csi-{}", "0f".repeat(32));
        for id in [kubelets.as_str(), "../../../../tmp/evil"] {
            client.call(inline(id), DEADLINE).await.unwrap();
            client.call(inline(id), DEADLINE).await.unwrap();
            std::fs::write(target.join("file"), id).unwrap();
            let list = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
            assert_eq!(list.entries.len(), 1);
            assert_eq!(list.entries[0].volume.as_ref().unwrap().capacity_bytes, 100 * MIB);
            unpublished(client, id, &target).await;
            let list = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
            assert_eq!(list.entries.len(), 0, "gone with its publication");
            assert_eq!(
                std::fs::read_dir(Running::state(folder)).unwrap().count(),
                3,
                "and so is its content"
            );
        }
        // The kubelet repeats the call when it did not get the answer; other unknown volumes are unknown.
        unpublished(client, &kubelets, &target).await;
        let unknown = request::unpublish("csi-unknown", target.to_str().unwrap());
        assert_eq!(client.call(unknown, DEADLINE).await.unwrap_err().code(), Code::NotFound);
    }
);

with_driver!(an_inline_volume_whose_mount_is_lost_goes_with_its_unpublish, [], |folder, driver| {
    let client = driver.client();
    let target = folder.join("target");
    let inline = v1::NodePublishVolumeRequest {
        volume_context: BTreeMap::from([("csi.storage.k8s.io/ephemeral".to_owned(), "true".to_owned())]),
        ..request::publish("inline", target.to_str().unwrap(), false)
    };
    client.call(inline.clone(), DEADLINE).await.unwrap();
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    std::fs::remove_dir(&target).unwrap();
    std::fs::write(&target, "somebody's").unwrap();
    assert_eq!(client.call(inline, DEADLINE).await.unwrap_err().code(), Code::Internal);
    let unpublish = request::unpublish("inline", target.to_str().unwrap());
    client.call(unpublish, DEADLINE).await.unwrap();
    let list = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(list.entries.len(), 0, "no publication, no volume");
    assert_eq!(std::fs::read_dir(Running::state(folder)).unwrap().count(), 3, "nor its content");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "somebody's");
});

with_driver!(an_inline_volume_that_could_not_be_published_is_gone, [], |folder, driver| {
    let client = driver.client();
    let target = folder.join("target");
    let inline = v1::NodePublishVolumeRequest {
        volume_context: BTreeMap::from([("csi.storage.k8s.io/ephemeral".to_owned(), "true".to_owned())]),
        ..request::publish("inline", target.to_str().unwrap(), false)
    };
    std::fs::create_dir(&target).unwrap();
    let mount = ["-t", "tmpfs", "tmpfs"];
    assert!(Command::new("mount").args(mount).arg(&target).status().unwrap().success());
    // The code is final: the kubelet calls neither again nor NodeUnpublishVolume.
    assert_eq!(client.call(inline.clone(), DEADLINE).await.unwrap_err().code(), Code::AlreadyExists);
    let list = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(list.entries.len(), 0, "no publication, no volume");
    assert_eq!(std::fs::read_dir(Running::state(folder)).unwrap().count(), 3, "nor its content");
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    client.call(inline, DEADLINE).await.unwrap();
    unpublished(client, "inline", &target).await;
});
