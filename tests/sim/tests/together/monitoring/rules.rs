//! The alerts.

use std::collections::BTreeSet;

use cluster::apply::documents;
use serde_json::Value;

use super::promtool::{file, folder, is_here, run};

/// The one document of a file.
fn document(name: &str) -> Value {
    let mut all = documents(&file(name)).expect("YAML");
    assert_eq!(all.len(), 1, "{name}");
    all.remove(0)
}

/// The alerts of rules.yaml.
fn alerts() -> Vec<Value> {
    let rules = document("rules.yaml");
    let groups = rules["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

fn text<'a>(alert: &'a Value, path: &str) -> &'a str {
    alert.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn the_operators_rules_are_those_of_the_plain_file() {
    assert_eq!(document("prometheusrule.yaml")["spec"], document("rules.yaml"));
}

#[test]
fn promtool_finds_no_fault_with_the_rules() {
    if is_here("promtool on the alert rules") {
        assert_eq!(run(&["check", "rules", "--lint-fatal"], &folder().join("rules.yaml")), Ok(()));
    }
}

#[test]
fn alerts_fire_and_stay_silent_as_the_cases_say() {
    if is_here("promtool on the cases of the alerts") {
        assert_eq!(run(&["test", "rules"], &folder().join("rules.test.yaml")), Ok(()));
    }
}

#[test]
fn each_alert_has_a_case_of_either_kind() {
    let cases = document("rules.test.yaml");
    let cases = cases["tests"].as_array().expect("tests");
    let mut found = BTreeSet::new();
    for case in cases {
        let mut words = text(case, "/name").split(' ');
        let (alert, outcome) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fires = format!("{{alertname=\"{alert}\"}}");
        for asked in case["promql_expr_test"].as_array().expect("what is asked") {
            let expected = text(asked, "/exp_samples/0/labels");
            assert_eq!(expected, if outcome == "fires" { &fires } else { "" }, "{case}");
        }
        found.insert(format!("{alert} {outcome}"));
    }
    let names: Vec<String> = alerts().iter().map(|alert| text(alert, "/alert").to_owned()).collect();
    let wanted = names.iter().flat_map(|name| [format!("{name} fires"), format!("{name} stays")]);
    assert_eq!(found, wanted.collect());
}

#[test]
fn each_alert_says_what_it_means_and_where_to_read_on() {
    let manual = include_str!("../../../../../docs/operations.md");
    for alert in alerts() {
        let name = text(&alert, "/alert");
        for annotation in ["summary", "description"] {
            assert!(
                text(&alert, &format!("/annotations/{annotation}")).ends_with('.'),
                "{name}: {annotation}"
            );
        }
        let link = text(&alert, "/annotations/runbook_url");
        assert_eq!(link, format!("docs/operations.md#{}", name.to_lowercase()));
        assert!(manual.lines().any(|line| line == format!("### {name}")), "docs/operations.md has no {name}");
    }
}
