//! ceph-csi's configuration file: where the clusters are. It is read anew for each call, so that a change needs no restart.

use std::path::Path;

use serde::Deserialize;

use crate::refusal::Refusal;

/// One cluster; what the node's side and other kinds of storage use is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cluster {
    /// Its key: what classes and ids name it by.
    #[serde(rename = "clusterID")]
    pub(crate) id: String,
    /// Its monitors.
    #[serde(default)]
    pub(crate) monitors: Vec<String>,
    /// What concerns images.
    #[serde(default)]
    pub(crate) rbd: Images,
}

/// What concerns images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Images {
    /// The namespace of each pool; empty: the default one.
    #[serde(default)]
    pub(crate) rados_namespace: String,
    /// How many mirror daemons watch an image that nobody uses.
    #[serde(default)]
    pub(crate) mirror_daemon_count: usize,
}

/// Reads the file's text.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn parse(text: &str) -> Result<Vec<Cluster>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// All clusters of the file.
///
/// # Errors
/// FAILED_PRECONDITION: it is missing or wrong, which its owner can mend.
pub(crate) fn read(path: &Path) -> Result<Vec<Cluster>, Refusal> {
    let wrong =
        |reason: String| Refusal::WrongState(format!("the configuration {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

/// One cluster of the file.
///
/// # Errors
/// FAILED_PRECONDITION as [`read`]; INVALID_ARGUMENT when it does not have the cluster, or without monitors.
pub(crate) fn cluster(path: &Path, id: &str) -> Result<Cluster, Refusal> {
    let found = read(path)?.into_iter().find(|cluster| cluster.id == id);
    let found = found.ok_or_else(|| {
        Refusal::invalid(
            "clusterID",
            format!("{id:?} is not in the configuration {}: add it there", path.display()),
        )
    })?;
    if found.monitors.is_empty() {
        let reason = format!("{id:?} has no monitors in the configuration {}", path.display());
        return Err(Refusal::invalid("clusterID", reason));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceph_csis_file_is_read_and_other_fields_pass() {
        let text = r#"[
            {"clusterID": "rook-ceph", "monitors": ["10.0.0.1:6789", "v2:10.0.0.2:3300"],
             "rbd": {"radosNamespace": "tenant", "netNamespaceFilePath": "/x", "mirrorDaemonCount": 2},
             "readAffinity": {"enabled": true, "crushLocationLabels": ["zone"]},
             "cephFS": {"subvolumeGroup": "g"}, "nfs": {}},
            {"clusterID": "other"}
        ]"#;
        let images = Images { rados_namespace: "tenant".to_owned(), mirror_daemon_count: 2 };
        let monitors = ["10.0.0.1:6789", "v2:10.0.0.2:3300"].map(str::to_owned).to_vec();
        let first = Cluster { id: "rook-ceph".to_owned(), monitors, rbd: images };
        let second = Cluster { id: "other".to_owned(), monitors: Vec::new(), rbd: Images::default() };
        assert_eq!(parse(text), Ok(vec![first, second]));
        assert!(parse("{}").is_err());
    }

    #[test]
    fn a_missing_file_and_an_unknown_cluster_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let refusal = cluster(&path, "a").unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::FailedPrecondition);
        std::fs::write(&path, r#"[{"clusterID": "a"}]"#).unwrap();
        for (id, word) in [("a", "no monitors"), ("b", "add it there")] {
            let refusal = cluster(&path, id).unwrap_err();
            assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
            assert!(refusal.to_string().contains(word), "{refusal}");
        }
    }
}
