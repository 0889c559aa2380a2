mod server;
mod turn;

use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use base::metrics::Metrics;
use server::{Fate, Plan, Server};

const LEASE: u64 = 15;
const RENEW: u64 = 10;
const RETRY: u64 = 5;

/// A candidate at work.
struct Process {
    server: Arc<Server>,
    leadership: Leadership,
    give_back: CancellationToken,
    told: Arc<Mutex<Vec<String>>>,
    metrics: Arc<Metrics>,
    task: JoinHandle<Result<(), LeaseError>>,
}

fn candidate(server: &Arc<Server>, metrics: &Metrics) -> Candidate {
    Candidate {
        client: server.client(),
        namespace: "ns".to_owned(),
        name: "lock".to_owned(),
        identity: "me".to_owned(),
        labels: Vec::new(),
        timing: Timing {
            lease: Duration::from_secs(LEASE),
            renew: Duration::from_secs(RENEW),
            retry: Duration::from_secs(RETRY),
        },
        release: true,
        metrics: metrics.leader("lock"),
        seed: 1,
        after: None,
    }
}

impl Process {
    fn start(server: &Arc<Server>, change: impl FnOnce(&mut Candidate)) -> Self {
        let (metrics, told) = (Metrics::new(), Arc::<Mutex<Vec<String>>>::default());
        let mut candidate = candidate(server, &metrics);
        change(&mut candidate);
        let (leadership, give_back) = (Leadership::candidate(), CancellationToken::new());
        let (leads, stop, tells) = (leadership.clone(), give_back.clone(), told.clone());
        let task = tokio::spawn(async move {
            run(candidate, leads, stop, |text| tells.lock().unwrap().push(text.to_owned())).await
        });
        Self { server: server.clone(), leadership, give_back, told, metrics, task }
    }

    /// How the election ended. It must end; with a paused clock the hour costs nothing.
    async fn ended(&mut self) -> Result<(), LeaseError> {
        let ended = tokio::time::timeout(Duration::from_secs(3600), &mut self.task).await;
        ended.expect("the election ends").unwrap()
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// The value of a metric of this name.
    fn metric(&self, name: &str) -> String {
        let page = self.metrics.render();
        let line = page.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned)).unwrap_or_default()
    }
}

async fn at(server_seconds: f64, begun: Instant) {
    sleep_until(begun + Duration::from_secs_f64(server_seconds)).await;
}

fn served(_: Duration, _: &str) -> Fate {
    Fate::Served
}

