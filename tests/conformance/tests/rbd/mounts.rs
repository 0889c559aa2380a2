//! Volumes on a node, mapped by rbd-fuse: file systems and devices, growth in use, copies beside their sources.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conformance::{in_own_mounts, request};
use csi::v1;
use tonic::{Code, Status};
use v1::volume_capability::AccessType;
use v1::volume_capability::access_mode::Mode;

use crate::stand::{Stand, until_made};

const MIB: i64 = 1 << 20;
/// XFS makes no smaller file systems.
const SIZE: i64 = 320 * MIB;

/// A volume as one pod sees it.
pub(crate) struct Pod<'a> {
    stand: &'a Stand,
    pub(crate) volume: v1::Volume,
    capability: v1::VolumeCapability,
    pub(crate) staging: PathBuf,
    pub(crate) target: PathBuf,
}

impl<'a> Pod<'a> {
    /// A pod that is called so; nothing is done yet.
    pub(crate) fn new(
        stand: &'a Stand,
        name: &str,
        volume: v1::Volume,
        capability: v1::VolumeCapability,
    ) -> Self {
        let folder = |kind: &str| stand.folder.path().join(format!("{kind}-{name}"));
        let (staging, target) = (folder("staging"), folder("target"));
        std::fs::create_dir_all(&staging).unwrap();
        Self { stand, volume, capability, staging, target }
    }

    /// What the kubelet does before the pod runs.
    pub(crate) async fn begin(&self) -> Result<(), Status> {
        let stage = v1::NodeStageVolumeRequest {
            volume_id: self.volume.volume_id.clone(),
            staging_target_path: text(&self.staging),
            volume_capability: Some(self.capability.clone()),
            volume_context: self.volume.volume_context.clone(),
            secrets: self.stand.secrets(),
            ..Default::default()
        };
        self.stand.call(stage).await?;
        let publish = v1::NodePublishVolumeRequest {
            volume_id: self.volume.volume_id.clone(),
            staging_target_path: text(&self.staging),
            target_path: text(&self.target),
            volume_capability: Some(self.capability.clone()),
            volume_context: self.volume.volume_context.clone(),
            ..Default::default()
        };
        self.stand.call(publish).await.map(drop)
    }

    /// What the kubelet does when the pod has ended, as often as it likes.
    pub(crate) async fn end(&self) {
        for _ in 0..2 {
            self.try_end().await.unwrap();
        }
    }

