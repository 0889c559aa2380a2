//! The one ValidatingAdmissionPolicy that is understood: that of `mooring migrate`, which keeps the claims that it marks from
//! being called Lost. Its expressions are not read.

use serde_json::Value;

use super::refusal::Refusal;
use super::resource::by_plural;
use super::store::{Key, Store};

const NAME: &str = "mooring-migrate";
const MARK: &str = "mooring.dev/migrating";

/// What the policy says to a claim's new status.
pub(crate) fn admit(store: &Store, old: &Value, new: &Value) -> Result<(), Refusal> {
    let is_marked = old.pointer("/metadata/annotations").is_some_and(|all| all.get(MARK).is_some());
    let is_lost = new.pointer("/status/phase").is_some_and(|phase| phase == "Lost");
    let found = |plural: &str| {
        let (index, _) = by_plural(plural)?;
        store.objects.get(&Key { index, namespace: String::new(), name: NAME.to_owned() })
    };
    let policy = found("validatingadmissionpolicies").filter(|_| is_marked && is_lost);
    match (policy, found("validatingadmissionpolicybindings")) {
        (Some(policy), Some(_)) => {
            let text = |pointer: &str| policy.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let name = old.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let message = format!(
                "persistentvolumeclaims \"{name}\" is forbidden: ValidatingAdmissionPolicy '{NAME}' with binding '{NAME}' denied request: {}",
                text("/spec/validations/0/message")
            );
            Err(Refusal::new(422, "Invalid", message))
        }
        _ => Ok(()),
    }
}
