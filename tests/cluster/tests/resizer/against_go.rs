//! The same claims under the Go csi-resizer and under ours: equal objects at the end; and a rolling change in both
//! directions while claims grow (docs/upstream/resizer.md).

use std::collections::BTreeMap;

use cluster::Signal;
use cluster::binaries::Binary;
use cluster::implementation::{IN_TURN, Implementation};
use cluster::stand::{Replica, has_hosts};
use serde_json::{Value, json};

use crate::site::{LIMIT, Site};

/// A csi-resizer of either.
fn resizer(whose: Implementation, site: &Site, name: &str) -> Replica {
    let flags = [&IN_TURN[..], &["--workers=20", "--retry-interval-start=500ms"]].concat();
    whose.start(&site.stand, Binary::CsiResizer, name, &flags)
}

/// What the user does to a claim, and what its status says then.
const FATES: [(&str, &[&str], &str); 8] = [
    ("grown", &["size 5Mi"], "capacity 5Mi"),
    ("grown-twice", &["size 5Mi", "size 7Mi"], "capacity 7Mi"),
    ("infeasible", &["size 100Mi"], "state ControllerResizeInfeasible"),
    ("infeasible-then-smaller", &["size 100Mi", "size 6Mi"], "capacity 6Mi"),
    ("modified", &["class gold"], "class gold"),
    ("modified-twice", &["class gold", "class silver"], "class silver"),
    ("no-class", &["class nowhere"], "modify Pending"),
    ("both", &["class gold", "size 5Mi"], "capacity 5Mi, class gold"),
];
/// Claims of each fate.
const EACH: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_claims_end_in_equal_objects() {
    if !has_hosts("csi-resizer beside the Go csi-resizer") {
        return;
    }
    let flags =
        ["--disable-node-expansion", "--enable-controller-modify-volume", "--max-volume-size=10485760"];
    let site = Site::up("beside", &flags).await;
    for class in ["gold", "silver"] {
        site.attributes_class(class).await;
    }
    let mut ends = Vec::new();
    for (who, prefix) in [(Implementation::Go, "go"), (Implementation::Ours, "us")] {
        let mut replica = resizer(who, &site, prefix);
        site.led_by(prefix).await;
        ends.push(play(&site, prefix).await);
        replica.kill();
    }
    let [go, ours] = &ends[..] else { panic!("two runs") };
    assert_eq!(go.len(), FATES.len() * EACH);
    for (name, object) in go {
        assert_eq!(Some(object), ours.get(name), "{name}, the Go resizer's on the left");
    }
}

/// Lets every claim have its fate; gives what there is at the end, by claim.
async fn play(site: &Site, prefix: &str) -> BTreeMap<String, Value> {
    let names: Vec<_> = FATES
        .iter()
        .flat_map(|(fate, steps, end)| {
            (0..EACH).map(move |number| (format!("{fate}-{number}"), *steps, *end))
        })
        .collect();
    for (name, ..) in &names {
        site.volume(&format!("{prefix}-{name}")).await;
    }
    for (name, steps, _) in &names {
        let name = format!("{prefix}-{name}");
        for (number, step) in steps.iter().enumerate() {
            if number > 0 {
                // Not before the step before has come to its end, whatever that is.
                site.until(&name, "to be settled", |claim| {
                    is_settled(claim, steps.get(number - 1).unwrap_or(&""))
                })
                .await;
            }
            match step.split_once(' ') {
                Some(("size", size)) => site.request(&name, size).await,
                Some((_, class)) => site.name_class(&name, class).await,
                None => {}
            }
        }
    }
    let mut ends = BTreeMap::new();
    for (name, _, end) in names {
        let full = format!("{prefix}-{name}");
        let claim = site.until(&full, end, |claim| has(claim, end)).await;
        let volume = site.pv(&full).await;
        ends.insert(name, cut(&claim, &volume));
    }
    ends
}

