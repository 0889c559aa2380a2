//! A process with the three controllers and their leases, and its metrics page.

use std::time::Duration;

use base::leadership::Leadership;
use base::metrics::Metrics;
use base::queue::Backoff;
use csi::v1::controller_service_capability::rpc::Type;
use kubernetes::client::RequestMetrics;
use kubernetes::lease::{Candidate, Timing, run};
use kubernetes::object::Scope;
use process::{Caches, Duty, Host};
use sim::objects::DRIVER;
use sim::{Settings, World};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::config;

const SECOND: Duration = Duration::from_secs(1);

/// A world whose driver does everything that the controllers can ask for.
pub(crate) fn world() -> World {
    let mut settings = Settings::default();
    settings.controller.extend([Type::ExpandVolume, Type::ModifyVolume]);
    World::new(settings)
}

/// Runs the process for as long as `story` lasts. `story` gets its metrics.
pub(crate) async fn during<T>(
    world: &World,
    attach_workers: usize,
    story: impl AsyncFnOnce(std::sync::Arc<Metrics>) -> T,
) -> T {
    let (mut host, delivery) = world.host(DRIVER, CancellationToken::new());
    let requests = RequestMetrics::new(&host.metrics).expect("one client");
    let client = world.client();
    let service = tower::service_fn(move |request| {
        let client = client.clone();
        async move { client.send(request).await }
    });
    host.client = kube::Client::new(requests.layer(service), "default");
    let keep = provisioner::KEEP.and(attacher::KEEP).and(resizer::KEEP);
    let mut caches = Caches::new(Scope { driver: DRIVER.into(), keep, in_tree: None });
    let (mut duties, mut leases): (Vec<Duty>, Vec<_>) = (Vec::new(), Vec::new());
    for name in ["provisioner", "attacher", "resizer"] {
        let leadership = Leadership::candidate();
        let seat = host.seat(leadership.clone(), name);
        duties.push(match name {
            "provisioner" => provisioner::provision(seat, &mut caches, config::provisioner_config(DRIVER))
                .expect("one provisioner"),
            "attacher" => {
                let usual = config::attacher_config(DRIVER);
                attacher::attach(seat, &mut caches, attacher::Config { workers: attach_workers, ..usual })
            }
            _ => resizer::resize(seat, &mut caches, resizer_config()),
        });
        let candidate = candidate(world, &host, name);
        let place = format!("{}/{}", candidate.namespace, candidate.name);
        candidate.metrics.show(place, candidate.identity.clone(), leadership.clone());
        leases.push(Box::pin(run(candidate, leadership, CancellationToken::new(), |_| {})));
    }
    let metrics = host.metrics.clone();
    tokio::select! {
        told = story(metrics) => told,
        _ = futures::future::select_all(leases) => panic!("a lease was lost"),
        () = host.run_duties(caches, duties) => panic!("the process ended"),
        () = async { delivery.await; std::future::pending().await } => panic!("no events any more"),
    }
}

fn candidate(world: &World, host: &Host, lease: &str) -> Candidate {
    Candidate {
        client: world.api.client("lease"),
        namespace: "default".into(),
        name: lease.into(),
        identity: "driver-0".into(),
        labels: Vec::new(),
        timing: Timing { lease: 15 * SECOND, renew: 10 * SECOND, retry: 5 * SECOND },
        release: true,
        metrics: host.metrics.leader(lease),
        seed: 7,
        after: None,
    }
}

fn resizer_config() -> resizer::Config {
    resizer::Config {
        driver: DRIVER.into(),
        expand_timeout: 10 * SECOND,
        modify_timeout: 10 * SECOND,
        backoff: Backoff { base: SECOND, max: 300 * SECOND },
        workers: 10,
        resync: 600 * SECOND,
        looks_at_pods: true,
        extra_modify_metadata: false,
        annotate: true,
        plugins: translation::Plugins::default(),
        classes: Some("v1"),
        can: resizer::Capabilities {
            expansion: Some(resizer::Expansion::Controller),
            modify: true,
            single_node_multi_writer: false,
        },
    }
}
