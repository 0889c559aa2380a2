//! The alerts sixty times as fast: what they count in minutes is counted in seconds. So a test of a minute sees what an hour shows.

use cluster::apply::documents;
use serde_json::{Value, json};

/// Ages that the alerts compare with, in seconds, and what stands for them.
const AGES: [(&str, &str); 1] = [("900", "15")];

/// `rules.yaml`, sixty times as fast.
pub(super) fn sixty_times_faster() -> Value {
    let text = include_str!("../../../../../manifests/monitoring/rules.yaml");
    let mut rules = documents(text).expect("YAML").remove(0);
    let alerts = rules.pointer_mut("/groups/0/rules").and_then(Value::as_array_mut).expect("rules");
    for alert in alerts {
        for key in ["expr", "for"] {
            if let Some(value) = alert.get_mut(key) {
                *value = json!(faster(value.as_str().unwrap_or_default()));
            }
        }
    }
    rules
}

fn faster(expression: &str) -> String {
    let mut words = vec![String::new()];
    for letter in expression.chars() {
        let last = words.last_mut().expect("a word");
        if letter.is_alphanumeric() || letter == '_' {
            last.push(letter);
        } else {
            words.extend([letter.to_string(), String::new()]);
        }
    }
    words.iter().map(|word| word_faster(word)).collect()
}

fn word_faster(word: &str) -> String {
    if let Some((_, age)) = AGES.iter().find(|(age, _)| age == &word) {
        return (*age).to_owned();
    }
    let number = |unit: char| word.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok());
    match (number('m'), number('h')) {
        (Some(minutes), _) => format!("{minutes}s"),
        (_, Some(hours)) => format!("{}s", 60 * hours),
        _ => word.to_owned(),
    }
}

#[test]
fn minutes_of_the_rules_become_seconds() {
    for (slow, fast) in [
        ("max_over_time(a_5m[15m] offset 30m) > 900", "max_over_time(a_5m[15s] offset 30s) > 15"),
        ("1h", "60s"),
        ("increase(x{a!~\"OK|1\"}[1h]) > 10", "increase(x{a!~\"OK|1\"}[60s]) > 10"),
    ] {
        assert_eq!(faster(slow), fast);
    }
    let rules = sixty_times_faster().to_string();
    assert!(!rules.contains("900 ") && !rules.contains("[15m]"), "{rules}");
}
