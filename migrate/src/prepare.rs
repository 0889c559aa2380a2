//! Puts together what is done with one volume: what it becomes, what stands against that, and what is written down of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::DynamicObject;
use kubernetes::object::annotation::CLASS_BETA;
use serde_json::Value;
use translation::Plugin;

use crate::change::{Change, changes, ends_at, reversed};
use crate::decide::{
    ConversionError, Scope, Users, claim_obstacle, converted, converted_claim, in_use, obstacles,
    other_handle, unsettled,
};
use crate::diff::diff;
use crate::record::{BoundClaim, Direction, Record, plain, text};
use crate::report::PlannedVolume;
use crate::swap::held;

/// What the plan for a volume depends on beside the objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanInput {
    pub(crate) scope: Scope,
    /// Every StorageClass, by name.
    pub(crate) classes: BTreeMap<String, StorageClass>,
}

/// A volume and what hangs on it, read at one moment; without what we ourselves have changed of them.
#[derive(Debug)]
pub(crate) struct Objects<'a> {
    pub(crate) volume: &'a Value,
    /// The claim of the name that the volume gives.
    pub(crate) claim: Option<&'a DynamicObject>,
    pub(crate) users: Users,
}

/// An in-tree volume.
pub(crate) struct Prepared {
    pub(crate) entry: PlannedVolume,
    /// What is to be done; `None` if it has no CSI form.
    pub(crate) record: Option<Record>,
}

/// `namespace/name` of the claim that the volume names.
pub(crate) fn claim_key(volume: &Value) -> Option<String> {
    let holder = volume.pointer("/spec/claimRef")?;
    Some(format!("{}/{}", text(holder, "/namespace"), text(holder, "/name")))
}

/// The plan for one volume; `None` if it is not in-tree.
///
/// # Errors
/// The object is none that the API server would have.
pub(crate) fn prepare(
    input: &PlanInput,
    objects: &Objects<'_>,
) -> Result<Option<Prepared>, serde_json::Error> {
    let PlanInput { scope, classes } = input;
    let volume: PersistentVolume = serde_json::from_value(objects.volume.clone())?;
    let Some(plugin) = volume.spec.as_ref().and_then(Plugin::of_volume) else { return Ok(None) };
    let class = class_name(&volume).and_then(|class| classes.get(class));
    let users = users(objects);
    let entry = |becomes, obstacles| PlannedVolume {
        volume: text(objects.volume, "/metadata/name").to_owned(),
        claim: claim_key(objects.volume),
        plugin,
        becomes,
        obstacles,
    };
    let after = match converted(scope, plugin, volume.clone(), class) {
        Ok(after) => after,
        Err(error) => return Ok(Some(Prepared { entry: entry(Err(error), Vec::new()), record: None })),
    };
    let mut against = obstacles(scope, &volume, &after, &users);
    against.extend(claim_obstacle(&volume, objects.claim));
    against.extend(held(objects.volume));
    let (before_json, after_json) = (serde_json::to_value(&volume)?, serde_json::to_value(&after)?);
    let (bound, of_claim) = match bound(objects) {
        Some(claim) => of_claim(plugin, claim)?,
        None => (None, Vec::new()),
    };
    let record = Record {
        direction: Direction::ToCsi,
        changes: changes(&before_json, &after_json),
        volume: plain(objects.volume.clone()),
        claim: bound,
    };
    let becomes: Result<_, ConversionError> = Ok((diff(&before_json, &after_json)?, of_claim));
    Ok(Some(Prepared { entry: entry(becomes, against), record: Some(record) }))
}

/// How a volume goes back that `there` has converted, or what stands against it.
///
/// # Errors
/// The object is none that the API server would have.
pub(crate) fn prepare_back(
    input: &PlanInput,
    objects: &Objects<'_>,
    there: &Record,
) -> Result<Result<Record, String>, serde_json::Error> {
    if !ends_at(objects.volume, &there.changes) {
        return Ok(Err("it is no longer the volume that was converted".to_owned()));
    }
    let volume: PersistentVolume = serde_json::from_value(objects.volume.clone())?;
    let claim = bound(objects).map(|claim| {
        let own = there.claim.as_ref().filter(|bound| Some(&bound.uid) == claim.metadata.uid.as_ref());
        bound_claim(claim, own.map_or_else(Vec::new, |bound| reversed(&bound.changes)))
    });
    let record = there.back(objects.volume.clone(), claim);
    let after: PersistentVolume = serde_json::from_value(record.created(None))?;
    let (mut against, users) = (unsettled(&volume), users(objects));
    against.extend(claim_obstacle(&volume, objects.claim));
    against.extend(held(objects.volume));
    against.extend(other_handle(&input.scope, &volume, &after, &users));
    if !input.scope.in_use {
        against.extend(in_use(&users));
    }
    Ok(if against.is_empty() { Ok(record) } else { Err(against.join(", ")) })
}

/// The plan for a volume that has one already, as things are now; or what stands against it now.
pub(crate) fn prepare_anew(input: &PlanInput, objects: &Objects<'_>, old: &Record) -> Result<Record, String> {
    let unreadable = |error: serde_json::Error| format!("it cannot be read: {error}");
    if old.direction == Direction::ToInTree {
        return prepare_back(input, objects, &old.conversion()).map_err(unreadable)?;
    }
    let Some(Prepared { entry, record }) = prepare(input, objects).map_err(unreadable)? else {
        return Err("it is not in-tree any more".to_owned());
    };
    match record.filter(|_| entry.is_ready()) {
        Some(record) => Ok(record),
        None => Err(entry.becomes.err().map_or(entry.obstacles.join(", "), |error| error.to_string())),
    }
}

/// The volume's class; the annotation comes first, and the volumes of the oldest clusters have nothing else.
fn class_name(volume: &PersistentVolume) -> Option<&String> {
    let annotations = volume.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|all| all.get(CLASS_BETA));
    annotation.or(volume.spec.as_ref()?.storage_class_name.as_ref())
}

/// Who uses the volume. Pods of another claim, which has the name by now, do not.
fn users(objects: &Objects<'_>) -> Users {
    match bound(objects) {
        Some(_) => objects.users.clone(),
        None => Users { pods: Vec::new(), ..objects.users.clone() },
    }
}

/// The very claim that the volume is bound to: another may have the name by now.
fn bound<'a>(objects: &Objects<'a>) -> Option<&'a DynamicObject> {
    let uid = text(objects.volume, "/spec/claimRef/uid");
    objects.claim.filter(|claim| !uid.is_empty() && claim.metadata.uid.as_deref() == Some(uid))
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
fn bound_claim(claim: &DynamicObject, changes: Vec<Change>) -> BoundClaim {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    BoundClaim {
        namespace: text(&claim.metadata.namespace),
        name: text(&claim.metadata.name),
        uid: text(&claim.metadata.uid),
        changes,
    }
}

#[cfg(test)]
mod tests;
