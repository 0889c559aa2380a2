//! What a sidecar's status page says about the object: what is tried, the last error, and when it is tried next.

use jiff::Timestamp;
use serde_json::Value;

use crate::field::{is_true, list, one_line, text};

/// One operation that a sidecar has not finished on the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Try {
    /// The program that says so.
    pub(crate) program: String,
    /// Such as `attach`.
    pub(crate) operation: String,
    /// What becomes of it, in words.
    pub(crate) state: String,
    /// How often it has failed in a row.
    pub(crate) failures: u64,
    /// When it is tried next.
    pub(crate) next: Option<Timestamp>,
    /// The last error.
    pub(crate) error: Option<String>,
}

/// The operations on this object that a status page shows.
pub(crate) fn tries(page: &Value, kind: &str, object: &str) -> Vec<Try> {
    let program = text(page, "/program");
    let mut found = Vec::new();
    for operation in list(page, "/operations") {
        if text(operation, "/kind") != kind {
            continue;
        }
        for item in list(operation, "/objects") {
            if text(item, "/object") == object {
                found.push(of(program, text(operation, "/operation"), item));
            }
        }
    }
    found
}

/// What the page cannot say, because another process leads. A page of another shape says nothing.
pub(crate) fn elsewhere(page: &Value) -> Option<String> {
    let away = list(page, "/leases").iter().filter(|lease| !is_true(lease, "/leads"));
    let lines: Vec<String> = away
        .map(|lease| {
            let holder = match text(lease, "/holder") {
                "" => "nobody that is known",
                holder => holder,
            };
            one_line(&format!("it does not lead {}: see {holder}", text(lease, "/lease")))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// Texts come from whoever answers at the address: they must not steer a terminal.
fn of(program: &str, operation: &str, item: &Value) -> Try {
    let failures = item.pointer("/failures").and_then(Value::as_u64).unwrap_or_default();
    let next = text(item, "/nextTry").parse().ok();
    let state = match text(item, "/state") {
        "paused" => "waits for its next try",
        "ready" => "waits for a free worker",
        "nodeBusy" => "waits: its node uses as many workers as one node may",
        "running" => "is being worked on",
        other => other,
    };
    let (what, error) = (text(item, "/lastFailure/what"), text(item, "/lastFailure/error"));
    let error = match (what, error) {
        ("", "") => None,
        (what, "") => Some(one_line(what)),
        (what, error) => Some(one_line(&format!("{what}: {error}"))),
    };
    Try {
        program: one_line(program),
        operation: one_line(operation),
        state: one_line(state),
        failures,
        next,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page() -> Value {
        let failed = json!({
            "object": "team/data", "state": "paused", "failures": 5, "nextTry": "2026-01-02T03:04:21Z",
            "lastFailure": {"what": "Provisioning failed", "error": "rpc error: code = Internal desc = no"},
        });
        let other = json!({"object": "team/other", "state": "ready", "failures": 0, "nextTry": null, "lastFailure": null});
        let works = json!({"object": "team/data", "state": "running", "failures": 0, "nextTry": null, "lastFailure": null});
        json!({"program": "csi-sidecars", "operations": [
            {"operation": "provision", "kind": "PersistentVolumeClaim", "objects": [other, failed]},
            {"operation": "grow", "kind": "PersistentVolumeClaim", "objects": [works]},
            {"operation": "delete", "kind": "PersistentVolume", "objects": [{"object": "team/data", "state": "ready"}]},
        ]})
    }

    #[test]
    fn operations_on_the_object_are_told_and_no_others() {
        let tries = tries(&page(), "PersistentVolumeClaim", "team/data");
        let [provision, grow] = tries.as_slice() else { panic!("{tries:?}") };
        assert_eq!((provision.operation.as_str(), provision.failures), ("provision", 5));
        assert_eq!(provision.next, "2026-01-02T03:04:21Z".parse().ok());
        let error = "Provisioning failed: rpc error: code = Internal desc = no";
        assert_eq!(
            (provision.state.as_str(), provision.error.as_deref()),
            ("waits for its next try", Some(error))
        );
        assert_eq!((grow.state.as_str(), &grow.error, grow.next), ("is being worked on", &None, None));
    }

    #[test]
    fn texts_of_the_page_cannot_steer_a_terminal() {
        let evil = "a\u{1b}[2J\r\nnot read: b\u{7}";
        let failure = json!({"what": evil, "error": evil});
        let item = json!({"object": "team/data", "state": evil, "lastFailure": failure});
        let operation = json!({"operation": evil, "kind": "PersistentVolumeClaim", "objects": [item]});
        let page = json!({"program": evil, "operations": [operation], "leases": [{"lease": evil, "holder": evil, "leads": false}]});
        let tries = tries(&page, "PersistentVolumeClaim", "team/data");
        let [Try { program, operation, state, error: Some(error), .. }] = tries.as_slice() else {
            panic!("{tries:?}")
        };
        let elsewhere = elsewhere(&page).unwrap();
        for text in [program, operation, state, error, &elsewhere] {
            assert!(text.contains("a [2J not read: b") && !text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn page_of_a_stand_by_says_who_leads() {
        let lease =
            |name: &str, holder: Value, leads: bool| json!({"lease": name, "holder": holder, "leads": leads});
        let page = |leases: &[Value]| json!({"leases": leases});
        let (own, other) = (lease("m/a", json!("pod-0"), true), lease("m/b", json!("pod-1"), false));
        assert_eq!(elsewhere(&page(std::slice::from_ref(&own))), None);
        assert_eq!(elsewhere(&json!({})), None);
        assert_eq!(
            elsewhere(&page(&[own, other.clone()])).as_deref(),
            Some("it does not lead m/b: see pod-1")
        );
        let nobody = lease("m/c", Value::Null, false);
        let expected = "it does not lead m/b: see pod-1; it does not lead m/c: see nobody that is known";
        assert_eq!(elsewhere(&page(&[other, nobody])).as_deref(), Some(expected));
    }

    #[test]
    fn page_of_another_shape_says_nothing() {
        for page in [json!(null), json!({"operations": 7}), json!({"operations": [{"objects": [1]}]})] {
            assert_eq!(tries(&page, "PersistentVolumeClaim", "team/data"), []);
        }
    }
}
