//! A volume's life, and what is refused.

use std::collections::BTreeSet;

use csi::v1;
use tonic::Code;

use crate::stand::{Stand, map};

const MIB: i64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn clones_and_snapshots_outlive_their_sources() {
    let Some(stand) = Stand::start("life", &[]).await else { return };
    let first = stand.created(stand.create("first", 16 * MIB)).await;
    let image = |volume: &v1::Volume| volume.volume_context["imageName"].clone();
    // The image gets content by its back door: no node maps it.
    stand.rbd(&["bench", "--io-type", "write", "--io-size", "64K", "--io-total", "1M", &image(&first)]);
    let sum = |name: &str| {
        let out = stand.folder.path().join("out");
        let _ = std::fs::remove_file(&out);
        stand.rbd(&["export", "--no-progress", name, &out.display().to_string()]);
        std::fs::read(&out).unwrap()
    };
    let written = sum(&image(&first));
    assert!(written.iter().any(|byte| *byte != 0), "there is content");
    let snapshot = stand.snapshot("snapshot", &first.volume_id).await.unwrap();
    assert_eq!(stand.snapshot("snapshot", &first.volume_id).await.unwrap(), snapshot);
    let of = |name: &str, bytes, source| v1::CreateVolumeRequest {
        volume_content_source: source,
        ..stand.create(name, bytes)
    };
    let restored = of("restored", 32 * MIB, conformance::request::restore_of(&snapshot.snapshot_id));
    let restored = stand.created(restored).await;
    let cloned = of("cloned", 16 * MIB, conformance::request::clone_of(&first.volume_id));
    let again = stand.created(cloned.clone()).await;
    let cloned = stand.created(cloned).await;
    assert_eq!(again, cloned);
    assert_eq!((restored.capacity_bytes, cloned.capacity_bytes), (32 * MIB, 16 * MIB));
    let small = of("small", 8 * MIB, conformance::request::clone_of(&first.volume_id));
    assert_eq!(stand.call(small).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(stand.listed().await.len(), 3);
    // In this order each of them still has children.
    stand.delete(&first.volume_id).await.unwrap();
    stand.delete_snapshot(&snapshot.snapshot_id).await.unwrap();
    let bytes = usize::try_from(16 * MIB).unwrap();
    assert_eq!(sum(&image(&restored))[..bytes], written[..]);
    assert_eq!(sum(&image(&cloned)), written);
    stand.delete(&cloned.volume_id).await.unwrap();
    stand.delete(&restored.volume_id).await.unwrap();
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_nothing_is_left() {
    let Some(stand) = Stand::start("refused", &[]).await else { return };
    let mut cases = Vec::new();
    for (name, value, code) in [
        ("pool", "none", Code::InvalidArgument),
        ("clusterID", "none", Code::InvalidArgument),
        ("encrypted", "true", Code::InvalidArgument),
        ("dataPool", "none", Code::InvalidArgument),
        ("objectSize", "1", Code::InvalidArgument),
    ] {
        let mut wanted = stand.create("refused", 16 * MIB);
        wanted.parameters.insert(name.to_owned(), value.to_owned());
        cases.push((format!("{name}={value}"), wanted, code));
    }
    let mut striped = stand.create("refused", 16 * MIB);
    striped.parameters.extend(map(&[("stripeUnit", "5000"), ("stripeCount", "3")]));
    cases.push(("stripes that do not fit".to_owned(), striped, Code::InvalidArgument));
    for (secrets, code) in [
        (map(&[]), Code::InvalidArgument),
        (
            map(&[("userID", "csi"), ("userKey", "AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==")]),
            Code::Unauthenticated,
        ),
        (
            map(&[("userID", "nobody"), ("userKey", stand.secrets()["userKey"].as_str())]),
            Code::Unauthenticated,
        ),
        (map(&[("userID", "csi"), ("userKey", "nonsense")]), Code::Unauthenticated),
    ] {
        let wanted = v1::CreateVolumeRequest { secrets, ..stand.create("refused", 16 * MIB) };
        cases.push(("other secrets".to_owned(), wanted, code));
    }
    for (what, wanted, code) in cases {
        let status = stand.call(wanted).await.unwrap_err();
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(!status.message().contains(&stand.secrets()["userKey"]), "{status}");
        stand.assert_empty();
    }
    let log = std::fs::read_to_string(stand.folder.path().join("driver.log")).unwrap();
    assert!(!log.contains(&stand.secrets()["userKey"]), "the log has the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nameless_volume_is_named_by_its_pool() {
    let Some(stand) = Stand::start("nameless", &["--nameless-volumes"]).await else { return };
    let one = stand.created(stand.create("", 16 * MIB)).await;
    let other = stand.created(stand.create("", 16 * MIB)).await;
    let images = stand.images();
    let named: BTreeSet<&str> =
        [&one, &other].iter().map(|volume| volume.volume_context["imageName"].as_str()).collect();
    assert_eq!(images.iter().map(String::as_str).collect::<BTreeSet<_>>(), named);
    assert!(named.iter().all(|name| name.starts_with("rbd-dynamic-pvc-")), "{named:?}");
    for volume in [one, other] {
        stand.delete(&volume.volume_id).await.unwrap();
    }
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_volumes_have_each_volume_once() {
    let Some(stand) = Stand::start("pages", &[]).await else { return };
    let mut made = BTreeSet::new();
    for number in 0..5 {
        made.insert(stand.created(stand.create(&format!("v{number}"), MIB)).await.volume_id);
    }
    let (mut listed, mut token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListVolumesRequest { max_entries: 2, starting_token: token };
        let page = stand.call(request).await.unwrap();
        assert!(page.entries.len() <= 2);
        listed.extend(page.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id));
        token = page.next_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed.len(), 5);
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), made);
    for id in listed {
        stand.delete(&id).await.unwrap();
    }
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_is_unknown_without_a_manager_daemon() {
    let Some(stand) = Stand::start("capacity", &[]).await else { return };
    let request = v1::GetCapacityRequest { parameters: stand.parameters(), ..Default::default() };
    let status = stand.call(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("ceph-mgr"), "{status}");
}
