//! What becomes of one volume of the cluster that was read.

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::DynamicObject;
use serde_json::Value;
use translation::Plugin;

use crate::change::changes;
use crate::cluster::Cluster;
use crate::decide::{ConversionError, Told, claim_obstacle, converted, converted_claim, obstacles};
use crate::diff::diff;
use crate::record::{BoundClaim, Direction, Record, policy, without_managers};
use crate::report::Entry;
use crate::swap::held;

/// An in-tree volume.
pub(crate) struct Prepared {
    pub(crate) entry: Entry,
    /// What is to be done; `None` if it has no CSI form.
    pub(crate) record: Option<Record>,
}

/// The plan for one volume; `None` if it is not in-tree.
///
/// # Errors
/// The object is none that the API server would have.
pub(crate) fn prepare(
    cluster: &Cluster,
    told: &Told,
    name: &str,
) -> Result<Option<Prepared>, serde_json::Error> {
    let Some(stored) = cluster.volumes.get(name) else { return Ok(None) };
    let volume: PersistentVolume = serde_json::from_value(stored.clone())?;
    let Some(plugin) = volume.spec.as_ref().and_then(Plugin::of_volume) else { return Ok(None) };
    let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let key = holder.map(|holder| format!("{}/{}", text(&holder.namespace), text(&holder.name)));
    let claim = key.as_ref().and_then(|key| cluster.claims.get(key));
    let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    let class = class.and_then(|class| cluster.classes.get(class));
    let entry = |becomes, obstacles| Entry {
        volume: name.to_owned(),
        claim: key.clone(),
        plugin,
        becomes,
        obstacles,
    };
    let after = match converted(told, plugin, volume.clone(), class) {
        Ok(after) => after,
        Err(error) => return Ok(Some(Prepared { entry: entry(Err(error), Vec::new()), record: None })),
    };
    let mut against = obstacles(told, plugin, &volume, &after, &cluster.uses.of(name, key.as_deref()));
    against.extend(claim_obstacle(&volume, claim));
    against.extend(held(stored));
    // Only of the claim that it is bound to: another may have the name by now.
    let uid = holder.and_then(|holder| holder.uid.as_ref());
    let claim = claim.filter(|claim| uid.is_some() && claim.metadata.uid.as_ref() == uid);
    let (before_json, after_json) = (serde_json::to_value(&volume)?, serde_json::to_value(&after)?);
    let (bound, of_claim) = match claim {
        Some(claim) => of_claim(plugin, claim)?,
        None => (None, Vec::new()),
    };
    let record = Record {
        direction: Direction::ToCsi,
        changes: changes(&before_json, &after_json),
        policy: policy(stored),
        volume: without_managers(stored.clone()),
        claim: bound,
    };
    let becomes: Result<_, ConversionError> = Ok((diff(&before_json, &after_json)?, of_claim));
    Ok(Some(Prepared { entry: entry(becomes, against), record: Some(record) }))
}

type OfClaim = (Option<BoundClaim>, Vec<String>);

/// What becomes of the claim, as changes and as text.
fn of_claim(plugin: Plugin, claim: &DynamicObject) -> Result<OfClaim, serde_json::Error> {
    let after = converted_claim(plugin, claim.clone());
    let lines = diff(claim, &after)?;
    let changes = changes(&serde_json::to_value(claim)?, &serde_json::to_value(&after)?);
    Ok((Some(bound_claim(claim, changes)), lines))
}

/// The claim, with what changes of it.
pub(crate) fn bound_claim(claim: &DynamicObject, changes: Vec<crate::change::Change>) -> BoundClaim {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    BoundClaim {
        namespace: text(&claim.metadata.namespace),
        name: text(&claim.metadata.name),
        uid: text(&claim.metadata.uid),
        changes,
    }
}

/// The claim that a stored volume is bound to, if it is there.
pub(crate) fn claim_of<'a>(cluster: &'a Cluster, volume: &Value) -> Option<&'a DynamicObject> {
    let text = |name: &str| volume.pointer(&format!("/spec/claimRef/{name}")).and_then(Value::as_str);
    let key = format!("{}/{}", text("namespace")?, text("name")?);
    cluster.claims.get(&key).filter(|claim| claim.metadata.uid.as_deref() == text("uid"))
}
