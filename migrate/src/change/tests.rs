use super::*;
use serde_json::json;

fn in_tree() -> Value {
    json!({
        "metadata": {"name": "pv", "annotations": {"by": "plugin", "mine": "1"}},
        "spec": {
            "capacity": {"storage": "1Gi"}, "cinder": {"volumeID": "id", "readOnly": false},
            "nodeAffinity": {"required": "a"},
        },
    })
}

fn csi() -> Value {
    json!({
        "metadata": {"name": "pv", "annotations": {"by": "driver", "mine": "1"}},
        "spec": {
            "capacity": {"storage": "1Gi"}, "csi": {"driver": "d", "volumeHandle": "id"},
            "nodeAffinity": {"required": "b"},
        },
    })
}

#[test]
fn changes_lead_to_the_other_object_and_back() {
    let there = changes(&in_tree(), &csi());
    assert_eq!(there.len(), 4, "{there:?}");
    let mut object = in_tree();
    apply(&mut object, &there);
    assert_eq!(object, csi());
    apply(&mut object, &reversed(&there));
    assert_eq!(object, in_tree());
    assert!(changes(&in_tree(), &in_tree()).is_empty());
}

#[test]
fn a_field_that_somebody_else_changed_stays() {
    let back = reversed(&changes(&in_tree(), &csi()));
    let mut object = csi();
    object["metadata"]["annotations"]["by"] = json!("me");
    object["spec"]["nodeAffinity"]["required"] = json!("c");
    object["spec"]["capacity"]["storage"] = json!("2Gi");
    // The API server writes nothing for what is as usual.
    object["spec"]["csi"]["readOnly"] = json!(false);
    apply(&mut object, &back);
    let mut expected = in_tree();
    expected["metadata"]["annotations"]["by"] = json!("me");
    expected["spec"]["nodeAffinity"]["required"] = json!("c");
    expected["spec"]["capacity"]["storage"] = json!("2Gi");
    assert_eq!(object, expected);
}

#[test]
fn the_source_tells_on_which_side_a_volume_is() {
    let there = changes(&in_tree(), &csi());
    let mut stored = in_tree();
    stored["spec"]["cinder"] = json!({"volumeID": "id"});
    let mut other = csi();
    other["spec"]["csi"]["volumeHandle"] = json!("other");
    for (volume, begins, ends) in
        [(in_tree(), true, false), (stored, true, false), (csi(), false, true), (other, false, false)]
    {
        assert_eq!((begins_at(&volume, &there), ends_at(&volume, &there)), (begins, ends), "{volume}");
    }
}

/// Those of a disk of GCE, and nodes: translated with the source, but others may have changed them without another volume.
#[test]
fn access_modes_and_nodes_are_no_source() {
    let mut before = in_tree();
    before["spec"]["accessModes"] = json!(["ReadWriteMany"]);
    let mut after = csi();
    after["spec"]["accessModes"] = json!(["ReadWriteOnce"]);
    let there = changes(&before, &after);
    for (name, value) in
        [("accessModes", json!(["ReadOnlyMany"])), ("nodeAffinity", json!({"required": "c"}))]
    {
        let (mut old, mut new) = (before.clone(), after.clone());
        old["spec"][name] = value.clone();
        new["spec"][name] = value.clone();
        assert!(begins_at(&old, &there) && ends_at(&new, &there), "{name}");
        apply(&mut new, &reversed(&there));
        assert_eq!(new["spec"][name], value, "{name}: the change stays");
        assert_eq!(new["spec"]["cinder"], before["spec"]["cinder"]);
    }
}

#[test]
fn a_patch_names_what_goes_with_null() {
    let before = json!({"metadata": {"annotations": {"a": "1", "b": "1"}}});
    let changes = changes(&before, &json!({"metadata": {"annotations": {"a": "2"}}}));
    assert_eq!(merge_patch(&before, &changes), json!({"metadata": {"annotations": {"a": "2", "b": null}}}));
    let others = json!({"metadata": {"annotations": {"a": "3", "b": "1"}}});
    assert_eq!(merge_patch(&others, &changes), json!({"metadata": {"annotations": {"b": null}}}));
    let mut empty = json!({});
    apply(&mut empty, &changes);
    assert_eq!(empty, json!({}), "what is not there is not taken away");
}
