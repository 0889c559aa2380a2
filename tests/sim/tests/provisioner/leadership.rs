//! Two replicas and one lease: never both at work.

use std::sync::Arc;
use std::time::Duration;

use base::leadership::Leadership;
use base::metrics::Metrics;
use kubernetes::lease::{Candidate, Timing, run};
use provisioner::Config;
use sim::{Outage, Reply, World};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{bound, calls, claim, class, config, events, logged, released, sidecar_with, waiting};

struct Replica {
    leadership: Leadership,
    stop: CancellationToken,
    release: CancellationToken,
    task: JoinHandle<()>,
}

/// A replica whose lease traffic and work can be told apart by its name.
fn replica(world: &World, name: &str) -> Replica {
    replica_with(world, name, config())
}

fn replica_with(world: &World, name: &str, config: Config) -> Replica {
    let leadership = Leadership::candidate();
    let (stop, release) = (CancellationToken::new(), CancellationToken::new());
    let candidate = candidate(world, name);
    let (world, lead, halt, freed) = (world.other(name), leadership.clone(), stop.clone(), release.clone());
    let task = tokio::spawn(async move {
        let work = async {
            tokio::select! {
                () = lead.acquired() => sidecar_with(world, config, lead.clone(), halt.clone()).await,
                () = halt.cancelled() => {}
            }
            freed.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = run(candidate, lead.clone(), freed.clone(), |_| {}) => {}
            () = work => {}
        }
    });
    Replica { leadership, stop, release, task }
}

fn candidate(world: &World, name: &str) -> Candidate {
    candidate_of(world.api.client(&format!("{name}-lease")), name)
}

pub(crate) fn candidate_of(client: kube::Client, name: &str) -> Candidate {
    Candidate {
        client,
        namespace: "default".into(),
        name: "driver-example".into(),
        identity: name.into(),
        labels: Vec::new(),
        timing: Timing {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(5),
        },
        release: true,
        metrics: Metrics::new().leader(""),
        seed: name.bytes().next().map_or(0, u64::from),
        after: None,
    }
}

fn creators(world: &World) -> Vec<String> {
    let requests = world.api.requests();
    let made =
        requests.iter().filter(|request| request.verb == "create" && request.resource == "persistentvolumes");
    made.map(|request| request.who.clone()).collect()
}

fn ready() -> World {
    let world = World::default();
    world.api.put(class());
    world
}