#[tokio::test(start_paused = true)]
async fn a_leader_renews_each_retry_period_and_gives_back_at_the_end() {
    let (server, begun) = (Server::new(served), Instant::now());
    let mut process = Process::start(&server, |_| {});
    at(12.0, begun).await;
    let mut expected = vec!["0 get 404", "0 create 201", "5000 update 200", "10000 update 200"];
    assert_eq!(server.asked(), expected);
    assert!(process.leadership.holds() && server.holder() == "me");
    assert_eq!(
        (process.told(), process.metric("leader_election_master_status")),
        (vec!["became leader".to_owned()], "1".to_owned())
    );
    process.give_back.cancel();
    assert!(process.ended().await.is_ok());
    expected.push("12000 update 200");
    assert_eq!(
        (server.asked(), server.holder().as_str()),
        (expected.iter().map(ToString::to_string).collect(), "")
    );
    assert!(!process.leadership.holds());
    assert_eq!(process.told.lock().unwrap().last().map(String::as_str), Some("stopped leading"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_to_be_released_runs_out() {
    let (server, begun) = (Server::new(served), Instant::now());
    let mut process = Process::start(&server, |candidate| candidate.release = false);
    at(7.0, begun).await;
    process.give_back.cancel();
    assert!(process.ended().await.is_ok());
    assert_eq!((server.holder().as_str(), server.asked().len()), ("me", 3));
}

/// The API server says nothing from the first second on.
#[tokio::test(start_paused = true)]
async fn leadership_ends_at_the_renew_deadline_and_the_lease_later() {
    let plan: Plan = |at, _| if at < Duration::from_secs(1) { Fate::Served } else { Fate::Hangs };
    let (server, begun) = (Server::new(plan), Instant::now());
    let mut process = Process::start(&server, |_| {});
    at(9.99, begun).await;
    assert!(process.leadership.holds());
    at(10.01, begun).await;
    assert!(!process.leadership.holds());
    at(14.99, begun).await;
    assert!(!process.task.is_finished(), "the lease has not run out");
    at(15.1, begun).await;
    assert!(matches!(process.ended().await, Err(LeaseError::Lost)));
    // Each try leaves time for another one: seven tenths of what is left of the lease, for the read and the write together.
    let asked = server.asked();
    assert_eq!(asked[..4], ["0 get 404", "0 create 201", "5000 update 0", "12000 get 0"], "{asked:?}");
    assert!(asked.len() >= 5 && asked.iter().skip(2).all(|one| one.ends_with(" 0")), "{asked:?}");
    assert_eq!(server.holder(), "me", "a lost lease is not released");
}

/// Refused at once, for four seconds.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_refused_tries_again_each_second() {
    let plan: Plan = |at, _| match at.as_secs() {
        5..9 => Fate::Refused(500),
        _ => Fate::Served,
    };
    let (server, begun) = (Server::new(plan), Instant::now());
    let process = Process::start(&server, |_| {});
    at(13.0, begun).await;
    let expected = [
        "0 get 404",
        "0 create 201",
        "5000 update 500",
        "5000 get 500",
        "5000 update 500",
        "6000 get 500",
        "6000 update 500",
        "7000 get 500",
        "7000 update 500",
        "8000 get 500",
        "8000 update 500",
        "9000 get 200",
        "9000 update 200",
    ];
    assert_eq!(server.asked(), expected);
    assert!(process.leadership.holds(), "renewed at 9 s");
    assert_eq!(process.metric("leader_election_slowpath_total"), "5");
    at(18.9, begun).await;
    assert!(process.leadership.holds());
    process.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_another_has_taken_stops_without_a_write() {
    let (server, begun) = (Server::new(served), Instant::now());
    let mut process = Process::start(&server, |_| {});
    at(3.0, begun).await;
    server.put("other", LEASE);
    at(6.0, begun).await;
    assert!(matches!(process.ended().await, Err(LeaseError::Lost)));
    assert_eq!(server.asked()[2..], ["5000 update 409", "5000 get 200"]);
    assert_eq!((server.holder().as_str(), process.leadership.holds()), ("other", false));
}

/// A change by somebody who does not take the lease: the next write carries the new version.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_was_edited_or_deleted_leads_on() {
    let (server, begun) = (Server::new(served), Instant::now());
    let process = Process::start(&server, |_| {});
    at(3.0, begun).await;
    server.put("me", LEASE);
    at(6.0, begun).await;
    assert_eq!(server.asked()[2..], ["5000 update 409", "5000 get 200", "5000 update 200"]);
    server.delete();
    at(11.0, begun).await;
    assert_eq!(server.asked()[5..], ["10000 update 409", "10000 get 404", "10000 create 201"]);
    assert!(process.leadership.holds() && !process.task.is_finished());
    process.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_watches_takes_a_lease_when_it_runs_out() {
    let (server, begun) = (Server::new(served), Instant::now());
    server.put("other", LEASE);
    let process = Process::start(&server, |_| {});
    at(14.9, begun).await;
    // Until the watch has said something, it polls; a watch that says that nothing is new is trusted from then on.
    let asked = server.asked();
    assert!(asked.iter().all(|one| one.ends_with(" get 200")) && asked.len() <= 2, "{asked:?}");
    assert!(!process.leadership.holds());
    at(16.0, begun).await;
    assert_eq!(server.asked().last().map(String::as_str), Some("15000 update 200"), "{:?}", server.asked());
    assert!(process.leadership.holds() && server.holder() == "me");
    process.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_watches_does_not_poll() {
    let (server, begun) = (Server::new(served), Instant::now());
    server.put("other", 600);
    let process = Process::start(&server, |_| {});
    at(500.0, begun).await;
    assert!(server.asked().len() <= 2, "{:?}", server.asked());
    process.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_candidate_takes_a_released_or_deleted_lease_at_once() {
    for release in [true, false] {
        let (server, begun) = (Server::new(served), Instant::now());
        server.put("other", LEASE);
        let process = Process::start(&server, |_| {});
        at(4.0, begun).await;
        let before = server.asked().len();
        if release {
            server.put("", 1);
        } else {
            server.delete();
        }
        at(4.1, begun).await;
        let verb = if release { "4000 update 200" } else { "4000 create 201" };
        assert_eq!(server.asked()[before..], [verb], "without a read");
        assert!(process.leadership.holds());
        process.task.abort();
    }
}

/// Where watching is forbidden, candidates poll, each with pauses of its own.
#[tokio::test(start_paused = true)]
async fn a_candidate_without_a_watch_polls_with_jitter() {
    let plan: Plan =
        |_, verb| if matches!(verb, "list" | "watch") { Fate::Refused(403) } else { Fate::Served };
    let (server, begun) = (Server::new(plan), Instant::now());
    server.put("other", 600);
    let mut process = Process::start(&server, |_| {});
    at(100.0, begun).await;
    let asked = server.asked();
    let times: Vec<u64> = asked.iter().filter_map(|one| one.split(' ').next()?.parse().ok()).collect();
    assert!(asked.iter().all(|one| one.ends_with(" get 200")), "{asked:?}");
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| (5000..=11_000).contains(pause)), "{pauses:?}");
    assert!(
        pauses.iter().any(|pause| *pause < 6000) && pauses.iter().any(|pause| *pause > 10_000),
        "{pauses:?}"
    );
    assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]), "{pauses:?}");
    process.give_back.cancel();
    assert!(process.ended().await.is_ok());
    assert_eq!((process.told.lock().unwrap().len(), server.holder().as_str()), (0, "other"));
}

