//! Where things are mounted: what others mount is not ours, and links lead to what they lead to.

use std::path::Path;
use std::process::Command;

use conformance::{in_own_mounts, mounts_below};
use csi::v1;
use tonic::Code;

use crate::faults::{device, finish};
use crate::stand::Stand;

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
