//! What csi-sanity does not look at: mounts as users see them, devices that grow, inline volumes,
//! snapshot metadata, groups, pools, limits, endpoints, the process itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::csi::{Connection, DialOptions, Driver, Endpoint, v1};
use conformance::request::{self, MIB};
use conformance::{Running, in_own_mounts, loop_devices_below, mounts_below};
use tonic::{Code, Status};
use v1::volume_capability::access_mode::Mode;

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs an async test body in a mount namespace of its own, with a driver started with these arguments.
macro_rules! with_driver {
    ($name:ident, $args:expr, |$folder:ident, $driver:ident| $body:block) => {
        #[test]
        fn $name() {
            if !in_own_mounts(stringify!($name)) {
                return;
            }
            #[tokio::main]
            async fn body() {
                let temporary = tempfile::tempdir().unwrap();
                let $folder = temporary.path();
                let $driver = Running::start($folder, &$args).await;
                $body
                assert_eq!(mounts_below($folder), Vec::<PathBuf>::new());
                assert_eq!(loop_devices_below($folder), Vec::<PathBuf>::new());
            }
            body();
        }
    };
}

async fn volume(client: &Driver, request: v1::CreateVolumeRequest) -> v1::Volume {
    client.call(request, DEADLINE).await.unwrap().volume.unwrap()
}

async fn published(
    client: &Driver,
    id: &str,
    target: &Path,
    block: bool,
    readonly: bool,
) -> Result<(), Status> {
    let publish = request::publish(id, target.to_str().unwrap(), block);
    client.call(v1::NodePublishVolumeRequest { readonly, ..publish }, DEADLINE).await.map(drop)
}

async fn unpublished(client: &Driver, id: &str, target: &Path) {
    client.call(request::unpublish(id, target.to_str().unwrap()), DEADLINE).await.unwrap();
    assert!(!target.exists(), "the target is gone");
}

fn code(outcome: Result<(), Status>) -> Code {
    outcome.map_or_else(|status| status.code(), |()| Code::Ok)
}

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

with_driver!(a_device_grows_while_in_use_and_keeps_its_data, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", true, 4 * MIB)).await.volume_id;
    let (rw, ro) = (folder.join("rw"), folder.join("ro"));
    published(client, &id, &rw, true, false).await.unwrap();
    published(client, &id, &ro, true, true).await.unwrap();
    let device = File::options().read(true).write(true).open(&rw).unwrap();
    let size = || rustix_size(&device);
    assert_eq!(size(), 4 * MIB as u64);
    device.write_all_at(b"kept", 0).unwrap();
    device.sync_all().unwrap();
    // Kernels differ in whether opening or writing fails.
    let written = File::options().write(true).open(&ro).and_then(|device| device.write_all_at(b"lost", 0));
    assert!(written.is_err(), "a read-only device refuses writes");
    let expand = v1::ControllerExpandVolumeRequest {
        volume_id: id.clone(),
        capacity_range: Some(request::at_least(9 * MIB)),
        ..Default::default()
    };
    let reply = client.call(expand, DEADLINE).await.unwrap();
    assert_eq!((reply.capacity_bytes, reply.node_expansion_required), (9 * MIB, true));
    let expand = v1::NodeExpandVolumeRequest {
        volume_id: id.clone(),
        volume_path: rw.to_str().unwrap().to_owned(),
        capacity_range: Some(request::at_least(9 * MIB)),
        ..Default::default()
    };
    client.call(expand, DEADLINE).await.unwrap();
    assert_eq!(size(), 9 * MIB as u64);
    let mut bytes = [0; 4];
    device.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"kept");
    drop(device);
    unpublished(client, &id, &rw).await;
    assert_eq!(loop_devices_below(folder).len(), 1, "the read-only one is in use");
    unpublished(client, &id, &ro).await;
});