/// Whether what the step asks for has been done or refused.
fn is_settled(claim: &Value, step: &str) -> bool {
    match step.split_once(' ') {
        Some(("size", size)) => {
            has(claim, &format!("capacity {size}")) || has(claim, "state ControllerResizeInfeasible")
        }
        Some((_, class)) => has(claim, &format!("class {class}")),
        None => true,
    }
}

/// Whether the status says each of these.
fn has(claim: &Value, wanted: &str) -> bool {
    let status = &claim["status"];
    wanted.split(", ").all(|wanted| match wanted.split_once(' ') {
        Some(("capacity", size)) => status["capacity"]["storage"] == size,
        Some(("state", state)) => {
            let error = |one: &Value| one["type"] == "ControllerResizeError";
            let told = status["conditions"].as_array().is_some_and(|all| all.iter().any(error));
            status["allocatedResourceStatuses"]["storage"] == state && told
        }
        Some(("class", class)) => status["currentVolumeAttributesClassName"] == class,
        Some(("modify", phase)) => status["modifyVolumeStatus"]["status"] == phase,
        _ => false,
    })
}

/// What a resizer may write, without times, and the conditions by type.
fn cut(claim: &Value, volume: &Value) -> Value {
    let mut conditions: BTreeMap<String, Value> = BTreeMap::new();
    for condition in claim["status"]["conditions"].as_array().into_iter().flatten() {
        let mut condition = condition.clone();
        for time in ["lastTransitionTime", "lastProbeTime"] {
            if let Some(map) = condition.as_object_mut() {
                // Whether there is one, not which.
                map.entry(time).and_modify(|value| *value = json!(!value.is_null()));
            }
        }
        conditions.insert(condition["type"].as_str().unwrap_or_default().to_owned(), condition);
    }
    conditions.remove("Unused");
    let mut status = claim["status"].clone();
    status["conditions"] = json!(conditions);
    let annotations = |object: &Value| {
        let all = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        all.into_iter().filter(|(key, _)| key.starts_with("volume.")).collect::<BTreeMap<_, _>>()
    };
    let spec = &volume["spec"];
    json!({
        "status": status, "annotations": annotations(claim), "finalizers": claim["metadata"]["finalizers"],
        "volume": {"capacity": spec["capacity"], "class": spec["volumeAttributesClassName"], "annotations": annotations(volume)},
    })
}

/// Claims grow step by step while each implementation takes over from the other, by SIGTERM and by SIGKILL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_change_both_ways_while_claims_grow() {
    const CLAIMS: usize = 20;
    if !has_hosts("a rolling change of csi-resizer") {
        return;
    }
    let site = Site::up("rolling", &["--disable-node-expansion"]).await;
    let names: Vec<String> = (0..CLAIMS).map(|number| format!("data-{number}")).collect();
    for name in &names {
        site.volume(name).await;
    }
    let turns = [
        (Implementation::Go, "first"),
        (Implementation::Ours, "second"),
        (Implementation::Go, "third"),
        (Implementation::Ours, "fourth"),
    ];
    let mut leader: Option<Replica> = None;
    for (turn, (who, name)) in turns.into_iter().enumerate() {
        let size = format!("{}Mi", 2 * turn + 2);
        let next = resizer(who, &site, name);
        if let Some(mut before) = leader.take() {
            // In the middle of the growths that were asked for at the end of the last turn.
            if turn % 2 == 0 {
                before.signal(Signal::TERM);
                assert!(before.wait(LIMIT).await.is_some(), "the former leader ends");
            }
            before.kill();
        }
        site.led_by(name).await;
        for name in &names {
            site.request(name, &size).await;
        }
        for name in &names {
            site.until_has(name, &size).await;
        }
        let more = format!("{}Mi", 2 * turn + 3);
        for name in &names {
            site.request(name, &more).await;
        }
        leader = Some(next);
    }
    for name in &names {
        let claim = site.until_has(name, "9Mi").await;
        assert_eq!(crate::conditions(&claim), Vec::<String>::new(), "{name}");
        assert_eq!(site.pv(name).await["spec"]["capacity"]["storage"], "9Mi");
    }
}
