//! Label and field selectors.

use serde_json::Value;

use super::refusal::Refusal;

/// Which objects are meant.
#[derive(Debug, Default, Clone)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.rule {
            Rule::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Rule::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Rule::Exists => value.is_some(),
            Rule::Absent => value.is_none(),
        }
    }
}

impl Selector {
    /// Understands the two query values.
    pub(crate) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Selector, Refusal> {
        let mut selector = Selector::default();
        for part in split(labels.unwrap_or_default()) {
            selector.labels.push(label(&part)?);
        }
        for part in split(fields.unwrap_or_default()) {
            let requirement = label(&part)?;
            if !FIELDS.contains(&requirement.key.as_str()) {
                return Err(Refusal::bad_request(format!("field label not supported: {}", requirement.key)));
            }
            selector.fields.push(requirement);
        }
        Ok(selector)
    }

    /// Whether nothing is selected away.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.labels.iter().all(|one| one.holds(labels.and_then(|labels| labels.get(&one.key)?.as_str())))
            && self.fields.iter().all(|one| {
                let pointer = format!("/{}", one.key.replace('.', "/"));
                // A field that is absent is the empty string.
                one.holds(Some(object.pointer(&pointer).and_then(Value::as_str).unwrap_or_default()))
            })
    }
}

/// Whether an object is selected by these two query values; none if one of them is no selector.
pub fn selects(labels: Option<&str>, fields: Option<&str>, object: &Value) -> Option<bool> {
    Some(Selector::parse(labels, fields).ok()?.matches(object))
}

/// The fields that the resources here can be selected by.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "status.phase",
    "type",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.kind",
    "involvedObject.uid",
    "reason",
];

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn label(text: &str) -> Result<Requirement, Refusal> {
    let one = |key: &str, rule| Requirement { key: key.trim().to_owned(), rule };
    for (operator, negative) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = text.split_once(operator) {
            let values = vec![value.trim().to_owned()];
            return Ok(one(key, if negative { Rule::NotIn(values) } else { Rule::In(values) }));
        }
    }
    for (operator, negative) in [(" notin ", true), (" in ", false)] {
        if let Some((key, list)) = text.split_once(operator) {
            let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
            let list =
                list.ok_or_else(|| Refusal::bad_request(format!("unable to parse requirement: {text}")))?;
            let values = list.split(',').map(|value| value.trim().to_owned()).collect();
            return Ok(one(key, if negative { Rule::NotIn(values) } else { Rule::In(values) }));
        }
    }
    if text.contains(' ') {
        return Err(Refusal::bad_request(format!("unable to parse requirement: {text}")));
    }
    Ok(text.strip_prefix('!').map_or_else(|| one(text, Rule::Exists), |key| one(key, Rule::Absent)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects_by_every_operator() {
        let object = json!({ "metadata": { "name": "x", "labels": { "a": "1", "b": "2" } } });
        for (labels, expected) in [
            ("a=1", true),
            ("a==2", false),
            ("a!=2,b", true),
            ("c!=2", true),
            ("!c", true),
            ("!a", false),
            ("a in (1, 3),b notin (3)", true),
            ("a in (2,3)", false),
        ] {
            let selector = Selector::parse(Some(labels), None).expect(labels);
            assert_eq!(selector.matches(&object), expected, "{labels}");
        }
        assert!(Selector::parse(None, Some("metadata.name=x")).expect("known").matches(&object));
        assert!(!Selector::parse(None, Some("metadata.name=y")).expect("known").matches(&object));
        assert_eq!(Selector::parse(None, Some("spec.csi.driver=y")).expect_err("unknown").code, 400);
    }
}