fn rustix_size(mut device: &File) -> u64 {
    use std::io::Seek;
    device.seek(std::io::SeekFrom::End(0)).unwrap()
}

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
            assert_eq!(std::fs::read_dir(folder.join("state")).unwrap().count(), 3, "and so is its content");
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
    assert_eq!(std::fs::read_dir(folder.join("state")).unwrap().count(), 3, "nor its content");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "somebody's");
});

#[test]
fn a_restart_lets_other_peoples_loop_devices_be() {
    if in_own_mounts("a_restart_lets_other_peoples_loop_devices_be") {
        others_devices();
    }
}

#[tokio::main]
async fn others_devices() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let driver = Running::start(folder, &[]).await;
    volume(driver.client(), request::create("v", false, MIB)).await;
    // A user keeps an image in the volume and attaches it.
    let entries = std::fs::read_dir(folder.join("state")).unwrap().map(|entry| entry.unwrap());
    let mut volumes = entries.filter(|entry| !entry.file_name().to_str().unwrap().contains('.'));
    let image = volumes.next().unwrap().path().join("image");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let output = Command::new("losetup").args(["--find", "--show"]).arg(&image).output().unwrap();
    let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    driver.kill().await;
    let driver = Running::start(folder, &[]).await;
    let is_there = Command::new("losetup").arg(&device).status().unwrap().success();
    let _ = Command::new("losetup").args(["--detach", &device]).status();
    assert!(is_there, "the image's device was taken away");
    assert_eq!(driver.stop().await, Some(0));
}

with_driver!(a_device_grows_by_whole_sectors_and_on_the_node_too, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("device", true, MIB)).await.volume_id;
    let target = folder.join("target");
    published(client, &id, &target, true, false).await.unwrap();
    let range = |required_bytes, limit_bytes| Some(v1::CapacityRange { required_bytes, limit_bytes });
    for (required, limit, expected) in [(MIB + 1, 0, 2 * MIB), (2 * MIB + 1, 2 * MIB + 700, 2 * MIB + 512)] {
        let expand = v1::ControllerExpandVolumeRequest {
            volume_id: id.clone(),
            capacity_range: range(required, limit),
            ..Default::default()
        };
        let reply = client.call(expand, DEADLINE).await.unwrap();
        assert_eq!(reply.capacity_bytes, expected, "as many bytes as the device will have");
    }
    let on_node = v1::NodeExpandVolumeRequest {
        volume_id: id.clone(),
        volume_path: target.to_str().unwrap().to_owned(),
        capacity_range: range(4 * MIB, 0),
        ..Default::default()
    };
    assert_eq!(client.call(on_node, DEADLINE).await.unwrap().capacity_bytes, 4 * MIB);
    assert_eq!(rustix_size(&File::open(&target).unwrap()), 4 << 20, "what is answered is there");
    unpublished(client, &id, &target).await;
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
    let stats = v1::NodeGetVolumeStatsRequest {
        volume_id: id.clone(),
        volume_path: target.to_str().unwrap().to_owned(),
        ..Default::default()
    };
    let reply = client.call(stats, DEADLINE).await.unwrap();
    assert!(reply.volume_condition.unwrap().abnormal, "the lost mount is told");
    let unpublish = request::unpublish(&id, target.to_str().unwrap());
    let status = client.call(unpublish.clone(), DEADLINE).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(target.join("precious").exists());
    std::fs::remove_file(target.join("precious")).unwrap();
    client.call(unpublish, DEADLINE).await.unwrap();
});

