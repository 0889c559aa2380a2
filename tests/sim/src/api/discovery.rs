//! The documents by which clients learn what is served.

use serde_json::{Value, json};

use super::resource::{RESOURCES, Resource, StatusRule};

/// The document at `path`, without the resources that `hidden` names; `None` if there is none.
pub(crate) fn document(path: &str, hidden: &dyn Fn(&Resource) -> bool) -> Option<Value> {
    let served = || RESOURCES.iter().filter(|resource| !hidden(resource));
    match path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "unknown", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64",
        })),
        ["api"] => {
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
        }
        ["apis"] => {
            let mut groups: Vec<&str> =
                served().map(|resource| resource.group).filter(|group| !group.is_empty()).collect();
            groups.push("authorization.k8s.io");
            groups.sort_unstable();
            groups.dedup();
            let groups: Vec<Value> = groups.iter().map(|name| group(name)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["apis", name] => served().any(|resource| resource.group == *name).then(|| {
            let mut document = group(name);
            super::admission::set_at(&mut document, &["kind"], json!("APIGroup"));
            super::admission::set_at(&mut document, &["apiVersion"], json!("v1"));
            document
        }),
        ["api", "v1"] => Some(resources("", "v1", &mut served())),
        ["apis", group, "v1"] if served().any(|resource| resource.group == *group) => {
            Some(resources(group, &format!("{group}/v1"), &mut served()))
        }
        _ => None,
    }
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str, group_version: &str, served: &mut dyn Iterator<Item = &'static Resource>) -> Value {
    let mut list = Vec::new();
    for resource in served.filter(|resource| resource.group == group) {
        let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        let one = |name: String, verbs: &[&str]| {
            let singular = if name.contains('/') { String::new() } else { resource.kind.to_lowercase() };
            json!({
                "name": name,
                "singularName": singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": verbs,
            })
        };
        list.push(one(resource.plural.to_owned(), &verbs));
        if resource.status != StatusRule::None {
            list.push(one(format!("{}/status", resource.plural), &["get", "patch", "update"]));
        }
    }
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list })
}
