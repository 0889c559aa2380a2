//! Who may use a volume, and how; and what our own containers may do.

use serde_json::json;

use crate::guest::{claimed, mounted};
use crate::site::{DRIVER, calm};

#[test]
fn two_pods_of_a_node_share_a_claim() {
    let Some(guest) = calm("two pods on one claim") else { return };
    guest.claim("shared", "csi-hostpath-sc", json!({}));
    guest.pod_with_claim("one", "shared");
    guest.pod_with_claim("two", "shared");
    let sum = guest.write("one", "/data/file");
    guest.check("two", "/data/file", &sum);
    // The first one's mount is not the second one's.
    guest.delete("pod/one");
    guest.check("two", "/data/file", &sum);
    let sum = guest.write("two", "/data/other");
    guest.check("two", "/data/other", &sum);
    let volume = guest.volume("shared");
    guest.delete("pod/two");
    guest.delete("pvc/shared");
    guest.wait_gone(&volume);
}

#[test]
fn a_read_only_pod_reads_and_cannot_write() {
    let Some(guest) = calm("a read-only volume") else { return };
    guest.claim("data", "csi-hostpath-sc", json!({}));
    guest.pod_with_claim("writer", "data");
    let sum = guest.write("writer", "/data/file");
    let read_only = json!({ "volumes": [{
        "name": "data", "persistentVolumeClaim": { "claimName": "data", "readOnly": true },
    }] });
    guest.pod("reader", read_only, mounted());
    guest.wait_ready("reader");
    guest.check("reader", "/data/file", &sum);
    let refused = guest.exec("reader", "echo x >/data/file").expect_err("a write is refused");
    assert!(refused.contains("Read-only file system"), "{refused}");
    guest.check("writer", "/data/file", &sum);
}

#[test]
fn a_single_pods_volume_goes_to_the_next_when_it_ends() {
    let Some(guest) = calm("ReadWriteOncePod") else { return };
    guest.claim("data", "csi-hostpath-sc", json!({ "accessModes": ["ReadWriteOncePod"] }));
    guest.pod_with_claim("first", "data");
    let sum = guest.write("first", "/data/file");
    guest.pod("second", claimed("data"), mounted());
    let scheduled = || guest.field("pod/second", ".status.conditions[?(@.type==\"PodScheduled\")].message");
    guest.wait_for("the second pod to be refused", || scheduled().contains("ReadWriteOncePod"));
    guest.delete("pod/first");
    guest.wait_ready("second");
    guest.check("second", "/data/file", &sum);
}

#[test]
fn files_get_the_group_of_the_pod() {
    let Some(guest) = calm("fsGroup") else { return };
    guest.claim("data", "csi-hostpath-sc", json!({}));
    guest.pod_with_claim("root", "data");
    let sum = guest.write("root", "/data/file");
    guest.delete("pod/root");
    let mut spec = claimed("data");
    spec["securityContext"] = json!({ "runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000 });
    guest.pod("user", spec, mounted());
    guest.wait_ready("user");
    assert_eq!(guest.exec("user", "id -u; stat -c %g /data/file /data").as_deref(), Ok("1000\n2000\n2000"));
    guest.check("user", "/data/file", &sum);
    let own = guest.write("user", "/data/own");
    assert_eq!(guest.exec("user", "stat -c %u:%g /data/own").as_deref(), Ok("1000:2000"));
    guest.check("user", "/data/own", &own);
}

#[test]
fn a_sub_path_shows_its_part_only() {
    let Some(guest) = calm("a sub-path") else { return };
    guest.claim("data", "csi-hostpath-sc", json!({}));
    let part = json!({ "volumeMounts": [
        { "name": "data", "mountPath": "/part", "subPath": "a/b" }, { "name": "data", "mountPath": "/whole" },
    ] });
    guest.pod("user", claimed("data"), part.clone());
    guest.wait_ready("user");
    let sum = guest.write("user", "/part/file");
    guest.check("user", "/whole/a/b/file", &sum);
    assert_eq!(guest.exec("user", "ls /part").as_deref(), Ok("file"));
    guest.delete("pod/user");
    guest.pod("user", claimed("data"), part);
    guest.wait_ready("user");
    guest.check("user", "/part/file", &sum);
    let volume = guest.volume("data");
    guest.delete("pod/user");
    guest.delete("pvc/data");
    guest.wait_gone(&volume);
}

#[test]
fn containers_have_no_capability_that_they_do_not_need() {
    let Some(guest) = calm("the capabilities of our containers") else { return };
    let capabilities = |words: &str, set: &str| {
        let pids = guest.run("pgrep", &["-f", "--", words]).expect("it runs");
        let pid = pids.lines().next().expect("a process").to_owned();
        let status = guest.run("cat", &[&format!("/proc/{pid}/status")]).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(set)).expect("a set");
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("hexadecimal")
    };
    assert_eq!(
        capabilities("--kubelet-registration-path=/var/lib/kubelet/plugins/csi-hostpath/", "CapEff"),
        0
    );
    // chown, dac_override, dac_read_search, fowner, fsetid, sys_admin, sys_resource, mknod, setfcap
    let needed: u64 = [0, 1, 2, 3, 4, 21, 24, 27, 31].iter().map(|bit| 1 << bit).sum();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        let has = capabilities(&format!("--drivername={DRIVER}"), set);
        assert_eq!((has & !needed, has & (1 << 21)), (0, 1 << 21), "{set}: {has:x}");
    }
}