async fn runs(
    client: &Driver,
    base: Option<&str>,
    target: &str,
    offset: i64,
    limit: i32,
) -> Vec<Vec<(i64, i64)>> {
    let runs =
        |runs: &[v1::BlockMetadata]| runs.iter().map(|run| (run.byte_offset, run.size_bytes)).collect();
    let mut messages = Vec::new();
    match base {
        None => {
            let request = v1::GetMetadataAllocatedRequest {
                snapshot_id: target.to_owned(),
                starting_offset: offset,
                max_results: limit,
                ..Default::default()
            };
            let mut stream = client.stream(request, DEADLINE).await.unwrap();
            while let Some(message) = stream.message().await.unwrap() {
                assert_eq!(message.volume_capacity_bytes, 64 * MIB);
                messages.push(runs(&message.block_metadata));
            }
        }
        Some(base) => {
            let request = v1::GetMetadataDeltaRequest {
                base_snapshot_id: base.to_owned(),
                target_snapshot_id: target.to_owned(),
                starting_offset: offset,
                max_results: limit,
                ..Default::default()
            };
            let mut stream = client.stream(request, DEADLINE).await.unwrap();
            while let Some(message) = stream.message().await.unwrap() {
                messages.push(runs(&message.block_metadata));
            }
        }
    }
    messages
}

/// Two snapshots of one device: blocks 0, 1, 2 and 4096 written before the first, 1 and 9 before the second.
async fn two_snapshots(client: &Driver, folder: &Path) -> (String, String) {
    let id = volume(client, request::create("v", true, 64 * MIB)).await.volume_id;
    let target = folder.join("device");
    published(client, &id, &target, true, false).await.unwrap();
    let cut = |name: &'static str| client.call(request::snapshot(name, &id), DEADLINE);
    let write = |blocks: &[u64], byte: u8| {
        let device = File::options().write(true).open(&target).unwrap();
        for block in blocks {
            // Not synced: a snapshot has what was written before it, wherever that still is.
            device.write_all_at(&[byte; 4096], block * 4096).unwrap();
        }
    };
    write(&[0, 1, 2, 4096], 1);
    let first = cut("first").await.unwrap().snapshot.unwrap().snapshot_id;
    write(&[1, 9], 2);
    let second = cut("second").await.unwrap().snapshot.unwrap().snapshot_id;
    unpublished(client, &id, &target).await;
    (first, second)
}

with_driver!(
    snapshot_metadata_tells_blocks_of_one_length,
    ["--enable-snapshot-metadata"],
    |folder, driver| {
        let client = driver.client();
        let (first, second) = two_snapshots(client, folder).await;
        let far = 4096 * 4096;
        let all = [vec![(0, 4096), (4096, 4096), (8192, 4096), (far, 4096)]];
        assert_eq!(runs(client, None, &first, 0, 0).await, all);
        let halves = [vec![(0, 4096), (4096, 4096), (8192, 4096)], vec![(far, 4096)]];
        assert_eq!(runs(client, None, &first, 0, 3).await, halves);
        assert_eq!(runs(client, None, &first, 12288, 0).await, [vec![(far, 4096)]]);
        assert_eq!(runs(client, Some(&first), &second, 0, 0).await, [vec![(4096, 4096), (9 * 4096, 4096)]]);
        assert_eq!(runs(client, Some(&first), &first, 0, 0).await, Vec::<Vec<_>>::new(), "no empty messages");
        assert_eq!(runs(client, None, &first, 64 * MIB, 0).await, Vec::<Vec<_>>::new(), "all was read");
    }
);

with_driver!(
    snapshot_metadata_tells_runs_of_any_length,
    ["--enable-snapshot-metadata", "--snapshot-metadata-block-type=VARIABLE_LENGTH"],
    |folder, driver| {
        let client = driver.client();
        let (first, _) = two_snapshots(client, folder).await;
        let far = 4096 * 4096;
        assert_eq!(runs(client, None, &first, 0, 0).await, [vec![(0, 3 * 4096), (far, 4096)]]);
        assert_eq!(runs(client, None, &first, 0, 1).await, [vec![(0, 3 * 4096)], vec![(far, 4096)]]);
    }
);

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

