//! Both forms of one page.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::noted::Failure;

fn status(error: &str, items: usize) -> Status {
    let item = |number: usize| Item {
        object: format!("team/<data>-{number}"),
        node: Some("node-1".into()),
        stage: Stage::Paused(Duration::from_secs(16)),
        age: Duration::from_secs(90),
        failures: 5,
        failure: Some((Failure::new("Failed to attach", error, false), Duration::from_secs(4))),
    };
    let lane = Lane {
        ready: 0,
        running: 0,
        paused: 5_000,
        nodes: vec![Node { name: "node-1".into(), items: 5_000, oldest: Duration::from_secs(90) }],
        items: (0..items).map(item).collect(),
    };
    let process = Process {
        program: "csi-attacher".to_owned(),
        driver: "driver.example".to_owned(),
        capabilities: vec!["PUBLISH_UNPUBLISH_VOLUME".to_owned()],
        ..Process::default()
    };
    let lease = Lease {
        name: "default/external-attacher-leader-driver-example".to_owned(),
        identity: "a".to_owned(),
        holder: Some("b".to_owned()),
        leads: false,
    };
    let purpose = |operation| Purpose { operation, kind: "VolumeAttachment" };
    Status {
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
        process,
        leases: vec![lease],
        operations: vec![
            Operation { purpose: purpose("attach"), queue: "csi-attacher-va".to_owned(), lane },
            Operation { purpose: purpose("detach"), queue: "d".to_owned(), lane: Lane::default() },
        ],
        only: None,
    }
}

#[test]
fn page_for_people_says_all_and_escapes_what_comes_from_outside() {
    let page = html::render(&status("<script>alert('1')</script> & more", 1));
    for expected in [
        "csi-attacher <span",
        "driver.example",
        "PUBLISH_UNPUBLISH_VOLUME",
        "<td>b</td><td><span class=\"waits\">does not lead</span>",
        "attach VolumeAttachment: 5000",
        "0 wait for a worker, 0 in work, 5000 wait for their next try",
        "node-1: 5000 (oldest 1m30s)",
        "team/&lt;data&gt;-0",
        "next try in 16s",
        "Failed to attach <span class=\"soft\">4s ago</span>",
        "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; more",
        "4999 more",
        "<h2>Does not lead</h2>\n<p>default/external-attacher-leader-driver-example: see b</p>",
    ] {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
    assert!(!page.contains("othing waits"), "the leader knows, a stand-by does not");
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http"), "{page}");
}

#[test]
fn nothing_waits_is_said_by_whoever_leads() {
    let idle = "detach VolumeAttachment</p>";
    let mut status = status("", 0);
    let away = Lease { name: "default/other".to_owned(), ..status.leases.remove(0) };
    let none = html::render(&status);
    assert!(none.contains(&format!("<h2>Nothing waits for</h2>\n<p>{idle}")), "{none}");
    status.leases = vec![Lease { leads: true, holder: Some("a".to_owned()), ..away.clone() }];
    let all = html::render(&status);
    assert!(all.contains(&format!("<h2>Nothing waits for</h2>\n<p>{idle}")), "{all}");
    status.leases.push(Lease { holder: None, ..away });
    let some = html::render(&status);
    assert!(
        some.contains("<h2>Does not lead</h2>\n<p>default/other: see nobody that is known</p>"),
        "{some}"
    );
    assert!(some.contains(&format!("<h2>Nothing waits here for</h2>\n<p>{idle}")), "{some}");
}

#[test]
fn page_for_programs_has_times_and_numbers() {
    let page: Value = serde_json::from_str(&json::render(&status("no \"space\"", 1))).unwrap();
    for (path, expected) in [
        ("/kind", Value::from("Status")),
        ("/time", Value::from("2026-01-02T03:04:05Z")),
        ("/leases/0/holder", Value::from("b")),
        ("/leases/0/leads", Value::from(false)),
        ("/operations/0/operation", Value::from("attach")),
        ("/operations/0/paused", Value::from(5_000)),
        ("/operations/0/more", Value::from(4_999)),
        ("/operations/0/nodes/0/oldestSeconds", Value::from(90)),
        ("/operations/0/objects/0/object", Value::from("team/<data>-0")),
        ("/operations/0/objects/0/since", Value::from("2026-01-02T03:02:35Z")),
        ("/operations/0/objects/0/nextTry", Value::from("2026-01-02T03:04:21Z")),
        ("/operations/0/objects/0/nextTrySeconds", Value::from(16)),
        ("/operations/0/objects/0/lastFailure/error", Value::from("no \"space\"")),
        ("/operations/0/objects/0/lastFailure/time", Value::from("2026-01-02T03:04:01Z")),
        ("/operations/1/objects", Value::Array(Vec::new())),
    ] {
        assert_eq!(page.pointer(path), Some(&expected), "{path}");
    }
}

#[test]
fn largest_page_stays_below_half_a_megabyte() {
    let largest = Status {
        operations: vec![status(&"x".repeat(5_000), MOST_ITEMS).operations.remove(0); 10],
        ..status("", 0)
    };
    let (people, programs) = (html::render(&largest).len(), json::render(&largest).len());
    assert!(people < 500_000 && programs < 500_000, "{people} {programs}");
}

#[test]
fn board_asks_its_parts_when_the_page_is_requested() {
    let board = Board::default();
    assert!(!board.is_served());
    board.serve();
    board.describe(|process| process.driver = "d".to_owned());
    board.add_lease(|| Lease { name: "ns/lease".to_owned(), ..Lease::default() });
    board.add_fact("Weather", || "fine".to_owned());
    let purpose = Purpose { operation: "grow", kind: "PersistentVolumeClaim" };
    board.add_lane(purpose, "q", |wanted| Lane { ready: wanted.only.map_or(7, str::len), ..Lane::default() });
    let (all, one) = (board.gather(None), board.gather(Some("ns/a")));
    assert_eq!((all.process.driver.as_str(), all.leases.len()), ("d", 1));
    assert_eq!(all.process.facts, [("Weather", "fine".to_owned())]);
    assert_eq!((all.operations[0].lane.ready, one.operations[0].lane.ready), (7, 4));
    assert!(board.is_served());
}
