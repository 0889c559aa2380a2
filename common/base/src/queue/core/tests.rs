use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn core(lanes: usize) -> Core<u32> {
    let limits = Limits { lanes, ..Limits::plain() };
    Core::new(Backoff { base: SECOND, max: 5 * SECOND }, limits)
}

fn place(lane: usize, group: &str) -> Place {
    Place { lane, group: Some(group.into()) }
}

#[test]
fn add_says_whether_the_key_was_not_ready_before() {
    let (mut core, now) = (core(1), Instant::now());
    let add = |core: &mut Core<u32>| core.add(1, Place::lane(0), now);
    assert_eq!((add(&mut core), add(&mut core)), (true, false));
    core.pop(now);
    assert_eq!((add(&mut core), add(&mut core)), (true, false), "while it is worked on");
    core.finish(&1, Outcome::Done, now);
    core.pop(now);
    core.finish(&1, Outcome::Retry, now);
    assert_eq!((add(&mut core), add(&mut core)), (true, false), "while it waits for its back-off");
}

#[test]
fn three_lanes_are_served_in_turn_again_and_again() {
    let (mut core, now) = (core(3), Instant::now());
    for key in 0..9 {
        core.add(key, Place::lane(key as usize / 3), now);
    }
    let lanes: Vec<usize> = std::iter::from_fn(|| core.pop(now)).map(|ticket| ticket.lane).collect();
    assert_eq!(lanes, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_lane_that_is_not_there_is_the_last_one() {
    let (mut core, now) = (core(2), Instant::now());
    core.add(1, Place::lane(2), now);
    assert_eq!((core.depth(0), core.depth(1), core.depth(2)), (0, 1, 0));
    assert_eq!(core.pop(now).map(|ticket| ticket.lane), Some(1));
}

#[test]
fn waiting_and_running_keys_are_counted_by_lane_and_group() {
    let (mut core, now) = (core(2), Instant::now());
    core.add(1, place(0, "a"), now);
    core.add(2, place(0, "a"), now + SECOND);
    core.add(3, place(0, "b"), now + 2 * SECOND);
    core.add(4, place(1, "a"), now);
    let groups = |core: &Core<u32>, lane| {
        let groups = core.by_group(lane, now + 3 * SECOND);
        let mut groups: Vec<_> =
            groups.map(|(name, count, age)| (name.map(|name| name.to_string()), count, age)).collect();
        groups.sort();
        groups
    };
    let (a, b) = (|| Some("a".to_owned()), || Some("b".to_owned()));
    assert_eq!(groups(&core, 0), [(a(), 2, 3 * SECOND), (b(), 1, SECOND)]);
    assert_eq!((core.running(0), core.running(1)), (0, 0));
    while core.pop(now + 3 * SECOND).is_some_and(|ticket| ticket.key != 2) {}
    assert_eq!((core.running(0), core.running(1), core.depth(0)), (3, 1, 0));
    assert_eq!(groups(&core, 0), []);
    core.finish(&1, Outcome::Done, now);
    assert_eq!((core.running(0), core.running(1)), (2, 1));
}

#[test]
fn memory_of_a_burst_is_given_back() {
    let (mut core, now) = (core(1), Instant::now());
    for key in 0..10_000 {
        core.add(key, place(0, &(key % 100).to_string()), now);
    }
    while let Some(ticket) = core.pop(now) {
        core.finish(&ticket.key, Outcome::Done, now);
    }
    assert!(core.items.capacity() < 200, "{}", core.items.capacity());
    assert!(core.failures.capacity() < 200 && core.delayed_keys.capacity() < 200);
}

/// An event ends a back-off. Its entry in the heap stays behind, and must not stay for ever.
#[test]
fn back_offs_that_events_ended_are_forgotten() {
    let (mut core, now) = (core(1), Instant::now());
    let again = |core: &mut Core<u32>, key: u32, hours: u32| {
        core.add(key, Place::lane(0), now);
        core.pop(now);
        core.finish(&key, Outcome::After(hours * 3600 * SECOND), now);
        core.delayed.len()
    };
    again(&mut core, 8, 3);
    again(&mut core, 7, 2);
    let most = (0..1_000).map(|_| again(&mut core, 1, 1)).max();
    assert_eq!(most, Some(FEW + 2 * 3), "three keys wait; the heap is cleaned now and then");
    assert!(core.delayed.capacity() <= 64, "{}", core.delayed.capacity());
    assert_eq!(core.next_due(), Some(now + 3600 * SECOND));
    let late = now + 3 * 3600 * SECOND;
    let keys: Vec<u32> = std::iter::from_fn(|| core.pop(late)).map(|ticket| ticket.key).collect();
    assert_eq!(keys, [1, 7, 8]);
}

/// While every worker is busy nobody looks whose pause has ended.
#[test]
fn a_key_whose_pause_has_ended_goes_before_one_that_is_added() {
    let (mut core, now) = (core(1), Instant::now());
    core.add(1, place(0, "a"), now);
    core.pop(now);
    core.finish(&1, Outcome::After(5 * SECOND), now);
    core.add(2, place(0, "a"), now + 6 * SECOND);
    assert_eq!(core.oldest_since(0), Some(now + 5 * SECOND));
    let later = now + 7 * SECOND;
    let keys: Vec<u32> = std::iter::from_fn(|| core.pop(later)).map(|ticket| ticket.key).collect();
    assert_eq!(keys, [1, 2]);
}
