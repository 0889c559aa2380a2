//! Where things are mounted: what others mount is not ours, and links lead to what they lead to.

use std::path::Path;
use std::process::Command;

use conformance::{in_own_mounts, mounts_below, request};
use csi::v1;
use tonic::Code;
use v1::volume_capability::access_mode::Mode;

use crate::faults::{device, finish};
use crate::mounts::{Pod, mounted_as};
use crate::stand::Stand;

/// XFS makes no smaller file systems.
const SIZE: i64 = 320 << 20;

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Somebody else's device, mounted at a place.
fn occupy(device: &str, place: &Path) {
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, "").unwrap();
    run("mount", &["--bind", device, &place.display().to_string()]);
}

in_own_mounts!(another_device_at_a_place_is_not_taken_for_the_volume, foreign());

#[tokio::main]
async fn foreign() {
    let Some(stand) = Stand::start_with_mounts("foreign", &[]).await else { return };
    let pod = device(&stand, "volume").await;
    let file = stand.folder.path().join("disk");
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let other = run("losetup", &["--find", "--show", &file.display().to_string()]);

    let staged = pod.staging.join(&pod.volume.volume_id);
    occupy(&other, &staged);
    let status = pod.begin().await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "stage: {status}");
    let unstage = v1::NodeUnstageVolumeRequest {
        volume_id: pod.volume.volume_id.clone(),
        staging_target_path: pod.staging.display().to_string(),
    };
    let status = stand.call(unstage).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "unstage: {status}");
    run("umount", &[&staged.display().to_string()]);
    pod.begin().await.unwrap();

    // Over the volume and under it.
    run("mount", &["--bind", &other, &pod.target.display().to_string()]);
    let status = pod.try_end().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "unpublish: {status}");
    assert_eq!(mounts_below(&pod.target).len(), 2, "both are there");
    run("umount", &[&pod.target.display().to_string()]);
    pod.end().await;
    occupy(&other, &pod.target);
    assert_eq!(pod.try_end().await.unwrap_err().code(), Code::FailedPrecondition);
    run("umount", &[&pod.target.display().to_string()]);
    run("losetup", &["--detach", &other]);
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

in_own_mounts!(the_folder_of_daemons_may_be_a_link, linked());

#[tokio::main]
async fn linked() {
    let Some(mut stand) = Stand::start_with_mounts("linked", &[]).await else { return };
    let (real, link) = (stand.folder.path().join("fuse"), stand.folder.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    stand.restart(&["--mapper=fuse", &format!("--fuse-folder={}/./below", link.display())]).await;
    let pod = device(&stand, "volume").await;
    pod.begin().await.unwrap();
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

in_own_mounts!(one_image_staged_twice_stays_until_both_are_gone, shared_image());

#[tokio::main]
async fn shared_image() {
    let Some(stand) = Stand::start_with_mounts("shared-image", &[]).await else { return };
    let volume = stand.created(stand.create("volume", 16 << 20)).await;
    let image = volume.volume_context["imageName"].clone();
    let capability = || mounted_as("ext4", Mode::SingleNodeWriter);
    let one = Pod::new(&stand, "one", volume.clone(), capability());
    // The same image by a PersistentVolume that adopts it.
    let mut context = volume.volume_context.clone();
    context.extend([("clusterID", stand.namespace.as_str()), ("staticVolume", "true")].map(owned));
    let adopted = v1::Volume { volume_id: image, volume_context: context, ..v1::Volume::default() };
    let other = Pod::new(&stand, "other", adopted.clone(), capability());
    let wrong = Pod::new(&stand, "wrong", adopted, mounted_as("xfs", Mode::SingleNodeWriter));
    one.begin().await.unwrap();
    other.begin().await.unwrap();
    std::fs::write(other.target.join("file"), "here").unwrap();
    assert_eq!(wrong.begin().await.unwrap_err().code(), Code::Internal, "it is no XFS");
    wrong.end().await;
    one.end().await;
    let file = std::fs::File::create(other.target.join("later")).unwrap();
    file.sync_all().unwrap();
    drop(file);
    one.begin().await.unwrap();
    assert_eq!(std::fs::read(one.target.join("file")).unwrap(), b"here");
    other.end().await;
    assert!(one.target.join("later").exists());
    one.end().await;
    finish(&stand, &[&one]).await;
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

in_own_mounts!(a_stage_repeated_grows_what_a_killed_one_did_not, not_grown());

#[tokio::main]
async fn not_grown() {
    let Some(stand) = Stand::start_with_mounts("not-grown", &[]).await else { return };
    let volume = stand.created(stand.create("volume", SIZE)).await;
    let pod = Pod::new(&stand, "volume", volume.clone(), mounted_as("xfs", Mode::SingleNodeWriter));
    pod.begin().await.unwrap();
    let before = pod.total().await;
    // As of a copy that is larger than its source, when it was mounted and not grown yet.
    stand.expand(&volume.volume_id, 2 * SIZE).await.unwrap();
    for device in conformance::devices_of(&stand.folder.path().join("fuse")) {
        run("losetup", &["--set-capacity", &device.display().to_string()]);
    }
    pod.begin().await.unwrap();
    assert!(pod.total().await > before + SIZE / 2, "{before} {}", pod.total().await);
    pod.end().await;
    finish(&stand, &[&pod]).await;
}

in_own_mounts!(a_mark_of_mkfs_counts_on_its_own_image_only, copied_mark());

#[tokio::main]
async fn copied_mark() {
    let Some(stand) = Stand::start_with_mounts("copied-mark", &[]).await else { return };
    let volume = stand.created(stand.create("volume", 16 << 20)).await;
    let image = volume.volume_context["imageName"].clone();
    stand.rbd(&["bench", "--io-type", "write", "--io-size", "64K", "--io-total", "256K", &image]);
    // As a copy has it that was made while its source got its file system.
    stand.rbd(&["image-meta", "set", &image, "mooring.mkfs", "10ab"]);
    let mounted = Pod::new(&stand, "mounted", volume.clone(), mounted_as("ext4", Mode::SingleNodeWriter));
    assert_eq!(mounted.begin().await.unwrap_err().code(), Code::Internal, "what is there is kept");
    mounted.end().await;
    let id = stand.image_id(&image);
    stand.rbd(&["image-meta", "set", &image, "mooring.mkfs", &id]);
    let block = Pod::new(&stand, "block", volume, request::capability(true, Mode::SingleNodeWriter));
    block.begin().await.unwrap();
    assert_eq!(stand.rbd(&["image-meta", "list", &image, "--format", "json"]).trim(), "", "no mark is left");
    block.end().await;
    finish(&stand, &[&block]).await;
}
