//! What must hold at the end of a life: nothing leaked, nothing stuck, nothing done twice.

use std::collections::{BTreeMap, BTreeSet};

use csi::v1::{CreateVolumeRequest, DeleteVolumeRequest};
use serde_json::Value;
use sim::objects::DRIVER;
use sim::{Running, World, id_of};
use tonic::Code;

const PROVISIONER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> String {
    text(object, "/metadata/name").to_owned()
}

fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == finalizer))
}

/// What is wrong with the world, once it has come to rest.
pub(crate) fn judge(world: &World, running: &[Running]) -> Result<(), String> {
    let claims = volumes_of_claims(world)?;
    nothing_but(world, &claims)?;
    attached_as_pods_say(world, &claims)?;
    done_once(world)?;
    let panics: Vec<String> = running.iter().flat_map(Running::panics).collect();
    let wrong = [panics, world.driver.overlaps()].concat();
    if wrong.is_empty() { Ok(()) } else { Err(format!("panics or calls beside each other: {wrong:?}")) }
}

/// The volume object of each claim; every claim is bound.
fn volumes_of_claims(world: &World) -> Result<BTreeMap<String, String>, String> {
    let mut volumes = BTreeMap::new();
    for claim in world.api.list("persistentvolumeclaims") {
        // A claim that a pod still uses waits for it.
        if text(&claim, "/status/phase") != "Bound" {
            return Err(format!("not bound: {claim}"));
        }
        let expected = format!("pvc-{}", text(&claim, "/metadata/uid"));
        if text(&claim, "/spec/volumeName") != expected {
            return Err(format!("bound to another volume than {expected}: {claim}"));
        }
        volumes.insert(name(&claim), expected);
    }
    Ok(volumes)
}

/// There are the volumes of the claims, and no other, neither as objects nor in the driver.
fn nothing_but(world: &World, claims: &BTreeMap<String, String>) -> Result<(), String> {
    let wanted: BTreeSet<String> = claims.values().cloned().collect();
    let objects = world.api.list("persistentvolumes");
    let there: BTreeSet<String> = objects.iter().map(name).collect();
    if there != wanted {
        return Err(format!("volumes {there:?}, claims are bound to {wanted:?}"));
    }
    let handles: BTreeSet<String> = world.driver.volumes().into_keys().collect();
    let named: BTreeSet<String> =
        objects.iter().map(|volume| text(volume, "/spec/csi/volumeHandle").to_owned()).collect();
    let ids: BTreeSet<String> = wanted.iter().map(|name| id_of(name)).collect();
    if handles != named || handles != ids {
        return Err(format!(
            "the driver has {handles:?}, the objects name {named:?}, the first ids are {ids:?}"
        ));
    }
    let unprotected =
        objects.iter().find(|volume| is_deleting(volume) || !has_finalizer(volume, PROVISIONER));
    unprotected.map_or(Ok(()), |volume| Err(format!("deleting, or not protected: {volume}")))
}

/// Each pod's volume is attached where the pod is, and published there; nothing else is, and nothing else is held.
fn attached_as_pods_say(world: &World, claims: &BTreeMap<String, String>) -> Result<(), String> {
    let mut wanted = BTreeSet::new();
    for pod in world.api.list("pods") {
        let claim = text(&pod, "/spec/volumes/0/persistentVolumeClaim/claimName");
        if let Some(volume) = claims.get(claim) {
            wanted.insert((volume.clone(), text(&pod, "/spec/nodeName").to_owned()));
        }
    }
    let mut attached = BTreeSet::new();
    let ours = attacher::finalizer(DRIVER);
    for attachment in world.api.list("volumeattachments") {
        let status = &attachment["status"];
        let clean = status["attachError"].is_null() && status["detachError"].is_null();
        let whole = status["attached"] == true && has_finalizer(&attachment, &ours) && clean;
        if !whole || is_deleting(&attachment) {
            return Err(format!("not as it should be: {attachment}"));
        }
        let volume = text(&attachment, "/spec/source/persistentVolumeName").to_owned();
        attached.insert((volume, text(&attachment, "/spec/nodeName").to_owned()));
    }
    let published: BTreeSet<(String, String)> = world.driver.publications().into_iter().collect();
    let expected: BTreeSet<(String, String)> =
        wanted.iter().map(|(volume, node)| (id_of(volume), format!("{node}-id"))).collect();
    if attached != wanted || published != expected {
        return Err(format!("wanted {wanted:?}, attached {attached:?}, published {published:?}"));
    }
    Ok(())
}

/// No volume was made again after it was deleted, and none was to be deleted while it was published.
fn done_once(world: &World) -> Result<(), String> {
    let mut deleted: BTreeSet<String> = BTreeSet::new();
    for call in world.driver.calls() {
        if let Some(request) = call.request::<CreateVolumeRequest>()
            && deleted.contains(&id_of(&request.name))
        {
            return Err(format!("made again after it was deleted: {}", request.name));
        }
        if let Some(request) = call.request::<DeleteVolumeRequest>() {
            match call.code {
                Some(Code::Ok) => drop(deleted.insert(request.volume_id.clone())),
                Some(Code::FailedPrecondition) => {
                    return Err(format!("to be deleted while it was published: {}", request.volume_id));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
