//! Every state that a resizer or a kubelet may have left behind is taken further (docs/upstream/resizer.md, "Target").

use serde_json::{Value, json};

use crate::harness::{RESIZER, conditions, left, with};

const ERROR: &str = "ControllerResizeError";
/// The same, with the reason of a refusal.
const REFUSED: &str = "ControllerResizeError Refused";

/// A claim that has 1 Gi and requests `size`, with this much in its status; its volume has `volume`.
fn state(
    size: &str,
    allocated: Option<&str>,
    state: Option<&str>,
    kinds: &[&str],
    volume: &str,
) -> [Value; 2] {
    let condition = |kind: &&str| {
        let (kind, reason) = kind.split_once(' ').unwrap_or((kind, ""));
        json!({"type": kind, "status": "True", "message": "m", "reason": reason})
    };
    let conditions: Vec<Value> = kinds.iter().map(condition).collect();
    let status = json!({
        "allocatedResources": allocated.map(|size| json!({"storage": size})),
        "allocatedResourceStatuses": state.map(|state| json!({"storage": state})),
        "conditions": conditions,
    });
    let [claim, object] = left(size, status);
    [claim, with(object, json!({"spec": {"capacity": {"storage": volume}}}))]
}

const IN_PROGRESS: Option<&str> = Some("ControllerResizeInProgress");
const INFEASIBLE: Option<&str> = Some("ControllerResizeInfeasible");
const NODE_PENDING: Option<&str> = Some("NodeResizePending");
const NODE_BUSY: Option<&str> = Some("NodeResizeInProgress");
const NODE_INFEASIBLE: Option<&str> = Some("NodeResizeInfeasible");

/// A name, the objects, the sizes that the driver is asked for, and the writes.
type Row = (&'static str, [Value; 2], Vec<&'static str>, Vec<String>);

fn done(size: &str) -> String {
    format!("state null capacity {size} node done true -Resizing")
}

fn marked(size: &str) -> String {
    format!("allocated {size} state ControllerResizeInProgress +Resizing")
}

