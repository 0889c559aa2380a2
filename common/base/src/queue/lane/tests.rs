use super::*;

const LIMITS: Limits = Limits { lanes: 1, per_lane: 100, per_group: 2 };

fn group(name: &str) -> Option<Arc<str>> {
    Some(name.into())
}

/// How many groups there are, and how many turns.
fn sizes(lane: &Lane<u32>) -> (usize, usize) {
    (lane.groups.len(), lane.rotation.len())
}

#[test]
fn a_group_is_forgotten_after_its_last_key() {
    let mut lane = Lane::default();
    lane.push(group("a"), 1);
    lane.push(group("a"), 2);
    assert_eq!(sizes(&lane), (1, 1));
    lane.take(LIMITS);
    lane.take(LIMITS);
    lane.release(&group("a"));
    assert_eq!(lane.groups.len(), 1, "one key is still worked on");
    lane.release(&group("a"));
    assert!(lane.take(LIMITS).is_none());
    assert_eq!(sizes(&lane), (0, 0));
}

#[test]
fn a_group_whose_keys_moved_away_is_forgotten_at_its_turn() {
    let mut lane = Lane::default();
    lane.push(group("a"), 1);
    lane.withdraw(&1, &group("a"));
    assert!(lane.take(LIMITS).is_none());
    assert_eq!(sizes(&lane), (0, 0));
    lane.push(group("b"), 1);
    lane.take(LIMITS);
    lane.push(group("b"), 2);
    lane.withdraw(&2, &group("b"));
    assert!(lane.take(LIMITS).is_none());
    assert_eq!(lane.groups.len(), 1, "its first key is still worked on");
    lane.release(&group("b"));
    assert_eq!(sizes(&lane), (0, 0));
}

#[test]
fn a_group_has_one_turn_at_a_time() {
    let mut lane = Lane::default();
    for key in 0..10 {
        lane.push(group("a"), key);
    }
    assert!(lane.take(LIMITS).is_some());
    lane.release(&group("a"));
    assert_eq!(sizes(&lane), (1, 1));
    assert_eq!((lane.depth(), lane.running()), (9, 0));
}

#[test]
fn turns_of_a_burst_of_groups_are_given_back() {
    let mut lane = Lane::default();
    for key in 0..10_000 {
        lane.push(group(&key.to_string()), key);
    }
    lane.shrink();
    assert!(lane.rotation.capacity() >= 10_000, "they are needed");
    while let Some((_, name)) = lane.take(LIMITS) {
        lane.release(&name);
    }
    for key in 0..10 {
        lane.push(group(&key.to_string()), key);
    }
    lane.shrink();
    let left = lane.rotation.capacity();
    assert!((FEW + 2 * 10..100).contains(&left), "room for twice as many stays: {left}");
    assert!(lane.groups.capacity() < 200);
}

#[test]
fn some_more_turns_than_needed_are_kept() {
    let mut lane: Lane<u32> = Lane { rotation: VecDeque::with_capacity(100), ..Lane::default() };
    lane.shrink();
    assert!(lane.rotation.capacity() >= 100);
}
