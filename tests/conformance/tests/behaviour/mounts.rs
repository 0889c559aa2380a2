//! Mounts as users see them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use conformance::request::{self, MIB};
use csi::v1;
use csi::v1::volume_capability::access_mode::Mode;
use tonic::Code;

use super::{DEADLINE, code, published, unpublished, volume};

with_driver!(a_folder_is_shared_and_read_only_where_asked, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let (rw, ro) = (folder.join("rw"), folder.join("ro"));
    published(client, &id, &rw, false, false).await.unwrap();
    published(client, &id, &ro, false, true).await.unwrap();
    published(client, &id, &ro, false, true).await.unwrap();
    assert_eq!(code(published(client, &id, &ro, false, false).await), Code::AlreadyExists);
    std::fs::write(rw.join("file"), "hello").unwrap();
    assert_eq!(std::fs::read_to_string(ro.join("file")).unwrap(), "hello");
    let refused = std::fs::write(ro.join("file"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(std::fs::metadata(&rw).unwrap().mode() & 0o777, 0o777);
    unpublished(client, &id, &ro).await;
    assert_eq!(std::fs::read_to_string(rw.join("file")).unwrap(), "hello", "the other one stays");
    unpublished(client, &id, &rw).await;
    unpublished(client, &id, &rw).await;
    published(client, &id, &rw, false, false).await.unwrap();
    assert_eq!(std::fs::read_to_string(rw.join("file")).unwrap(), "hello", "and so does the data");
    unpublished(client, &id, &rw).await;
});

with_driver!(mount_options_are_obeyed, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let target = folder.join("target");
    let mut publish = request::publish(&id, target.to_str().unwrap(), false);
    if let Some(v1::volume_capability::AccessType::Mount(mount)) =
        publish.volume_capability.as_mut().and_then(|capability| capability.access_type.as_mut())
    {
        mount.mount_flags = ["noexec", "nosuid", "unknown-option"].map(str::to_owned).to_vec();
    }
    client.call(publish, DEADLINE).await.unwrap();
    let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = list.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap();
    assert!(line.contains("noexec") && line.contains("nosuid"), "{line}");
    unpublished(client, &id, &target).await;
});

with_driver!(a_single_writer_is_alone, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let publish = |target: &Path, mode| v1::NodePublishVolumeRequest {
        volume_capability: Some(request::capability(false, mode)),
        ..request::publish(&id, target.to_str().unwrap(), false)
    };
    let (one, two) = (folder.join("one"), folder.join("two"));
    client.call(publish(&one, Mode::SingleNodeSingleWriter), DEADLINE).await.unwrap();
    for mode in [Mode::SingleNodeSingleWriter, Mode::SingleNodeMultiWriter] {
        let status = client.call(publish(&two, mode), DEADLINE).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
    }
    assert!(!two.exists());
    unpublished(client, &id, &one).await;
    client.call(publish(&one, Mode::SingleNodeMultiWriter), DEADLINE).await.unwrap();
    client.call(publish(&two, Mode::SingleNodeMultiWriter), DEADLINE).await.unwrap();
    unpublished(client, &id, &one).await;
    unpublished(client, &id, &two).await;
});

with_driver!(a_read_only_attachment_is_mounted_read_only, ["--enable-attach"], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let attach = v1::ControllerPublishVolumeRequest {
        volume_id: id.clone(),
        node_id: "node-1".to_owned(),
        volume_capability: Some(request::capability(false, Mode::SingleNodeWriter)),
        readonly: true,
        ..Default::default()
    };
    client.call(attach, DEADLINE).await.unwrap();
    let list = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(list.entries[0].status.as_ref().unwrap().published_node_ids, ["node-1"]);
    let target = folder.join("target");
    published(client, &id, &target, false, false).await.unwrap();
    assert!(std::fs::write(target.join("file"), "x").is_err());
    unpublished(client, &id, &target).await;
    let detach = v1::ControllerUnpublishVolumeRequest { volume_id: id, ..Default::default() };
    client.call(detach, DEADLINE).await.unwrap();
    let list = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
    assert!(list.entries[0].status.as_ref().unwrap().published_node_ids.is_empty());
});

with_driver!(a_failed_publish_leaves_nothing, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let no_parent = folder.join("no/parent");
    assert_eq!(code(published(client, &id, &no_parent, false, false).await), Code::Internal);
    let file = folder.join("file");
    std::fs::write(&file, "somebody's").unwrap();
    assert_eq!(code(published(client, &id, &file, false, false).await), Code::Internal);
    let link = folder.join("link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    assert_eq!(code(published(client, &id, &link, false, false).await), Code::Internal);
    assert!(Path::new("/etc/passwd").exists(), "nothing was mounted over the link's target");
    let device = volume(client, request::create("device", true, MIB)).await.volume_id;
    for target in [&file, &link] {
        assert_eq!(code(published(client, &device, target, true, false).await), Code::Internal);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's", "what was there before stays");
    assert!(link.is_symlink());
    client.call(request::delete(&device), DEADLINE).await.unwrap();
    let get = v1::ControllerGetVolumeRequest { volume_id: id.clone() };
    let status = client.call(get, DEADLINE).await.unwrap().status.unwrap();
    assert!(status.published_node_ids.is_empty());
    client.call(request::delete(&id), DEADLINE).await.unwrap();
});

with_driver!(unpublish_never_deletes_what_is_in_a_folder, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let target = folder.join("target");
    published(client, &id, &target, false, false).await.unwrap();
    // Somebody unmounts behind the driver's back and leaves something of value there.
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    std::fs::write(target.join("precious"), "x").unwrap();
    let health = v1::NodeGetVolumeHealthRequest { volume_id: id.clone(), ..Default::default() };
    let health = client.call(health, DEADLINE).await.unwrap().volume_health.unwrap();
    assert_eq!(health.health_statuses[0].reason, "NotMounted", "the lost mount is told");
    let unpublish = request::unpublish(&id, target.to_str().unwrap());
    let status = client.call(unpublish.clone(), DEADLINE).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(target.join("precious").exists());
    std::fs::remove_file(target.join("precious")).unwrap();
    client.call(unpublish, DEADLINE).await.unwrap();
});
