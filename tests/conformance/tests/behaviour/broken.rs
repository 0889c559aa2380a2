//! What the driver does when a single thing on its disk is broken.

use std::path::Path;
use std::process::Command;

use conformance::Running;
use conformance::request::{self, MIB};
use csi::v1;

use super::{DEADLINE, volume};

fn mount(args: &[&str], at: &Path) {
    assert!(Command::new("mount").args(args).arg(at).status().unwrap().success());
}

fn unmount(at: &Path) {
    assert!(Command::new("umount").arg(at).status().unwrap().success());
}

with_driver!(content_that_cannot_be_taken_up_stops_nothing_else, [], |folder, driver| {
    let own = Running::state(folder);
    let id = volume(driver.client(), request::create("bad", false, MIB)).await.volume_id;
    let mut entries = std::fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name());
    let content = entries.find(|name| !name.to_str().unwrap().contains('.')).unwrap();
    driver.kill().await;
    // As a kill leaves it, and something keeps it there.
    let left = own.join(".new").join(&content);
    std::fs::rename(own.join(&content), &left).unwrap();
    std::fs::write(left.join("file"), "kept").unwrap();
    mount(&["--bind", left.to_str().unwrap()], &left);
    let driver = Running::start(folder, &[]).await;
    let client = driver.client();
    let get = v1::ControllerGetVolumeHealthRequest { volume_id: id.clone(), ..Default::default() };
    let health = client.call(get.clone(), DEADLINE).await.unwrap().volume_health.unwrap().health_statuses;
    assert_eq!(health[0].reason, "ContentUnreadable", "{health:?}");
    let other = volume(client, request::create("good", false, MIB)).await.volume_id;
    client.call(request::delete(&other), DEADLINE).await.unwrap();
    unmount(&left);
    volume(client, request::create("bad", false, MIB)).await;
    assert_eq!(std::fs::read_to_string(own.join(&content).join("file")).unwrap(), "kept");
    let health = client.call(get, DEADLINE).await.unwrap().volume_health.unwrap().health_statuses;
    assert_eq!(health, []);
});

with_driver!(content_that_cannot_be_removed_leaves_the_rest_to_be_removed, [], |folder, driver| {
    driver.kill().await;
    let old = Running::state(folder).join(".old");
    let inner = old.join("b/inner");
    for name in ["a/inner", "b/inner", "c/inner"] {
        std::fs::create_dir_all(old.join(name)).unwrap();
    }
    // A user's mount inside a volume is not the volume's content.
    mount(&["-t", "tmpfs", "tmpfs"], &inner);
    std::fs::write(inner.join("file"), "kept").unwrap();
    let driver = Running::start(folder, &[]).await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while std::fs::read_dir(&old).unwrap().count() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "a and c are still there");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(std::fs::read_to_string(inner.join("file")).unwrap(), "kept");
    assert_eq!(driver.stop().await, Some(0));
    unmount(&inner);
    let driver = Running::start(folder, &[]).await;
    while std::fs::read_dir(&old).unwrap().count() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "b is still there");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(driver);
});
