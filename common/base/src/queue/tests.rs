mod groups;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn core(limits: Limits) -> Core<&'static str> {
    Core::new(Backoff { base: SECOND, max: 5 * SECOND }, limits)
}

fn place(lane: usize, group: &str) -> Place {
    Place { lane, group: Some(group.into()) }
}

fn keys(core: &mut Core<&'static str>, now: Instant) -> Vec<&'static str> {
    std::iter::from_fn(|| core.pop(now).map(|ticket| ticket.key)).collect()
}

#[test]
fn a_key_added_twice_is_handed_out_once() {
    let (mut core, now) = (core(Limits::plain()), Instant::now());
    core.add("a", Place::lane(0), now);
    core.add("a", Place::lane(0), now);
    assert_eq!(keys(&mut core, now), ["a"]);
}

#[test]
fn a_key_added_while_worked_on_comes_back_when_that_ends() {
    let (mut core, now) = (core(Limits::plain()), Instant::now());
    core.add("a", Place::lane(0), now);
    core.pop(now);
    core.add("a", Place::lane(0), now);
    assert_eq!(core.pop(now), None);
    core.finish(&"a", Outcome::Done, now);
    assert_eq!(keys(&mut core, now), ["a"]);
}

#[test]
fn a_key_added_elsewhere_while_worked_on_comes_back_there() {
    let limits = Limits { lanes: 2, per_lane: 2, per_group: 1 };
    let (mut core, now) = (core(limits), Instant::now());
    core.add("a", place(0, "n"), now);
    core.pop(now);
    core.add("a", place(1, "m"), now);
    core.finish(&"a", Outcome::Done, now);
    assert_eq!((core.depth(0), core.depth(1)), (0, 1));
    assert_eq!(core.by_group(1, now).map(|(name, ..)| name.map(|name| &**name)).next(), Some(Some("m")));
}

#[test]
fn failures_double_the_pause_and_success_resets_it() {
    let (mut core, mut now) = (core(Limits::plain()), Instant::now());
    core.add("a", Place::lane(0), now);
    for seconds in [1, 2, 4, 5, 5] {
        assert_eq!(core.pop(now).unwrap().key, "a");
        assert_eq!(core.finish(&"a", Outcome::Retry, now), Some(seconds * SECOND));
        assert_eq!(core.pop(now + seconds * SECOND - Duration::from_nanos(1)), None);
        now += seconds * SECOND;
    }
    core.pop(now);
    core.finish(&"a", Outcome::Done, now);
    assert_eq!(core.failures(&"a"), 0);
    assert_eq!(core.next_due(), None);
}

#[test]
fn an_event_ends_the_pause_but_not_the_memory_of_failures() {
    let (mut core, now) = (core(Limits::plain()), Instant::now());
    core.add("a", Place::lane(0), now);
    core.pop(now);
    core.finish(&"a", Outcome::Retry, now);
    core.add("a", Place::lane(0), now);
    assert_eq!(keys(&mut core, now), ["a"]);
    assert_eq!(core.finish(&"a", Outcome::Retry, now), Some(2 * SECOND));
    assert_eq!(core.pop(now + SECOND), None, "the first pause was over");
}

#[test]
fn a_failure_may_have_an_earlier_return() {
    let (mut core, now) = (core(Limits::plain()), Instant::now());
    for delay in [1, 2, 3, 3] {
        core.add("a", Place::lane(0), now);
        core.pop(now);
        assert_eq!(core.finish(&"a", Outcome::RetryWithin(3 * SECOND), now), Some(delay * SECOND));
    }
    assert_eq!(core.failures(&"a"), 4);
}

#[test]
fn a_key_that_waits_moves_when_it_is_added_elsewhere() {
    let limits = Limits { lanes: 2, per_lane: 2, per_group: 1 };
    let (mut core, now) = (core(limits), Instant::now());
    for key in ["a", "b", "c"] {
        core.add(key, place(0, "n"), now);
    }
    assert!(!core.add("a", place(1, "n"), now + SECOND));
    core.add("a", place(1, "n"), now + 2 * SECOND);
    assert_eq!((core.depth(0), core.depth(1)), (2, 1));
    assert_eq!(core.oldest_since(1), Some(now + SECOND), "its wait began anew, once");
    assert_eq!(keys(&mut core, now), ["b", "a"]);
    core.finish(&"b", Outcome::Done, now);
    assert_eq!(keys(&mut core, now), ["c"]);
    core.finish(&"a", Outcome::Done, now);
    core.finish(&"c", Outcome::Done, now);
    assert_eq!((core.depth(0), core.depth(1), core.pop(now)), (0, 0, None));
}

#[test]
fn lanes_are_served_in_turn() {
    let limits = Limits { lanes: 2, per_lane: usize::MAX, per_group: usize::MAX };
    let (mut core, now) = (core(limits), Instant::now());
    for key in ["d1", "d2", "d3", "d4"] {
        core.add(key, Place::lane(1), now);
    }
    core.add("a1", Place::lane(0), now);
    assert_eq!(keys(&mut core, now), ["a1", "d1", "d2", "d3", "d4"]);
}

#[test]
fn a_lane_cannot_take_the_workers_of_another() {
    let limits = Limits { lanes: 2, per_lane: 1, per_group: usize::MAX };
    let (mut core, now) = (core(limits), Instant::now());
    core.add("d1", Place::lane(1), now);
    core.add("d2", Place::lane(1), now);
    core.add("a1", Place::lane(0), now);
    assert_eq!(keys(&mut core, now), ["a1", "d1"]);
    core.finish(&"d1", Outcome::Done, now);
    assert_eq!(keys(&mut core, now), ["d2"]);
}

#[test]
fn a_hung_group_holds_back_only_itself() {
    let limits = Limits { lanes: 1, per_lane: 2, per_group: 1 };
    let (mut core, now) = (core(limits), Instant::now());
    for key in ["x1", "x2", "x3"] {
        core.add(key, place(0, "x"), now);
    }
    core.add("y1", place(0, "y"), now);
    assert_eq!(keys(&mut core, now), ["x1", "y1"]);
    core.finish(&"y1", Outcome::Done, now);
    assert_eq!(core.pop(now), None);
    core.finish(&"x1", Outcome::Done, now);
    assert_eq!(keys(&mut core, now), ["x2"]);
}

#[test]
fn a_group_that_waits_alone_leaves_a_share_for_the_next() {
    let limits = Limits { lanes: 1, per_lane: 7, per_group: 2 };
    let (mut core, now) = (core(limits), Instant::now());
    for key in ["a1", "a2", "a3", "a4", "a5", "a6", "a7"] {
        core.add(key, place(0, "a"), now);
    }
    assert_eq!(
        keys(&mut core, now),
        ["a1", "a2", "a3", "a4", "a5"],
        "more than its share: nobody else waits"
    );
    for key in ["b1", "b2", "b3"] {
        core.add(key, place(0, "b"), now);
    }
    assert_eq!(keys(&mut core, now), ["b1", "b2"], "the share that was left");
    core.finish(&"a1", Outcome::Done, now);
    assert_eq!(keys(&mut core, now), [""; 0], "both have their share, and both wait");
    core.finish(&"b1", Outcome::Done, now);
    assert_eq!(keys(&mut core, now), ["b3"]);
    for key in ["b2", "b3"] {
        core.finish(&key, Outcome::Done, now);
    }
    assert_eq!(keys(&mut core, now), ["a6"], "nobody else waits any more");
}

#[test]
fn groups_are_served_in_turn() {
    let (mut core, now) = (core(Limits::plain()), Instant::now());
    for (key, group) in [("x1", "x"), ("x2", "x"), ("y1", "y"), ("y2", "y")] {
        core.add(key, place(0, group), now);
    }
    assert_eq!(keys(&mut core, now), ["x1", "y1", "x2", "y2"]);
}

#[test]
fn oldest_is_the_age_of_what_waits_longest() {
    let (mut core, now) = (core(Limits::plain()), Instant::now());
    assert_eq!(core.oldest_since(0), None);
    core.add("a", place(0, "x"), now);
    core.add("b", place(0, "y"), now + SECOND);
    assert_eq!(core.oldest_since(0), Some(now));
    core.pop(now + SECOND);
    assert_eq!(core.oldest_since(0), Some(now + SECOND));
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, usize, u8),
    Pop,
    Finish(usize, u8),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12u8, 0..2usize, 0..3u8).prop_map(|(key, lane, group)| Step::Add(key, lane, group)),
        Just(Step::Pop),
        (0..4usize, 0..3u8).prop_map(|(which, outcome)| Step::Finish(which, outcome)),
        (1..4000u64).prop_map(Step::Advance),
    ]
}

