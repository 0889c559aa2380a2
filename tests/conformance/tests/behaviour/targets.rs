//! Targets where something is mounted already, or no longer.

use std::path::Path;
use std::process::Command;

use conformance::request::{self, MIB};
use conformance::{Running, in_own_mounts, mounts_below};
use csi::v1::volume_capability::AccessType;
use tonic::Code;

use super::{DEADLINE, code, published, unpublished, volume};

fn run(program: &str, args: &[&str], path: &Path) {
    assert!(Command::new(program).args(args).arg(path).status().unwrap().success(), "{program} {args:?}");
}

/// The options of the mount at a path.
fn options(path: &Path) -> String {
    let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = list.lines().find(|line| line.split(' ').nth(4) == path.to_str());
    line.and_then(|line| line.split(' ').nth(5)).unwrap().to_owned()
}

with_driver!(a_writable_mount_of_a_read_only_publication_is_mended, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let target = folder.join("target");
    published(client, &id, &target, false, true).await.unwrap();
    // As a kill between two steps would leave it.
    run("mount", &["-o", "remount,bind,rw"], &target);
    assert!(std::fs::write(target.join("file"), "x").is_ok());
    published(client, &id, &target, false, true).await.unwrap();
    assert!(std::fs::write(target.join("file"), "x").is_err(), "read-only after the retry");
    assert_eq!(mounts_below(folder), std::slice::from_ref(&target));
    unpublished(client, &id, &target).await;
});

in_own_mounts!(a_read_only_mount_keeps_the_options_of_its_source, source_options());

#[tokio::main]
async fn source_options() {
    let folder = conformance::Folder::new();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "nosuid,nodev,noexec,size=16m", "tmpfs"], &state);
    let driver = Running::start(folder.path(), &[]).await;
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let target = folder.path().join("target");
    published(client, &id, &target, false, true).await.unwrap();
    let options = options(&target);
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.split(',').any(|present| present == option), "{option} is not in {options}");
    }
    unpublished(client, &id, &target).await;
    assert_eq!(driver.stop().await, Some(0));
}

with_driver!(a_strangers_mount_over_a_target_is_left_alone, [], |folder, driver| {
    let client = driver.client();
    for block in [false, true] {
        let id = volume(client, request::create(&format!("{block}"), block, MIB)).await.volume_id;
        let target = folder.join("target");
        published(client, &id, &target, block, false).await.unwrap();
        let strange = folder.join("strange");
        std::fs::write(&strange, "").unwrap();
        if block {
            run("mount", &["--bind", strange.to_str().unwrap()], &target);
        } else {
            run("mount", &["-t", "tmpfs", "tmpfs"], &target);
            std::fs::write(target.join("precious"), "x").unwrap();
        }
        assert_eq!(code(published(client, &id, &target, block, false).await), Code::AlreadyExists);
        let unpublish = request::unpublish(&id, target.to_str().unwrap());
        let status = client.call(unpublish, DEADLINE).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains("unmount it first"), "{status}");
        assert!(block || target.join("precious").exists());
        run("umount", &[], &target);
        unpublished(client, &id, &target).await;
        std::fs::remove_file(&strange).unwrap();
    }
});

with_driver!(an_unrecorded_mount_of_the_volume_is_unmounted, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let (target, other) = (folder.join("target"), folder.join("other"));
    published(client, &id, &target, false, false).await.unwrap();
    // As a driver that forgot the publication has it.
    std::fs::create_dir(&other).unwrap();
    run("mount", &["--bind", target.to_str().unwrap()], &other);
    unpublished(client, &id, &other).await;
    assert_eq!(mounts_below(folder), std::slice::from_ref(&target));
    // Published there, it is recorded.
    std::fs::create_dir(&other).unwrap();
    run("mount", &["--bind", target.to_str().unwrap()], &other);
    published(client, &id, &other, false, false).await.unwrap();
    assert_eq!(code(published(client, &id, &other, false, true).await), Code::AlreadyExists);
    assert_eq!(mounts_below(&other), std::slice::from_ref(&other), "mounted once");
    unpublished(client, &id, &other).await;
    // Somebody else's mount is none of its publications.
    std::fs::create_dir(&other).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs"], &other);
    client.call(request::unpublish(&id, other.to_str().unwrap()), DEADLINE).await.unwrap();
    assert_eq!(mounts_below(folder).len(), 2);
    run("umount", &[], &other);
    unpublished(client, &id, &target).await;
});

with_driver!(
    a_target_outside_the_target_root_is_refused,
    [format!("--target-root={}", folder.join("pods").display()).as_str()],
    |folder, driver| {
        let client = driver.client();
        let pods = folder.join("pods");
        std::fs::create_dir(&pods).unwrap();
        std::os::unix::fs::symlink(folder, pods.join("out")).unwrap();
        let id = volume(client, request::create("v", false, MIB)).await.volume_id;
        for outside in [folder.join("target"), folder.join("pods-2"), pods.join("out/target"), pods.clone()] {
            let refused = code(published(client, &id, &outside, false, false).await);
            assert_eq!(refused, Code::InvalidArgument, "{}", outside.display());
            let stage = csi::v1::NodeStageVolumeRequest {
                volume_id: id.clone(),
                staging_target_path: outside.to_str().unwrap().to_owned(),
                volume_capability: request::publish(&id, "", false).volume_capability,
                ..Default::default()
            };
            assert_eq!(client.call(stage, DEADLINE).await.unwrap_err().code(), Code::InvalidArgument);
        }
        published(client, &id, &pods.join("target"), false, false).await.unwrap();
        unpublished(client, &id, &pods.join("target")).await;
    }
);

with_driver!(a_read_only_mount_appears_with_its_options, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", false, MIB)).await.volume_id;
    let [pods, host] = ["pods", "host"].map(|name| folder.join(name));
    for place in [&pods, &host] {
        std::fs::create_dir(place).unwrap();
        run("mount", &["--bind", pods.to_str().unwrap()], place);
        run("mount", &["--make-shared"], place);
    }
    // The kernel copies a mount to `host` as it is when it is attached; what is changed afterwards is not copied.
    let [target, copy] = [&pods, &host].map(|place| place.join("target"));
    let mut publish = request::publish(&id, target.to_str().unwrap(), false);
    publish.readonly = true;
    let Some(AccessType::Mount(mount)) = publish.volume_capability.as_mut().unwrap().access_type.as_mut()
    else {
        panic!("not to be mounted: {publish:?}")
    };
    mount.mount_flags = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    client.call(publish, DEADLINE).await.unwrap();
    let seen = options(&copy);
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(seen.split(',').any(|present| present == option), "{option} came later: at first {seen}");
    }
    assert_eq!(seen, options(&target));
    assert!(std::fs::write(copy.join("file"), "x").is_err());
    unpublished(client, &id, &target).await;
    run("umount", &[], &host);
    run("umount", &[], &pods);
});