#[tokio::test(start_paused = true)]
async fn killed_leader_is_followed_after_its_lease() {
    let world = ready();
    let _binder = world.binder();
    let first = replica(&world, "first");
    first.leadership.acquired().await;
    let second = replica(&world, "second");
    world.api.put(claim("one"));
    bound(&world, "one").await;
    first.task.abort();
    let killed = tokio::time::Instant::now();
    world.api.put(claim("two"));
    bound(&world, "two").await;
    assert!(killed.elapsed() > Duration::from_secs(9), "took over too early: {:?}", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(21), "took over too late: {:?}", killed.elapsed());
    assert!(second.leadership.holds());
    assert_eq!(creators(&world), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn leader_that_is_asked_to_stop_is_followed_within_a_second() {
    let world = ready();
    let _binder = world.binder();
    let first = replica(&world, "first");
    first.leadership.acquired().await;
    let second = replica(&world, "second");
    tokio::time::sleep(Duration::from_secs(30)).await;
    first.stop.cancel();
    let asked = tokio::time::Instant::now();
    second.leadership.acquired().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
    assert!(first.release.is_cancelled() && !first.leadership.holds());
    world.api.put(claim("one"));
    bound(&world, "one").await;
    assert_eq!(creators(&world), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn call_that_outlasts_the_last_20_seconds_is_abandoned() {
    let world = ready();
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(600))]);
    let config = Config { timeout: Duration::from_secs(900), ..config() };
    let first = replica_with(&world, "first", config);
    first.leadership.acquired().await;
    let second = replica(&world, "second");
    world.api.put(claim("one"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world).len(), 1, "the call is under way");
    first.stop.cancel();
    let asked = tokio::time::Instant::now();
    second.leadership.acquired().await;
    assert!(asked.elapsed().as_secs() == 20, "took {:?}", asked.elapsed());
    bound(&world, "one").await;
    assert_eq!((calls(&world).len(), creators(&world)), (2, vec!["second".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn candidate_stopped_as_it_wins_releases_the_lease() {
    let world = ready();
    world.api.set_latency(Duration::from_secs(1));
    let (leadership, stop) = (Leadership::candidate(), CancellationToken::new());
    let elector = tokio::spawn(run(candidate(&world, "first"), leadership.clone(), stop.clone(), |_| {}));
    let holder = |api: &sim::ApiServer| Some(api.list("leases").first()?["spec"]["holderIdentity"].clone());
    world
        .api
        .until("the lease", Duration::from_secs(60), |api| holder(api).filter(|name| *name == "first"))
        .await;
    assert!(!leadership.holds(), "it does not know yet");
    stop.cancel();
    elector.await.unwrap().unwrap();
    assert_eq!(holder(&world.api).unwrap(), "");
}

/// The reply to the winning write comes six seconds after it was sent: the lease counts from the write.
#[tokio::test(start_paused = true)]
async fn late_reply_does_not_lengthen_the_leadership() {
    let world = ready();
    world.api.set_latency(Duration::from_secs(3));
    let leadership = Leadership::candidate();
    let begun = tokio::time::Instant::now();
    let elector = run(candidate(&world, "first"), leadership.clone(), CancellationToken::new(), |_| {});
    let elector = tokio::spawn(elector);
    leadership.acquired().await;
    assert_eq!(begun.elapsed().as_secs(), 12, "read and written, six seconds each");
    world.api.grant_only("first-lease", Vec::new());
    tokio::time::sleep_until(begun + Duration::from_millis(15_900)).await;
    assert!(leadership.holds());
    tokio::time::sleep_until(begun + Duration::from_millis(16_100)).await;
    assert!(!leadership.holds(), "ten seconds after the write was sent");
    elector.abort();
}

/// The same for a renewal: sent after five seconds, answered six seconds later.
#[tokio::test(start_paused = true)]
async fn late_renewal_does_not_lengthen_the_leadership() {
    let world = ready();
    let leadership = Leadership::candidate();
    let begun = tokio::time::Instant::now();
    let elector = run(candidate(&world, "first"), leadership.clone(), CancellationToken::new(), |_| {});
    let elector = tokio::spawn(elector);
    leadership.acquired().await;
    world.api.set_latency(Duration::from_secs(3));
    tokio::time::sleep_until(begun + Duration::from_secs(10)).await;
    world.api.grant_only("first-lease", Vec::new());
    tokio::time::sleep_until(begun + Duration::from_millis(14_900)).await;
    assert!(leadership.holds(), "renewed");
    tokio::time::sleep_until(begun + Duration::from_millis(15_100)).await;
    assert!(!leadership.holds(), "ten seconds after the renewal was sent");
    elector.abort();
}

#[tokio::test(start_paused = true)]
async fn cut_off_leader_sends_nothing_after_its_deadline() {
    let world = ready();
    let _binder = world.binder();
    let first = replica(&world, "first");
    first.leadership.acquired().await;
    world.api.grant_only("first-lease", Vec::new());
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(!first.leadership.holds(), "it has not renewed for longer than its deadline");
    world.api.put(claim("one"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!((calls(&world), creators(&world)), (vec![], vec![]));
    let _second = replica(&world, "second");
    bound(&world, "one").await;
    assert_eq!(creators(&world), ["second"]);
}

#[test]
fn refusals_after_lost_leadership_are_not_logged_as_errors() {
    let log = logged(work_outlives_the_lease());
    assert!(log.contains("\"Provisioning\""), "{log}");
    assert!(!log.lines().any(|line| line.starts_with('E')), "{log}");
}

/// The lease ends while calls are under way; the process itself goes on a little.
async fn work_outlives_the_lease() {
    let world = ready();
    let leadership = Leadership::candidate();
    let elector = run(candidate(&world, "first"), leadership.clone(), CancellationToken::new(), |_| {});
    let elector = tokio::spawn(elector);
    leadership.acquired().await;
    let slow = Duration::from_secs(60);
    world.driver.script("CreateVolume", [Reply::Ok.after(slow)]);
    world.driver.script("DeleteVolume", [Reply::Ok.after(slow)]);
    let config = Config { timeout: Duration::from_secs(90), ..config() };
    let stop = CancellationToken::new();
    let sidecar = tokio::spawn(sidecar_with(world.other("first"), config, leadership.clone(), stop));
    world.api.put(waiting("one"));
    world.api.put(released("pv"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((calls(&world).len(), events(&world).len()), (2, 1), "both calls are under way");
    elector.abort();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!leadership.holds());
    world.api.put(waiting("two"));
    world.api.put(released("another"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world).len(), 2, "{:?}", calls(&world));
    assert_eq!(creators(&world), Vec::<String>::new());
    assert_eq!(world.api.count("persistentvolumes"), 2);
    let said = events(&world);
    assert!(said.iter().all(|event| event.starts_with("Provisioning: ")) && said.len() == 1, "{said:?}");
    sidecar.abort();
}

/// What a replica has written so far besides its lease.
fn written(world: &World, who: &str) -> usize {
    let requests = world.api.requests();
    requests.iter().filter(|request| request.who == who && request.is_write()).count()
}

#[tokio::test(start_paused = true)]
async fn short_outages_cost_no_leader_its_place() {
    let world = ready();
    let _binder = world.binder();
    let first = replica(&world, "first");
    first.leadership.acquired().await;
    let second = replica(&world, "second");
    let mut random = fastrand::Rng::with_seed(7);
    for outage in 0..100 {
        tokio::time::sleep(Duration::from_millis(random.u64(3_000..20_000))).await;
        world.api.put(claim(&format!("claim-{outage}")));
        let how = if outage % 2 == 0 { Outage::Refused } else { Outage::Hanging };
        world.api.outage(how, Duration::from_millis(random.u64(200..4_000)));
        for _ in 0..12 {
            let (unsure, before) = (!first.leadership.holds(), written(&world, "first"));
            tokio::time::sleep(Duration::from_millis(500)).await;
            if unsure && !first.leadership.holds() {
                assert_eq!(
                    written(&world, "first"),
                    before,
                    "outage {outage}: a write while leadership is unsure"
                );
            }
            assert!(!first.task.is_finished(), "outage {outage}: the leader gave up");
            assert!(!second.leadership.holds(), "outage {outage}: the other one leads");
        }
    }
    bound(&world, "claim-99").await;
    assert_eq!(world.api.count("persistentvolumes"), 100, "no work is lost");
    assert!(creators(&world).iter().all(|who| who == "first"));
}

#[tokio::test(start_paused = true)]
async fn long_outage_ends_the_leader_and_another_goes_on() {
    let world = ready();
    let _binder = world.binder();
    let first = replica(&world, "first");
    first.leadership.acquired().await;
    world.api.put(claim("one"));
    bound(&world, "one").await;
    world.api.outage(Outage::Refused, Duration::from_secs(60));
    world.api.put(claim("two"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(
        first.task.is_finished() && !first.leadership.holds(),
        "it ends before the lease can be another's"
    );
    let second = replica(&world, "second");
    bound(&world, "two").await;
    assert!(second.leadership.holds());
    assert_eq!(creators(&world), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn only_one_of_many_candidates_leads_at_any_moment() {
    let world = ready();
    let replicas: Arc<Vec<_>> = Arc::new(["a", "b", "c", "d"].map(|name| replica(&world, name)).into());
    let mut led = std::collections::BTreeSet::new();
    for second in 0..600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leaders: Vec<_> = (0..4).filter(|&n| replicas[n].leadership.holds()).collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead at once");
        led.extend(leaders.clone());
        if let (0, Some(&leader)) = (second % 60, leaders.first()) {
            replicas[leader].task.abort();
        }
    }
    assert!(led.len() >= 3, "leadership moved on: {led:?}");
}
