//! Server-side apply of YAML.

use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams, TypeMeta};
use kube::discovery::Scope;
use serde::Deserialize as _;
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::error::StartError;

/// A manifest could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is not YAML.
    #[error("the manifest is not YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// A document has no `apiVersion`, `kind` or `metadata.name`.
    #[error("a document of the manifest has no {field}: {document}")]
    Missing {
        /// The field.
        field: &'static str,
        /// The document, as JSON.
        document: String,
    },
    /// The API server refused one.
    #[error("cannot apply {kind} {name}: {source}")]
    Api {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// No client could be made.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The documents of a YAML stream, empty ones left out.
///
/// # Errors
/// It is not YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>, ApplyError> {
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let value = Value::deserialize(document)?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

impl ControlPlane {
    /// Applies every document of `yaml` in its order, as the administrator. Namespaced objects without a namespace of
    /// their own go to `namespace`. The objects are returned as the API server has them.
    ///
    /// # Errors
    /// See [`ApplyError`]; what came before the failing document stays.
    pub async fn apply(&self, yaml: &str, namespace: &str) -> Result<Vec<DynamicObject>, ApplyError> {
        let mut applied = Vec::new();
        for document in documents(yaml)? {
            applied.push(self.apply_object(document, namespace).await?);
        }
        Ok(applied)
    }

    /// Applies one object, again while the API server answers that something has changed meanwhile: a quota that many
    /// writers charge at once refuses so, and asks to be tried again.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply_object(&self, object: Value, namespace: &str) -> Result<DynamicObject, ApplyError> {
        self.sent(object, namespace, PatchParams::apply("mooring-tests").force()).await
    }

    /// What the API server would make of an object; it stores nothing, and refuses fields that it does not know.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn dry_run(&self, object: Value, namespace: &str) -> Result<DynamicObject, ApplyError> {
        let parameters = PatchParams::apply("mooring-tests").force().dry_run().validation_strict();
        self.sent(object, namespace, parameters).await
    }

    async fn sent(
        &self,
        object: Value,
        namespace: &str,
        parameters: PatchParams,
    ) -> Result<DynamicObject, ApplyError> {
        let text = |pointer: &str, field: &'static str| {
            let found = object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            found.ok_or_else(|| ApplyError::Missing { field, document: object.to_string() })
        };
        let (api_version, kind) = (text("/apiVersion", "apiVersion")?, text("/kind", "kind")?);
        let name = text("/metadata/name", "metadata.name")?;
        let namespace = text("/metadata/namespace", "").unwrap_or_else(|_| namespace.to_owned());
        let client = self.client()?;
        let failed = |source| ApplyError::Api { kind: kind.clone(), name: name.clone(), source };
        let types = TypeMeta { api_version, kind: kind.clone() };
        let gvk = GroupVersionKind::try_from(&types)
            .map_err(|_| ApplyError::Missing { field: "usable apiVersion", document: object.to_string() })?;
        let (resource, capabilities) = kube::discovery::pinned_kind(&client, &gvk).await.map_err(failed)?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client, &resource),
            Scope::Namespaced => Api::namespaced_with(client, &namespace, &resource),
        };
        again(async || api.patch(&name, &parameters, &Patch::Apply(&object)).await).await.map_err(failed)
    }
}

/// How often a write is tried that always meets another.
const TRIES: usize = 50;

/// Repeats a write while the API server answers that something has changed meanwhile (409 `Conflict`).
///
/// # Errors
/// Any other answer, and the last of [`TRIES`].
pub async fn again<T>(mut write: impl AsyncFnMut() -> Result<T, kube::Error>) -> Result<T, kube::Error> {
    for _ in 1..TRIES {
        match write().await {
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            answer => return answer,
        }
    }
    write().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_empty_documents() {
        let found = documents("---\nkind: A\n---\n# nothing\n---\nkind: B\n").expect("YAML");
        let kinds: Vec<&str> = found.iter().filter_map(|document| document.get("kind")?.as_str()).collect();
        assert_eq!(kinds, ["A", "B"]);
    }

    #[test]
    fn names_what_is_not_yaml() {
        assert!(matches!(documents("a: ]"), Err(ApplyError::Yaml(_))));
    }
}
