//! The leases of a process, and the order in which they are taken: one only while the one before is ours. So two processes never each
//! hold a lease that the other waits for. All are observed from the start.

use base::apart::apart;
use base::metrics::Metrics;
use futures::future::{BoxFuture, FutureExt, join_all, select_all};
use kubernetes::lease::LeaseError;
use tokio_util::sync::CancellationToken;

use crate::duty::Duty;
use crate::lead::Election;

/// The leases that are held or waited for.
pub(crate) struct Leases(Vec<BoxFuture<'static, Result<(), LeaseError>>>);

impl Leases {
    /// The leases of `duties`, in their order; none if there is no `client` to ask for them. They are given back when `give_back` is
    /// cancelled. Nothing happens before the leases are polled.
    pub(crate) fn of(
        metrics: &Metrics,
        client: Option<&kube::Client>,
        duties: Vec<(Election, Duty)>,
        give_back: &CancellationToken,
    ) -> (Self, Vec<Duty>) {
        let alone = duties.len() == 1;
        let (mut leases, mut work): (Vec<BoxFuture<'static, _>>, Vec<Duty>) = (Vec::new(), Vec::new());
        for (election, duty) in duties {
            if let Some(client) = client {
                let metrics = metrics.leader(&if alone { String::new() } else { election.lease_name() });
                metrics.show(election.place(), election.identity(), duty.leadership.clone());
                let before = work.last().map(|duty: &Duty| duty.leadership.clone());
                let (leadership, stop) = (duty.leadership.clone(), give_back.clone());
                leases.push(apart(election.lead(client.clone(), leadership, metrics, before, stop)).boxed());
            }
            work.push(duty);
        }
        (Self(leases), work)
    }

    /// Resolves when the first of them is lost.
    pub(crate) async fn lost(&mut self) -> LeaseError {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (ended, _, _) = select_all(self.0.iter_mut()).await;
        ended.err().unwrap_or(LeaseError::Lost)
    }

    /// Resolves when all of them are given back.
    pub(crate) async fn released(self) {
        join_all(self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use base::flag::standard::LeaderElectionFlags;
    use base::leadership::Leadership;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn duty(lock: &str) -> (Election, Duty) {
        let flags = LeaderElectionFlags {
            enabled: true,
            namespace: "ns".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(5),
            labels: base::flag::Labels::default(),
        };
        let election = Election { flags, lock: lock.to_owned(), releases: true };
        let work = std::future::pending().boxed();
        (election, Duty { leadership: Leadership::candidate(), needs: Vec::new(), work })
    }

    /// The leases that a process of three has asked for in a minute, if the server never answers the write of `hangs`.
    async fn written(hangs: &'static str) -> Vec<String> {
        let written = Arc::<Mutex<Vec<String>>>::default();
        let log = written.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let log = log.clone();
            async move {
                let method = request.method().clone();
                let is_lease = request.uri().path().contains("/leases");
                let body = request.into_body().collect_bytes().await.unwrap_or_default();
                if !is_lease || !matches!(method, Method::POST | Method::PUT) {
                    let none =
                        json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"});
                    let reply =
                        Response::builder().status(404).body(Body::from(none.to_string().into_bytes()));
                    return Ok::<_, std::io::Error>(reply.unwrap());
                }
                let lease: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
                let hangs = name == hangs;
                if method == Method::POST {
                    log.lock().unwrap().push(name);
                }
                if hangs {
                    return std::future::pending().await;
                }
                Ok(Response::builder().status(201).body(Body::from(body.to_vec())).unwrap())
            }
        });
        let client = kube::Client::new(service, "default");
        let duties = ["a", "b", "c"].map(duty).into();
        let give_back = CancellationToken::new();
        let (mut leases, _work) = Leases::of(&Metrics::new(), Some(&client), duties, &give_back);
        let _ = tokio::time::timeout(Duration::from_secs(60), leases.lost()).await;
        let mut written = written.lock().unwrap().clone();
        written.dedup();
        written
    }

    #[tokio::test(start_paused = true)]
    async fn lease_is_taken_only_while_the_one_before_is_ours() {
        assert_eq!(written("a").await, ["a"]);
        assert_eq!(written("b").await, ["a", "b"]);
        assert_eq!(written("").await[..3], ["a", "b", "c"]);
    }
}
