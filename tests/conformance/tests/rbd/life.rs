//! A volume's life, and what is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use csi::v1;
use tonic::Code;

use crate::stand::{Stand, map, until_done};

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

/// How many parents an image has above it.
fn parents(stand: &Stand, image: &str) -> usize {
    let info = stand.rbd(&["info", image]);
    let Some(line) = info.lines().find_map(|line| line.trim().strip_prefix("parent: ")) else { return 0 };
    let name = line.split('@').next().and_then(|spec| spec.rsplit('/').next()).unwrap();
    1 + parents(stand, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_clones_is_cut_where_it_is_long() {
    let Some(stand) = Stand::start("chain", &[]).await else { return };
    let image = |volume: &v1::Volume| volume.volume_context["imageName"].clone();
    let first = stand.created(stand.create("clone-0", 16 * MIB)).await;
    stand.rbd(&["bench", "--io-type", "write", "--io-size", "64K", "--io-total", "256K", &image(&first)]);
    let sum = |name: &str| {
        let out = stand.folder.path().join("out");
        let _ = std::fs::remove_file(&out);
        stand.rbd(&["export", "--no-progress", name, &out.display().to_string()]);
        std::fs::read(&out).unwrap()
    };
    let (written, patience) = (sum(&image(&first)), Duration::from_secs(60));
    let mut all = vec![first];
    let mut longest = 0;
    for number in 1..=6 {
        let source = conformance::request::clone_of(&all[number - 1].volume_id);
        let wanted = || v1::CreateVolumeRequest {
            volume_content_source: source.clone(),
            ..stand.create(&format!("clone-{number}"), 16 * MIB)
        };
        // ABORTED while nothing may be added to the chain.
        let made = until_done(patience, async || stand.call(wanted()).await).await.volume.unwrap();
        let depth = parents(&stand, &image(&made));
        assert!(depth <= 8, "clone {number} has {depth} parents");
        longest = longest.max(depth);
        all.push(made);
    }
    assert!(longest >= 2, "the clones have parents");
    for volume in &all {
        assert!(sum(&image(volume)) == written, "{volume:?} has the content");
        until_done(patience, async || stand.delete(&volume.volume_id).await).await;
    }
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_copy_needs_its_source_no_longer() {
    const UUID: &str = "50d53503-9da1-11ed-847e-bacf8f2f1297";
    let Some(stand) = Stand::start("sourceless", &[]).await else { return };
    let source = stand.created(stand.create("source", 16 * MIB)).await;
    let of = |name: &str| v1::CreateVolumeRequest {
        volume_content_source: conformance::request::clone_of(&source.volume_id),
        ..stand.create(name, 16 * MIB)
    };
    let made = stand.created(of("made")).await;
    // Of a call that ended before the clone had its content.
    let image = format!("csi-vol-{UUID}");
    stand.rbd(&["create", "--size", "16M", &image]);
    stand.set_omap("csi.volumes.default", &[("csi.volume.begun", UUID)]);
    stand.set_omap(&format!("csi.volume.{UUID}"), &[("csi.volname", "begun"), ("csi.imagename", &image)]);
    stand.delete(&source.volume_id).await.unwrap();
    assert_eq!(stand.created(of("made")).await.volume_id, made.volume_id);
    for name in ["begun", "begun", "never"] {
        assert_eq!(stand.call(of(name)).await.unwrap_err().code(), Code::NotFound, "{name}");
    }
    stand.delete(&made.volume_id).await.unwrap();
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_calls_left_goes_with_its_volume() {
    const CUT: &str = "50d53503-9da1-11ed-847e-bacf8f2f1297";
    const CLONE: &str = "50d53503-9da1-11ed-847e-bacf8f2f1298";
    let Some(stand) = Stand::start("left-behind", &[]).await else { return };
    let source = stand.created(stand.create("source", 16 * MIB)).await;
    let image = source.volume_context["imageName"].clone();
    let kept = stand.snapshot("kept", &source.volume_id).await.unwrap().snapshot_id;
    // Of calls that ended between their snapshot and its clone.
    let (cut, clone) = (format!("csi-snap-{CUT}"), format!("csi-vol-{CLONE}"));
    stand.set_omap("csi.snaps.default", &[("csi.snap.cut", CUT)]);
    let attributes = [("csi.snapname", "cut"), ("csi.imagename", &cut), ("csi.source", &image)];
    stand.set_omap(&format!("csi.snap.{CUT}"), &attributes);
    stand.set_omap("csi.volumes.default", &[("csi.volume.clone", CLONE)]);
    stand.set_omap(&format!("csi.volume.{CLONE}"), &[("csi.volname", "clone"), ("csi.imagename", &clone)]);
    for snapshot in [&cut, &format!("{clone}-temp"), "by-hand"] {
        stand.rbd(&["snap", "create", "--no-progress", &format!("{image}@{snapshot}")]);
    }
    let status = stand.delete(&source.volume_id).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "an administrator's snapshot stays: {status}");
    stand.rbd(&["snap", "rm", "--no-progress", &format!("{image}@by-hand")]);
    stand.delete(&source.volume_id).await.unwrap();
    // A snapshot that is whole is found by its name all the same; what was begun is undone.
    assert_eq!(stand.snapshot("kept", &source.volume_id).await.unwrap().snapshot_id, kept);
    let clone = v1::CreateVolumeRequest {
        volume_content_source: conformance::request::clone_of(&source.volume_id),
        ..stand.create("clone", 16 * MIB)
    };
    assert_eq!(stand.call(clone).await.unwrap_err().code(), Code::NotFound);
    for name in ["cut", "cut", "never"] {
        let status = stand.snapshot(name, &source.volume_id).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{name}: {status}");
    }
    stand.delete_snapshot(&kept).await.unwrap();
    stand.assert_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_clone_in_another_pool_bars_no_delete() {
    const CLONE: &str = "50d53503-9da1-11ed-847e-bacf8f2f1299";
    const POOL: &str = "elsewhere";
    let Some(stand) = Stand::start("other-pool", &[]).await else { return };
    stand.ceph.run("ceph", &["osd", "pool", "create", POOL, "1"]).unwrap();
    let source = stand.created(stand.create("source", 16 * MIB)).await;
    // Of a call that ended between its snapshot and its clone.
    let image = format!("csi-vol-{CLONE}");
    let put = |object: &str, key: &str, value: &str| {
        let place = ["--pool", POOL, "--namespace", &stand.namespace];
        stand.ceph.run("rados", &[&place[..], &["setomapval", object, key, value]].concat()).unwrap();
    };
    put("csi.volumes.default", "csi.volume.clone", CLONE);
    let object = format!("csi.volume.{CLONE}");
    put(&object, "csi.volname", "clone");
    put(&object, "csi.imagename", &image);
    let snapshot = format!("{}@{image}-temp", source.volume_context["imageName"]);
    stand.rbd(&["snap", "create", "--no-progress", &snapshot]);
    stand.delete(&source.volume_id).await.unwrap();
    stand.assert_empty();
}
