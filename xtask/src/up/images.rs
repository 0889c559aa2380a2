//! The show with volumes that are images of a Ceph.

use anyhow::Result;
use cluster::ceph::{Ceph, POOL, USER};
use serde_json::json;

/// The driver's name.
pub(crate) const DRIVER: &str = "rbd.csi.ceph.com";
/// What the driver's configuration calls the cluster.
const CLUSTER: &str = "ceph";
/// The class's name in the example claim.
const CLASS: &str = "mooring-hostpath";

/// The driver's flags; what they name is in the Ceph's folder.
pub(crate) fn flags(ceph: &Ceph) -> Result<Vec<String>> {
    let file = ceph.folder().join("clusters.json");
    let clusters = json!([{ "clusterID": CLUSTER, "monitors": [ceph.monitor()] }]);
    std::fs::write(&file, clusters.to_string())?;
    Ok(vec!["--backend=rbd".to_owned(), format!("--ceph-config={}", file.display())])
}

/// A Secret in this namespace, and the class that the example claim names.
pub(crate) fn class(ceph: &Ceph, namespace: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "csi-rbd-secret" },
        "stringData": { "userID": USER, "userKey": ceph.key() },
    });
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": CLASS },
        "provisioner": DRIVER,
        "parameters": {
            "clusterID": CLUSTER, "pool": POOL, "imageFeatures": "layering",
            "csi.storage.k8s.io/provisioner-secret-name": "csi-rbd-secret",
            "csi.storage.k8s.io/provisioner-secret-namespace": namespace,
        },
    });
    format!("{secret}\n---\n{class}")
}

/// How many images there are.
pub(crate) fn count(ceph: &Ceph) -> Result<usize> {
    Ok(ceph.run("rbd", &["ls", "--pool", POOL])?.lines().count())
}
