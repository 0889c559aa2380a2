//! Which answers say that an object is missing, and which names are no object's.

use super::super::object::WireSecret;
use super::*;
use kube::client::Body;
use serde_json::json;

/// Whether a Secret exists, when the server answers so to a request for metadata only, and 500 to any other.
async fn exists(code: u16, body: Value) -> Result<bool, Error> {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let accept = request.headers().get(http::header::ACCEPT);
        let wanted = accept.is_some_and(|accept| {
            accept.as_bytes().starts_with(b"application/json;as=PartialObjectMetadata;")
        }) && request.uri().path() == "/api/v1/namespaces/ns/secrets/key";
        let reply = http::Response::builder()
            .status(if wanted { code } else { 500 })
            .body(Body::from(body.to_string().into_bytes()));
        std::future::ready(reply)
    });
    let objects = Objects::new(Client::new(service, "default"), Leadership::always());
    objects.exists::<WireSecret>("ns", "key").await
}

#[tokio::test]
async fn name_that_leads_elsewhere_is_no_object_s() {
    let service = tower::service_fn(|_: http::Request<Body>| {
        std::future::ready(http::Response::builder().body(Body::from(b"{\"metadata\": {}}".to_vec())))
    });
    let objects = Objects::new(Client::new(service, "default"), Leadership::always());
    for name in ["", ".", "..", "a/b", "../key", "key?a=b", "key#a", "%2e%2e"] {
        assert!(!objects.exists::<WireSecret>("ns", name).await.unwrap(), "{name}");
        assert_eq!(objects.version::<WireSecret>("ns", name).await.unwrap(), None, "{name}");
        assert_eq!(objects.raw::<WireSecret>("ns", name).await.unwrap(), None, "{name}");
    }
    assert!(objects.exists::<WireSecret>("ns", "a.key").await.unwrap());
}

#[tokio::test]
async fn only_the_server_itself_can_say_that_an_object_is_missing() {
    let metadata = json!({"kind": "PartialObjectMetadata", "metadata": {"name": "key"}});
    assert!(exists(200, metadata).await.unwrap());
    let refusal = |code: u16, reason: &str, name: &str| {
        let details = json!({"name": name, "kind": "secrets"});
        json!({"kind": "Status", "status": "Failure", "message": "no", "code": code, "reason": reason, "details": details})
    };
    assert!(!exists(404, refusal(404, "NotFound", "key")).await.unwrap());
    for code in [403, 500] {
        assert!(is(&exists(code, refusal(code, "", "key")).await.unwrap_err(), code));
    }
    for (what, body) in [
        ("a proxy's page", json!("<html>404 Not Found</html>")),
        ("a status without a reason", refusal(404, "", "key")),
        ("an unknown kind", refusal(404, "NotFound", "")),
        ("another object", refusal(404, "NotFound", "other")),
    ] {
        assert!(is(&exists(404, body).await.unwrap_err(), 404), "{what}");
    }
}
