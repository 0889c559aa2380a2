//! What the metrics page says of the keys that wait, by group.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_by_group() {
    let queue = WorkQueue::new(Backoff { base: SECOND, max: SECOND }, Limits::plain(), Vec::new());
    queue.add("a", place(0, "node"));
    tokio::time::sleep(SECOND).await;
    queue.add("b", place(0, "node"));
    assert_eq!(queue.groups(0), [(Some("node".into()), 2, SECOND)]);
    assert_eq!(queue.groups(1), []);
}

#[tokio::test(start_paused = true)]
async fn key_whose_pause_has_ended_waits_in_its_group() {
    let queue = WorkQueue::new(Backoff { base: SECOND, max: SECOND }, Limits::plain(), Vec::new());
    queue.add("a", place(0, "node"));
    let job = Arc::new(works(&[Outcome::After(SECOND)]));
    let _ = tokio::time::timeout(SECOND / 2, queue.run(1, job, CancellationToken::new())).await;
    assert_eq!(queue.groups(0), [], "it pauses");
    // Nobody takes keys.
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(queue.groups(0), [(Some("node".into()), 1, SECOND * 5 / 2)]);
}
