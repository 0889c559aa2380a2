//! How the sidecars are configured unless a test says otherwise.

use std::time::Duration;

use base::queue::Backoff;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn provisioner_config(driver: &str) -> provisioner::Config {
    provisioner::Config {
        driver: driver.into(),
        identity: "test".into(),
        timeout: 10 * SECOND,
        backoff: Backoff { base: SECOND, max: 300 * SECOND },
        workers: 10,
        prefix: "pvc".into(),
        uuid_length: None,
        default_fs: "ext4".into(),
        extra_metadata: false,
        publish_read_only: false,
        prevent_mode_conversion: true,
        snapshot_sweep: Some(Duration::from_secs(300)),
        cross_namespace: false,
        clone_workers: 1,
        topology: false,
        strict_topology: false,
        immediate_topology: true,
        attributes_classes: Some(kubernetes::object::AttributesVersion::V1),
        node: None,
        capacity: None,
        plugins: translation::Plugins::default(),
        intents: None,
        can: provisioner::Capabilities {
            controller: true,
            create_delete: true,
            publish: true,
            ..Default::default()
        },
    }
}

pub(crate) fn attacher_config(driver: &str) -> attacher::Config {
    attacher::Config {
        driver: driver.into(),
        finalizer: attacher::finalizer(driver).into(),
        timeout: 10 * SECOND,
        backoff: Backoff { base: SECOND, max: 300 * SECOND },
        workers: 10,
        resync: Duration::ZERO,
        reconcile_sync: 60 * SECOND,
        max_entries: 0,
        default_fs: "".into(),
        error_code: true,
        plugins: translation::Plugins::default(),
        can: attacher::Capabilities { attach: true, ..Default::default() },
    }
}
