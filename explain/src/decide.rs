//! From what is known of the cluster to the answer about one object.

use serde_json::Value;

use crate::ask::{Ask, Kind};
use crate::attachment;
use crate::claim;
use crate::field::{deleted, namespace, text};
use crate::finding::{Answer, Finding, Who};
use crate::quota;
use crate::snapshot;
use crate::snapshot_removal;
use crate::view::{Found, Look, View};
use crate::volume;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// A claim, a volume, an attachment or a snapshot.
    pub(crate) kind: Kind,
    /// Its namespace; empty for what has none.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// There is no such object.
    #[error("there is no {0}")]
    NotFound(String),
    /// The cluster does not know the kind.
    #[error("this cluster has no {0}: install the definitions (CRDs) of external-snapshotter")]
    NoKind(&'static str),
    /// It cannot be read.
    #[error("cannot read {0}")]
    Unreadable(String),
}

/// The answer, as far as the view knows. It is final once all that was asked is known.
///
/// # Errors
/// The object itself is not there, or cannot be read.
pub(crate) fn decide(view: &View, target: &Target) -> Result<Answer, NoAnswer> {
    let Target { kind, namespace, name } = target;
    let object = match view.one(*kind, namespace, name) {
        Look::There(object) => object,
        Look::Absent | Look::Unknown => return Err(no_answer(view, target)),
    };
    let (state, findings) = match kind {
        Kind::Volume => volume::reasons(view, object),
        Kind::Attachment => attachment::reasons(view, object),
        Kind::Snapshot => of_snapshot(view, object),
        _ => claim::reasons(view, object),
    };
    Ok(Answer {
        kind: kind.name(),
        namespace: namespace.clone(),
        name: name.clone(),
        state,
        findings: once(findings),
        tries: Vec::new(),
        unread: Vec::new(),
        again: view.again(),
    })
}

/// The answer about an object that was there before.
pub(crate) fn gone(target: &Target) -> Answer {
    let Target { kind, namespace, name } = target;
    let finding = Finding::new("NotFound", Who::Owner, "the object is gone", "somebody to make it anew");
    Answer {
        kind: kind.name(),
        namespace: namespace.clone(),
        name: name.clone(),
        state: "gone".to_owned(),
        findings: vec![finding],
        tries: Vec::new(),
        unread: Vec::new(),
        again: None,
    }
}

/// Each reason once: two ways may lead to it.
fn once(findings: Vec<Finding>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for finding in findings {
        if !found.iter().any(|known| (known.cause, &known.happened) == (finding.cause, &finding.happened)) {
            found.push(finding);
        }
    }
    found
}

fn of_snapshot(view: &View, snapshot: &Value) -> (String, Vec<Finding>) {
    match deleted(snapshot) {
        Some(_) => ("being deleted".to_owned(), snapshot_removal::of_snapshot(view, snapshot)),
        None => {
            let (state, findings) = snapshot::reasons(view, snapshot);
            let claim = text(snapshot, "/spec/source/persistentVolumeClaimName");
            let claim = view.one(Kind::Claim, namespace(snapshot), claim).object();
            match claim.filter(|_| matches!(findings.as_slice(), [only] if only.cause == "SourceNotReady")) {
                Some(claim) => (state, claim::with_source(view, findings, claim)),
                None => (state, findings),
            }
        }
    }
}

fn no_answer(view: &View, target: &Target) -> NoAnswer {
    let ask = Ask::one(target.kind, &target.namespace, &target.name);
    let what = ask.words();
    match view.found(&ask) {
        Some(Found::NoKind) => NoAnswer::NoKind(target.kind.resource().plural),
        Some(Found::Refused(rule)) => NoAnswer::Unreadable(format!("{what}: a role needs {rule}")),
        Some(Found::Failed(why)) => NoAnswer::Unreadable(format!("{what}: {why}")),
        Some(Found::Nothing | Found::Object(_) | Found::Objects(_)) | None => {
            let quotas =
                if target.kind == Kind::Claim { quota::used_up(view, &target.namespace) } else { Vec::new() };
            NoAnswer::NotFound(std::iter::once(what).chain(quotas).collect::<Vec<_>>().join("; "))
        }
    }
}

/// One line for each question that had no answer.
pub(crate) fn unread<'a>(asked: impl Iterator<Item = (&'a Ask, &'a Found)>) -> Vec<String> {
    let line = |(ask, found): (&Ask, &Found)| match found {
        Found::Refused(rule) => Some(format!("{}: a role needs {rule}", ask.words())),
        Found::Failed(why) => Some(format!("{}: {why}", ask.words())),
        Found::Object(_) | Found::Objects(_) | Found::Nothing | Found::NoKind => None,
    };
    asked.filter_map(line).collect()
}

#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod removal_tests;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod tests;
