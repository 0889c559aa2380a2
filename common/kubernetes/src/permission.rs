//! Checks at start-up that the service account has every permission we need, and logs each rule to add.
//!
//! `Differs:` upstream notices a missing verb only when it is needed, often as an object that is stuck for
//! ever.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

/// Verbs that a sidecar needs on a resource.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural, with the subresource after a slash.
    pub resource: &'static str,
    /// Verbs, as RBAC spells them.
    pub verbs: &'static [&'static str],
    /// Whether the rule is needed in the sidecar's own namespace only.
    pub namespaced: bool,
}

impl Need {
    /// Verbs on a resource of the whole cluster.
    pub const fn cluster(
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        Self { group, resource, verbs, namespaced: false }
    }

    /// The rule as our manifests have it, below a comment if there is one.
    pub fn rule(&self, comment: &str) -> String {
        let comment = if comment.is_empty() { String::new() } else { format!("  # {comment}\n") };
        let verbs: Vec<String> = self.verbs.iter().map(|verb| format!("\"{verb}\"")).collect();
        let Self { group, resource, .. } = self;
        format!(
            "{comment}  - apiGroups: [\"{group}\"]\n    resources: [\"{resource}\"]\n    verbs: [{}]\n",
            verbs.join(", ")
        )
    }

    /// Whether these rules grant it. A rule is a group, a resource, and verbs with spaces between them.
    pub fn is_within(&self, rules: &[(&str, &str, &str)]) -> bool {
        let rule =
            rules.iter().find(|(group, resource, _)| (*group, *resource) == (self.group, self.resource));
        let granted = rule.map_or("", |(.., verbs)| verbs);
        self.verbs.iter().all(|verb| granted.split(' ').any(|known| known == *verb))
    }
}

/// A table of rights as our chart has it (`charts/mooring/files/rights`): the rules for the whole cluster, then those for the
/// sidecar's namespace, each with the condition under which the chart grants it.
pub fn chart(of: &str, rights: &[(&str, Need)]) -> String {
    let mut text = format!("# Made from the table in {of}/src/rights.rs, whose tests hold it.\n");
    for (scope, namespaced) in [("cluster", false), ("namespace", true)] {
        text.push_str(&format!("{scope}:\n"));
        for (condition, need) in rights.iter().filter(|(_, need)| need.namespaced == namespaced) {
            let rule = need.rule("").replacen("  - ", "      ", 1).replace("\n    ", "\n      ");
            text.push_str(&format!("  - when: {condition}\n    rule:\n{rule}"));
        }
    }
    text
}

/// The rules of each role in one of our manifests, as [`Need::rule`] writes them.
pub fn granted(manifest: &str) -> Vec<String> {
    let rules = manifest.split("\n---\n").filter_map(|document| document.split_once("\nrules:\n"));
    rules.map(|(_, rules)| format!("{}\n", rules.trim_end())).collect()
}

/// What leader election needs, in the lease's namespace.
pub const LEASES: Need = Need {
    group: "coordination.k8s.io",
    resource: "leases",
    verbs: &["get", "list", "watch", "create", "update"],
    namespaced: true,
};

/// One verb that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural, with the subresource after a slash.
    pub resource: &'static str,
    /// The verb.
    pub verb: &'static str,
}

impl Missing {
    /// The rule to add, as it stands in a Role or ClusterRole.
    pub fn rule(&self) -> String {
        let Self { group, resource, verb } = self;
        format!(r#"{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}"#)
    }
}

/// Logs one line for each verb that is missing; never stops the process.
///
/// One rules review usually shows every verb. A verb that it does not show is asked for by itself, because an
/// authorizer other than RBAC may grant it.
pub async fn review(client: &Client, namespace: &str, needs: &[Need]) -> Vec<Missing> {
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let question = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
        ..SelfSubjectRulesReview::default()
    };
    let rules = match reviews.create(&PostParams::default(), &question).await {
        Ok(answer) => answer.status.map(|status| status.resource_rules).unwrap_or_default(),
        Err(error) => {
            base::v!(2, "Cannot review our own permissions"; "err" => super::api::text(&error));
            return Vec::new();
        }
    };
    let mut missing = Vec::new();
    for (need, lacking) in shown_missing(&rules, needs) {
        if !is_allowed(client, namespace, need, &lacking).await {
            let scope = if need.namespaced { "Role" } else { "ClusterRole" };
            base::error!("permission missing", "Add this rule to the service account's role";
                "verb" => lacking.verb, "resource" => lacking.resource, "in" => scope, "rule" => lacking.rule());
            missing.push(lacking);
        }
    }
    missing
}

/// The needed verbs that `rules` do not show.
fn shown_missing<'a>(rules: &[ResourceRule], needs: &'a [Need]) -> Vec<(&'a Need, Missing)> {
    let lacks = |need: &'a Need| {
        let verbs = need.verbs.iter().filter(|verb| !rules.iter().any(|rule| grants(rule, need, verb)));
        verbs.map(move |verb| (need, Missing { group: need.group, resource: need.resource, verb }))
    };
    needs.iter().flat_map(lacks).collect()
}

fn grants(rule: &ResourceRule, need: &Need, verb: &str) -> bool {
    let has = |list: &Option<Vec<String>>, wanted: &str| {
        list.as_ref().is_some_and(|list| list.iter().any(|word| word == wanted || word == "*"))
    };
    let unnamed = rule.resource_names.as_ref().is_none_or(Vec::is_empty);
    let verbs = rule.verbs.iter().any(|word| word == verb || word == "*");
    unnamed && verbs && has(&rule.api_groups, need.group) && has(&rule.resources, need.resource)
}

/// Whether every verb of the need is granted, in the whole cluster. Says nothing if not.
pub async fn has(client: &Client, need: &Need) -> bool {
    for verb in need.verbs {
        let asked = Missing { group: need.group, resource: need.resource, verb };
        if !is_allowed(client, "", need, &asked).await {
            return false;
        }
    }
    true
}

async fn is_allowed(client: &Client, namespace: &str, need: &Need, missing: &Missing) -> bool {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let (resource, subresource) = match missing.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (missing.resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(missing.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(missing.verb.to_owned()),
        namespace: need.namespaced.then(|| namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let question = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..SelfSubjectAccessReview::default()
    };
    match reviews.create(&PostParams::default(), &question).await {
        Ok(answer) => answer.status.is_some_and(|status| status.allowed),
        // Not knowing is no reason to raise an alarm.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> ResourceRule {
        ResourceRule {
            api_groups: Some(vec![group.into()]),
            resources: Some(vec![resource.into()]),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            resource_names: None,
        }
    }

    const NEED: Need =
        Need { group: "", resource: "persistentvolumes", verbs: &["get", "patch"], namespaced: false };

    #[test]
    fn names_the_verb_that_no_rule_grants() {
        let needs = [NEED];
        let missing = shown_missing(&[rule("", "persistentvolumes", &["get", "list"])], &needs);
        let [(_, missing)] = &missing[..] else { panic!("{missing:?}") };
        assert_eq!(
            missing.rule(),
            r#"{apiGroups: [""], resources: ["persistentvolumes"], verbs: ["patch"]}"#
        );
    }

    #[test]
    fn star_grants_everything_but_a_rule_for_named_objects_does_not() {
        let needs = [NEED];
        assert!(shown_missing(&[rule("*", "*", &["*"])], &needs).is_empty());
        let mut named = rule("", "persistentvolumes", &["get", "patch"]);
        named.resource_names = Some(vec!["one".into()]);
        assert_eq!(shown_missing(&[named], &needs).len(), 2);
    }
}
