//! A lease that may be taken only while another one is ours.

use super::*;

/// Its holder is dead. The lease before it is won after 20 s.
#[tokio::test(start_paused = true)]
async fn a_lease_runs_out_while_the_one_before_is_awaited() {
    let (server, begun, first) = (Server::new(served), Instant::now(), Leadership::candidate());
    server.put("other", LEASE);
    let before = first.clone();
    let process = Process::start(&server, |candidate| candidate.after = Some(before));
    at(19.9, begun).await;
    let asked = server.asked();
    assert!(asked.iter().all(|one| one.ends_with(" get 200")) && asked.len() <= 3, "{asked:?}");
    at(20.0, begun).await;
    first.extend(Instant::now() + Duration::from_secs(RENEW));
    at(20.1, begun).await;
    assert_eq!(server.asked()[asked.len()..], ["20000 get 200", "20000 update 200"]);
    assert!(process.leadership.holds() && server.holder() == "me");
    process.task.abort();
}

/// It is free first. Then the watch breaks, and another takes the lease and dies.
#[tokio::test(start_paused = true)]
async fn a_lease_is_observed_before_its_turn_without_a_watch_too() {
    let plan: Plan = |at, verb| match (at.as_secs(), verb) {
        (3.., "watch" | "list") => Fate::Refused(500),
        _ => Fate::Served,
    };
    let (server, begun, first) = (Server::new(plan), Instant::now(), Leadership::candidate());
    server.put("", 1);
    let before = first.clone();
    let process = Process::start(&server, |candidate| candidate.after = Some(before));
    at(4.0, begun).await;
    server.put("other", LEASE);
    at(40.0, begun).await;
    assert_eq!(process.metric("leader_election_master_status"), "0");
    first.extend(Instant::now() + Duration::from_secs(RENEW));
    at(40.1, begun).await;
    assert_eq!(server.asked().last().map(String::as_str), Some("40000 update 200"), "{:?}", server.asked());
    process.task.abort();
}
