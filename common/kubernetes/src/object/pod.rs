//! Pods, of which only the claims that they use are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::wire::wire;
use super::{Meta, Object, Scope};

/// A pod that uses claims and has not ended.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Identity.
    pub meta: Meta,
    /// Names of the claims of its namespace that it uses.
    pub claims: Box<[Box<str>]>,
}

/// A pod as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WirePod {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    volumes: Option<Vec<PodVolume>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodVolume {
    name: Box<str>,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSource {
    claim_name: Box<str>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Box<str>,
}

wire!(WirePod, "", "v1", "Pod", "pods", NamespaceResourceScope);

impl Object for Pod {
    type Wire = WirePod;

    /// Keeps pods that use a claim, until they have ended.
    ///
    /// `Differs:` the Go resizer does not see that a pod uses the claim of its generic ephemeral volume.
    fn slim(wire: WirePod, _: &Scope) -> Option<Self> {
        if matches!(&*wire.status.phase, "Succeeded" | "Failed") {
            return None;
        }
        let mut metadata = wire.metadata;
        metadata.finalizers = None;
        let pod = metadata.name.as_deref().unwrap_or_default();
        let claim = |volume: PodVolume| match (volume.persistent_volume_claim, volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name),
            (None, Some(_)) => Some(format!("{pod}-{}", volume.name).into()),
            (None, None) => None,
        };
        let claims: Box<[Box<str>]> = wire.spec.volumes.into_iter().flatten().filter_map(claim).collect();
        (!claims.is_empty()).then(|| Self { claims, meta: Meta::new(metadata, |_| false) })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claims(phase: &str, volumes: Value) -> Option<Vec<String>> {
        let object = json!({
            "metadata": {"name": "p", "namespace": "ns"}, "spec": {"volumes": volumes}, "status": {"phase": phase},
        });
        let pod = Pod::slim(serde_json::from_value(object).unwrap(), &Scope::default())?;
        Some(pod.claims.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn pod_uses_its_claims_until_it_has_ended() {
        let claim = json!({"name": "a", "persistentVolumeClaim": {"claimName": "data"}});
        let ephemeral = json!({"name": "e", "ephemeral": {"volumeClaimTemplate": {}}});
        let other = json!({"name": "o", "emptyDir": {}});
        let volumes = json!([claim, ephemeral, other]);
        for phase in ["", "Pending", "Running", "Unknown"] {
            assert_eq!(
                claims(phase, volumes.clone()),
                Some(vec!["data".to_owned(), "p-e".to_owned()]),
                "{phase}"
            );
        }
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(claims(phase, volumes.clone()), None, "{phase}");
        }
        assert_eq!((claims("Running", json!([other])), claims("Running", Value::Null)), (None, None));
    }
}
