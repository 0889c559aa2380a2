//! The status page for programs. Its shape is in docs/operations.md.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::view::{Item, Operation, Stage, Status};

/// The page as JSON.
pub fn render(status: &Status) -> String {
    let process = &status.process;
    let facts: serde_json::Map<String, Value> =
        process.facts.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    let leases = status.leases.iter().map(|lease| {
        json!({"lease": lease.name, "identity": lease.identity, "holder": lease.holder, "leads": lease.leads})
    });
    json!({
        "apiVersion": "mooring.dev/v1",
        "kind": "Status",
        "time": moment(status.now),
        "program": process.program,
        "version": env!("CARGO_PKG_VERSION"),
        "sidecars": process.sidecars,
        "driver": process.driver,
        "capabilities": process.capabilities,
        "facts": facts,
        "leases": leases.collect::<Vec<_>>(),
        "operations": status.operations.iter().map(|each| operation(each, status.now)).collect::<Vec<_>>(),
    })
    .to_string()
}

fn operation(operation: &Operation, now: Timestamp) -> Value {
    let lane = &operation.lane;
    let nodes = lane.nodes.iter().map(
        |node| json!({"node": *node.name, "objects": node.items, "oldestSeconds": node.oldest.as_secs()}),
    );
    json!({
        "operation": operation.purpose.operation,
        "kind": operation.purpose.kind,
        "queue": operation.queue,
        "ready": lane.ready,
        "running": lane.running,
        "paused": lane.paused,
        "nodes": nodes.collect::<Vec<_>>(),
        "objects": lane.items.iter().map(|each| item(each, now)).collect::<Vec<_>>(),
        "more": lane.len() - lane.items.len().min(lane.len()),
    })
}

fn item(item: &Item, now: Timestamp) -> Value {
    let (state, next) = match item.stage {
        Stage::Ready => ("ready", None),
        Stage::NodeBusy => ("nodeBusy", None),
        Stage::Running => ("running", None),
        Stage::Paused(left) => ("paused", Some(left)),
    };
    let failure = item.failure.as_ref().map(|(failure, ago)| {
        json!({
            "what": failure.what,
            "error": failure.error,
            "warning": failure.is_warning,
            "time": moment(before(now, *ago)),
        })
    });
    json!({
        "object": item.object,
        "node": item.node.as_deref(),
        "state": state,
        "since": moment(before(now, item.age)),
        "ageSeconds": item.age.as_secs(),
        "failures": item.failures,
        "nextTry": next.map(|left| moment(now.checked_add(signed(left)).unwrap_or(now))),
        "nextTrySeconds": next.map(|left| left.as_secs()),
        "lastFailure": failure,
    })
}

/// A moment as Kubernetes writes it.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    now.checked_sub(signed(ago)).unwrap_or(now)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