    /// The same once; it may fail.
    pub(crate) async fn try_end(&self) -> Result<(), Status> {
        let volume_id = self.volume.volume_id.clone();
        let unpublish =
            v1::NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path: text(&self.target) };
        self.stand.call(unpublish).await?;
        let unstage = v1::NodeUnstageVolumeRequest { volume_id, staging_target_path: text(&self.staging) };
        self.stand.call(unstage).await.map(drop)
    }

    /// Takes away what is mounted and the loop device, behind the driver's back; the image stays mapped.
    pub(crate) fn lose_device(&self) {
        for mounted in conformance::mounts_below(&self.target)
            .into_iter()
            .chain(conformance::mounts_below(&self.staging))
        {
            assert!(std::process::Command::new("umount").arg(mounted).status().unwrap().success());
        }
        for device in conformance::devices_of(&self.stand.folder.path().join("fuse")) {
            assert!(std::process::Command::new("losetup").arg("-d").arg(device).status().unwrap().success());
        }
    }

    async fn grow(&self, bytes: i64) {
        assert_eq!(self.stand.expand(&self.volume.volume_id, bytes).await.unwrap(), bytes);
        let expand = v1::NodeExpandVolumeRequest {
            volume_id: self.volume.volume_id.clone(),
            volume_path: text(&self.target),
            staging_target_path: text(&self.staging),
            capacity_range: Some(request::at_least(bytes)),
            volume_capability: Some(self.capability.clone()),
            ..Default::default()
        };
        assert_eq!(self.stand.call(expand).await.unwrap().capacity_bytes, bytes);
    }

    /// How large the volume is, as its statistics say.
    pub(crate) async fn total(&self) -> i64 {
        let stats = v1::NodeGetVolumeStatsRequest {
            volume_id: self.volume.volume_id.clone(),
            volume_path: text(&self.target),
            ..Default::default()
        };
        self.stand.call(stats).await.unwrap().usage[0].total
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A file system in this mode.
pub(crate) fn mounted_as(fs_type: &str, mode: Mode) -> v1::VolumeCapability {
    let mut capability = request::capability(false, mode);
    if let Some(AccessType::Mount(mount)) = &mut capability.access_type {
        fs_type.clone_into(&mut mount.fs_type);
    }
    capability
}

in_own_mounts!(a_volume_keeps_its_files_grows_in_use_and_is_copied, file_systems());

#[tokio::main]
async fn file_systems() {
    let Some(stand) = Stand::start_with_mounts("mounts", &[]).await else { return };
    for fs_type in ["xfs", "ext4"] {
        let name = |what: &str| format!("{what}-{fs_type}");
        let volume = stand.created(stand.create(&name("first"), SIZE)).await;
        let capability = mounted_as(fs_type, Mode::SingleNodeWriter);
        let pod = Pod::new(&stand, &name("first"), volume.clone(), capability.clone());
        pod.begin().await.unwrap();
        pod.begin().await.unwrap();
        let words = vec![42; 5 << 20];
        let write = |pod: &Pod<'_>, file: &str| {
            let file = std::fs::File::create(pod.target.join(file)).unwrap();
            std::io::Write::write_all(&mut &file, &words).unwrap();
            file.sync_all().unwrap();
        };
        write(&pod, "file");
        // While it is mapped it cannot go.
        let status = stand.delete(&volume.volume_id).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        if fs_type == "xfs" {
            let before = pod.total().await;
            pod.grow(2 * SIZE).await;
            assert!(pod.total().await > before + SIZE / 2, "{before} {}", pod.total().await);
        }
        // What is read from a copy is what was written, while the source goes on.
        let snapshot = stand.snapshot(&name("snapshot"), &volume.volume_id).await.unwrap();
        write(&pod, "later");
        let bytes = if fs_type == "xfs" { 3 * SIZE } else { SIZE };
        let of = |what: &str, source| v1::CreateVolumeRequest {
            volume_content_source: source,
            ..stand.create(&name(what), bytes)
        };
        let restored = stand.created(of("restored", request::restore_of(&snapshot.snapshot_id))).await;
        let restored = Pod::new(&stand, &name("restored"), restored, capability.clone());
        restored.begin().await.unwrap();
        assert_eq!(std::fs::read(restored.target.join("file")).unwrap(), words);
        assert!(!restored.target.join("later").exists());
        if fs_type == "xfs" {
            assert!(restored.total().await > 2 * SIZE, "the copy is larger than its source");
        }
        restored.end().await;
        pod.end().await;
        // On many nodes nobody may write back a journal, so this copy is one of a volume at rest.
        let cloned = stand.created(of("cloned", request::clone_of(&volume.volume_id))).await;
        let readonly = mounted_as(fs_type, Mode::MultiNodeReaderOnly);
        let cloned = Pod::new(&stand, &name("cloned"), cloned, readonly);
        cloned.begin().await.unwrap();
        assert_eq!(std::fs::read(cloned.target.join("later")).unwrap(), words);
        assert!(std::fs::write(cloned.target.join("file"), "").is_err(), "the copy can only be read");
        cloned.end().await;
        // Moved: what was written is there.
        pod.begin().await.unwrap();
        assert_eq!(std::fs::read(pod.target.join("later")).unwrap(), words);
        pod.end().await;
        stand.assert_nothing_mounted();
        for id in [&volume.volume_id, &restored.volume.volume_id, &cloned.volume.volume_id] {
            stand.delete(id).await.unwrap();
        }
        stand.delete_snapshot(&snapshot.snapshot_id).await.unwrap();
    }
    stand.assert_empty();
}

in_own_mounts!(a_device_is_shared_and_survives_a_killed_driver, devices());

#[tokio::main]
async fn devices() {
    let Some(mut stand) = Stand::start_with_mounts("devices", &[]).await else { return };
    let volume = stand.created(stand.create("device", 16 * MIB)).await;
    let capability = request::capability(true, Mode::MultiNodeMultiWriter);
    let args =
        ["--mapper=fuse".to_owned(), format!("--fuse-folder={}", text(&stand.folder.path().join("fuse")))];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    {
        let pod = Pod::new(&stand, "device", volume.clone(), capability.clone());
        pod.begin().await.unwrap();
        assert_eq!(pod.total().await, 16 * MIB);
        let device = std::fs::OpenOptions::new().write(true).open(&pod.target).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&device, b"here", 4096).unwrap();
        device.sync_all().unwrap();
        drop(device);
        pod.grow(32 * MIB).await;
        assert_eq!(pod.total().await, 32 * MIB);
    }
    stand.restart(&args).await;
    let pod = Pod::new(&stand, "device", volume.clone(), capability);
    pod.begin().await.unwrap();
    let mut read = [0; 4];
    let device = std::fs::File::open(&pod.target).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&device, &mut read, 4096).unwrap();
    drop(device);
    assert_eq!(&read, b"here");
    let as_folder = Pod::new(&stand, "device", volume.clone(), mounted_as("", Mode::SingleNodeWriter));
    assert_eq!(as_folder.begin().await.unwrap_err().code(), Code::AlreadyExists);
    pod.end().await;
    stand.assert_nothing_mounted();
    stand.delete(&volume.volume_id).await.unwrap();
    stand.assert_empty();
}

// A daemon that is killed as the last process of its mount namespace never ends: the kernel unmounts what it serves before it closes
// its connection, and whoever syncs the machine waits with it. Here the test is there, and after the test its guard's shell.
in_own_mounts!(a_killed_mapper_loses_nothing_that_was_synced, killed_mapper());

