//! The driver's mount helpers, on real devices in a mount namespace of their own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cluster::skip::{Lack, left_out};
use conformance::request::{self, MIB};
use conformance::{Running, in_own_mounts};
use csi::v1;
use driver::filesystem::{Found, FsError, FsType, format_and_mount, grow, look};
use driver::mount;

const DEADLINE: Duration = Duration::from_secs(20);

in_own_mounts!(a_blank_device_becomes_a_file_system_that_grows_and_is_never_overwritten, device());

#[tokio::main]
async fn device() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Running::start(folder.path(), &[]).await;
    let client = driver.client();
    let made = client.call(request::create("v", true, 32 * MIB), DEADLINE).await.unwrap();
    let id = made.volume.unwrap().volume_id;
    let (device, target) = (folder.path().join("device"), folder.path().join("target"));
    let publish = request::publish(&id, device.to_str().unwrap(), true);
    client.call(publish, DEADLINE).await.unwrap();
    std::fs::create_dir(&target).unwrap();

    assert_eq!(look(&device).unwrap(), Found::Nothing);
    format_and_mount(&device, &target, FsType::Ext4, &["noexec,discard"]).unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap();
    assert!(line.contains("noexec") && line.contains("discard"), "{line}");
    format_and_mount(&device, &target, FsType::Ext4, &[]).unwrap();
    std::fs::write(target.join("file"), "kept").unwrap();
    let before = blocks(&target);
    let expand = v1::ControllerExpandVolumeRequest {
        volume_id: id.clone(),
        capacity_range: Some(request::at_least(96 * MIB)),
        ..Default::default()
    };
    client.call(expand, DEADLINE).await.unwrap();
    let expand = v1::NodeExpandVolumeRequest {
        volume_id: id.clone(),
        volume_path: device.to_str().unwrap().to_owned(),
        capacity_range: Some(request::at_least(96 * MIB)),
        ..Default::default()
    };
    client.call(expand, DEADLINE).await.unwrap();
    if may_resize() {
        grow(&device, &target, FsType::Ext4).unwrap();
        assert!(blocks(&target) > 2 * before, "{before} blocks became {}", blocks(&target));
    } else {
        left_out("growing a mounted file system", Lack::Capability("CAP_SYS_RESOURCE"));
        let refused = grow(&device, &target, FsType::Ext4).unwrap_err().to_string();
        assert!(refused.contains("resize2fs") && refused.contains("Permission denied"), "{refused}");
    }
    mount::unmount(&target).unwrap();
    mount::unmount(&target).unwrap();
    assert_eq!(look(&device).unwrap(), Found::FileSystem(FsType::Ext4));
    format_and_mount(&device, &target, FsType::Ext4, &["ro"]).unwrap();
    assert_eq!(std::fs::read_to_string(target.join("file")).unwrap(), "kept");
    assert!(mount::is_readonly(&target).unwrap());
    mount::unmount(&target).unwrap();

    let refused = format_and_mount(&device, &target, FsType::Xfs, &[]).unwrap_err();
    assert!(matches!(refused, FsError::Occupied { found: "ext4", .. }), "{refused}");
    File::options().write(true).open(&device).unwrap().write_all_at(&[7; 4096], 0).unwrap();
    wipe_magic(&device);
    let refused = format_and_mount(&device, &target, FsType::Ext4, &[]).unwrap_err();
    assert!(matches!(refused, FsError::Occupied { found: "unknown data", .. }), "{refused}");
    client.call(request::unpublish(&id, device.to_str().unwrap()), DEADLINE).await.unwrap();
    assert_eq!(driver.stop().await, Some(0));
}

/// Whether this process may resize a mounted file system (CAP_SYS_RESOURCE, bit 24).
fn may_resize() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & (1 << 24) != 0
}

fn wipe_magic(device: &Path) {
    let device = File::options().write(true).open(device).unwrap();
    device.write_all_at(&[9; 2], 0x438).unwrap();
    device.sync_all().unwrap();
}

fn blocks(target: &Path) -> u64 {
    rustix::fs::statvfs(target).unwrap().f_blocks
}

#[test]
fn targets_are_made_and_removed_only_as_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    mount::make_target(&at("folder"), mount::Target::Folder).unwrap();
    mount::make_target(&at("folder"), mount::Target::Folder).unwrap();
    mount::make_target(&at("file"), mount::Target::File).unwrap();
    assert!(mount::make_target(&at("folder"), mount::Target::File).is_err());
    assert!(mount::make_target(&at("file"), mount::Target::Folder).is_err());
    assert!(mount::make_target(&at("no/parent"), mount::Target::Folder).is_err());
    assert!(!mount::is_mounted(&at("folder")).unwrap() && !mount::is_mounted(&at("absent")).unwrap());
    assert!(mount::is_mounted(Path::new("/proc")).unwrap());
    std::fs::write(at("folder").join("precious"), "x").unwrap();
    assert!(mount::remove_target(&at("folder")).is_err());
    assert!(at("folder").join("precious").exists());
    std::os::unix::fs::symlink("folder", at("link")).unwrap();
    std::fs::write(at("full"), "x").unwrap();
    for other in ["link", "full"] {
        assert!(mount::make_target(&at(other), mount::Target::File).is_err(), "{other}");
        assert!(mount::remove_target(&at(other)).is_err(), "{other}");
        assert!(at(other).symlink_metadata().is_ok(), "{other} is not ours");
    }
    mount::remove_target(&at("file")).unwrap();
    mount::remove_target(&at("file")).unwrap();
    assert!(!at("file").exists());
    mount::unmount(&at("folder")).unwrap();
}

in_own_mounts!(both_ways_to_bind_keep_the_options_of_the_source, ways());

/// Kernels before 5.12 need the second one.
fn ways() {
    let folder = conformance::Folder::new();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    std::fs::create_dir(&target).unwrap();
    let options = ["-t", "tmpfs", "-o", "nosuid,nodev", "tmpfs"];
    assert!(Command::new("mount").args(options).arg(&source).status().unwrap().success());
    let wanted = mount::flags_of(["ro", "noexec", "noatime"]);
    for bind in [mount::bind, mount::bind_in_steps] {
        bind(&source, &target, wanted).unwrap();
        assert!(mount::has_options(&target, mount::flags_of(["ro", "nosuid", "nodev", "noexec"])).unwrap());
        assert!(mount::table::entry(&target).unwrap().has("noatime"));
        assert!(!mount::has_options(&source, wanted).unwrap(), "the source stays as it is");
        let half = mount::flags_of(["nosuid", "noexec"]);
        assert!(!mount::has_options(&source, half).unwrap(), "all of them are wanted");
        mount::unmount(&target).unwrap();
    }
}
