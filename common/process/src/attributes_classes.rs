//! In which version the cluster serves VolumeAttributesClasses.

use kube::Client;
use kubernetes::object::AttributesVersion;

/// The versions that say the same, the newest first.
const VERSIONS: [AttributesVersion; 2] = [AttributesVersion::V1, AttributesVersion::Beta];
const KIND: &str = "VolumeAttributesClass";

/// The version in which VolumeAttributesClasses are read; `None` if the cluster serves neither. If the API server does not
/// answer, we take the newest: not to know is no reason to ignore what claims ask for.
///
/// `Differs:` upstream knows v1 only. It asks only if the gate is not set; with the gate set to true on an older cluster,
/// csi-resizer waits for ever for a list that is not there, and csi-provisioner fails each claim that names such a class.
/// AWS's fork reads v1beta1 if the environment says `ENABLE_VAC_FALLBACK=true`; that changes nothing here. What is found at the
/// start holds until the process is started anew, also if the control plane is upgraded meanwhile.
pub async fn attributes_classes(client: &Client) -> Option<AttributesVersion> {
    let mut newest = None;
    for version in VERSIONS {
        match client.list_api_group_resources(&format!("storage.k8s.io/{}", version.name())).await {
            Ok(list) if list.resources.iter().any(|resource| resource.kind == KIND) => return Some(version),
            Ok(_) => {}
            Err(error) if kubernetes::api::is(&error, 404) => {}
            Err(error) => {
                base::warn!("Cannot find out whether the cluster has VolumeAttributesClasses"; "version" => version.name(), "err" => kubernetes::api::text(&error));
                newest = newest.or(Some(version));
            }
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::{Value, json};

    /// What is found if the API server answers so for v1 and v1beta1.
    async fn found(stable: (u16, Value), beta: (u16, Value)) -> Option<AttributesVersion> {
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (status, body) = match request.uri().path() {
                "/apis/storage.k8s.io/v1" => stable.clone(),
                "/apis/storage.k8s.io/v1beta1" => beta.clone(),
                other => panic!("{other}"),
            };
            let reply =
                http::Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
            std::future::ready(reply)
        });
        attributes_classes(&Client::new(service, "default")).await
    }

    fn list(kinds: &[&str]) -> (u16, Value) {
        let resource = |kind: &&str| json!({"name": "x", "singularName": "", "namespaced": false, "kind": kind, "verbs": ["list"]});
        let resources: Vec<Value> = kinds.iter().map(resource).collect();
        (200, json!({"kind": "APIResourceList", "groupVersion": "storage.k8s.io/v1", "resources": resources}))
    }

    fn refused(code: u16) -> (u16, Value) {
        (code, json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "x", "code": code}))
    }

    #[tokio::test]
    async fn newest_version_that_is_served_is_found() {
        use AttributesVersion::{Beta, V1};
        let (with, without) = (["StorageClass", KIND], ["StorageClass"]);
        for (name, stable, beta, expected) in [
            ("1.34", list(&with), list(&without), Some(V1)),
            ("1.36, both", list(&with), list(&with), Some(V1)),
            ("1.32, beta on", list(&without), list(&with), Some(Beta)),
            ("1.32, beta off", list(&without), list(&without), None),
            ("1.32, no beta at all", list(&without), refused(404), None),
            ("no answer about v1", refused(500), list(&without), Some(V1)),
            ("no answer about v1, but v1beta1 is there", refused(500), list(&with), Some(Beta)),
            ("no answer about v1beta1", list(&without), refused(500), Some(Beta)),
            ("no answer at all", refused(500), refused(500), Some(V1)),
        ] {
            assert_eq!(found(stable, beta).await, expected, "{name}");
        }
    }
}
