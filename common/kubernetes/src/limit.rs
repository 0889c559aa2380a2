//! Limits the requests to the API server.
//!
//! An explicit `--kube-api-qps`/`--kube-api-burst` is honoured exactly, by a token bucket like client-go's:
//! it holds `burst` tokens, gains `qps` a second, and every request takes one, watches included.
//! `Differs:` if neither is set, upstream sends five requests a second. We limit the number of requests in
//! flight instead. The limit halves when the server answers 429, and grows by one with each window of
//! successes. There, an event makes way: while other requests are in flight, one event is, too. In both modes a request that got 429 is sent again after `Retry-After`, as the server has not
//! acted on it.

mod window;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, Layer, Service, ServiceExt};

use super::bounded::Bounded;
use base::leadership::Leadership;
pub use window::Window;

/// How often a request that the server refuses with 429 is sent at the most.
const TRIES: usize = 10;
/// Bound on a request that is not a watch: from sending to the reply's head, and from there to its end.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// Marks a request that goes on with an earlier one, such as the next page of a list: it takes no token.
#[derive(Debug, Clone, Copy)]
pub struct Continuation;

/// Marks a request that makes way for others: only while there are none, more than one such request is in flight.
#[derive(Debug, Clone, Copy)]
pub struct MakesWay;

/// The write came after the lease's deadline and was not sent.
#[derive(Debug, thiserror::Error)]
#[error("not leading: nothing was sent to the API server")]
pub struct NotLeading;

/// What bounds the requests.
#[derive(Debug)]
pub enum Limit {
    /// Exactly the flags' rate.
    Rate(Bucket),
    /// Bounded concurrency that follows the server.
    Adaptive(Window),
}

impl Limit {
    /// `qps` tokens a second, at most `burst` saved up.
    pub fn rate(qps: f64, burst: u32) -> Self {
        Self::Rate(Bucket::new(qps, burst))
    }

    /// Bounded concurrency.
    pub fn adaptive() -> Self {
        Self::Adaptive(Window::new())
    }
}

/// A token bucket: told the time, it says how long to wait.
#[derive(Debug)]
pub struct Bucket {
    qps: f64,
    burst: f64,
    state: Mutex<(f64, Option<Instant>)>,
}

impl Bucket {
    /// A full bucket. A rate of zero or less does not limit, as in client-go.
    pub fn new(qps: f64, burst: u32) -> Self {
        Self { qps, burst: f64::from(burst.max(1)), state: Mutex::new((f64::from(burst.max(1)), None)) }
    }

    /// Takes one token and says how long the request must wait for it.
    pub fn take(&self, now: Instant) -> Duration {
        if self.qps <= 0.0 {
            return Duration::ZERO;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last) = &mut *state;
        let elapsed = last.map_or(0.0, |last| now.saturating_duration_since(last).as_secs_f64());
        *tokens = (*tokens + elapsed * self.qps).min(self.burst) - 1.0;
        *last = Some(now);
        let wait = (-*tokens / self.qps).max(0.0);
        // A rate next to nothing asks for more seconds than a duration holds.
        Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX)
    }
}

#[derive(Debug, Clone)]
enum Shared {
    Rate(Arc<Bucket>),
    Adaptive(Arc<Window>),
}

/// Puts a [`Limit`] in front of a client's transport.
#[derive(Debug, Clone)]
pub struct LimitLayer(Shared);

impl LimitLayer {
    /// One limit, shared by all clones of the client.
    pub fn new(limit: Limit) -> Self {
        Self(match limit {
            Limit::Rate(bucket) => Shared::Rate(Arc::new(bucket)),
            Limit::Adaptive(window) => Shared::Adaptive(Arc::new(window)),
        })
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { limit: self.0.clone(), inner }
    }
}

/// A transport behind a [`LimitLayer`].
#[derive(Debug, Clone)]
pub struct Limited<S> {
    limit: Shared,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<Bounded<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (limit, inner) = (self.limit.clone(), self.inner.clone());
        Box::pin(send(limit, inner, request))
    }
}

async fn send<S, B>(limit: Shared, inner: S, request: Request<Body>) -> Result<Response<Bounded<B>>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let (parts, body) = request.into_parts();
    let body: Bytes = body.collect().await?.to_bytes();
    let mut tries = 0;
    loop {
        // A watch lives for minutes: it takes a token, but no place.
        let place = match &limit {
            Shared::Rate(_) if parts.extensions.get::<Continuation>().is_some() => None,
            Shared::Rate(bucket) => {
                sleep(bucket.take(Instant::now())).await;
                None
            }
            Shared::Adaptive(_) if is_watch => None,
            Shared::Adaptive(window) => {
                Some(window.enter(parts.extensions.get::<MakesWay>().is_some()).await)
            }
        };
        // Waiting may have taken longer than the lease lasts.
        if parts.extensions.get::<Leadership>().is_some_and(|leadership| !leadership.holds()) {
            return Err(Box::new(NotLeading));
        }
        let copy = Request::from_parts(parts.clone(), Body::from(body.clone()));
        let reply = inner.clone().oneshot(copy);
        let reply =
            timeout(REPLY_TIMEOUT, reply).await.map_err(|_| "the API server did not answer within 60s")?;
        let reply = reply.map_err(Into::into)?;
        let refused = reply.status() == StatusCode::TOO_MANY_REQUESTS;
        if let Shared::Adaptive(window) = &limit {
            window.report(refused);
        }
        drop(place);
        tries += 1;
        if !refused || tries >= TRIES {
            return Ok(reply.map(|body| Bounded::new(body, (!is_watch).then_some(REPLY_TIMEOUT))));
        }
        sleep(retry_after(&reply)).await;
    }
}

