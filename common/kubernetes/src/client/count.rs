//! Counts the requests to the API server, under the names and labels of the Go client library
//! (docs/upstream/conventions.md, "Metrics").
//!
//! `Differs:` of that library's families these two are served, and by every sidecar; upstream serves all of them, and only in
//! csi-resizer. A request that our limit sends again is counted each time it is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use base::metrics::{HistogramVec, IntCounterVec, MetricError, Metrics};
use http::{Method, Request, Response, StatusCode, Uri};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// The metrics of a process's API clients; clones share them.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
}

impl RequestMetrics {
    /// Adds the families to a process's metrics.
    ///
    /// # Errors
    /// They are there already.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricError> {
        let requests = metrics.counter(
            "rest_client_requests_total",
            "Requests to the API server by status code, method and host.",
            &["code", "method", "host"],
        )?;
        let durations = metrics.histogram(
            "rest_client_request_duration_seconds",
            "Time from a request to the head of its answer, by method and host.",
            &["verb", "host"],
            &BUCKETS,
        )?;
        Ok(Self { requests, durations })
    }
}

/// A request under way. It is counted when this is dropped: also if nobody waits for the answer any more.
struct UnderWay {
    metrics: RequestMetrics,
    method: Method,
    /// Name and port; no user information, which may be secret.
    host: String,
    begun: Instant,
    status: Option<StatusCode>,
}

impl UnderWay {
    fn answered(&mut self, status: Option<StatusCode>) {
        self.status = status;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let (method, host) = (self.method.as_str(), self.host.as_str());
        let code = self.status.as_ref().map_or("<error>", StatusCode::as_str);
        self.metrics.requests.with_label_values(&[code, method, host]).inc();
        self.metrics.durations.with_label_values(&[method, host]).observe(self.begun.elapsed().as_secs_f64());
    }
}

fn host(uri: &Uri) -> String {
    let name = uri.host().unwrap_or_default();
    uri.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

impl<S> Layer<S> for RequestMetrics {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Counted { metrics: self.clone(), inner }
    }
}

/// A transport whose requests are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    metrics: RequestMetrics,
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (metrics, method) = (self.metrics.clone(), request.method().clone());
        let (host, begun) = (host(request.uri()), Instant::now());
        let mut under_way = UnderWay { metrics, method, host, begun, status: None };
        let reply = self.inner.call(request);
        Box::pin(async move {
            let reply = reply.await;
            under_way.answered(reply.as_ref().ok().map(Response::status));
            reply
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_answer_and_each_failure_is_counted() {
        let metrics = Metrics::new();
        let server = tower::service_fn(|request: Request<()>| async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            match request.uri().path() {
                "/lost" => Err(BoxError::from("reset")),
                "/busy" => Ok(Response::builder().status(429).body(()).unwrap()),
                _ => Ok(Response::new(())),
            }
        });
        let counted = RequestMetrics::new(&metrics).unwrap().layer(server);
        for (method, path) in [("GET", "/"), ("GET", "/"), ("PATCH", "/busy"), ("GET", "/lost")] {
            let request =
                Request::builder().method(method).uri(format!("https://user:word@api:6443{path}?watch=true"));
            let _ = counted.clone().oneshot(request.body(()).unwrap()).await;
        }
        // Nobody waits for this one to its end.
        let request = Request::builder().method("DELETE").uri("https://api:6443/").body(()).unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(50), counted.oneshot(request));
        assert!(given_up.await.is_err());
        let page = metrics.render();
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("rest_client_")).collect();
        for expected in [
            r#"rest_client_requests_total{code="200",host="api:6443",method="GET"} 2"#,
            r#"rest_client_requests_total{code="429",host="api:6443",method="PATCH"} 1"#,
            r#"rest_client_requests_total{code="<error>",host="api:6443",method="GET"} 1"#,
            r#"rest_client_requests_total{code="<error>",host="api:6443",method="DELETE"} 1"#,
            r#"rest_client_request_duration_seconds_bucket{host="api:6443",verb="GET",le="0.1"} 0"#,
            r#"rest_client_request_duration_seconds_bucket{host="api:6443",verb="GET",le="0.25"} 3"#,
        ] {
            assert!(lines.contains(&expected), "{expected} is not in {lines:#?}");
        }
        assert_eq!(lines.iter().filter(|line| line.contains("requests_total")).count(), 4);
        assert!(!page.contains("word"), "{page}");
    }
}
