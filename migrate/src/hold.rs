//! Keeps marked claims from being called Lost.
//!
//! kube-controller-manager says of a bound claim whose PersistentVolume is not there that it is Lost, "Data on the volume is
//! lost!", and forgets its capacity. While a volume is replaced there is none for a moment, or for as long as a crash lasts. A
//! ValidatingAdmissionPolicy refuses that word for claims with our mark; kube-controller-manager tries again later, and by then
//! the volume is there. The policy also says whose migration is under way: there is one at a time in a cluster.

use std::path::Path;
use std::time::Duration;

use kubernetes::api;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::record::{MARK, only_seen, text};
use crate::requests::{Deletion, Requests, claims, is_refusal};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
/// The name of the policy and of its binding.
const NAME: &str = "mooring-migrate";
const POLICIES: &str = "validatingadmissionpolicies";
const BINDINGS: &str = "validatingadmissionpolicybindings";
const ID: &str = "mooring.dev/migration";
/// The run that has it.
const RUN: &str = "mooring.dev/run";
const FILE: &str = "mooring.dev/undo-file";
/// The flag that the file was given with.
const FLAG: &str = "mooring.dev/flag";
/// The whole command.
const COMMAND: &str = "mooring.dev/command";
/// What the API server says where it follows the policy.
const MESSAGE: &str = "mooring migrate is replacing the claim's PersistentVolume";

/// How long an API server may take to follow the policy.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
/// How often others may change the policy under our hands.
const SHARES: usize = 20;
/// Why claims cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The API server refuses.
    #[error("cannot keep claims from being called Lost: {0}")]
    Api(String),
    /// Everything is done, but the policy stays.
    #[error(
        "all is done, but the ValidatingAdmissionPolicy mooring-migrate and its binding cannot be deleted ({0}): delete them, or run this command again"
    )]
    Stays(String),
    /// It knows no such policies.
    #[error(
        "the API server knows no ValidatingAdmissionPolicy, which keeps claims from being called Lost: Kubernetes 1.30 or later is needed"
    )]
    TooOld,
    /// There is another migration.
    #[error("another migration is not at its end: finish it with {0} on the machine where that file is")]
    Other(String),
    /// The undo file is a copy that lacks the last run.
    #[error(
        "this migration is not at its end, and this undo file is a copy that lacks its last run. Finish it with {0} on the machine where that file is; if it is lost, see docs/migrate.md, By hand, then: kubectl annotate validatingadmissionpolicy mooring-migrate mooring.dev/run-, and again"
    )]
    Copied(String),
    /// It does not follow the policy.
    #[error(
        "the API server does not follow the ValidatingAdmissionPolicy mooring-migrate: claims would be called Lost; enable the API server's admission plugin ValidatingAdmissionPolicy"
    )]
    NotFollowed,
    /// This claim cannot be kept.
    #[error("cannot try whether its claim can be called Lost: {0}")]
    Claim(String),
}

/// Whose migration it is.
#[derive(Debug, Clone)]
pub(crate) struct Owner<'a> {
    /// The name of all runs with the undo file.
    pub(crate) id: &'a str,
    /// Which runs the undo file knows. The last one is this run, once it changes things.
    pub(crate) runs: &'a [String],
    /// Where the undo file is.
    pub(crate) file: &'a Path,
    /// It is being undone.
    pub(crate) undo: bool,
    /// The command that goes on with it.
    pub(crate) command: String,
}

impl Owner<'_> {
    fn flag(&self) -> &'static str {
        if self.undo { UNDO } else { CONVERT }
    }

    /// Whether the undo file knows all that was done under this policy.
    fn knows(&self, policy: &Value) -> bool {
        let run = annotation(policy, RUN);
        run.is_empty() || self.runs.iter().any(|known| known == run)
    }
}

const CONVERT: &str = "--undo-file";
const UNDO: &str = "--undo";

