//! Create, update, patch, delete.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admission::{
    default_at, fill, fold_string_data, remove_at, set_at, validate_change, validate_new,
};
use super::path::Target;
use super::refusal::Refusal;
use super::resource::{StatusRule, by_plural};
use super::store::{Key, Kind, Store};

/// An object, and the HTTP status to go with it.
pub(crate) type Written = Result<(u16, Arc<Value>), Refusal>;

/// Who writes, for `metadata.managedFields`.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    /// Answer as if, but store nothing.
    pub(crate) dry_run: bool,
    /// May give a new object its status: the test's own hand.
    pub(crate) sets_status: bool,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn key(target: &Target, name: &str) -> Key {
    Key { index: target.index, namespace: target.namespace.clone(), name: name.to_owned() }
}

/// The object and URL must agree on what they are about.
fn check_identity(target: &Target, object: &mut Value) -> Result<(), Refusal> {
    let resource = target.resource;
    if !object.is_object() {
        return Err(Refusal::bad_request("the object provided is unrecognized (must be of type Object)"));
    }
    for (field, expected) in [("apiVersion", resource.api_version()), ("kind", resource.kind.to_owned())] {
        match object.get(field).and_then(Value::as_str) {
            None | Some("") => set_at(object, &[field], json!(expected)),
            Some(found) if found == expected => {}
            Some(found) => {
                let message = format!(
                    "the {field} in the data ({found}) does not match the expected {field} ({expected})"
                );
                return Err(Refusal::bad_request(message));
            }
        }
    }
    if resource.namespaced {
        match text(object, "/metadata/namespace") {
            "" => set_at(object, &["metadata", "namespace"], json!(target.namespace)),
            found if found == target.namespace => {}
            _ => {
                let message =
                    "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Refusal::bad_request(message));
            }
        }
    } else {
        remove_at(object, "/metadata/namespace");
    }
    Ok(())
}

/// `POST`.
pub(crate) fn create(store: &mut Store, target: &Target, mut object: Value, writer: &Writer) -> Written {
    let resource = target.resource;
    check_identity(target, &mut object)?;
    if resource.namespaced {
        let (index, namespaces) = by_plural("namespaces").ok_or_else(|| Refusal::of_code(500))?;
        let at = Key { index, namespace: String::new(), name: target.namespace.clone() };
        let Some(namespace) = store.objects.get(&at) else {
            return Err(Refusal::not_found(namespaces, &target.namespace));
        };
        if namespace.pointer("/metadata/deletionTimestamp").is_some() {
            let message = format!(
                "unable to create new content in namespace {} because it is being terminated",
                target.namespace
            );
            return Err(Refusal::new(403, "Forbidden", message));
        }
    }
    let mut name = text(&object, "/metadata/name").to_owned();
    if name.is_empty() {
        let prefix = text(&object, "/metadata/generateName").to_owned();
        if prefix.is_empty() {
            let why = "name or generateName is required";
            return Err(Refusal::invalid(resource, "", format!("metadata.name: Required value: {why}")));
        }
        name = store.generate_name(&prefix);
        set_at(&mut object, &["metadata", "name"], json!(name));
    }
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        // Really an internal error, by kube-apiserver's own account.
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Refusal::new(500, "", message));
    }
    let default_class = default_class(store);
    let status = object.get("status").filter(|_| writer.sets_status).cloned();
    fill(resource, &mut object, default_class.as_deref());
    if let Some(status) = status {
        set_at(&mut object, &["status"], status);
    }
    validate_new(resource, &name, &object)?;
    let key = key(target, &name);
    if store.objects.contains_key(&key) {
        return Err(Refusal::already_exists(resource, &name));
    }
    for field in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields", "selfLink"]
    {
        remove_at(&mut object, &format!("/metadata/{field}"));
    }
    set_at(&mut object, &["metadata", "uid"], json!(store.new_uid(&key)));
    set_at(&mut object, &["metadata", "creationTimestamp"], json!(store.now_text()));
    if resource.generation {
        set_at(&mut object, &["metadata", "generation"], json!(1));
    }
    record_writer(store, &mut object, target, writer);
    if writer.dry_run {
        return Ok((201, Arc::new(object)));
    }
    Ok((201, store.commit(&key, Kind::Added, object)))
}

/// The name of the default class: the newest with the annotation.
fn default_class(store: &Store) -> Option<String> {
    let (index, _) = by_plural("storageclasses")?;
    let mut defaults: Vec<&Arc<Value>> = store
        .list(index, "")
        .filter(|class| {
            let annotation =
                class.pointer("/metadata/annotations/storageclass.kubernetes.io~1is-default-class");
            annotation.is_some_and(|value| value == "true")
        })
        .collect();
    defaults.sort_by_key(|class| text(class, "/metadata/creationTimestamp").to_owned());
    Some(text(defaults.last()?, "/metadata/name").to_owned())
}

