//! A claim that is not there, because a quota refuses it.

use base::quantity::Quantity;
use serde_json::Value;

use crate::ask::Kind;
use crate::field::name;
use crate::view::View;

/// Which quotas of the namespace leave nothing for claims: one sentence each.
pub(crate) fn used_up(view: &View, namespace: &str) -> Vec<String> {
    let quotas = view.all(Kind::Quota, namespace).unwrap_or_default();
    quotas.iter().flat_map(of_quota).collect()
}

fn of_quota(quota: &Value) -> Vec<String> {
    let hard = quota.pointer("/status/hard").and_then(Value::as_object);
    let about_claims = |resource: &str| {
        matches!(resource, "requests.storage" | "persistentvolumeclaims")
            || resource.contains(".storageclass.storage.k8s.io/")
    };
    let line = |(resource, hard): (&String, &Value)| {
        let used = quota.pointer("/status/used")?.get(resource)?.as_str()?;
        let hard = hard.as_str()?;
        let nanos = |text: &str| Quantity::parse(text).ok().map(|quantity| quantity.nanos());
        let is_full = about_claims(resource) && nanos(used)? >= nanos(hard)?;
        is_full.then(|| format!("ResourceQuota {} is used up: {used} of {hard} {resource}", name(quota)))
    };
    hard.into_iter().flatten().filter_map(line).collect()
}