/// The policy, in force as long as there are volumes on their way.
pub(crate) struct Hold<'a> {
    requests: &'a Requests,
    /// How long other API servers than ours may take longer to follow the policy: kube-controller-manager may ask one of them.
    lag: Duration,
    /// Whether the API server follows the policy, as far as was tried.
    followed: Option<bool>,
    /// The policy and its binding; once somebody has taken them away they are made anew, and not again.
    spare: Option<[(&'static str, Value); 2]>,
}

fn refused(error: &kube::Error) -> HoldError {
    HoldError::Api(api::text(error))
}

fn stays(error: &kube::Error) -> HoldError {
    HoldError::Stays(api::text(error))
}

/// What says whose migration it is.
fn annotations(owner: &Owner<'_>) -> Value {
    let file = owner.file.display().to_string();
    json!({ID: owner.id, RUN: owner.runs.last(), FILE: file, FLAG: owner.flag(), COMMAND: owner.command})
}

fn policy(owner: &Owner<'_>) -> [(&'static str, Value); 2] {
    let metadata = json!({"name": NAME, "annotations": annotations(owner)});
    let marked = format!("has(oldObject.metadata.annotations) && '{MARK}' in oldObject.metadata.annotations");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                "resources": ["persistentvolumeclaims/status"],
            }]},
            "matchConditions": [{"name": "volume-is-being-replaced", "expression": marked}],
            "validations": [{
                "expression": "!has(object.status) || !has(object.status.phase) || object.status.phase != 'Lost'",
                "message": MESSAGE,
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
        "spec": {"policyName": NAME, "validationActions": ["Deny"]},
    });
    [(POLICIES, policy), (BINDINGS, binding)]
}

impl<'a> Hold<'a> {
    /// Makes the policy of the owner's migration, unless it is there.
    ///
    /// # Errors
    /// There is one of another migration, or none can be made.
    pub(crate) async fn take(
        requests: &'a Requests,
        owner: &Owner<'_>,
        lag: Duration,
    ) -> Result<Self, HoldError> {
        for (plural, object) in policy(owner) {
            let is_policy = plural == POLICIES;
            let path = format!("{GROUP}/{plural}");
            match requests.create(&path, &object, false).await {
                Ok(_) => {}
                Err(error) if api::is(&error, 409) => share(requests, &path, owner, is_policy).await?,
                Err(error) if api::is(&error, 404) => return Err(HoldError::TooOld),
                Err(error) => return Err(refused(&error)),
            }
        }
        Ok(Self { requests, lag, followed: None, spare: Some(policy(owner)) })
    }

    /// Comes back once the API server refuses to call this claim Lost. `false`: the claim is gone.
    ///
    /// # Errors
    /// It does not refuse that, or not for our reason.
    pub(crate) async fn prove(&mut self, namespace: &str, name: &str) -> Result<bool, HoldError> {
        let path = format!("{}/{name}/status?dryRun=All", claims(namespace));
        let lost = json!({"status": {"phase": "Lost"}});
        let mut waited = Duration::ZERO;
        loop {
            match self.requests.patch(&path, &lost).await {
                Err(error) if is_kept(&error) => break,
                // A claim that changes meanwhile, or the policy's first moments.
                Ok(_) => {
                    if self.followed == Some(true) {
                        self.renew().await?;
                    }
                }
                Err(error) if api::is(&error, 409) => {}
                Err(error) if api::is_missing(&error, name) => return Ok(false),
                Err(error) if is_refusal(&error) => return Err(HoldError::Claim(api::text(&error))),
                Err(error) => return Err(refused(&error)),
            }
            if waited >= LIMIT {
                self.followed = Some(false);
                return Err(HoldError::NotFollowed);
            }
            sleep(PAUSE).await;
            waited += PAUSE;
        }
        if self.followed.is_none() {
            self.followed = Some(true);
            sleep(self.lag).await;
        }
        Ok(true)
    }