with_driver!(
    hidden_capabilities_are_not_advertised,
    ["--hidden-capabilities=GET_SNAPSHOT,VOLUME_CONDITION", "--hidden-capabilities=GET_VOLUME"],
    |_folder, driver| {
        use v1::controller_service_capability::rpc::Type;
        let has = common::csi::identity::controller_capabilities(driver.client(), DEADLINE).await.unwrap();
        assert!(!has.has(Type::GetSnapshot) && !has.has(Type::VolumeCondition) && !has.has(Type::GetVolume));
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
    let listed = |client: Driver| async move {
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

#[tokio::test]
async fn tcp_works_and_the_socket_is_gone_after_a_graceful_stop() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
    let driver = Running::start_at(folder.path(), endpoint, &[]).await;
    let info = driver.client().call(v1::GetPluginInfoRequest {}, DEADLINE).await.unwrap();
    assert_eq!(info.name, "hostpath.csi.k8s.io");
    assert_eq!(driver.stop().await, Some(0));
    // A stale socket of a killed driver is replaced, and a graceful stop removes it.
    Running::start(folder.path(), &[]).await.kill().await;
    assert!(folder.path().join("csi.sock").exists());
    let driver = Running::start(folder.path(), &[]).await;
    assert_eq!(driver.stop().await, Some(0));
    assert!(!folder.path().join("csi.sock").exists());
}

#[tokio::test]
async fn two_drivers_cannot_share_a_state_folder_and_bad_flags_leave_with_1_or_2() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path(), &[]).await;
    let state = format!("--statedir={}", folder.path().join("state").display());
    let leave = |args: Vec<String>| {
        let output = Command::new(Running::executable()).args(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let endpoint = format!("--endpoint={}", folder.path().join("second.sock").display());
    let (code, text) = leave(vec![endpoint.clone(), "--nodeid=n".to_owned(), state.clone()]);
    assert_eq!(code, Some(1));
    assert!(text.contains("in use by another driver"), "{text}");
    assert_eq!(leave(vec![endpoint.clone(), state]).0, Some(1), "no node id");
    assert_eq!(leave(vec!["--no-such-flag".to_owned()]).0, Some(2));
    let file = folder.path().join("second.sock");
    std::fs::write(&file, "not a socket").unwrap();
    let other = format!("--statedir={}", folder.path().join("other").display());
    let (code, text) = leave(vec![endpoint, "--nodeid=n".to_owned(), other]);
    assert_eq!(code, Some(1));
    assert!(text.contains("is no socket") && file.exists(), "{text}");
    assert_eq!(first.stop().await, Some(0));
}

#[tokio::test]
async fn a_proxy_pairs_a_caller_with_a_driver_that_dials_in() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Running::start(folder.path(), &[]).await;
    let (outer, inner) = (folder.path().join("outer.sock"), folder.path().join("inner.sock"));
    let mut command = Command::new(Running::executable());
    command.arg(format!("--endpoint={}", outer.display()));
    command.arg(format!("--proxy-endpoint={}", inner.display()));
    let log = folder.path().join("proxy.log");
    let mut proxy = cluster::Process::start("proxy", command, &log).unwrap();
    // The mock driver of the Kubernetes tests dials in; here its bytes go on to a real driver.
    let socket = folder.path().join("csi.sock");
    let relay = tokio::spawn(async move {
        let mut dialled = loop {
            match tokio::net::UnixStream::connect(&inner).await {
                Ok(dialled) => break dialled,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let mut real = tokio::net::UnixStream::connect(&socket).await.unwrap();
        tokio::io::copy_bidirectional(&mut dialled, &mut real).await
    });
    let connection = Connection::dial(Endpoint::Unix(outer), DialOptions::default()).await.unwrap();
    let client = Driver::new(connection, common::metrics::Metrics::new(), Default::default());
    let info = client.call(v1::NodeGetInfoRequest {}, DEADLINE).await.unwrap();
    assert_eq!(info.node_id, "node-1");
    relay.abort();
    assert_eq!(proxy.terminate(DEADLINE).await.and_then(|status| status.code()), Some(0));
    assert_eq!(driver.stop().await, Some(0));
}
