//! Space that was promised: a block volume can be written in full, whatever was cut from it or made from it.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::skip::{Lack, left_out};
use conformance::request::{self, MIB};
use conformance::{Running, in_own_mounts};
use csi::v1;

use super::{DEADLINE, published, unpublished, volume};

in_own_mounts!(a_device_shares_no_space_with_snapshots_and_clones, apart());

/// On a file system on which copies share their blocks until they are written.
#[tokio::main]
async fn apart() {
    let temporary = conformance::Folder::new();
    let (folder, image) = (temporary.path(), temporary.path().join("xfs.image"));
    File::create(&image).unwrap().set_len(400 << 20).unwrap();
    if Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&image).status().is_err() {
        left_out("block volumes on XFS", Lack::Tool("mkfs.xfs"));
        return;
    }
    std::fs::create_dir(folder.join("state")).unwrap();
    let mounted = Command::new("mount").args(["-o", "loop"]).args([&image, &folder.join("state")]).status();
    assert!(mounted.unwrap().success());
    let driver = Running::start(folder, &[]).await;
    let client = driver.client();
    let id = volume(client, request::create("source", true, 8 * MIB)).await.volume_id;
    let target = folder.join("target");
    published(client, &id, &target, true, false).await.unwrap();
    let device = File::options().write(true).open(&target).unwrap();
    device.write_all_at(&[7; 3 << 20], 1 << 20).unwrap();
    device.sync_all().unwrap();
    drop(device);
    let cut = client.call(request::snapshot("s", &id), DEADLINE).await.unwrap().snapshot.unwrap();
    for (name, from) in
        [("cloned", request::clone_of(&id)), ("restored", request::restore_of(&cut.snapshot_id))]
    {
        let request =
            v1::CreateVolumeRequest { volume_content_source: from, ..request::create(name, true, 8 * MIB) };
        volume(client, request).await;
    }
    unpublished(client, &id, &target).await;
    let files = content(&Running::state(folder));
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let is_whole =
            bytes.iter().enumerate().all(|(at, byte)| (*byte == 7) == (1 << 20..4 << 20).contains(&at));
        assert!(is_whole && bytes.len() == 8 << 20, "{}", file.display());
        assert_eq!(shared(&file), [""; 0], "{}", file.display());
        let space = std::fs::metadata(&file).unwrap().blocks() * 512;
        let is_snapshot = file.extension().is_some();
        assert!(
            if is_snapshot { space < 4 << 20 } else { space >= 8 << 20 },
            "{} has {space}",
            file.display()
        );
    }
    assert_eq!(driver.stop().await, Some(0));
}

/// The devices' files.
fn content(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file() && !path.ends_with("state.journal")).collect()
}

/// The parts of a file that another file has too.
fn shared(file: &Path) -> Vec<String> {
    let output = Command::new("filefrag").arg("-v").arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| line.contains("shared")).map(str::to_owned).collect()
}
