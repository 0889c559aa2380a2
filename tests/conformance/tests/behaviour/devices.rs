//! Block volumes and the loop devices behind them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use conformance::request::{self, MIB};
use conformance::{Running, in_own_mounts, loop_devices_below};
use csi::v1;
use tonic::Code;

use super::{DEADLINE, published, unpublished, volume};

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

with_driver!(
    a_device_that_somebody_looks_at_is_not_published_again_when_it_was_let_go,
    [],
    |folder, driver| {
        let client = driver.client();
        let id = volume(client, request::create("v", true, MIB)).await.volume_id;
        let target = folder.join("target");
        published(client, &id, &target, true, false).await.unwrap();
        let image = loop_devices_below(folder).pop().unwrap();
        let output =
            Command::new("losetup").arg("--noheadings").arg("--output=NAME").arg("-j").arg(&image).output();
        let first = String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned();
        // As udev does: it has the device open while it is let go.
        let looking = File::open(&first).unwrap();
        unpublished(client, &id, &target).await;
        published(client, &id, &target, true, false).await.unwrap();
        drop(looking);
        let device = File::options().read(true).write(true).open(&target).unwrap();
        assert_eq!(
            rustix_size(&device),
            MIB as u64,
            "the published device is there after the look at the old one"
        );
        drop(device);
        unpublished(client, &id, &target).await;
    }
);

