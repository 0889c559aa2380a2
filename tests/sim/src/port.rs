//! The API server behind a TCP port, for processes: plain HTTP/1.1, no certificates.
//!
//! Who asks is the request's bearer token, or `admin`.

use std::convert::Infallible;
use std::io;

use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::net::TcpListener;

use crate::api::ApiServer;

/// Answers every connection to `listener`, for as long as this is polled.
///
/// # Errors
/// No more connections can be accepted.
pub async fn serve(api: ApiServer, listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let api = api.clone();
        let service = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(answer(&api, request).await) }
        });
        tokio::spawn(async move {
            // The other side went away: nobody is left to be told.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<Either<Body, Full<Bytes>>>;

async fn answer(api: &ApiServer, request: Request<Incoming>) -> Answer {
    match forwarded(api, request).await {
        Ok(answer) => answer.map(Either::Left),
        Err(error) => {
            let mut answer = Response::new(Either::Right(Full::from(error)));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    }
}

async fn forwarded(api: &ApiServer, request: Request<Incoming>) -> Result<Response<Body>, String> {
    let (parts, body) = request.into_parts();
    let who = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let client = api.client(who.unwrap_or("admin"));
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let request = Request::from_parts(parts, Body::from(body.to_vec()));
    client.send(request).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use kube::api::{Api, DynamicObject, ListParams};
    use kube::core::{ApiResource, GroupVersionKind};

    use super::*;

    #[tokio::test]
    async fn a_client_at_the_port_sees_what_is_there_and_what_is_refused() {
        let api = ApiServer::new();
        api.grant_only("stranger", Vec::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri: Uri =
            format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an address");
        tokio::spawn(serve(api.clone(), listener));
        let namespaces = |token: Option<&str>| {
            let mut config = kube::Config::new(uri.clone());
            config.auth_info.token = token.map(|token| token.to_owned().into());
            let client = kube::Client::try_from(config).expect("a client");
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
            async move { Api::<DynamicObject>::all_with(client, &resource).list(&ListParams::default()).await }
        };
        assert_eq!(namespaces(None).await.expect("a list").items.len(), 2);
        let refused = namespaces(Some("stranger")).await.expect_err("no rights");
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
        let asked: Vec<String> = api.requests().into_iter().map(|request| request.who).collect();
        assert_eq!(asked, ["admin", "stranger"]);
    }
}
