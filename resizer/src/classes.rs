//! In which version the cluster serves VolumeAttributesClasses.

use kube::Client;

/// The versions that say the same, the newest first.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const KIND: &str = "VolumeAttributesClass";

/// The version to watch; `None` if the cluster serves neither. If the API server does not answer, we take the newest: not
/// to know is no reason to ignore what claims ask for.
///
/// `Differs:` upstream knows v1 only. It asks only if the gate is not set; with the gate set to true on an older cluster, it
/// waits for ever for a list that is not there. AWS's fork reads v1beta1 if the environment says `ENABLE_VAC_FALLBACK=true`;
/// that changes nothing here.
pub(crate) async fn served(client: &Client) -> Option<&'static str> {
    let mut newest = None;
    for version in VERSIONS {
        match client.list_api_group_resources(&format!("storage.k8s.io/{version}")).await {
            Ok(list) if list.resources.iter().any(|resource| resource.kind == KIND) => return Some(version),
            Ok(_) => {}
            Err(error) if kubernetes::api::is(&error, 404) => {}
            Err(error) => {
                base::warn!("Cannot find out whether the cluster has VolumeAttributesClasses"; "version" => version, "err" => kubernetes::api::text(&error));
                newest = newest.or(Some(version));
            }
        }
    }
    newest
}
