//! The attacher's permission to write, taken away and given back while it runs.

use cluster::wait;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::site::{LIMIT, Site};

/// What the attacher patches: group and resource.
const PATCHED: [(&str, &str); 3] = [
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattachments/status"),
];

/// A verb that nobody uses, for a rule must have one.
const NOTHING: &str = "nothing";

impl Site {
    /// Lets the attacher patch everything of its role but these resources, from now on.
    pub(crate) async fn forbid_patching(&self, resources: &[&str]) {
        let name = format!("{}:csi-attacher:external-attacher-runner", self.stand.namespace);
        let roles = self.api::<ClusterRole>();
        let mut rules = roles.get(&name).await.expect("the role").rules.unwrap_or_default();
        for rule in &mut rules {
            let has = |named: &str| rule.resources.iter().flatten().any(|resource| resource == named);
            if PATCHED.iter().any(|(_, resource)| has(resource)) {
                let forbidden = resources.iter().any(|resource| has(resource));
                rule.verbs.retain(|verb| verb != "patch" && verb != NOTHING);
                rule.verbs.push(if forbidden { NOTHING } else { "patch" }.to_owned());
            }
        }
        let patch = Patch::Merge(json!({ "rules": rules }));
        roles.patch(&name, &PatchParams::default(), &patch).await.expect("patched");
        let known = async || {
            for (group, resource) in PATCHED {
                if self.may_patch(group, resource).await == resources.contains(&resource) {
                    return None;
                }
            }
            Some(())
        };
        wait::until("the API server to know the role", LIMIT, known).await.expect("known");
    }

    /// What the API server would say to the attacher.
    async fn may_patch(&self, group: &str, resource: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {
                "user": format!("system:serviceaccount:{}:csi-attacher", self.stand.namespace),
                "resourceAttributes": {"group": group, "resource": resource, "subresource": subresource, "verb": "patch"},
            },
        });
        let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
        let answer = self.api().create(&PostParams::default(), &review).await.expect("an answer");
        answer.status.is_some_and(|status| status.allowed)
    }
}