    /// Makes the policy anew that somebody has taken away.
    async fn renew(&mut self) -> Result<(), HoldError> {
        for (plural, object) in self.spare.take().into_iter().flatten() {
            match self.requests.create(&format!("{GROUP}/{plural}"), &object, false).await {
                Err(error) if !api::is(&error, 409) => return Err(refused(&error)),
                _ => self.followed = None,
            }
        }
        Ok(())
    }

    /// Whether the API server was seen not to follow the policy: then nothing more should be tried.
    pub(crate) fn is_vain(&self) -> bool {
        self.followed == Some(false)
    }
}

/// Whether the claim is kept from being called Lost, by our policy and nothing else.
fn is_kept(error: &kube::Error) -> bool {
    api::status(error).is_some_and(|status| {
        (status.code, status.reason.as_str()) == (422, "Invalid") && status.message.contains(MESSAGE)
    })
}

/// Goes on under the policy that is there.
async fn share(requests: &Requests, path: &str, owner: &Owner<'_>, is_policy: bool) -> Result<(), HoldError> {
    for _ in 0..SHARES {
        match share_once(requests, path, owner, is_policy).await? {
            None => return Ok(()),
            Some(error) if api::is(&error, 409) => sleep(PAUSE).await,
            Some(error) => return Err(refused(&error)),
        }
    }
    Err(HoldError::Api("others change the policy all the time".to_owned()))
}

/// Goes on under the policy as it is at this moment; gives what its patch was answered if that was no.
async fn share_once(
    requests: &Requests,
    path: &str,
    owner: &Owner<'_>,
    is_policy: bool,
) -> Result<Option<kube::Error>, HoldError> {
    let present = requests.get(path, NAME).await.map_err(|error| refused(&error))?.unwrap_or_default();
    let is_own = annotation(&present, ID) == owner.id;
    if is_policy && !(is_own && owner.knows(&present)) {
        let command = last_command(&present);
        return Err(if is_own { HoldError::Copied(command) } else { HoldError::Other(command) });
    }
    let wanted = annotations(owner);
    let is_same = |(key, value): (&String, &Value)| value.as_str() == Some(annotation(&present, key));
    if !wanted.as_object().is_some_and(|all| all.iter().all(is_same)) {
        let mut patch = json!({"metadata": {"annotations": wanted}});
        // Another machine may take it at the same moment, with a copy of the undo file.
        only_seen(&mut patch, &present);
        return Ok(requests.patch(&format!("{path}/{NAME}"), &patch).await.err());
    }
    Ok(None)
}

/// The command that goes on with the policy's migration.
fn last_command(policy: &Value) -> String {
    let (command, file) = (annotation(policy, COMMAND), annotation(policy, FILE));
    let flag = if annotation(policy, FLAG) == UNDO { UNDO } else { CONVERT };
    if command.is_empty() { format!("mooring migrate {flag}={file}") } else { command.to_owned() }
}

/// Takes the policy of the owner's migration away, if it is there.
///
/// # Errors
/// The API server refuses.
pub(crate) async fn release(requests: &Requests, owner: &Owner<'_>) -> Result<(), HoldError> {
    // The policy last: it says whose the binding is.
    let policy = requests.get(&format!("{GROUP}/{POLICIES}"), NAME).await.map_err(|error| stays(&error))?;
    let is_ours = |object: &Value| annotation(object, ID) == owner.id && owner.knows(object);
    for plural in [BINDINGS, POLICIES] {
        let path = format!("{GROUP}/{plural}");
        let present = requests.get(&path, NAME).await;
        let Some(object) = present.map_err(|error| stays(&error))? else { continue };
        if !is_ours(policy.as_ref().unwrap_or(&object)) {
            continue;
        }
        match requests.delete(&path, NAME, text(&object, "/metadata/uid"), None).await {
            Ok(Deletion::NotDone(error)) if !api::is_gone(&error, NAME) => return Err(stays(&error)),
            Ok(_) => {}
            Err(error) => return Err(stays(&error)),
        }
    }
    Ok(())
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    let all = object.pointer("/metadata/annotations");
    all.and_then(|all| all.get(key)).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