/// `PUT` of the whole object or of its status.
pub(crate) fn update(store: &mut Store, target: &Target, mut object: Value, writer: &Writer) -> Written {
    let resource = target.resource;
    let name = target.name().to_owned();
    check_identity(target, &mut object)?;
    if text(&object, "/metadata/name") != name {
        let message = format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            text(&object, "/metadata/name")
        );
        return Err(Refusal::bad_request(message));
    }
    let key = key(target, &name);
    let Some(old) = store.objects.get(&key).cloned() else {
        if resource.create_on_update
            && target.subresource.is_none()
            && text(&object, "/metadata/uid").is_empty()
        {
            remove_at(&mut object, "/metadata/resourceVersion");
            return create(store, target, object, writer);
        }
        return Err(Refusal::not_found(resource, &name));
    };
    let sent = text(&object, "/metadata/resourceVersion");
    if sent.is_empty() && !resource.unconditional_update {
        let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
        return Err(Refusal::invalid(resource, &name, why));
    }
    replace(store, target, &key, &old, object, writer)
}

/// `PATCH` of the whole object or of its status.
pub(crate) fn patch(
    store: &mut Store,
    target: &Target,
    content_type: &str,
    body: &Value,
    writer: &Writer,
) -> Written {
    let name = target.name().to_owned();
    let key = key(target, &name);
    let Some(old) = store.objects.get(&key).cloned() else {
        return Err(Refusal::not_found(target.resource, &name));
    };
    let mut object = super::patch::apply(target.resource, content_type, &old, body)?;
    check_identity(target, &mut object)?;
    if text(&object, "/metadata/name") != name {
        return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
    }
    if object.pointer("/metadata/uid") != old.pointer("/metadata/uid") {
        return Err(Refusal::invalid(
            target.resource,
            &name,
            "metadata.uid: Invalid value: field is immutable",
        ));
    }
    replace(store, target, &key, &old, object, writer)
}

/// Puts `new` in the place of `old`, as far as this target may change it.
fn replace(
    store: &mut Store,
    target: &Target,
    key: &Key,
    old: &Arc<Value>,
    mut new: Value,
    writer: &Writer,
) -> Written {
    let (resource, name) = (target.resource, target.name());
    let owners = new.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    if owners.into_iter().flatten().filter(|owner| owner["controller"] == true).count() > 1 {
        let why =
            "metadata.ownerReferences: Invalid value: Only one reference can have Controller set to true";
        return Err(Refusal::invalid(resource, name, why));
    }
    let sent_uid = text(&new, "/metadata/uid");
    if !sent_uid.is_empty() && sent_uid != text(old, "/metadata/uid") {
        let why = format!(
            "Precondition failed: UID in precondition: {sent_uid}, UID in object meta: {}",
            text(old, "/metadata/uid")
        );
        return Err(Refusal::conflict(resource, name, &why));
    }
    let sent_version = text(&new, "/metadata/resourceVersion");
    if !sent_version.is_empty() && sent_version != text(old, "/metadata/resourceVersion") {
        return Err(Refusal::modified(resource, name));
    }
    keep_what_is_not_theirs(target, old, &mut new)?;
    validate_change(resource, name, old, &new)?;
    if (resource.plural, target.subresource.as_deref()) == ("persistentvolumeclaims", Some("status")) {
        super::policy::admit(store, old, &new)?;
    }
    let being_deleted = old.pointer("/metadata/deletionTimestamp").is_some();
    let no_finalizers =
        new.pointer("/metadata/finalizers").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if no_finalizers {
        remove_at(&mut new, "/metadata/finalizers");
    }
    if *old.as_ref() == new {
        return Ok((200, old.clone()));
    }
    record_writer(store, &mut new, target, writer);
    if writer.dry_run {
        return Ok((200, Arc::new(new)));
    }
    if being_deleted && no_finalizers && resource.plural != "pods" {
        // The last finalizer is gone, and the object with it. Watches see the object as it was last stored, the caller
        // sees what it wrote.
        store.commit(key, Kind::Deleted, old.as_ref().clone());
        return Ok((200, Arc::new(new)));
    }
    Ok((200, store.commit(key, Kind::Modified, new)))
}

