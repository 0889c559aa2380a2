//! Counts a user's API requests in the API server's audit log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// The audit log of one API server.
pub(crate) struct Audit {
    log: PathBuf,
    /// How much of the log was there when counting began.
    from: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    #[serde(default)]
    object_ref: Object,
    response_status: Option<Status>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: Metadata
    users: [USER]
  - level: None
";

impl Audit {
    /// Writes the policy for one user into `folder`; gives the log and the API server's flags.
    pub(crate) fn prepare(folder: &Path, user: &str) -> Result<(Self, Vec<String>)> {
        let (policy, log) = (folder.join("audit.yaml"), folder.join("audit.log"));
        std::fs::write(&policy, POLICY.replace("USER", &format!("{user:?}")))?;
        let flags = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
            "--audit-log-mode=blocking".to_owned(),
        ];
        Ok((Self { log, from: 0 }, flags))
    }

    /// Counts from now on.
    pub(crate) fn reset(&mut self) {
        self.from = std::fs::metadata(&self.log).map_or(0, |file| file.len());
    }

    /// How often each request was made: `verb resource/subresource code`.
    pub(crate) fn counts(&self) -> Result<BTreeMap<String, usize>> {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let new = text.get(usize::try_from(self.from)?..).unwrap_or_default();
        let mut counts = BTreeMap::new();
        for line in String::from_utf8_lossy(new).lines() {
            let line: Line = serde_json::from_str(line).context("the audit log")?;
            let slash = if line.object_ref.subresource.is_empty() { "" } else { "/" };
            let code = line.response_status.map_or(0, |status| status.code);
            let Object { resource, subresource } = line.object_ref;
            *counts.entry(format!("{} {resource}{slash}{subresource} {code}", line.verb)).or_default() += 1;
        }
        Ok(counts)
    }
}
