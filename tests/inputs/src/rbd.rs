//! What the driver for images in Ceph reads: classes, Secrets, the configuration, ids, the journal, what programs say.

use std::collections::BTreeMap;

use driver::rbd::parsers;

use crate::random::texts;

/// In every Secret.
const KEY: &str = "AQAKEYTHATNOBODYMAYSEE==";

/// Lines `key=value`.
fn map(text: &str) -> BTreeMap<String, String> {
    let entries = text.split('\n').filter_map(|line| line.split_once('='));
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(crate) fn class_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "clusterID=c\npool=rbd\nimageFeatures=layering,exclusive-lock,object-map,fast-diff\nmounter=rbd-nbd",
        "clusterID=c\npool=rbd\nstripeUnit=4096\nstripeCount=8\nobjectSize=4194304\ndataPool=ec\nencrypted=false",
        "clusterID=c\npool=rbd\nvolumeNamePrefix=k8s-\nsnapshotNamePrefix=s-\ncsi.storage.k8s.io/fstype=xfs",
        "userID=csi\nuserKey=AQ==\nencryptionPassphrase=p",
        "key=AQ==\nadminId=kube",
        "csi.volname=pvc-1\ncsi.imagename=k8s-1\ncsi.imageid=10ab\ncsi.journalpool=0000000000000003",
    ])
}

/// A class, a Secret and the journal's keys.
///
/// # Panics
/// When a parameter of the sidecars is handed on, a name could lead into another pool, or a refusal tells a key.
pub fn rbd_class(data: &[u8]) {
    let map = map(&String::from_utf8_lossy(data));
    if let Ok(context) = parsers::volume_class(&map) {
        assert!(!context.keys().any(|key| key.starts_with("csi.storage.k8s.io/")), "{context:?}");
        assert_eq!(context.get("imageName").map(String::as_str), Some("image"));
    }
    if let Ok(prefix) = parsers::snapshot_class(&map) {
        assert!(!prefix.is_empty() && !prefix.contains(['/', '@', '\0']), "{prefix:?}");
    }
    let mut secrets = map.clone();
    secrets.insert("key".to_owned(), KEY.to_owned());
    match parsers::user(&secrets) {
        Ok(user) => assert_eq!((user.trim(), user.is_empty()), (user.as_str(), false)),
        Err(refusal) => assert!(!refusal.to_string().contains(KEY), "{refusal}"),
    }
    assert!(!parsers::image(&map).is_empty());
}

pub(crate) fn file_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"[{"clusterID":"c","monitors":["10.0.0.1:6789"],"rbd":{"radosNamespace":"n","mirrorDaemonCount":2}},{"clusterID":"d"}]"#,
        r#"{"Version":3,"pool":"rbd","radosNamespace":"","image":"i","accessType":true,"device":"/dev/nbd0","mapper":"nbd"}"#,
        r#"[{"id":"0","pool":"rbd","namespace":"","name":"i","snap":"-","device":"/dev/rbd0"},{"id":7,"pool":"p","name":"i","device":"/d"}]"#,
        r#"[{"id":7,"pool":"rbd","namespace":"","image":"i","snap":"","device":"/dev/nbd0","cookie":""}]"#,
    ])
}

/// The configuration, a staging folder's note, and the list of mapped images.
///
/// # Panics
/// When a note that is written is not read as the same.
pub fn rbd_files(data: &[u8]) {
    if let Some(written) = parsers::stashed(data) {
        assert_eq!(parsers::stashed(&written), Some(written));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (parsers::clusters(text), parsers::mapped(text));
}

pub(crate) fn id_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "0001-0009-rook-ceph-0000000000000002-50d53503-9da1-11ed-847e-bacf8f2f1297",
        "mig_mons-7982de6a23b77bce50b1ba9f2e879cce_image-50d53503-9da1-11ed-847e-bacf8f2f1297_726264",
        "0000000000000002/50d53503-9da1-11ed-847e-bacf8f2f1297",
        "csi-vol-50d53503-9da1-11ed-847e-bacf8f2f1297-temp",
    ])
}

/// Ids, values of the journal's directory, and names of snapshots.
///
/// # Panics
/// When an id that is written is not read as the same.
pub fn rbd_ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(id) = parsers::id(text).filter(|_| text.starts_with("0001-")) {
        assert!(id.len() <= 128, "{id}");
        assert_eq!(parsers::id(&id), Some(id.clone()), "{text:?}");
    }
    for uuid in [parsers::entry(text), parsers::snapshot(text)].into_iter().flatten() {
        assert_eq!(uuid.len(), 36, "{text:?}");
    }
}