proptest! {
    /// Whatever happens, no key is worked on twice at once, limits hold, and nothing added is lost.
    #[test]
    fn never_twice_never_lost(steps in proptest::collection::vec(step(), 1..200)) {
        let limits = Limits { lanes: 2, per_lane: 3, per_group: 2 };
        let mut core = Core::new(Backoff { base: SECOND, max: 5 * SECOND }, limits);
        let (mut now, mut running, mut owed) = (Instant::now(), Vec::new(), std::collections::HashSet::new());
        for step in steps {
            match step {
                Step::Add(key, lane, group) => {
                    core.add(key, place(lane, &group.to_string()), now);
                    owed.insert(key);
                }
                Step::Pop => if let Some(ticket) = core.pop(now) {
                    prop_assert!(!running.contains(&ticket.key));
                    owed.remove(&ticket.key);
                    running.push(ticket.key);
                },
                Step::Finish(which, outcome) => if !running.is_empty() {
                    let key = running.swap_remove(which % running.len());
                    let outcome = [Outcome::Done, Outcome::Retry, Outcome::After(SECOND)][outcome as usize];
                    if outcome != Outcome::Done { owed.insert(key); }
                    core.finish(&key, outcome, now);
                },
                Step::Advance(millis) => now += Duration::from_millis(millis),
            }
            prop_assert!((0..2).all(|lane| core.running(lane) <= 3));
        }
        while let Some(key) = running.pop() { core.finish(&key, Outcome::Done, now); }
        now += 10 * SECOND;
        while let Some(ticket) = core.pop(now) {
            owed.remove(&ticket.key);
            core.finish(&ticket.key, Outcome::Done, now);
        }
        prop_assert!(owed.is_empty(), "lost: {owed:?}");
    }
}

