//! The files of a control plane: keys, certificates, kubeconfigs.

use std::path::Path;

use crate::error::StartError;
use crate::pki::{Authority, Identity, NODE, token_keys, write_private};

/// Keys, certificates and kubeconfigs; the authority's certificate is returned.
pub(crate) fn write_files(folder: &Path, server: &str) -> Result<String, StartError> {
    let authority = Authority::new()?;
    let (private, public) = token_keys()?;
    write_private(folder, "sa.key", &private)?;
    write_private(folder, "sa.pub", &public)?;
    write_private(folder, "ca.crt", &authority.certificate)?;
    write_private(folder, "ca.key", &authority.key)?;
    let Identity { certificate, key } = authority.api_server()?;
    write_private(folder, "apiserver.crt", &certificate)?;
    write_private(folder, "apiserver.key", &key)?;
    let admin = authority.client(Some("system:masters"), "admin")?;
    // The API server shows it to the kubelet.
    write_private(folder, "admin.crt", &admin.certificate)?;
    write_private(folder, "admin.key", &admin.key)?;
    let node = format!("system:node:{NODE}");
    for (name, organisation, user) in [
        ("admin", Some("system:masters"), "admin"),
        ("kubelet", Some("system:nodes"), &node),
        ("kube-controller-manager", None, "system:kube-controller-manager"),
        ("kube-scheduler", None, "system:kube-scheduler"),
    ] {
        let identity = authority.client(organisation, user)?;
        let credentials = serde_json::json!({
            "client-certificate-data": base64(identity.certificate.as_bytes()),
            "client-key-data": base64(identity.key.as_bytes()),
        });
        let text = kubeconfig(server, &authority.certificate, user, &credentials);
        write_private(folder, &format!("{name}.kubeconfig"), &text)?;
    }
    Ok(authority.certificate)
}

/// A kubeconfig with one user (JSON, which is YAML).
pub(crate) fn kubeconfig(
    server: &str,
    authority: &str,
    user: &str,
    credentials: &serde_json::Value,
) -> String {
    let text = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "mooring",
            "cluster": { "server": server, "certificate-authority-data": base64(authority.as_bytes()) },
        }],
        "users": [{ "name": user, "user": credentials }],
        "contexts": [{ "name": "mooring", "context": { "cluster": "mooring", "user": user } }],
        "current-context": "mooring",
    });
    format!("{text:#}\n")
}

/// Standard base64 with padding, as Kubernetes writes bytes.
pub(crate) fn base64(bytes: &[u8]) -> String {
    // k8s-openapi serialises its ByteString just so; no crate of our own for twenty lines.
    let value = serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
