//! The span of a write. It lasts from the wait for the request limit to the reply.

use base::noted::child;
use base::trace::{Attributes, Description, Kind, Open};
use http::Request;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    namespace: &'a str,
    resource: &'a str,
    name: &'a str,
    subresource: &'a str,
}

/// Begins the span of a write, if the worker's pass over the object is traced.
pub(super) fn begin(request: &Request<Vec<u8>>) -> Option<Open> {
    child(|| {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let target = target(path);
        let mut attributes: Attributes = vec![("http.request.method".into(), method.into())];
        attributes.push(("url.path".into(), path.into()));
        let mut add = |name: &'static str, value: &str| {
            if !value.is_empty() {
                attributes.push((name.into(), value.into()));
            }
        };
        add("k8s.namespace.name", target.namespace);
        add("k8s.object.name", target.name);
        let slash = if target.subresource.is_empty() { "" } else { "/" };
        let name = format!("{method} {}{slash}{}", target.resource, target.subresource).into();
        Description { name, kind: Kind::Client, attributes }
    })
}

/// Ends the span: with the code of a refusal, and the text of what went wrong, if something did.
pub(super) fn end(span: Option<Open>, code: Option<u16>, error: Option<impl FnOnce() -> String>) {
    let Some(mut span) = span else { return };
    if let Some(code) = code {
        span.note("http.response.status_code", i64::from(code));
    }
    span.end(error);
}

/// Reads a path such as `/apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE`.
fn target(path: &str) -> Target<'_> {
    let mut parts = path.split('/').skip(1);
    // The core group has no name.
    let before = if parts.next() == Some("api") { 1 } else { 2 };
    let mut parts = parts.skip(before).peekable();
    let is_namespaced = parts.next_if_eq(&"namespaces").is_some();
    let namespace = if is_namespaced { parts.next().unwrap_or_default() } else { "" };
    let mut next = || parts.next().unwrap_or_default();
    Target { namespace, resource: next(), name: next(), subresource: next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_names_resource_object_and_subresource() {
        for (path, namespace, resource, name, subresource) in [
            ("/api/v1/persistentvolumes", "", "persistentvolumes", "", ""),
            ("/api/v1/persistentvolumes/pv", "", "persistentvolumes", "pv", ""),
            (
                "/api/v1/namespaces/ns/persistentvolumeclaims/data/status",
                "ns",
                "persistentvolumeclaims",
                "data",
                "status",
            ),
            ("/apis/storage.k8s.io/v1/volumeattachments/va/status", "", "volumeattachments", "va", "status"),
            ("/apis/coordination.k8s.io/v1/namespaces/ns/leases", "ns", "leases", "", ""),
            ("", "", "", "", ""),
        ] {
            let expected = Target { namespace, resource, name, subresource };
            assert_eq!(target(path), expected, "{path}");
        }
    }
}