/// A slow read uses up nothing of the lease: it is counted from the write.
#[tokio::test(start_paused = true)]
async fn a_candidate_whose_requests_hang_tries_again() {
    let plan: Plan = |at, _| match at.as_secs() {
        0..30 => Fate::Hangs,
        _ => Fate::Served,
    };
    let (server, begun) = (Server::new(plan), Instant::now());
    let process = Process::start(&server, |_| {});
    at(29.0, begun).await;
    let asked = server.asked();
    // A read and a write of the renew deadline's length each, then a pause.
    assert_eq!(asked[..2], ["0 get 0", "10000 create 0"], "{asked:?}");
    assert!(asked[2].ends_with(" get 0") && asked.len() == 3, "{asked:?}");
    at(60.0, begun).await;
    assert!(process.leadership.holds(), "{:?}", server.asked());
    process.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_candidate_whose_write_is_refused_pauses_before_the_next() {
    let plan: Plan = |at, verb| match verb {
        "create" if at < Duration::from_secs(20) => Fate::Refused(403),
        _ => Fate::Served,
    };
    let (server, begun) = (Server::new(plan), Instant::now());
    let process = Process::start(&server, |_| {});
    at(19.0, begun).await;
    let asked = server.asked();
    let times: Vec<u64> = asked
        .iter()
        .filter(|one| one.contains("create"))
        .filter_map(|one| one.split(' ').next()?.parse().ok())
        .collect();
    assert!((2..=4).contains(&times.len()), "{asked:?}");
    assert!(times.windows(2).all(|pair| (5000..=11_000).contains(&(pair[1] - pair[0]))), "{times:?}");
    assert!(!process.leadership.holds() && process.told().is_empty());
    process.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_release_that_conflicts_is_tried_once_more() {
    let (server, begun) = (Server::new(served), Instant::now());
    let mut process = Process::start(&server, |_| {});
    at(2.0, begun).await;
    server.put("me", LEASE);
    process.give_back.cancel();
    assert!(process.ended().await.is_ok());
    assert_eq!(server.asked()[2..], ["2000 update 409", "2000 get 200", "2000 update 200"]);
    assert_eq!(process.server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_hangs_ends_at_the_renew_deadline() {
    let plan: Plan = |at, _| if at < Duration::from_secs(1) { Fate::Served } else { Fate::Hangs };
    let (server, begun) = (Server::new(plan), Instant::now());
    let mut process = Process::start(&server, |_| {});
    at(2.0, begun).await;
    process.give_back.cancel();
    assert!(process.ended().await.is_ok());
    assert_eq!(
        (begun.elapsed().as_secs(), server.asked()[2..].to_vec()),
        (2 + RENEW, vec!["2000 update 0".to_owned()])
    );
}

/// The log names each holder once.
#[tokio::test]
async fn a_holder_is_told_when_it_is_another() {
    let server = Server::new(served);
    let candidate = candidate(&server, &Metrics::new());
    let mut run = Run {
        api: Api::namespaced(server.client(), "ns"),
        elector: Elector::new("lock", "me", Vec::new(), candidate.timing),
        random: fastrand::Rng::with_seed(1),
        lock: "ns/lock".to_owned(),
        told_leader: None,
        candidate,
        leadership: Leadership::candidate(),
    };
    for (holder, told) in [("", None), ("a", Some("a")), ("", Some("a")), ("a", Some("a")), ("b", Some("b"))]
    {
        server.put(holder, 15);
        run.read(Instant::now() + Duration::from_secs(5)).await;
        assert_eq!(run.told_leader.as_deref(), told, "{holder:?}");
    }
}

/// Nobody waits for an answer to a candidate that is to stop.
#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_to_stop_stops_at_once() {
    let server = Server::new(|_, _| Fate::Hangs);
    let mut process = Process::start(&server, |_| {});
    sleep(Duration::from_secs(1)).await;
    process.give_back.cancel();
    assert!(process.ended().await.is_ok());
    assert_eq!(server.asked(), ["0 get 0"]);
}
