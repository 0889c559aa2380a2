//! Reading a secret when a call needs it. Secrets are never listed, watched or cached.

use thiserror::Error;

use super::SecretRef;
use crate::api::{self, Objects};
use crate::object::WireSecret;
use base::secret::{NotText, Secrets};

/// Why a secret cannot be used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// There is none.
    #[error("secrets \"{name}\" not found in namespace {namespace}")]
    NotFound {
        /// Where it should be.
        namespace: String,
        /// What it should be called.
        name: String,
    },
    /// The API server refuses.
    #[error("{}", api::text(.0))]
    Api(api::Error),
    /// A value cannot be sent.
    #[error(transparent)]
    NotText(#[from] NotText),
}

/// Reads the secret that `reference` names.
pub async fn read(objects: &Objects, reference: &SecretRef) -> Result<Secrets, SecretError> {
    let SecretRef { namespace, name } = reference;
    let found = objects.get::<WireSecret>(namespace, name).await.map_err(SecretError::Api)?;
    let missing = || SecretError::NotFound { namespace: namespace.clone(), name: name.clone() };
    let data = found.ok_or_else(missing)?.data;
    Ok(Secrets::from_data(data.into_iter().map(|(key, value)| (key, value.0)))?)
}
