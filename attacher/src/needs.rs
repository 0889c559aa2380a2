//! The permissions that attaching needs: no more than upstream's sample role grants.

use kubernetes::permission::Need;

const STORAGE: &str = "storage.k8s.io";
const STATUS: Need = need(STORAGE, "volumeattachments/status", &["patch"]);

/// For a driver that publishes nothing.
const TO_MARK: [Need; 2] = [need(STORAGE, "volumeattachments", &["list", "watch", "patch"]), STATUS];
/// For a driver that publishes.
const TO_ATTACH: [Need; 4] = [
    need(STORAGE, "volumeattachments", &["get", "list", "watch", "patch"]),
    STATUS,
    need("", "persistentvolumes", &["get", "list", "watch", "patch"]),
    need(STORAGE, "csinodes", &["list", "watch"]),
];

const fn need(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Need {
    Need { group, resource, verbs, namespaced: false }
}

/// What is needed for a driver that publishes volumes, or does not.
pub(crate) fn needs(publishes: bool) -> Vec<Need> {
    if publishes { TO_ATTACH.to_vec() } else { TO_MARK.to_vec() }
}
