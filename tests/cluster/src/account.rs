//! Service accounts with exactly the rights of a given RBAC manifest, so that a missing verb fails the test.

use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::{Value, json};

use crate::apply::{ApplyError, documents};
use crate::control_plane::ControlPlane;
use crate::error::StartError;
use crate::files::kubeconfig;
use crate::pki::write_private;

/// How long a token is good for, seconds: longer than any test.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// A service account or its kubeconfig could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The manifest is unusable or was refused.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The manifest has something that is not about rights.
    #[error(
        "the roles of {account} have a {kind}: only Role and ClusterRole are bound; apply the rest yourself"
    )]
    NotARole {
        /// The account that was asked for.
        account: String,
        /// The kind found.
        kind: String,
    },
    /// The API server refused the account or the token.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// No client could be made.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The kubeconfig could not be written.
    #[error("cannot write the kubeconfig: {0}")]
    Write(#[from] std::io::Error),
}

impl ControlPlane {
    /// Makes the service account `namespace/name` with the rights in `roles`, and a kubeconfig that is it.
    ///
    /// `roles` is YAML with any number of `ClusterRole` documents (bound in the whole cluster) and `Role` documents
    /// (created and bound in `namespace`, whatever theirs says). Accounts and bindings in it are passed over: they are
    /// made here. ClusterRoles are renamed to `namespace:name:role`, so that tests side by side do not widen each other's
    /// rights.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn service_account(
        &self,
        namespace: &str,
        name: &str,
        roles: &str,
    ) -> Result<PathBuf, AccountError> {
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..ServiceAccount::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        accounts.create(&PostParams::default(), &account).await?;
        for role in documents(roles)? {
            let kind = role.get("kind").and_then(Value::as_str);
            if matches!(kind, Some("ServiceAccount" | "RoleBinding" | "ClusterRoleBinding")) {
                continue;
            }
            for object in bound(role, namespace, name)? {
                self.apply_object(object, namespace).await?;
            }
        }
        self.kubeconfig_for(namespace, name).await
    }

    /// A kubeconfig with a new token of the existing service account `namespace/name`.
    ///
    /// # Errors
    /// There is no such account, or the file cannot be written.
    pub async fn kubeconfig_for(&self, namespace: &str, name: &str) -> Result<PathBuf, AccountError> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let user = format!("{namespace}-{name}");
        let text = kubeconfig(self.server(), self.authority(), &user, &json!({ "token": token }));
        let file = format!("{user}.kubeconfig");
        write_private(self.folder(), &file, &text)?;
        Ok(self.folder().join(file))
    }
}

/// The token in a kubeconfig that [`ControlPlane::service_account`] has made.
///
/// # Errors
/// The file cannot be read.
pub fn token_of(kubeconfig: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let kubeconfig: Value = serde_yaml_ng::from_str(&text).map_err(std::io::Error::other)?;
    let token = kubeconfig.pointer("/users/0/user/token").and_then(Value::as_str).unwrap_or_default();
    Ok(token.to_owned())
}

/// A role and its binding to the account, ready to be applied.
fn bound(mut role: Value, namespace: &str, account: &str) -> Result<[Value; 2], AccountError> {
    let kind = role.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = role.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let metadata = match kind.as_str() {
        "ClusterRole" => json!({ "name": format!("{namespace}:{account}:{own}") }),
        "Role" => json!({ "name": own, "namespace": namespace }),
        _ => {
            return Err(AccountError::NotARole { account: format!("{namespace}/{account}"), kind });
        }
    };
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{kind}Binding"),
        "metadata": metadata,
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata.get("name") },
    });
    if let Some(role) = role.as_object_mut() {
        role.insert("metadata".to_owned(), metadata);
    }
    Ok([role, binding])
}
