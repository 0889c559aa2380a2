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

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::{Value, json};

    /// What is found if the API server answers so for v1 and v1beta1.
    async fn found(stable: (u16, Value), beta: (u16, Value)) -> Option<&'static str> {
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
        served(&Client::new(service, "default")).await
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
        let (with, without) = (["StorageClass", KIND], ["StorageClass"]);
        for (name, stable, beta, expected) in [
            ("1.34", list(&with), list(&without), Some("v1")),
            ("1.36, both", list(&with), list(&with), Some("v1")),
            ("1.32, beta on", list(&without), list(&with), Some("v1beta1")),
            ("1.32, beta off", list(&without), list(&without), None),
            ("1.32, no beta at all", list(&without), refused(404), None),
            ("no answer about v1", refused(500), list(&without), Some("v1")),
            ("no answer about v1, but v1beta1 is there", refused(500), list(&with), Some("v1beta1")),
            ("no answer about v1beta1", list(&without), refused(500), Some("v1beta1")),
            ("no answer at all", refused(500), refused(500), Some("v1")),
        ] {
            assert_eq!(found(stable, beta).await, expected, "{name}");
        }
    }
}
