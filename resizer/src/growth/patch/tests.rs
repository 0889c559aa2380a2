use super::*;
use crate::fixture::{NOW, claim, volume};

fn gi(number: i64) -> Quantity {
    Quantity::from_bytes(number << 30)
}

fn with_status(status: Value) -> Claim {
    claim(json!({"status": status}))
}

fn conditions(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({"type": kind, "status": "True", "message": "m"})).collect()
}

#[test]
fn new_size_starts_the_state_anew() {
    let resizing = json!({"type": "Resizing", "status": "True", "lastTransitionTime": NOW});
    assert_eq!(
        marked(&claim(json!({})), gi(2), NOW),
        Some(json!({"status": {
            "allocatedResources": {"storage": "2Gi"},
            "allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"},
            "conditions": [resizing],
        }}))
    );
    let before = with_status(json!({
        "allocatedResources": {"storage": "3Gi"},
        "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"},
        "conditions": conditions(&["Unused", "Resizing", "ControllerResizeError", "NodeResizeError"]),
    }));
    assert_eq!(
        marked(&before, gi(2), NOW),
        Some(json!({"status": {
            "allocatedResources": {"storage": "2Gi"},
            "allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"},
            "conditions": [
                {"type": "ControllerResizeError", "$patch": "delete"},
                {"type": "NodeResizeError", "$patch": "delete"},
            ],
        }}))
    );
}

#[test]
fn same_size_keeps_state_and_conditions() {
    let status = |kinds: &[&str]| {
        json!({
            "allocatedResources": {"storage": "2048Mi"},
            "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"},
            "conditions": conditions(kinds),
        })
    };
    assert_eq!(marked(&with_status(status(&["Resizing", "ControllerResizeError"])), gi(2), NOW), None);
    let resizing = json!({"type": "Resizing", "status": "True", "lastTransitionTime": NOW});
    assert_eq!(
        marked(&with_status(status(&["ControllerResizeError"])), gi(2), NOW),
        Some(json!({"status": {"conditions": [resizing]}}))
    );
}

#[test]
fn annotation_of_an_earlier_growth_goes_with_the_mark() {
    let annotated = claim(json!({"metadata": {"annotations": {NODE_EXPANSION_NOT_REQUIRED: "true"}}}));
    let gone = json!({"annotations": {NODE_EXPANSION_NOT_REQUIRED: null}});
    assert_eq!(marked(&annotated, gi(2), NOW).unwrap()["metadata"], gone);
    assert_eq!(left_to_node(&annotated, false, NOW).unwrap()["metadata"], gone);
}

#[test]
fn node_is_told_by_state_and_condition() {
    let busy = with_status(json!({
        "allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"},
        "conditions": conditions(&["Resizing"]),
    }));
    let pending = json!({"type": "FileSystemResizePending", "status": "True", "lastTransitionTime": NOW, "message": WAITS_FOR_POD});
    assert_eq!(
        left_to_node(&busy, false, NOW),
        Some(
            json!({"status": {"allocatedResourceStatuses": {"storage": "NodeResizePending"}, "conditions": [pending]}})
        )
    );
    let told = with_status(json!({
        "allocatedResourceStatuses": {"storage": "NodeResizePending"},
        "conditions": conditions(&["Resizing", "FileSystemResizePending"]),
    }));
    assert_eq!(left_to_node(&told, false, NOW), None);
}

#[test]
fn finished_growth_leaves_the_size_and_no_condition() {
    let busy = with_status(json!({
        "allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"},
        "conditions": conditions(&["Resizing", "ControllerResizeError", "ModifyingVolume"]),
    }));
    assert_eq!(
        finished(&busy, gi(2)),
        Some(json!({
            "metadata": {"annotations": {NODE_EXPANSION_NOT_REQUIRED: "true"}},
            "status": {
                "capacity": {"storage": "2Gi"},
                "allocatedResourceStatuses": {"storage": null},
                "conditions": [
                    {"type": "Resizing", "$patch": "delete"},
                    {"type": "ControllerResizeError", "$patch": "delete"},
                ],
            },
        }))
    );
}

#[test]
fn final_error_is_written_once() {
    let busy = with_status(json!({"allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"}}));
    let error = json!({"type": "ControllerResizeError", "status": "True", "lastTransitionTime": NOW, "message": "no"});
    let mut with_reason = error.clone();
    with_reason["reason"] = json!("Refused");
    assert_eq!(refused(&busy, "no", false, NOW), Some(json!({"status": {"conditions": [with_reason]}})));
    assert_eq!(
        refused(&busy, "no", true, NOW),
        Some(json!({"status": {
            "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}, "conditions": [error],
        }}))
    );
    let said = with_status(json!({
        "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}, "conditions": [error],
    }));
    assert_eq!(refused(&said, "no", true, NOW), None);
    assert!(refused(&said, "other", true, NOW).is_some());
    let said = with_status(json!({"conditions": [with_reason]}));
    assert_eq!(refused(&said, "no", false, NOW), None);
}

#[test]
fn repeated_call_forgets_that_the_last_answer_was_final() {
    let gone = json!([{"type": "ControllerResizeError", "$patch": "delete"}]);
    let refused = |state: &str| {
        let conditions = conditions(&["Resizing", "ControllerResizeError"]);
        with_status(json!({"conditions": conditions, "allocatedResourceStatuses": {"storage": state}}))
    };
    let progress = json!({"storage": "ControllerResizeInProgress"});
    for (claim, expected) in [
        (refused("ControllerResizeInProgress"), Some(json!({"status": {"conditions": gone}}))),
        (
            refused("ControllerResizeInfeasible"),
            Some(json!({"status": {"allocatedResourceStatuses": progress, "conditions": gone}})),
        ),
        (with_status(json!({"conditions": conditions(&["Resizing"])})), None),
    ] {
        assert_eq!(repeated(&claim), expected);
    }
}

#[test]
fn volume_gets_its_size_and_remembers_the_first_one() {
    let plain = volume(json!({}));
    assert_eq!(resized(&plain, gi(2), None), Some(json!({"spec": {"capacity": {"storage": "2Gi"}}})));
    assert_eq!(resized(&plain, gi(1), None), None);
    let annotated = |size: &str| json!({"annotations": {PRE_RESIZE_CAPACITY: size}});
    assert_eq!(
        resized(&plain, gi(2), Some("1Gi")),
        Some(json!({"spec": {"capacity": {"storage": "2Gi"}}, "metadata": annotated("1Gi")}))
    );
    let remembers = volume(json!({"metadata": annotated("512Mi")}));
    assert_eq!(resized(&remembers, gi(1), Some("1Gi")), None);
}
