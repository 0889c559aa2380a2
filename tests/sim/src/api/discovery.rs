//! The documents by which clients learn what is served.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::admission::set_at;
use super::resource::{RESOURCES, Resource, StatusRule};

/// The document at `path`, without the resources that `hidden` names; `None` if there is none.
pub(crate) fn document(path: &str, hidden: &dyn Fn(&Resource) -> bool) -> Option<Value> {
    let served = || RESOURCES.iter().filter(|resource| !hidden(resource));
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "37", "gitVersion": "v1.37.2", "gitCommit": "unknown", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64",
        })),
        ["api"] => {
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
        }
        ["apis"] => {
            // In this order: a group here has one version.
            let mut groups: BTreeSet<(&str, &str)> =
                served().map(|resource| (resource.group, resource.version)).collect();
            groups.retain(|(group, _)| !group.is_empty());
            groups.insert(("authorization.k8s.io", "v1"));
            let groups: Vec<Value> = groups.iter().map(|(name, version)| group(name, version)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["apis", name] => {
            let resource = served().find(|resource| resource.group == *name)?;
            let mut document = group(name, resource.version);
            set_at(&mut document, &["kind"], json!("APIGroup"));
            set_at(&mut document, &["apiVersion"], json!("v1"));
            Some(document)
        }
        ["api", version] => resources("", version, served().collect()),
        ["apis", group, version] => resources(group, version, served().collect()),
        _ => None,
    }
}

fn group(name: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str, version: &str, mut served: Vec<&'static Resource>) -> Option<Value> {
    served.retain(|resource| (resource.group, resource.version) == (group, version));
    let group_version = served.first()?.api_version();
    let mut list = Vec::new();
    for resource in served {
        let one = |name: String, singular: String, verbs: &[&str]| {
            json!({
                "name": name,
                "singularName": singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": verbs,
            })
        };
        let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        list.push(one(resource.plural.to_owned(), resource.kind.to_lowercase(), &verbs));
        if resource.status != StatusRule::None {
            let verbs = ["get", "patch", "update"];
            list.push(one(format!("{}/status", resource.plural), String::new(), &verbs));
        }
    }
    Some(
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list }),
    )
}
