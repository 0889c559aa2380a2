//! The rules that all plugins with one key share, shown with cinder's.

use serde_json::{Value, json};

use crate::fixture::{affinity, to_csi, to_in_tree, volume};

const GA: &str = "topology.kubernetes.io/zone";
const GA_REGION: &str = "topology.kubernetes.io/region";
const BETA: &str = "failure-domain.beta.kubernetes.io/zone";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const CSI: &str = "topology.cinder.csi.openstack.org/zone";

fn there(labels: &Value, required: Value) -> Value {
    let mut given = volume(json!({"cinder": {"volumeID": "id"}, "nodeAffinity": required}));
    given["metadata"]["labels"] = labels.clone();
    let translated = to_csi(given).unwrap();
    assert_eq!(translated["metadata"]["labels"], *labels, "labels stay");
    translated["spec"]["nodeAffinity"].clone()
}

fn back(labels: &Value, required: Value) -> (Value, Value) {
    let csi = json!({"driver": "cinder.csi.openstack.org", "volumeHandle": "id"});
    let mut given = volume(json!({"csi": csi, "nodeAffinity": required}));
    given["metadata"]["labels"] = labels.clone();
    let translated = to_in_tree(given).unwrap();
    (translated["metadata"]["labels"].clone(), translated["spec"]["nodeAffinity"].clone())
}

#[test]
fn zones_in_the_node_affinity_are_renamed_in_place() {
    let labels = json!({GA: "other"});
    for (before, after) in [
        (affinity(&[&[(GA, &["b", "a"])]]), affinity(&[&[(CSI, &["b", "a"])]])),
        (
            affinity(&[&[(GA, &["a"]), ("rack", &["1"])], &[("rack", &["2"])]]),
            affinity(&[&[(CSI, &["a"]), ("rack", &["1"])], &[("rack", &["2"])]]),
        ),
        // Two expressions of one key are not merged.
        (affinity(&[&[(GA, &["a"]), (CSI, &["b"])]]), affinity(&[&[(CSI, &["a"]), (CSI, &["b"])]])),
        // The GA family counts before the beta one, whose key then stays.
        (affinity(&[&[(GA, &["a"]), (BETA, &["b"])]]), affinity(&[&[(CSI, &["a"]), (BETA, &["b"])]])),
    ] {
        assert_eq!(there(&labels, before), after);
    }
}

#[test]
fn zones_of_the_label_are_added_to_every_term() {
    for (zones, values) in [
        ("a", Some(json!(["a"]))),
        ("b__a", Some(json!(["a", "b"]))),
        ("b__ a __b__", Some(json!(["a", "b"]))),
        ("a_b", Some(json!(["a_b"]))),
        ("", None),
        ("__", None),
    ] {
        for key in [GA, BETA] {
            let added = |values: &Value| json!({"key": CSI, "operator": "In", "values": values});
            let alone = values.as_ref().map(
                |values| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [added(values)]}]}}),
            );
            assert_eq!(there(&json!({key: zones}), Value::Null), alone.unwrap_or_default(), "{key}: {zones}");
            let two = || affinity(&[&[("rack", &["1"])], &[("rack", &["2"])]]);
            let mut expected = two();
            if let Some(values) = &values {
                for term in expected["required"]["nodeSelectorTerms"].as_array_mut().unwrap() {
                    term["matchExpressions"].as_array_mut().unwrap().push(added(values));
                }
            }
            assert_eq!(there(&json!({key: zones}), two()), expected, "{key}: {zones}");
        }
    }
}

#[test]
fn a_beta_region_gets_the_ga_key() {
    let before = affinity(&[&[(BETA, &["a"]), (BETA_REGION, &["r"])]]);
    assert_eq!(there(&Value::Null, before), affinity(&[&[(CSI, &["a"]), (GA_REGION, &["r"])]]));
    // Without a beta zone the volume is of the GA family.
    let before = affinity(&[&[(BETA_REGION, &["r"])]]);
    assert_eq!(there(&Value::Null, before.clone()), before);
}

#[test]
fn a_key_without_values_leaves_the_zones_to_the_label() {
    let exists = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": GA, "operator": "Exists"}]}]}});
    let mut expected = exists.clone();
    let added = json!({"key": CSI, "operator": "In", "values": ["a"]});
    expected["required"]["nodeSelectorTerms"][0]["matchExpressions"].as_array_mut().unwrap().push(added);
    assert_eq!(there(&json!({GA: "a", BETA: "b"}), exists), expected);
}

#[test]
fn on_the_way_back_zones_get_the_family_of_the_volume() {
    let csi = || affinity(&[&[(CSI, &["b", "a"])]]);
    for (labels, key, expected) in [
        (json!({}), GA, json!({GA: "a__b"})),
        (json!({GA: "mine"}), GA, json!({GA: "mine"})),
        (json!({BETA: "b"}), BETA, json!({BETA: "b"})),
        (json!({GA: "a", BETA: "b"}), GA, json!({GA: "a", BETA: "b"})),
        (json!({BETA_REGION: "r"}), GA, json!({GA: "a__b", BETA_REGION: "r"})),
    ] {
        assert_eq!(back(&labels, csi()), (expected, affinity(&[&[(key, &["b", "a"])]])), "{labels}");
    }
    let mixed = affinity(&[&[(BETA, &["c"])], &[(CSI, &["a"])]]);
    assert_eq!(
        back(&Value::Null, mixed),
        (json!({BETA: "a__c"}), affinity(&[&[(BETA, &["c"])], &[(BETA, &["a"])]]))
    );
    assert_eq!(back(&Value::Null, Value::Null), (Value::Null, Value::Null));
}

#[test]
fn regions_are_added_to_terms_that_have_none() {
    let csi = json!({"driver": "pd.csi.storage.gke.io", "volumeHandle": "1/2/3/4/5/6"});
    let key = "topology.gke.io/zone";
    for (before, expected) in [
        (
            affinity(&[&[(key, &["r-1-a"])], &[(key, &["r-2-a"])]]),
            Ok((
                json!({GA: "r-1-a__r-2-a"}),
                affinity(&[
                    &[(GA, &["r-1-a"]), (GA_REGION, &["r-1"])],
                    &[(GA, &["r-2-a"]), (GA_REGION, &["r-2"])],
                ]),
            )),
        ),
        (
            affinity(&[&[(key, &["x"]), (GA_REGION, &["known"])]]),
            Ok((json!({GA: "x", GA_REGION: "known"}), affinity(&[&[(GA, &["x"]), (GA_REGION, &["known"])]]))),
        ),
        (
            affinity(&[&[("rack", &["1"])]]),
            Err("the zones [] are of 0 regions: a volume must be in exactly one"),
        ),
        (
            affinity(&[&[(key, &["r-1-a", "r-2-a"])]]),
            Err("the zones [r-1-a, r-2-a] are of 2 regions: a volume must be in exactly one"),
        ),
    ] {
        let outcome = to_in_tree(volume(json!({"csi": csi, "nodeAffinity": before.clone()})));
        let found = outcome
            .map(|volume| (volume["metadata"]["labels"].clone(), volume["spec"]["nodeAffinity"].clone()));
        assert_eq!(found, expected.map_err(str::to_owned), "{before}");
    }
}