/// Restores what a write through this target cannot change: identity, the other half (status or specification), and
/// counts the specification's changes.
fn keep_what_is_not_theirs(target: &Target, old: &Value, new: &mut Value) -> Result<(), Refusal> {
    let resource = target.resource;
    let restore = |new: &mut Value, field: &str| match old.get(field) {
        Some(value) => set_at(new, &[field], value.clone()),
        None => remove_at(new, &format!("/{field}")),
    };
    match (target.subresource.as_deref(), resource.status) {
        (None, StatusRule::None) => {}
        (None, StatusRule::Apart | StatusRule::ApartFromMetadata) => restore(new, "status"),
        (Some("status"), rule @ (StatusRule::Apart | StatusRule::ApartFromMetadata)) => {
            let status = new.get("status").cloned();
            let metadata = new.get("metadata").cloned();
            *new = old.clone();
            match status {
                Some(status) => set_at(new, &["status"], status),
                None => remove_at(new, "/status"),
            }
            if let (StatusRule::Apart, Some(metadata)) = (rule, metadata) {
                set_at(new, &["metadata"], metadata);
            }
        }
        (Some(_), _) => return Err(Refusal::of_code(404)),
    }
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "managedFields",
    ] {
        match old.pointer(&format!("/metadata/{field}")) {
            Some(value) => set_at(new, &["metadata", field], value.clone()),
            None => remove_at(new, &format!("/metadata/{field}")),
        }
    }
    if resource.plural == "secrets" {
        fold_string_data(new);
    }
    if resource.generation && old.get("spec") != new.get("spec") {
        let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
        set_at(new, &["metadata", "generation"], json!(generation + 1));
    }
    Ok(())
}

/// Notes who wrote last, by manager, operation and subresource. The fields themselves are not recorded.
fn record_writer(store: &Store, object: &mut Value, target: &Target, writer: &Writer) {
    let api_version = target.resource.api_version();
    let subresource = target.subresource.clone().unwrap_or_default();
    default_at(object, &["metadata", "managedFields"], json!([]));
    let now = store.now_text();
    let Some(Value::Array(entries)) = object.pointer_mut("/metadata/managedFields") else { return };
    let same = |entry: &Value| {
        text(entry, "/manager") == writer.manager && text(entry, "/subresource") == subresource
    };
    entries.retain(|entry| !same(entry));
    let mut entry = json!({
        "manager": writer.manager,
        "operation": "Update",
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    });
    if !subresource.is_empty() {
        set_at(&mut entry, &["subresource"], json!(subresource));
    }
    entries.push(entry);
}

/// `DELETE`. Gives the object, and whether it is gone.
pub(crate) fn delete(
    store: &mut Store,
    target: &Target,
    options: &Value,
    writer: &Writer,
) -> Result<(Arc<Value>, bool), Refusal> {
    let (resource, name) = (target.resource, target.name());
    let key = key(target, name);
    let Some(old) = store.objects.get(&key).cloned() else {
        return Err(Refusal::not_found(resource, name));
    };
    for (field, what) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = text(options, &format!("/preconditions/{field}"));
        let found = text(&old, &format!("/metadata/{field}"));
        if !wanted.is_empty() && wanted != found {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(Refusal::conflict(resource, name, &why));
        }
    }
    let finalizers = old.pointer("/metadata/finalizers").and_then(Value::as_array).map_or(0, Vec::len);
    let grace = grace_period(resource.plural, &old, options);
    let waits = finalizers > 0 || grace > 0 || resource.plural == "namespaces";
    if writer.dry_run {
        return Ok((old, !waits));
    }
    if !waits {
        return Ok((store.commit(&key, Kind::Deleted, old.as_ref().clone()), true));
    }
    if old.pointer("/metadata/deletionTimestamp").is_some() {
        return Ok((old, false));
    }
    let mut dying = old.as_ref().clone();
    let end = store.now().checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or_else(|_| store.now());
    set_at(
        &mut dying,
        &["metadata", "deletionTimestamp"],
        json!(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    );
    if resource.plural == "namespaces" {
        set_at(&mut dying, &["status", "phase"], json!("Terminating"));
    } else {
        set_at(&mut dying, &["metadata", "deletionGracePeriodSeconds"], json!(grace));
    }
    if resource.generation {
        let generation = dying.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
        set_at(&mut dying, &["metadata", "generation"], json!(generation + 1));
    }
    Ok((store.commit(&key, Kind::Modified, dying), false))
}

/// Seconds that a pod on a node is given to stop; everything else goes at once.
fn grace_period(plural: &str, object: &Value, options: &Value) -> i64 {
    if plural != "pods" || text(object, "/spec/nodeName").is_empty() {
        return 0;
    }
    let asked = options.get("gracePeriodSeconds").and_then(Value::as_i64);
    asked.or_else(|| object.pointer("/spec/terminationGracePeriodSeconds")?.as_i64()).unwrap_or(30)
}
