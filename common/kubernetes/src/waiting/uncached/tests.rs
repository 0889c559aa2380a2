use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::leadership::Leadership;
use kube::client::Body;
use serde_json::json;
use tokio::time::sleep;

type Woken = Arc<Mutex<Vec<&'static str>>>;

/// An API server that has a Secret `key` in version 7 after so many requests for its metadata.
fn uncached(after: usize) -> (Arc<Uncached<&'static str>>, Woken, Arc<AtomicUsize>) {
    let (woken, asked) = (Woken::default(), Arc::new(AtomicUsize::new(0)));
    let (log, count) = (woken.clone(), asked.clone());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let number = count.fetch_add(1, Ordering::Relaxed);
        let (code, body) = match name == "key" && number >= after {
            true => (200, json!({"metadata": {"name": "key", "resourceVersion": "7"}})),
            false => {
                let details = json!({"name": name});
                let refusal = json!({"status": "Failure", "message": "", "reason": "NotFound", "code": 404, "details": details});
                (404, refusal)
            }
        };
        let reply = http::Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
        std::future::ready(reply)
    });
    let objects = Objects::new(kube::Client::new(service, "default"), Leadership::always());
    let uncached = Uncached::new(objects, Metrics::new(), false, move |who| {
        log.lock().unwrap().push(*who);
    });
    (uncached, woken, asked)
}

fn secret(name: &str, version: Option<u64>) -> Seen {
    Seen::new(Kind::Secret, Key::new("ns", name), version)
}

fn woken(log: &Woken) -> Vec<&'static str> {
    let mut woken = std::mem::take(&mut *log.lock().unwrap());
    woken.sort_unstable();
    woken
}

#[tokio::test]
async fn newer_version_wakes_those_who_have_not_seen_it_once() {
    let (uncached, log, _) = uncached(0);
    uncached.wait(&"a", &[secret("key", None), secret("other", None)]);
    uncached.wait(&"b", &[secret("key", Some(7))]);
    uncached.wait(&"c", &[Seen::new(Kind::Volume, Key::new("ns", "key"), None)]);
    let change = |name: &str, version| uncached.changed(Kind::Secret, &Key::new("ns", name), version);
    change("key", 7);
    assert_eq!(woken(&log), ["a"], "the others have seen it, or wait for something else");
    change("other", 8);
    change("key", 7);
    assert_eq!(woken(&log), Vec::<&str>::new(), "each is woken once");
    change("key", 9);
    assert_eq!(woken(&log), ["b"]);
}

#[tokio::test]
async fn wait_that_is_not_renewed_ends_with_the_pass() {
    let (uncached, log, _) = uncached(0);
    uncached.wait(&"a", &[secret("key", None)]);
    uncached.settle(&"a");
    assert!(uncached.polled_after(None).is_some(), "it began in this pass");
    uncached.settle(&"a");
    assert_eq!(uncached.polled_after(None), None);
    uncached.changed(Kind::Secret, &Key::new("ns", "key"), 9);
    assert_eq!(woken(&log), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn missing_object_is_polled_until_it_is_there() {
    let (uncached, log, asked) = uncached(3);
    let polling = uncached.clone();
    let task = tokio::spawn(async move { polling.poll().await });
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0, "nobody waits");
    uncached.wait(&"a", &[secret("key", None)]);
    sleep(Duration::from_secs(7)).await;
    assert_eq!((woken(&log), asked.load(Ordering::Relaxed)), (vec![], 3));
    sleep(Duration::from_secs(2)).await;
    assert_eq!((woken(&log), asked.load(Ordering::Relaxed)), (vec!["a"], 4));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 4, "nobody waits any more");
    task.abort();
}

/// However many there are, each is asked for every two seconds, while that is no more than five requests a second.
#[tokio::test(start_paused = true)]
async fn each_of_many_missing_objects_is_asked_for_in_two_seconds() {
    for (missing, in_twenty_seconds) in [(1, 10), (5, 50), (10, 100), (50, 100)] {
        let (uncached, _, asked) = uncached(usize::MAX);
        let seen: Vec<Seen> = (0..missing).map(|number| secret(&format!("s{number}"), None)).collect();
        uncached.wait(&"a", &seen);
        let polling = uncached.clone();
        let task = tokio::spawn(async move { polling.poll().await });
        sleep(Duration::from_millis(20_100)).await;
        assert_eq!(asked.load(Ordering::Relaxed), in_twenty_seconds, "{missing} missing");
        task.abort();
    }
}

/// The watch shows a version that the waiter, who reads an API server that lags behind, does not see.
#[tokio::test(start_paused = true)]
async fn waiter_that_sees_an_old_version_is_woken_with_pauses() {
    let (uncached, log, _) = uncached(0);
    let polling = uncached.clone();
    let task = tokio::spawn(async move { polling.poll().await });
    let mut times = 0;
    for _ in 0..100 {
        uncached.wait(&"a", &[secret("key", Some(6))]);
        uncached.changed(Kind::Secret, &Key::new("ns", "key"), 7);
        uncached.settle(&"a");
        sleep(Duration::from_millis(100)).await;
        times += woken(&log).len();
    }
    assert_eq!(times, 4, "at once, after one second, two and four more");
    task.abort();
}

#[tokio::test]
async fn namespace_is_watched_while_somebody_waits_in_it() {
    let (uncached, log, _) = uncached(0);
    let snapshot = |namespace: &str| Seen::new(Kind::Snapshot, Key::new(namespace, "s"), Some(5));
    let any = Seen::new(Kind::Grant, Key::new("other", ""), Some(5));
    let watched = || {
        let mut places: Vec<String> = uncached
            .state()
            .watches
            .keys()
            .map(|(kind, namespace)| format!("{kind:?} {namespace}"))
            .collect();
        places.sort();
        places
    };
    uncached.wait(&"a", &[snapshot("ns")]);
    uncached.wait(&"b", &[snapshot("ns")]);
    uncached.wait(&"c", &[any]);
    assert_eq!(watched(), ["Grant other", "Snapshot ns"]);
    uncached.changed(Kind::Grant, &Key::new("other", "some-grant"), 6);
    assert_eq!(woken(&log), ["c"]);
    uncached.changed(Kind::Snapshot, &Key::new("ns", "s"), 5);
    assert_eq!(woken(&log), Vec::<&str>::new(), "that is what they have seen");
    for who in ["a", "a", "b", "c"] {
        uncached.settle(&who);
    }
    assert_eq!(watched(), ["Snapshot ns"], "one of the two still waits");
    uncached.settle(&"b");
    assert_eq!(watched(), Vec::<String>::new());
}

/// All requests of the process share one connection, on which the API server allows only so many at once.
#[tokio::test(start_paused = true)]
async fn namespaces_beyond_sixteen_are_polled() {
    let (uncached, log, _) = uncached(0);
    const NAMES: [&str; 20] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    for who in NAMES {
        uncached.wait(&who, &[Seen::new(Kind::Snapshot, Key::new(who, "key"), Some(6))]);
    }
    let (polled, count) = uncached.polled_after(None).unwrap();
    let watches = uncached.state().watches.len();
    assert_eq!((watches, count, polled.1.namespace()), (16, 4, "g"));
    let polling = uncached.clone();
    let task = tokio::spawn(async move { polling.poll().await });
    sleep(Duration::from_secs(5)).await;
    assert_eq!(woken(&log), ["g", "h", "i", "j"]);
    task.abort();
}
