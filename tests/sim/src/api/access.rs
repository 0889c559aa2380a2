//! Who may do what: rules as in a ClusterRole, and the reviews that tell a client about its own rights.

use serde::Deserialize;
use serde_json::{Value, json};

/// One rule of a Role or ClusterRole. An empty list in the JSON means nothing, `*` means everything.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API groups; the core group is the empty string.
    #[serde(default)]
    pub api_groups: Vec<String>,
    /// Resources, or `resource/subresource`.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Verbs: get list watch create update patch delete deletecollection.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Names; empty means any.
    #[serde(default)]
    pub resource_names: Vec<String>,
}

/// An action to be judged.
pub(crate) struct Action<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// With its subresource: `volumeattachments/status`.
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
}

impl Rule {
    fn grants(&self, action: &Action<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        has(&self.verbs, action.verb)
            && has(&self.api_groups, action.group)
            && has(&self.resources, action.resource)
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == action.name))
    }
}

/// The rights of one client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rights {
    /// `None`: everything.
    pub(crate) rules: Option<Vec<Rule>>,
}

impl Rights {
    pub(crate) fn allow(&self, action: &Action<'_>) -> bool {
        self.rules.as_ref().is_none_or(|rules| rules.iter().any(|rule| rule.grants(action)))
    }

    /// The answer to a review, or `None` if there is no such review.
    pub(crate) fn review(&self, plural: &str, body: &Value) -> Option<Value> {
        let mut answer = body.clone();
        let status = match plural {
            "selfsubjectaccessreviews" => {
                let text = |field: &str| {
                    let pointer = format!("/spec/resourceAttributes/{field}");
                    body.pointer(&pointer).and_then(Value::as_str).unwrap_or_default()
                };
                let resource = match text("subresource") {
                    "" => text("resource").to_owned(),
                    subresource => format!("{}/{subresource}", text("resource")),
                };
                let (verb, group, name) = (text("verb"), text("group"), text("name"));
                json!({ "allowed": self.allow(&Action { verb, group, resource: &resource, name }) })
            }
            "selfsubjectrulesreviews" => {
                let everything = vec![json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] })];
                let rules = self.rules.as_ref().map_or(everything, |rules| {
                    let rule = |rule: &Rule| {
                        json!({
                            "verbs": rule.verbs,
                            "apiGroups": rule.api_groups,
                            "resources": rule.resources,
                            "resourceNames": rule.resource_names,
                        })
                    };
                    rules.iter().map(rule).collect()
                });
                json!({ "resourceRules": rules, "nonResourceRules": [], "incomplete": false })
            }
            _ => return None,
        };
        super::admission::default_at(&mut answer, &["metadata"], json!({}));
        super::admission::set_at(&mut answer, &["status"], status);
        Some(answer)
    }
}
