//! What the API server refused to a pod, by its audit log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Service accounts only: the rest is the control plane itself.
const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: Metadata
    userGroups: [system:serviceaccounts]
  - level: None
";

/// The audit log of one API server.
pub(crate) struct Audit(PathBuf);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Object {
    resource: String,
    subresource: String,
    api_group: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Audit {
    /// Writes the policy into `folder`; gives the log and the API server's flags.
    pub(crate) fn prepare(folder: &Path) -> (Audit, Vec<String>) {
        let (policy, log) = (folder.join("audit.yaml"), folder.join("audit.log"));
        std::fs::write(&policy, POLICY).expect("a policy");
        let flags = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
            "--audit-log-mode=blocking".to_owned(),
        ];
        (Audit(log), flags)
    }

    /// What the accounts of a namespace asked for: `verb group/resource/subresource`, all of it and what was forbidden.
    pub(crate) fn of(&self, namespace: &str) -> Requests {
        let user = format!("system:serviceaccount:{namespace}:");
        let text = std::fs::read_to_string(&self.0).expect("the audit log");
        let mut requests = Requests::default();
        for line in text.lines().filter(|line| line.contains(&user)) {
            let entry: Entry = serde_json::from_str(line).expect("an entry");
            if !entry.user.username.starts_with(&user) {
                continue;
            }
            let Object { resource, subresource, api_group } = entry.object_ref;
            let parts = [api_group, resource, subresource];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let request = format!("{} {}", entry.verb, parts.join("/"));
            if entry.response_status.is_some_and(|status| status.code == 403) {
                requests.forbidden.insert(request.clone());
            }
            requests.all.insert(request);
        }
        requests
    }
}

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) all: BTreeSet<String>,
    pub(crate) forbidden: BTreeSet<String>,
}