with_driver!(a_device_that_was_let_go_of_is_published_anew, [], |folder, driver| {
    let client = driver.client();
    let id = volume(client, request::create("v", true, MIB)).await.volume_id;
    let target = folder.join("target");
    let device = || {
        let image = loop_devices_below(folder).pop().unwrap();
        let output =
            Command::new("losetup").args(["--noheadings", "--output=NAME", "-j"]).arg(image).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    };
    let let_go = || assert!(Command::new("losetup").args(["-d", &device()]).status().unwrap().success());
    published(client, &id, &target, true, false).await.unwrap();
    let_go();
    // Another test may have got the device's number for a moment: then a stranger's device is there.
    let deadline = Instant::now() + DEADLINE;
    while let Err(status) = published(client, &id, &target, true, false).await {
        assert!(status.code() == Code::AlreadyExists && Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rustix_size(&File::open(&target).unwrap()), MIB as u64);
    // It stays for as long as somebody looks at it, as udev does.
    let looking = File::open(device()).unwrap();
    let_go();
    published(client, &id, &target, true, false).await.unwrap();
    drop(looking);
    assert_eq!(rustix_size(&File::open(&target).unwrap()), MIB as u64);
    let_go();
    let unpublish = request::unpublish(&id, target.to_str().unwrap());
    while let Err(status) = client.call(unpublish.clone(), DEADLINE).await {
        assert!(status.code() == Code::FailedPrecondition && Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
});

fn rustix_size(mut device: &File) -> u64 {
    use std::io::Seek;
    device.seek(std::io::SeekFrom::End(0)).unwrap()
}

in_own_mounts!(a_restart_lets_other_peoples_loop_devices_be, others_devices());

#[tokio::main]
async fn others_devices() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let driver = Running::start(folder, &[]).await;
    volume(driver.client(), request::create("v", false, MIB)).await;
    // A user keeps an image in the volume and attaches it.
    let entries = std::fs::read_dir(Running::state(folder)).unwrap().map(|entry| entry.unwrap());
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

/// The device that `losetup` gives a file, as a user gets it.
fn losetup(file: &Path, more: &[&str]) -> PathBuf {
    let output = Command::new("losetup").args(["--find", "--show"]).args(more).arg(file).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn has_file(device: &Path) -> bool {
    Command::new("losetup").arg(device).output().unwrap().status.success()
}

in_own_mounts!(a_strangers_device_on_a_volumes_file_is_neither_used_nor_freed, strangers_devices());

#[tokio::main]
async fn strangers_devices() {
    let temporary = conformance::Folder::new();
    let folder = temporary.path();
    let driver = Running::start(folder, &[]).await;
    let id = volume(driver.client(), request::create("v", true, MIB)).await.volume_id;
    let file =
        files_of(&Running::state(folder)).into_iter().find(|file| !file.ends_with("state.journal")).unwrap();
    let strangers = [losetup(&file, &[]), losetup(&file, &["--offset=4096"])];
    let number = |path: &Path| std::os::unix::fs::MetadataExt::rdev(&std::fs::metadata(path).unwrap());
    let target = folder.join("target");
    published(driver.client(), &id, &target, true, false).await.unwrap();
    assert!(strangers.iter().all(|device| number(device) != number(&target)));
    unpublished(driver.client(), &id, &target).await;
    assert!(strangers.iter().all(|device| has_file(device)), "after the unpublish");
    driver.kill().await;
    let driver = Running::start(folder, &[]).await;
    assert!(strangers.iter().all(|device| has_file(device)), "after a restart");
    assert_eq!(loop_devices_below(folder).len(), 2, "and no other");
    assert_eq!(driver.stop().await, Some(0));
}

in_own_mounts!(the_go_drivers_devices_go_when_nothing_uses_them, go_drivers_devices());

#[tokio::main]
async fn go_drivers_devices() {
    let temporary = conformance::Folder::new();
    let (folder, state) = (temporary.path(), temporary.path().join("state"));
    std::fs::create_dir(&state).unwrap();
    let volumes =
        r#"{"Volumes": [{"VolName": "v", "VolID": "0000-1", "VolSize": 1048576, "VolAccessType": 1}]}"#;
    std::fs::write(state.join("state.json"), volumes).unwrap();
    File::create(state.join("0000-1")).unwrap().set_len(1 << 20).unwrap();
    let go_drivers = losetup(&state.join("0000-1"), &[]);
    let other = losetup(&state.join("0000-1"), &["--sizelimit=4096"]);
    let driver = Running::start(folder, &[]).await;
    // Whoever still has the device open, as udev may, delays its end.
    let deadline = Instant::now() + DEADLINE;
    while has_file(&go_drivers) {
        assert!(Instant::now() < deadline, "the Go driver's device has a file still");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(has_file(&other), "it is a stranger's");
    driver.client().call(request::delete("0000-1"), DEADLINE).await.unwrap();
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

in_own_mounts!(drivers_with_equal_paths_keep_their_own_devices, equal_paths());

/// Two containers of one node, each with a state folder of its own at the same path.
#[tokio::main]
async fn equal_paths() {
    let folder = conformance::Folder::new();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b", "inside", "a/targets", "b/targets"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let target = at("inside/targets/device");
    let attached = |name: &str| {
        let files = files_of(&at(name).join("state"));
        files.iter().filter(|file| has_device(file)).count()
    };
    let a = Running::start_inside(&at("a"), &at("inside"), &[]).await;
    let id = volume(a.client(), request::create("v", true, MIB)).await.volume_id;
    published(a.client(), &id, &target, true, false).await.unwrap();
    assert_eq!(attached("a"), 1);
    let b = Running::start_inside(&at("b"), &at("inside"), &[]).await;
    assert_eq!(attached("a"), 1, "the other driver's start leaves the device alone");
    // With the driver's container its mounts go, and nothing uses the device any more.
    a.kill().await;
    let a = Running::start_inside(&at("a"), &at("inside"), &[]).await;
    assert_eq!(attached("a"), 0, "the driver's own start finds it");
    // Even if it knows nothing of the volume any more: the device says whose it is.
    published(a.client(), &id, &target, true, false).await.unwrap();
    assert_eq!(attached("a"), 1);
    a.kill().await;
    std::fs::remove_file(Running::state(&at("a")).join("state.journal")).unwrap();
    let a = Running::start_inside(&at("a"), &at("inside"), &[]).await;
    assert_eq!(attached("a"), 0, "and so it does without a record");
    assert_eq!((a.stop().await, b.stop().await), (Some(0), Some(0)));
}

/// All files below a folder.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

/// Whether a loop device has this file, whatever its path is called elsewhere.
fn has_device(file: &Path) -> bool {
    let output = Command::new("losetup").arg("-j").arg(file).output().unwrap();
    !output.stdout.is_empty()
}
