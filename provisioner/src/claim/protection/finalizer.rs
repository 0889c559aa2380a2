//! Finalizers of objects that are written back whole, as upstream's role allows.

use serde_json::{Value, json};

/// Puts the finalizer on an object as it was read. False if it is on.
pub(super) fn add_finalizer(live: &mut Value, finalizer: &str) -> bool {
    let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) else { return false };
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    if finalizers.is_null() {
        *finalizers = json!([]);
    }
    let Some(finalizers) = finalizers.as_array_mut() else { return false };
    if finalizers.iter().any(|one| one == finalizer) {
        return false;
    }
    finalizers.push(json!(finalizer));
    true
}

/// Takes the finalizer off an object as it was read. False if it is off.
pub(super) fn remove_finalizer(live: &mut Value, finalizer: &str) -> bool {
    let Some(finalizers) = live.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) else {
        return false;
    };
    let before = finalizers.len();
    finalizers.retain(|one| one != finalizer);
    finalizers.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "example.com/ours";

    #[test]
    fn finalizer_is_put_on_once_and_taken_off_alone() {
        let live = |finalizers: Value| json!({"metadata": {"name": "c", "finalizers": finalizers}});
        for (mut object, changed, expected) in [
            (json!({"metadata": {"name": "c"}}), true, live(json!([OURS]))),
            (live(json!(["x"])), true, live(json!(["x", OURS]))),
            (live(json!([OURS, "x"])), false, live(json!([OURS, "x"]))),
        ] {
            assert_eq!((add_finalizer(&mut object, OURS), object), (changed, expected));
        }
        for (mut object, changed, expected) in [
            (live(json!(["x", OURS, "y"])), true, live(json!(["x", "y"]))),
            (live(json!(["x"])), false, live(json!(["x"]))),
            (json!({"metadata": {}}), false, json!({"metadata": {}})),
        ] {
            assert_eq!((remove_finalizer(&mut object, OURS), object), (changed, expected));
        }
    }
}