fn retry_after<B>(reply: &Response<B>) -> Duration {
    let header = reply.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    Duration::from_secs(header.and_then(|text| text.parse().ok()).unwrap_or(1).clamp(1, 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_lets_a_burst_through_and_then_the_rate() {
        let (bucket, start) = (Bucket::new(5.0, 10), Instant::now());
        assert!((0..10).all(|_| bucket.take(start).is_zero()));
        assert_eq!(bucket.take(start), Duration::from_millis(200));
        assert_eq!(bucket.take(start), Duration::from_millis(400));
        assert_eq!(bucket.take(start + Duration::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn bucket_without_a_rate_never_waits() {
        let bucket = Bucket::new(0.0, 1);
        assert!((0..100).all(|_| bucket.take(Instant::now()).is_zero()));
    }

    #[test]
    fn bucket_with_a_tiny_rate_waits_instead_of_failing() {
        let (bucket, now) = (Bucket::new(1e-300, 1), Instant::now());
        assert_eq!(bucket.take(now), Duration::ZERO);
        assert_eq!(bucket.take(now), Duration::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_request_is_sent_again_after_the_server_s_pause() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = sent.clone();
        let server = tower::service_fn(move |_: Request<Body>| {
            let mut log = log.lock().unwrap();
            log.push(Instant::now());
            let refuse = log.len() == 1;
            let reply = Response::builder().status(if refuse { 429 } else { 200 }).header("retry-after", "3");
            std::future::ready(Ok::<_, BoxError>(reply.body(()).unwrap()))
        });
        let mut limited = LimitLayer::new(Limit::adaptive()).layer(server);
        let reply = limited.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(reply.status(), 200);
        let sent = sent.lock().unwrap();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[1] - sent[0], Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn pages_of_a_list_take_no_token() {
        let server =
            tower::service_fn(|_: Request<Body>| std::future::ready(Ok::<_, BoxError>(Response::new(()))));
        let mut limited = LimitLayer::new(Limit::rate(1.0, 1)).layer(server);
        let start = Instant::now();
        for _ in 0..20 {
            let mut page = Request::new(Body::empty());
            page.extensions_mut().insert(Continuation);
            limited.call(page).await.unwrap();
        }
        limited.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "the one token was left");
        limited.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn write_that_waited_past_the_lease_is_not_sent() {
        let sent = Arc::new(Mutex::new(0));
        let log = sent.clone();
        let server = tower::service_fn(move |_: Request<Body>| {
            *log.lock().unwrap() += 1;
            std::future::ready(Ok::<_, BoxError>(Response::new(())))
        });
        let mut limited = LimitLayer::new(Limit::rate(1.0, 1)).layer(server);
        let leadership = Leadership::candidate();
        leadership.extend(Instant::now() + Duration::from_millis(500));
        let mut request = || {
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(leadership.clone());
            limited.call(request)
        };
        assert!(request().await.is_ok());
        let error = request().await.unwrap_err();
        assert!(error.is::<NotLeading>(), "{error}");
        assert_eq!(*sent.lock().unwrap(), 1, "its token came a second later, the lease ended before");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_server_is_given_up_after_a_minute() {
        let silent =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<()>, BoxError>>());
        let start = Instant::now();
        let asked = LimitLayer::new(Limit::adaptive()).layer(silent).call(Request::new(Body::empty()));
        let error = asked.await.unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert_eq!(start.elapsed(), REPLY_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_reply_of_a_watch_may_last_longer() {
        for (path, lasts) in [("/api/v1/pods", false), ("/api/v1/pods?watch=true", true)] {
            let endless = tower::service_fn(|_: Request<Body>| {
                let frames = futures::stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>();
                std::future::ready(Ok::<_, BoxError>(Response::new(http_body_util::StreamBody::new(frames))))
            });
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let reply = LimitLayer::new(Limit::adaptive()).layer(endless).call(request).await.unwrap();
            let read = tokio::time::timeout(10 * REPLY_TIMEOUT, reply.into_body().collect()).await;
            assert_eq!(read.is_err(), lasts, "{path}");
        }
    }
}
