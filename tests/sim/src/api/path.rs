//! What a URL asks for.

use super::resource::{Index, Resource, find};

/// A request path, understood.
#[derive(Debug)]
pub(crate) enum Route {
    /// A discovery document: `/version`, `/api`, `/apis`, `/apis/GROUP`, or a group version's resource list.
    Discovery(String),
    /// `POST` of something that is answered and not stored: the resource's plural name.
    Review(String),
    /// A stored resource.
    Object(Target),
    /// Nothing here.
    Unknown,
}

/// A stored resource, or one object of it, or one of its subresources.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) index: Index,
    pub(crate) resource: &'static Resource,
    /// Empty: cluster-scoped, or all namespaces.
    pub(crate) namespace: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    /// The object's name; empty for a collection.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// Understands `path`.
pub(crate) fn route(path: &str) -> Route {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["version"] | ["api"] | ["apis"] | ["apis", _] | ["api", _] | ["apis", _, _] => {
            return Route::Discovery(path.trim_end_matches('/').to_owned());
        }
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Route::Unknown,
    };
    if let ("authorization.k8s.io", [plural]) = (group, rest) {
        return Route::Review((*plural).to_owned());
    }
    let (namespace, rest) = match rest {
        // `namespaces` is a resource itself, with a subresource of its own name's objects.
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
        _ => return Route::Unknown,
    };
    let Some((index, resource)) = find(group, version, plural) else { return Route::Unknown };
    if !resource.namespaced && !namespace.is_empty() {
        return Route::Unknown;
    }
    if resource.namespaced && namespace.is_empty() && name.is_some() {
        return Route::Unknown;
    }
    Route::Object(Target {
        index,
        resource,
        namespace: namespace.to_owned(),
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
    })
}

/// The query part of a URL.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "true" || value == "1")
    }
}

/// `%2C` and `+` undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> (String, String, String, String) {
        match route(path) {
            Route::Object(target) => (
                target.resource.plural.to_owned(),
                target.namespace.clone(),
                target.name().to_owned(),
                target.subresource.unwrap_or_default(),
            ),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn own(parts: [&str; 4]) -> (String, String, String, String) {
        let [a, b, c, d] = parts.map(str::to_owned);
        (a, b, c, d)
    }

    #[test]
    fn tells_namespaces_from_what_is_in_them() {
        assert_eq!(target("/api/v1/namespaces"), own(["namespaces", "", "", ""]));
        assert_eq!(target("/api/v1/namespaces/a"), own(["namespaces", "", "a", ""]));
        assert_eq!(target("/api/v1/namespaces/a/secrets"), own(["secrets", "a", "", ""]));
        assert_eq!(target("/api/v1/namespaces/a/pods/b/status"), own(["pods", "a", "b", "status"]));
        assert_eq!(
            target("/api/v1/persistentvolumes/p/status"),
            own(["persistentvolumes", "", "p", "status"])
        );
        assert_eq!(
            target("/apis/storage.k8s.io/v1/volumeattachments/x"),
            own(["volumeattachments", "", "x", ""])
        );
    }

    #[test]
    fn knows_nothing_else() {
        assert!(matches!(route("/apis/storage.k8s.io/v1beta1/storageclasses"), Route::Unknown));
        assert!(matches!(route("/api/v1/persistentvolumeclaims/no-namespace"), Route::Unknown));
        assert!(matches!(route("/api/v1/namespaces/a/persistentvolumes"), Route::Unknown));
    }

    #[test]
    fn decodes_a_query() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&watch=1&limit=");
        assert_eq!(query.get("labelSelector"), Some("a=b,c"));
        assert!(query.is_set("watch"));
        assert_eq!(query.get("limit"), None);
    }
}