async fn each(rows: impl IntoIterator<Item = Row>) {
    for (name, objects, calls, writes) in rows {
        let calls: Vec<String> = calls.iter().map(|size| format!("expand id-of-pv to {size} Ok")).collect();
        let (calls, writes): (Vec<&str>, Vec<&str>) =
            (calls.iter().map(String::as_str).collect(), writes.iter().map(String::as_str).collect());
        RESIZER.case(name, objects).ends_with(&calls, &writes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn claim_without_state_is_taken_further() {
    each([
        (
            "a smaller growth is finished, and the volume keeps its size",
            state("3Gi", Some("2Gi"), None, &[], "3Gi"),
            vec!["2Gi"],
            vec!["+Resizing".into(), "capacity 3Gi node done true -Resizing".into()],
        ),
        (
            "nothing, and the volume is large enough",
            state("3Gi", None, None, &[], "3Gi"),
            vec!["3Gi"],
            vec![marked("3Gi"), done("3Gi")],
        ),
        (
            "nothing but a size: it is finished first",
            state("2Gi", Some("3Gi"), None, &[], "3Gi"),
            vec!["3Gi"],
            vec!["+Resizing".into(), "capacity 3Gi node done true -Resizing".into()],
        ),
        (
            "the node's turn, as of old",
            state("3Gi", None, None, &["FileSystemResizePending"], "3Gi"),
            vec![],
            vec![],
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn growth_in_progress_is_taken_further() {
    each([
        (
            "in progress: the larger size is finished",
            state("2Gi", Some("3Gi"), IN_PROGRESS, &["Resizing"], "1Gi"),
            vec!["3Gi"],
            vec!["volume 3Gi".into(), done("3Gi")],
        ),
        (
            "in progress, refused: the smaller size",
            state("2Gi", Some("3Gi"), IN_PROGRESS, &["Resizing", REFUSED], "1Gi"),
            vec!["2Gi"],
            vec![
                format!("allocated 2Gi state ControllerResizeInProgress -{ERROR}"),
                "volume 2Gi".into(),
                done("2Gi"),
            ],
        ),
        (
            "in progress, refused in upstream's words, which may be of a former call: the larger size",
            state("2Gi", Some("3Gi"), IN_PROGRESS, &["Resizing", ERROR], "1Gi"),
            vec!["3Gi"],
            vec![format!("-{ERROR}"), "volume 3Gi".into(), done("3Gi")],
        ),
        (
            "in progress, more requested: first one, then the other",
            state("3Gi", Some("2Gi"), IN_PROGRESS, &["Resizing"], "1Gi"),
            vec!["2Gi", "3Gi"],
            vec![
                "volume 2Gi".into(),
                done("2Gi"),
                "allocated 3Gi state ControllerResizeInProgress node done null +Resizing".into(),
                "volume 3Gi".into(),
                done("3Gi"),
            ],
        ),
        (
            "in progress, the volume has grown",
            state("2Gi", Some("2Gi"), IN_PROGRESS, &["Resizing"], "2Gi"),
            vec!["2Gi"],
            vec![done("2Gi")],
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn infeasible_growth_is_taken_further() {
    each([
        (
            "infeasible: what is requested now",
            state("2Gi", Some("5Gi"), INFEASIBLE, &["Resizing", ERROR], "1Gi"),
            vec!["2Gi"],
            vec![
                format!("allocated 2Gi state ControllerResizeInProgress -{ERROR}"),
                "volume 2Gi".into(),
                done("2Gi"),
            ],
        ),
        (
            "infeasible, the volume is large enough",
            state("2Gi", Some("3Gi"), INFEASIBLE, &["Resizing"], "2Gi"),
            vec!["3Gi"],
            vec!["state ControllerResizeInProgress".into(), "volume 3Gi".into(), done("3Gi")],
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn growth_that_came_to_its_node_is_taken_further() {
    each([
        (
            "node pending",
            state("2Gi", Some("2Gi"), NODE_PENDING, &["FileSystemResizePending"], "2Gi"),
            vec![],
            vec![],
        ),
        ("node pending, more requested", state("3Gi", Some("2Gi"), NODE_PENDING, &[], "2Gi"), vec![], vec![]),
        (
            "node pending, but the volume has not grown",
            state("2Gi", Some("2Gi"), NODE_PENDING, &["Resizing"], "1Gi"),
            vec!["2Gi"],
            vec!["volume 2Gi".into(), done("2Gi")],
        ),
        ("node in progress", state("3Gi", Some("2Gi"), NODE_BUSY, &[], "2Gi"), vec![], vec![]),
        (
            "node in progress, less requested",
            state("2Gi", Some("3Gi"), NODE_BUSY, &[], "3Gi"),
            vec![],
            vec![],
        ),
        (
            "node infeasible: once more, as it was",
            state("2Gi", Some("2Gi"), NODE_INFEASIBLE, &["Resizing", "NodeResizeError"], "2Gi"),
            vec!["2Gi"],
            vec![format!("{} -NodeResizeError", done("2Gi"))],
        ),
        (
            "node infeasible, less requested",
            state("2Gi", Some("3Gi"), NODE_INFEASIBLE, &["Resizing"], "3Gi"),
            vec!["3Gi"],
            vec![done("3Gi")],
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn conditions_and_states_of_others_stay() {
    let [claim, volume] = state("2Gi", None, None, &["Unused", "ModifyingVolume", "NodeResizeError"], "1Gi");
    let other = json!({"status": {"allocatedResourceStatuses": {"example.com/x": "NodeResizePending"}, "allocatedResources": {"example.com/x": "1"}}});
    let world = RESIZER
        .case("foreign", [with(claim, other), volume])
        .ends_with(
            &["expand id-of-pv to 2Gi Ok"],
            &[
                "allocated 2Gi state ControllerResizeInProgress -NodeResizeError +Resizing",
                "volume 2Gi",
                "state null capacity 2Gi node done true -Resizing",
            ],
        )
        .await;
    assert_eq!(conditions(&world), ["ModifyingVolume", "Unused"]);
    let status = crate::harness::claim(&world)["status"].clone();
    assert_eq!(status["allocatedResourceStatuses"], json!({"example.com/x": "NodeResizePending"}));
    assert_eq!(status["allocatedResources"], json!({"example.com/x": "1", "storage": "2Gi"}));
}
