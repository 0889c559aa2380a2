//! The Secret that a class names for a call. Only whether it exists is asked, never what is in it.

use std::collections::BTreeMap;

use kubernetes::object::{is_label, is_subdomain};
use kubernetes::secret::{ClaimFacts, Facts, SecretRef, Stage, reference};
use serde_json::Value;

use crate::ask::Kind;
use crate::field::{created, name, namespace, uid};
use crate::finding::{Finding, Who};
use crate::view::View;

/// The map of texts at a JSON pointer.
pub(crate) fn map(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let texts =
        map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.collect()
}

/// Why CreateVolume cannot have its Secret.
pub(crate) fn of_claim(view: &View, claim: &Value, class: &Value) -> Option<Finding> {
    let parameters = map(class, "/parameters");
    let volume = format!("pvc-{}", uid(claim));
    let annotations = map(claim, "/metadata/annotations");
    let facts =
        ClaimFacts { namespace: namespace(claim), name: name(claim), annotations: Some(&annotations) };
    let facts = Facts { volume_name: &volume, claim: Some(facts) };
    match reference(Stage::Provision, &parameters, &facts) {
        Ok(None) => None,
        Ok(Some(secret)) => missing(view, &secret, &format!("StorageClass {}", name(class))),
        Err(error) => {
            let happened = format!(
                "StorageClass {} means to name a Secret for CreateVolume, and names none",
                name(class)
            );
            let waits = format!("StorageClass {} with parameters that name a Secret", name(class));
            let finding = Finding::new("SecretUnnamed", Who::Admin, happened, waits)
                .error(Some(error.to_string()))
                .since(created(claim));
            Some(finding.run(format!("kubectl get storageclass {} -o yaml", name(class))))
        }
    }
}

/// That a Secret is not there, which `namer` names.
pub(crate) fn missing(view: &View, secret: &SecretRef, namer: &str) -> Option<Finding> {
    let SecretRef { namespace, name } = secret;
    if !view.one(Kind::Secret, namespace, name).is_absent() {
        return None;
    }
    let happened = format!("{namer} names Secret {namespace}/{name}, and there is none");
    let finding = Finding::new("SecretMissing", Who::Admin, happened, format!("Secret {namespace}/{name}"));
    if !is_subdomain(name) || !is_label(namespace) {
        return Some(finding);
    }
    Some(finding.run(format!("kubectl -n {namespace} create secret generic {name} --from-env-file=FILE")))
}
