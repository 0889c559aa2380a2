use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

use super::elector::{Attempt, Elector, Lease, Timing};
use base::leadership::Leadership;

const TIMING: Timing =
    Timing { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(5) };

fn wall(seconds: i64) -> MicroTime {
    MicroTime(Timestamp::from_second(seconds).unwrap())
}

fn elector(identity: &str) -> Elector {
    Elector::new("lock", identity, vec![("team".into(), "storage".into())], TIMING)
}

/// What the API server stores of a write: the object with a new resourceVersion.
fn stored(attempt: Attempt, version: u64) -> Lease {
    let (Attempt::Create(mut lease) | Attempt::Update(mut lease)) = attempt else { panic!("{attempt:?}") };
    lease.metadata.resource_version = Some(version.to_string());
    *lease
}

#[test]
fn first_candidate_creates_the_lease_with_labels() {
    let mut a = elector("a");
    let now = Instant::now();
    let lease = stored(a.attempt(now, wall(1)), 1);
    let spec = lease.spec.clone().unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("a"));
    assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(15), Some(0)));
    assert_eq!((spec.acquire_time, spec.renew_time), (Some(wall(1)), Some(wall(1))));
    assert_eq!(lease.metadata.labels.as_ref().unwrap()["team"], "storage");
    a.observe(lease, now);
    assert!(a.is_ours());
}

#[test]
fn rival_measures_the_lease_by_its_own_clock() {
    let (mut a, mut b, now) = (elector("a"), elector("b"), Instant::now());
    // A leader with a clock a year behind: its renewTime must not matter.
    let lease = stored(a.attempt(now, wall(1)), 1);
    a.observe(lease.clone(), now);
    b.observe(lease.clone(), now);
    let later = now + Duration::from_secs(14);
    b.observe(lease, later);
    let Attempt::Held { by, until } = b.attempt(later, wall(99)) else { panic!() };
    assert_eq!((by.as_str(), until), ("a", now + Duration::from_secs(15)));
    let over = stored(b.attempt(now + Duration::from_secs(15), wall(99)), 2);
    let spec = over.spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("b"), Some(1)));
    assert_eq!((spec.acquire_time, spec.renew_time), (Some(wall(99)), Some(wall(99))));
}

#[test]
fn a_lease_that_is_gone_is_made_anew() {
    let (a, mut b, now) = (elector("a"), elector("b"), Instant::now());
    let lease = stored(a.attempt(now, wall(1)), 1);
    b.observe(lease, now);
    assert!(!b.is_ours() && matches!(b.attempt(now, wall(2)), Attempt::Held { .. }));
    b.observe_absent();
    let Attempt::Create(lease) = b.attempt(now, wall(2)) else { panic!() };
    assert_eq!(
        (lease.metadata.name.as_deref(), lease.metadata.resource_version.as_deref()),
        (Some("lock"), None)
    );
    assert_eq!(a.release(wall(3)).map(|_| ()), None, "it never saw its write");
}

#[test]
fn renewal_seen_restarts_the_wait() {
    let (mut a, mut b, now) = (elector("a"), elector("b"), Instant::now());
    let lease = stored(a.attempt(now, wall(1)), 1);
    a.observe(lease.clone(), now);
    b.observe(lease, now);
    let later = now + Duration::from_secs(10);
    b.observe(stored(a.attempt(later, wall(11)), 2), later);
    let Attempt::Held { until, .. } = b.attempt(later, wall(0)) else { panic!() };
    assert_eq!(until, later + Duration::from_secs(15));
}

#[test]
fn renewal_keeps_acquire_time_transitions_and_resource_version() {
    let (mut a, now) = (elector("a"), Instant::now());
    a.observe(stored(a.attempt(now, wall(1)), 7), now);
    let Attempt::Update(lease) = a.attempt(now, wall(6)) else { panic!() };
    assert_eq!(lease.metadata.resource_version.as_deref(), Some("7"));
    let spec = lease.spec.unwrap();
    assert_eq!((spec.acquire_time, spec.renew_time), (Some(wall(1)), Some(wall(6))));
    assert_eq!(spec.lease_transitions, Some(0));
}

#[test]
fn released_lease_is_free_at_once() {
    let (mut a, mut b, now) = (elector("a"), elector("b"), Instant::now());
    let lease = stored(a.attempt(now, wall(1)), 1);
    a.observe(lease.clone(), now);
    b.observe(lease, now);
    let released = a.release(wall(2)).unwrap();
    let spec = released.spec.as_ref().unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some(""), Some(1)));
    assert_eq!((&spec.acquire_time, &spec.renew_time), (&Some(wall(2)), &Some(wall(2))));
    b.observe(*released, now);
    assert!(matches!(b.attempt(now, wall(2)), Attempt::Update(_)));
    assert!(b.release(wall(2)).is_none(), "only the holder releases");
}

#[tokio::test(start_paused = true)]
async fn leadership_ends_at_its_deadline_without_anybody_saying_so() {
    let leadership = Leadership::candidate();
    assert!(!leadership.holds());
    leadership.extend(tokio::time::Instant::now() + Duration::from_secs(10));
    assert!(leadership.holds());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(!leadership.holds());
    assert_eq!(leadership.overdue(), Some(Duration::ZERO));
    leadership.end();
    assert_eq!(leadership.overdue(), None);
}

#[test]
fn without_election_we_always_lead() {
    assert!(Leadership::always().holds());
}