struct Counting {
    seen: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Job<String> for Counting {
    async fn run(&self, key: String) -> Outcome {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(at_once, Ordering::SeqCst);
        tokio::time::sleep(SECOND).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.seen.lock().unwrap().push(key.clone());
        if key == "bad" && self.seen.lock().unwrap().iter().filter(|seen| *seen == "bad").count() < 3 {
            return Outcome::Retry;
        }
        Outcome::Done
    }
}

#[tokio::test(start_paused = true)]
async fn runs_so_many_at_once_and_finishes_what_it_began_when_stopped() {
    let backoff = Backoff { base: SECOND, max: SECOND };
    let queue: WorkQueue<String> = WorkQueue::new(backoff, Limits::plain(), Vec::new());
    let job = Arc::new(Counting {
        seen: Mutex::default(),
        at_once: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let stop = CancellationToken::new();
    for key in ["a", "b", "c", "bad"] {
        queue.add(key.to_owned(), Place::lane(0));
    }
    let running = tokio::spawn({
        let (queue, job, stop) = (queue.clone(), job.clone(), stop.clone());
        async move { queue.run(2, job, stop).await }
    });
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(*job.seen.lock().unwrap(), ["a", "b", "c", "bad", "bad", "bad"]);
    assert_eq!(job.most.load(Ordering::SeqCst), 2);
    queue.add("last".to_owned(), Place::lane(0));
    tokio::time::sleep(SECOND / 2).await;
    queue.add("too late".to_owned(), Place::lane(0));
    stop.cancel();
    running.await.unwrap();
    assert_eq!(job.seen.lock().unwrap().last().unwrap(), "last", "what was begun is finished");
    assert_eq!(job.seen.lock().unwrap().len(), 7, "nothing is begun after the stop");
}

fn works(outcomes: &'static [Outcome]) -> impl Job<&'static str> {
    struct Works(&'static [Outcome], AtomicUsize);
    impl Job<&'static str> for Works {
        async fn run(&self, _: &'static str) -> Outcome {
            let number = self.1.fetch_add(1, Ordering::Relaxed);
            self.0.get(number).copied().unwrap_or(Outcome::Done)
        }
    }
    Works(outcomes, AtomicUsize::new(0))
}

/// The page may be read while nobody takes keys: every worker is busy, or the queue is not run yet.
#[tokio::test(start_paused = true)]
async fn a_key_whose_pause_has_ended_waits_though_nobody_looked() {
    let metrics = crate::metrics::Metrics::new();
    let queue =
        WorkQueue::new(Backoff { base: SECOND, max: 5 * SECOND }, Limits::plain(), vec![metrics.queue("q")]);
    queue.add("a", Place::lane(0));
    let job = Arc::new(works(&[Outcome::After(SECOND)]));
    let _ = tokio::time::timeout(SECOND / 2, queue.run(1, job, CancellationToken::new())).await;
    assert!(metrics.render().contains("workqueue_depth{name=\"q\"} 0"), "it pauses");
    tokio::time::sleep(SECOND).await;
    assert!(metrics.render().contains("workqueue_depth{name=\"q\"} 1"), "{}", metrics.render());
}

/// As client-go counts: an item is added by an event and when its pause ends; a retry is what asks for a pause.
#[tokio::test(start_paused = true)]
async fn adds_retries_and_depth_mean_what_they_mean_upstream() {
    let metrics = crate::metrics::Metrics::new();
    let backoff = Backoff { base: SECOND, max: 5 * SECOND };
    let queue = WorkQueue::new(backoff, Limits::plain(), vec![metrics.queue("q")]);
    queue.add("a", Place::lane(0));
    let stop = CancellationToken::new();
    let outcomes = &[Outcome::Retry, Outcome::After(SECOND), Outcome::Done];
    let job = Arc::new(works(outcomes));
    let _ = tokio::time::timeout(60 * SECOND, queue.run(1, job, stop)).await;
    let page = metrics.render();
    assert!(page.contains("workqueue_adds_total{name=\"q\"} 3"), "{page}");
    assert!(page.contains("workqueue_retries_total{name=\"q\"} 2"), "{page}");
    assert!(page.contains("workqueue_depth{name=\"q\"} 0"), "{page}");
    queue.add("b", Place::lane(0));
    assert!(metrics.render().contains("workqueue_depth{name=\"q\"} 1"));
}

/// How long the thread was busy in 300 ms in which one key is worked on and another, due after 10 ms, may not be begun.
async fn busy_while_due(workers: usize, stops_after: Duration) -> Duration {
    struct Slow;
    impl Job<&'static str> for Slow {
        async fn run(&self, key: &'static str) -> Outcome {
            if key == "due" {
                return Outcome::After(Duration::from_millis(10));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            Outcome::Done
        }
    }
    let busy = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    };
    let queue = WorkQueue::new(Backoff { base: SECOND, max: SECOND }, Limits::plain(), Vec::new());
    queue.add("due", Place::lane(0));
    queue.add("slow", Place::lane(0));
    let stop = CancellationToken::new();
    let stops = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(stops_after).await;
        stops.cancel();
    });
    let before = busy();
    queue.run(workers, Arc::new(Slow), stop).await;
    busy() - before
}

#[tokio::test]
async fn draining_queue_sleeps() {
    let used = busy_while_due(2, Duration::from_millis(15)).await;
    assert!(used < Duration::from_millis(20), "{used:?} of 300 ms");
}

#[tokio::test]
async fn queue_without_a_free_worker_sleeps() {
    let used = busy_while_due(1, Duration::from_millis(280)).await;
    assert!(used < Duration::from_millis(20), "{used:?} of 300 ms");
}
