//! Replaces an object one of whose fields the API server lets nobody change.
//!
//! Promise: once the old object is deleted, the new one is created, however often that fails; with a limit of tries, as often as
//! that. The deleted object is in the log.

use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, PostParams, Preconditions};
use kubernetes::api::{self, Error};
use serde_json::json;
use thiserror::Error as ThisError;
use tokio::time::sleep;

use crate::decide::{Step, Wanted, decide};

/// The pause after the first failure; it doubles from failure to failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// The API server's code for a name that is taken.
const CONFLICT: u16 = 409;
/// Its code for what is not there.
const NOT_FOUND: u16 = 404;
/// From here on, its codes leave open whether it did what it was asked for.
const UNCLEAR: u16 = 500;

/// Why the object was not replaced.
#[derive(Debug, ThisError)]
pub(crate) enum ReplaceError {
    /// Nothing was changed: the new object would be refused.
    #[error("not replaced, because the new object would be refused: {0}")]
    Refused(String),
    /// The old object is still there.
    #[error("cannot be deleted, to be replaced: {0}")]
    Kept(String),
    /// There is no object now.
    #[error("was deleted, and cannot be created anew: {0}; the object is in the log")]
    Gone(String),
    /// Somebody else created it meanwhile.
    #[error("was created by somebody else while it was replaced, and differs from what is wanted")]
    Other,
}

/// Deletes `present` and creates it anew with what is wanted. `tries` limits how often it is tried to create it.
pub(crate) async fn replace(
    objects: &Api<DynamicObject>,
    present: &DynamicObject,
    wanted: &Wanted,
    tries: Option<u32>,
) -> Result<(), ReplaceError> {
    let (name, uid) = (present.metadata.name.clone().unwrap_or_default(), &present.metadata.uid);
    let value = wanted.over(&json!(present));
    let object =
        serde_json::from_value(value.clone()).map_err(|error| ReplaceError::Refused(error.to_string()))?;
    match objects.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await {
        Err(error) if code(&error) != Some(CONFLICT) => return Err(ReplaceError::Refused(api::text(&error))),
        // The name is taken, as it should be. Everything else was checked before that.
        Ok(_) | Err(_) => {}
    }
    base::info!("Deleting the CSIDriver object, to create it anew"; "driver" => name, "object" => json!(present));
    let only_this = Preconditions { uid: uid.clone(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
    if let Err(error) = objects.delete(&name, &parameters).await
        && code(&error).is_some_and(|code| code < UNCLEAR && code != NOT_FOUND)
    {
        return Err(ReplaceError::Kept(api::text(&error)));
    }
    let (mut pause, mut tried) = (FIRST, 0u32);
    loop {
        let Err(error) = objects.create(&PostParams::default(), &object).await else {
            base::info!("CSIDriver object created anew"; "driver" => name, "object" => value);
            return Ok(());
        };
        let text = api::text(&error);
        if code(&error) == Some(CONFLICT)
            && let Ok(Some(taken)) = objects.get_opt(&name).await
            && taken.metadata.deletion_timestamp.is_none()
        {
            return match decide(Some(&json!(taken)), wanted) {
                // Our request arrived, and its reply did not.
                Step::Nothing => Ok(()),
                Step::Create | Step::Patch(_) | Step::Replace(_) if taken.metadata.uid == *uid => {
                    Err(ReplaceError::Kept(text))
                }
                Step::Create | Step::Patch(_) | Step::Replace(_) => Err(ReplaceError::Other),
            };
        }
        tried = tried.saturating_add(1);
        if tries.is_some_and(|tries| tried >= tries) {
            return Err(ReplaceError::Gone(text));
        }
        base::error!(text, "The CSIDriver object was deleted and is not created yet, will retry"; "driver" => name, "object" => value);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// The API server's code, if it has answered.
fn code(error: &Error) -> Option<u16> {
    api::status(error).map(|status| status.code)
}

#[cfg(test)]
mod tests;
