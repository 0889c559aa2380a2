//! Finds the owner of the capacity objects: the pod, or a controller above it (`--capacity-ownerref-level`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{GetParams, Request};
use kubernetes::api;
use serde_json::Value;
use thiserror::Error;

/// Why there is no owner.
#[derive(Debug, Error)]
pub enum OwnerError {
    /// An object on the way cannot be read.
    #[error("cannot read {kind} {name}: {reason}")]
    Unreadable {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The way ends too early.
    #[error(
        "{kind} {name} has no controller: lower --capacity-ownerref-level, or -1 for objects without owner"
    )]
    NoController {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Another object has the controller's name by now.
    #[error("{kind} {name} is another one than the controller of the pod")]
    Replaced {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// The owner `level` steps above the pod: 0 is the pod itself. The owner itself is read for level 0 only.
///
/// # Errors
/// [`OwnerError`]
pub async fn owner(
    client: &Client,
    namespace: &str,
    pod: &str,
    level: u32,
) -> Result<OwnerReference, OwnerError> {
    let mut at = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.to_owned(),
        ..OwnerReference::default()
    };
    for step in 0..=level {
        if step > 0 && step == level {
            return Ok(as_controller(at));
        }
        let object = read(client, namespace, &at).await?;
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        if !at.uid.is_empty() && at.uid != uid {
            return Err(OwnerError::Replaced { kind: at.kind, name: at.name });
        }
        uid.clone_into(&mut at.uid);
        if step < level {
            at = controller(&object)
                .ok_or(OwnerError::NoController { kind: at.kind.clone(), name: at.name.clone() })?;
        }
    }
    Ok(as_controller(at))
}

fn as_controller(owner: OwnerReference) -> OwnerReference {
    OwnerReference { controller: Some(true), block_owner_deletion: None, ..owner }
}

fn controller(object: &Value) -> Option<OwnerReference> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owners =
        owners.iter().filter_map(|owner| serde_json::from_value::<OwnerReference>(owner.clone()).ok());
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

async fn read(client: &Client, namespace: &str, at: &OwnerReference) -> Result<Value, OwnerError> {
    let prefix = if at.api_version.contains('/') { "apis" } else { "api" };
    // As upstream makes the plural.
    let plural = format!("{}s", at.kind.to_lowercase());
    let path = format!("/{prefix}/{}/namespaces/{namespace}/{plural}", at.api_version);
    let unreadable =
        |reason: String| OwnerError::Unreadable { kind: at.kind.clone(), name: at.name.clone(), reason };
    let request = Request::new(path).get(&at.name, &GetParams::default());
    let request = request.map_err(|error| unreadable(error.to_string()))?;
    client.request::<Value>(request).await.map_err(|error| unreadable(api::text(&error)))
}