#[tokio::main]
async fn killed_mapper() {
    let Some(stand) = Stand::start_with_mounts("mapper", &[]).await else { return };
    let volume = stand.created(stand.create("volume", SIZE)).await;
    let pod = Pod::new(&stand, "volume", volume.clone(), mounted_as("xfs", Mode::SingleNodeWriter));
    pod.begin().await.unwrap();
    let file = std::fs::File::create(pod.target.join("file")).unwrap();
    std::io::Write::write_all(&mut &file, &[42; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert!(stand.signal_daemons("-KILL"), "there was a daemon");
    let lost = std::fs::write(pod.target.join("other"), [1; 1 << 20])
        .and_then(|()| std::fs::File::open(pod.target.join("other"))?.sync_all());
    assert!(lost.is_err(), "nothing is written any more");
    pod.end().await;
    stand.assert_nothing_mounted();
    // Ceph thinks for some seconds that the image is still open.
    let end = Instant::now() + Duration::from_secs(30);
    while let Err(status) = pod.begin().await {
        assert_eq!(status.code(), Code::Aborted, "{status}");
        assert!(Instant::now() < end, "{status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(std::fs::read(pod.target.join("file")).unwrap(), [42; 1 << 20]);
    pod.end().await;
    stand.assert_nothing_mounted();
    stand.delete(&volume.volume_id).await.unwrap();
    stand.assert_empty();
}

in_own_mounts!(repeated_node_calls_finish_what_kills_interrupt, killed_node_calls());

#[tokio::main]
async fn killed_node_calls() {
    let Some(mut stand) = Stand::start_with_mounts("node-kills", &[]).await else { return };
    let volume = stand.created(stand.create("volume", SIZE)).await;
    let args =
        ["--mapper=fuse".to_owned(), format!("--fuse-folder={}", text(&stand.folder.path().join("fuse")))];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let capability = mounted_as("xfs", Mode::SingleNodeWriter);
    for life in [5, 20, 60, 120, 200, 300, 400, 600].map(Duration::from_millis) {
        // What it answers is forgotten, as by a caller that is killed too.
        let _ = tokio::time::timeout(
            life,
            Pod::new(&stand, "volume", volume.clone(), capability.clone()).begin(),
        )
        .await;
        stand.restart(&args).await;
        // A driver that was killed may have had the image open for some seconds more.
        until_made(Duration::from_secs(60), async || {
            Pod::new(&stand, "volume", volume.clone(), capability.clone()).begin().await
        })
        .await;
        let _ = tokio::time::timeout(
            life / 4,
            Pod::new(&stand, "volume", volume.clone(), capability.clone()).end(),
        )
        .await;
        stand.restart(&args).await;
        Pod::new(&stand, "volume", volume.clone(), capability.clone()).end().await;
        stand.assert_nothing_mounted();
    }
    stand.delete(&volume.volume_id).await.unwrap();
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_staged_or_published_outside_of_target_roots() {
    let Some(stand) = Stand::start("roots", &["--target-root=/var/lib/kubelet"]).await else { return };
    let block = request::capability(true, Mode::SingleNodeWriter);
    let pod = Pod::new(&stand, "pod", stand.created(stand.create("volume", 16 * MIB)).await, block.clone());
    let status = pod.begin().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("--target-root"), "{status}");
    let publish = v1::NodePublishVolumeRequest {
        volume_id: pod.volume.volume_id.clone(),
        staging_target_path: "/var/lib/kubelet/staging".to_owned(),
        target_path: text(&pod.target),
        volume_capability: Some(block),
        ..Default::default()
    };
    let status = stand.call(publish).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    stand.delete(&pod.volume.volume_id).await.unwrap();
    stand.assert_empty();
}

in_own_mounts!(an_in_tree_volume_is_mapped_and_never_formatted, in_tree());

#[tokio::main]
async fn in_tree() {
    const UUID: &str = "50d53503-9da1-11ed-847e-bacf8f2f1297";
    let name = "7982de6a23b77bce50b1ba9f2e879cce";
    let Some(stand) = Stand::start_with_mounts(name, &[]).await else { return };
    let image = format!("kubernetes-dynamic-pvc-{UUID}");
    stand.rbd(&["create", "--size", "16M", "--image-feature", "layering", &image]);
    // As in-tree migration hands it on.
    let context = [("clusterID", name), ("pool", "rbd"), ("imageName", &image), ("staticVolume", "true")];
    let volume = v1::Volume {
        volume_id: format!("mig_mons-{name}_image-{UUID}_726264"),
        volume_context: crate::stand::map(&context),
        ..v1::Volume::default()
    };
    let block = request::capability(true, Mode::SingleNodeWriter);
    let pod = Pod::new(&stand, "device", volume.clone(), block);
    pod.begin().await.unwrap();
    assert_eq!(pod.total().await, 16 * MIB);
    pod.end().await;
    let blank = Pod::new(&stand, "blank", volume.clone(), mounted_as("ext4", Mode::SingleNodeWriter));
    let status = blank.begin().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "there is no file system, and none is made: {status}");
    blank.end().await;
    stand.assert_nothing_mounted();
    stand.delete(&volume.volume_id).await.unwrap();
    stand.assert_empty();
}
